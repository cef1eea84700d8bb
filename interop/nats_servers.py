"""Three NATS servers with JetStream, and what it costs them to store messages: R3, in files, each synced before its ack."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import common
from procstat import cpu_seconds

STREAM = ["--subjects", "load", "--storage", "file", "--replicas", "3", "--defaults"]
IN_FLIGHT = 64
WITHIN_S = 300


def config(folder: Path, name: str, port: int, routes: list[int], own_route: int) -> Path:
    """Writes the configuration of a server."""
    path = folder / f"{name}.conf"
    settings = {
        "server_name": name,
        "listen": f"127.0.0.1:{port}",
        "jetstream": {"store_dir": str(folder / name), "sync_interval": "always", "max_file_store": 20 << 30},
        "max_payload": 1 << 20,
        "cluster": {
            "name": "cost",
            "listen": f"127.0.0.1:{own_route}",
            "routes": [f"nats://127.0.0.1:{route}" for route in routes],
        },
    }
    path.write_text(json.dumps(settings))
    return path


def measure(programs: Path, folder: Path, message_bytes: int, messages: int) -> tuple[float, float]:
    """MB/s that are acknowledged, and CPU-seconds per GB over all three servers."""
    folder.mkdir()
    ports, routes = [common.free_port() for _ in range(3)], [common.free_port() for _ in range(3)]
    servers: list[common.Child] = []
    nats = [str(programs / "nats"), "--server", f"nats://127.0.0.1:{ports[0]}", "--timeout", "30s"]
    try:
        for number, (port, route) in enumerate(zip(ports, routes, strict=True), 1):
            path = config(folder, f"nats-{number}", port, routes, route)
            servers.append(common.Child(f"nats-{number}", [str(programs / "nats-server"), "-c", str(path)], folder))
        add = [*nats, "stream", "add", "cost", *STREAM]
        common.wait_until("a stream", servers[0], lambda: subprocess.run(add, capture_output=True, check=False).returncode == 0)
        before = sum(cpu_seconds(server.process.pid) for server in servers)
        bench = [*nats, "bench", "js", "pub", "async", "load", "--stream", "cost", "--size", str(message_bytes)]
        bench += ["--msgs", str(messages), "--batch", str(IN_FLIGHT), "--no-progress"]
        done = subprocess.run(bench, capture_output=True, text=True, timeout=WITHIN_S, check=True)
        spent = sum(cpu_seconds(server.process.pid) for server in servers) - before
        gigabytes = message_bytes * messages / 1e9
        return rate(done.stdout + done.stderr, message_bytes), spent / gigabytes
    finally:
        for server in servers:
            server.stop()


def rate(printed: str, message_bytes: int) -> float:
    """The MB/s in what `nats bench` prints."""
    found = re.search(r"([\d,]+) msgs/sec", printed)
    if not found:
        raise ValueError(f"no rate in {printed!r}")
    return int(found[1].replace(",", "")) * message_bytes / 1e6
