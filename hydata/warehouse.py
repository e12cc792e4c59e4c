"""Parquet shards on a POSIX file system, heads that say which of them are current, DuckDB views over those.

    <root>/<table>/<stage>-<fingerprint>/<key>.parquet                     a map stage's shard
    <root>/<table>/<stage>-<fingerprint>/<key>/part-00000.parquet          a part of ingest or a global result
    <root>/<table>/<stage>-<fingerprint>/<key>/_manifest.json              whose presence completes it
    <root>/heads/<recipe>.json                                             the current shards of each node
    <root>/journal/                                                        every model reply (hydata.models)
    <root>/usage/<run>.parquet                                             what its model calls took
    <root>/hydata.duckdb                                                   views for ad-hoc SQL by hand

Every file is written aside, synced and renamed, so a name that exists is whole. A shard's *siblings* are
files of the same name under other tables (its rejects, or what ingest writes beside documents); they
are renamed before the shard itself, whose presence therefore means that all of it is done. A head is
the only thing that changes; what no head lists is garbage for ``hydata gc``. After a whole run it lists the
nodes of the recipe's plan and no others.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.parquet as pq
from polars.datatypes import DataTypeClass

from hydata.errors import WarehouseError
from hydata.schema import USAGE, hash128

MANIFEST = "_manifest.json"
JOURNAL = Path("journal") / "replies.sqlite"
SHARD_ROWS = 20_000
"""Rows of a full shard: a few tens of megabytes, a unit of work of minutes and not hours."""

DUCKDB_STORAGE = "v1.0.0"
"""The storage version of ``hydata.duckdb``: the oldest still written, because the command line
client people have (``duckdb-cli`` on PyPI) is older than the library."""


@dataclass(frozen=True)
class Shard:
    """A file of a table: ``path`` relative to the root, and its rows and its siblings' rows by table."""

    path: str
    rows: Mapping[str, int]

    @property
    def table(self) -> str:
        return self.path.split("/", 1)[0]

    def sibling(self, table: str) -> str:
        return f"{table}/{self.path.split('/', 1)[1]}"


@dataclass(frozen=True)
class NodeState:
    """The current shards of one plan node. ``done`` maps what was processed (an input shard, a pack of
    files, a snapshot) to its shards; ``artefact`` is a trained file, if that is what the node makes."""

    fingerprint: str
    done: Mapping[str, tuple[Shard, ...]] = field(default_factory=dict)
    artefact: str | None = None

    @property
    def shards(self) -> tuple[Shard, ...]:
        return tuple(shard for shards in self.done.values() for shard in shards)


@dataclass(frozen=True)
class Head:
    """The current state of a recipe's run: plan node -> its shards."""

    recipe: str
    nodes: Mapping[str, NodeState] = field(default_factory=dict)

    def with_node(self, node: str, state: NodeState) -> Head:
        return Head(self.recipe, {**self.nodes, node: state})

    def only(self, nodes: Iterable[str]) -> Head:
        """The head of these nodes alone, in their order."""
        return Head(self.recipe, {node: self.nodes[node] for node in nodes if node in self.nodes})

    def paths(self, table: str) -> list[str]:
        """Relative paths of all current files of a table that have rows, in plan order."""
        found = []
        for state in self.nodes.values():
            for shard in state.shards:
                if shard.rows.get(table, 0) > 0:
                    found.append(shard.path if shard.table == table else shard.sibling(table))
        return found


def shard_key(*parts: str) -> str:
    """The name of a result: a hash of what it was made from."""
    return hash128(*parts)[:24]


