"""The first day: from the Debian package to the first event in a bucket, by the steps of src/manual/installation.md
alone, in a Debian that systemd boots in a container."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import time

from edge import BUCKET
from runbook import ROOT, Failure
from store import Store
from world import run, until

# From the installation to the event, in seconds. An object waits for a minute.
MOST = 300
CLONE_NEWNET = 0x4000_0000


class Day:
    """The steps of the manual, and what they promise."""

    name, step = "day", "begin"

    def __init__(self, binary, folder):
        self.binary, self.folder, self.container, self.init, self.store = binary, f"{folder}/day", None, None, None
        self.made = time.monotonic()
        os.makedirs(self.folder)

    def note(self, what):
        """What takes long, for those who look at the folder of a day that failed."""
        with open(f"{self.folder}/times", "a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - self.made:.0f} s: {what}\n")

    def run(self):
        if lacks := self.lacks():
            return f"skipped: day: {lacks}"
        self.deb = run(f"{ROOT}/conf/packages/deb.sh", self.binary, "--fast").split()[-1]
        self.deb = os.path.join(ROOT, self.deb)
        self.note("the package is made")
        if lacks := self.boot():
            return f"skipped: day: {lacks}"
        self.note("systemd has booted")
        try:
            with network_of(self.init):
                self.store = Store(self.folder)
                self.store.make("example-clicks", f"{self.folder}/credentials")
                for number in range(1, 7):
                    self.step = f"step {number} of src/manual/installation.md"
                    getattr(self, f"step_{number}")(*blocks(number))
                    self.note(self.step)
                self.step = "links of one's own"
                self.own_links()
        except Failure as failure:
            raise Failure(f"day: {self.step}: {failure}") from failure
        return f"day: from the package to the first event in a bucket: ok ({self.took:.0f} s)"

    def lacks(self):
        """What this machine lacks, or nothing."""
        for tool, package in (("cargo-deb", "cargo-deb"), ("mmdebstrap", "mmdebstrap"),
                              ("systemd-nspawn", "systemd-container"), ("nsenter", "util-linux")):
            if not shutil.which(tool):
                return f"{package} is not installed"
        if os.geteuid() or "no" in run("sh", "-c", "unshare --mount --net --pid --fork true || echo no"):
            return "this machine allows no containers"
        return None

    def boot(self):
        """Boots a Debian that has what the package asks for, and no network. Returns what is missing, or nothing."""
        system = self.system = f"{self.folder}/system"
        needs = re.findall(r"(?:^|, )([a-z0-9.+-]+)", run("dpkg-deb", "--field", self.deb, "Depends"))
        code = run("sh", "-c", '. /etc/os-release && echo "$VERSION_CODENAME"').strip()
        made = run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(['systemd', 'curl', *needs])}",
                   code, system, code=None)
        if not os.path.exists(f"{system}/usr/bin/curl"):
            return f"no Debian system: {made.strip()[-300:]}"
        shutil.copy(self.deb, f"{system}/root/")
        with open(f"{self.folder}/boot", "wb") as log:
            self.container = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", system, "--register=no", "--keep-unit",
                 "--private-network", "--boot", "--console=pipe"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            until("systemd boots", self.booted, 90)
        except Failure:
            with open(f"{self.folder}/boot", encoding="utf-8", errors="replace") as log:
                return f"systemd does not start in a container: {log.read()[-300:]}"
        return None

    def booted(self):
        found = run("pgrep", "-P", str(self.container.pid), code=None).split()
        self.init = int(found[0]) if found else None
        return self.init and "active" == self.inside("systemctl is-active multi-user.target", code=None).strip()

    def inside(self, command, code=0, text=None):
        """Runs a line of the shell in the container, as root in its home."""
        line = ["nsenter", "-t", str(self.init), "--all", "--", "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME=/root", "sh", "-c", f"cd && {command}"]
        return run(*line, code=code, input=text) if text else run(*line, code=code, stdin=subprocess.DEVNULL)

    # The steps.

    def step_1(self, install):
        if f"./{os.path.basename(self.deb)}" not in install:
            raise Failure(f"the manual says {install!r}, the package is {os.path.basename(self.deb)}")
        self.began = time.monotonic()
        self.inside(install)
        if self.inside("systemctl is-active clickedge", code=None).strip() != "inactive":
            raise Failure("the manual says that the service is not started yet")

    def step_2(self, toml):
        """Sections of the manual take the place of those of the file. The endpoint is for stores but Amazon's."""
        file = "/etc/clickedge/clickedge.toml"
        text = self.inside(f"cat {file}")
        for section in re.split(r"^(?=\[edge\]|\[\[)", toml, flags=re.M):
            if header := section.partition("\n")[0]:
                text, count = re.subn(rf"^{re.escape(header)}\n(?:(?!\[).*\n)*", section + "\n", text, flags=re.M)
                if count != 1:
                    raise Failure(f"{file} has {count} sections {header}")
        for line in BUCKET.splitlines()[2:4]:
            text += line.format(port=self.store.port) + "\n"
        self.inside(f"cat > {file}", text=text.encode())

    def step_3(self, lines):
        for line in lines.splitlines():
            if line.startswith("editor "):
                with open(f"{self.folder}/credentials", "rb") as file:
                    self.inside(line.replace("editor ", "tee ", 1), text=file.read())
                continue
            printed = self.inside(line)
            if line.startswith("clickedge feed policy"):
                granted = json.loads(printed[:printed.rindex("}") + 1])["bucketPolicy"]["Statement"]
                self.store.grant("example-clicks", granted)
        if self.inside("stat -c %U:%G:%a /etc/clickedge/credentials").strip() != "root:clickedge:640":
            raise Failure("the credentials are not readable by the service alone")

    def step_4(self, lines):
        for line in lines.splitlines():
            self.inside(line)

    def step_5(self, lines):
        printed = [self.inside(line) for line in lines.splitlines()]
        if not printed[-1].startswith("HTTP/1.1 302 "):
            raise Failure(f"no redirect: {printed[-1]}")

    def step_6(self, lines):
        until("the event is in the bucket", lambda: self.store.events("example-clicks"), MOST, 0.5,
              lambda: self.inside("clickedge spool ls; journalctl -u clickedge | tail -n 5", code=None))
        self.took = time.monotonic() - self.began
        if self.took > MOST:
            raise Failure(f"{self.took:.0f} s from the package to the first event, {MOST} are allowed")
        event = self.store.events("example-clicks")[0]
        if event["edge"]["pop"] != "fra1" or "hello" not in json.dumps(event):
            raise Failure(f"not the event of this click: {event}")
        listed, verified = lines.splitlines()
        if "all-clicks" not in self.inside(listed):
            raise Failure("`clickedge spool ls` does not show the feed")
        printed = self.inside(f"{verified} --endpoint http://127.0.0.1:{self.store.port} --path-style")
        if "proven: 1 event in 1 object" not in printed:
            raise Failure(f"`clickedge feed verify` does not prove that the event is there: {printed}")

    def own_links(self):
        link = self.inside("head -n 2 /etc/clickedge/links.ndjson | tail -n 1")
        own = {**json.loads(link), "id": "own", "slashtag": "own"}
        self.inside("cat >> /etc/clickedge/links.ndjson", text=json.dumps(own).encode() + b"\n")
        self.inside("systemctl reload clickedge")
        until("the link of one's own", lambda: "302" in self.inside("curl -si http://localhost/own"), 20)

    def stop(self):
        if self.store:
            self.store.end()
        if self.container:
            if self.init:
                os.kill(self.init, signal.SIGKILL)
            self.container.wait(30)


def blocks(number):
    """The fenced blocks of a step of the Debian package."""
    with open(f"{ROOT}/src/manual/installation.md", encoding="utf-8") as file:
        text = file.read().split("\n## Debian package\n")[1].split("\n## ")[0]
    steps = re.split(r"^\*\*(\d)\.\*\* ", text, flags=re.M)
    step = steps[steps.index(str(number)) + 1]
    return re.findall(r"^```\w+\n(.*?)^```$", step, re.M | re.S)


@contextlib.contextmanager
def network_of(pid):
    """This thread, and what it starts, has the network of a process."""
    def enter(path):
        with open(path, "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"setns {path}")
    with open("/proc/thread-self/ns/net", "rb") as own:
        try:
            enter(f"/proc/{pid}/ns/net")
            yield
        finally:
            enter(f"/proc/self/fd/{own.fileno()}")
