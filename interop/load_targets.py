"""The servers that the load runs against, each pinned to one core."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common

DISK_LIMIT = "60GiB"  # the runs are not about a full disk


@dataclass
class Target:
    """A running server."""

    version: str
    pid: int
    grpc_port: int
    owes: Callable[[], float] = lambda: 0  # what it has still to do for what it has acknowledged


def version_of(program: str | Path) -> str:
    """The version that the program reports."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (said.stdout or said.stderr).strip().replace("\n", " ")


def rotel_agent() -> Path:
    """Where the wheel keeps the program."""
    site_packages = Path(sysconfig.get_path("purelib"))
    return site_packages / "rotel" / "rotel-agent"


def missing(name: str) -> str:
    """The program of a foreign target that is not installed, or nothing."""
    programs = {"rotel": rotel_agent(), "collector": common.OTELCOL}
    return "" if name not in programs or programs[name].exists() else str(programs[name])


@contextlib.contextmanager
def running_node(
    args: argparse.Namespace, folder: Path, pin: list[str], extra: dict[str, Any] | None = None
) -> Iterator[Target]:
    """The node under test: every request durable before its acknowledgement."""
    settings = {"vault": {"disk_limit": DISK_LIMIT}, **(extra or {})}
    with common.start_node(args.gophership, folder, settings, prefix=pin) as node:

        def owes() -> float:
            return sum(common.metric(node, "gophership_export_debt_entries").values())

        yield Target(version_of(args.gophership), node.child.pid, node.grpc_port, owes)


def node(args: argparse.Namespace, folder: Path, pin: list[str]) -> AbstractContextManager[Target]:
    """As it comes: a shard for each core that it has."""
    return running_node(args, folder, pin)


def two_shards(args: argparse.Namespace, folder: Path, pin: list[str]) -> AbstractContextManager[Target]:
    """With two shards, however many cores it has."""
    return running_node(args, folder, pin, {"ingest": {"shards": 2}})


def one_shard(args: argparse.Namespace, folder: Path, pin: list[str]) -> AbstractContextManager[Target]:
    """With one shard, however many cores it has."""
    return running_node(args, folder, pin, {"ingest": {"shards": 1}})


@contextlib.contextmanager
def exporting(args: argparse.Namespace, folder: Path, pin: list[str], compression: str) -> Iterator[Target]:
    """With one exporter, by gRPC, to a sink on the client's core that takes all."""
    away = [common.need_tool("taskset"), "-c", args.client_core]
    sink = subprocess.Popen(
        [*away, str(common.TARGET / "release" / "jepsen-like"), "sink"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert sink.stdin is not None and sink.stderr is not None
        address = sink.stderr.readline().split()[2].strip(",")
        target = {"endpoint": f"http://{address}", "compression": compression}
        export = [{"name": "sink", "otlp_grpc": target}]
        with running_node(args, folder, pin, {"export": export}) as running:
            yield running
        sink.stdin.close()
    finally:
        sink.kill()
        sink.wait()


def exporter(args: argparse.Namespace, folder: Path, pin: list[str]) -> AbstractContextManager[Target]:
    """With one exporter that does not compress."""
    return exporting(args, folder, pin, "none")


def exporter_gzip(args: argparse.Namespace, folder: Path, pin: list[str]) -> AbstractContextManager[Target]:
    """With one exporter that compresses with gzip."""
    return exporting(args, folder, pin, "gzip")


@contextlib.contextmanager
def rotel(_args: argparse.Namespace, folder: Path, pin: list[str]) -> Iterator[Target]:
    """rotel with its blackhole exporter: decodes and drops."""
    agent = rotel_agent()
    agent.chmod(0o755)  # the wheel forgets it
    grpc_port, http_port = common.free_port(), common.free_port()
    listen = ["--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}", "--otlp-http-endpoint", f"127.0.0.1:{http_port}"]
    files = ["--pid-file", str(folder / "rotel.pid"), "--log-file", str(folder / "rotel-agent.log")]
    command = [*pin, str(agent), "start", *listen, *files, "--exporter", "blackhole"]
    child = common.Child("rotel", command, folder)
    try:
        common.wait_until("listener", child, lambda: common.accepts(grpc_port))
        yield Target(version_of(agent), child.pid, grpc_port)
    finally:
        child.stop()


@contextlib.contextmanager
def collector(_args: argparse.Namespace, folder: Path, pin: list[str]) -> Iterator[Target]:
    """The Collector with its nop exporter: decodes and drops."""
    grpc_port = common.free_port()
    config = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{grpc_port}"}}}},
        "exporters": {"nop": {}},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},
            "pipelines": {"logs": {"receivers": ["otlp"], "exporters": ["nop"]}},
        },
    }
    child = common.start_collector("otelcol", config, [grpc_port], folder, prefix=pin)
    try:
        yield Target(version_of(common.OTELCOL), child.pid, grpc_port)
    finally:
        child.stop()


TARGETS = {
    "node": node,
    "rotel": rotel,
    "collector": collector,
    "one-shard": one_shard,
    "two-shards": two_shards,
    "exporter": exporter,
    "exporter-gzip": exporter_gzip,
}
DEFAULT = ["node", "rotel", "collector"]
