"""A bad night: something goes wrong on a running edge; page, metric, alert and log say what the runbook says; what the
runbook says to do ends it, and nothing is lost."""

import json
import re
import time

from edge import Edge
from runbook import Failure, Section, rule_for
from world import until


class Night:
    """Subclasses cause the trouble and remove it."""

    name = ""
    alert = ""
    # Alerts that fire with it because this test does not let them wait, or because the trouble has these signs, too.
    with_it = ()
    # Lines of the log that the runbook names for another cause.
    other_lines = ()
    # Options of the edge.
    options = {}

    def __init__(self, binary, folder, store, prometheus):
        self.binary, self.folder, self.store, self.prometheus = binary, folder, store, prometheus
        self.runbook, self.edge, self.step = Section(self.alert), None, "begin"

    # The parts of a night, in their order.

    def prepare(self):
        """Makes the edge."""
        self.edge = Edge(self.binary, self.folder, self.name.replace(" ", "-").lower(), self.store, **self.options)

    def begin(self):
        self.prepare()
        self.edge.start()
        self.edge.click(3)
        self.edge.events_arrive()
        self.prometheus.scrape(self.edge.admin)
        self.is_quiet()

    def trouble(self):
        """Causes the trouble, and returns when it is there."""
        raise NotImplementedError

    def more_of_page(self):
        """What the page and the status say, beyond the words of the runbook."""

    def holds(self, metric, samples):
        """Whether values are what the runbook says of a metric in other words than `is 1`."""
        return True

    def more_of_alert(self, alert):
        """What the alert says, beyond the words of all."""

    def more_of_log(self, lines):
        """What the lines of the log say, by their message."""

    def remedy(self):
        """Does what the row `do` says."""
        raise NotImplementedError

    def more_of_end(self):
        """What is true in the end, beyond the resolved alert and the balanced account."""
        self.edge.click(2)
        self.edge.events_arrive()

    # What is the same for all.

    def run(self):
        """Lives through the night. Returns its line."""
        began = time.monotonic()
        try:
            for self.step, part in (
                ("begin", self.begin), ("trouble", self.trouble), ("page", self.page), ("metric", self.metric),
                ("alert", self.fires), ("log", self.log), ("remedy", self.remedy), ("end", self.ends)):
                part()
        except Failure as failure:
            raise Failure(f"{self.name}: {self.step}: {failure}") from failure
        return f"{self.name}: page, metric, alert, log, remedy, end: ok ({time.monotonic() - began:.0f} s)"

    def is_quiet(self):
        until("no alert fires before the trouble", lambda: self.prometheus.values("up", self.edge.admin) and
              not self.prometheus.firing(self.edge.admin), 30, seen=lambda: self.prometheus.firing(self.edge.admin))

    def page(self):
        for place, words in self.runbook.page_parts():
            def shown(place=place, words=words):
                text = self.edge.page().section(place)
                return text is not None and all(word.lower() in text.lower() for word in words)
            until(f"the runbook says of the page {self.runbook.page!r}", shown, 30, seen=lambda place=place: (
                f"the page shows of {place}: {self.edge.page().section(place)}"))
        self.more_of_page()

    def metric(self):
        row = self.runbook.metric
        for metric in re.findall(r"`((?:clickedge_|process_)\w+|up)`", row):
            def is_there(metric=metric):
                samples = self.prometheus.values(metric, self.edge.admin)
                stated = re.search(rf"`{metric}`[^`,;]* is (above )?(\d+)", row)
                values = [value for _, value in samples]
                if stated:
                    number = float(stated[2])
                    return any(value > number if stated[1] else value == number for value in values)
                return bool(samples) and self.holds(metric, samples)
            until(f"the runbook says of the metric {row!r}", is_there, 90, seen=lambda metric=metric: (
                f"Prometheus has {self.prometheus.values(metric, self.edge.admin)}"))

    def fires(self):
        severity, waits = self.runbook.alert_parts()
        if rule_for(self.alert) != waits:
            raise Failure(f"the runbook says {self.runbook.alert!r}, the rule waits for {rule_for(self.alert)}")
        firing = lambda: self.prometheus.firing(self.edge.admin)
        until(f"{self.alert} fires", lambda: self.alert in firing(), 90, seen=lambda: f"firing: {firing()}")
        alert = self.prometheus.alerts(self.edge.admin)[self.alert]
        seen = alert["labels"]["severity"], alert["annotations"]["summary"].lower(), alert["annotations"]["runbook"]
        expected = severity, self.runbook.summary, f"src/manual/runbook.md#{self.alert.lower()}"
        if seen != expected:
            raise Failure(f"the alert is {seen}, the runbook says {expected}")
        self.more_of_alert(alert)
        self.no_other_alert()
        if self.runbook.lists_problems:
            self.is_listed(severity)

    def is_listed(self, severity):
        """The page and the status list the alert among the problems, in its own words."""
        found = [problem for problem in self.edge.status()["problems"] if problem["alert"] == self.alert]
        if [(each["severity"], each["summary"].lower()) for each in found] != [(severity, self.runbook.summary)]:
            raise Failure(f"/v1/status has the problems {self.edge.status()['problems']}, expected {self.alert}: "
                          f"{severity}, {self.runbook.summary}")
        text = self.edge.page().section("Problems")
        if self.alert not in (text or "") or self.runbook.summary not in text.lower():
            raise Failure(f"the page lists {text}, expected {self.alert}: {self.runbook.summary}")

    def no_other_alert(self):
        others = self.prometheus.firing(self.edge.admin) - {self.alert, *self.with_it}
        if others:
            raise Failure(f"an alert names one cause, but these fire, too: {others}")

    def log(self):
        lines = {}
        for words, fields in self.runbook.log_lines():
            if words in self.other_lines:
                continue
            # What is logged once a minute.
            found = until(f"the runbook says of the log {self.runbook.log!r}", lambda words=words: self.edge.log(words),
                          90, 1, lambda: f"the log has {self.edge.tail()}")
            missing = [field for field in fields if field not in found[-1]]
            if missing:
                raise Failure(f"the runbook names the fields {missing}, the line has {json.dumps(found[-1])}")
            lines[words] = found[-1]
        self.more_of_log(lines)

    def ends(self):
        for words, _ in self.runbook.log_lines("ends"):
            until(f"the runbook says of the end {self.runbook.ends!r}", lambda words=words: self.edge.log(words), 30,
                  seen=self.edge.tail)
        self.resolves()
        self.more_of_end()
        self.edge.account_balances()
        state = self.edge.status()["state"]
        if state != "ready":
            raise Failure(f"the edge is {state}, expected ready")

    def resolves(self):
        until(f"{self.alert} resolves", lambda: not {self.alert, *self.with_it} & self.prometheus.alerts(
            self.edge.admin).keys(), 60, seen=lambda: f"{self.prometheus.alerts(self.edge.admin)}")
        if self.runbook.lists_problems:
            until("no problem is listed", lambda: not self.edge.status()["problems"], 30,
                  seen=lambda: self.edge.status()["problems"])

    def stop(self):
        if self.edge:
            self.edge.end()

    # Steps that several nights take.

    def do(self, *words, code=0, edge=None):
        """Runs a command of the row `do`; the name of a feed stands for NAME."""
        given = self.runbook.command(" ".join(words))
        return (edge or self.edge).command(
            *("all-clicks" if word == "NAME" else word for word in given), code=code)

    def error_is_shown(self):
        """The last error of the feed, its remedy included, is the same on the page, in the status and in the log."""
        error = self.edge.feed()["lastError"]
        text = self.edge.page().section("Feeds")
        missing = [part for part in (error["message"], error["remedy"], error.get("code", "")) if part not in text]
        if missing:
            raise Failure(f"/v1/status has an error {error}, and the page lacks {missing}: {text}")
        return error
