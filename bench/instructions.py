#!/usr/bin/env python3
"""Counts instructions per click, and compares them with what was recorded.

    bench/instructions.py             measure target/debug/clickedge and compare with bench/instructions.json
    bench/instructions.py --record    measure it and write bench/instructions.json
    bench/instructions.py BINARY      measure another build, such as target/release/clickedge, and compare with nothing

Exits with 1 when a figure has grown by more than 3 %. callgrind (Debian package valgrind) counts two runs at a time,
each of REQUESTS keep-alive requests: one that the fast lane answers and one that the proxy answers. Figures are totals
of threads, divided by the requests, so a thread's start is in them (below 2 %). What depends on time is kept small: few
links are clicked, so that it makes little difference how often counts are committed.

Figures depend on compiler, C library and the processor's vector instructions. On another kind of processor than the
recorded ones come from, growth is printed and does not fail.
"""

import glob
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BASELINE = os.path.join(ROOT, "bench", "instructions.json")
TARGET = os.environ.get("CARGO_TARGET_DIR") or os.path.join(ROOT, "target")
REQUESTS = 10_000
LINKS = 4
# Growth that fails, in percent.
MOST = 3
# Seconds for a start, or for a stop with everything delivered.
DEADLINE = 300

AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 "
    "Mobile/15E148 Safari/604.1",
]

CONFIG = """
[edge]
threads = 1
fast_lane = {fast_lane}
[[listeners]]
address = "127.0.0.1:{port}"
[catalog]
file = "links.ndjson"
[capture]
dir = "{rings}"
ring_bytes = 67108864
[enrich]
workers = 1
geoip_file = "{root}/conf/demo/geoip.mmdb"
[spool]
dir = "spool"
sync_interval_millis = 1000
[admin]
address = "127.0.0.1:{admin}"
[telemetry]
log_level = "warn"
[shutdown]
grace_secs = 0
drain_secs = 300
[[feeds]]
name = "all"
workspaces = ["*"]
max_age_secs = 3600
sink.dir.path = "bucket"
"""


def link(number):
    return json.dumps({
        "id": f"{number:032x}",
        "slashtag": f"tag-{number:06x}",
        "destination": f"https://www.example.com/landing/page-{number}?utm_source=link&utm_campaign=c{number}",
        "createdAt": "2026-03-01T09:30:00.000Z",
        "domain": {"id": "d-1", "fullName": "go.brand.com"},
        "creator": {"id": "u-1", "fullName": "Ana Lima"},
        "workspace": {"id": "w-1", "name": "Marketing"},
        "tags": [{"id": "t-1", "name": "Campaign"}],
    }) + "\n"


