"""The real OpenTelemetry Collector in front of a node and another one behind its replay.

    Python SDK -> Collector -> node -> replay -> Collector -> stub that hashes each record
                  (two pipelines: exporter otlp_grpc with its defaults, exporter otlp_http with zstd)

Claim: every record sent arrives once, with its resource, scope and every value unchanged, and no other. Collectors may
batch anew, so records are compared, not payloads. Nothing waits for a time: a Collector that is told to end first
drains its queue.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import logging  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs  # noqa: E402
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter  # noqa: E402
from opentelemetry.sdk._logs import ReadableLogRecord  # noqa: E402
from opentelemetry.sdk._logs.export import LogRecordExportResult  # noqa: E402

import telemetry  # noqa: E402
from canonical import record_digests  # noqa: E402
from stub_sink import StubSink  # noqa: E402

WITHIN_S = 600
BIG_RECORDS = 3


def address(port: int) -> str:
    """A loopback address."""
    return f"127.0.0.1:{port}"


def collector_config(pipelines: dict[str, tuple[int, str, dict[str, Any]]]) -> dict[str, Any]:
    """A Collector with one pipeline for each (port to listen on, exporter, its settings), and no ports of its own
    beside."""
    return {
        "receivers": {
            f"otlp/{name}": {"protocols": {"grpc": {"endpoint": address(port)}}}
            for name, (port, _, _) in pipelines.items()
        },
        "exporters": {f"{kind}/{name}": settings for name, (_, kind, settings) in pipelines.items()},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                f"logs/{name}": {"receivers": [f"otlp/{name}"], "exporters": [f"{kind}/{name}"]}
                for name, (_, kind, _) in pipelines.items()
            },
        },
    }


class CountingExporter(OTLPLogExporter):
    """The SDK's exporter, which notes the digest of each record that was acknowledged."""

    def __init__(self, port: int) -> None:
        self.sent: Counter[str] = Counter()
        super().__init__(endpoint=f"http://{address(port)}", timeout=30)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Exports, then counts."""
        result = super().export(batch)
        if result is LogRecordExportResult.SUCCESS:
            self.sent += record_digests(encode_logs(batch))
        return result


def send(port: int, run: str, records: int) -> Counter[str]:
    """The SDK's records to a Collector; the digests of those it acknowledged."""
    exporter = CountingExporter(port)
    processor = telemetry.send_all(exporter, run, records, BIG_RECORDS)
    processor.shutdown()
    return exporter.sent


def through_front(node: common.Node, folder: Path, records: int) -> dict[str, Counter[str]]:
    """Sends through a Collector with two pipelines into the node, and ends it, which drains it."""
    ports = {"grpc": common.free_port(), "http": common.free_port()}
    grpc_settings = {"endpoint": address(node.grpc_port), "tls": {"insecure": True}}
    http_settings = {"endpoint": f"http://{address(node.http_port)}", "compression": "zstd"}
    pipelines: dict[str, tuple[int, str, dict[str, Any]]] = {
        "grpc": (ports["grpc"], "otlp_grpc", grpc_settings),
        "http": (ports["http"], "otlp_http", http_settings),
    }
    front = common.start_collector("front", collector_config(pipelines), list(ports.values()), folder)
    try:
        return {run: send(port, run, records) for run, port in ports.items()}
    finally:
        front.stop()


def through_back(args: argparse.Namespace, node: common.Node, folder: Path, sink: StubSink) -> None:
    """Replays the node into a Collector that forwards to the stub, and ends it, which drains it."""
    port = common.free_port()
    settings = {"endpoint": address(sink.port), "tls": {"insecure": True}}
    back = common.start_collector("back", collector_config({"back": (port, "otlp_grpc", settings)}), [port], folder)
    try:
        common.replay(args, node, f"otlp-grpc://{address(port)}")
    finally:
        back.stop()


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The test."""
    common.need_otelcol()
    with common.start_node(args.gophership, folder) as node, StubSink() as sink:
        sent = through_front(node, folder, args.records)
        through_back(args, node, folder, sink)
        arrived, requests = sink.records, sink.requests
    for run, digests in sent.items():
        checks.that(
            f"{run}: the Collector in front took all {args.records} records",
            digests.total() == args.records,
            digests.total(),
        )
    everything: Counter[str] = sum(sent.values(), Counter())
    lost, invented = everything - arrived, Counter(arrived.keys()) - Counter(everything.keys())
    again = arrived - everything - invented
    print(f"{everything.total()} records sent, {arrived.total()} arrived in {requests} requests", flush=True)
    checks.that("every record sent arrives, unchanged", not lost, f"{lost.total()} missing or changed")
    checks.that("no record arrives that was not sent", not invented, f"{invented.total()} invented or changed")
    checks.that("no record arrives twice", not again, f"{again.total()} again")
    for name in ("front", "back"):
        log = (folder / f"{name}.log").read_text(errors="replace").lower()
        complaints = [line for line in log.splitlines() if "\terror\t" in line or "\twarn\t" in line]
        checks.that(f"the Collector {name} has nothing to complain of", not complaints, complaints[:2] or "")


def main() -> None:
    """Entry point."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what is refused is missed in the count
    parser = common.arguments("A real Collector in front of a node and one behind its replay.")
    parser.add_argument("--records", type=int, default=5000, help="records through each of the two pipelines in front")
    common.run_test("collector", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
