"""Removing duplicates beside other tools: speed, memory, and how much is found.

    python benchmarks/dedup.py --envs DIR --data DIR --out FILE
    python benchmarks/dedup.py --only hydata,rensa --sizes 100000
    python benchmarks/dedup.py --incremental --sizes 1000000      # a night of hydata's beside so many records

Every contestant gets the same Parquet files (``duplicates/corpus.py``: about 105 words a document, a fifth of
them Chinese, near a quarter removable, the truth known exactly) and is measured from the start of its process
to its end. To be run by the Python of hydata's own environment, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from duplicates import corpus
from duplicates.contestants import CONTESTANTS, Contestant
from duplicates.corpus import Score
from duplicates.night import NIGHT
from shared.environments import InstallError, environment
from shared.page import machine, table
from shared.processes import Measured, measured

HERE = Path(__file__).resolve().parent
THRESHOLD = 0.8
MIB = 2**20
SCORED = 1_000_000
"""Documents whose truth is worked out at the most; larger corpora are several of that size."""


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--envs", type=Path, help="where the contestants' environments are, or will be built")
    parser.add_argument("--data", type=Path, help="where the documents are, or will be written")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--only", help="contestants, separated by commas")
    parser.add_argument("--sizes", default="100000,1000000", help="documents, separated by commas")
    parser.add_argument("--limit", type=float, default=900, help="seconds until a run is stopped")
    parser.add_argument("--incremental", action="store_true", help="a night beside stored signatures instead")
    told = parser.parse_args()
    chosen = [c for c in CONTESTANTS if not told.only or c.name in told.only.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        envs, data = (told.envs or Path(temporary)).resolve(), (told.data or Path(temporary)).resolve()
        page = [machine()]
        if told.incremental:
            page += [night(data, int(size)) for size in told.sizes.split(",")]
            print("\n\n".join(page))
            return
        ready: dict[Contestant, Path] = {}
        for contestant in chosen:
            try:
                ready[contestant] = environment(contestant.name, contestant.packages, envs)
            except InstallError as error:
                page.append(f"{contestant.name} does not install here: {error}")
        print("\n\n".join(page), flush=True)
        for size in map(int, told.sizes.split(",")):
            page.append(compare(ready, size, data, told.limit))
            print(f"\n{page[-1]}", flush=True)
            if told.out:
                told.out.write_text("\n\n".join(page) + "\n", "utf-8")


def night(data: Path, stored: int) -> str:
    """A section of the page: new records compared with stored ones."""
    command = [sys.executable, str(HERE / "duplicates" / "night.py"), str(data), str(stored)]
    phases = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    rows = [[name, f"{wall:.1f}", f"{cpu:.1f}", f"{more:,.0f}"] for name, wall, cpu, more in phases]
    title = f"## {NIGHT:,} new documents beside {stored:,} stored ones"
    return f"{title}\n\n{table(['', 'seconds', 'CPU s', 'MiB beyond the imports'], rows)}"


def compare(ready: dict[Contestant, Path], size: int, data: Path, limit: float) -> str:
    """A section of the page: one size, every contestant that is up to it."""
    seeds = range(1, max(1, size // SCORED) + 1)
    files = [path for seed in seeds for path in corpus.write(data / str(size), min(size, SCORED), seed)]
    documents = corpus.generate(size, 1) if size <= SCORED else None
    near = None if documents is None else corpus.near_pairs(documents)
    del documents
    runs: list[tuple[Contestant, Measured, str, Score | None]] = []
    failed = []
    for contestant, python in ready.items():
        if size > contestant.most:
            continue
        print(f"{contestant.name}: {size:,} documents", file=sys.stderr, flush=True)
        with tempfile.NamedTemporaryFile() as out:
            driver = str(HERE / "duplicates" / "drivers" / contestant.driver)
            command = [str(python), driver, out.name, str(THRESHOLD), *map(str, files)]
            done = measured(lambda _, command=command: command, limit, sorted(os.sched_getaffinity(0)))
            if done.ended != "done":
                failed.append(f"{contestant.name}: {done.ended}; it said last: {done.log[-300:]!r}")
                continue
            keep = np.fromfile(out.name, np.bool_)
        score = None if near is None else corpus.score(near, keep, THRESHOLD)
        runs.append((contestant, done, json.loads(done.log.rsplit("\n", 1)[-1]), score))
    ours = next((done.wall for contestant, done, _, _ in runs if contestant.name == "hydata"), None)
    rows = [
        [
            contestant.name,
            f"{done.wall:.1f}",
            f"{size / done.wall:,.0f}",
            f"{done.wall / ours:.1f}" if ours else "",
            f"{done.cpu:.1f}",
            f"{done.peak_bytes / MIB:,.0f}",
            *(["", "", ""] if score is None else score.cells()),
        ]
        for contestant, done, _, score in runs
    ]
    head = ["contestant", "seconds", "documents/s", "times hydata's seconds", "CPU s", "MiB", "removed"]
    return "\n\n".join(
        [
            f"## {size:,} documents, Jaccard similarity {THRESHOLD} of {corpus.SHINGLE} words",
            table([*head, "recall", "precision"], rows),
            f"Start-up included. Versions: {'; '.join(version for _, _, version, _ in runs)}.",
            *failed,
        ]
    )


if __name__ == "__main__":
    main()
