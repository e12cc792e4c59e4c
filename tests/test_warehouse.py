"""Shards, heads, the lock, garbage, views."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest

from hydata.errors import WarehouseError
from hydata.schema import CONVERSATIONS, DOCUMENTS, REJECTS, Document, documents_frame, rejects_frame
from hydata.warehouse import (
    Head,
    NodeState,
    Shard,
    collect_garbage,
    connect,
    find_shard,
    latest_head,
    locked,
    read_head,
    read_manifest,
    sql_type,
    write_duckdb,
    write_head,
    write_manifest,
    write_shard,
)

SCHEMAS = {"documents": DOCUMENTS, "conversations": CONVERSATIONS, "rejects": REJECTS}


def one_shard(root: Path, name: str = "a") -> Shard:
    frame = documents_frame([Document("web", "u", "f", 0, f"text {name}")])
    return write_shard(
        root,
        f"documents/ingest-0123456789ab/{name}.parquet",
        {"documents": frame, "rejects": rejects_frame(())},
    )


def test_a_shard_is_found_with_its_siblings_rows(tmp_path: Path) -> None:
    shard = one_shard(tmp_path)
    assert find_shard(tmp_path, shard.path, ("documents", "rejects")) == shard
    assert find_shard(tmp_path, "documents/ingest-0123456789ab/b.parquet", ("documents",)) is None
    assert dict(shard.rows) == {"documents": 1, "rejects": 0}


def test_a_result_is_complete_only_with_its_manifest(tmp_path: Path) -> None:
    shard = one_shard(tmp_path, "key/part-00000")
    assert read_manifest(tmp_path, "documents/ingest-0123456789ab/key") is None
    write_manifest(tmp_path, "documents/ingest-0123456789ab/key", [shard])
    assert read_manifest(tmp_path, "documents/ingest-0123456789ab/key") == (shard,)


def test_a_head_survives_a_round_trip_and_the_newest_is_found(tmp_path: Path) -> None:
    shard = one_shard(tmp_path)
    head = Head("demo").with_node("ingest", NodeState("f", {"k": (shard,)}, "artefacts/x.bin"))
    write_head(tmp_path, head)
    assert read_head(tmp_path, "demo") == head
    assert latest_head(tmp_path) == head
    assert read_head(tmp_path, "other") == Head("other")
    with pytest.raises(WarehouseError, match="demo"):
        latest_head(tmp_path, "other")


def test_a_damaged_head_is_told_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "heads").mkdir()
    (tmp_path / "heads" / "demo.json").write_text('{"nodes": [1]}')
    with pytest.raises(WarehouseError, match=r"demo\.json"):
        read_head(tmp_path, "demo")


def test_a_second_run_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom hydata.warehouse import locked\n"
        "with locked(Path(sys.argv[1])): pass"
    )
    with locked(tmp_path):
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert second.returncode == 1
    assert "WarehouseError" in second.stderr
    assert "locked by process" in second.stderr
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_garbage_is_what_no_head_lists(tmp_path: Path) -> None:
    kept, _ = one_shard(tmp_path, "kept"), one_shard(tmp_path, "old")
    write_head(tmp_path, Head("demo").with_node("ingest", NodeState("f", {"k": (kept,)})))
    (tmp_path / "documents/ingest-0123456789ab/half.parquet.tmp-1").write_bytes(b"x")
    assert collect_garbage(tmp_path, dry_run=True)[0] == 3
    assert (tmp_path / "documents/ingest-0123456789ab/old.parquet").exists()
    collect_garbage(tmp_path)
    left = sorted(p.name for p in tmp_path.rglob("*.parquet*"))
    assert left == ["kept.parquet", "kept.parquet"]  # the shard and its rejects
    assert collect_garbage(tmp_path) == (0, 0)


def test_garbage_is_only_what_hydata_wrote(tmp_path: Path) -> None:
    for name in ("src/pkg/a.py", ".git/objects/ab/c", "documents/mine/notes.parquet", "exports/mix.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WarehouseError, match="nothing removed"):
        collect_garbage(tmp_path)
    write_head(tmp_path, Head("demo"))
    (tmp_path / "hydata.duckdb.tmp-7").write_bytes(b"x")
    assert collect_garbage(tmp_path) == (1, 1)
    assert len([p for p in tmp_path.rglob("*") if p.is_file()]) == 5


def test_views_read_the_head_only_and_empty_tables_are_typed(tmp_path: Path) -> None:
    kept, _ = one_shard(tmp_path, "kept"), one_shard(tmp_path, "old")
    head = Head("demo").with_node("ingest", NodeState("f", {"k": (kept,)}))
    with connect(tmp_path, head, SCHEMAS) as con:
        assert con.execute("SELECT text FROM documents").fetchall() == [("text kept",)]
        assert con.execute("SELECT count(*) FROM instructions").fetchall() == [(0,)]
        assert str(con.sql("SELECT parent_ids FROM responses").types[0]) == "VARCHAR[]"


def test_the_duckdb_file_reads_from_elsewhere_and_quotes_odd_paths(tmp_path: Path) -> None:
    root = tmp_path / "it's a; warehouse"
    head = Head("demo").with_node("ingest", NodeState("f", {"k": (one_shard(root),)}))
    path = write_duckdb(root, head, SCHEMAS)
    write_duckdb(root, head, SCHEMAS)  # over the last one
    moved = shutil.copy(path, tmp_path / "copy.duckdb")
    with duckdb.connect(moved, read_only=True) as con:
        assert con.execute("SELECT count(*) FROM documents").fetchall() == [(1,)]
    assert not list(root.glob("*.tmp-*"))


def test_every_column_type_has_a_sql_type() -> None:
    assert sql_type(pl.List(pl.Struct({"a": pl.String(), "b": pl.List(pl.Int32())}))) == (
        'STRUCT("a" VARCHAR, "b" INTEGER[])[]'
    )
