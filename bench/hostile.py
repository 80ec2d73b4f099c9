#!/usr/bin/env python3
"""Latency of good clients, undisturbed and while 500 hostile connections of each kind are open.

    bench/hostile.py [SECONDS] [BINARY]      default 15 seconds for each kind, of target/release/clickedge

The edge runs on one core with 1,024 descriptors, clients on the others. Good clients make a connection for each
request, 100 a second, at fixed times; hostile connections are made again when the edge closes them. Requests are
limited (200 a second of one address) during the flood. The output is the latency from the moment at which a request was
due, the failed requests, the most memory (without the rings) and the most descriptors of the edge. Good clients share a
core with the hostile ones, who run when nothing else wants it (`SCHED_IDLE`): elsewhere, they would be other machines.
"""

import json
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HOSTILE = 500
RATE = 100
GOOD = b"GET /spring HTTP/1.1\r\nHost: go.brand.com\r\nUser-Agent: good\r\nConnection: close\r\n\r\n"
UNKNOWN = b"GET /nothing HTTP/1.1\r\nHost: go.brand.com\r\n\r\n"

# Metrics of what happened to the hostile connections.
SHOWN = ("clickedge_accept_failures", "clickedge_connections_ended", "clickedge_requests_limited")

# What each kind sends first, and every tenth of a second.
KINDS = {
    "drip: a header byte by byte": (b"GET /spring HTTP/1.1\r\nHost: go", b"a"),
    "half a header": (b"GET /spring HTTP/1.1\r\nHost: go", b""),
    "idle: nothing at all": (b"", b""),
    "large: a header of 1 MB": (b"GET /spring HTTP/1.1\r\nX: " + b"a" * (1 << 20), b"a"),
    "slow read: answers are not read": (UNKNOWN * 1000, b""),
    "TLS stall: half a handshake": (b"\x16\x03\x01\x02\x00\x01", b""),
    "flood: requests without end": (UNKNOWN * 20, UNKNOWN * 20),
}

CONFIG = """
[edge]
threads = 1
[[listeners]]
address = "127.0.0.1:{port}"
[[listeners]]
address = "127.0.0.1:{tls}"
[[listeners.tls]]
certificate_file = "tls.pem"
key_file = "tls.key"
[limits]
connections_per_address = 26
{limits}
[catalog]
file = "links.ndjson"
[capture]
dir = "{rings}"
ring_bytes = 16777216
[enrich]
workers = 1
[spool]
dir = "spool"
[admin]
address = "127.0.0.1:{admin}"
[telemetry]
log_level = "warn"
[shutdown]
grace_secs = 0
[[feeds]]
name = "all"
workspaces = ["*"]
sink.dir.path = "bucket"
"""

LINK = {
    "id": "1", "slashtag": "spring", "destination": "https://www.example.com/", "createdAt": "2026-03-01T09:30:00.000Z",
    "domain": {"id": "d-1", "fullName": "go.brand.com"}, "creator": {"id": "u-1", "fullName": "Ana Lima"},
    "workspace": {"id": "w-1", "name": "Marketing"},
}


def dial(port, address):
    """A connection from one of 20 hostile addresses, in progress."""
    stream = socket.socket()
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    stream.bind((address, 0))
    stream.setblocking(False)
    stream.connect_ex(("127.0.0.1", port))
    return stream


def attack(kind, port, reads, end):
    """Holds its connections, and makes those again that end. Each has its own moment in the tenth of a second."""
    os.sched_setaffinity(0, set(range(1, os.cpu_count())))
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    first, then = KINDS[kind]
    streams = [None] * HOSTILE
    while time.monotonic() < end:
        tick = time.monotonic()
        for number, stream in enumerate(streams):
            time.sleep(max(0.0, tick + 0.1 * number / HOSTILE - time.monotonic()))
            try:
                if stream is None:
                    streams[number] = stream = dial(port, f"127.0.1.{number % 20 + 1}")
                    select.select([], [stream], [], 0.01)
                    if first:
                        stream.send(first)
                    continue
                if reads:
                    stream.recv(65536)
                if then:
                    stream.send(then)
            except BlockingIOError:
                pass
            except OSError:
                stream.close()
                streams[number] = None
        # Without anything to read, only a reset or a close shows.
        if not reads:
            open_streams = {stream.fileno(): number for number, stream in enumerate(streams) if stream}
            poll = select.poll()
            for descriptor in open_streams:
                poll.register(descriptor, select.POLLRDHUP)
            for descriptor, _ in poll.poll(0):
                streams[open_streams[descriptor]].close()
                streams[open_streams[descriptor]] = None
        time.sleep(max(0.0, tick + 0.1 - time.monotonic()))


