"""A night beside what is stored: ``NIGHT`` new records are hashed and compared with all earlier ones.

    python benchmarks/duplicates/night.py FOLDER STORED

writes the signatures of STORED records and the texts of a night to FOLDER, unless they are there, and a line
of JSON: for each phase its name, seconds, CPU seconds, and the most memory held, in MiB beyond that of a
process that has only imported everything. As in any warehouse, what is stored has duplicates in it.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl

from hydata.curation.dedup import DuplicatesSettings, signatures, stage
from hydata.curation.dedup.signatures import SignaturesSettings
from hydata.schema import Conversation, Message, conversations_frame
from hydata.warehouse import SHARD_ROWS, write_frame

NIGHT = 50_000
NOTHING: Any = SimpleNamespace()
Phase = tuple[str, float, float, float]


def conversations(texts: pl.Series, begin: int) -> pl.DataFrame:
    """Conversations whose answers are ``texts``, at the positions from ``begin`` on."""
    return conversations_frame(
        Conversation("dataset", (Message("user", ""), Message("assistant", text)), position=position)
        for position, text in enumerate(texts, begin)
    )


def write_signatures(frame: pl.DataFrame, path: Path) -> Path:
    """The stage's own rows of a shard of conversations, written as the warehouse writes them."""
    settings = SignaturesSettings(scope="conversation")
    write_frame(path, asyncio.run(signatures.STAGE.run(frame, settings, NOTHING)).rows)
    return path


def judged(paths: list[Path], admitted: list[Path]) -> list[pl.DataFrame]:
    """The global stage over signature shards."""
    tables = {"signatures": paths, "admitted": admitted}
    return list(stage("duplicates_critique").run(tables, DuplicatesSettings(), NOTHING))


def build(folder: Path, stored: int) -> None:
    """``signatures/`` of the earlier records, ``admitted.parquet`` of those of them that were kept, ``new/``
    with the night's conversations."""
    from duplicates import corpus

    documents = corpus.generate(stored + NIGHT, 1)
    ends = [*range(SHARD_ROWS, stored, SHARD_ROWS), stored]
    ends += [*range(stored + SHARD_ROWS, stored + NIGHT, SHARD_ROWS), stored + NIGHT]
    paths, begin = [], 0
    for end in ends:
        frame = conversations(corpus.texts(documents, begin, end), begin)
        if end <= stored:
            paths.append(write_signatures(frame, folder / "signatures" / f"{begin:09}.parquet"))
        else:
            write_frame(folder / "new" / f"{begin:09}.parquet", frame)
        begin = end
    kept = pl.concat(judged(paths, [])).filter("keep").select("record_id")
    write_frame(folder / "admitted.parquet", kept)


def mebibytes(what: str) -> float:
    """A figure of this process: ``VmRSS``, what it holds, or ``VmHWM``, the most that it held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def run(folder: Path) -> list[Phase]:
    """A night."""
    phases: list[Phase] = []
    before = mebibytes("VmRSS")

    @contextmanager
    def phase(name: str) -> Iterator[None]:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        phases.append((name, wall, cpu, mebibytes("VmHWM") - before))

    with phase("hash the new ones"):
        new = [
            write_signatures(pl.read_parquet(path), folder / "tonight" / path.name)
            for path in sorted((folder / "new").glob("*.parquet"))
        ]
    with phase("read and judge all"):
        judged([*sorted((folder / "signatures").glob("*.parquet")), *new], [folder / "admitted.parquet"])
    return phases


def main() -> None:
    folder, stored = Path(sys.argv[1]) / f"night-{sys.argv[2]}-{signatures.VERSION}", int(sys.argv[2])
    if sys.argv[3:] == ["run"]:
        print(json.dumps(run(folder)))
        return
    if not (folder / "admitted.parquet").exists():
        sys.path.insert(0, str(Path(__file__).parents[1]))
        build(folder, stored)
    # a process of its own, whose memory is that of the night alone
    subprocess.run([sys.executable, __file__, sys.argv[1], sys.argv[2], "run"], check=True)


if __name__ == "__main__":
    main()
