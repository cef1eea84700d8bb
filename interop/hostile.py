"""A node in a memory cgroup under hostile load: the largest messages, bombs, messages that never end, idle connections,
and ordinary load beside them. It must not be killed for want of memory, must go on answering, and must hold its budget.

Needs root for the cgroup.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import socket  # noqa: E402
import subprocess  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402

import payloads  # noqa: E402
from cgroup import memory_cgroup  # noqa: E402
from load_body import load_request  # noqa: E402
from procstat import RssSampler  # noqa: E402
from raw import LOGS, grpc_call, http_export, prefixed  # noqa: E402

BUDGET_MIB = 256
IDLE_CONNECTIONS = 1000
SLOW_STREAMS = 64
# A node that is alive answers in this time on a busy machine, too.
LIVE_WITHIN_S = 30.0
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"


class Attack:
    """Threads that each do one hostile thing again and again until told to stop."""

    def __init__(self, node: common.Node) -> None:
        self._node, self._over = node, threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: Counter[str] = Counter()

    def _again(self, name: str, act: object) -> None:
        while not self._over.is_set():
            try:
                answer = str(act()).split(" (", maxsplit=1)[0]  # type: ignore[operator]
            except OSError as error:
                answer = type(error).__name__
            self.answers[f"{name}: {answer}"] += 1

    def start(self, name: str, act: object, threads: int = 1) -> None:
        """Does `act` on so many threads."""
        for _ in range(threads):
            thread = threading.Thread(target=self._again, args=(name, act), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Ends all of it."""
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=30)


def h2load(node: common.Node, body: Path, headers: list[str], streams: int, seconds: int) -> subprocess.Popen[bytes]:
    """Closed-loop load in the background."""
    command = [common.need_tool("h2load"), "-D", str(seconds), "-c", "16", "-m", str(streams), "-t", "1", "-d", str(body)]
    for header in ["content-type: application/grpc", "te: trailers", *headers]:
        command += ["-H", header]
    command.append(f"http://127.0.0.1:{node.grpc_port}{LOGS}")
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def slow_message(node: common.Node) -> str:
    """Promises a large message and sends it byte by byte until the node has had enough."""
    head = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 4000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", node.http_port), timeout=30) as connection:
        connection.sendall(head)
        connection.settimeout(0.5)
        for _ in range(60):
            connection.sendall(b"\n")
            with contextlib.suppress(TimeoutError):
                return connection.recv(64).decode(errors="replace").split("\r\n", maxsplit=1)[0] or "closed"
    return "never answered"


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The test."""
    files = {"large": payloads.of_size(payloads.MESSAGE_BYTES_MAX), "usual": load_request(512)}
    for name, payload in files.items():
        (folder / name).write_bytes(prefixed(payload))
    (folder / "zipped").write_bytes(prefixed(payloads.gzip_of(files["usual"]), True))
    bomb = payloads.gzip_bomb()
    settings = {
        "memory": {"budget": f"{BUDGET_MIB}MiB"},
        "ingest": {"read_timeout": "5s"},
        "vault": {"disk_limit": "6GiB", "retention": "1s"},
    }
    with contextlib.ExitStack() as stack:
        group = stack.enter_context(memory_cgroup("gophership-hostile", args.memory_limit * 2**20))
        node = stack.enter_context(common.start_node(args.gophership, folder, settings, group.prefix()))
        sampler = stack.enter_context(RssSampler(node.child.pid, 0.1))
        for number in range(IDLE_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", (node.grpc_port, node.http_port)[number % 2]), timeout=10)
            stack.callback(connection.close)
            if number % 4 == 0:
                connection.sendall(HTTP2_PREFACE)
        attack = Attack(node)
        gzip = {"grpc-encoding": "gzip"}
        attack.start("bomb over gRPC", lambda: grpc_call(node.grpc_port, [prefixed(bomb, True)], headers=gzip), 2)
        attack.start("bomb over HTTP", lambda: http_export(node.http_port, bomb, headers={"Content-Encoding": "gzip"}), 2)
        attack.start("slow message", lambda: slow_message(node), SLOW_STREAMS)
        loads = [
            h2load(node, folder / "large", [], 32, args.seconds),
            h2load(node, folder / "usual", [], 16, args.seconds),
            h2load(node, folder / "zipped", ["grpc-encoding: gzip"], 16, args.seconds),
        ]
        deadline = time.monotonic() + args.seconds
        no_answers = 0
        while time.monotonic() < deadline and node.child.running():
            no_answers += not common.answers_200(f"http://127.0.0.1:{node.admin_port}/livez", LIVE_WITHIN_S)
            time.sleep(1)
        attack.stop()
        for load in loads:
            load.terminate()
            load.wait()
        for what, count in attack.answers.most_common():
            print(f"  {count:7} {what}", flush=True)
        checks.that("the node still runs", node.child.running())
        checks.that("nothing was killed for want of memory", group.oom_kills() == 0, group.oom_kills())
        peak = max(sampler.samples_kib) / 1024
        checks.that(f"RssAnon stays under the budget and 64 MiB ({BUDGET_MIB + 64} MiB)", peak < BUDGET_MIB + 64, f"{peak:.0f} MiB")
        checks.that("/livez answers throughout", no_answers == 0, no_answers)
        # What the load left may be refused for a moment.
        deadline = time.monotonic() + LIVE_WITHIN_S
        while (answer := grpc_call(node.grpc_port, [prefixed(payloads.good("after"))])).what != "gRPC OK":
            if time.monotonic() > deadline:
                break
            time.sleep(1)
        checks.that("a good request afterwards is acknowledged", answer.what == "gRPC OK", answer)


def main() -> None:
    """Entry point."""
    parser = common.arguments("A node under hostile load in a memory cgroup.")
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--memory-limit", type=int, default=512, help="MiB of the cgroup")
    args = parser.parse_known_args()[0]
    common.run_test("hostile", parser, body, args.seconds + 300)


if __name__ == "__main__":
    main()
