"""Payloads for the raw clients: good ones, and the ways in which one can be bad. Encoded by hand, so that they may be
wrong.
"""

from __future__ import annotations

import io
import random
import subprocess
import time
import zlib

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # the node's default
HUGE_BYTES = 100 * 1024 * 1024
LENGTH_DELIMITED = 2


def text(key: str, value: str) -> KeyValue:
    """A string attribute."""
    return KeyValue(key=key, value=AnyValue(string_value=value))


def good(label: str, records: int = 1, body_bytes: int = 120) -> bytes:
    """A valid request of `records` records, like what a web service sends."""
    now, rng = time.time_ns(), random.Random(label)
    made = [
        LogRecord(
            time_unix_nano=now + number,
            observed_time_unix_nano=now + number,
            severity_number=SeverityNumber.SEVERITY_NUMBER_INFO,
            severity_text="INFO",
            body=AnyValue(string_value=f"{label} {number} ".ljust(body_bytes, "x")),
            attributes=[
                text("http.method", "GET"),
                text("http.route", "/api/v1/orders"),
                text("request", f"{rng.getrandbits(64):016x}"),
            ],
            trace_id=rng.randbytes(16),
            span_id=rng.randbytes(8),
        )
        for number in range(records)
    ]
    scope = ScopeLogs(scope=InstrumentationScope(name="interop.raw", version="1"), log_records=made)
    resource = Resource(attributes=[text("service.name", "interop"), text("host.name", "web-1")])
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=resource, scope_logs=[scope])]
    ).SerializeToString()


def varint(value: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def delimited(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def with_any_value(body: bytes) -> bytes:
    """A request with one record whose body is the encoded AnyValue."""
    return delimited(1, delimited(2, delimited(2, delimited(5, body))))


def nested(levels: int) -> bytes:
    """A request whose body is an array in an array, `levels` deep."""
    value = delimited(1, b"deep")
    for _ in range(levels):
        value = delimited(5, delimited(1, value))
    return with_any_value(value)


def not_utf8() -> bytes:
    """A request whose body is a string that is not UTF-8."""
    return with_any_value(delimited(1, b"caf\xe9 \xff\xfe"))


def of_size(total_bytes: int) -> bytes:
    """A valid request of exactly `total_bytes`."""
    body_bytes = total_bytes - 64
    while len(payload := with_any_value(delimited(1, b"s" * body_bytes))) != total_bytes:
        body_bytes += total_bytes - len(payload)
    return payload


def gzip_of(payload: bytes) -> bytes:
    """The payload as one gzip member."""
    coder = zlib.compressobj(9, zlib.DEFLATED, 31)
    return coder.compress(payload) + coder.flush()


def gzip_bomb() -> bytes:
    """A valid request of 100 MB in about 100 kB of gzip."""
    return gzip_of(of_size(HUGE_BYTES))


def zstd_of(payload: bytes, zstd: str) -> bytes:
    """The payload as one zstd frame, made by the `zstd` program."""
    return subprocess.run([zstd, "-qc"], input=payload, capture_output=True, check=True).stdout


def pieces(content: bytes, size: int = 64 * 1024) -> list[bytes]:
    """The content cut into pieces."""
    reader = io.BytesIO(content)
    return list(iter(lambda: reader.read(size), b""))
