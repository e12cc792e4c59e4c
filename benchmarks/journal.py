"""What the journal costs: a row added, a key looked up, at none to 10 million rows.

    python benchmarks/journal.py --dir DIR [--rows 0 1000000 10000000]

DIR gets one file after another, removed again (12 GB for 10 million rows of 1 KB). In the same run: the
journal's first design (a hash as PRIMARY KEY), plain JSON lines with one sync a batch, and a raw sync
of 100 KB, which is what the disk itself takes for a batch. CPU is that of this process, kernel included.

"cold" means that the file is neither in the system's page cache (posix_fadvise) nor in SQLite's.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydata.models import journal as module
from hydata.models import upkeep
from hydata.models.journal import COLUMNS, Entry, Journal
from hydata.models.upkeep import Chosen

ADDED = 20_000
ASKED = 20_000
BATCH = 128
BULK = 100_000
TEXT = json.dumps(["x" * 1000, None, "stop"])
PURPOSE = "respond/answer.en@0123456789abcdef"
MODEL = "SmolLM2-135M-Instruct-Q8_0@sha256:0123456789abcdef (xllamacpp 2026.1)"

FIRST_DESIGN = """
CREATE TABLE replies (
    key BLOB PRIMARY KEY, purpose TEXT NOT NULL, model TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, seconds REAL NOT NULL, created REAL NOT NULL, reply TEXT NOT NULL
)
"""


@dataclass
class Took:
    wall: float = 0.0
    cpu: float = 0.0

    def of(self, count: int) -> str:
        return f"{self.cpu / count * 1e6:8.1f} us CPU {self.wall / count * 1e6:8.1f} us wall"


@contextmanager
def timed() -> Iterator[Took]:
    took = Took()
    wall, cpu = time.perf_counter(), time.process_time()
    yield took
    took.wall, took.cpu = time.perf_counter() - wall, time.process_time() - cpu


def say(what: str, took: Took, count: int, unit: str) -> None:
    print(f"    {what:<52} {took.of(count)} a {unit}  ({took.wall:.2f} s)", flush=True)


def keys(seed: int | str, count: int) -> list[str]:
    """``count`` keys: those of the rows that are built have a number for a seed, all others a name."""
    rng = random.Random(seed)
    return [rng.randbytes(16).hex() for _ in range(count)]


def entries(names: list[str]) -> list[Entry]:
    return [Entry(name, PURPOSE, MODEL, TEXT, 100, 200, 1.5) for name in names]


def rows(names: list[str]) -> list[module.Row]:
    return [module._row(entry) for entry in entries(names)]


def remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def forget(path: Path) -> None:
    """Out of the page cache."""
    with path.open("rb") as f:
        os.fdatasync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def with_journal(path: Path, body: Callable[[Journal], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        with closing(Journal(path)) as journal:
            await body(journal)

    asyncio.run(main())


def build(path: Path, count: int) -> None:
    """A journal of ``count`` rows with the keys of seeds 0, 1, 2..., one seed for each BULK."""
    with closing(module.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        (have,) = connection.execute("SELECT count(*) FROM replies").fetchone()
        for seed in range(have // BULK, count // BULK):
            with module.transaction(connection):
                insert(connection, rows(keys(seed, BULK)))
        with timed() as took:
            module.index_keys(connection)
    print(
        f"  {count:,} rows, {path.stat().st_size / 1e9:.1f} GB; all keys indexed in {took.wall:.0f} s",
        flush=True,
    )


def insert(connection: sqlite3.Connection, values: list[module.Row]) -> None:
    connection.executemany(f"INSERT INTO replies ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def adding(path: Path) -> None:
    for concurrency in (256, 2000):
        new = iter(entries(keys(f"{concurrency} at once", ADDED)))

        async def body(journal: Journal, new: Iterator[Entry] = new, concurrency: int = concurrency) -> None:
            async def caller() -> None:
                for entry in new:
                    await journal.add(entry)

            with timed() as took:
                await asyncio.gather(*(caller() for _ in range(concurrency)))
            say(f"add, {concurrency:,} waiting, event loop included", took, ADDED, "row")
            with timed() as took:
                module.index_keys(journal._writer)
            say(f"index round of {ADDED:,} rows", took, ADDED, "row")

        with_journal(path, body)
    batches = rows(keys("alone", ADDED))

    async def commits(journal: Journal) -> None:
        with timed() as took:
            for start in range(0, ADDED, BATCH):
                journal._commit(batches[start : start + BATCH])
        say(f"commits of {BATCH} rows alone", took, ADDED, "row")

    with_journal(path, commits)

    async def round(journal: Journal) -> None:
        with module.transaction(journal._writer):
            insert(journal._writer, rows(keys("round", module.ROUND)))
        with timed() as took:
            module.index_keys(journal._writer)
        say(f"index round of {module.ROUND:,} rows", took, module.ROUND, "row")

    with_journal(path, round)


def finding(path: Path, count: int) -> None:
    known = [
        key
        for seed in range(count // BULK)
        for key in random.Random(seed).sample(keys(seed, BULK), 5 + ASKED * BULK // count)
    ]
    random.Random(0).shuffle(known)
    shard = keys(count // BULK // 2, BULK)[:ASKED]
    for what, wanted in (
        ("in the order they were written", shard),
        ("all over the file", known[:ASKED]),
        ("that are not there", keys("missing", ASKED)),
    ):
        forget(path)

        async def body(journal: Journal, what: str = what, wanted: list[str] = wanted) -> None:
            for state in ("cold", "warm"):
                longest = 0.0

                async def watch() -> None:
                    nonlocal longest
                    while True:
                        before = time.perf_counter()
                        await asyncio.sleep(0)
                        longest = max(longest, time.perf_counter() - before)

                watching = asyncio.create_task(watch())
                with timed() as took:
                    await journal.find_many(wanted)
                watching.cancel()
                say(f"{ASKED:,} keys {what}, {state}", took, ASKED, "key")
                print(f"{'':>57}the loop waited {longest * 1e3:.1f} ms at the most")
            with timed() as took:
                for start in range(0, 4096, 1024):
                    await asyncio.gather(*(journal.find(key) for key in wanted[start : start + 1024]))
            say("the same, 1,024 calls at a time, tasks included", took, 4096, "key")

        with_journal(path, body)


def opening(path: Path) -> None:
    with closing(module.connect(path)) as connection:
        for tail in (0, module.ROUND - 1, module.ROUND):
            module.index_keys(connection)
            with module.transaction(connection):
                insert(connection, rows(keys(f"tail of {tail}", tail)))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            forget(path)
            with timed() as took:
                journal = Journal(path)
            say(f"open with {tail:,} keys not indexed, cold", took, 1, "time")
            journal.close()


def keeping(path: Path, count: int) -> None:
    """What `hydata journal` does, cold."""
    out = path.with_suffix(".jsonl")
    for what, work in (
        ("stats", lambda: upkeep.stats(path)),
        ("export as JSON lines", lambda: upkeep.export(path, out)),
        ("prune of duplicates: none to be found", lambda: upkeep.prune(path, Chosen(duplicates=True))),
        ("prune of all but 100 rows", lambda: upkeep.prune(path, Chosen(before=late(path)))),
    ):
        forget(path)
        with timed() as took:
            work()
        out.unlink(missing_ok=True)
        say(what, took, count, "row")


def late(path: Path) -> float:
    """When the last hundred rows began to come."""
    with closing(module.connect(path)) as connection:
        query = "SELECT created FROM replies ORDER BY id DESC LIMIT 1 OFFSET 100"
        return float(connection.execute(query).fetchone()[0])


def first_design(path: Path, count: int) -> None:
    """The same rows in a table with the hash as PRIMARY KEY, in the same transactions."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(FIRST_DESIGN)
        connection.execute("PRAGMA synchronous=OFF")
        # Built in the order of the keys, since in any other it takes an hour.
        for part in range(count // BULK):
            width = 2**128 // max(count, 1)
            made = rows([f"{(part * BULK + i) * width + random.randrange(width):032x}" for i in range(BULK)])
            with module.transaction(connection):
                insert(connection, made)
        connection.execute("PRAGMA synchronous=FULL")
        new = rows(keys("alone", ADDED))
        with timed() as took:
            for start in range(0, ADDED, BATCH):
                with module.transaction(connection):
                    connection.executemany(
                        f"INSERT OR IGNORE INTO replies ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        new[start : start + BATCH],
                    )
        say(f"first design: commits of {BATCH} rows alone", took, ADDED, "row")


def plain_lines(path: Path) -> None:
    new = entries(keys("alone", ADDED))
    with path.open("wb") as f, timed() as took:
        for start in range(0, ADDED, BATCH):
            batch = new[start : start + BATCH]
            lines = [
                json.dumps([e.key, e.purpose, e.model, 100, 200, 1.5, time.time(), e.reply]) for e in batch
            ]
            f.write(("\n".join(lines) + "\n").encode())
            f.flush()
            os.fdatasync(f.fileno())
    say(f"JSON lines, a sync for each {BATCH} rows, no index", took, ADDED, "row")
    with path.open("wb") as f, timed() as took:
        for _ in range(200):
            f.write(bytes(100_000))
            f.flush()
            os.fdatasync(f.fileno())
    say("raw: 100 KB written and synced", took, 200, "time")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", type=Path, required=True, help="where the files go; it is made if missing")
    parser.add_argument("--rows", type=int, nargs="+", default=[0, 1_000_000, 10_000_000])
    options = parser.parse_args()
    options.dir.mkdir(parents=True, exist_ok=True)
    path = options.dir / "benchmark.sqlite"
    plain_lines(path)
    for count in options.rows:
        remove(path)
        first_design(path, count)
        remove(path)
        build(path, count)
        adding(path)
        if count:
            finding(path, count)
            opening(path)
            keeping(path, count)
    remove(path)


if __name__ == "__main__":
    main()
