"""A node's sealed segments are read with the `lz4` and `protoc` programs alone.

Claim: `lz4 -dc SEGMENT | protoc --decode opentelemetry.proto.logs.v1.LogsData` prints every record that was
acknowledged, and no other; only what holds a string that is not UTF-8 is left out. The segments are those that a
restart seals.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import subprocess  # noqa: E402
from collections import Counter  # noqa: E402
from pathlib import Path  # noqa: E402

from google.protobuf.descriptor import FileDescriptor  # noqa: E402
from google.protobuf.descriptor_pb2 import FileDescriptorSet  # noqa: E402
from google.protobuf.message import DecodeError  # noqa: E402
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest  # noqa: E402
from opentelemetry.proto.logs.v1 import logs_pb2  # noqa: E402

import payloads  # noqa: E402
from canonical import record_digests  # noqa: E402
from raw import grpc_export  # noqa: E402

WITHIN_S = 300
SEALED_WITHIN_S = 180.0
REQUESTS = 400
MESSAGE = "opentelemetry.proto.logs.v1.LogsData"


def descriptor_set() -> bytes:
    """The OTLP logs schema with what it imports, for protoc."""
    found = FileDescriptorSet()

    def add(file: FileDescriptor) -> None:
        for dependency in file.dependencies:
            add(dependency)
        if file.name not in (known.name for known in found.file):
            file.CopyToProto(found.file.add())

    add(logs_pb2.DESCRIPTOR)
    return found.SerializeToString()


def inflate(segment: Path, lz4: str) -> bytes:
    """The output of the lz4 program for one file."""
    done = subprocess.run([lz4, "-dc", str(segment)], capture_output=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"lz4 -dc {segment} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def digests(content: bytes) -> Counter[str]:
    """The records of a LogsData, which has the fields of a request."""
    return record_digests(ExportLogsServiceRequest.FromString(content))


def sealed(node: common.Node) -> list[Path]:
    """The sealed segments on disk."""
    return sorted(node.data.glob("segments/*/*/*.seg"))


def printed_records(content: bytes, schema: Path, protoc: str) -> int:
    """Number of records that protoc prints."""
    command = [protoc, f"--descriptor_set_in={schema}", f"--decode={MESSAGE}"]
    done = subprocess.run(command, input=content, capture_output=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"protoc ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return sum(line.strip() == b"log_records {" for line in done.stdout.splitlines())


def body(args: argparse.Namespace, checks: common.Checks, folder: Path) -> None:
    """The test."""
    lz4, protoc = common.need_tool("lz4"), common.need_tool("protoc")
    schema = folder / "logs.descriptors"
    schema.write_bytes(descriptor_set())
    sent: Counter[str] = Counter()
    with common.start_node(args.gophership, folder) as node:
        refused = []
        for number in range(REQUESTS):
            payload = payloads.good(f"segment-{number}", records=1 + number % 40, body_bytes=100 + number * 7)
            answer = grpc_export(node.grpc_port, payload)
            sent += digests(payload)
            refused += [] if answer.what == "gRPC OK" else [str(answer)]
        answer = grpc_export(node.grpc_port, payloads.not_utf8())
        refused += [] if answer.what == "gRPC OK" else [str(answer)]
    checks.that("every request is acknowledged", not refused, refused[:3] or "")
    with common.start_node(args.gophership, folder) as node:

        def all_sealed() -> bool:
            try:
                return sum(digests(inflate(path, lz4)).total() for path in sealed(node)) >= sent.total()
            except DecodeError:
                return True  # for the claims below to show

        common.wait_until("sealed segments with every record", node.child, all_sealed, SEALED_WITHIN_S)
        contents = [inflate(path, lz4) for path in sealed(node)]
    found: Counter[str] = sum((digests(content) for content in contents), Counter())
    seen = f"{found.total()} in {len(contents)} segments, {sent.total()} sent"
    checks.that("lz4 gives back every record and no other", found == sent, seen)
    printed = sum(printed_records(content, schema, protoc) for content in contents)
    checks.that("protoc prints every record", printed == sent.total(), printed)


def main() -> None:
    """Entry point."""
    common.run_test("segments", common.arguments("Segments, read with lz4 and protoc."), body, WITHIN_S)


if __name__ == "__main__":
    main()
