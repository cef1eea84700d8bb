"""The Python OpenTelemetry SDK sends to a node over gRPC and HTTP, plain and gzip; the replay gives back the very
bytes.

Claim: the `.lenpb` file of a full replay holds exactly the payloads that were acknowledged and had records, as many
times as they were acknowledged, byte for byte (compared by SHA-256 with what the exporters handed over).
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import logging  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue  # noqa: E402
from opentelemetry.proto.logs.v1.logs_pb2 import ResourceLogs, ScopeLogs  # noqa: E402
from opentelemetry.proto.resource.v1.resource_pb2 import Resource  # noqa: E402

import telemetry  # noqa: E402
from recording import Ledger, RecordingGrpcExporter, RecordingHttpExporter, digest  # noqa: E402

WITHIN_S = 600
BIG_RECORDS = 6
VALUE_KINDS = {field.name for field in AnyValue.DESCRIPTOR.oneofs_by_name["value"].fields} - {
    "string_value_strindex"
} | {"none"}
RUNS = [("grpc", False), ("grpc", True), ("http", False), ("http", True)]


def without_records() -> list[ExportLogsServiceRequest]:
    """Messages that are valid and hold no record: to be acknowledged, not stored."""
    resource = Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value="empty"))])
    return [
        ExportLogsServiceRequest(),
        ExportLogsServiceRequest(resource_logs=[ResourceLogs()]),
        ExportLogsServiceRequest(
            resource_logs=[ResourceLogs(resource=resource, scope_logs=[ScopeLogs(), ScopeLogs()])]
        ),
    ]


def send(port: int, transport: str, compressed: bool, records: int) -> Ledger:
    """One run: `records` records in batches of many sizes, some of 1 MB each, and messages without records."""
    ledger = Ledger()
    run = f"{transport}-{'gzip' if compressed else 'plain'}"
    exporter = (RecordingGrpcExporter if transport == "grpc" else RecordingHttpExporter)(port, compressed, ledger)
    processor = telemetry.send_all(exporter, run, records, BIG_RECORDS)
    for message in without_records():
        exporter.send_message(message)
    processor.shutdown()
    return ledger


def compare(checks: common.Checks, ledgers: dict[str, Ledger], stored: Counter[str]) -> None:
    """The replayed payloads against the acknowledged ones, as multisets."""
    acknowledged: Counter[str] = sum((ledger.acknowledged for ledger in ledgers.values()), Counter())
    attempted: Counter[str] = sum((ledger.attempted for ledger in ledgers.values()), Counter())
    lost, invented = acknowledged - stored, stored - attempted
    checks.that("no acknowledged payload is missing from the replay", not lost, f"{lost.total()} missing")
    checks.that("the replay holds no payload that was not sent", not invented, f"{invented.total()} too many")
    checks.that(
        "each acknowledged payload is there once for each acknowledgement",
        stored == acknowledged,
        f"{stored.total()} replayed, {acknowledged.total()} acknowledged",
    )


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The test."""
    ledgers: dict[str, Ledger] = {}
    out = folder / "all.lenpb"
    rows: list[list[object]] = []
    with common.start_node(args.gophership, folder) as node:
        for transport, compressed in RUNS:
            started = time.monotonic()
            port = node.grpc_port if transport == "grpc" else node.http_port
            ledger = send(port, transport, compressed, args.records)
            coding = "gzip" if compressed else "plain"
            ledgers[f"{transport} {coding}"] = ledger
            took = f"{time.monotonic() - started:.1f}"
            payloads = ledger.acknowledged.total()
            rows.append(
                [
                    transport,
                    coding,
                    ledger.records,
                    payloads,
                    ledger.payload_bytes,
                    ledger.empty,
                    len(ledger.complaints),
                    took,
                ]
            )
        common.replay(args, node, f"file:{out}")
        ended = node.child.stop()
    header = ["transport", "coding", "records acked", "payloads", "bytes", "without records", "complaints", "seconds"]
    print(common.table(header, rows), flush=True)
    for run, ledger in ledgers.items():
        checks.that(
            f"{run}: every answer is a plain acknowledgement", not ledger.complaints, ledger.complaints[:3] or ""
        )
        checks.that(
            f"{run}: all {args.records} records are acknowledged", ledger.records == args.records, ledger.records
        )
        checks.that(
            f"{run}: messages without records are acknowledged", ledger.empty == len(without_records()), ledger.empty
        )
    kinds = set.union(*(ledger.kinds for ledger in ledgers.values()))
    checks.that("what was sent has every kind of value", kinds == VALUE_KINDS, ", ".join(sorted(kinds)))
    compare(checks, ledgers, Counter(digest(payload) for payload in common.read_lenpb(out)))
    checks.that("the node ends cleanly on SIGTERM", ended == 0, f"exit status {ended}")


def main() -> None:
    """Entry point."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # refusals are in the ledger
    parser = common.arguments("The Python SDK against a node, and the replay byte for byte.")
    parser.add_argument("--records", type=int, default=5000, help="records in each of the four runs")
    common.run_test("sdk", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
