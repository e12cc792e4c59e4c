"""Runs one contestant against a fresh stub and measures it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from calls.seen import Seen
from shared.processes import measured

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Run:
    """One run of one contestant. ``complete``: items that have their own whole answer, in the driver's words;
    None when it did not come to its end. ``wall`` and ``cpu`` in seconds, start-up included; ``ended``: how;
    ``log``: the end of what the driver said."""

    items: int
    wall: float
    cpu: float
    peak_bytes: int
    complete: int | None
    versions: str
    ended: str
    seen: Seen
    log: str


def cores() -> tuple[list[int], int]:
    """The contestants' cores, and the stub's: the last one, which they leave alone."""
    *others, last = sorted(os.sched_getaffinity(0))
    return others or [last], last


@contextmanager
def stub(mode: str) -> Iterator[str]:
    """The address of a stub that starts from nothing, on a core of its own."""
    command = [sys.executable, str(HERE / "stub.py"), mode, str(cores()[1])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.stdin.close()


def run(command: Sequence[str], url: str, items: int, in_flight: int, limit: float) -> Run:
    """Run a driver for at most ``limit`` seconds against the stub at ``url``. ``command``: the interpreter,
    the script in ``drivers``, arguments that come last."""
    python, script, *more = command

    def driver(folder: Path) -> list[str]:
        asked = [f"{url}/v1", str(items), str(in_flight), str(folder), *more]
        return [python, str(HERE / "drivers" / script), *asked]

    done = measured(driver, limit, cores()[0])
    complete, versions = None, ""
    if done.ended == "done":
        said = json.loads(done.log.rsplit("\n", 1)[-1])
        complete, versions = said["complete"], said["versions"]
    with urllib.request.urlopen(f"{url}/stats", timeout=60) as answer:
        seen = Seen(**json.load(answer))
    return Run(
        items, done.wall, done.cpu, done.peak_bytes, complete, versions, done.ended, seen, done.log[-2000:]
    )
