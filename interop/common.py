"""Code that every test here shares: finding the programs, starting and stopping a node, replaying it, and printing PASS
or FAIL.

Only the standard library is imported, so that a test can ask for the venv (`use_venv`) before it imports anything else.
Rules: loopback and free ports only; a temporary folder per test; every child is ended by its own process id.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")).resolve()
INTEROP = TARGET / "interop"
VENV_PYTHON = INTEROP / "venv" / "bin" / "python"
OTELCOL = INTEROP / "otelcol"
REPLAY_COMMAND = "{gs_ctl} --socket {socket} replay start --from 1970-01-01T00:00:00Z --sink {sink}"
# Generous: what comes at all comes long before, and a busy machine makes nothing fail.
READY_WITHIN_S = 120.0
STOP_WITHIN_S = 90.0
REPLAY_WITHIN_S = 180.0
PORT_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


def skip(reason: str) -> NoReturn:
    """Ends the test as not run, visibly."""
    print(f"SKIPPED: {reason}", flush=True)
    sys.exit(0)


def use_venv() -> None:
    """Goes on in the venv's interpreter, or skips the test when there is none."""
    if Path(sys.prefix) == VENV_PYTHON.parent.parent:
        return
    if not VENV_PYTHON.exists():
        skip(f"{VENV_PYTHON} is missing: run interop/install.sh")
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), *sys.argv])


def need_tool(name: str) -> str:
    """The path of a program, or a visible skip."""
    return shutil.which(name) or skip(f"{name} is not installed: run interop/install.sh")


def need_otelcol() -> str:
    """The path of the real Collector, or a visible skip."""
    return str(OTELCOL) if OTELCOL.exists() else skip(f"{OTELCOL} is missing: run interop/install.sh")


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every test takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument(
        "--gophership", type=Path, default=TARGET / "release" / "gophership", help="the node under test"
    )
    parser.add_argument("--gs-ctl", type=Path, default=TARGET / "release" / "gs-ctl", help="its operator's CLI")
    parser.add_argument("--replay-command", default=REPLAY_COMMAND, help="how gs-ctl replays everything into {sink}")
    parser.add_argument("--keep", action="store_true", help="keep the temporary folder (data, config, logs)")
    return parser


def free_port() -> int:
    """A loopback TCP port that was free a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """So many loopback TCP ports that were free a moment ago, no two the same. They are not of those that the kernel
    gives to connections and to whoever asks for any port, so that nobody is given one before it is used."""
    below = int(PORT_RANGE.read_text().split()[0])
    below = below if below > 11_000 else 60_000
    free: list[int] = []
    for port in random.sample(range(10_000, below), below - 10_000):
        if len(free) == count:
            break
        with contextlib.suppress(OSError), socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            free.append(port)
    if len(free) < count:
        raise RuntimeError(f"fewer than {count} ports from 10000 to {below - 1} are free")
    return free


@dataclass
class Checks:
    """The claims of one test. The last line printed is PASS or FAIL."""

    test: str
    failed: list[str] = field(default_factory=list)
    count: int = 0

    def that(self, claim: str, holds: bool, seen: object = "") -> bool:
        """Records one claim; `seen` is what was found."""
        self.count += 1
        if not holds:
            self.failed.append(claim)
        print(f"  {'ok  ' if holds else 'FAIL'} {claim}{f': {seen}' if seen != '' else ''}", flush=True)
        return holds

    def finish(self) -> NoReturn:
        """Prints the verdict and exits with it."""
        if self.failed or not self.count:
            print(f"FAIL {self.test}: {len(self.failed)} of {self.count} claims do not hold", flush=True)
            sys.exit(1)
        print(f"PASS {self.test}: {self.count} claims hold", flush=True)
        sys.exit(0)


def run_test(
    test: str, parser: argparse.ArgumentParser, body: Callable[[argparse.Namespace, Checks, Path], None], within_s: int
) -> NoReturn:
    """Runs `body` in its own folder and within its time, prints the verdict, exits with it."""
    args, checks = parser.parse_args(), Checks(test)

    def too_late(*_: object) -> NoReturn:
        raise TimeoutError(f"not done within {within_s} s")

    def told_to_end(*_: object) -> NoReturn:
        sys.exit(f"FAIL {test}: ended by SIGTERM")

    signal.signal(signal.SIGALRM, too_late)
    signal.signal(signal.SIGTERM, told_to_end)
    signal.alarm(within_s)
    try:
        with test_folder(test, args.keep) as folder:
            body(args, checks, folder)
    except Exception as error:  # whatever went wrong, the verdict is a line of its own
        traceback.print_exc()
        checks.that("the test ran to its end", False, f"{type(error).__name__}: {error}")
    checks.finish()


@contextlib.contextmanager
def test_folder(test: str, keep: bool) -> Iterator[Path]:
    """A folder of its own for one test, on the disk that holds the build (not tmpfs), removed afterwards."""
    INTEROP.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{test}-", dir=INTEROP))
    try:
        yield folder
    finally:
        if keep:
            print(f"kept {folder}", flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


class Child:
    """A process of this test: output in a log file, ended by its own id."""

    def __init__(self, name: str, command: list[str], folder: Path, env: dict[str, str] | None = None) -> None:
        self.name, self.command = name, command
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, **(env or {})},
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def running(self) -> bool:
        """True while it has not ended."""
        return self.process.poll() is None

    def log_tail(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:]

    def stop(self) -> int:
        """Asks it to end, insists after a while; its exit code (negative: the signal that ended it)."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def wait_until(what: str, child: Child, ready: Callable[[], bool], within_s: float = READY_WITHIN_S) -> None:
    """Polls `ready()` until it is true; an early end of the child or the time limit is an error with its log."""
    deadline = time.monotonic() + within_s
    while not ready():
        if not child.running():
            raise RuntimeError(f"{child.name} ended with {child.process.returncode} before {what}:\n{child.log_tail()}")
        if time.monotonic() > deadline:
            raise TimeoutError(f"{child.name}: no {what} within {within_s:.0f} s:\n{child.log_tail()}")
        time.sleep(0.05)


