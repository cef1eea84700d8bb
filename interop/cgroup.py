"""A memory cgroup for one process: v2 where the kernel has the controller there, else v1. Needs root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import common

V2, V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")


@dataclass
class MemoryCgroup:
    """A cgroup with a memory limit, swap included."""

    path: Path
    v2: bool

    def prefix(self) -> list[str]:
        """The prefix of a command that makes it run in the group."""
        return ["/bin/sh", "-c", f'echo $$ > {self.path}/cgroup.procs && exec "$@"', "cgroup"]

    def oom_kills(self) -> int:
        """Processes of the group that the kernel has killed for want of memory."""
        lines = (self.path / ("memory.events" if self.v2 else "memory.oom_control")).read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("oom_kill ")))

    def peak_mib(self) -> float:
        """The most it ever took, page cache included."""
        return int((self.path / ("memory.peak" if self.v2 else "memory.max_usage_in_bytes")).read_text()) / 2**20


@contextlib.contextmanager
def memory_cgroup(name: str, limit: int) -> Iterator[MemoryCgroup]:
    """A group of its own with `limit` bytes, removed afterwards; a visible skip where none can be made."""
    v2 = (V2 / "cgroup.controllers").exists() and "memory" in (V2 / "cgroup.controllers").read_text().split()
    if os.geteuid() != 0:
        common.skip("a memory cgroup needs root")
    if not v2 and not (V1 / "memory.limit_in_bytes").exists():
        common.skip("there is no memory controller here, neither cgroup v2 nor v1")
    group = MemoryCgroup((V2 if v2 else V1) / f"{name}-{os.getpid()}", v2)
    try:
        group.path.mkdir()
    except OSError as error:
        common.skip(f"no memory cgroup can be made here: {error}")
    try:
        (group.path / ("memory.max" if v2 else "memory.limit_in_bytes")).write_text(str(limit))
        yield group
    finally:
        group.path.rmdir()
