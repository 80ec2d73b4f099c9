"""The nights."""

import json
import os
import re
import shutil
import ssl
import time

from drops import Clicks, Events
from edge import Edge, faketime
from night import Night
from runbook import ROOT, Failure
from store import Way
from world import FAILS, SmallDisk, run, until


class Denied(Night):
    """The owner of the bucket takes a permission back."""

    name, alert = "bucket denies", "ClickedgeFeedParked"

    def trouble(self):
        self.store.deny(self.edge.name)
        self.edge.click(3)
        until("the feed is parked", lambda: self.edge.feed()["state"] == "parked", seen=self.edge.feed)

    def more_of_page(self):
        error = self.error_is_shown()
        if (error["status"], error["code"]) != (403, "AccessDenied"):
            raise Failure(f"the store has answered 403 AccessDenied, the status says {error}")

    def more_of_log(self, lines):
        line, error = lines["sink rejected the upload; feed parked"], self.edge.feed()["lastError"]
        if (line["code"], line["remedy"]) != (error["code"], error["remedy"]):
            raise Failure(f"the log says {line}, the status {error}")

    def remedy(self):
        printed = self.do("feed", "test", code=FAILS)
        if "AccessDenied" not in printed:
            raise Failure(f"`clickedge feed test` does not say that the store denies access: {printed}")
        if "s3:PutObject" not in self.do("feed", "policy"):
            raise Failure("`clickedge feed policy` does not print the permission that lacks")
        self.edge.may_deliver()
        self.do("feed", "test")
        self.do("feed", "retry")


class Full(Night):
    """Something else than the spool fills its disk."""

    name, alert = "disk full", "ClickedgeDiskFull"
    # The disk has no tenth free, and the counts are on it.
    with_it = "ClickedgeDiskFilling", "ClickedgeCountsFailing"

    def prepare(self):
        super().prepare()
        self.disk = SmallDisk(f"{self.edge.folder}/spool", 64)

    def trouble(self):
        self.disk.fill()
        self.edge.click(5)

    def more_of_page(self):
        status = self.edge.status()
        if (status["state"], status["degraded"]) != ("degraded", ["spool_stalled"]):
            raise Failure(f"/v1/status says {status['state']} {status['degraded']}")

    def more_of_log(self, lines):
        if "os error 28" not in lines["retrying until it works"]["error"]:
            raise Failure(f"no error of the system in {lines}")

    def remedy(self):
        for words in ("`df`", "`du -x`", "Free space"):
            self.runbook.says("do", words)
        self.disk.free_what_uses_it()
        self.runbook.says("do", "the edge continues within a second")
        until("the edge continues", lambda: self.edge.status()["state"] == "ready", 5)

    def stop(self):
        super().stop()
        if self.edge:
            run("umount", "--lazy", f"{self.edge.folder}/spool", code=None)


class Rejected(Night):
    """An export writes a line that is no link, and later half of the links."""

    name, alert = "catalog rejected", "ClickedgeCatalogRejected"

    def trouble(self):
        self.good = self.links(40)
        self.edge.write("links.ndjson", self.good)
        self.edge.command("reload")
        self.edge.write("links.ndjson", self.good + '{"id": "broken"\n')
        printed = self.edge.command("reload", code=FAILS)
        if f"line {len(self.good.splitlines()) + 1}" not in printed:
            raise Failure(f"`clickedge reload` does not name the line: {printed}")
        # The former catalog answers.
        self.edge.click(2, "extra-39")

    def links(self, extra):
        link = {"domain": {"id": "d-1", "fullName": "go.example.com"}, "workspace": {"id": "w-1", "name": "Marketing"},
                "creator": {"id": "u-1", "fullName": "Ana Lima"}, "createdAt": "2026-03-01T09:30:00.000Z"}
        return run(self.binary, "generate", "links") + "".join(
            json.dumps({**link, "id": f"extra-{n}", "slashtag": f"extra-{n}", "destination": "https://example.com"}) + "\n"
            for n in range(extra))

    def more_of_page(self):
        reload, text = self.edge.status()["lastReload"], self.edge.page().section("Catalog")
        line, notice = f"line {len(self.good.splitlines()) + 1}", reload["notices"][0]
        places = all(place in notice["message"] for place in ("/links.ndjson", line))
        shown = all(part in text for part in (notice["message"], notice["remedy"]))
        if not reload["rejected"] or not places or not shown:
            raise Failure(f"{line} of links.ndjson is bad; /v1/status says {reload}, the page {text}")

    def more_of_log(self, lines):
        line = lines["reload failed; the previous version of everything stays active"]
        if line["resource"] != "catalog" or "links.ndjson" not in line["error"]:
            raise Failure(f"the log says {line}")

    def remedy(self):
        self.runbook.says("do", "correct the line")
        self.edge.write("links.ndjson", self.good)
        self.do("reload")
        self.resolves()
        # Half of the links.
        self.edge.write("half.ndjson", self.links(20))
        shutil.copy(f"{self.edge.folder}/links.ndjson", f"{self.edge.folder}/former.ndjson")
        shutil.copy(f"{self.edge.folder}/half.ndjson", f"{self.edge.folder}/links.ndjson")
        self.edge.command("reload", code=FAILS)
        until("the alert fires again", lambda: self.alert in self.prometheus.firing(self.edge.admin))
        self.runbook.command("catalog diff")
        compared = run(self.binary, "catalog", "diff", "former.ndjson", "half.ndjson", cwd=self.edge.folder, code=None)
        if "extra-39" not in compared:
            raise Failure(f"`clickedge catalog diff` does not name a link that is missing: {compared}")
        self.edge.command(*self.runbook.command("reload --accept"))


