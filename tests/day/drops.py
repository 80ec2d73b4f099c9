"""The nights in which something is dropped."""

import time

from night import Night
from runbook import Failure
from store import Way
from world import SmallDisk, run, until


class Dropping(Night):
    """Something is dropped and counted, and the alert holds for ten minutes after the last one."""

    # The counter, without its labels, and the reason.
    counter = reason = ""

    def dropped(self):
        samples = self.edge.metrics()[0].items()
        return int(sum(value for name, value in samples if name.startswith(self.counter) and self.reason in name))

    def holds(self, metric, samples):
        return any(labels["reason"] == self.reason and value == self.dropped() for labels, value in samples)

    def is_shown(self, section, words, status):
        """The number is on the page, in red, and in the status."""
        text = self.edge.page().section(section)
        if f"{words}: {self.dropped():,} {self.reason}" not in text:
            raise Failure(f"{self.dropped()} are dropped, the page says {text}")
        if f'<p class="bad">{words}' not in self.edge.get("/")[1]:
            raise Failure("what is dropped is not in red")
        if status != {self.reason: self.dropped()}:
            raise Failure(f"{self.dropped()} are dropped, /v1/status says {status}")

    def more_of_alert(self, alert):
        if alert["labels"]["reason"] != self.reason:
            raise Failure(f"the label does not say why: {alert['labels']}")

    def resolves(self):
        """The expression of the rule, at times to come: it holds for ten minutes after the last one."""
        self.runbook.says("ends", "ten minutes after the last one")
        series = f'{self.counter}{{reason="{self.reason}",instance="127.0.0.1:{self.edge.admin}"}}'
        rises = self.prometheus.query(f"max_over_time((timestamp({series}) and delta({series}[2s]) > 0)[5m:1s])")
        last = float(rises[0]["value"][1])
        expression = self.prometheus.expression(self.alert)

        def holds_after(seconds):
            found = self.prometheus.query(expression, time=last + seconds)
            return any(f"127.0.0.1:{self.edge.admin}" == sample["metric"]["instance"] for sample in found)
        until("scrapes after the last one", lambda: time.time() > last + 10, 20)
        if not holds_after(590) or holds_after(605):
            raise Failure(f"it holds for ten minutes: {[(after, holds_after(after)) for after in (1, 300, 590, 605)]}")
        until("its cause resolves", lambda: not {*self.with_it} & self.prometheus.alerts(self.edge.admin).keys(), 60,
              seen=lambda: f"{self.prometheus.alerts(self.edge.admin)}")

    def more_of_end(self):
        self.edge.click(2)
        self.edge.events_arrive(self.lost)


class Clicks(Dropping):
    """Visitors come while the disk is full, until the rings are full, too."""

    name, alert = "drops of clicks", "ClickedgeClicksDropped"
    counter, reason = "clickedge_clicks_dropped_total", "ring_full"
    # The cause: each has its own alert.
    with_it = "ClickedgeDiskFull", "ClickedgeDiskFilling", "ClickedgeRingsFilling", "ClickedgeCountsFailing"

    def prepare(self):
        super().prepare()
        self.edge.reconfigure("ring_bytes = 4194304", "ring_bytes = 1048576")
        self.disk = SmallDisk(f"{self.edge.folder}/spool", 64)

    def trouble(self):
        self.disk.fill()
        until("clicks are dropped", lambda: self.edge.click(40, noise=6_000) or self.dropped(), 60, 0)

    def more_of_page(self):
        self.is_shown("Account", "Clicks dropped", self.edge.status()["account"]["clicks"]["dropped"])

    def more_of_log(self, lines):
        line = lines["clicks dropped"]
        if line["reason"] != self.reason or line["clicks"] > self.dropped():
            raise Failure(f"{self.dropped()} clicks are dropped, the log says {line}")

    def remedy(self):
        for words in ("`ring_full`: see [ClickedgeDiskFull]", "raise `enrich.workers` or `capture.ring_bytes`"):
            self.runbook.says("do", words)
        self.disk.free_what_uses_it()
        self.lost = self.dropped()
        self.edge.events_arrive(self.lost)
        self.edge.account_balances()
        # Larger rings. The account of the next process begins again.
        self.edge.reconfigure("ring_bytes = 1048576", "ring_bytes = 8388608")
        self.do("upgrade")
        until("the rings are larger", lambda: self.edge.metrics()[0]["clickedge_ring_capacity_bytes"] == 8_388_608)

    def stop(self):
        if self.edge:
            # The process that took over is no child of this one.
            self.edge.command("drain", code=None)
            super().stop()
            run("umount", "--lazy", f"{self.edge.folder}/spool", code=None)


class Events(Dropping):
    """The store is out of reach for longer than the outbox has room."""

    name, alert = "drops of events", "ClickedgeEventsDropped"
    counter, reason = "clickedge_events_dropped_total", "spool_quota"
    # The cause has its own alert.
    with_it = ("ClickedgeSpoolFilling",)
    other_lines = ("object is damaged; moved to quarantine",)

    def prepare(self):
        self.way = Way(self.store.port)
        self.options = {"way": self.way}
        super().prepare()
        self.edge.reconfigure("journal_max_bytes", "max_bytes = 1048576\njournal_max_bytes")
        self.edge.reconfigure("hold_back_secs = 0", "hold_back_secs = 0\nmax_bytes = 65536")

    def trouble(self):
        self.way.cut()
        until("events are dropped", lambda: self.edge.click(50, noise=6_000) or self.dropped(), 90, 0.5)

    def more_of_page(self):
        until("the number rests", lambda: self.edge.metrics()[1]["ring_clicks"] == 0 and not self.rises(), 30)
        self.is_shown("Feeds", "Events dropped", self.edge.feed()["dropped"])

    def rises(self):
        before = self.dropped()
        time.sleep(2.5)
        return self.dropped() > before

    def more_of_log(self, lines):
        line = lines["events dropped"]
        if line["feed"] != "all-clicks" or not 0 < line["events"] <= self.dropped():
            raise Failure(f"the runbook says: with feed and number; the log says {line}")

    def remedy(self):
        self.runbook.says("do", "`spool_quota`: fix the sink of the feed")
        self.runbook.says("do", "raise `spool.max_bytes` and reload")
        self.edge.reconfigure("\nmax_bytes = 1048576", "\nmax_bytes = 8388608")
        self.edge.command("reload")
        self.lost = self.dropped()
        # With more room the next ones wait, though the store is still out of reach.
        self.edge.click(20, noise=6_000)
        if self.rises():
            raise Failure("events are dropped although there is room")
        self.way.restore()
        self.edge.command("feed", "retry", "all-clicks")
