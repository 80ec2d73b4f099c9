"""A day in the life of an operator: `.ci/day BINARY`, see tests/README.md."""

import concurrent.futures
import os
import subprocess
import sys
import tempfile
import time
import traceback

import package
from edge import rings_of
from nights import NEEDS, NIGHTS
from prometheus import Prometheus
from runbook import Failure
from store import Store


def live(night):
    """Lives through a night, and prints its line. Returns whether it was as it should be."""
    try:
        print(night.run(), flush=True)
        return True
    except Failure as failure:
        print(f"FAILED: {failure}", flush=True)
    except Exception:
        print(f"FAILED: {night.name}: {night.step}: {traceback.format_exc()}", flush=True)
    finally:
        night.stop()
    return False


def remove(folder):
    """Removes what the day has made, and nothing that is mounted there."""
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)


def main():
    binary, names = os.path.abspath(sys.argv[1]), sys.argv[2:]
    began, folder = time.monotonic(), tempfile.mkdtemp(prefix="clickedge-day.")
    nights = [night for night in NIGHTS if not names or night.name in names]
    store = prometheus = None
    parts = []
    try:
        store, prometheus = Store(folder), Prometheus(folder)
        with concurrent.futures.ThreadPoolExecutor(len(NIGHTS) + 1) as pool:
            if not names or "day" in names:
                parts.append(pool.submit(live, package.Day(binary, folder)))
            for night in nights:
                available, otherwise = NEEDS.get(night, (lambda: True, ""))
                if available():
                    parts.append(pool.submit(live, night(binary, folder, store, prometheus)))
                else:
                    print(f"skipped: {night.name}: {otherwise}")
        good = all(part.result() for part in parts)
    finally:
        for server in (prometheus, store):
            if server:
                server.end()
        remove(rings_of(folder))
    if not good:
        print(f"kept: {folder}")
        return 1
    remove(folder)
    print(f"a day: ok ({time.monotonic() - began:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
