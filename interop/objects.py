"""Archive objects are read by tools that know nothing of them.

Claim: the `zstd` program, python-zstandard and pyzstd's reader of the seekable format, whole and from any offset, give
what `lz4 -dc` prints of the segments that the object was made of. The object and the segments are the golden files.
"""

from __future__ import annotations

import common

common.use_venv()

import argparse  # noqa: E402
import io  # noqa: E402
import struct  # noqa: E402
import subprocess  # noqa: E402
from pathlib import Path  # noqa: E402

import pyzstd  # noqa: E402
import zstandard  # noqa: E402

WITHIN_S = 120
ROOT = Path(__file__).resolve().parent.parent
OBJECT = ROOT / "archiver/testdata/v1/two-segments.binpb.zst"
SEGMENTS = [ROOT / f"vault/testdata/v1/{index:012}.seg" for index in (42, 43)]


def printed(*command: str | Path) -> bytes:
    """What a program prints once it has ended well."""
    return subprocess.run(command, capture_output=True, timeout=60, check=True).stdout


def without_skippable_rows(content: bytes) -> bytes:
    """The object with a seek table that leaves out the frames which decode to nothing."""
    (frames,) = struct.unpack_from("<I", content, len(content) - 9)
    table = len(content) - 9 - 8 * frames - 8
    rows = [row for row in struct.iter_unpack("<II", content[table + 8 : -9]) if row[1] > 0]
    packed = b"".join(struct.pack("<II", *row) for row in rows)
    head = struct.pack("<II", 0x184D2A5E, len(packed) + 9)
    return content[:table] + head + packed + struct.pack("<IBI", len(rows), 0, 0x8F92EAB1)


def from_every_offset(content: bytes, expected: bytes) -> bool:
    """True where pyzstd gives the right bytes behind every offset."""
    with pyzstd.SeekableZstdFile(io.BytesIO(content)) as file:
        for offset in range(len(expected)):
            file.seek(offset)
            if file.read(100) != expected[offset : offset + 100]:
                return False
    return True


def body(_args: argparse.Namespace, checks: common.Checks, _folder: Path) -> None:
    """The test."""
    lz4, zstd = common.need_tool("lz4"), common.need_tool("zstd")
    content = OBJECT.read_bytes()
    expected = b"".join(printed(lz4, "-dc", path) for path in SEGMENTS)
    checks.that("the segments have plain payloads", len(expected) > 0, f"{len(expected)} bytes")
    printed(zstd, "-t", OBJECT)
    checks.that("zstd -dc prints what lz4 -dc prints of the segments", printed(zstd, "-dc", OBJECT) == expected)
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True)
    checks.that("python-zstandard reads the same", reader.read() == expected)
    with pyzstd.SeekableZstdFile(io.BytesIO(content)) as file:
        checks.that("pyzstd reads it whole", file.read() == expected)
    checks.that("pyzstd reads it from every offset", from_every_offset(content, expected))
    try:
        refused = not from_every_offset(without_skippable_rows(content), expected)
    except Exception as error:  # any refusal will do
        refused = bool(str(error))
    checks.that("a seek table without our own frames would be noticed", refused)


def main() -> None:
    """Entry point."""
    common.run_test("objects", common.arguments("Archive objects, read with zstd, zstandard and pyzstd."), body, WITHIN_S)


if __name__ == "__main__":
    main()
