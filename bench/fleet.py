#!/usr/bin/env python3
"""Three edges that share a bucket: how soon a change is on all of them, and whether they end equal after failures.

    bench/fleet.py [CHANGES] [SECONDS] [BINARY]      default 10000, 60, target/release/clickedge

First the time to equality, without failures, over NATS and then by looks at the bucket once a second: SECONDS of
changes by the API of the first edge, 20 a second through 4 connections. For each it is the time from the answer of the
API until all three edges redirect to the new destination, which a visitor of each edge tries every 4 ms.

Then CHANGES changes through 16 connections, each of which sends a change to one edge and after a failure to the next,
until it is accepted. Meanwhile edges, the NATS server and the store are killed (SIGKILL) at random and started again.
In the end all edges have to have the same generation and revision, and the links that were accepted: the lists of their
APIs are compared with each other and with what was sent. Then the edges are killed, and what each has on disk has to
have the hash that the head of the bucket says. Exits with 1 when anything differs.

Everything runs on this machine and listens on loopback. The store is bench/store.py, which keeps objects in files.
"""

import heapq
import json
import os
import queue
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

from edges import RELEASE, ROOT, Api, Edge, Visitor, free_ports, link, share, wait_for

LINKS = 1000
RATE = 20
BUCKETS = (5, 10, 20, 50, 100, 200, 500, 1000, 1500, 2000, 3000)
KINDS = ("edge-0", "edge-1", "edge-2", "nats", "store")
# Most seconds between two changes of a client: all of them together take a minute, with many failures.
PAUSE = 0.1
# A change is accepted within this time, or the run has failed.
LONGEST = 120

CATALOG = """
[catalog.fleet]
poll_millis = 1000
[catalog.fleet.bucket]
bucket = "links"
prefix = "catalog"
region = "eu-west-1"
endpoint = "http://127.0.0.1:{store}"
path_style = true
credentials_file = "../credentials"
"""
NATS = """
[catalog.fleet.nats]
servers = ["nats://127.0.0.1:{nats}"]
"""


