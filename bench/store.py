#!/usr/bin/env python3
"""A small S3 store for measurements: objects are files, and survive a kill of the store.

    bench/store.py PORT FOLDER

Supports what a fleet asks of its bucket: GET with `If-None-Match`, HEAD, and PUT with `If-None-Match: *` and
`If-Match`. An object is written to a file of its own, synced, and renamed into place before the answer. Signatures and
checksums are not verified: the S3 server of the tests does that, and keeps its state in the process.
"""

import hashlib
import http.server
import os
import sys
import threading
import urllib.parse

FOLDER = ""
LOCK = threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self):
        try:
            with open(self.file(), "rb") as file:
                content = file.read()
        except OSError:
            self.error(404, "NoSuchKey")
            return
        if self.headers.get("If-None-Match") == etag(content):
            self.answer(304, etag=etag(content))
        else:
            self.answer(200, content, etag=etag(content))

    do_HEAD = do_GET

    def do_PUT(self):
        length = int(self.headers.get("Content-Length", 0))
        content = self.rfile.read(length)
        if len(content) != length:
            # The client was killed in the middle.
            self.close_connection = True
            return
        with LOCK:
            status = self.store(content)
        if status:
            self.error(412, status)
        else:
            self.answer(200, etag=etag(content))

    def store(self, content):
        """Stores an object, or returns why its condition does not hold."""
        path = self.file()
        try:
            with open(path, "rb") as file:
                current = etag(file.read())
        except OSError:
            current = None
        expected = self.headers.get("If-Match")
        if current and self.headers.get("If-None-Match") == "*" or expected and expected != current:
            return "PreconditionFailed"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        written = f"{path}.{threading.get_ident()}.new"
        with open(written, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(written, path)
        return None

    def file(self):
        key = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        return os.path.join(FOLDER, os.path.normpath(key).lstrip("/"))

    def error(self, status, code):
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'
        self.answer(status, body.encode(), content_type="application/xml")

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        self.send_header("x-amz-request-id", "bench")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        # Clients are killed, too.
        pass


def etag(content):
    return f'"{hashlib.md5(content).hexdigest()}"'


if __name__ == "__main__":
    FOLDER = os.path.abspath(sys.argv[2])
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
