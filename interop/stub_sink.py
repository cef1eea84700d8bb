"""A gRPC server that takes OTLP logs as raw bytes, acknowledges them, and keeps the digest of every record."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent import futures
from types import TracebackType

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from canonical import record_digests

SERVICE = "opentelemetry.proto.collector.logs.v1.LogsService"
MESSAGE_BYTES_MAX = 64 * 1024 * 1024


class StubSink:
    """The end of a pipeline; use it as a context manager."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()
        self.requests = 0
        self.again_at: list[float] = []  # when a record arrived that had arrived before
        self._lock = threading.Lock()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        )
        export = grpc.unary_unary_rpc_method_handler(self._export)  # no codecs: bytes in, bytes out
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"Export": export}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def _export(self, payload: bytes, _context: grpc.ServicerContext) -> bytes:
        found = record_digests(ExportLogsServiceRequest.FromString(payload))
        with self._lock:
            self.requests += 1
            self.again_at += [time.monotonic()] * sum(digest in self.records for digest in found)
            self.records += found
        return b""

    def __enter__(self) -> StubSink:
        self._server.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.stop(grace=None).wait()
