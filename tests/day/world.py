"""What all of the day use: waiting, ports, commands."""

import socket
import subprocess
import threading
import time

from runbook import Failure

LOCK, TAKEN = threading.Lock(), set()


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
    """Runs a command and returns what it printed. Another exit code than `code` is a failure; `None` accepts any."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=150, **options)
    text = done.stdout.decode(errors="replace")
    if code is not None and done.returncode != code:
        raise Failure(f"`{' '.join(map(str, command))}`: exit code {done.returncode}, expected {code}: {text.strip()}")
    return text
