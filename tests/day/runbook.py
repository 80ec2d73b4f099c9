"""What the runbook says, and the words of a page that it is compared with."""

import html.parser
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
UNITS = {"minute": "m", "hour": "h", "day": "d"}


class Failure(Exception):
    """What was expected, and what was seen."""


class Section:
    """The section of an alert: its first words, and the rows of its table."""

    def __init__(self, name):
        with open(f"{ROOT}/src/manual/runbook.md", encoding="utf-8") as file:
            sections = re.split(r"^## ", file.read(), flags=re.M)
        found = [section for section in sections if section.startswith(f"{name}\n")]
        if len(found) != 1:
            raise Failure(f"the runbook has {len(found)} sections {name}")
        self.name, self.text = name, found[0]
        self.summary = re.search(r"\*\*(.+?)\*\*", self.text)[1].lower()
        self.rows = dict(re.findall(r"^\| (\w+) \| (.*) \|$", self.text, re.M))
        # Whether the page has a list of what is wrong.
        self.lists_problems = "*Problems*" in sections[0]

    def __getattr__(self, row):
        if row not in self.rows:
            raise Failure(f"the runbook's {self.name} has no row {row}")
        return self.rows[row]

    def page_parts(self):
        """Parts of the row `page`: (section of the page, words that are there): those in code font, or, where a part
        has none, its first ones."""
        parts = []
        for part in self.page.split("; "):
            places, _, words = part.partition(": ")
            parts += [(place, code(words) or [words.split(",")[0]]) for place in places.split(" and ")]
        return parts

    def log_lines(self, row="log"):
        """Messages of the log in a row, each with the fields that are named behind it."""
        lines = []
        for word in code(self.rows[row]):
            if " " in word:
                lines.append((word, []))
            elif lines:
                lines[-1][1].append(word)
        return lines

    def alert_parts(self):
        """Severity, and the `for` of the rule."""
        found = re.match(r"(critical|warning|info), (?:at once|after (an?|\d+) (minute|hour|day)s?)", self.alert)
        if not found:
            raise Failure(f"the runbook's {self.name} does not say when: {self.alert}")
        severity, count, unit = found.groups()
        return severity, unit and f"{1 if count in ('a', 'an') else count}{UNITS[unit]}"

    def command(self, words):
        """A command of the row `do`, such as `feed retry`: its words behind `clickedge`."""
        for found in re.findall(r"`clickedge ([^`]+)`", self.do):
            if found == words or found.startswith(f"{words} "):
                return found.split()
        raise Failure(f"the runbook's {self.name} does not say to run `clickedge {words}`: {self.do}")

    def says(self, row, words):
        """What the caller does is what a row says."""
        if words not in self.rows[row]:
            raise Failure(f"the runbook's {self.name} does not say {words!r} in the row {row}: {self.rows[row]}")


def code(text):
    """What is in code font."""
    return re.findall(r"`([^`]+)`", text)


def rule_for(name):
    """The `for` of a rule as it is shipped, or `None`."""
    with open(f"{ROOT}/conf/prometheus/alerts.yml", encoding="utf-8") as file:
        rules = file.read().split("- alert: ")
    rule = next(rule for rule in rules if rule.startswith(f"{name}\n"))
    found = re.search(r"^ +for: (\S+)$", rule, re.M)
    return found and found[1]


class Page(html.parser.HTMLParser):
    """The text of each section of the status page, by its heading; `State` for the first one."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.name, self.heading = {}, None, False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "section":
            self.name = "State" if ("aria-label", "State") in attributes else ""
        self.heading = tag == "h2"

    def handle_endtag(self, tag):
        if tag == "section":
            self.name = None

    def handle_data(self, data):
        if self.name is None:
            return
        if self.heading:
            self.name, self.heading = data, False
        self.sections[self.name] = self.sections.get(self.name, "") + data + " "

    def section(self, place):
        """The text of the section that a row of the runbook names: by its heading, or by the state of the edge."""
        for heading, text in self.sections.items():
            text = " ".join(text.split())
            if heading.startswith(place) or heading == "State" and re.match(rf"{re.escape(place)}\b", text):
                return text
        return None
