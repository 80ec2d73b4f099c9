"""Types of all engines in one form, so that they can be compared.

A tree is a dictionary of fields, a list with the one tree of its elements, or the name of a scalar: `text`, `time`,
`date`, `integer`, `number`, `boolean`.
"""

import json
import re

SCALARS = {
    "text": "VARCHAR STRING UUID JSON",
    "time": "TIMESTAMP DATETIME DATETIME64 TIMESTAMPTZ",
    "date": "DATE DATE32",
    "integer": "TINYINT SMALLINT INT INTEGER BIGINT INT8 INT16 INT32 INT64 UINT8 UINT16 UINT32 UINT64 LONG",
    "number": "DOUBLE FLOAT FLOAT64",
    "boolean": "BOOLEAN BOOL",
}
SCALARS = {word: name for name, words in SCALARS.items() for word in words.split()}


def of_text(text):
    """The tree of a type as DuckDB, ClickHouse, Spark and Athena write it."""
    return Parser(text).type()


def of_columns(text):
    """The tree of a list of columns: `id string, client struct<...>`."""
    return of_text(f"struct<{text}>")


class Parser:
    def __init__(self, text):
        self.tokens = re.findall(r'"[^"]*"|`[^`]*`|\'[^\']*\'|\w+|\[\]|[<>(),:]', text)

    def next(self):
        return self.tokens.pop(0)

    def peek(self):
        return self.tokens[0] if self.tokens else ""

    def type(self):
        word = self.next().upper()
        if word in ("NULLABLE", "LOWCARDINALITY"):
            self.next()
            tree = self.type()
            self.next()
        elif word in ("ARRAY", "LIST"):
            self.next()
            tree = [self.type()]
            self.next()
        elif word in ("STRUCT", "TUPLE"):
            self.next()
            tree = {}
            while True:
                name = self.next().strip('"`')
                if self.peek() == ":":
                    self.next()
                tree[name] = self.type()
                if self.next() != ",":
                    break
        else:
            tree = SCALARS[word]
            if self.peek() == "(":
                while self.next() != ")":
                    pass
            while self.peek().upper() in ("WITH", "TIME", "ZONE"):
                self.next()
        while self.peek() == "[]":
            self.next()
            tree = [tree]
        return tree


def of_polars(dtype):
    import polars as pl

    if isinstance(dtype, (dict, pl.Schema)):
        return {name: of_polars(inner) for name, inner in dtype.items()}
    if isinstance(dtype, pl.Struct):
        return {field.name: of_polars(field.dtype) for field in dtype.fields}
    if isinstance(dtype, pl.List):
        return [of_polars(dtype.inner)]
    return SCALARS[str(dtype.base_type()).upper()]


def of_arrow(schema):
    import pyarrow as pa

    if isinstance(schema, pa.Schema) or pa.types.is_struct(schema):
        return {field.name: of_arrow(field.type) for field in schema}
    if pa.types.is_list(schema):
        return [of_arrow(schema.value_type)]
    return SCALARS[re.match(r"\w+", str(schema)).group().upper()]


def of_spark(schema):
    tree = of_text(schema.simpleString())
    # The partitions.
    return {name: inner for name, inner in tree.items() if name not in ("dt", "hour")}


def of_bigquery(fields):
    tree = {}
    for field in fields:
        inner = of_bigquery(field["fields"]) if field["type"] == "RECORD" else SCALARS[field["type"]]
        tree[field["name"]] = [inner] if field.get("mode") == "REPEATED" else inner
    return tree


def of_values(values):
    """The union of the types of Python values."""
    values = [value for value in values if value is not None and value == value]
    kinds = {type(value) for value in values}
    if kinds <= {dict}:
        names = {name: None for value in values for name in value}
        return {name: of_values([value[name] for value in values if name in value]) for name in names}
    if kinds <= {list}:
        return [of_values([inner for value in values for inner in value])]
    assert len(kinds) == 1, f"one type for all values, not {kinds}"
    return {str: "text", bool: "boolean", int: "integer", float: "number"}[kinds.pop()]


def of_json_schema(path):
    with open(path, encoding="utf-8") as file:
        whole = json.load(file)

    def of(schema):
        if "$ref" in schema:
            schema = {**whole["$defs"][schema["$ref"].removeprefix("#/$defs/")], **schema}
        kind = schema.get("type")
        if kind == "object":
            return {name: of(inner) for name, inner in schema["properties"].items()}
        if kind == "array":
            return [of(schema["items"])]
        if kind in ("integer", "number", "boolean"):
            return kind
        return "time" if schema.get("format") == "date-time" else "text"

    return of(whole)


def lower_case(tree):
    if isinstance(tree, dict):
        return {name.lower(): lower_case(inner) for name, inner in tree.items()}
    return [lower_case(tree[0])] if isinstance(tree, list) else tree


def differences(expected, actual, place="", whole=False):
    """What contradicts the expected tree. Times may be texts; with `whole`, every expected field is there."""
    if isinstance(expected, dict) and isinstance(actual, dict):
        for name in actual.keys() - expected.keys():
            yield f"{place}.{name} is unknown"
        for name, inner in expected.items():
            if name in actual:
                yield from differences(inner, actual[name], f"{place}.{name}", whole)
            elif whole:
                yield f"{place}.{name} is missing"
    elif isinstance(expected, list) and isinstance(actual, list):
        yield from differences(expected[0], actual[0], f"{place}[]", whole)
    elif actual != expected and (expected, actual) != ("time", "text"):
        yield f"{place} is {actual}, not {expected}"
