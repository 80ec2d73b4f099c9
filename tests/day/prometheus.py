"""A Prometheus server with the alerts as they are shipped, but for the time that they wait."""

import json
import re
import subprocess
import urllib.parse
import urllib.request

from runbook import ROOT, Failure
from store import is_open
from world import free_port, until

CONFIG = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: clickedge
    file_sd_configs: [{{files: [targets.json], refresh_interval: 1s}}]
"""


class Prometheus:
    """Scrapes the edges each second, and evaluates the rules."""

    def __init__(self, folder):
        self.folder, self.port, self.targets = folder, free_port(), []
        with open(f"{ROOT}/conf/prometheus/alerts.yml", encoding="utf-8") as file:
            rules, count = re.subn(r"^( +for): \S+$", r"\1: 1s", file.read(), flags=re.M)
        if count < 10:
            raise Failure(f"conf/prometheus/alerts.yml has {count} times that could be shortened")
        for name, text in (("alerts.yml", rules), ("prometheus.yml", CONFIG.format())):
            with open(f"{folder}/{name}", "w", encoding="utf-8") as file:
                file.write(text)
        self.scrape()
        with open(f"{folder}/prometheus.log", "wb") as log:
            self.process = subprocess.Popen(
                ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data",
                 f"--web.listen-address=127.0.0.1:{self.port}"], cwd=folder, stdout=log, stderr=log)
        until("Prometheus listens", lambda: is_open(self.port), 60)

    def scrape(self, *ports):
        """Adds targets."""
        self.targets += [f"127.0.0.1:{port}" for port in ports]
        written = f"{self.folder}/targets.json"
        with open(written, "w", encoding="utf-8") as file:
            json.dump([{"targets": self.targets}], file)

    def ask(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def alerts(self, port):
        """The alerts of an edge, by name: pending and firing ones."""
        instance = f"127.0.0.1:{port}"
        return {alert["labels"]["alertname"]: alert for alert in self.ask("alerts")["alerts"]
                if alert["labels"].get("instance") == instance}

    def firing(self, port):
        return {name for name, alert in self.alerts(port).items() if alert["state"] == "firing"}

    def query(self, query, **parameters):
        return self.ask("query", query=query, **parameters)["result"]

    def values(self, metric, port):
        """The scraped values of a metric of an edge, with their labels; of a histogram its counts."""
        found = self.query(f'{{__name__=~"{metric}(_count)?",instance="127.0.0.1:{port}"}}')
        return [(sample["metric"], float(sample["value"][1])) for sample in found]

    def expression(self, name):
        """The expression of a rule, as the server has loaded it."""
        rules = [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]
        return next(rule["query"] for rule in rules if rule["name"] == name)

    def end(self):
        self.process.kill()
        self.process.wait()
