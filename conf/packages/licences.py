#!/usr/bin/env python3
"""Prints the licences of the crates that the binary contains: names first, then each text once.

    conf/packages/licences.py > THIRD-PARTY

Reads `cargo metadata`, and the sources in cargo's registry. The texts are those that the crates ship.
"""

import json
import os
import platform
import subprocess
import sys

NAMES = ("licen", "copying", "notice", "unlicense")


def main():
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    target = f"{platform.machine()}-unknown-linux-gnu"
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    command += ["--features", "full,jemalloc"]
    metadata = json.loads(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    names = [label(packages[package]) for package in shipped(metadata)]
    texts = {}
    for package in shipped(metadata):
        for text in licence_texts(packages[package]):
            texts.setdefault(text, []).append(label(packages[package]))

    print("Libraries that the clickedge binary contains, and their licences.\n")
    for package in sorted((packages[package] for package in shipped(metadata)), key=label):
        print(f"{label(package):44} {package['license'] or package['license_file'] or 'unknown'}")
    # Some crates name their licence only: its text is that of another crate.
    for text, users in sorted(texts.items(), key=lambda item: (item[1], item[0])):
        print(f"\n{'-' * 78}\n{wrapped(users)}\n\n{text}")
    return 0 if names else 1


def label(package):
    return f"{package['name']} {package['version']}"


def shipped(metadata):
    """Ids of the crates that are linked: normal dependencies of the root, and theirs."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, waiting = set(), [root]
    while waiting:
        package = waiting.pop()
        if package in seen:
            continue
        seen.add(package)
        for dependency in nodes[package]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return sorted(seen - {root})


def licence_texts(package):
    folder = os.path.dirname(package["manifest_path"])
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.lower().startswith(NAMES) and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                yield "\n".join(line.rstrip() for line in file.read().strip().splitlines())


def wrapped(users):
    lines, line = [], ""
    for user in users:
        if line and len(line) + len(user) > 74:
            lines.append(line)
            line = ""
        line += user + ", "
    return "\n".join([*lines, line]).rstrip(", ")


if __name__ == "__main__":
    sys.exit(main())
