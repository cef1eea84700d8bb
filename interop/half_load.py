"""A node at half of its highest rate: latencies of acks and appends, and memory, idle and under load.

h2load on one core finds the highest rate of a node that is pinned to another; then `jepsen-like offer` sends half of
it, evenly. This measures, and sets no bar. `--memory-limit MIB` runs the node in a memory cgroup with the budget of
`--budget`, at full load, and claims that it was not killed.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import re  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402
from pathlib import Path  # noqa: E402

import load  # noqa: E402
from cgroup import memory_cgroup  # noqa: E402
from load_body import load_request  # noqa: E402
from procstat import RssSampler, rss_anon_kib  # noqa: E402
from raw import prefixed  # noqa: E402

WITHIN_S = 900
IDLE_S = 5.0
REST_S = 15.0  # what full load left to be sealed is sealed meanwhile
HISTOGRAMS = {
    "first byte read -> appended": "gophership_ingester_append_seconds",
    "complete -> acknowledged": "gophership_ingester_ack_seconds",
    "fdatasync": "gophership_vault_sync_seconds",
}


def scrape(port: int) -> str:
    """The node's metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def buckets(metrics: str, name: str) -> dict[float, int]:
    """A histogram's cumulative buckets by upper bound in seconds."""
    found = re.findall(rf'^{name}_bucket{{le="([^"]+)"}} (\d+)', metrics, re.MULTILINE)
    return {float(bound.replace("+Inf", "inf")): int(count) for bound, count in found}


def bound_of(before: dict[float, int], after: dict[float, int], share: float) -> str:
    """The upper bound of the bucket that a quantile of what came between falls into."""
    counts = {bound: count - before.get(bound, 0) for bound, count in after.items()}
    total = counts[float("inf")]
    bound = next(bound for bound, count in sorted(counts.items()) if count >= total * share)
    return f"<= {bound * 1e6:,.0f} us"


def offer(args: argparse.Namespace, node: common.Node, rate: float, out: Path, pin: list[str]) -> dict[str, object]:
    """Offers requests evenly, and gives what became of them all."""
    command = [*pin, str(args.jepsen_like), "offer", "--address", f"127.0.0.1:{node.grpc_port}", "--rate", f"{rate:.1f}"]
    command += ["--seconds", str(args.seconds), "--connections", str(args.connections), "--json", str(out)]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=args.seconds + 60, check=True)
    return dict(json.loads(out.read_text())["phases"][0])


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The measurement."""
    common.need_tool("h2load")
    server_pin, client_pin = (
        [common.need_tool("taskset"), "-c", core] for core in (args.server_core, args.client_core)
    )
    request = folder / "body.grpc"
    request.write_bytes(prefixed(load_request(args.records)))
    settings: dict[str, object] = {"vault": {"disk_limit": "60GiB"}}
    if args.budget:
        settings["memory"] = {"budget": args.budget}
    with contextlib.ExitStack() as stack:
        group = None
        if args.memory_limit:
            group = stack.enter_context(memory_cgroup("gophership-load", args.memory_limit * 2**20))
        prefix = [*(group.prefix() if group else []), *server_pin]
        node = stack.enter_context(common.start_node(args.gophership, folder, settings, prefix))
        time.sleep(IDLE_S)
        print(f"RssAnon idle {rss_anon_kib(node.child.pid) / 1024:.1f} MiB", flush=True)
        with RssSampler(node.child.pid, load.SAMPLE_S) as sampler:
            load.h2load(node.grpc_port, request, args.requests // 5, client_pin)
            printed = load.h2load(node.grpc_port, request, args.requests, client_pin)
        checks.that("at full load every request is acknowledged", load.all_acknowledged(printed, args.requests))
        best = args.requests / load.in_seconds(load.find(r"finished in (\S+),", printed))
        print(f"full load: {best:,.0f} requests/s, RssAnon at most {max(sampler.samples_kib) / 1024:.1f} MiB")
        if group:
            checks.that("the node was not killed for want of memory", group.oom_kills() == 0 and node.child.running())
            print(f"cgroup: {args.memory_limit} MiB allowed, {group.peak_mib():.0f} MiB taken at most, page cache included")
        time.sleep(REST_S)
        metrics_before = scrape(node.admin_port)
        offered = offer(args, node, best / 2, folder / "offered.json", client_pin)
        metrics = scrape(node.admin_port)
        checks.that("at half load every request is acknowledged", offered["acked"] == offered["offered"], offered)
        longest = load.find(r"\ngophership_ingester_append_longest_seconds (\S+)", metrics)
        print(f"half load: {best / 2:,.0f} requests/s, offered evenly over {args.connections} connections")
        print(json.dumps(offered))
        print(f"longest append since the start: {float(longest) * 1e6:,.0f} us")
        for what, name in HISTOGRAMS.items():
            before, after = buckets(metrics_before, name), buckets(metrics, name)
            print(f"{what}: " + ", ".join(f"p{of * 100:g} {bound_of(before, after, of)}" for of in (0.5, 0.99, 0.999)))


def main() -> None:
    """Entry point."""
    parser = common.arguments("How long acks and appends take at half load, and what memory a node takes.")
    parser.add_argument("--records", type=int, default=512, help="records in each request")
    parser.add_argument("--requests", type=int, default=12000, help="requests at full load")
    parser.add_argument("--connections", type=int, default=16, help="connections at half load")
    parser.add_argument("--jepsen-like", type=Path, default=common.TARGET / "release" / "jepsen-like", help="offers it")
    parser.add_argument("--seconds", type=int, default=20, help="how long the half load lasts")
    parser.add_argument("--server-core", default="0", help="core of the server")
    parser.add_argument("--client-core", default="1", help="core of h2load")
    parser.add_argument("--budget", default="", help="memory.budget, e.g. 64MiB; the node's default when absent")
    parser.add_argument("--memory-limit", type=int, default=0, help="MiB of a memory cgroup around the node; 0: none")
    common.run_test("half_load", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