class Old(Night):
    """The download of the GeoIP database has failed for 70 days."""

    name, alert = "GeoIP database old", "ClickedgeGeoipOld"
    options = {"enrich": 'geoip_file = "geoip.mmdb"'}

    def prepare(self):
        super().prepare()
        self.database(days=1)

    def database(self, days):
        """The demo's database, with another time at which it was built."""
        with open(f"{ROOT}/conf/demo/geoip.mmdb", "rb") as file:
            content = bytearray(file.read())
        # In the format of the file: the key, the type (an extended one, of 4 bytes: 64 bits), the value.
        key = b"build_epoch\x04\x02"
        at = content.index(key) + len(key)
        self.built = int(time.time()) - days * 86_400
        content[at:at + 4] = self.built.to_bytes(4, "big")
        written = f"{self.edge.folder}/geoip.new"
        with open(written, "wb") as file:
            file.write(content)
        os.replace(written, f"{self.edge.folder}/geoip.mmdb")

    def trouble(self):
        self.database(days=70)
        self.edge.command("reload")

    def more_of_page(self):
        if "70 days old" not in self.edge.page().section("Databases"):
            raise Failure(f"the database is 70 days old, the page says {self.edge.page().section('Databases')}")

    def holds(self, metric, samples):
        return samples[0][1] == self.built

    def more_of_log(self, lines):
        if "70 days" not in lines["database is old"]["message"]:
            raise Failure(f"the database is 70 days old, the log says {lines}")

    def remedy(self):
        self.runbook.says("do", "replace `enrich.geoip_file`")
        self.database(days=0)
        self.do("reload")


class Expiring(Night):
    """A certificate was not renewed, and lasts for five days more."""

    name, alert = "certificate soon over", "ClickedgeCertificateExpiring"
    # Of a certificate that is not in a folder.
    other_lines = ("renew it",)

    def prepare(self):
        super().prepare()
        os.makedirs(f"{self.edge.folder}/certificates")
        port = self.edge.tls = self.edge.port + 5000
        self.edge.reconfigure("[capture]", (
            f'[[listeners]]\naddress = "127.0.0.1:{port}"\ncertificates_dir = "certificates"\n[capture]'))
        self.certificate(days=90)

    def certificate(self, days):
        name = f"{self.edge.folder}/certificates/go"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days",
            str(days), "-subj", "/CN=go.example.com", "-addext", "subjectAltName=DNS:go.example.com", "-keyout",
            f"{name}.key", "-out", f"{name}.pem")
        os.chmod(f"{name}.key", 0o600)
        with open(f"{name}.pem", encoding="ascii") as file:
            self.pem = file.read()

    def trouble(self):
        self.certificate(days=5)
        self.edge.command("reload")

    def holds(self, metric, samples):
        """The name is the first one of the certificate."""
        return any(labels.get("name") == "go.example.com" and 4 < (value - time.time()) / 86_400 < 5.1
                   for labels, value in samples)

    def more_of_page(self):
        first = self.edge.status()["certificates"]["first"][0]
        text = self.edge.page().section("Certificates")
        if first["daysLeft"] not in (4, 5) or f"go.example.com {first['daysLeft']}" not in text:
            raise Failure(f"five days are left, /v1/status says {first}, the page {text}")

    def more_of_alert(self, alert):
        if alert["labels"]["name"] != "go.example.com":
            raise Failure(f"the runbook says that the label is the first name of the certificate: {alert['labels']}")

    def more_of_log(self, lines):
        message = lines["certificates expire within"]["message"]
        if not re.search(r"\b[45] days; renew", message) or "certificates/go.pem" not in message:
            raise Failure(f"the runbook says: with files and days: {message}")

    def remedy(self):
        self.certificate(days=90)
        self.do("reload")
        served = ssl.get_server_certificate(("127.0.0.1", self.edge.tls))
        if served.split() != self.pem.split():
            raise Failure("the edge does not use the renewed certificate")


