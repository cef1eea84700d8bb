"""The bad requests and the answer that each is to get."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass

import payloads
import raw
from payloads import HUGE_BYTES, MESSAGE_BYTES_MAX
from raw import Answer, chunk, grpc_call, grpc_export, http_answer, http_export, http_head, prefixed

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
INVALID, TOO_LARGE, TIMED_OUT, UNKNOWN = (
    "gRPC INVALID_ARGUMENT",
    "gRPC RESOURCE_EXHAUSTED",
    "gRPC DEADLINE_EXCEEDED",
    "gRPC UNIMPLEMENTED",
)
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(200))
LOGS_ONLY = r"(?i)logs"
TRICKLE_S = 10.0  # longer than the read timeout, shorter than the client's patience
RETRY_HINTS = ("google.rpc.retryinfo-bin", "retry-after")


@dataclass
class Case:
    """One bad request: which answers are right, what their message must match, which headers they must or must
    not have."""

    name: str
    expected: tuple[str, ...]
    run: Callable[[], Answer]
    message: str = ""
    needs_header: str = ""
    retryable: bool = True

    def fault(self, got: Answer) -> str:
        """The fault of the answer, or nothing."""
        if not any(re.fullmatch(pattern, got.what) for pattern in self.expected):
            return "another answer"
        if self.message and not re.search(self.message, got.message):
            return f"its message lacks {self.message!r}"
        if self.needs_header and self.needs_header not in got.headers:
            return f"no header {self.needs_header}"
        if not self.retryable and any(hint in got.headers for hint in RETRY_HINTS):
            return "it invites a retry"
        return ""


def cut(payload: bytes) -> bytes:
    """The payload without its end."""
    return payload[:-5]


def trickle() -> list[bytes | float]:
    """A byte each half second: it arrives, and never ends."""
    return [piece for _ in range(int(TRICKLE_S * 2)) for piece in (b"\x0a", 0.5)]


def chunked_trickle() -> list[bytes | float]:
    """The same as chunks."""
    return [chunk(piece) if isinstance(piece, bytes) else piece for piece in trickle()]


def grpc_cases(port: int) -> list[Case]:
    """Bad requests to the gRPC port."""
    one, noise = payloads.good("bad"), random.Random(1).randbytes(64 * 1024)
    encoding = {"grpc-encoding": "gzip"}
    over = payloads.of_size(MESSAGE_BYTES_MAX + 1)
    huge = [prefixed(b"", length=HUGE_BYTES), *payloads.pieces(payloads.of_size(HUGE_BYTES))]
    refused = ("closed", r"HTTP 4\d\d")
    return [
        Case("garbage bytes", refused, lambda: http_answer(port, [noise], end=True)),
        Case("a TLS hello", refused, lambda: http_answer(port, [TLS_HELLO], end=True)),
        Case("GET by HTTP/1.1", (r"HTTP 4\d\d",), lambda: http_answer(port, [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])),
        Case("OTLP/HTTP to the gRPC port", (r"HTTP 4\d\d",), lambda: http_export(port, one)),
        Case("protobuf cut off", (INVALID,), lambda: grpc_export(port, cut(one))),
        Case("no protobuf", (INVALID,), lambda: grpc_export(port, noise)),
        Case("a field of a wrong type", (INVALID,), lambda: grpc_export(port, b"\x08\x01")),
        Case("nested 200 deep", (INVALID,), lambda: grpc_export(port, payloads.nested(200))),
        Case(
            "stream ends inside the message", (INVALID, "gRPC INTERNAL"), lambda: grpc_call(port, [prefixed(one)[:-5]])
        ),
        Case("stream ends inside the prefix", (INVALID, "gRPC INTERNAL"), lambda: grpc_call(port, [b"\0\0\0"])),
        Case("no message at all", (INVALID, "gRPC INTERNAL", UNKNOWN), lambda: grpc_call(port, [])),
        Case(
            "two messages in one call",
            (INVALID, "gRPC INTERNAL", UNKNOWN),
            lambda: grpc_call(port, [prefixed(one) * 2]),
        ),
        Case(
            "compressed flag of 7", (INVALID, "gRPC INTERNAL"), lambda: grpc_call(port, [b"\x07" + prefixed(one)[1:]])
        ),
        Case(
            "compressed, no grpc-encoding",
            (INVALID, "gRPC INTERNAL"),
            lambda: grpc_call(port, [prefixed(payloads.gzip_of(one), True)]),
        ),
        Case("gzip that is none", (INVALID,), lambda: grpc_call(port, [prefixed(noise, True)], headers=encoding)),
        Case(
            "gzip cut off",
            (INVALID,),
            lambda: grpc_call(port, [prefixed(cut(payloads.gzip_of(one)), True)], headers=encoding),
        ),
        Case(
            "gzip bomb of 100 MB",
            (TOO_LARGE,),
            lambda: grpc_call(port, [prefixed(payloads.gzip_bomb(), True)], headers=encoding),
            retryable=False,
        ),
        Case("one byte over 4 MiB", (TOO_LARGE,), lambda: grpc_export(port, over), retryable=False),
        Case("a message of 100 MB", (TOO_LARGE,), lambda: grpc_call(port, huge), retryable=False),
        Case(
            "a message that never ends",
            (TIMED_OUT,),
            lambda: grpc_call(port, [prefixed(b"abc", length=100_000), TRICKLE_S], end=False),
        ),
        Case("a prefix that never ends", (TIMED_OUT,), lambda: grpc_call(port, [b"\0", TRICKLE_S], end=False)),
        Case(
            "a message that trickles",
            (TIMED_OUT,),
            lambda: grpc_call(port, [prefixed(b"", length=100_000), *trickle()], end=False),
        ),
        Case(
            "content-type text/plain",
            ("HTTP 415",),
            lambda: grpc_export(port, one, headers={"content-type": "text/plain"}),
        ),
        Case(
            "compression snappy",
            (UNKNOWN,),
            lambda: grpc_call(port, [prefixed(one, True)], headers={"grpc-encoding": "snappy"}),
            needs_header="grpc-accept-encoding",
        ),
        Case("traces", (UNKNOWN,), lambda: grpc_export(port, one, path=TRACES), LOGS_ONLY),
        Case("metrics", (UNKNOWN,), lambda: grpc_export(port, one, path=METRICS), LOGS_ONLY),
        Case("an unknown service", (UNKNOWN,), lambda: grpc_export(port, one, path="/a.B/C")),
        Case("the client vanishes half-way", ("closed",), lambda: vanish(port, one)),
    ]


def vanish(port: int, payload: bytes) -> Answer:
    """Half a message, then no client."""
    call = raw.GrpcCall(port, raw.LOGS, {"content-type": "application/grpc", "te": "trailers"})
    call.send([prefixed(payload)[: len(payload) // 2]], end=False)
    return call.vanish()


def http_cases(port: int) -> list[Case]:
    """Bad requests to the HTTP port."""
    one, noise = payloads.good("bad"), random.Random(2).randbytes(64 * 1024)
    gzip = {"Content-Encoding": "gzip"}
    huge = payloads.pieces(payloads.of_size(HUGE_BYTES))
    bad, large, late = ("HTTP 400",), ("HTTP 413",), ("HTTP 408",)
    return [
        Case("garbage bytes", ("closed", "HTTP 400"), lambda: http_answer(port, [noise], end=True)),
        Case("a TLS hello", ("closed", "HTTP 400"), lambda: http_answer(port, [TLS_HELLO], end=True)),
        Case(
            "OTLP/gRPC to the HTTP port", ("closed", r"HTTP [45]\d\d", r"gRPC (?!OK).*"), lambda: grpc_export(port, one)
        ),
        Case("protobuf cut off", bad, lambda: http_export(port, cut(one))),
        Case("no protobuf", bad, lambda: http_export(port, noise)),
        Case("a field of a wrong type", bad, lambda: http_export(port, b"\x08\x01")),
        Case("nested 200 deep", bad, lambda: http_export(port, payloads.nested(200))),
        Case(
            "JSON that is none",
            bad,
            lambda: http_export(port, b'{"resourceLogs": [', headers={"Content-Type": "application/json"}),
        ),
        Case("gzip that is none", bad, lambda: http_export(port, noise, headers=gzip)),
        Case("gzip cut off", bad, lambda: http_export(port, cut(payloads.gzip_of(one)), headers=gzip)),
        Case(
            "gzip bomb of 100 MB", large, lambda: http_export(port, payloads.gzip_bomb(), headers=gzip), retryable=False
        ),
        Case(
            "one byte over 4 MiB",
            large,
            lambda: http_export(port, payloads.of_size(MESSAGE_BYTES_MAX + 1)),
            retryable=False,
        ),
        Case("a body of 100 MB", large, lambda: http_answer(port, [http_head(HUGE_BYTES), *huge]), retryable=False),
        Case(
            "100 MB in chunks", large, lambda: http_answer(port, [http_head(None), *map(chunk, huge)]), retryable=False
        ),
        Case("a body that never ends", late, lambda: http_answer(port, [http_head(100_000), b"abc", TRICKLE_S])),
        Case("a body that trickles", late, lambda: http_answer(port, [http_head(None), *chunked_trickle()])),
        Case(
            "content-type text/plain",
            ("HTTP 415",),
            lambda: http_export(port, one, headers={"Content-Type": "text/plain"}),
        ),
        Case("compression br", ("HTTP 415",), lambda: http_export(port, one, headers={"Content-Encoding": "br"})),
        Case("traces", ("HTTP 404",), lambda: http_export(port, one, path="/v1/traces"), LOGS_ONLY),
        Case("metrics", ("HTTP 404",), lambda: http_export(port, one, path="/v1/metrics"), LOGS_ONLY),
        Case("GET instead of POST", ("HTTP 405",), lambda: http_answer(port, [http_head(0, method="GET")])),
        Case(
            "body shorter than its length",
            ("closed", "HTTP 400", "HTTP 408"),
            lambda: http_answer(port, [http_head(len(one)), cut(one)], end=True),
        ),
    ]


def zstd_cases(grpc_port: int, http_port: int) -> list[Case]:
    """The bomb again, as zstd, where the program to make it is there."""
    zstd = shutil.which("zstd")
    if zstd is None:
        print("SKIPPED: the zstd bombs: zstd is not installed: run interop/install.sh", flush=True)
        return []
    bomb = payloads.zstd_of(payloads.of_size(HUGE_BYTES), zstd)
    return [
        Case(
            "zstd bomb of 100 MB, gRPC",
            (TOO_LARGE,),
            lambda: grpc_call(grpc_port, [prefixed(bomb, True)], headers={"grpc-encoding": "zstd"}),
            retryable=False,
        ),
        Case(
            "zstd bomb of 100 MB, HTTP",
            ("HTTP 413",),
            lambda: http_export(http_port, bomb, headers={"Content-Encoding": "zstd"}),
            retryable=False,
        ),
    ]
