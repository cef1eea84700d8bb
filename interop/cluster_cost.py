"""What copies cost: acks, CPU and consensus entries of three nodes beside a single one, and the time of a recovery.

All nodes run on one machine. `jepsen-like offer` finds the highest rate of the first node, alone and with two peers, and
sends half of the smaller one to it. With `--trickle SECONDS` so long with nothing to do follows, and as long with one
request a second. At the end the first node is killed, and its segments are recovered with the settings that nodes have
by default. With `--nats FOLDER`, which holds the programs nats-server and nats, three servers of NATS JetStream store as
many bytes. This measures, and sets no bar but that every request at half load is acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import common
import nats_servers
from procstat import bytes_written, cpu_seconds, rss_anon_kib

WITHIN_S = 1800
RECOVERED_WITHIN_S = 120
SETTLE_S = 1.0  # what is still done for the acknowledged requests counts as well
BURST_S = 8
BURST_RATE = 6000
RECORDS = 512


@dataclass
class Member:
    """A running node and its folder."""

    child: common.Child
    data: Path
    grpc_port: int

    def ask(self, args: argparse.Namespace, *words: str) -> dict[str, object]:
        """The JSON that gs-ctl prints."""
        command = [str(args.gs_ctl), "--socket", str(self.data / "gophership.sock"), "-o", "json", *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True)
        return dict(json.loads(done.stdout))


@contextlib.contextmanager
def nodes(args: argparse.Namespace, folder: Path, count: int) -> Iterator[list[Member]]:
    """Runs so many nodes, as a cluster where there are several."""
    members: list[Member] = []
    names = [f"node-{number}" for number in range(1, count + 1)]
    peers = {name: f"127.0.0.1:{common.free_port()}" for name in names}
    cluster = {"name": "cost", "peers": [{"name": name, "address": at} for name, at in peers.items()]}
    try:
        for name in names:
            home = folder / f"{count}-{name}"
            home.mkdir()
            grpc_port, admin_port = common.free_port(), common.free_port()
            settings: dict[str, object] = {
                "node": {"name": name, "data_dir": str(home / "data")},
                "vault": {"disk_limit": "20GiB"},
                "ingest": {"shards": 1},
                "listeners": {
                    "otlp_grpc": {"address": f"127.0.0.1:{grpc_port}"},
                    "otlp_http": {"address": f"127.0.0.1:{common.free_port()}"},
                    "admin": {"address": f"127.0.0.1:{admin_port}"},
                    **({"peer": {"address": peers[name], "insecure": True}} if count > 1 else {}),
                },
                **({"cluster": cluster} if count > 1 else {}),
            }
            (home / "node.yaml").write_text(json.dumps(settings))
            command = [str(args.gophership.resolve()), "run", "--config", str(home / "node.yaml")]
            members.append(Member(common.Child(name, command, home), home / "data", grpc_port))
        if count > 1:
            common.wait_until("provision", members[0].child, lambda: can(lambda: members[0].ask(args, "cluster", "provision")))
        for member in members:
            common.wait_until("readiness", member.child, lambda member=member: is_ready(args, member))
        yield members
    finally:
        for member in members:
            member.child.stop()


def can(attempt: object) -> bool:
    """True where the attempt succeeds."""
    try:
        attempt()  # type: ignore[operator]
    except (subprocess.SubprocessError, ValueError):
        return False
    return True


def is_ready(args: argparse.Namespace, member: Member) -> bool:
    """True where the node says that it takes logs."""
    command = [str(args.gophership.resolve()), "health", "--config", str(member.data.parent / "node.yaml")]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False).returncode == 0


def offer(args: argparse.Namespace, member: Member, rate: float, seconds: float) -> dict[str, float]:
    """Offers requests evenly, and gives what became of them."""
    out = member.data.parent / "offered.json"
    command = [str(args.jepsen_like), "offer", "--address", f"127.0.0.1:{member.grpc_port}", "--rate", f"{rate:.1f}"]
    command += ["--seconds", str(seconds), "--records", str(RECORDS), "--json", str(out)]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=seconds + 90, check=True)
    summary = json.loads(out.read_text())
    return {**summary["phases"][0], "gigabytes": summary["phases"][0]["acked"] * summary["request_bytes"] / 1e9}


def entries(args: argparse.Namespace, members: list[Member]) -> int:
    """Entries of the consensus log so far."""
    return int(str(members[0].ask(args, "raft", "status")["applied"])) if len(members) > 1 else 0


def sealed(args: argparse.Namespace, members: list[Member]) -> int:
    """Segments that are sealed."""
    return int(str(members[0].ask(args, "cluster", "status")["sealed_segments"]))


def half_load(args: argparse.Namespace, checks: common.Checks, members: list[Member], rate: float) -> None:
    """Prints acks and CPU at this rate."""
    before = [cpu_seconds(member.child.pid) for member in members]
    raft, segments = entries(args, members), sealed(args, members)
    offered = offer(args, members[0], rate, args.seconds)
    time.sleep(SETTLE_S)
    millions = offered["acked"] * RECORDS / 1e6
    spent = [(cpu_seconds(member.child.pid) - was) / millions for member, was in zip(members, before, strict=True)]
    print(json.dumps(offered))
    print(f"{len(members)} node(s), {rate:,.0f} requests/s: CPU-s per million records " + ", ".join(f"{s:.2f}" for s in spent))
    if len(members) > 1:
        count, cut = entries(args, members) - raft, sealed(args, members) - segments
        print(f"consensus entries: {count}, for {cut} segments sealed and {millions:.1f} million records")
    checks.that("at half load every request is acknowledged", offered["acked"] == offered["offered"], offered)


def trickle(args: argparse.Namespace, members: list[Member]) -> None:
    """Prints what one request a second costs, and what the same time costs without any."""
    for rate, what in ((0.0, "nothing to do"), (1.0, "one request a second")):
        raft, segments = entries(args, members), sealed(args, members)
        before = [(bytes_written(member.child.pid), cpu_seconds(member.child.pid)) for member in members]
        if rate:
            offered = offer(args, members[0], rate, args.trickle)
            what += f" of {1e9 * offered['gigabytes'] / offered['acked']:,.0f} B"
        else:
            time.sleep(args.trickle)
        after = [(bytes_written(member.child.pid), cpu_seconds(member.child.pid)) for member in members]
        spent = [(a - b, c - d) for (a, c), (b, d) in zip(after, before, strict=True)]
        disk = ", ".join(f"{kept / 1024 / args.trickle:,.0f}" for kept, _ in spent)
        cpu = ", ".join(f"{100 * used / args.trickle:.1f}" for _, used in spent)
        count, cut = entries(args, members) - raft, sealed(args, members) - segments
        print(f"{what} for {args.trickle} s: {count} consensus entries, {cut} segments sealed,", end=" ")
        print(f"KiB/s written {disk}, % of a core {cpu}", flush=True)


def recovery(args: argparse.Namespace, members: list[Member]) -> None:
    """Kills the first node, and prints how long its segments took to be sealed."""
    began = time.monotonic()
    members[0].child.process.kill()
    dead = None
    while time.monotonic() - began < RECOVERED_WITHIN_S:
        view = members[1].ask(args, "cluster", "status")
        alive = {node["name"]: node["alive"] for node in view["nodes"]}  # type: ignore[attr-defined]
        unsealed = {node["name"]: node["unsealed_segments"] for node in view["nodes"]}  # type: ignore[attr-defined]
        if dead is None and not alive["node-1"]:
            dead = time.monotonic() - began
        if unsealed["node-1"] == 0:
            print(f"taken for dead after {dead or 0:.1f} s, recovered after {time.monotonic() - began:.1f} s")
            return
        time.sleep(0.1)
    raise TimeoutError("the segments of the node that was killed were not recovered")


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The measurement."""
    best = {}
    for count in (1, 3):
        with nodes(args, folder, count) as members:
            before = sum(cpu_seconds(member.child.pid) for member in members)
            burst = offer(args, members[0], BURST_RATE, BURST_S)
            time.sleep(SETTLE_S)
            spent = sum(cpu_seconds(member.child.pid) for member in members) - before
            best[count], stored = burst["acked"] / BURST_S, burst["gigabytes"]
            print(f"{count} node(s): {best[count]:,.0f} requests/s at most, {stored / BURST_S * 1000:.0f} MB/s,", end=" ")
            print(f"{spent / stored:.1f} CPU-s per GB over all", flush=True)
    if args.nats:
        size = int(stored * 1e9 / burst["acked"])
        speed, cost = nats_servers.measure(args.nats, folder / "nats", size, int(burst["acked"]))
        print(f"NATS, 3 servers: {speed:.0f} MB/s, {cost:.1f} CPU-s per GB over all", flush=True)
    rate = best[3] / 2
    for count in (1, 3):
        subfolder = folder / f"half-{count}"
        subfolder.mkdir()
        with nodes(args, subfolder, count) as members:
            half_load(args, checks, members, rate)
            if count == 1:
                continue
            if args.trickle:
                trickle(args, members)
            held = ", ".join(f"{rss_anon_kib(member.child.pid) / 1024:.0f}" for member in members)
            print(f"RssAnon in MiB: {held}")
            recovery(args, members)


def main() -> None:
    """Entry point."""
    parser = common.arguments("What copies on other nodes cost.")
    parser.add_argument("--jepsen-like", type=Path, default=common.TARGET / "release" / "jepsen-like", help="offers the load")
    parser.add_argument("--seconds", type=int, default=20, help="how long the half load lasts")
    parser.add_argument("--trickle", type=int, default=0, help="seconds of one request a second; 0: none")
    parser.add_argument("--nats", type=Path, help="a folder with nats-server and nats")
    common.run_test("cluster_cost", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