def request(number):
    return (
        f"GET /tag-{number % LINKS:06x} HTTP/1.1\r\nHost: go.brand.com\r\n"
        f"User-Agent: {AGENTS[number // LINKS % len(AGENTS)]}\r\n"
        "Accept: text/html,application/xhtml+xml\r\nAccept-Encoding: gzip, deflate, br\r\n"
        "Accept-Language: en-US,en;q=0.9\r\nReferer: https://www.google.com/\r\n\r\n"
    ).encode()


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def connect(port, process):
    """A connection once the edge listens: a program under callgrind starts slowly."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until and process.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the edge does not listen")


def click(stream):
    """Makes all requests, one after the other."""
    received = b""
    for number in range(REQUESTS):
        stream.sendall(request(number))
        while b"\r\n\r\n" not in received:
            some = stream.recv(65536)
            if not some:
                raise RuntimeError("the edge has closed the connection")
            received += some
        if not received.startswith(b"HTTP/1.1 302 "):
            raise RuntimeError(f"no redirect: {received[:80]}")
        received = received.partition(b"\r\n\r\n")[2]


def settle(port):
    """Waits until every click is in the journal."""
    until = time.monotonic() + DEADLINE
    while time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=DEADLINE) as metrics:
            if "\nclickedge_ring_clicks 0\n" in metrics.read().decode():
                return
        time.sleep(0.2)
    raise RuntimeError("the clicks do not reach the journal")


def valgrind(pid, *command):
    """What valgrind answers, while it runs the process."""
    return subprocess.run(["vgdb", f"--pid={pid}", *command], capture_output=True, text=True, check=True).stdout


def thread_names(pid):
    """The name of each thread by the number that callgrind gives it."""
    # What it counts has a number, not a name. Its scheduler knows the kernel's thread of each number.
    names = {}
    status = valgrind(pid, "v.info", "scheduler")
    for number, thread in re.findall(r"^Thread (\d+): .*\(lwpid (\d+)\)", status, re.M):
        if thread != "0":
            with open(f"/proc/{pid}/task/{thread}/comm", encoding="utf-8") as name:
                names[int(number)] = name.read().strip()
    return names


def total(path):
    with open(path, encoding="utf-8") as file:
        return int(re.search(r"^(?:totals|summary): (\d+)", file.read(), re.M).group(1))


def measure(binary, fast_lane):
    """Instructions of the listener, of the worker, and of journal, packer and delivery."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        with open(f"{folder}/links.ndjson", "w", encoding="utf-8") as links:
            links.writelines(map(link, range(LINKS)))
        port, admin = free_ports(2)
        with open(f"{folder}/clickedge.toml", "w", encoding="utf-8") as config:
            config.write(CONFIG.format(fast_lane=str(fast_lane).lower(), port=port, admin=admin, rings=rings, root=ROOT))
        counts = f"{folder}/counts"
        command = ["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={counts}",
                   binary, "serve", "--config", f"{folder}/clickedge.toml"]
        with open(f"{folder}/log", "w+", encoding="utf-8") as log, \
                subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                with connect(port, process) as stream:
                    click(stream)
                    settle(admin)
                    names = thread_names(process.pid)
                    # When these threads end, others get their numbers.
                    valgrind(process.pid, "dump")
                process.send_signal(signal.SIGQUIT)
                if process.wait(DEADLINE) != 0:
                    raise RuntimeError("the edge has failed")
            except Exception:
                process.kill()
                log.seek(0)
                sys.stderr.write(log.read())
                raise
        until_then = {name: total(f"{counts}.1-{number:02}") for number, name in names.items() if number > 1}
        # The first thread starts the others. Some count time only.
        start = sum(map(total, glob.glob(f"{counts}*-01")))
        others = sum(count for name, count in until_then.items() if name not in ("journal", "pack", "deliver"))
        rest = sum(map(total, glob.glob(f"{counts}*-[0-9]*"))) - start - others
        return until_then["clicks-0"], until_then["enrich-0"], rest


def figures(binary):
    """Instructions per click, of each part."""
    runs = {}
    ways = [threading.Thread(target=lambda way=way: runs.update({way: measure(binary, way)})) for way in (True, False)]
    for way in ways:
        way.start()
    for way in ways:
        way.join()
    if len(runs) < 2:
        sys.exit("a run has failed")
    listener, worker, rest = runs[True]
    totals = {
        "redirect, fast lane": listener,
        "redirect, proxy": runs[False][0],
        "event, worker": worker,
        "event, journal to delivery": rest,
    }
    return {name: round(count / REQUESTS) for name, count in totals.items()}


def processor():
    """Its name and its vector instructions, which the libraries choose by."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        facts = dict(re.findall(r"^(model name|flags)\s*: (.*)$", file.read(), re.MULTILINE))
    wide = [flag for flag in ("avx2", "avx512f", "vpclmulqdq", "sha_ni") if flag in facts.get("flags", "").split()]
    return " ".join([facts.get("model name", "unknown"), *wide])


def main():
    arguments = sys.argv[1:]
    if "-h" in arguments or "--help" in arguments:
        return print(__doc__)
    record = "--record" in arguments
    other = [argument for argument in arguments if argument != "--record"]
    found = figures(os.path.abspath(other[0]) if other else os.path.join(TARGET, "debug", "clickedge"))
    if record:
        with open(BASELINE, "w", encoding="utf-8") as file:
            file.write(json.dumps({"processor": processor(), **found}, indent=2) + "\n")
    recorded = {}
    if not record and not other:
        with open(BASELINE, encoding="utf-8") as file:
            recorded = json.load(file)
    grown = False
    print("instructions per click")
    for name, count in found.items():
        line = f"{name:<28} {count:>8,}"
        if name in recorded:
            change = 100 * (count / recorded[name] - 1)
            grown |= change > MOST
            line += f"   recorded {recorded[name]:>8,}   {change:+.1f} %{'   TOO MANY' if change > MOST else ''}"
        print(line)
    if grown and recorded.get("processor") != processor():
        print(f"Not compared: recorded on {recorded.get('processor')}, this is {processor()}.")
    elif grown:
        sys.exit(f"A click costs over {MOST} % more instructions than recorded. If that is wanted, run\n"
                 "bench/instructions.py --record, commit bench/instructions.json, and say why in the commit.")
    return None


if __name__ == "__main__":
    main()