# --- writing -------------------------------------------------------------------------------------------


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file aside, sync it, rename it over ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    with aside.open("wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    _rename(aside, path)


def _rename(aside: Path, path: Path) -> None:
    aside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_frame(path: Path, frame: pl.DataFrame) -> None:
    """One Parquet file, atomically, zstd-compressed, with statistics."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        frame.write_parquet(aside, compression="zstd", statistics=True)
        with aside.open("rb") as f:
            os.fsync(f.fileno())
        _rename(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_frames(path: Path, frames: Iterable[pl.DataFrame], schema: pl.Schema) -> None:
    """One Parquet file of frames that come one after the other, each with the columns of ``schema``; as
    ``write_frame`` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        arrow = pl.DataFrame(schema=schema).to_arrow().schema
        with pq.ParquetWriter(aside, arrow, compression="zstd") as file:
            for frame in frames:
                file.write_table(frame.match_to_schema(schema).to_arrow().cast(arrow))
        with aside.open("rb") as f:
            os.fsync(f.fileno())
        _rename(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_shard(root: Path, path: str, frames: Mapping[str, pl.DataFrame]) -> Shard:
    """Write ``frames`` (by table) as the shard ``path`` and its siblings; the shard itself comes last."""
    main = path.split("/", 1)[0]
    shard = Shard(path, {table: frame.height for table, frame in frames.items()})
    for table, frame in frames.items():
        if table != main:
            write_frame(root / shard.sibling(table), frame)
    write_frame(root / path, frames[main])
    return shard


def write_usage(root: Path, run: str, usage: pl.DataFrame) -> None:
    """Replace the account of a run. It belongs to no head: what was paid for stays paid for."""
    write_frame(root / "usage" / f"{run}.parquet", usage)


def find_shard(root: Path, path: str, tables: Iterable[str]) -> Shard | None:
    """The shard at ``path`` if it is done: rows are read from the Parquet footers."""
    shard = Shard(path, {})
    if not all((root / shard.sibling(table)).exists() for table in tables):
        return None
    rows = {table: pq.read_metadata(root / shard.sibling(table)).num_rows for table in tables}
    return Shard(path, rows)


def write_manifest(root: Path, folder: str, shards: Iterable[Shard]) -> tuple[Shard, ...]:
    """Declare the result in ``folder`` complete."""
    shards = tuple(shards)
    body = {"shards": [{"path": s.path, "rows": dict(s.rows)} for s in shards]}
    write_atomic(root / folder / MANIFEST, json.dumps(body, indent=1).encode())
    return shards


def read_manifest(root: Path, folder: str) -> tuple[Shard, ...] | None:
    """The shards of a complete result; None if it is not complete, or a file of it is gone."""
    path = root / folder / MANIFEST
    if not path.exists():
        return None
    shards = tuple(Shard(s["path"], s["rows"]) for s in json.loads(path.read_text())["shards"])
    whole = all((root / shard.sibling(table)).exists() for shard in shards for table in shard.rows)
    return shards if whole else None


# --- heads and the lock --------------------------------------------------------------------------------


def read_head(root: Path, recipe: str) -> Head:
    """The head of a recipe; an empty one if it never ran.

    Raises:
        WarehouseError: the head file is not readable JSON.
    """
    path = root / "heads" / f"{recipe}.json"
    if not path.exists():
        return Head(recipe)
    try:
        nodes = {
            name: NodeState(
                node["fingerprint"],
                {key: tuple(Shard(p, r) for p, r in shards) for key, shards in node["done"].items()},
                node["artefact"],
            )
            for name, node in json.loads(path.read_text())["nodes"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WarehouseError(
            f"{path}: not a head file ({error}); remove it and run the recipe again, "
            "finished shards are found on disk"
        ) from error
    return Head(recipe, nodes)


def without_missing(root: Path, head: Head) -> Head:
    """The head without shards of which a file is gone, so that they are made again."""

    def whole(shard: Shard) -> bool:
        return all((root / shard.sibling(table)).exists() for table in shard.rows)

    nodes = {}
    for name, state in head.nodes.items():
        done = {key: shards for key, shards in state.done.items() if all(map(whole, shards))}
        if len(done) < len(state.done) and any("sources" in shard.rows for shard in state.shards):
            done = {}  # a later pack of a file holds only what an earlier one did not: read all again
        kept = state.artefact if state.artefact and (root / state.artefact).exists() else None
        nodes[name] = NodeState(state.fingerprint, done if kept == state.artefact else {}, kept)
    return Head(head.recipe, nodes)


def write_head(root: Path, head: Head) -> None:
    """Replace the recipe's head atomically."""
    nodes = {
        name: {
            "fingerprint": state.fingerprint,
            "done": {key: [(s.path, dict(s.rows)) for s in shards] for key, shards in state.done.items()},
            "artefact": state.artefact,
        }
        for name, state in head.nodes.items()
    }
    write_atomic(root / "heads" / f"{head.recipe}.json", json.dumps({"nodes": nodes}, indent=0).encode())


def latest_head(root: Path, recipe: str | None = None) -> Head:
    """The head of ``recipe``, or of the recipe that ran last.

    Raises:
        WarehouseError: there is none.
    """
    heads = sorted((root / "heads").glob("*.json"), key=lambda p: p.stat().st_mtime)
    if recipe is None and heads:
        recipe = heads[-1].stem
    if recipe is None or not (root / "heads" / f"{recipe}.json").exists():
        known = ", ".join(p.stem for p in heads) or "none"
        raise WarehouseError(
            f"{root}: no run of recipe {recipe or '(any)'} here (recipes with data: {known}); "
            "start one with `hydata run RECIPE` or name another folder with --warehouse"
        )
    return read_head(root, recipe)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the warehouse's lock: one run at a time.

    Raises:
        WarehouseError: another run holds it; the message names the holder.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("a+") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            f.seek(0)
            holder = f.read().strip() or "another process"
            raise WarehouseError(f"{root}: locked by {holder}; wait for it or stop it") from error
        f.truncate(0)
        f.write(f"process {os.getpid()} on {socket.gethostname()}: {' '.join(sys.argv)[:200]}")
        f.flush()
        yield


def collect_garbage(root: Path, *, dry_run: bool = False) -> tuple[int, int]:
    """Remove the results no head lists, and what killed runs left half written.

    Returns the number of files and bytes (to be) removed. Call it under the lock. Only files that hydata
    itself names so are touched: ``<table>/<stage>-<fingerprint>/...`` and ``*.tmp-<process>``.

    Raises:
        WarehouseError: no recipe ever ran here, so this may not be a warehouse at all.
    """
    heads = sorted((root / "heads").glob("*.json"))
    if not heads:
        raise WarehouseError(
            f"{root}: no heads/*.json, so nothing here is known to be a warehouse's; nothing removed"
        )
    listed: set[str] = set()
    for path in heads:
        for state in read_head(root, path.stem).nodes.values():
            for shard in state.shards:
                listed.update(shard.sibling(table) for table in shard.rows)
                listed.add(shard.path)
            if state.artefact:
                listed.add(state.artefact)
    listed |= {f"{Path(path).parent.as_posix()}/{MANIFEST}" for path in listed}
    results = [folder for folder in root.glob("*/*") if folder.is_dir() and _RESULT.fullmatch(folder.name)]
    found = [
        path for folder in results for path in folder.rglob("*") if path.suffix in _OWN or _is_aside(path)
    ]
    found += [
        path
        for folder in (root, *(root / name for name in ("heads", "exports", "usage")))
        for path in folder.glob("*.tmp-*")
    ]
    garbage = [p for p in found if p.is_file() and p.relative_to(root).as_posix() not in listed]
    size = sum(path.stat().st_size for path in garbage)
    if not dry_run:
        for path in garbage:
            path.unlink()
        for folder in sorted((p for r in results for p in (r, *r.rglob("*")) if p.is_dir()), reverse=True):
            if not any(folder.iterdir()):
                folder.rmdir()
    return len(garbage), size


_RESULT = re.compile(r"[a-z_]+-[0-9a-f]{12}")
_OWN = (".parquet", ".json", ".zip")


def _is_aside(path: Path) -> bool:
    return ".tmp-" in path.name


# --- DuckDB --------------------------------------------------------------------------------------------

_SQL_TYPES: dict[object, str] = {
    pl.String: "VARCHAR",
    pl.Binary: "BLOB",
    pl.Int8: "TINYINT",
    pl.Int16: "SMALLINT",
    pl.Int32: "INTEGER",
    pl.Int64: "BIGINT",
    pl.UInt32: "UINTEGER",
    pl.UInt64: "UBIGINT",
    pl.Float32: "FLOAT",
    pl.Float64: "DOUBLE",
    pl.Boolean: "BOOLEAN",
}


def sql_type(dtype: pl.DataType | DataTypeClass) -> str:
    """The DuckDB type of a Polars type."""
    if isinstance(dtype, pl.List):
        return f"{sql_type(dtype.inner)}[]"
    if isinstance(dtype, pl.Struct):
        return "STRUCT(" + ", ".join(f'"{f.name}" {sql_type(f.dtype)}' for f in dtype.fields) + ")"
    return _SQL_TYPES[dtype if isinstance(dtype, DataTypeClass) else type(dtype)]


def quoted(text: str) -> str:
    """A SQL string literal; for file names in view definitions, where parameters are not allowed."""
    return "'" + text.replace("'", "''") + "'"


def create_view(
    con: duckdb.DuckDBPyConnection, table: str, schema: pl.Schema, paths: Iterable[Path | str]
) -> None:
    """A view of the Parquet files with the columns of ``schema``; typed and empty if there are none."""
    files = ", ".join(quoted(str(p)) for p in paths)
    empty = ", ".join(f'CAST(NULL AS {sql_type(dtype)}) AS "{name}"' for name, dtype in schema.items())
    body = f"SELECT {empty} WHERE false"
    if files:
        # by name: shards of an older version may lack a column or hold it in another place
        body += f" UNION ALL BY NAME SELECT * FROM read_parquet([{files}], union_by_name = true)"
    con.execute(f'CREATE OR REPLACE VIEW "{table}" AS {body}')


def create_views(
    con: duckdb.DuckDBPyConnection, root: Path, head: Head, schemas: Mapping[str, pl.Schema]
) -> None:
    """All tables of a head as views, ``usage`` of all runs, ``instructions`` and ``responses`` over
    ``conversations``."""
    root = root.resolve()
    for table, schema in schemas.items():
        create_view(con, table, schema, [root / p for p in head.paths(table)])
    create_view(con, "usage", USAGE, sorted((root / "usage").glob("*.parquet")))
    for view, role in (("instructions", "user"), ("responses", "assistant")):
        con.execute(
            f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM conversations WHERE messages[-1].role = '{role}'"
        )


def connect(root: Path, head: Head, schemas: Mapping[str, pl.Schema]) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB with the head's views."""
    con = duckdb.connect()
    create_views(con, root, head, schemas)
    return con


def write_duckdb(root: Path, head: Head, schemas: Mapping[str, pl.Schema]) -> Path:
    """``hydata.duckdb`` with the head's views over absolute paths, built aside and renamed."""
    path = root / "hydata.duckdb"
    aside = root / f"hydata.duckdb.tmp-{os.getpid()}"
    aside.unlink(missing_ok=True)
    with duckdb.connect() as con:
        con.execute(f"ATTACH {quoted(str(aside))} AS hydata (STORAGE_VERSION {quoted(DUCKDB_STORAGE)})")
        con.execute("USE hydata")
        create_views(con, root, head, schemas)
        con.execute("USE memory")
        con.execute("DETACH hydata")
    _rename(aside, path)
    return path
