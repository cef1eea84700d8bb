"""The servers that the load runs against, each pinned to one core."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import common

DISK_LIMIT = "60GiB"  # the runs are not about a full disk


@dataclass
class Target:
    """A running server."""

    version: str
    pid: int
    grpc_port: int


def version_of(program: str | Path) -> str:
    """What the program says of itself."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (said.stdout or said.stderr).strip().replace("\n", " ")


def rotel_agent() -> Path:
    """Where the wheel keeps the program."""
    site_packages = Path(sysconfig.get_path("purelib"))
    return site_packages / "rotel" / "rotel-agent"


def missing(name: str) -> str:
    """Which program of a foreign target is not installed, or nothing."""
    programs = {"rotel": rotel_agent(), "collector": common.OTELCOL}
    return "" if name not in programs or programs[name].exists() else str(programs[name])


@contextlib.contextmanager
def node(args: argparse.Namespace, folder: Path, pin: list[str]) -> Iterator[Target]:
    """The node under test: every request durable before its acknowledgement."""
    with common.start_node(args.gophership, folder, {"vault": {"disk_limit": DISK_LIMIT}}, prefix=pin) as running:
        yield Target(version_of(args.gophership), running.child.pid, running.grpc_port)


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


TARGETS = {"node": node, "rotel": rotel, "collector": collector}
