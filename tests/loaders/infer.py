"""Reads each object with one loader, by inference alone: one schema for all, and what is really in them.

    infer.py LOADER FACTS

FACTS is a JSON file: `schema`, the path of the event's JSON schema, and `objects`, each with its `path` and
`[events, different ids, sum of statuses, pairs of the visitors' queries, bytes of these]`.
"""

import json
import sys

import trees


def duckdb(path):
    import duckdb

    db = duckdb.connect()
    db.execute(f"CREATE VIEW clicks AS SELECT * FROM read_json_auto('{path}', hive_partitioning = false)")
    columns = db.execute("DESCRIBE clicks").fetchall()
    facts = db.execute(
        "SELECT count(*), count(DISTINCT id), sum(route.status), sum(len(route.params.query)), sum(list_sum("
        "list_transform(route.params.query, lambda q: strlen(q.name) + strlen(q.value)))) FROM clicks"
    ).fetchall()[0]
    return {name: trees.of_text(kind) for name, kind, *_ in columns}, facts


def clickhouse(path):
    import chdb

    table = f"file('{path}', JSONEachRow) SETTINGS use_hive_partitioning = 0"
    columns = json.loads(chdb.query(f"DESCRIBE {table}", "JSON").bytes())["data"]
    facts = json.loads(chdb.query(
        "SELECT count(), uniqExact(id), sum(route.status), sum(length(route.params.query)),"
        f" sum(arraySum(q -> assumeNotNull(length(q.name) + length(q.value)), route.params.query)) FROM {table}",
        "JSONCompact",
    ).bytes())["data"][0]
    return {column["name"]: trees.of_text(column["type"]) for column in columns}, facts


def polars(path):
    import polars as pl

    frame = pl.read_ndjson(path)
    queries = frame.select(pl.col("route").struct.field("params").struct.field("query").explode()).drop_nulls()
    pair = queries.to_series().struct
    size = sum(pair.field(name).str.len_bytes().sum() for name in ["name", "value"])
    status = frame["route"].struct.field("status").sum()
    return trees.of_polars(frame.schema), (len(frame), frame["id"].n_unique(), status, len(queries), size)


def arrow(path):
    import gzip

    import pyarrow as pa
    from pyarrow import compute, json as arrow_json

    with gzip.open(path) as file:
        text = file.read()
    # One block, since it takes the schema from the first.
    options = arrow_json.ReadOptions(block_size=len(text) + 1)
    table = arrow_json.read_json(pa.BufferReader(text), read_options=options)

    def at(column, *names):
        for name in names:
            column = compute.struct_field(column, name)
        return column

    pairs = compute.list_flatten(at(table["route"].combine_chunks(), "params", "query"))
    size = sum(compute.sum(compute.binary_length(at(pairs, name))).as_py() for name in ["name", "value"])
    status = compute.sum(at(table["route"], "status")).as_py()
    return trees.of_arrow(table.schema), (len(table), len(table["id"].unique()), status, len(pairs), size)


def pandas(path):
    import pandas as pd

    frame = pd.read_json(path, lines=True)
    # It guesses that the column is a time, and keeps objects as they are.
    tree = trees.of_values(frame.drop(columns="timestamp").to_dict("records")) | {"timestamp": "time"}
    pairs = [pair for route in frame["route"] for pair in route.get("params", {"query": []})["query"]]
    size = sum(len(text.encode()) for pair in pairs for text in pair.values())
    status = sum(route["status"] for route in frame["route"])
    return tree, (len(frame), frame["id"].nunique(), status, len(pairs), size)


def spark(path):
    frame = session().read.json(path)
    facts = frame.selectExpr(
        "count(*)", "count(DISTINCT id)", "sum(route.status)", "sum(size(coalesce(route.params.query, array())))",
        "sum(aggregate(route.params.query, 0, (n, q) -> n + octet_length(q.name) + octet_length(q.value)))",
    ).first()
    return trees.of_spark(frame.schema), facts


def session():
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.sql.session.timeZone", "UTC")
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "2")
    builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.log.level", "ERROR")
    return builder.getOrCreate()


def main(loader, path):
    with open(path, encoding="utf-8") as file:
        facts = json.load(file)
    expected = trees.of_json_schema(facts["schema"])
    schemas = {}
    for thing in facts["objects"]:
        tree, read = globals()[loader](thing["path"])
        read = [int(fact) for fact in read]
        assert read == thing["facts"], f"{thing['path']}: read {read}, written {thing['facts']}"
        schemas.setdefault(json.dumps(tree, sort_keys=True), []).append(thing["path"])
        wrong = list(trees.differences(expected, tree))
        assert not wrong, f"{thing['path']}: {wrong}"
    assert len(schemas) == 1, "\n".join(f"{schema}: {paths}" for schema, paths in schemas.items())
    print(f"{loader}: {len(facts['objects'])} objects, one schema of {len(next(iter(schemas)))} bytes")


if __name__ == "__main__":
    main(*sys.argv[1:])
