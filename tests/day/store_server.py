"""An S3 server that checks signatures and permissions: moto, and what moto leaves out of S3's rules on the clock.

    store_server.py PORT

The first requests of `INITIAL_NO_AUTH_ACTION_COUNT` make the owner of all buckets; from then on each request needs a
key, a signature that fits it, and a policy of its user that allows it.
"""

import datetime
import sys
import threading

from moto.iam.access_control import IAMRequestBase
from moto.s3.responses import ACTION_MAP
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, run_simple

# S3 rejects a request whose time is further off.
MOST_SKEW = datetime.timedelta(minutes=15)
SKEWED = b"""<?xml version="1.0" encoding="UTF-8"?>
<Error><Code>RequestTimeTooSkewed</Code><Message>The difference between the request time and the current time is too \
large.</Message></Error>"""
# moto leaves it out of what it denies.
REQUEST_ID = "x-amz-request-id", "0123456789ABCDEF"


# The request of a thread as it was sent. That was signed; moto has decoded it.
SENT = threading.local()


def request_as_sent(request, made=IAMRequestBase._create_aws_request):
    request._path = SENT.target
    return made(request)


class Clocked:
    """Rejects what is signed at another time, and gives each answer an id."""

    def __init__(self, app):
        self.app = app

    def __call__(self, environ, start_response):
        SENT.target = environ["RAW_URI"]
        signed = environ.get("HTTP_X_AMZ_DATE")
        if signed:
            at = datetime.datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
            if abs(datetime.datetime.now(datetime.timezone.utc) - at) > MOST_SKEW:
                environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                head = [("Content-Type", "application/xml"), ("Content-Length", str(len(SKEWED)))]
                start_response("403 Forbidden", [REQUEST_ID, *head])
                return [SKEWED]

        def with_id(status, head, *more):
            return start_response(status, head if any(name.lower() == REQUEST_ID[0] for name, _ in head)
                                  else [REQUEST_ID, *head], *more)

        return self.app(environ, with_id)


class Quiet(WSGIRequestHandler):
    def log_request(self, *_):
        pass


if __name__ == "__main__":
    # S3 has no permission of the name HeadBucket: it asks for that to list.
    ACTION_MAP["BUCKET"]["HEAD"]["DEFAULT"] = "ListBucket"
    IAMRequestBase._create_aws_request = request_as_sent
    app = Clocked(DomainDispatcherApplication(create_backend_app))
    run_simple("127.0.0.1", int(sys.argv[1]), app, threaded=True, request_handler=Quiet)
