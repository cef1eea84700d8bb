"""The real OpenTelemetry Collector as the sink of a node's exporters, killed and started again under load.

    Python SDK -> node -> exporter otlp_grpc -> Collector -> stub that hashes each record
                       -> exporter otlp_http -> Collector -> another one

Claim: every record that the node acknowledged arrives at both stubs, none that was not sent does, and none arrives
twice except shortly after a kill. The Collector sends without a queue: with its default, a queue in memory, it
acknowledges records that a kill then loses, whatever sends to it.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import logging  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from collector import address, send  # noqa: E402
from stub_sink import StubSink  # noqa: E402

WITHIN_S = 600
RECORDS_PER_TURN = 500
DOWN_S = 2.0
# From a kill until what was under way has been sent again: the time down, and the longest wait between two tries.
AFTER_KILL_S = 15.0
PAID_WITHIN_S = 120.0


def collector_config(ports: dict[str, int], sinks: dict[str, StubSink]) -> dict[str, Any]:
    """Two pipelines, by gRPC and by HTTP, each to its stub, each answering only when the stub has."""
    exporter = {"tls": {"insecure": True}, "sending_queue": {"enabled": False}}
    return {
        "receivers": {
            f"otlp/{name}": {"protocols": {name: {"endpoint": address(port)}}} for name, port in ports.items()
        },
        "exporters": {f"otlp_grpc/{name}": {"endpoint": address(sinks[name].port), **exporter} for name in ports},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {
                f"logs/{name}": {"receivers": [f"otlp/{name}"], "exporters": [f"otlp_grpc/{name}"]} for name in ports
            },
        },
    }


class Load(threading.Thread):
    """Sends records until told to stop, and counts what was acknowledged."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port, self._over = port, threading.Event()
        self.sent: Counter[str] = Counter()

    def run(self) -> None:
        """Sends in turns, each with records of its own."""
        turn = 0
        while not self._over.is_set():
            self.sent += send(self._port, f"turn-{turn}", RECORDS_PER_TURN)
            turn += 1

    def stop(self) -> Counter[str]:
        """Ends it, and says what the node has acknowledged."""
        self._over.set()
        self.join()
        return self.sent


def kills(
    args: argparse.Namespace, config: dict[str, Any], ports: dict[str, int], folder: Path
) -> Iterator[tuple[tuple[float, float], common.Child]]:
    """Runs the Collector, kills it again and again; each time gives from when until when it was away, and the one that
    runs in its place."""
    listening = list(ports.values())
    child = common.start_collector("back-0", config, listening, folder)
    for number in range(1, args.kills + 1):
        time.sleep(args.every)
        child.process.kill()
        child.process.wait()
        killed = time.monotonic()
        time.sleep(DOWN_S)
        child = common.start_collector(f"back-{number}", config, listening, folder)
        yield (killed, time.monotonic()), child


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The test."""
    common.need_otelcol()
    ports = {"grpc": common.free_port(), "http": common.free_port()}
    exporters = [
        {"name": "grpc", "otlp_grpc": {"endpoint": f"http://{address(ports['grpc'])}"}},
        {"name": "http", "otlp_http": {"endpoint": f"http://{address(ports['http'])}/v1/logs"}},
    ]
    with contextlib.ExitStack() as stack:
        sinks = {name: stack.enter_context(StubSink()) for name in ports}
        node = stack.enter_context(common.start_node(args.gophership, folder, {"export": exporters}))
        load = Load(node.grpc_port)
        killed: list[tuple[float, float]] = []
        load.start()
        try:
            for away, child in kills(args, collector_config(ports, sinks), ports, folder):
                killed.append(away)
                stack.callback(child.stop)
            time.sleep(args.every)
        finally:
            sent = load.stop()
        common.wait_until(
            "an empty debt",
            node.child,
            lambda: not any(common.metric(node, "gophership_export_debt_entries").values()),
            PAID_WITHIN_S,
        )
        retried = common.metric(node, "gophership_export_retried_requests_total")
        dead = common.metric(node, "gophership_export_dead_letters")
    print(f"{sent.total()} records acknowledged, the Collector killed {len(killed)} times", flush=True)
    for name, sink in sinks.items():
        lost, invented = sent - sink.records, Counter(sink.records.keys()) - Counter(sent.keys())
        stray = [at for at in sink.again_at if not any(kill <= at <= back + AFTER_KILL_S for kill, back in killed)]
        checks.that(f"{name}: every acknowledged record arrives, unchanged", not lost, f"{lost.total()} missing")
        checks.that(f"{name}: no record arrives that was not sent", not invented, f"{invented.total()} invented")
        checks.that(f"{name}: records arrive twice only after a kill", not stray, f"{len(sink.again_at)} did")
        tried = f"{retried[name]:.0f} requests tried again"
        checks.that(f"{name}: the exporter met the kills", retried[name] > 0, tried)
        checks.that(f"{name}: there is no dead letter", dead[name] == 0)


def main() -> None:
    """Entry point."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what is refused is missed in the count
    parser = common.arguments("A real Collector as the sink of a node, killed under load.")
    parser.add_argument("--kills", type=int, default=3, help="how often the Collector is killed")
    parser.add_argument("--every", type=float, default=4.0, help="seconds between its start and its end")
    common.run_test("collector_sink", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
