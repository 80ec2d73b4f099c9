"""Runs `conf/loaders/lambda_handler.py` against an S3 server.

    lambda_test.py HANDLER ENDPOINT KEY SECRET BUCKET PREFIX TARGET

The bucket holds a feed below the prefix. Prints how many events it passed on, each once, into the bucket TARGET.
"""

import importlib.util
import json
import random
import sys
from urllib.parse import quote_plus

import boto3


class Died(Exception):
    pass


class Table:
    """What the handler uses of DynamoDB: it leaves a part of every request for the next one, as the service may."""

    def __init__(self):
        self.items = {}

    def batch_get_item(self, RequestItems):
        [(table, request)] = RequestItems.items()
        keys = request["Keys"]
        assert 0 < len(keys) <= 100
        now, later = keys[:60], keys[60:]
        found = [self.items[key["id"]["S"]] for key in now if key["id"]["S"] in self.items]
        return {"Responses": {table: found}, "UnprocessedKeys": {table: {"Keys": later}} if later else {}}

    def batch_write_item(self, RequestItems):
        [(table, puts)] = RequestItems.items()
        assert 0 < len(puts) <= 25
        now, later = puts[:20], puts[20:]
        self.items.update((put["PutRequest"]["Item"]["id"]["S"], put["PutRequest"]["Item"]) for put in now)
        return {"UnprocessedItems": {table: later} if later else {}}


def notification(bucket, keys):
    return {"Records": [
        {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, "/")}}}
        for key in keys
    ]}


def listed(client, bucket):
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return [thing["Key"] for page in pages for thing in page.get("Contents", [])]


def main(handler, endpoint, key, secret, bucket, prefix, target):
    spec = importlib.util.spec_from_file_location("lambda_handler", handler)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = boto3.client(
        "s3", endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id=key, aws_secret_access_key=secret
    )
    keys = listed(client, bucket)
    expected = {}
    for name in keys:
        if name.startswith(prefix) and "/_" not in f"/{name.removeprefix(prefix)}":
            body = client.get_object(Bucket=bucket, Key=name)["Body"].read()
            expected.update((event["id"], event) for event in module.parse(name, body))
    assert expected, keys
    assert any("=" in name for name in keys), "a key that a notification encodes"

    into_bucket = module.into_bucket(client, target)
    deaths = iter([True, False, True])

    def pass_on(name, events):
        into_bucket(name, events)
        # Passed on, but not remembered.
        if next(deaths, False):
            raise Died

    for seen in [module.MemorySeen(), module.DynamoSeen(Table(), "seen")]:
        for name in listed(client, target):
            client.delete_object(Bucket=target, Key=name)
        deaths = iter([True, False, True])
        loader = module.Loader(client, pass_on, seen, prefix)
        order = keys * 2
        random.Random(1).shuffle(order)
        died = 0
        for name in order:
            event = notification(bucket, [name])
            if died % 2:
                event = {"Records": [{"messageId": "1", "body": json.dumps(event)}]}
            while True:
                try:
                    loader.handle(event)
                    break
                except Died:
                    died += 1
        assert died == 2
        passed_on = []
        for name in listed(client, target):
            assert "/_" not in f"/{name.removeprefix(prefix)}", name
            passed_on += module.parse(name, client.get_object(Bucket=target, Key=name)["Body"].read())
        assert len(passed_on) == len({event["id"] for event in passed_on}), "an event was passed on twice"
        assert {event["id"]: event for event in passed_on} == expected
        # All is known by now.
        done = loader.handle(notification(bucket, keys))
        assert done["events"] + done["duplicates"] >= len(expected)
    assert loader.handle({"Service": "Amazon S3", "Event": "s3:TestEvent"})["objects"] == 0
    removed = notification(bucket, keys)
    removed["Records"][0]["eventName"] = "ObjectRemoved:Delete"
    removed["Records"] = removed["Records"][:1]
    assert loader.handle(removed)["objects"] == 0
    print(len(expected))


if __name__ == "__main__":
    main(*sys.argv[1:])