class Late(Night):
    """The network to the store is cut for eleven minutes."""

    name, alert = "lag of delivery", "ClickedgeFeedLate"
    # The last answer of the store, before the cut, was eleven minutes off.
    with_it = ("ClickedgeClockOff",)

    def prepare(self):
        self.way = Way(self.store.port)
        self.options = {"way": self.way}
        super().prepare()
        self.library = faketime()

    def begin(self):
        self.prepare()
        # Eleven minutes ago, by the clock of the edge: nothing else of it is in the past.
        self.edge.write("clock", "-665")
        self.edge.start(self.library)
        self.edge.click(3)
        self.edge.events_arrive()

    def trouble(self):
        self.way.cut()
        self.edge.click(3)
        until("an upload fails", lambda: self.edge.feed()["state"] == "retrying", seen=self.edge.feed)
        self.edge.write("clock", "+0")
        until("eleven minutes have passed", lambda: self.edge.feed()["lagSecs"] > 600, seen=self.edge.feed)
        self.prometheus.scrape(self.edge.admin)

    def more_of_page(self):
        self.error_is_shown()
        if "11 min" not in self.edge.page().section("Feeds"):
            raise Failure(f"the lag is eleven minutes: {self.edge.page().section('Feeds')}")

    def holds(self, metric, samples):
        return metric != "clickedge_feed_oldest_waiting_seconds" or samples[0][1] > 600

    def log(self):
        # The operator asks for the retries that the feed would make within minutes.
        for _ in range(12):
            failed = self.edge.metrics()[0]['clickedge_uploads_total{feed="all-clicks",result="retried"}']
            self.edge.command("feed", "retry", "all-clicks")
            until("it is tried again", lambda failed=failed: self.edge.metrics()[0][
                'clickedge_uploads_total{feed="all-clicks",result="retried"}'] > failed, 30)
        super().log()

    def remedy(self):
        self.runbook.says("do", "check the network")
        self.way.restore()


class Behind(Night):
    """One of two edges is cut off from the bucket of the catalog."""

    name, alert = "edge behind the fleet", "ClickedgeFleetBehind"
    CATALOG = """state_dir = "state"
[catalog.fleet]
write = false
[catalog.fleet.bucket]
bucket = "fleet"
prefix = "links"
region = "eu-west-1"
endpoint = "http://127.0.0.1:{port}"
path_style = true
credentials_file = "{credentials}"
"""

    def prepare(self):
        folder = f"{self.folder}/fleet"
        os.makedirs(folder)
        self.credentials = f"{folder}/credentials"
        self.store.make("fleet", self.credentials)
        self.store.grant("fleet", [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}])
        self.way = Way(self.store.port)
        self.publish("first")
        catalogs = [self.CATALOG.format(port=port, credentials=self.credentials)
                    for port in (self.way.port, self.store.port)]
        self.edge = Edge(self.binary, self.folder, "edge-behind", self.store, catalog=catalogs[0])
        self.other = Edge(self.binary, self.folder, "edge-of-the-fleet", self.store, catalog=catalogs[1])

    def publish(self, slashtag):
        """Publishes a snapshot with one link more."""
        folder = f"{self.folder}/fleet"
        with open(f"{folder}/links.ndjson", "w", encoding="utf-8") as file:
            file.write(Rejected.links(self, 0))
            file.write(Rejected.links(self, 1).splitlines()[-1].replace("extra-0", slashtag) + "\n")
        run(self.binary, "catalog", "build", "links.ndjson", "-o", "links.snapshot", cwd=folder)
        run(self.binary, "catalog", "publish", "s3://fleet/links", "links.snapshot", "--region", "eu-west-1",
            "--endpoint", f"http://127.0.0.1:{self.store.port}", "--path-style", "--credentials-file", self.credentials,
            cwd=folder)

    def begin(self):
        self.prepare()
        for edge in (self.edge, self.other):
            edge.start()
            edge.click(2, "first")
            edge.events_arrive()
            self.prometheus.scrape(edge.admin)
        self.is_quiet()

    def trouble(self):
        self.way.cut()
        self.publish("second")
        until("the other edge has it", lambda: self.has_it(self.other), 30)
        if self.has_it(self.edge):
            raise Failure("the edge that is cut off has the new catalog")
        # It answers with the catalog that it has.
        self.edge.click(2, "first")
        until("a minute", lambda: self.edge.status()["catalog"]["fleet"]["lagSecs"] > 60, 90)

    def has_it(self, edge):
        generations = [each.metrics()[0]["clickedge_fleet_generation"] for each in (self.edge, self.other)]
        return edge is self.other and generations[0] < generations[1] or generations[0] == generations[1] != self.was()

    def was(self):
        if not hasattr(self, "first_generation"):
            self.first_generation = self.edge.metrics()[0]["clickedge_fleet_generation"]
        return self.first_generation

    def holds(self, metric, samples):
        return samples[0][1] > 60

    def more_of_alert(self, alert):
        if self.prometheus.firing(self.other.admin):
            raise Failure(f"the other edge has everything, and {self.prometheus.firing(self.other.admin)} fires")

    def remedy(self):
        self.runbook.says("do", "if one is, its network")
        self.runbook.says("do", "equal numbers mean that the edge cannot look")
        samples = self.edge.metrics()[0]
        if samples["clickedge_fleet_revision"] != samples["clickedge_fleet_head_revision"]:
            raise Failure(f"the edge cannot look: {samples}")
        self.way.restore()

    def more_of_end(self):
        self.edge.click(2, "second")
        self.other.click(2, "second")
        for edge in (self.edge, self.other):
            edge.events_arrive()
            edge.account_balances()

    def stop(self):
        super().stop()
        if hasattr(self, "other"):
            self.other.end()


