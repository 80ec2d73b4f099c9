#!/usr/bin/env python3
"""Bytes of a click on its way, and memory of links and connections: the figures behind `clickedge doctor`.

    bench/sizes.py [CLICKS] [BINARY]      default 40000 clicks, of target/release/clickedge; needs root

Clicks have the headers of browsers, 20,000 addresses behind a trusted proxy, and 10,000 links by Zipf's law. For the
journal and the rings, the spool is a small tmpfs: events stay in its journal, and once it is full, clicks stay in the
rings. Then another edge is stopped for good, which delivers all of them as objects. Memory is anonymous memory of the
process, without the rings: before and after idle connections, and with catalogs of two sizes.
"""

import gzip
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RANDOM = random.Random(7)
ADDRESSES = [f"{RANDOM.randrange(1, 224)}.{RANDOM.randrange(256)}.{RANDOM.randrange(256)}.{RANDOM.randrange(1, 255)}"
             for _ in range(20_000)]
AGENTS = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{0}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{0}.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5"
    " Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6"
    " Safari/605.1.15",
    "Mozilla/5.0 (X11; Linux x86_64; rv:{0}.0) Gecko/20100101 Firefox/{0}.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/21E236"
    " Instagram 330.0.3.29.{0} (iPhone15,2; iOS 17_4_1; en_US; scale=3.00; 1179x2556; 595)",
]
REFERRERS = ["", "https://www.google.com/", "https://l.instagram.com/", "https://t.co/", "https://news.example.org/a/b"]
LANGUAGES = ["en-US,en;q=0.9", "de-DE,de;q=0.9,en;q=0.8", "it-IT,it;q=0.9", "fr-FR,fr;q=0.8,en-US;q=0.5,en;q=0.3"]

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
connections_per_address = 0
[client_address]
trusted_proxies = ["127.0.0.0/8"]
[catalog]
file = "links.ndjson"
[capture]
dir = "{rings}"
ring_bytes = 67108864
[enrich]
workers = 1
[spool]
dir = "spool"
[admin]
address = "127.0.0.1:{admin}"
[telemetry]
log_level = "error"
[[feeds]]
name = "all"
workspaces = ["*"]
max_age_secs = 3600
hold_back_secs = 3600
sink.dir.path = "bucket"
"""


def link(number):
    """A link with about 70 bytes of destination."""
    return {
        "id": f"l-{number}", "slashtag": f"link-{number}", "createdAt": "2026-03-01T09:30:00.000Z",
        "destination": f"https://www.example.com/products/{number}/landing?utm_source=poster",
        "domain": {"id": "d-1", "fullName": "go.brand.com"}, "creator": {"id": "u-1", "fullName": "Ana Lima"},
        "workspace": {"id": "w-1", "name": "Marketing"},
    }


def request(links):
    """A click of a browser."""
    agent = RANDOM.choice(AGENTS).format(RANDOM.randrange(110, 143))
    number = min(links - 1, int(RANDOM.paretovariate(0.9)) - 1)
    query = f"?utm_term={RANDOM.randrange(1000)}" if RANDOM.random() < 0.3 else ""
    lines = [f"GET /link-{number}{query} HTTP/1.1", "Host: go.brand.com", f"User-Agent: {agent}",
             "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
             f"Accept-Language: {RANDOM.choice(LANGUAGES)}", "Accept-Encoding: gzip, deflate, br",
             "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Site: cross-site",
             f"X-Forwarded-For: {RANDOM.choice(ADDRESSES)}"]
    if referrer := RANDOM.choice(REFERRERS):
        lines.append(f"Referer: {referrer}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Edge:
    """A running edge."""

    def __init__(self, binary, folder, rings, links):
        self.links = min(links, 10_000)
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        self.port, self.tls, self.admin = (each.getsockname()[1] for each in sockets)
        for each in sockets:
            each.close()
        with open(f"{folder}/links.ndjson", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(link(number)) + "\n" for number in range(links))
        with open(f"{folder}/clickedge.toml", "w", encoding="utf-8") as config:
            config.write(CONFIG.format(port=self.port, tls=self.tls, admin=self.admin, rings=rings))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-days", "30", "-subj", "/CN=go.brand.com", "-addext", "subjectAltName=DNS:go.brand.com",
                        "-keyout", f"{folder}/tls.key", "-out", f"{folder}/tls.pem"], check=True, capture_output=True)
        command = [binary, "serve", "--config", f"{folder}/clickedge.toml"]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/readyz"):
                    return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("the edge has not started")
                time.sleep(0.1)

    def clicks(self, count):
        """Clicks, on one connection."""
        with socket.create_connection(("127.0.0.1", self.port)) as stream:
            for _ in range(count):
                stream.sendall(request(self.links))
                answer = stream.recv(65536)
                if not answer.startswith(b"HTTP/1.1 302 "):
                    sys.exit(f"no redirect: {answer[:100]}")

    def metric(self, name):
        """The sum of a metric's series."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics") as metrics:
            lines = metrics.read().decode().splitlines()
        series = (line for line in lines if line.split("{")[0].split(" ")[0] == f"clickedge_{name}")
        return sum(float(line.rsplit(" ", 1)[1]) for line in series)

    def memory(self):
        """Anonymous memory, in bytes."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) * 1024

    def connections(self, count, tls):
        """Memory of each of so many connections that have had a redirect and wait for their next request."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        before, streams = self.memory(), []
        for number in range(count):
            stream = socket.create_connection(("127.0.0.1", self.tls if tls else self.port), 10,
                                              (f"127.0.1.{number % 20 + 1}", 0))
            stream = context.wrap_socket(stream, server_hostname="go.brand.com") if tls else stream
            stream.sendall(request(self.links))
            stream.recv(65536)
            streams.append(stream)
        after = self.memory()
        for stream in streams:
            stream.close()
        return (after - before) / count

    def stop(self, how):
        """Ends it, and waits."""
        self.process.send_signal(how)
        self.process.wait(60)


