"""Runs the examples of the manual's chapter on feeds for one loader, as they stand there.

    recipes.py LOADER MANUAL SCHEMA     in a folder with the feed in `feed/`

The examples of a loader are fenced blocks such as ```sql duckdb, in their order. Blocks with another word after it,
```sql duckdb campaigns, answer that question; the answers are compared with what plain Python counts in the objects.
Types are compared with the event's JSON schema, field by field.
"""

import collections
import glob
import gzip
import json
import os
import re
import shutil
import sys
import tempfile

import trees


def blocks(manual, loader):
    """Question, or "", and text of each block."""
    with open(manual, encoding="utf-8") as file:
        found = re.findall(r"^```\w+ (\w+) ?(\w*)\n(.*?)^```$", file.read(), re.M | re.S)
    found = [(question, text) for name, question, text in found if name == loader]
    assert found, f"the manual has no example for {loader}"
    return found


def truth():
    """The answers, counted in every object, each event once."""
    events = {}
    for path in glob.glob("feed/dt=*/hour=*/*.ndjson.gz"):
        with gzip.open(path, "rt", encoding="utf-8", newline="\n") as lines:
            for event in map(json.loads, lines):
                events[event["id"]] = event
    campaigns, tags = collections.Counter(), collections.Counter()
    for event in events.values():
        for tag in event["route"].get("tags", []):
            tags[tag["name"]] += 1
        if event["client"]["agent"]["type"] == "human" and "invalid" not in event.get("quality", {}):
            query = event["route"].get("params", {"query": []})["query"]
            campaigns.update([q["value"] for q in query if q["name"] == "utm_source"][:1])
    return {"campaigns": dict(campaigns), "tags": dict(tags)}


class DuckDb:
    def __init__(self):
        import duckdb

        self.db = duckdb.connect()

    def run(self, question, text):
        if not question:
            self.reads_one_partition(text)
        rows = self.db.execute(text).fetchall()
        return dict(rows) if question else None

    def reads_one_partition(self, view):
        """A condition on `dt` and `hour` leaves an object of another hour unread, which cannot be read."""
        with tempfile.TemporaryDirectory() as folder:
            for hour in ["08", "09"]:
                os.makedirs(f"{folder}/feed/dt=2026-11-23/hour={hour}")
            shutil.copy(glob.glob("feed/dt=*/hour=*/*.ndjson.gz")[0], f"{folder}/feed/dt=2026-11-23/hour=09")
            with open(f"{folder}/feed/dt=2026-11-23/hour=08/a.ndjson.gz", "w") as broken:
                broken.write("no gzip")
            db = self.db.cursor()
            db.execute(view.replace("VIEW clicks", "TEMP VIEW part").replace("'feed/", f"'{folder}/feed/"))
            count = db.execute("SELECT count(*) FROM part WHERE dt = '2026-11-23' AND hour = '09'").fetchall()
            assert count[0][0] > 0, count

    def tree(self):
        columns = self.db.execute("DESCRIBE clicks").fetchall()
        return {name: trees.of_text(kind) for name, kind, *_ in columns if name not in ("dt", "hour")}


class ClickHouse:
    def __init__(self):
        from chdb import session

        self.db = session.Session()
        self.db.query("CREATE DATABASE customer")
        self.db.query("USE customer")

    def run(self, question, text):
        *statements, _ = text.split(";\n")
        if question:
            return {name: int(clicks) for name, clicks in self.rows(statements[0])}
        for statement in statements:
            self.db.query(statement)
        return None

    def rows(self, statement):
        return json.loads(self.db.query(statement, "JSONCompact").bytes())["data"]

    def tree(self):
        return {name: trees.of_text(kind) for name, kind, *_ in self.rows("DESCRIBE TABLE clicks")}


class Python:
    def __init__(self):
        self.names = {}

    def run(self, question, text):
        exec(compile(text, f"example {question}", "exec"), self.names)
        return dict(self.answer(self.names[question])) if question else None


class Pandas(Python):
    def answer(self, series):
        return series.items()

    def tree(self):
        columns = self.names["clicks"].dtypes
        times = [name for name, kind in columns.items() if str(kind) == "datetime64[us, UTC]"]
        assert sorted(times) == ["client.session.started", "route.createdAt", "timestamp"], columns
        return None


class Polars(Python):
    def answer(self, frame):
        return frame.rows()

    def tree(self):
        return trees.of_polars(self.names["clicks"].collect_schema())


class Spark(Python):
    def __init__(self):
        import infer

        super().__init__()
        infer.session()

    def answer(self, frame):
        return [tuple(row) for row in frame.collect()]

    def tree(self):
        return trees.of_spark(self.names["clicks"].schema)


def athena(text):
    columns = text[text.index("(") + 1:text.index("\n)\nPARTITIONED BY")]
    return trees.of_columns(columns)


LOADERS = {"duckdb": DuckDb, "clickhouse": ClickHouse, "pandas": Pandas, "polars": Polars, "spark": Spark}


def answers_of(engine, found):
    answers = {question: engine.run(question, text) for question, text in found}
    return {question: answer for question, answer in answers.items() if question}


def bare_answers(engine, found):
    """The answers for a feed of one event that has only what the schema requires."""
    event = {"id": "01a207af-f4ce-7747-b59e-e9bb12afe699", "schema": "click/1", "timestamp": "2026-11-23T09:15:01Z"}
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        os.makedirs("feed/dt=2026-11-23/hour=09")
        with gzip.open("feed/dt=2026-11-23/hour=09/a.ndjson.gz", "wt", encoding="utf-8") as lines:
            lines.write(json.dumps(event) + "\n")
        try:
            return answers_of(engine, found)
        finally:
            os.chdir(here)


def main(loader, manual, schema):
    expected, found = trees.of_json_schema(schema), blocks(manual, loader)
    if loader == "athena":
        expected, tree = trees.lower_case(expected), athena(found[0][1])
    elif loader == "bigquery":
        tree = trees.of_bigquery(json.loads(found[0][1]))
    else:
        engine = LOADERS[loader]()
        answers = answers_of(engine, found)
        assert answers == truth(), f"{loader}: {answers}, not {truth()}"
        assert all(answers.values()), "there is something to count"
        tree = engine.tree()
        # The others have one session or one working folder in a process.
        if loader in ("duckdb", "pandas", "polars"):
            answers = bare_answers(LOADERS[loader](), found)
            assert answers == {"campaigns": {}, "tags": {}}, answers
    wrong = list(trees.differences(expected, tree, whole=True)) if tree else []
    assert not wrong, f"types of the example for {loader}: {wrong}"
    print(f"{loader}: {len(found)} examples")


if __name__ == "__main__":
    main(*sys.argv[1:])