class Clock(Night):
    """The clock of the edge runs away: first by two minutes, then by twenty."""

    name, alert = "clock off", "ClickedgeClockOff"
    # From 15 minutes on.
    with_it = ("ClickedgeFeedParked",)

    def begin(self):
        self.prepare()
        self.edge.write("clock", "+0")
        self.edge.start(faketime())
        self.edge.click(3)
        self.edge.events_arrive()
        self.prometheus.scrape(self.edge.admin)
        self.is_quiet()

    def trouble(self):
        self.edge.write("clock", "+120")
        until("the clock is off", lambda: abs(self.edge.metrics()[0]["clickedge_time_seconds"] - time.time()) > 100)
        self.edge.click(2)
        until("the bucket has shown it", lambda: self.edge.metrics()[1]["feed_clock_skew_seconds"] > 100)
        # Uploads are still accepted, and the alert fires.
        self.edge.events_arrive()
        self.with_it, with_it = (), self.with_it
        self.fires()
        self.with_it = with_it
        self.edge.write("clock", "+1200")
        until("the clock is off", lambda: abs(self.edge.metrics()[0]["clickedge_time_seconds"] - time.time()) > 1_000)
        self.edge.click(2)
        until("the feed is parked", lambda: self.edge.feed()["state"] == "parked", seen=self.edge.feed)

    def more_of_page(self):
        error = self.error_is_shown()
        if error["code"] != "RequestTimeTooSkewed":
            raise Failure(f"the store has answered RequestTimeTooSkewed, the status says {error}")

    def holds(self, metric, samples):
        value = samples[0][1]
        return abs((value - time.time() if metric == "clickedge_time_seconds" else value) - 1200) < 60

    def more_of_log(self, lines):
        # The first time that it was seen.
        if not 100 < lines["the clock is off: a sink has another time"]["ahead_secs"] < 140:
            raise Failure(f"the clock was two minutes ahead: {lines}")

    def remedy(self):
        self.runbook.says("do", "start the service that synchronizes the clock")
        self.edge.write("clock", "+0")
        until("the clock is right", lambda: abs(self.edge.metrics()[0]["clickedge_time_seconds"] - time.time()) < 2)
        self.runbook.says("ends", "from its next answer on")
        self.edge.command("feed", "retry", "all-clicks")


NIGHTS = (Denied, Full, Rejected, Old, Expiring, Clicks, Events, Late, Behind, Clock)

# What a night needs beyond Prometheus and the store, and why it is skipped without it.
NEEDS = {
    Full: (lambda: run("mount", code=None) and os.environ.get("DAY_MOUNTS"), "no small disk can be mounted here"),
    Late: (faketime, "libfaketime is not installed (apt-get install faketime)"),
    Clock: (faketime, "libfaketime is not installed (apt-get install faketime)"),
    Expiring: (lambda: shutil.which("openssl"), "openssl is not installed"),
}
NEEDS[Clicks] = NEEDS[Full]
