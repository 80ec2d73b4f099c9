"""AWS Lambda function that reads each new object of a feed once, and passes on the events that are new.

Set up: Python 3.12 or later, trigger `s3:ObjectCreated:*` on the feed's bucket with the feed's prefix, directly or
through an SQS queue. The function's role needs `s3:GetObject` on the feed, `s3:PutObject` on the target, and
`dynamodb:BatchGetItem` and `dynamodb:BatchWriteItem` on the table, whose key is the text `id`, with `expires` as its
time to live.

    PREFIX          the feed's prefix, with a slash at its end; empty for the whole bucket
    TARGET_BUCKET   where new events go, as gzipped NDJSON under the object's own key
    SEEN_TABLE      the DynamoDB table that remembers ids
    SEEN_DAYS       how long it does; longer than an object can be late or repeated (default 30)

Notifications arrive at least once, sometimes twice, in any order. Each event is passed on once, because
- an object's new events are passed on under the object's key, so that a repetition replaces them by the same,
- ids are remembered with the key that they came in, after they have been passed on: when the function dies in between,
  the next attempt of the same object passes on the same events again, under the same key.
Only two objects with the same event that are read at the same moment pass it on twice. The edge delivers no event in
two objects; a replay does: load replays when nothing else is loaded, or with a reserved concurrency of 1.

To load into something else, replace `pass_on` or `seen` of a `Loader`: `pass_on(key, events)` must replace what it did
for that key before.

Objects with zstd need the package `zstandard`, or Python 3.14.
"""

import gzip
import json
import os
import time
from urllib.parse import unquote_plus


class Loader:
    """Reads the objects that notifications name.

    client    an S3 client of boto3
    pass_on   function of a key and its new events
    seen      remembers the ids of events: `MemorySeen`, `DynamoSeen`, or what has their two methods
    """

    def __init__(self, client, pass_on, seen, prefix=""):
        self.client = client
        self.pass_on = pass_on
        self.seen = seen
        self.prefix = prefix

    def handle(self, notification):
        """Returns what was done: objects, events and duplicates."""
        done = {"objects": 0, "events": 0, "duplicates": 0}
        for bucket, key in objects(notification):
            if not is_events(key, self.prefix):
                continue
            events = self.read(bucket, key)
            new = self.new_events(key, events)
            if new:
                self.pass_on(key, new)
                self.seen.add([event["id"] for event in new], key)
            done["objects"] += 1
            done["events"] += len(new)
            done["duplicates"] += len(events) - len(new)
        return done

    def read(self, bucket, key):
        return parse(key, self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def new_events(self, key, events):
        """Those that came in no other object, each once."""
        by_id = {event["id"]: event for event in reversed(events)}
        known = self.seen.keys_of(list(by_id))
        return [by_id[id] for id in reversed(by_id) if known.get(id, key) == key]


def objects(notification):
    """Bucket and key of each new object that a notification names, directly or in messages of a queue."""
    for record in notification.get("Records", []):
        if "body" in record:
            yield from objects(json.loads(record["body"]))
        elif record.get("eventName", "").startswith("ObjectCreated:"):
            # Keys are encoded as in a form: `dt%3D2026-11-23/hour%3D09/...`.
            yield record["s3"]["bucket"]["name"], unquote_plus(record["s3"]["object"]["key"])


def is_events(key, prefix):
    """Whether an object holds events: manifests, rollups, replays and tests are below names that begin with `_`."""
    below = key.removeprefix(prefix)
    return key.startswith(prefix) and not any(name.startswith("_") for name in below.split("/"))


def parse(key, body):
    """The events of an object of any format and compression."""
    if key.endswith(".gz"):
        body = gzip.decompress(body)
    elif key.endswith(".zst"):
        body = zstd_decompress(body)
    if ".ndjson" in key.rsplit("/", 1)[-1]:
        return [json.loads(line) for line in body.split(b"\n") if line]
    whole = json.loads(body)
    return whole["data"] if isinstance(whole, dict) else whole


def zstd_decompress(body):
    try:
        from compression import zstd
    except ImportError:
        import zstandard

        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return zstd.decompress(body)


class MemorySeen:
    """Remembers ids while the process lives: for tests, and as a model."""

    def __init__(self):
        self.keys = {}

    def keys_of(self, ids):
        """The key that each of these came in, of those that are known."""
        return {id: self.keys[id] for id in ids if id in self.keys}

    def add(self, ids, key):
        self.keys.update(dict.fromkeys(ids, key))


class DynamoSeen:
    """Remembers ids in a DynamoDB table for some days. `client` is a DynamoDB client of boto3."""

    def __init__(self, client, table, days=30):
        self.client = client
        self.table = table
        self.days = days

    def keys_of(self, ids):
        found = {}
        for start in range(0, len(ids), 100):
            request = {self.table: {"Keys": [{"id": {"S": id}} for id in ids[start:start + 100]]}}
            while request:
                answer = self.client.batch_get_item(RequestItems=request)
                for item in answer["Responses"].get(self.table, []):
                    found[item["id"]["S"]] = item["object"]["S"]
                request = answer.get("UnprocessedKeys")
        return found

    def add(self, ids, key):
        expires = {"N": str(int(time.time()) + self.days * 86_400)}
        for start in range(0, len(ids), 25):
            items = [{"id": {"S": id}, "object": {"S": key}, "expires": expires} for id in ids[start:start + 25]]
            request = {self.table: [{"PutRequest": {"Item": item}} for item in items]}
            while request:
                request = self.client.batch_write_item(RequestItems=request).get("UnprocessedItems")


def into_bucket(client, bucket):
    """Passes events on as gzipped NDJSON in a bucket, under the key of their object."""

    def pass_on(key, events):
        text = "".join(json.dumps(event, ensure_ascii=False, separators=(",", ":")) + "\n" for event in events)
        name = key.split(".ndjson")[0].split(".json")[0] + ".ndjson.gz"
        client.put_object(Bucket=bucket, Key=name, Body=gzip.compress(text.encode(), mtime=0))

    return pass_on


LOADER = None


def handler(notification, _context):
    """The entry point: `lambda_handler.handler`."""
    global LOADER
    if LOADER is None:
        import boto3

        client = boto3.client("s3")
        days = int(os.environ.get("SEEN_DAYS", "30"))
        seen = DynamoSeen(boto3.client("dynamodb"), os.environ["SEEN_TABLE"], days)
        LOADER = Loader(
            client, into_bucket(client, os.environ["TARGET_BUCKET"]), seen, os.environ.get("PREFIX", "")
        )
    return LOADER.handle(notification)
