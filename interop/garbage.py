"""Bad input from raw clients: each gets the right refusal, none is stored, none costs memory, and good requests go on
working.

After each bad request a good one is sent over each transport; the replay at the end must hold exactly the good ones.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import subprocess  # noqa: E402
import contextlib  # noqa: E402
import resource  # noqa: E402
import socket  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402

import payloads  # noqa: E402
from garbage_cases import Case, grpc_cases, http_cases, zstd_cases  # noqa: E402
from procstat import RssSampler, rss_anon_kib  # noqa: E402
from raw import Answer, chunk, grpc_call, http_answer, http_export, http_head, prefixed  # noqa: E402
from recording import digest  # noqa: E402

WITHIN_S = 600
IDLE_CONNECTIONS = 1000
READ_TIMEOUT = "2s"
WARM_UP = 32
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"  # with empty SETTINGS


class GoodRequests:
    """The good requests between the bad ones, and which of them were acknowledged."""

    def __init__(self, node: common.Node) -> None:
        self._node = node
        self.acknowledged: Counter[str] = Counter()
        self.refused: list[str] = []
        self._number = 0

    def send(self, payload: bytes, over_grpc: bool, encoding: str = "") -> None:
        """Sends one payload."""
        packed = payloads.gzip_of(payload) if encoding else payload
        if over_grpc:
            headers = {"grpc-encoding": encoding} if encoding else {}
            answer = grpc_call(self._node.grpc_port, [prefixed(packed, bool(encoding))], headers=headers)
        else:
            answer = http_export(
                self._node.http_port, packed, headers={"Content-Encoding": encoding} if encoding else {}
            )
        self.note(payload, answer)

    def one_each(self) -> bool:
        """A small one over each transport; whether both were acknowledged."""
        before = len(self.refused)
        for over_grpc in (True, False):
            self._number += 1
            self.send(payloads.good(f"good-{self._number}", records=1 + self._number % 7), over_grpc)
        return len(self.refused) == before

    def note(self, payload: bytes, answer: Answer) -> None:
        """Keeps count of one answer."""
        if answer.what in ("gRPC OK", "HTTP 200"):
            self.acknowledged[digest(payload)] += 1
        else:
            self.refused.append(str(answer))

    def odd_ones(self) -> None:
        """Requests that look odd and are good, as some clients send them."""
        limit = payloads.of_size(payloads.MESSAGE_BYTES_MAX)
        for over_grpc in (True, False):
            self.send(payloads.not_utf8(), over_grpc)
            self.send(payloads.nested(10), over_grpc)
            self.send(limit, over_grpc)
            self.send(limit, over_grpc, "gzip")
        grpc_port, http_port = self._node.grpc_port, self._node.http_port
        one = payloads.good("odd")
        by_bytes = [prefixed(one)[at : at + 1] for at in range(len(one) + 5)]
        in_chunks = [http_head(None), chunk(one[:9]), chunk(one[9:]), chunk(b"")]
        expecting = http_head(len(one), headers={"Expect": "100-continue"})
        self.note(one, grpc_call(grpc_port, by_bytes))
        self.note(one, grpc_call(grpc_port, [prefixed(one)], headers={"content-type": "application/grpc+proto"}))
        self.note(
            one, grpc_call(grpc_port, [prefixed(one)], headers={"grpc-encoding": "gzip"})
        )  # and yet not compressed
        self.note(one, http_answer(http_port, in_chunks))
        self.note(one, http_answer(http_port, [expecting, one]))
        self.note(one, http_export(http_port, one, headers={"Content-Type": "application/x-protobuf; charset=utf-8"}))


def run_cases(
    checks: common.Checks, port_name: str, cases: list[Case], good: GoodRequests, sampler: RssSampler
) -> None:
    """Runs the cases of one port and prints their table."""
    if not cases:
        return
    rows: list[list[object]] = []
    for case in cases:
        first, started = len(sampler.samples_kib), time.monotonic()
        got = case.run()
        fault = case.fault(got) or ("" if good.one_each() else "a good request after it was refused")
        took, peak = f"{time.monotonic() - started:.1f}", f"{sampler.peak_since(first) / 1024:.1f}"
        rows.append([case.name, " or ".join(case.expected), got, took, peak, fault or "ok"])
    header = [f"{port_name}: case", "expected", "got", "s", "peak RssAnon MiB", "verdict"]
    print(common.table(header, rows), flush=True)
    faulty = [row[0] for row in rows if row[-1] != "ok"]
    checks.that(
        f"{port_name}: each of {len(rows)} bad requests gets the right answer", not faulty, "; ".join(map(str, faulty))
    )


def idle_connections(checks: common.Checks, node: common.Node, good: GoodRequests, growth_kib: int) -> None:
    """Half of the connections say nothing, the others begin and stop; a request on one more connection still works."""
    before = rss_anon_kib(node.child.pid)
    with contextlib.ExitStack() as connections:
        for number in range(IDLE_CONNECTIONS):
            port = (node.grpc_port, node.http_port)[number % 2]
            connection = connections.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
            if number % 4 == 0:
                connection.sendall(HTTP2_PREFACE)
            if number % 4 == 1:
                connection.sendall(b"POST /v1/logs HTTP/1.1\r\nHost: a\r\n")
        works = good.one_each()
        held = rss_anon_kib(node.child.pid)
    checks.that(f"a request works beside {IDLE_CONNECTIONS} idle connections", works)
    checks.that(
        f"{IDLE_CONNECTIONS} idle connections cost at most {growth_kib >> 10} MiB",
        held - before <= growth_kib,
        f"RssAnon {before / 1024:.1f} -> {held / 1024:.1f} MiB",
    )
    checks.that("a request works after they are gone", good.one_each())


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The test."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    growth_kib = args.growth_mib << 10
    out = folder / "all.lenpb"
    with common.start_node(args.gophership, folder, {"ingest": {"read_timeout": READ_TIMEOUT}}) as node:
        # A node that a busy machine turned Red keeps what is compressed as it is, and finds it malformed later.
        green = ["override", "--zone", "green", "--reason", "garbage.py"]
        subprocess.run([str(args.gs_ctl), "--socket", str(node.socket), *green], check=True, stdout=subprocess.DEVNULL)
        good = GoodRequests(node)
        for _ in range(WARM_UP):
            good.one_each()
        good.odd_ones()
        with RssSampler(node.child.pid, every_s=0.02) as sampler:
            before = sampler.samples_kib[0]
            run_cases(checks, "gRPC", grpc_cases(node.grpc_port), good, sampler)
            run_cases(checks, "HTTP", http_cases(node.http_port), good, sampler)
            run_cases(checks, "zstd", zstd_cases(node.grpc_port, node.http_port), good, sampler)
            peak, after = max(sampler.samples_kib), rss_anon_kib(node.child.pid)
        seen = f"RssAnon before {before / 1024:.1f}, peak {peak / 1024:.1f}, after {after / 1024:.1f} MiB"
        checks.that(f"bad requests cost at most {args.growth_mib} MiB", peak - before <= growth_kib, seen)
        idle_connections(checks, node, good, growth_kib)
        checks.that("every good request is acknowledged", not good.refused, good.refused[:3] or "")
        checks.that("the node still runs", node.child.running())
        common.replay(args, node, f"file:{out}")
        ended = node.child.stop()
    stored = Counter(digest(payload) for payload in common.read_lenpb(out))
    seen = f"{stored.total()} replayed, {good.acknowledged.total()} acknowledged"
    checks.that("the replay holds the good payloads and nothing else", stored == good.acknowledged, seen)
    checks.that("the node ends cleanly on SIGTERM", ended == 0, f"exit status {ended}")


def main() -> None:
    """Entry point."""
    parser = common.arguments("Bad input to a node, from raw clients.")
    parser.add_argument("--growth-mib", type=int, default=32, help="how much RssAnon may grow under it")
    common.run_test("garbage", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
