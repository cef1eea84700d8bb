"""CPU seconds per million records, records per second and memory of a node under load, and of its peers in the same
way.

h2load on one core sends the same request over 8 connections x 4 streams to a server pinned to another core. The figures
are medians over the runs; a run counts only if every request was acknowledged. It measures and compares; it sets no
bar.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from dataclasses import asdict, dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

from load_body import load_request  # noqa: E402
from load_targets import DEFAULT, TARGETS, Target, missing  # noqa: E402
from procstat import RssSampler, cpu_seconds, cpu_seconds_by_thread  # noqa: E402
from raw import LOGS, prefixed  # noqa: E402

WITHIN_S = 1800
RUN_WITHIN_S = 300
CONNECTIONS, STREAMS = 8, 4
SAMPLE_S = 0.1
QUIET_LOAD = 0.3
SETTLE_S = 1.0  # what the server still does for the acknowledged requests counts as well
EMPTY_ANSWER_BYTES = 5  # a gRPC prefix; a refusal has no DATA at all


@dataclass
class Run:
    """The figures of one run."""

    requests: int
    acknowledged: bool
    seconds: float
    records_per_s: float
    requests_per_s: float
    cpu_s_per_million_records: float
    server_cpu_cores: float
    cpu_s_by_thread: dict[str, float]
    rss_anon_mib_median: float
    rss_anon_mib_peak: float
    latency_mean: str
    latency_max: str
    h2load: str


def h2load(port: int, body: Path, requests: int, pin: list[str], more: list[str] | None = None) -> str:
    """Runs h2load, with `more` of its options, and returns what it printed."""
    command = [
        *pin,
        common.need_tool("h2load"),
        "-n",
        str(requests),
        "-c",
        str(CONNECTIONS),
        "-m",
        str(STREAMS),
        "-t",
        "1",
        "-d",
        str(body),
        "-H",
        "content-type: application/grpc",
        "-H",
        "te: trailers",
        *(more or []),
        f"http://127.0.0.1:{port}{LOGS}",
    ]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=RUN_WITHIN_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"h2load ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return done.stdout


def find(pattern: str, printed: str) -> str:
    """The one group of the pattern in h2load's output."""
    found = re.search(pattern, printed)
    if found is None:
        raise ValueError(f"h2load printed nothing like {pattern!r}:\n{printed}")
    return found[1]


def all_acknowledged(printed: str, requests: int) -> bool:
    """h2load does not know grpc-status: a success is a 200 with a message, and each message here is equally long."""
    succeeded = int(find(r"requests: .* (\d+) succeeded", printed))
    data_bytes = int(find(r"headers \(space savings [^)]*\), \S+ \((\d+)\) data", printed))
    return succeeded == requests and data_bytes >= EMPTY_ANSWER_BYTES * requests and data_bytes % requests == 0


def in_seconds(amount: str) -> float:
    """h2load's times: `1.50s`, `320.12ms`, `15us`."""
    number, unit = re.fullmatch(r"([\d.]+)(s|ms|us)", amount).groups()  # type: ignore[union-attr]
    return float(number) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]


def measure(target: Target, body: Path, records: int, requests: int, pin: list[str]) -> Run:
    """One run."""
    threads_before, cpu_before = cpu_seconds_by_thread(target.pid), cpu_seconds(target.pid)
    with RssSampler(target.pid, SAMPLE_S) as sampler:
        printed = h2load(target.grpc_port, body, requests, pin)
        time.sleep(SETTLE_S)
        deadline = time.monotonic() + RUN_WITHIN_S
        while target.owes() and time.monotonic() < deadline:
            time.sleep(SETTLE_S)
    cpu = cpu_seconds(target.pid) - cpu_before
    threads = Counter(cpu_seconds_by_thread(target.pid))
    threads.subtract(threads_before)
    seconds = in_seconds(find(r"finished in (\S+),", printed))
    times = re.search(r"time for request: +(\S+) +(\S+) +(\S+)", printed)
    return Run(
        requests=requests,
        acknowledged=all_acknowledged(printed, requests),
        seconds=seconds,
        records_per_s=requests * records / seconds,
        requests_per_s=requests / seconds,
        cpu_s_per_million_records=cpu * 1e6 / (requests * records),
        server_cpu_cores=cpu / seconds,
        cpu_s_by_thread={name: round(spent, 2) for name, spent in threads.most_common() if spent},
        rss_anon_mib_median=statistics.median(sampler.samples_kib) / 1024,
        rss_anon_mib_peak=max(sampler.samples_kib) / 1024,
        latency_mean=times[3] if times else "",
        latency_max=times[2] if times else "",
        h2load=printed,
    )


