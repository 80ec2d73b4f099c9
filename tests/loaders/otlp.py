"""Reads an export with the protocol's own definition, which rejects unknown names and wrong types."""

import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

with open(sys.argv[1], encoding="utf-8") as file:
    request = json_format.Parse(file.read(), ExportMetricsServiceRequest())

(resource,) = request.resource_metrics
attributes = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
assert attributes["service.name"] == "clickedge", attributes
assert attributes["service.instance.id"] == "test", attributes
(scope,) = resource.scope_metrics
assert len(scope.metrics) > 80, len(scope.metrics)
for metric in scope.metrics:
    kind = metric.WhichOneof("data")
    data = getattr(metric, kind)
    assert metric.description, metric.name
    for point in data.data_points:
        assert 0 < point.start_time_unix_nano <= point.time_unix_nano, metric.name
    if kind in ("sum", "histogram"):
        assert data.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE, metric.name
    if kind == "sum":
        assert data.is_monotonic, metric.name
        for point in data.data_points:
            if not point.attributes:
                print(metric.name, point.as_double)
    if kind == "histogram":
        for point in data.data_points:
            assert len(point.bucket_counts) == len(point.explicit_bounds) + 1, metric.name
            assert sum(point.bucket_counts) == point.count, metric.name
