"""What all of the day use: waiting, ports, commands, small disks."""

import os
import socket
import subprocess
import threading
import time

from runbook import Failure

LOCK, TAKEN = threading.Lock(), set()
FAILS = "a failure"


def free_port():
    """A port below the range of outgoing connections, so that it is free again after its process has ended."""
    with LOCK:
        for port in range(21000, 32000):
            if port in TAKEN:
                continue
            TAKEN.add(port)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                    return port
                except OSError:
                    pass
    raise Failure("no port is free")


def until(what, found, seconds=60, pause=0.2, seen=lambda: ""):
    """Waits for a result that is true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {seconds} s; {seen()}".rstrip("; "))
        time.sleep(pause)
    return value


def run(*command, code=0, **options):
    """Runs a command and returns what it printed. Another exit code than `code` is a failure; `None` accepts any, and
    `FAILS` any but 0."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150, **options)
    text = done.stdout.decode(errors="replace")
    if code is not None and (done.returncode == 0 if code == FAILS else done.returncode != code):
        raise Failure(f"`{' '.join(map(str, command))}`: exit code {done.returncode}, expected {code}: {text.strip()}")
    return text


class SmallDisk:
    """A file system in memory, as large as so many MiB, which only this process and its children see."""

    def __init__(self, at, size):
        self.at = at
        os.makedirs(at)
        run("mount", "-t", "tmpfs", "-o", f"size={size}m", "tmpfs", at)

    def fill(self):
        try:
            with open(f"{self.at}/backup-of-last-year", "wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != 28:
                raise

    def free_what_uses_it(self):
        """Finds the largest file as the runbook says, and removes it, which is none of the spool's."""
        if "100%" not in run("df", self.at):
            raise Failure(f"df does not show a full disk: {run('df', self.at)}")
        largest = max((line.split(None, 1) for line in run("du", "-x", "-a", self.at).splitlines()
                       if not os.path.isdir(line.split(None, 1)[1])), key=lambda line: int(line[0]))[1]
        if os.path.basename(largest) != "backup-of-last-year":
            raise Failure(f"du shows {largest} first, which is of the spool")
        os.remove(largest)
