"""The log records that the Python SDK sends: every kind of value, odd strings, several resources and scopes, big
bodies.

Each record carries a number of its own, so that no two are equal.
"""

from __future__ import annotations

import random
import time
from typing import Any

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.resources import Resource

BIG_BODY_BYTES = 1024 * 1024
FLUSH_SIZES = [1, 1, 2, 3, 7, 20, 64, 512]

RESOURCES: list[tuple[dict[str, Any], str]] = [
    ({"service.name": "checkout", "service.version": "1.2.3", "host.name": "web-1", "process.pid": 4711}, ""),
    (
        {"service.name": "вход-登录-🔑", "k8s.labels": ("a", "b", ""), "canary": True, "weight": 0.25},
        "https://opentelemetry.io/schemas/1.30.0",
    ),
    ({}, ""),
]
SCOPES: list[tuple[str, str | None, str | None, dict[str, Any] | None]] = [
    ("app.orders", "2.0", "https://opentelemetry.io/schemas/1.24.0", {"team": "orders", "shard": 7}),
    ("", None, None, None),
    ("библиотека/日本語", "0.0.1-α", None, {"ratio": 0.5, "tags": ["x", "y"]}),
]
STRINGS = [
    "",
    " ",
    "plain",
    "naïve café",
    "日本語のログ",
    "👩‍👩‍👧‍👦 family",
    "שלום עולם",
    "\u0000 nul \u0007 bell",
    "e\u0301 combining",
    "\ufeffbom",
    "\U0010ffff",
    "line\r\nline\u2028line",
    "'; DROP TABLE logs; --",
    "a" * 5000,
]
VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    0.0,
    -0.0,
    1.5,
    float("inf"),
    float("-inf"),
    float("nan"),
    5e-324,
    b"",
    b"\x00\xff\xfe raw",
    bytes(range(256)),
    [],
    ["one", 2, 3.0, True, None, b"\x80"],
    {},
    {"": ""},
    {"nested": {"list": [{"deep": [[[]]]}, {"k": None}], "ключ": "значение"}, "n": -5},
    *STRINGS,
]
SEVERITIES = [
    SeverityNumber.UNSPECIFIED,
    SeverityNumber.TRACE,
    SeverityNumber.INFO,
    SeverityNumber.WARN4,
    SeverityNumber.FATAL4,
]


def loggers(processor: LogRecordProcessor) -> list[Any]:
    """One logger for each resource and scope, all handing their records to one processor."""
    found = []
    for attributes, schema_url in RESOURCES:
        provider = LoggerProvider(resource=Resource(attributes, schema_url), shutdown_on_exit=False)
        provider.add_log_record_processor(processor)
        for name, version, scope_schema, scope_attributes in SCOPES:
            found.append(provider.get_logger(name, version, scope_schema, scope_attributes))
    return found


def record(number: int, run: str, rng: random.Random) -> dict[str, Any]:
    """The arguments of `Logger.emit` for record `number` of a run."""
    value = VALUES[number % len(VALUES)]
    now = time.time_ns()
    span = trace.SpanContext(rng.getrandbits(128) or 1, rng.getrandbits(64) or 1, False, trace.TraceFlags(number % 2))
    return {
        "timestamp": [now, None, now - 86_400_000_000_000, 1][number % 4],
        "observed_timestamp": now,
        "context": trace.set_span_in_context(trace.NonRecordingSpan(span)) if number % 3 == 0 else None,
        "severity_number": SEVERITIES[number % len(SEVERITIES)],
        "severity_text": STRINGS[number % 7] if number % 5 == 0 else None,
        "body": value if number % 2 else f"{run} record {number} {rng.choice(STRINGS)}",
        "attributes": {"run": run, "number": number, "value": value, "again": VALUES[rng.randrange(len(VALUES))]},
        "event_name": "interop.event" if number % 11 == 0 else None,
    }


def big_record(number: int, run: str, rng: random.Random) -> dict[str, Any]:
    """A record with a body of 1 MB: text that gzip cannot make small, or bytes."""
    noise = rng.randbytes(BIG_BODY_BYTES // 2)
    body: Any = noise.hex() if number % 2 else noise + noise
    return {**record(number, run, rng), "body": body}


def send_all(exporter: LogRecordExporter, run: str, records: int, big_records: int) -> BatchLogRecordProcessor:
    """Sends `records` records in flushes of many sizes, the last `big_records` of them big, each in a flush of its own.

    The caller shuts the returned processor down.
    """
    rng = random.Random(run)
    processor = BatchLogRecordProcessor(
        exporter,
        schedule_delay_millis=3_600_000,
        max_export_batch_size=FLUSH_SIZES[-1],
        max_queue_size=4 * FLUSH_SIZES[-1],
    )
    targets = loggers(processor)
    until_flush = 1
    for number in range(records - big_records):
        targets[rng.randrange(len(targets))].emit(**record(number, run, rng))
        until_flush -= 1
        if not until_flush:
            processor.force_flush()
            until_flush = rng.choice(FLUSH_SIZES)
    processor.force_flush()
    for number in range(records - big_records, records):
        targets[number % len(targets)].emit(**big_record(number, run, rng))
        processor.force_flush()
    return processor