def ask(port):
    try:
        with socket.create_connection(("127.0.0.1", port), 30, ("127.0.2.1", 0)) as stream:
            stream.sendall(GOOD)
            answer = b""
            while some := stream.recv(65536):
                answer += some
        return answer.startswith(b"HTTP/1.1 302 ")
    except OSError:
        return False


def good(port, seconds, pid):
    """Latencies in milliseconds, failures, most memory in MiB, most descriptors."""
    latencies, failed, memory, descriptors = [], 0, 0, 0
    due = time.monotonic()
    for number in range(int(seconds * RATE)):
        due += 1 / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        if not ask(port):
            failed += 1
        latencies.append(1000 * (time.monotonic() - due))
        if number % 10 == 0:
            with open(f"/proc/{pid}/status", encoding="utf-8") as status:
                memory = max(memory, next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) / 1024)
            descriptors = max(descriptors, len(os.listdir(f"/proc/{pid}/fd")))
    return sorted(latencies), failed, memory, descriptors


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def row(name, measured):
    latencies, failed, memory, descriptors = measured
    p50, p99 = (latencies[int(len(latencies) * share)] for share in (0.5, 0.99))
    print(f"{name:<34} {p50:7.2f} {p99:7.2f} {failed:7} {memory:9.1f} {descriptors:12}", flush=True)


def series(binary, seconds, limits, kinds):
    """Measures one edge, undisturbed and with each of these kinds."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        port, tls, admin = free_ports(3)
        with open(f"{folder}/links.ndjson", "w", encoding="utf-8") as links:
            links.write(json.dumps(LINK) + "\n")
        with open(f"{folder}/clickedge.toml", "w", encoding="utf-8") as config:
            config.write(CONFIG.format(port=port, tls=tls, admin=admin, rings=rings, limits=limits))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "30", "-subj", "/CN=go.brand.com", "-addext", "subjectAltName=DNS:go.brand.com",
                        "-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.pem"], check=True, capture_output=True)
        command = ["sh", "-c", "ulimit -n 1024; exec \"$0\" \"$@\"", "taskset", "-c", "0", binary, "serve", "--config",
                   f"{folder}/clickedge.toml"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as edge:
            try:
                while not ask(port):
                    if edge.poll() is not None:
                        sys.exit("the edge has not started")
                    time.sleep(0.1)
                good(port, 2, edge.pid)
                row("undisturbed", good(port, seconds, edge.pid))
                for kind in kinds:
                    target = tls if kind.startswith("TLS") else port
                    arguments = (kind, target, kind.startswith("flood"), time.monotonic() + seconds + 2)
                    hostile = multiprocessing.Process(target=attack, args=arguments)
                    hostile.start()
                    time.sleep(1)
                    row(kind, good(port, seconds, edge.pid))
                    hostile.join()
                row("undisturbed again", good(port, seconds, edge.pid))
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics") as metrics:
                    for line in metrics.read().decode().splitlines():
                        if line.startswith(SHOWN) and not line.endswith(" 0"):
                            print(line)
            finally:
                edge.terminate()


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 15
    binary = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else os.path.join(ROOT, "target", "release", "clickedge"))
    print(f"{'latency of good clients, ms':<34} {'p50':>7} {'p99':>7} {'failed':>7} {'MiB':>9} {'descriptors':>12}")
    os.sched_setaffinity(0, set(range(1, os.cpu_count())))
    *stalls, flood = KINDS
    series(binary, seconds, "", stalls)
    series(binary, seconds, "requests_per_second = 200", [flood])


if __name__ == "__main__":
    main()