def middle(runs: list[Run], name: str) -> float:
    """The median of one figure."""
    return float(statistics.median(getattr(run, name) for run in runs))


def row(name: str, runs: list[Run]) -> list[object]:
    """A line of the table."""
    per_million = [run.cpu_s_per_million_records for run in runs]
    return [
        name,
        f"{middle(runs, 'cpu_s_per_million_records'):.2f} ({min(per_million):.2f}-{max(per_million):.2f})",
        f"{middle(runs, 'records_per_s'):,.0f}",
        f"{middle(runs, 'requests_per_s'):,.0f}",
        f"{middle(runs, 'server_cpu_cores'):.2f}",
        f"{middle(runs, 'rss_anon_mib_median'):.1f}",
        f"{middle(runs, 'rss_anon_mib_peak'):.1f}",
        runs[-1].latency_mean,
        ", ".join(f"{thread} {spent}" for thread, spent in list(runs[-1].cpu_s_by_thread.items())[:6]),
    ]


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The measurement."""
    common.need_tool("h2load")
    server_pin, client_pin = (
        [common.need_tool("taskset"), "-c", core] for core in (args.server_core, args.client_core)
    )
    payload = load_request(args.records)
    request = folder / "body.grpc"
    request.write_bytes(prefixed(payload))
    print(
        f"{args.runs} runs of {args.requests} requests of {args.records} records of "
        f"{len(payload) / args.records:.0f} bytes"
    )
    others = os.getloadavg()[0]
    if others > QUIET_LOAD:
        print(f"note: load average {others:.1f} before the start: these are figures of a busy machine", flush=True)
    targets: dict[str, object] = {}
    rows = []
    for name in args.target:
        if program := missing(name):
            print(f"SKIPPED: {name}: {program} is missing: run interop/install.sh", flush=True)
            continue
        own = folder / name
        own.mkdir()
        with TARGETS[name](args, own, server_pin) as target:
            h2load(target.grpc_port, request, max(CONNECTIONS * STREAMS, args.requests // 10), client_pin)  # warm-up
            runs = [measure(target, request, args.records, args.requests, client_pin) for _ in range(args.runs)]
        checks.that(f"{name}: every request is acknowledged", all(run.acknowledged for run in runs))
        rows.append(row(name, runs))
        targets[name] = {"version": target.version, "runs": [asdict(run) for run in runs]}
    header = [
        "target",
        "CPU s / M records",
        "records/s",
        "requests/s",
        "cores",
        "RssAnon MiB",
        "peak",
        "latency",
        "CPU s by thread",
    ]
    print(common.table(header, rows), flush=True)
    out = args.json or common.INTEROP / "load.json"
    report = {
        "load_average_before": others,
        "records_per_request": args.records,
        "payload_bytes": len(payload),
        "targets": targets,
    }
    out.write_text(json.dumps(report, indent=2) + "\n")
    print(f"all figures: {out}", flush=True)


def main() -> None:
    """Entry point."""
    parser = common.arguments("A node and its peers under the same load.")
    parser.add_argument("--target", nargs="+", choices=list(TARGETS), default=DEFAULT, help="which to measure")
    parser.add_argument("--records", type=int, default=512, help="records in each request")
    parser.add_argument("--requests", type=int, default=6000, help="requests in each run")
    parser.add_argument("--runs", type=int, default=3, help="runs for each target")
    parser.add_argument("--server-core", default="0", help="core of the server")
    parser.add_argument("--client-core", default="1", help="core of h2load")
    parser.add_argument("--json", type=Path, help="where to write all figures; load.json beside the peers when absent")
    common.run_test("load", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