class Server:
    """A process that can be killed and started again."""

    def __init__(self, *command):
        self.command, self.process = command, None

    def start(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait_until_open(self, port):
        def is_open():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait_for(f"{self.command[0]} listens", is_open)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def remove(self):
        if self.process and self.process.poll() is None:
            self.kill()


class Fleet:
    """A bucket with a catalog, and three edges that have it."""

    def __init__(self, binary, folder, announced):
        self.folder = folder
        store, nats, *ports = free_ports(8)
        os.makedirs(folder)
        with open(f"{folder}/credentials", "w", encoding="utf-8") as file:
            file.write("[default]\naws_access_key_id = bench\naws_secret_access_key = bench\n")
        self.servers = {"store": Server(os.path.join(ROOT, "bench", "store.py"), str(store), f"{folder}/store")}
        if announced:
            self.servers["nats"] = Server("nats-server", "-a", "127.0.0.1", "-p", str(nats))
        catalog = (CATALOG + (NATS if announced else "")).format(store=store, nats=nats)
        self.edges = []
        for number in range(3):
            name = f"edge-{number}"
            edge = Edge(binary, folder, name, catalog, ports[2 * number:2 * number + 2])
            self.servers[name] = edge
            self.edges.append(edge)
        try:
            self.begin(binary, folder, store)
        except BaseException:
            self.remove()
            raise

    def begin(self, binary, folder, store):
        self.servers["store"].start()
        if "nats" in self.servers:
            self.servers["nats"].start()
        with open(f"{folder}/links.ndjson", "w", encoding="utf-8") as file:
            for number in range(LINKS):
                file.write(json.dumps(link(f"first-{number}", f"https://www.example.com/{number}")) + "\n")
        snapshot = f"{folder}/links.snapshot"
        subprocess.run([binary, "catalog", "build", f"{folder}/links.ndjson", "-o", snapshot, "--generation", "0"],
                       check=True, capture_output=True)
        publish = [binary, "catalog", "publish", "s3://links/catalog", snapshot, "--region", "eu-west-1", "--endpoint",
                   f"http://127.0.0.1:{store}", "--path-style", "--credentials-file", f"{folder}/credentials"]
        self.servers["store"].wait_until_open(store)
        subprocess.run(publish, stdout=subprocess.DEVNULL, check=True)
        for edge in self.edges:
            edge.start()
        for edge in self.edges:
            edge.wait_until_ready()

    def wait_until_equal(self, seconds=60):
        """Waits until all edges say that they have the same change last. Returns its generation and number."""
        def equal():
            positions = {edge.position() for edge in self.edges}
            return None not in positions and len(positions) == 1 and positions.pop()
        try:
            return wait_for("all edges are equal", equal, seconds)
        except SystemExit:
            for edge in self.edges:
                print(edge.name, edge.position())
            raise

    def remove(self):
        for server in self.servers.values():
            server.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


def delays(fleet, name, seconds):
    """The time from the acceptance of each change until it is on all edges, in milliseconds, sorted."""
    waiting = [queue.Queue() for _ in fleet.edges]
    seen, numbers, failures = [{} for _ in fleet.edges], iter(range(10**9)), []
    start = time.monotonic()

    def write():
        api = Api(fleet.edges[0])
        while (number := next(numbers)) < seconds * RATE:
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            slashtag = f"{name}-{number}"
            status, body = api.send("PUT", f"/v1/links/go.brand.com/{slashtag}",
                                    json.dumps(link(slashtag, f"https://www.example.com/{number}")))
            accepted = time.monotonic()
            if status != 201:
                failures.append(f"a change was answered with {status}: {body[:300]}")
                return
            for each in waiting:
                each.put((json.loads(body)["revision"], accepted, number))

    def watch(place):
        # An edge takes changes in their order: the first one that it lacks is the next that it gets.
        visitor, lacking, open_end = Visitor(fleet.edges[place].port), [], True
        while open_end or lacking:
            while not waiting[place].empty() or not lacking and open_end:
                if (change := waiting[place].get()) is None:
                    open_end = False
                    break
                heapq.heappush(lacking, change)
            if not lacking:
                continue
            _, accepted, number = lacking[0]
            if visitor.leads_to(f"{name}-{number}") == f"https://www.example.com/{number}":
                seen[place][number] = 1000 * (time.monotonic() - accepted)
                heapq.heappop(lacking)
            elif time.monotonic() - accepted > LONGEST:
                failures.append(f"edge {place} lacks change {number} after {LONGEST} s")
                return
            else:
                time.sleep(0.004)

    writers = [threading.Thread(target=write) for _ in range(4)]
    watchers = [threading.Thread(target=watch, args=(place,)) for place in range(len(fleet.edges))]
    for thread in writers + watchers:
        thread.start()
    for thread in writers:
        thread.join()
    for each in waiting:
        each.put(None)
    for thread in watchers:
        thread.join()
    if failures:
        raise SystemExit(f"FAILED: {failures[0]}")
    return sorted(max(each[number] for each in seen) for number in seen[0])


def announced_changes(fleet):
    return sum(edge.metric('clickedge_fleet_polls_total{result="announced"}') for edge in fleet.edges)


def measure_delays(title, fleet, seconds):
    # Until connections and subscriptions are there.
    delays(fleet, "before", 3)
    before = announced_changes(fleet)
    measured = delays(fleet, "delay", seconds)
    announced = announced_changes(fleet) - before
    fleet.wait_until_equal()
    p50, p90, p99 = (share(measured, part) for part in (0.5, 0.9, 0.99))
    print(f"{title}: {len(measured)} changes, p50 {p50:.0f}, p90 {p90:.0f}, p99 {p99:.0f}, max {measured[-1]:.0f} ms; "
          f"{announced:.0f} came to an edge with a message")
    for low, high in zip((0, *BUCKETS), (*BUCKETS, float("inf"))):
        if count := sum(low <= each < high for each in measured):
            bar = "#" * max(1, round(60 * count / len(measured)))
            print(f"  {f'{low} to {high} ms' if high < float('inf') else f'{low} ms or more':<16} {count:6} {bar}")
    sys.stdout.flush()
    return p99


class Writers:
    """Clients that change links, each its own, and send a change again until it is accepted."""

    def __init__(self, fleet, changes, clients=16):
        self.fleet, self.clients = fleet, clients
        self.left, self.lock = iter(range(changes)), threading.Lock()
        self.links, self.times, self.tries, self.failures, self.last = {}, [], 0, [], 0.0
        self.threads = [threading.Thread(target=self.run, args=(client,)) for client in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self, client):
        choice = random.Random(client)
        apis, place = [Api(edge) for edge in self.fleet.edges], 0
        while True:
            with self.lock:
                number = next(self.left, None)
            if number is None or self.failures:
                return
            slashtag = f"{client}-{choice.randrange(200)}"
            to = None if choice.random() < 0.1 else f"https://www.example.com/{number}"
            start, tries = time.monotonic(), 0
            while not self.send(apis[place], slashtag, to):
                tries += 1
                place = (place + 1) % len(apis)
                if time.monotonic() - start > LONGEST:
                    self.failures.append(f"a change was not accepted within {LONGEST} s")
                if self.failures:
                    return
                time.sleep(0.05)
            with self.lock:
                self.last = time.monotonic()
                self.times.append(1000 * (self.last - start))
                self.tries += 1 + tries
                self.links[slashtag] = to
            time.sleep(choice.uniform(0, PAUSE))

    def send(self, api, slashtag, to):
        """Sends a change. Returns whether it was accepted."""
        path = f"/v1/links/go.brand.com/{slashtag}"
        if to is None:
            status, body = api.send("DELETE", path)
        else:
            status, body = api.send("PUT", path, json.dumps(link(slashtag, to)))
        # A link that is to be deleted may be missing.
        if status in (200, 201, 204) or status == 404 and to is None:
            return True
        # Another edge was faster for ten seconds (409), the bucket is away (503), or the edge (0).
        if status not in (0, 409, 503):
            self.failures.append(f"{path}: {status} {body[:300]}")
        return False

    def are_done(self):
        return not any(thread.is_alive() for thread in self.threads)


def kill_at_random(fleet, writers, choice):
    """Kills servers and starts them again, until all changes are accepted. Returns how often each was killed."""
    killed = dict.fromkeys(KINDS, 0)
    while not writers.are_done():
        names = choice.sample(KINDS, choice.choice((1, 1, 2)))
        for name in names:
            fleet.servers[name].kill()
            killed[name] += 1
        time.sleep(choice.uniform(0.1, 1.5))
        for name in names:
            fleet.servers[name].start()
        time.sleep(choice.uniform(0.3, 2))
    return killed


def measure_failures(fleet, changes):
    seed = int(os.environ.get("SEED", time.time()))
    start = time.monotonic()
    writers = Writers(fleet, changes)
    killed = kill_at_random(fleet, writers, random.Random(seed))
    if writers.failures:
        raise SystemExit(f"FAILED: {writers.failures[0]}")
    for edge in fleet.edges:
        edge.wait_until_ready()
    generation, revision = fleet.wait_until_equal()
    equal = time.monotonic()
    times = sorted(writers.times)
    print(f"failures (SEED={seed}): {len(times)} changes in {writers.last - start:.0f} s, sent {writers.tries} times; "
          f"accepted after p50 {share(times, 0.5):.0f}, p99 {share(times, 0.99):.0f}, max {times[-1]:.0f} ms")
    print("  killed: " + ", ".join(f"{name} {count}" for name, count in killed.items()))
    print(f"  all edges have generation {generation}, revision {revision}, "
          f"{equal - writers.last:.1f} s after the last change, the last start included")
    lists = [edge.links() for edge in fleet.edges]
    expected = {f"first-{number}": f"https://www.example.com/{number}" for number in range(LINKS)}
    expected.update((slashtag, to) for slashtag, to in writers.links.items() if to)
    for edge, links in zip(fleet.edges, lists):
        if links != lists[0]:
            raise SystemExit(f"FAILED: {edge.name} lists other links than edge-0")
    found = {slashtag: each["destination"] for slashtag, each in lists[0].items()}
    if found != expected:
        wrong = sorted(each for each in found.keys() | expected.keys() if found.get(each) != expected.get(each))
        raise SystemExit(f"FAILED: {len(wrong)} links are not what was accepted, such as {wrong[:3]}")
    for edge in fleet.edges:
        edge.kill()
    with open(f"{fleet.folder}/store/links/catalog/head.json", encoding="utf-8") as file:
        head = json.load(file)["position"]
    hashes = {edge.hash_on_disk() for edge in fleet.edges}
    if hashes != {head["hash"]} or (generation, revision) != (head["generation"], head["revision"]):
        raise SystemExit(f"FAILED: the edges have {hashes} on disk, and the head says {head}")
    print(f"  each lists the {len(expected)} links that were accepted, and has hash {head['hash'][:16]} on disk")


def main():
    changes = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60
    binary = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else RELEASE
    with tempfile.TemporaryDirectory(prefix="clickedge-fleet.") as folder:
        with Fleet(binary, f"{folder}/nats", announced=True) as fleet:
            announced = measure_delays("time to equality over NATS", fleet, seconds)
        with Fleet(binary, f"{folder}/looks", announced=False) as fleet:
            looks = measure_delays("time to equality by looks once a second", fleet, seconds)
        with Fleet(binary, f"{folder}/failures", announced=True) as fleet:
            measure_failures(fleet, changes)
    if announced >= 1000 or looks >= 3000:
        raise SystemExit("FAILED: the p99 of the time to equality is above 1 s over NATS, or 3 s by looks")


if __name__ == "__main__":
    main()
