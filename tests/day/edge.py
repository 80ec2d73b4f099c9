"""An edge on this machine, its visitors, and what it says of itself."""

import collections
import http.client
import json
import os
import subprocess

from runbook import Failure, Page
from store import REGION, nonces
from world import free_port, run, until

CONFIG = """
[edge]
pop = "{name}"
threads = 1
[[listeners]]
address = "127.0.0.1:{port}"
[capture]
dir = "{rings}"
ring_bytes = 4194304
[enrich]
workers = 1
session_visitors = 1000
{enrich}
[spool]
dir = "spool"
journal_max_bytes = 16777216
[admin]
address = "127.0.0.1:{admin}"
[shutdown]
grace_secs = 0
[catalog]
{catalog}
[[feeds]]
name = "all-clicks"
workspaces = ["*"]
max_age_secs = 1
hold_back_secs = 0
[feeds.sink.s3]
{bucket}
{more}
"""

BUCKET = """bucket = "{name}"
region = "{region}"
endpoint = "http://127.0.0.1:{port}"
path_style = true
credentials_file = "credentials"
"""

FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
)


class Edge:
    """An edge with a bucket of its name, and a ledger of the clicks that it has answered."""

    def __init__(self, binary, folder, name, store, way=None, enrich="", more="", catalog='file = "links.ndjson"'):
        self.binary, self.name, self.store = binary, name, store
        self.folder = os.path.join(folder, name)
        self.port, self.admin = free_port(), free_port()
        self.sent, self.process, self.pid = [], None, None
        os.makedirs(self.folder)
        self.rings = f"{rings_of(folder)}/{name}"
        store.make(name, f"{self.folder}/credentials")
        bucket = BUCKET.format(name=name, region=REGION, port=way.port if way else store.port)
        self.write("clickedge.toml", CONFIG.format(
            name=name, port=self.port, admin=self.admin, rings=self.rings, enrich=enrich, more=more, bucket=bucket,
            catalog=catalog))
        self.write("links.ndjson", run(binary, "generate", "links"))
        self.may_deliver()

    def may_deliver(self):
        """The owner of the bucket grants what the manual's command prints. Returns it."""
        printed = self.command("feed", "policy", "all-clicks", "--only", "bucket")
        statements = json.loads(printed[:printed.rindex("}") + 1])["Statement"]
        self.store.grant(self.name, statements)
        return statements

    def write(self, name, text):
        with open(f"{self.folder}/{name}", "w", encoding="utf-8") as file:
            file.write(text)

    def reconfigure(self, before, after):
        with open(f"{self.folder}/clickedge.toml", encoding="utf-8") as file:
            text = file.read()
        if before not in text:
            raise Failure(f"no {before} in the configuration")
        self.write("clickedge.toml", text.replace(before, after))

    def start(self, clock=None):
        environment = dict(os.environ)
        if clock:
            environment |= {
                "LD_PRELOAD": clock, "FAKETIME_TIMESTAMP_FILE": f"{self.folder}/clock", "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1"}
        with open(f"{self.folder}/log", "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", "--config", f"{self.folder}/clickedge.toml"], env=environment, stderr=log,
                stdout=log)
        self.pid = self.process.pid
        until("the edge is ready", self.is_ready, 60, seen=self.tail)

    def is_ready(self):
        if self.process.poll() is not None:
            raise Failure(f"the edge has ended with {self.process.returncode}: {self.tail()}")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for name in (f"faketime_shm_{self.pid}", f"sem.faketime_sem_{self.pid}"):
            if os.path.exists(f"/dev/shm/{name}"):
                os.remove(f"/dev/shm/{name}")

    def command(self, *words, code=0):
        """Runs a command of the binary with this edge's configuration."""
        return run(self.binary, *words, "--config", f"{self.folder}/clickedge.toml", code=code, cwd=self.folder)

    # Visitors.

    def click(self, times=1, slashtag="hello", noise=0):
        """Clicks that are answered with a redirect. Each has so many characters of noise, which compress by half."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        for _ in range(times):
            nonce = f"day-{self.name}-{len(self.sent)}"
            connection.request("GET", f"/{slashtag}?n={nonce}&x={os.urandom(noise // 2).hex()}", headers={
                "Host": "go.example.com", "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 302:
                raise Failure(f"a click on /{slashtag} is answered with {answer.status}")
            self.sent.append(nonce)
        connection.close()

    # What the edge says.

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def status(self):
        return json.loads(self.get("/v1/status")[1])

    def feed(self):
        return self.status()["feeds"][0]

    def page(self):
        return Page(self.get("/")[1])

    def metrics(self):
        """All samples, and sums of them by name."""
        samples, sums = {}, collections.Counter()
        for line in self.get("/metrics")[1].splitlines():
            if line and not line.startswith("#"):
                name, value = line.rsplit(" ", 1)
                samples[name] = float(value)
                sums[name.split("{")[0].removeprefix("clickedge_").removesuffix("_total")] += float(value)
        return samples, sums

    def log(self, words):
        """The lines of the log with these words in their message, as objects."""
        with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as file:
            lines = [json.loads(line) for line in file if line.startswith("{")]
        return [line for line in lines if words in line.get("message", "")]

    def tail(self):
        with open(f"{self.folder}/log", encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-5:])

    # What is owed.

    def events_arrive(self, lost=0, seconds=60):
        """Waits until each click is in the bucket exactly once, but for as many as the account says are lost."""
        def there():
            found = nonces(self.store.events(self.name))
            doubled = [nonce for nonce, count in collections.Counter(found).items() if count > 1]
            if doubled or set(found) - set(self.sent):
                raise Failure(f"delivered twice: {doubled}; never sent: {set(found) - set(self.sent)}")
            return len(found) == len(self.sent) - lost
        until(f"{len(self.sent) - lost} events in the bucket", there, seconds, 0.5, lambda: (
            f"{len(self.store.events(self.name))} are there; {json.dumps(self.status()['account'])}"))

    def account_balances(self):
        """The formulas of the manual's accounting hold."""
        def differences():
            of = self.metrics()[1]
            clicks = of["clicks_answered"] + of["clicks_recovered"] - (
                of["clicks_enriched"] + of["ring_clicks"] + of["clicks_dropped"])
            events = of["events_routed"] + of["events_recovered"] - (
                of["events_pending"] + of["events_delivered"] + of["events_dropped"])
            return clicks, events
        until("the account balances", lambda: differences() == (0, 0), 20, seen=lambda: (
            f"clicks and events differ by {differences()}"))


def faketime():
    """The library that sets the clock of a process, where it is installed."""
    return next((path for path in FAKETIME if os.path.exists(path)), None)


def rings_of(folder):
    """A folder in memory, of the name of another."""
    rings = f"/dev/shm/{os.path.basename(folder)}"
    os.makedirs(rings, mode=0o700, exist_ok=True)
    return rings
