"""Figures of a process from Linux: anonymous memory and CPU seconds, in all and by thread name."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from types import TracebackType

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def rss_anon_kib(pid: int) -> int:
    """RssAnon of /proc/PID/status: the memory that is not backed by a file."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/status has no RssAnon")


def bytes_written(pid: int) -> int:
    """Bytes that the process has caused to be written to a disk: write_bytes of /proc/PID/io."""
    for line in Path(f"/proc/{pid}/io").read_text().splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise ValueError(f"/proc/{pid}/io has no write_bytes")


def _cpu_seconds(stat: Path) -> float:
    fields = stat.read_text().rpartition(")")[2].split()  # the name may hold anything
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole process, ended threads included."""
    return _cpu_seconds(Path(f"/proc/{pid}/stat"))


def cpu_seconds_by_thread(pid: int) -> Counter[str]:
    """The same of its living threads, added up by name."""
    found: Counter[str] = Counter()
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found[(task / "comm").read_text().strip()] += _cpu_seconds(task / "stat")  # type: ignore[assignment]
        except FileNotFoundError:
            continue  # ended meanwhile
    return found


class RssSampler:
    """Samples RssAnon of a process in the background while its block runs."""

    def __init__(self, pid: int, every_s: float) -> None:
        self._pid, self._every_s = pid, every_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.samples_kib: list[int] = [rss_anon_kib(pid)]

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            try:
                self.samples_kib.append(rss_anon_kib(self._pid))
            except (FileNotFoundError, ProcessLookupError, ValueError):
                return  # the process ended

    def peak_since(self, first_sample: int) -> int:
        """The highest sample from index `first_sample` on, in KiB."""
        return max(self.samples_kib[first_sample:] or [self.samples_kib[-1]])

    def __enter__(self) -> RssSampler:
        self._thread.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(timeout=5)
