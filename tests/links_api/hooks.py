"""Serializes NDJSON bodies, which schemathesis cannot by itself."""

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def ndjson(_, value):
    text = value if isinstance(value, str) else str(value)
    return text.encode("utf-8", "surrogatepass")
