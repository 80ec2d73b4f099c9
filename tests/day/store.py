"""The bucket's side: an S3 server with an owner and users, and the network between an edge and the server."""

import gzip
import json
import os
import socket
import subprocess
import sys
import threading

import boto3
from botocore.config import Config

from runbook import Failure
from world import free_port, until

REGION = "eu-west-1"


class Store:
    """An S3 server. The owner makes buckets, and grants users what `clickedge feed policy` prints."""

    def __init__(self, folder, port=None):
        self.port = port or free_port()
        with open(f"{folder}/store.log", "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, os.path.join(os.path.dirname(__file__), "store_server.py"), str(self.port)],
                env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": "3"}, stdout=log, stderr=log)
        until("the S3 server listens", lambda: is_open(self.port), 60)
        iam = self.client("iam", "none", "none")
        iam.create_user(UserName="owner")
        key = iam.create_access_key(UserName="owner")["AccessKey"]
        everything = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]
        iam.put_user_policy(UserName="owner", PolicyName="all", PolicyDocument=policy(everything))
        self.owner = key["AccessKeyId"], key["SecretAccessKey"]

    def client(self, service, key, secret):
        return boto3.client(
            service, endpoint_url=f"http://127.0.0.1:{self.port}", region_name=REGION, aws_access_key_id=key,
            aws_secret_access_key=secret, config=Config(s3={"addressing_style": "path"}))

    def make(self, bucket, credentials):
        """Makes a bucket, and a user of the same name whose key is in the file `credentials`."""
        self.client("s3", *self.owner).create_bucket(
            Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        iam = self.client("iam", *self.owner)
        iam.create_user(UserName=bucket)
        key = iam.create_access_key(UserName=bucket)["AccessKey"]
        text = "[default]\naws_access_key_id = {AccessKeyId}\naws_secret_access_key = {SecretAccessKey}\n"
        with open(credentials, "w", encoding="utf-8") as file:
            file.write(text.format(**key))
        os.chmod(credentials, 0o600)

    def grant(self, user, statements, name="edge"):
        """Grants what a policy of a bucket says: for a user of the same account, one of its own says the same."""
        for statement in statements:
            statement.pop("Principal", None)
        self.client("iam", *self.owner).put_user_policy(
            UserName=user, PolicyName=name, PolicyDocument=policy(statements))

    def deny(self, user, name="edge"):
        self.client("iam", *self.owner).delete_user_policy(UserName=user, PolicyName=name)

    def events(self, bucket):
        """All events that a consumer finds: of all objects but those of tests and manifests."""
        s3, lines = self.client("s3", *self.owner), []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for key in (found["Key"] for found in page.get("Contents", [])):
                if key.endswith(".ndjson.gz") and "_test/" not in key:
                    body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
                    lines += [json.loads(line) for line in gzip.decompress(body).splitlines()]
        return lines

    def end(self):
        self.process.kill()
        self.process.wait()


def policy(statements):
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def is_open(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Way:
    """The network between one edge and the store, which can be cut: connections end, and new ones are rejected."""

    def __init__(self, to):
        self.to, self.port, self.listener, self.open = to, free_port(), None, set()
        self.restore()

    def restore(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def cut(self):
        # Wakes the thread that accepts.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for stream in list(self.open):
            end(stream)
        until("the network is cut", lambda: not is_open(self.port), 10)

    def accept(self, listener):
        while True:
            try:
                client = listener.accept()[0]
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                return
            self.open |= {client, server}
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self.copy, args=pair, daemon=True).start()

    def copy(self, source, sink):
        try:
            while some := source.recv(65536):
                sink.sendall(some)
        except OSError:
            pass
        for stream in (source, sink):
            end(stream)
            self.open.discard(stream)


def end(stream):
    try:
        stream.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def nonces(events):
    """The queries of clicks by which they are known, in all events."""
    found = []
    for event in events:
        text = json.dumps(event)
        at = text.find("day-")
        if at < 0:
            raise Failure(f"an event of no click of this day: {text[:500]}")
        found.append(text[at:].split('"')[0].split("&")[0])
    return found
