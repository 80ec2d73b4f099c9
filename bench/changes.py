#!/usr/bin/env python3
"""Redirects while their links change: 1,000 changes a second through the API, compared with none.

    bench/changes.py [ROUNDS] [SECONDS] [BINARY]      default 5, 10, target/release/clickedge

One edge without a fleet has 100,000 links. wrk requests random ones over 32 keep-alive connections, each of which waits
2 to 18 ms between two requests: a load that the edge can carry, because latency in overload only shows how many wait.
Rounds without changes and rounds with them take turns. Of ten changes eight give links that visitors request another
destination, one makes a link and one deletes it; they are sent in 20 batches a second, at fixed times. The edge has one
core, wrk and the batches the other. Prints the latency in each round and the ratio of the p99; exits with 1 when a
redirect or a change failed, when there were fewer than 990 changes a second, or when a link of the last batch does not
lead to its new destination.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from edges import RELEASE, Api, Edge, Visitor, free_ports, link

LINKS = 100_000
RATE = 1_000
BATCHES = 20
CORES = os.cpu_count()

LOAD = """
local requests = {}
function init()
  math.randomseed(os.time())
  for i = 1, 20000 do
    requests[i] = wrk.format("GET", string.format("/tag-%%d", math.random(0, %d - 1)), {
      ["Host"] = "go.brand.com",
      ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0",
      ["Accept-Language"] = "en",
    })
  end
end
local n = 0
function request()
  n = n %% #requests + 1
  return requests[n]
end
function delay()
  return math.random(2, 18)
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format("result %%d %%d %%d %%d %%d %%d\\n", summary.requests,
    errors.connect + errors.read + errors.write + errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


class Changes:
    """Sends batches at fixed times until it is stopped."""

    def __init__(self, edge):
        self.edge, self.made, self.failures, self.slowest = edge, 0, [], 0.0
        # Where links of the batch lead to that is prepared, and of the one that was accepted last.
        self.next, self.expected = {}, {}
        self.choice, self.number, self.is_stopped = random.Random(1), 0, False

    def batch(self):
        lines, self.next = [], {}
        for place in range(RATE // BATCHES):
            self.number += 1
            if place % 10 == 8:
                lines.append(link(f"new-{self.number}", "https://www.example.com/new"))
            elif place % 10 == 9:
                lines.append({"op": "delete", "domain": "go.brand.com", "slashtag": f"new-{self.number - 1}"})
            else:
                slashtag, to = f"tag-{self.choice.randrange(LINKS)}", f"https://www.example.com/{self.number}"
                lines.append(link(slashtag, to))
                self.next[slashtag] = to
        return "".join(json.dumps(line) + "\n" for line in lines)

    def run(self):
        # wrk is on the same core, and must not wait for this thread before it sees that an answer is there.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)
        api, batch, due = Api(self.edge), self.batch(), time.monotonic()
        while not self.is_stopped:
            time.sleep(max(0.0, due - time.monotonic()))
            sent = time.monotonic()
            status, body = api.send("POST", "/v1/links:batch", batch, "application/x-ndjson")
            self.slowest = max(self.slowest, time.monotonic() - sent)
            answers = [json.loads(line) for line in body.splitlines()] if status == 200 else []
            accepted = sum(answer["status"] in (200, 201, 204) for answer in answers)
            self.made += accepted
            if accepted != RATE // BATCHES:
                self.failures.append(f"a batch was answered with {status}: {body[:500]}")
                return
            self.expected = self.next
            batch, due = self.batch(), due + 1 / BATCHES

    def during(self, work):
        """Runs this work while changes are made. Returns its result and the changes a second."""
        self.is_stopped, before, start = False, self.made, time.monotonic()
        thread = threading.Thread(target=self.run)
        thread.start()
        result = work()
        self.is_stopped = True
        rate = (self.made - before) / (time.monotonic() - start)
        thread.join()
        if self.failures:
            raise SystemExit(f"FAILED: {self.failures[0]}")
        return result, rate


def load(port, folder, seconds):
    """Requests, p50, p99 and most microseconds of a round of wrk."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", f"{folder}/load.lua", f"http://127.0.0.1:{port}/"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = [line.split()[1:] for line in shown.splitlines() if line.startswith("result ")]
    requests, broken, wrong, p50, p99, most = (int(each) for each in result[0])
    if broken or wrong or not requests:
        raise SystemExit(f"FAILED: redirects failed\n{shown}")
    return requests, p50, p99, most


def measure(edge, folder, rounds, seconds):
    changes, p99s = Changes(edge), {False: [], True: []}
    load(edge.port, folder, 2)
    print(f"{'latency of redirects, us':<26} {'p50':>6} {'p99':>6} {'max':>7} {'redirects/s':>12} {'changes/s':>10}")
    for number in range(2 * rounds):
        # Without and with, with and without: what drifts meets both.
        changing, rate = number % 4 in (1, 2), 0
        if changing:
            (requests, p50, p99, most), rate = changes.during(lambda: load(edge.port, folder, seconds))
            if rate < 0.99 * RATE:
                raise SystemExit(f"FAILED: {rate:.0f} changes a second")
        else:
            requests, p50, p99, most = load(edge.port, folder, seconds)
        p99s[changing].append(p99)
        name = "while links change" if changing else "no changes"
        print(f"{name:<26} {p50:6} {p99:6} {most:7} {requests / seconds:12.0f} {rate:10.0f}", flush=True)
    without, during = (statistics.median(p99s[changing]) for changing in (False, True))
    print(f"p99, median of rounds: {without:.0f} without changes, {during:.0f} with, ratio {during / without:.2f}")
    print(f"{changes.made} changes, the slowest batch took {1000 * changes.slowest:.0f} ms; no redirect failed")
    visitor = Visitor(edge.port)
    for slashtag, to in changes.expected.items():
        if visitor.leads_to(slashtag) != to:
            raise SystemExit(f"FAILED: {slashtag} does not lead to {to}")


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    binary = os.path.abspath(sys.argv[3]) if len(sys.argv) > 3 else RELEASE
    if CORES > 1:
        os.sched_setaffinity(0, set(range(1, CORES)))
    with tempfile.TemporaryDirectory(prefix="clickedge-changes.") as folder:
        with open(f"{folder}/load.lua", "w", encoding="utf-8") as file:
            file.write(LOAD % LINKS)
        with open(f"{folder}/links.ndjson", "w", encoding="utf-8") as file:
            for number in range(LINKS):
                file.write(json.dumps(link(f"tag-{number}", f"https://www.example.com/first/{number}")) + "\n")
        subprocess.run([binary, "catalog", "build", f"{folder}/links.ndjson", "-o", f"{folder}/links.snapshot"],
                       check=True, capture_output=True)
        edge = Edge(binary, folder, "edge", 'file = "../links.snapshot"', free_ports(2), ("taskset", "-c", "0"))
        try:
            edge.start()
            edge.wait_until_ready()
            measure(edge, folder, rounds, seconds)
        finally:
            edge.remove()


if __name__ == "__main__":
    main()
