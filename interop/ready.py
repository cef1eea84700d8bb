"""From exec to ready beside a full vault: `kill -9` under load, page cache dropped, started again. Needs root for the
cache. It measures; it sets no bar."""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import os  # noqa: E402
import subprocess  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import load  # noqa: E402
from load_body import load_request  # noqa: E402
from raw import prefixed  # noqa: E402

WITHIN_S = 1800
GIB = 2**30
LARGE_BODY = 3_900_000  # under the largest message by default


def one_record_request(body_bytes: int) -> bytes:
    """A request with one record whose body does not compress."""
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.time_unix_nano = time.time_ns()
    record.body.bytes_value = os.urandom(body_bytes)
    return request.SerializeToString()


def drop_caches() -> str:
    """Drops the page cache where it may."""
    if os.geteuid() != 0:
        return "page cache kept: not root"
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    return "page cache dropped"


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The measurement."""
    common.need_tool("h2load")
    large, small = folder / "large.grpc", folder / "small.grpc"
    large.write_bytes(prefixed(one_record_request(LARGE_BODY)))
    small.write_bytes(prefixed(load_request(512)))
    settings = {"vault": {"disk_limit": f"{args.gib * 2 + 8}GiB"}, "node": {"shutdown_delay": "0s"}}
    with common.start_node(args.gophership, folder, settings) as node:
        requests = args.gib * GIB // LARGE_BODY
        print(f"filling {args.gib} GiB", flush=True)
        while requests > 0:
            load.h2load(node.grpc_port, large, min(requests, 500), [])
            requests -= 500
        for number in range(1, args.rounds + 1):
            sender = subprocess.Popen(
                [common.need_tool("h2load"), "-n", "1000000", "-c", "4", "-m", "4", "-d", str(small)]
                + ["-H", "content-type: application/grpc", "-H", "te: trailers"]
                + [f"http://127.0.0.1:{node.grpc_port}{load.LOGS}"],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(2)
            node.child.process.kill()
            node.child.process.wait()
            sender.kill()
            sender.wait()
            cache = drop_caches()
            held = sum(path.stat().st_blocks * 512 for path in node.data.rglob("*") if path.is_file())
            began = time.monotonic()
            node.child = common.Child("gophership", node.child.command, folder)
            url = f"http://127.0.0.1:{node.admin_port}/readyz"
            while not common.answers_200(url):
                if not node.child.running():
                    raise RuntimeError(f"the node ended: {node.child.log_tail()}")
                time.sleep(0.005)
            took = time.monotonic() - began
            checks.that(f"start {number} beside {held / GIB:.1f} GiB on disk, {cache}", True, f"ready after {took * 1000:.0f} ms")


def main() -> None:
    """Entry point."""
    parser = common.arguments("From exec to ready beside a full vault.")
    parser.add_argument("--gib", type=int, default=10, help="how much the vault holds")
    parser.add_argument("--rounds", type=int, default=3, help="kills and starts")
    common.run_test("ready", parser, body, WITHIN_S)


if __name__ == "__main__":
    main()
