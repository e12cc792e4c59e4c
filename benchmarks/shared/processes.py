"""Runs a contestant's process and measures it and all its descendants from outside.

CPU seconds are those of the process and all its descendants: this process takes in orphans (as a child
subreaper), ends what is left over, and reads what the kernel has added up for its children. Memory is
sampled: the proportional set size (a shared page counted once) of the whole tree.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Measured:
    """``wall`` and ``cpu`` in seconds, start-up included; ``ended``: ``done``, or how; ``log``: what it said
    on both streams."""

    wall: float
    cpu: float
    peak_bytes: int
    ended: str
    log: str


def measured(command: Callable[[Path], Sequence[str]], limit: float, cores: Sequence[int]) -> Measured:
    """Run what ``command`` makes of the path of an empty folder, in that folder, for at most ``limit``
    seconds."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    others = set(_children(os.getpid()))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        log, folder = Path(scratch) / "log", Path(scratch) / "work"
        folder.mkdir()
        before, start = _children_cpu(), time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(
                command(folder),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, "HOME": str(folder), "HF_HUB_OFFLINE": "1"},  # all caches begin empty
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
        memory = _Memory(process.pid)
        try:
            code = process.wait(limit)
            ended = "done" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {limit:.0f} s"
        wall = time.perf_counter() - start
        peak = memory.stop()
        _end_all(process, others)
        cpu = _children_cpu() - before
        return Measured(wall, cpu, peak, ended, log.read_text("utf-8", "replace").rstrip())


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _end_all(process: subprocess.Popen[bytes], others: set[int]) -> None:
    """End the driver and all that it left behind, and wait for each, so that the kernel counts its time.
    Our ``others`` children stay."""
    for pid in _tree(process.pid):
        _kill(pid)
    process.wait()
    while orphans := set(_children(os.getpid())) - others:
        for pid in orphans:
            for descendant in _tree(pid):
                _kill(descendant)
            os.waitpid(pid, 0)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:  # it has ended
            continue
    return found


def _tree(pid: int) -> list[int]:
    """The process and its descendants."""
    return [pid, *(found for child in _children(pid) for found in _tree(child))]


class _Memory:
    """The highest memory of a process tree, sampled by a thread."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> int:
        self._stopped.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        while not self._stopped.wait(SAMPLE_SECONDS):
            self._peak = max(self._peak, sum(_pss(pid) for pid in _tree(self._pid)))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
