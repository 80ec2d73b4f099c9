"""A day in the life of an operator: `.ci/day BINARY [NAME...]`, see tests/README.md."""

import concurrent.futures
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from edge import rings_of
from nights import NEEDS, NIGHTS
from package import Day
from prometheus import Prometheus
from runbook import Failure
from store import Store


def live(part):
    """Lives through a part of the day, and prints its line. Returns whether it was as it should be."""
    try:
        print(part.run(), flush=True)
        return True
    except Failure as failure:
        print(f"FAILED: {failure}", flush=True)
    except Exception:
        print(f"FAILED: {part.name}: {part.step}: {traceback.format_exc()}", flush=True)
    finally:
        part.stop()
    return False


def parts_of(names, binary, folder, *servers):
    """What these names stand for; all without any. What cannot be done here is printed."""
    unknown = set(names) - {part.name for part in (Day, *NIGHTS)}
    if unknown:
        sys.exit(f"error: unknown: {', '.join(unknown)}; known are {', '.join(part.name for part in (Day, *NIGHTS))}")
    if not names or Day.name in names:
        yield Day(binary, folder)
    for night in NIGHTS:
        available, otherwise = NEEDS.get(night, (lambda: True, ""))
        if names and night.name not in names:
            continue
        if available():
            yield night(binary, folder, *servers)
        else:
            print(f"skipped: {night.name}: {otherwise}")


def remove(folder):
    """Removes what the day has made, and nothing that is mounted there."""
    subprocess.run(["rm", "-rf", "--one-file-system", folder], check=False)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    binary, began = os.path.abspath(sys.argv[1]), time.monotonic()
    folder = tempfile.mkdtemp(prefix="clickedge-day.")
    servers, parts, good = [], [], False
    try:
        servers.append(Store(folder))
        servers.append(Prometheus(folder))
        parts += parts_of(sys.argv[2:], binary, folder, *servers)
        pool = concurrent.futures.ThreadPoolExecutor(len(NIGHTS) + 1)
        good = all([lived.result() for lived in [pool.submit(live, part) for part in parts]])
    except (KeyboardInterrupt, SystemExit) as end:
        print(end, flush=True)
        for part in parts:
            part.stop()
    finally:
        for server in servers:
            server.end()
        remove(rings_of(folder))
    if good:
        remove(folder)
        print(f"a day: ok ({time.monotonic() - began:.0f} s)", flush=True)
    else:
        print(f"kept: {folder}", flush=True)
    # Threads of parts that were stopped half-way are not waited for.
    os._exit(0 if good else 1)


if __name__ == "__main__":
    main()
