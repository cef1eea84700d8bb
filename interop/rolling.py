"""A rolling restart that no client notices: three nodes with certificates behind haproxy, each restarted in turn under
load.

    Python SDK (gRPC, HTTP), Go SDK, Collector -> haproxy -> three nodes -> their exporters -> stub

haproxy runs with the configuration of docs/operations.md, "Rolling restart", in which only names, ports and paths are
replaced. Before each node gets SIGTERM `gs-ctl node can-stop` says yes, and after it is started again `/readyz` is
waited for.

Claims: a request gets no answer but an acknowledgement or a refusal that says when to ask again; no acknowledged record
is missing from a replay of the cluster; no stored record is sent to the sink twice; each node ends with status 0.
Records that a client sent twice are counted, and are no fault. Nothing here is a bar for a time.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import logging  # noqa: E402
import random  # noqa: E402
import subprocess  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from dataclasses import dataclass, field  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402
from opentelemetry.sdk._logs.export import LogRecordExporter, SimpleLogRecordProcessor  # noqa: E402

import telemetry  # noqa: E402
from canonical import record_digests  # noqa: E402
from collector import CountingExporter, address, collector_config  # noqa: E402
from recording import Ledger, RecordingGrpcExporter, RecordingHttpExporter, digest  # noqa: E402
from stub_sink import StubSink  # noqa: E402

WITHIN_S = 900
STEP_WITHIN_S = 120
PAUSE_S = 0.02
NAMES = ["node-1", "node-2", "node-3"]
PORTS = ["4317", "4318", "9091", "9097"]
GO_SDK = common.INTEROP / "go_sdk"
DOCS = common.REPOSITORY / "docs" / "operations.md"


@dataclass
class Member:
    """A node of the cluster, whose process is another one after each restart."""

    name: str
    home: Path
    ports: dict[str, int]
    child: common.Child | None = None
    exits: list[int] = field(default_factory=list)

    def start(self, args: argparse.Namespace) -> common.Child:
        """Starts it on its folder."""
        command = [str(args.gophership.resolve()), "run", "--config", str(self.home / "node.yaml")]
        self.child = common.Child(self.name, command, self.home)
        return self.child

    def stop(self) -> None:
        """Ends it by SIGTERM, and notes its exit status."""
        if self.child:
            self.exits.append(self.child.stop())
            self.child = None

    def is_ready(self) -> bool:
        """True where its admin port says that it takes logs."""
        return common.answers_200(f"http://127.0.0.1:{self.ports['9091']}/readyz")

    def can(self, args: argparse.Namespace, *words: str) -> bool:
        """True where gs-ctl, asking this node, ends with 0."""
        command = [str(args.gs_ctl.resolve()), "--socket", str(self.home / "data" / "gophership.sock"), *words]
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=common.REPLAY_WITHIN_S, check=False
            )
            return done.returncode == 0
        return False

    def ask(self, args: argparse.Namespace, *words: str) -> Any:
        """The JSON that gs-ctl prints."""
        command = [str(args.gs_ctl.resolve()), "--socket", str(self.home / "data" / "gophership.sock"), "-o", "json"]
        done = subprocess.run([*command, *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)
        return json.loads(done.stdout)


@contextlib.contextmanager
def cluster(args: argparse.Namespace, folder: Path, sink: StubSink) -> Iterator[list[Member]]:
    """Three nodes with TLS on all ports but the one for health, ready to take logs."""
    certs = folder / "certs"
    for name in NAMES:
        made = [str(args.gophership.resolve()), "certs", "--out", str(certs), "--name", name]
        subprocess.run(made, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    members = []
    ports = iter(common.free_ports(len(PORTS) * len(NAMES)))
    for name in NAMES:
        home = folder / name
        home.mkdir()
        members.append(Member(name, home, {key: next(ports) for key in PORTS}))
    peers = [{"name": each.name, "address": address(each.ports["9097"])} for each in members]
    for each in members:
        tls = {"cert": str(certs / f"{each.name}.pem"), "key": str(certs / f"{each.name}.key")}
        settings = {
            # What a node has by default that is reached from other machines.
            "node": {"name": each.name, "data_dir": str(each.home / "data"), "shutdown_delay": "5s"},
            "vault": {"segment_size": "8MiB", "disk_limit": "4GiB"},
            "ingest": {"shards": 1},
            "listeners": {
                "otlp_grpc": {"address": address(each.ports["4317"]), "tls": tls},
                "otlp_http": {"address": address(each.ports["4318"]), "tls": tls},
                "admin": {"address": address(each.ports["9091"])},
                "peer": {"address": address(each.ports["9097"]), "tls": {**tls, "client_ca": str(certs / "ca.pem")}},
            },
            # No start here is slow enough to be taken for a lost node, which would end the claims about the sink.
            "cluster": {"name": "rolling", "peers": peers, "dead_after": "2m"},
            "export": [{"name": "stub", "otlp_grpc": {"endpoint": f"http://{address(sink.port)}"}, "start": "oldest"}],
        }
        (each.home / "node.yaml").write_text(json.dumps(settings, indent=2) + "\n")
    try:
        for each in members:
            each.start(args)
        first = members[0]
        await_that("provisioned", first, lambda: first.can(args, "cluster", "provision"))
        for each in members:
            await_that("ready", each, each.is_ready)
        yield members
    finally:
        for each in members:
            each.stop()


def await_that(what: str, member: Member, ready: object) -> None:
    """Waits for a condition of a running node."""
    assert member.child
    common.wait_until(what, member.child, ready, STEP_WITHIN_S)  # type: ignore[arg-type]


def documented_haproxy() -> str:
    """The configuration of haproxy in docs/operations.md: the indented block that begins with `defaults`."""
    lines = DOCS.read_text().splitlines()
    begin = lines.index("    defaults")
    block = []
    for line in lines[begin:]:
        if line and not line.startswith("    "):
            break
        block.append(line[4:])
    return "\n".join(block) + "\n"


def start_haproxy(folder: Path, members: list[Member], fronts: dict[str, int]) -> common.Child:
    """haproxy as it is documented, in front of these nodes."""
    config = documented_haproxy()
    replaced = {f"bind :{port}": f"bind {address(front)}" for port, front in fronts.items()}
    replaced["/etc/haproxy/gophership-ca.pem"] = str(folder / "certs" / "ca.pem")
    for each in members:
        for port in ("4317", "4318"):
            replaced[f"{each.name}:{port} "] = f"{address(each.ports[port])} check port {each.ports['9091']} "
    for was, now in replaced.items():
        if was not in config:
            raise ValueError(f"{DOCS}: the configuration of haproxy has no {was!r}")
        config = config.replace(was, now)
    path = folder / "haproxy.cfg"
    path.write_text(config)
    child = common.Child("haproxy", [common.need_tool("haproxy"), "-db", "-f", str(path)], folder)
    common.wait_until("listeners", child, lambda: all(common.accepts(port) for port in fronts.values()), STEP_WITHIN_S)
    return child


def send_until(ended: threading.Event, exporter: LogRecordExporter, run: str) -> None:
    """Sends one record after the other, each in a request of its own, and waits a little between them."""
    rng = random.Random(run)
    targets = telemetry.loggers(SimpleLogRecordProcessor(exporter))
    number = 0
    while not ended.is_set():
        targets[rng.randrange(len(targets))].emit(**telemetry.record(number, run, rng))
        number += 1
        time.sleep(PAUSE_S)
    exporter.shutdown()


class Load:
    """The clients, from start to `end`."""

    def __init__(self, folder: Path, fronts: dict[str, int]) -> None:
        self.ledgers = {"SDK over gRPC": Ledger(), "SDK over HTTP": Ledger()}
        port = common.free_port()
        settings = {"endpoint": address(fronts["4317"]), "tls": {"insecure": True}}
        config = collector_config({"front": (port, "otlp_grpc", settings)})
        self.collector = common.start_collector("collector", config, [port], folder)
        self.through_collector = CountingExporter(port)
        clients: dict[str, LogRecordExporter] = {
            "grpc": RecordingGrpcExporter(fronts["4317"], True, self.ledgers["SDK over gRPC"]),
            "http": RecordingHttpExporter(fronts["4318"], True, self.ledgers["SDK over HTTP"]),
            "collector": self.through_collector,
        }
        self.ended = threading.Event()
        self.threads = [
            threading.Thread(target=send_until, args=(self.ended, client, run)) for run, client in clients.items()
        ]
        self.go_said = folder / "go_sdk.log"
        with self.go_said.open("wb") as output:
            self.go = subprocess.Popen([str(GO_SDK), address(fronts["4317"])], stdin=subprocess.PIPE, stdout=output)
        for thread in self.threads:
            thread.start()

    def end(self, sink: StubSink) -> None:
        """Ends the clients, the Collector once all that it took has arrived: when it ends, it gives up what it waits to
        send again."""
        self.ended.set()
        for thread in self.threads:
            thread.join()
        self.go.communicate()
        with contextlib.suppress(TimeoutError):  # what is missing then is found missing
            sent = self.through_collector.sent
            common.wait_until("arrival", self.collector, lambda: not sent - sink.records, STEP_WITHIN_S)
        self.collector.stop()

    def acknowledged_by_go(self) -> set[int]:
        """The numbers of the records that the Go SDK got an acknowledgement for."""
        return {int(line) for line in self.go_said.read_text().splitlines() if line.isdecimal()}


def restart_each(args: argparse.Namespace, members: list[Member]) -> None:
    """Restarts the nodes in turn."""
    for each in members:
        await_that(f"{each.name} can stop", each, lambda each=each: each.can(args, "node", "can-stop", each.name))
        began = time.monotonic()
        each.stop()
        ended = time.monotonic()
        await_that("ready", Member(each.name, each.home, each.ports, each.start(args)), each.is_ready)
        print(f"{each.name}: ended after {ended - began:.1f} s, ready {time.monotonic() - ended:.1f} s later", flush=True)


def compare(checks: common.Checks, load: Load, payloads: list[bytes], arrived: Counter[str]) -> None:
    """What was acknowledged against what the cluster has, and that against what the sink got."""
    stored = Counter(digest(payload) for payload in payloads)
    requests = [ExportLogsServiceRequest.FromString(payload) for payload in payloads]
    by_go = {
        record.body.int_value
        for request in requests
        for resource in request.resource_logs
        for scope in resource.scope_logs
        if scope.scope.name == "go_sdk"
        for record in scope.log_records
    }
    records: Counter[str] = sum((record_digests(request) for request in requests), Counter())
    for name, ledger in load.ledgers.items():
        checks.that(f"{name}: it sent through all restarts", ledger.records > 0, f"{ledger.records} records")
        checks.that(f"{name}: each refusal says when to ask again", not ledger.not_retryable, ledger.not_retryable[:3] or "")
        print(f"       {name}: {len(ledger.complaints)} refusals that say when: {Counter(ledger.complaints)}", flush=True)
        lost = ledger.acknowledged - stored
        checks.that(f"{name}: no acknowledged payload is missing", not lost, f"{lost.total()} missing")
    lost = load.through_collector.sent - records
    total = load.through_collector.sent.total()
    checks.that("Collector: no acknowledged record is missing", total > 0 and not lost, f"{lost.total()} of {total} missing")
    acknowledged = load.acknowledged_by_go()
    errors = [line for line in load.go_said.read_text().splitlines() if line.startswith("error")]
    checks.that("Go SDK: no export fails", not errors, errors[:3] or "")
    missing = len(acknowledged - by_go)
    checks.that("Go SDK: no acknowledged record is missing", bool(acknowledged) and not missing, f"{missing} of {len(acknowledged)} missing")
    twice = sum(count - 1 for count in records.values())
    print(f"       {records.total()} records stored, {twice} of them twice", flush=True)
    again = arrived - records
    checks.that("the sink gets no stored record twice, over all restarts", not again, f"{again.total()} again")
    checks.that("the sink gets every stored record", not records - arrived, f"{(records - arrived).total()} missing")


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The test."""
    common.need_otelcol()
    common.need_tool("haproxy")
    if not GO_SDK.exists():
        common.skip(f"{GO_SDK} is missing: run interop/install.sh")
    fronts = dict(zip(("4317", "4318"), common.free_ports(2), strict=True))
    out = folder / "all.lenpb"
    with StubSink() as sink, cluster(args, folder, sink) as members:
        haproxy = start_haproxy(folder, members, fronts)
        try:
            load = Load(folder, fronts)
            try:
                restart_each(args, members)
            finally:
                load.end(sink)
        finally:
            haproxy.stop()
        events: list[Any] = []

        def same_events() -> bool:
            with contextlib.suppress(subprocess.SubprocessError):  # a node that does not answer in time is asked again
                events[:] = [each.ask(args, "events")["events"] for each in members]
                return bool(events[0] == events[1] == events[2])
            return False

        with contextlib.suppress(TimeoutError):  # then they are found to differ
            await_that("the same events on all", members[0], same_events)
        if not members[0].can(args, "replay", "start", "--from", "1970-01-01T00:00:00Z", "--sink", f"file:{out}"):
            raise RuntimeError("the replay of the cluster failed")
        payloads = common.read_lenpb(out)
        total = sum(sum(record_digests(ExportLogsServiceRequest.FromString(payload)).values()) for payload in payloads)
        await_that("all is exported", members[0], lambda: sink.records.total() >= total)
        for each in members:
            each.stop()
        compare(checks, load, payloads, sink.records)
    checks.that("each node has the same events on record", events[0] == events[1] == events[2])
    starts = Counter(event["subject"] for event in events[0] if event["what"] == "node_up")
    checks.that("each node took a new epoch once", set(starts.values()) == {2} and len(starts) == 3, dict(starts))
    print(f"       events: {dict(Counter(event['what'] for event in events[0]))}", flush=True)
    for each in members:
        checks.that(f"{each.name} ends cleanly on SIGTERM, twice", each.exits == [0, 0], each.exits)


def main() -> None:
    """Entry point."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # refusals are in the ledger
    common.run_test("rolling", common.arguments("A rolling restart of three nodes behind haproxy."), body, WITHIN_S)


if __name__ == "__main__":
    main()
