"""What the measurements of a changing catalog share: edges, their API, and a client for redirects."""

import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RELEASE = os.path.join(ROOT, "target", "release", "clickedge")

CONFIG = """
[edge]
pop = "{name}"
threads = 1
[[listeners]]
address = "127.0.0.1:{port}"
[catalog]
state_dir = "state"
{catalog}
[capture]
dir = "{rings}"
ring_bytes = 16777216
[enrich]
workers = 1
[spool]
dir = "spool"
[admin]
address = "127.0.0.1:{admin}"
tokens_file = "tokens"
[telemetry]
log_level = "warn"
[shutdown]
grace_secs = 0
[[feeds]]
name = "all"
workspaces = ["*"]
sink.dir.path = "bucket"
"""


def free_ports(count, start=18400):
    """Ports below the range of outgoing connections, so that a process which was killed gets its own again."""
    ports, port = [], start
    while len(ports) < count:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
                ports.append(port)
            except OSError:
                pass
        port += 1
    return ports


def wait_for(what, found, seconds=60, pause=0.02):
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            raise SystemExit(f"FAILED: {what}: not within {seconds} s")
        time.sleep(pause)
    return value


def link(slashtag, destination, host="go.brand.com"):
    """A link with what a catalog has of one."""
    return {
        "id": f"l-{host}-{slashtag}", "slashtag": slashtag, "destination": destination,
        "createdAt": "2026-03-01T09:30:00.000Z", "domain": {"id": "d-1", "fullName": host},
        "creator": {"id": "u-1", "fullName": "Ana Lima"}, "workspace": {"id": "w-1", "name": "Marketing"},
    }


class Edge:
    """An edge with a folder of its own, which can be killed and started again."""

    def __init__(self, binary, folder, name, catalog, ports, prefix=()):
        self.binary, self.name, self.prefix = binary, name, list(prefix)
        self.port, self.admin = ports
        self.folder = os.path.join(folder, name)
        os.makedirs(self.folder)
        # The rings are in memory.
        self.rings = tempfile.mkdtemp(prefix="clickedge-bench.", dir="/dev/shm")
        self.token, line = token(binary)
        with open(f"{self.folder}/tokens", "w", encoding="utf-8") as file:
            file.write(line + "\n")
        with open(f"{self.folder}/clickedge.toml", "w", encoding="utf-8") as file:
            file.write(CONFIG.format(name=name, port=self.port, admin=self.admin, catalog=catalog, rings=self.rings))
        self.process = None

    def start(self):
        command = [*self.prefix, self.binary, "serve", "--config", f"{self.folder}/clickedge.toml"]
        # The audit log has a line for each change.
        with open(f"{self.folder}/log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stderr=log)

    def wait_until_ready(self):
        wait_for(f"{self.name} is ready (see its log)", lambda: self.get("/readyz")[0] == 200)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.rings, ignore_errors=True)

    def get(self, path):
        """Status and body of an answer of the admin listener; 0 while it does not answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=30)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def metric(self, name):
        """The value of a metric, by its whole name with labels; `None` while the edge does not answer."""
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[1].decode(), re.M)
        return float(found[1]) if found else None

    def position(self):
        """Generation and number of the last change of the fleet's catalog; `None` while the edge does not answer."""
        text = self.get("/metrics")[1].decode()
        found = [re.search(rf"^clickedge_fleet_{name} (\d+)$", text, re.M) for name in ("generation", "revision")]
        return tuple(int(each[1]) for each in found) if all(found) else None

    def hash_on_disk(self):
        """The hash of the catalog that the folder of a stopped edge has: its snapshot, and its log of changes."""
        state, made = f"{self.folder}/state", f"{self.folder}/made.snapshot"
        command = [self.binary, "catalog", "build", f"{state}/base.snapshot", "--changes", state, "-o", made]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return re.search(r"hash ([0-9a-f]{64})", shown)[1]

    def links(self, host="go.brand.com"):
        """All links of a domain, by slashtag: destination and version."""
        links, after = {}, ""
        while after is not None:
            status, body = self.get(f"/v1/links?domain={host}&limit=1000{after and '&after=' + after}")
            if status != 200:
                raise SystemExit(f"FAILED: {self.name} answered {status} to a list: {body[:500]}")
            page = json.loads(body)
            links.update((found["slashtag"], found) for found in page["links"])
            after = page.get("next")
        return links


def token(binary):
    """A token of all workspaces, and its line."""
    made = subprocess.run([binary, "catalog", "token", "bench"], capture_output=True, text=True, check=True)
    found = dict(line.split(":", 1) for line in (made.stdout + made.stderr).splitlines() if ":" in line)
    name, digest = found["line"].split()[:2]
    return found["token"].strip(), f"{name} {digest} *"


class Api:
    """A connection to the API of an edge, which is kept."""

    def __init__(self, edge):
        self.edge, self.connection = edge, None

    def send(self, method, path, body=None, content_type="application/json"):
        """Status and body of the answer; 0 when there is none."""
        # An edge answers within 20 s, whatever the bucket does.
        self.connection = self.connection or http.client.HTTPConnection("127.0.0.1", self.edge.admin, timeout=60)
        headers = {"Authorization": f"Bearer {self.edge.token}", "Content-Type": content_type}
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.connection = None
            return 0, b""


class Visitor:
    """A connection for redirects, which is kept."""

    def __init__(self, port, host="go.brand.com"):
        self.port, self.host, self.stream = port, host, None

    def leads_to(self, slashtag):
        """The destination of a link, or `None`."""
        if self.stream is None:
            self.stream = socket.create_connection(("127.0.0.1", self.port), 10)
            self.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream.sendall(f"GET /{slashtag} HTTP/1.1\r\nHost: {self.host}\r\nUser-Agent: bench\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            some = self.stream.recv(65536)
            if not some:
                raise SystemExit("FAILED: an edge closed the connection of a visitor")
            answer += some
        header, body = answer.split(b"\r\n\r\n", 1)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", header)
        left = int(length[1]) - len(body) if length else 0
        while left > 0:
            left -= len(self.stream.recv(left))
        location = re.search(rb"(?i)\r\nlocation: *([^\r\n]+)", header)
        return location[1].decode() if location and header.startswith(b"HTTP/1.1 302 ") else None


def share(values, part):
    """The value that this part of sorted values does not exceed."""
    return values[min(len(values) - 1, int(len(values) * part))]
