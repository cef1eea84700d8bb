"""One log record in its context, as bytes that do not depend on who serialised it, so that re-batched records compare.

A message that is absent and one that is empty mean the same in OTLP, so both count as absent. The order of attributes
is kept: it is part of what is compared.
"""

from __future__ import annotations

import hashlib
from collections import Counter

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

SEPARATOR = b"\x00|\x00"


def normalise(message: Message) -> None:
    """Clears every singular sub-message that says nothing, innermost first, except where its presence chooses a
    oneof."""
    for field, value in message.ListFields():
        if field.type != field.TYPE_MESSAGE:
            continue
        if field.is_repeated:
            for item in value:
                normalise(item)
            continue
        normalise(value)
        if not value.ByteSize() and field.containing_oneof is None:
            message.ClearField(field.name)


def record_digests(request: ExportLogsServiceRequest) -> Counter[str]:
    """The SHA-256 of each record with its resource, scope and schema URLs. Changes `request`."""
    normalise(request)
    found: Counter[str] = Counter()
    for resource_logs in request.resource_logs:
        resource = resource_logs.resource.SerializeToString(deterministic=True)
        for scope_logs in resource_logs.scope_logs:
            context = [
                resource,
                resource_logs.schema_url.encode(),
                scope_logs.scope.SerializeToString(deterministic=True),
                scope_logs.schema_url.encode(),
            ]
            for record in scope_logs.log_records:
                parts = [*context, record.SerializeToString(deterministic=True)]
                found[hashlib.sha256(SEPARATOR.join(parts)).hexdigest()] += 1
    return found