def journal_and_rings(binary, clicks):
    """Bytes of a click in the journal and in the rings."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        os.mkdir(f"{folder}/spool")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m", "tmpfs", f"{folder}/spool"], check=True)
        try:
            edge = Edge(binary, folder, rings, 10_000)
            try:
                edge.clicks(clicks)
                deadline = time.monotonic() + 10
                while edge.metric("clicks_journaled_total") < clicks and time.monotonic() < deadline:
                    time.sleep(0.1)
                journal = edge.metric("journal_bytes") / edge.metric("clicks_journaled_total")
                with open(f"{folder}/spool/ballast", "wb", buffering=0) as ballast:
                    try:
                        while True:
                            ballast.write(bytes(4096))
                    except OSError:
                        pass
                edge.clicks(clicks // 2)
                time.sleep(1)
                waiting = edge.metric("clicks_answered_total") - edge.metric("clicks_journaled_total")
                return journal, edge.metric("ring_held_bytes") / waiting, waiting
            finally:
                edge.stop(signal.SIGKILL)
        finally:
            subprocess.run(["umount", "--lazy", f"{folder}/spool"], check=True)


def objects(binary, clicks):
    """Bytes of an event in delivered objects, and before compression."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        edge = Edge(binary, folder, rings, 10_000)
        edge.clicks(clicks)
        edge.stop(signal.SIGQUIT)
        files = (os.path.join(place, name) for place, _, names in os.walk(f"{folder}/bucket") for name in names)
        files = [file for file in files if "/_" not in file and file.endswith(".ndjson.gz")]
        events = [line for file in files for line in gzip.open(file)]
        return sum(map(os.path.getsize, files)) / len(events), sum(map(len, events)) / len(events)


def memory(binary, links, connections):
    """Memory with so many links, the catalog's own figure, and memory of plain and TLS connections."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory(dir="/dev/shm") as rings:
        edge = Edge(binary, folder, rings, links)
        try:
            edge.clicks(1_000)
            figures = [edge.memory(), edge.metric("catalog_bytes"), os.path.getsize(f"{folder}/links.ndjson")]
            return figures + [edge.connections(connections, tls) for tls in (False, True) if connections]
        finally:
            edge.stop(signal.SIGKILL)


def main():
    clicks = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    binary = os.path.abspath(sys.argv[2] if len(sys.argv) > 2 else os.path.join(ROOT, "target", "release", "clickedge"))
    journal, ring, waiting = journal_and_rings(binary, clicks)
    print(f"bytes a click in the rings             {ring:8.0f}   ({waiting:.0f} clicks)", flush=True)
    print(f"bytes a click in the journal           {journal:8.0f}   ({clicks} clicks)", flush=True)
    compressed, event = objects(binary, clicks)
    print(f"bytes a click in an object, gzip       {compressed:8.0f}   ({event:.0f} before)", flush=True)
    few, _, _, plain, tls = memory(binary, 1_000, 2_000)
    print(f"bytes of an idle connection            {plain:8.0f}   (2000 connections)")
    print(f"bytes of an idle TLS connection        {tls:8.0f}   (2000 connections)")
    print(f"MiB with 1,000 links                   {few / (1 << 20):8.1f}", flush=True)
    many, catalog, file = memory(binary, 500_000, 0)
    print(f"bytes a link, of the process           {(many - few) / 499_000:8.0f}   (500000 links, after loading)")
    print(f"bytes a link, of the catalog           {catalog / 500_000:8.0f}   ({file / 500_000:.0f} in the file)")


if __name__ == "__main__":
    main()