def accepts(port: int) -> bool:
    """True where something listens on the loopback port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def answers_200(url: str, within_s: float = 2) -> bool:
    """True where a GET answers 200."""
    with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=within_s) as answer:
        return bool(answer.status == 200)
    return False


@dataclass
class Node:
    """A running node and where it listens."""

    child: Child
    data: Path
    grpc_port: int
    http_port: int
    admin_port: int

    @property
    def socket(self) -> Path:
        """The local control socket that gs-ctl uses."""
        return self.data / "gophership.sock"


def merged(base: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    """`base` with the sections of `extra` laid over it."""
    return {
        key: merged(base[key], extra[key])
        if isinstance(base.get(key), dict) and isinstance(extra.get(key), dict)
        else extra.get(key, base.get(key))
        for key in base | extra
    }


@contextlib.contextmanager
def start_node(
    binary: Path, folder: Path, extra: dict[str, Any] | None = None, prefix: list[str] | None = None
) -> Iterator[Node]:
    """Runs `gophership run` on free ports until the block ends. `extra` goes over its config, `prefix` before its
    command."""
    if not binary.exists():
        print(f"FAIL: {binary} is missing: build it (cargo build --release) or name it with --gophership", flush=True)
        sys.exit(2)
    data, config = folder / "data", folder / "node.yaml"
    grpc_port, http_port, admin_port = free_ports(3)
    settings = {
        "node": {"name": "interop", "data_dir": str(data)},
        "listeners": {
            "otlp_grpc": {"address": f"127.0.0.1:{grpc_port}"},
            "otlp_http": {"address": f"127.0.0.1:{http_port}"},
            "admin": {"address": f"127.0.0.1:{admin_port}"},
        },
    }
    config.write_text(json.dumps(merged(settings, extra or {}), indent=2) + "\n")  # JSON is YAML
    child = Child("gophership", [*(prefix or []), str(binary.resolve()), "run", "--config", str(config)], folder)
    node = Node(child, data, grpc_port, http_port, admin_port)
    try:
        wait_until("/readyz", child, lambda: answers_200(f"http://127.0.0.1:{admin_port}/readyz"))
        yield node
    finally:
        # Not `child`: a test may have put another process in its place.
        node.child.stop()


def start_collector(
    name: str, config: dict[str, Any], ports: list[int], folder: Path, prefix: list[str] | None = None
) -> Child:
    """Runs the real Collector with `config` and waits until it listens on `ports`. The caller stops it."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps(config, indent=2) + "\n")
    child = Child(name, [*(prefix or []), str(OTELCOL), "--config", str(path)], folder)
    try:
        wait_until("listeners", child, lambda: all(accepts(port) for port in ports))
    except BaseException:
        child.stop()
        raise
    return child


def replay(args: argparse.Namespace, node: Node, sink: str) -> str:
    """Replays all that the node holds into `sink`; an error with gs-ctl's words when it fails."""
    command = [
        part.format(gs_ctl=args.gs_ctl.resolve(), socket=node.socket, sink=sink)
        for part in shlex.split(args.replay_command)
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=REPLAY_WITHIN_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(
            f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
        )
    return done.stdout + done.stderr


def metric(node: Node, name: str) -> dict[str, float]:
    """The values of a metric, by exporter."""
    with urllib.request.urlopen(f"http://127.0.0.1:{node.admin_port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = [line.rsplit(" ", 1) for line in lines if line.startswith(name + "{")]
    return {labels.split('exporter="')[1].split('"')[0]: float(value) for labels, value in found}


def read_lenpb(path: Path) -> list[bytes]:
    """The payloads of a `.lenpb` file: each behind its length as 4 bytes, big-endian."""
    content, payloads, at = path.read_bytes(), [], 0
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        payload = content[at + 4 : at + 4 + length]
        if len(payload) != length:
            raise ValueError(f"{path}: at byte {at} a payload of {length} bytes is cut off after {len(payload)}")
        payloads.append(payload)
        at += 4 + length
    return payloads


def table(header: list[str], rows: list[list[object]]) -> str:
    """A plain text table."""
    cells = [header, *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )
