"""What people do with a journal: see what it holds, write it out, make it smaller.

Reading disturbs no run. ``prune`` is for when nobody else writes.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from hydata.errors import ConfigError
from hydata.models.journal import COLUMNS, HEAD, check_exists, connect, explained, index_keys, transaction

PAGE = 1024
"""Rows of one query, at the most."""


@dataclass(frozen=True, slots=True)
class Group:
    """The replies of one model to one purpose. ``seconds`` is the mean of their requests, ``first`` and
    ``last`` are when the earliest and the latest were stored (Unix time)."""

    step: str
    model: str
    purpose: str
    replies: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class JournalStats:
    """What a journal holds. ``waiting`` counts the requests of offline batches without a reply, ``size`` is
    the file's, in bytes."""

    groups: tuple[Group, ...]
    waiting: int
    size: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which rows are meant: those that meet every condition given. ``purpose`` is a whole purpose or its
    step, ``model`` a whole identity or its name (up to ``@`` or a space), ``before`` a Unix time,
    ``duplicates`` rows whose call another row had answered before."""

    purpose: str | None = None
    model: str | None = None
    before: float | None = None
    duplicates: bool = False

    def where(self) -> tuple[str, dict[str, str | float]]:
        """The conditions in SQL over ``replies``, and their parameters."""
        terms = ["true"]
        if self.purpose is not None:
            terms.append("(purpose = :purpose OR substr(purpose, 1, length(:purpose) + 1) = :purpose || '/')")
        if self.model is not None:
            terms.append(
                "(model = :model OR substr(model, 1, length(:model) + 1) IN (:model || ' ', :model || '@'))"
            )
        if self.before is not None:
            terms.append("created < :before")
        if self.duplicates:
            terms.append(
                "EXISTS (SELECT 1 FROM keys JOIN replies AS earlier ON earlier.id = keys.id "
                f"WHERE keys.head = substr(replies.key, 1, {HEAD}) AND keys.id < replies.id "
                "AND earlier.key = replies.key)"
            )
        given = {"purpose": self.purpose, "model": self.model, "before": self.before}
        return " AND ".join(terms), {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went (or would), and the file's bytes before and after."""

    rows: int
    before: int
    after: int


def stats(path: Path) -> JournalStats:
    """What the journal at ``path`` holds, by purpose and model; reads all of it.

    Raises:
        WarehouseError: there is none, or it cannot be read.
    """
    with _existing(path) as connection:
        rows = connection.execute(
            "SELECT purpose, model, count(*), sum(prompt_tokens), sum(completion_tokens), avg(seconds), "
            "min(created), max(created) FROM replies GROUP BY purpose, model ORDER BY purpose, model"
        )
        groups = tuple(
            Group(purpose.partition("/")[0], model, purpose, *rest) for purpose, model, *rest in rows
        )
        (waiting,) = connection.execute(f"SELECT count(*) FROM expected WHERE NOT {_ANSWERED}").fetchone()
        return JournalStats(groups, waiting, _size(path))


def export(path: Path, out: Path | IO[str], chosen: Chosen = Chosen()) -> int:
    """Write the journal's rows as JSONL, or as Parquet if ``out`` ends in ``.parquet``. How many.

    A file is written aside and renamed. ``reply`` is the stored JSON: a value in JSONL, text in Parquet;
    ``key`` is 32 hex digits, ``created`` when the reply was stored.

    Raises:
        WarehouseError: there is no journal, or it cannot be read.
        OSError: ``out`` cannot be written.
    """
    with _existing(path) as connection:
        if not isinstance(out, Path):
            return _export_lines(connection, out, chosen)
        aside = out.with_name(f"{out.name}.tmp-{os.getpid()}")
        try:
            if out.suffix == ".parquet":
                rows = _export_parquet(connection, aside, chosen)
            else:
                with aside.open("w", encoding="utf-8") as f:
                    rows = _export_lines(connection, f, chosen)
            aside.replace(out)
        finally:
            aside.unlink(missing_ok=True)
        return rows


def prune(path: Path, chosen: Chosen, *, dry_run: bool = False) -> Pruned:
    """Remove the rows that ``chosen`` means, and what is expected and was answered; then shrink the file,
    which for a while takes up to twice the room of what is left. To be called under the warehouse's lock.

    Raises:
        ConfigError: ``chosen`` names no condition.
        WarehouseError: there is no journal, another process writes to it, or there is no room.
    """
    where, values = chosen.where()
    if where == "true":
        raise ConfigError("prune: name what is to go: an age, a model, a purpose or duplicates")
    with _existing(path) as connection:
        before = _size(path)
        index_keys(connection)  # duplicates are found by it
        if dry_run:
            (rows,) = connection.execute(f"SELECT count(*) FROM replies WHERE {where}", values).fetchone()
            return Pruned(rows, before, before)
        with transaction(connection):
            connection.execute(f"DELETE FROM expected WHERE {_ANSWERED}")
            rows = connection.execute(f"DELETE FROM replies WHERE {where}", values).rowcount
            if rows:
                connection.execute("DELETE FROM keys WHERE id NOT IN (SELECT id FROM replies)")
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        if rows or free:
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return Pruned(rows, before, _size(path))


_ANSWERED = (
    "(EXISTS (SELECT 1 FROM keys JOIN replies USING (id) "
    f"WHERE head = substr(expected.key, 1, {HEAD}) AND replies.key = expected.key))"
)
_FIELDS = ("key", *COLUMNS.split(", ")[1:])
_PARQUET = pa.schema(
    [
        *((name, pa.string()) for name in _FIELDS[:3]),
        *((name, pa.int64()) for name in _FIELDS[3:5]),
        ("seconds", pa.float64()),
        ("created", pa.timestamp("us", tz="UTC")),
        ("reply", pa.string()),
    ]
)


def _pages(connection: sqlite3.Connection, chosen: Chosen) -> Iterator[list[tuple[Any, ...]]]:
    """The chosen rows in order, some at a time and each time by a query of its own: a reader that stays in
    one transaction keeps the write-ahead log of a running process from being used again."""
    where, values = chosen.where()
    query = f"SELECT id, {COLUMNS} FROM replies WHERE id > :last AND {where} ORDER BY id LIMIT {PAGE}"
    last = 0
    while rows := connection.execute(query, {**values, "last": last}).fetchall():
        last = rows[-1][0]
        yield [
            (key.hex(), *middle, datetime.fromtimestamp(created, UTC), reply)
            for _, key, *middle, created, reply in rows
        ]


def _export_lines(connection: sqlite3.Connection, out: IO[str], chosen: Chosen) -> int:
    count = 0
    for rows in _pages(connection, chosen):
        for *fields, created, reply in rows:
            values = (*fields, created.isoformat(), json.loads(reply))
            out.write(json.dumps(dict(zip(_FIELDS, values, strict=True)), ensure_ascii=False) + "\n")
        count += len(rows)
    return count


def _export_parquet(connection: sqlite3.Connection, out: Path, chosen: Chosen) -> int:
    count = 0
    with pq.ParquetWriter(out, _PARQUET, compression="zstd") as writer:
        for rows in _pages(connection, chosen):
            columns = [
                pa.array(c, field.type) for c, field in zip(zip(*rows, strict=True), _PARQUET, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=_PARQUET))
            count += len(rows)
    return count


@contextmanager
def _existing(path: Path) -> Iterator[sqlite3.Connection]:
    check_exists(path)
    with closing(connect(path)) as connection, explained(path):
        yield connection


def _size(path: Path) -> int:
    """Bytes of the file and of its write-ahead log."""
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)
