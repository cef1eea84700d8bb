"""The request that the load runs send: records like those of a busy web service, of a given mean size, the same each
time.
"""

from __future__ import annotations

import random

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from payloads import text

WORDS = (
    "request completed upstream cache miss hit user session payment order shipped retry timeout connection pool "
    "database query slow index lookup token refreshed queue depth worker started stopped checkpoint written"
).split()
RECORD_BYTES = 307
START_NS = 1_790_000_000_000_000_000


def record(number: int, rng: random.Random) -> LogRecord:
    """One record of RECORD_BYTES as a field of its request, give or take its varints."""
    made = LogRecord(
        time_unix_nano=START_NS + number * 1_000_003,
        observed_time_unix_nano=START_NS + number * 1_000_003 + rng.randrange(50_000),
        severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
        severity_text="INFO",
        attributes=[
            text("http.request.method", rng.choice(["GET", "POST", "PUT"])),
            text("url.path", f"/api/v1/orders/{rng.randrange(10**6)}"),
            text("http.response.status_code", str(rng.choice([200, 200, 201, 404, 500]))),
        ],
        trace_id=rng.randbytes(16),
        span_id=rng.randbytes(8),
    )
    message = ""
    while made.ByteSize() + len(message) < RECORD_BYTES - 8:  # its own tag and length, and the body's
        message += f"{rng.choice(WORDS)} "
    room = RECORD_BYTES - 8 - made.ByteSize()
    made.body.CopyFrom(AnyValue(string_value=message[:room]))
    return made


def load_request(records: int) -> bytes:
    """A serialised ExportLogsServiceRequest."""
    rng = random.Random(1)
    scope = ScopeLogs(
        scope=InstrumentationScope(name="shop.http", version="4.2"),
        log_records=[record(n, rng) for n in range(records)],
    )
    resource = Resource(
        attributes=[text("service.name", "shop"), text("service.version", "4.2.1"), text("host.name", "web-1")]
    )
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope])]
    ).SerializeToString()
