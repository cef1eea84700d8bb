"""The Python SDK's OTLP exporters, with a note of every payload they hand over and of every one that was acknowledged.

A payload is what leaves the exporter before the transport compresses it: over gRPC what the stub's serializer returns,
over HTTP what the exporter gives its client.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import grpc
import requests
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression as HttpCompression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse

EXPORT_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
RETRY_INFO = "google.rpc.retryinfo-bin"
TIMEOUT_S = 30


def digest(payload: bytes) -> str:
    """The SHA-256 of a payload."""
    return hashlib.sha256(payload).hexdigest()


def count_records(payload: bytes) -> int:
    """Number of log records in a payload."""
    request = ExportLogsServiceRequest.FromString(payload)
    return sum(len(scope.log_records) for resource in request.resource_logs for scope in resource.scope_logs)


def value_kinds(payload: bytes) -> set[str]:
    """The kinds of AnyValue in its bodies and attributes, `none` for a value that is not set."""
    request = ExportLogsServiceRequest.FromString(payload)
    records = [r for resource in request.resource_logs for scope in resource.scope_logs for r in scope.log_records]
    values = [r.body for r in records] + [attribute.value for r in records for attribute in r.attributes]
    return {value.WhichOneof("value") or "none" for value in values}


@dataclass
class Ledger:
    """Payloads that were sent and those that were acknowledged, by digest; only those with records are to be found."""

    attempted: Counter[str] = field(default_factory=Counter)
    acknowledged: Counter[str] = field(default_factory=Counter)
    records: int = 0
    payload_bytes: int = 0
    empty: int = 0
    kinds: set[str] = field(default_factory=set)
    complaints: list[str] = field(default_factory=list)
    not_retryable: list[str] = field(default_factory=list)  # those of the complaints that OTLP has no retry for
    lock: threading.Lock = field(default_factory=threading.Lock)

    def tried(self, payload: bytes) -> None:
        """A payload is about to be sent; its fate is unknown until `acked`."""
        with self.lock:
            if count_records(payload):
                self.attempted[digest(payload)] += 1

    def acked(self, payload: bytes, answer: ExportLogsServiceResponse) -> None:
        """The payload was acknowledged with `answer`."""
        with self.lock:
            records = count_records(payload)
            if answer.HasField("partial_success"):
                self.complaints.append(f"partial_success on full success: {answer}".strip())
            if not records:
                self.empty += 1
                return
            self.acknowledged[digest(payload)] += 1
            self.records += records
            self.kinds |= value_kinds(payload)
            self.payload_bytes += len(payload)

    def refused(self, why: str, retryable: bool = False) -> None:
        """An answer other than an acknowledgement. `retryable`: it says when to ask again."""
        with self.lock:
            self.complaints.append(why)
            if not retryable:
                self.not_retryable.append(why)


class RecordingStub:
    """Stands for the generated LogsServiceStub: same method and codecs, and a note of the bytes."""

    def __init__(self, channel: grpc.Channel, ledger: Ledger) -> None:
        self._ledger = ledger
        self._handed_over = threading.local()
        self._call = channel.unary_unary(
            EXPORT_METHOD,
            request_serializer=self._serialize,
            response_deserializer=ExportLogsServiceResponse.FromString,
        )

    def _serialize(self, request: ExportLogsServiceRequest) -> bytes:
        payload = request.SerializeToString()
        self._handed_over.payload = payload
        self._ledger.tried(payload)
        return payload

    def Export(self, request: ExportLogsServiceRequest, **options: Any) -> ExportLogsServiceResponse:  # noqa: N802
        """The call that the exporter makes."""
        try:
            answer = self._call(request, **options)
        except grpc.RpcError as error:
            told_when = any(key == RETRY_INFO for key, _ in error.trailing_metadata() or ())
            retryable = told_when and error.code() is grpc.StatusCode.UNAVAILABLE
            self._ledger.refused(f"gRPC {error.code().name}: {error.details()}", retryable)
            raise
        self._ledger.acked(self._handed_over.payload, answer)
        return answer


class RecordingGrpcExporter(GrpcExporter):
    """The SDK's gRPC exporter over a recording stub."""

    def __init__(self, port: int, compressed: bool, ledger: Ledger) -> None:
        self._ledger = ledger
        compression = grpc.Compression.Gzip if compressed else grpc.Compression.NoCompression
        super().__init__(endpoint=f"http://127.0.0.1:{port}", compression=compression, timeout=TIMEOUT_S)

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()
        self._client: Any = RecordingStub(self._channel, self._ledger)

    def send_message(self, message: ExportLogsServiceRequest) -> None:
        """Sends a message that no batch of records would give."""
        self._client.Export(request=message, timeout=TIMEOUT_S)


class RecordingSession(requests.Session):
    """Checks that the body on the wire is the payload handed over, and notes what was answered."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        self._ledger = ledger
        self.payload = b""

    def request(self, method: str, url: str, **options: Any) -> requests.Response:  # type: ignore[override]
        """The call that the exporter's transport makes."""
        body = options["data"]
        if (options.get("headers") or {}).get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if body != self.payload:
            self._ledger.refused("the body on the wire is not the payload handed over")
        self._ledger.tried(self.payload)
        try:
            answer = super().request(method, url, **options)
        except requests.RequestException as error:
            self._ledger.refused(f"HTTP: {error}")
            raise
        kind = answer.headers.get("content-type", "")
        if answer.status_code == 200 and kind == "application/x-protobuf":
            self._ledger.acked(self.payload, ExportLogsServiceResponse.FromString(answer.content))
        else:
            retryable = answer.status_code == 503 and "retry-after" in answer.headers
            self._ledger.refused(f"HTTP {answer.status_code} {kind}: {answer.text[:200]}", retryable)
        return answer


class RecordingClient:
    """Stands for the exporter's HTTP client, before it compresses."""

    def __init__(self, client: Any, session: RecordingSession) -> None:
        self._client = client
        self._session = session

    def export(self, payload: bytes) -> Any:
        """The call that the exporter makes."""
        self._session.payload = payload
        return self._client.export(payload)

    def shutdown(self) -> None:
        """Ends the real client."""
        self._client.shutdown()


class RecordingHttpExporter(HttpExporter):
    """The SDK's HTTP exporter over a recording client and session."""

    def __init__(self, port: int, compressed: bool, ledger: Ledger) -> None:
        session = RecordingSession(ledger)
        compression = HttpCompression.Gzip if compressed else HttpCompression.NoCompression
        url = f"http://127.0.0.1:{port}/v1/logs"
        super().__init__(endpoint=url, compression=compression, timeout=TIMEOUT_S, session=session)
        self._client: Any = RecordingClient(self._client, session)

    def send_message(self, message: ExportLogsServiceRequest) -> None:
        """Sends a message that no batch of records would give."""
        self._client.export(message.SerializeToString())
