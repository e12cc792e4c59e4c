"""Ingest: packs, parts, what is known, what is broken."""

import json
import os
import socket
from pathlib import Path

import polars as pl
import pytest

from hydata.errors import ConfigError
from hydata.ingest import (
    TABLES,
    IngestSettings,
    Pack,
    Version,
    fingerprint,
    make_pack,
    pack_sources,
    pending_packs,
    run_pack,
    run_pack_apart,
)
from hydata.seeds import SeedSettings
from hydata.warehouse import Head, NodeState, Shard, connect


def settings(*paths: Path, **changes: int) -> IngestSettings:
    return IngestSettings(paths=tuple(map(str, paths)), **changes)


def texts(folder: Path, count: int) -> Path:
    folder.mkdir()
    for n in range(count):
        (folder / f"{n}.txt").write_text(f"The harbour of town {n} was quiet. " * 20)
    return folder


def table(root: Path, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for p in sorted((root / name).rglob("*.parquet"))])


def rows(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def ingest(root: Path, given: IngestSettings, head: Head | None = None) -> Head:
    """What a run does: the pending packs are read and become current."""
    head = head or Head("test")
    state = head.nodes.get("ingest", NodeState(""))
    stage = f"ingest-{fingerprint(given)}"
    with connect(root, head, TABLES) as con:
        made = {pack.key: run_pack(root, stage, pack, given) for pack in pending_packs(con, given)}
    return head.with_node("ingest", NodeState("", {**state.done, **made}))


def query(root: Path, head: Head, text: str) -> list[tuple[object, ...]]:
    with connect(root, head, TABLES) as con:
        return con.execute(text).fetchall()


def test_packs_are_bounded_by_files_and_bytes_and_stable(tmp_path: Path) -> None:
    folder = texts(tmp_path / "texts", 10)
    by_files = list(pack_sources(settings(folder, pack_files=4), {}))
    assert [len(files) for files in by_files] == [4, 4, 2]
    assert all(len(f) == 1 for f in pack_sources(settings(folder, pack_bytes=1000), {}))
    again = list(pack_sources(settings(folder, pack_files=4), {}))
    assert [make_pack(f, {}).key for f in again] == [make_pack(f, {}).key for f in by_files]


def test_a_known_file_is_read_again_only_if_its_bytes_changed(tmp_path: Path) -> None:
    folder = texts(tmp_path / "texts", 1)
    file = folder / "0.txt"
    ((seen,),) = pack_sources(settings(folder), {})
    reader = fingerprint(settings(folder))
    known = {seen.source.file: (Version(seen.sha256, seen.bytes, seen.modified_ns, reader),)}
    assert list(pack_sources(settings(folder), known)) == []
    file.touch()
    assert list(pack_sources(settings(folder), known)) == []
    file.write_text("Something else.")
    assert len(list(pack_sources(settings(folder), known))) == 1


def test_parts_are_cut_at_their_rows_and_every_table_has_them(tmp_path: Path) -> None:
    folder = texts(tmp_path / "texts", 10)
    ingest(tmp_path / "w", settings(folder, shard_rows=4))
    for name, schema in TABLES.items():
        assert len(list((tmp_path / "w" / name).rglob("part-*.parquet"))) == 3
        assert table(tmp_path / "w", name).schema == schema
    assert table(tmp_path / "w", "documents").height == 10


def test_every_source_has_a_row_and_an_outcome(tmp_path: Path) -> None:
    folder = texts(tmp_path / "seeds", 2)
    (folder / "empty.html").write_bytes(b"")
    (folder / "broken.gz").write_bytes(b"\x1f\x8b broken")
    (folder / "set.jsonl").write_text(
        json.dumps({"instruction": "Add 1 and 1.", "input": "", "output": "2"}) + "\n{broken\n"
    )
    (folder / "locked.txt").symlink_to("/nonexistent/file")
    ingest(tmp_path / "w", settings(folder))
    sources = table(tmp_path / "w", "sources").with_columns(
        outcome=pl.col("documents") + pl.col("conversations") + pl.col("rejects")
    )
    assert sources.height == 6
    assert sources.filter(pl.col("outcome") == 0).is_empty()
    rejects = table(tmp_path / "w", "rejects")
    assert set(rejects["stage"]) == {"ingest"}
    assert rejects["reason"].null_count() == 0
    assert rejects["file"].null_count() == 0
    named = {Path(file).name for file in rejects["file"]}
    assert {"empty.html", "broken.gz", "set.jsonl", "locked.txt"} <= named


def test_a_kind_can_be_forced_and_languages_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    folder.mkdir()
    (folder / "a.txt").write_text("港口在清晨十分安静，还没有人来到船边。" * 10, encoding="gb18030")
    (folder / "b.html").write_text("<html><body><p>" + "The harbour was quiet. " * 30 + "</p></body></html>")
    given = settings(folder).model_copy(update={"seeds": SeedSettings(kind="book")})
    ingest(tmp_path / "w", given)
    documents = table(tmp_path / "w", "documents")
    assert set(documents["kind"]) == {"book"}
    assert set(documents["language"]) == {"en", "zh"}


def test_a_missing_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        list(pack_sources(settings(tmp_path / "nowhere"), {}))


def test_a_path_named_twice_is_read_once(tmp_path: Path) -> None:
    folder = texts(tmp_path / "seeds", 2)
    texts(folder / "below", 2)
    (folder / "link").symlink_to(folder / "0.txt")
    alias = tmp_path / "alias"
    alias.symlink_to(folder)
    given = settings(
        folder, folder, folder / "below", folder / "0.txt", tmp_path / "x" / ".." / "seeds", alias
    )
    (tmp_path / "x").mkdir()
    head = ingest(tmp_path / "w", given)
    counts = "SELECT count(*), count(DISTINCT document_id) FROM documents"
    assert query(tmp_path / "w", head, counts) == [(4, 4)]
    assert query(tmp_path / "w", head, "SELECT reason FROM rejects") == [("symbolic_link",)]


def test_what_a_head_does_not_have_is_not_left_out(tmp_path: Path) -> None:
    file = tmp_path / "grows.jsonl"
    asked = [{"question": f"What is {n} times {n}?", "answer": f"It is {n * n}."} for n in range(5)]
    file.write_text(rows(*asked[:3]))
    head = ingest(tmp_path / "w", settings(file))
    file.write_text(rows(*asked))
    head = ingest(tmp_path / "w", settings(file), head)
    counts = "SELECT count(*), count(DISTINCT document_id) FROM documents"
    assert query(tmp_path / "w", head, counts) == [(5, 5)]
    assert query(tmp_path / "w", ingest(tmp_path / "w", settings(file)), counts) == [(5, 5)]


def test_a_pair_of_a_known_and_a_new_answer_refers_to_the_known_one(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    pair = {"instruction": "Add 1 and 1.", "chosen": "2", "rejected": "3"}
    head = Head("test")
    for changes in ({}, {"rejected": "4"}, {"chosen": "4", "rejected": "2"}, {}):
        file.write_text(rows(pair | changes))
        head = ingest(tmp_path / "w", settings(file), head)
    ids = "SELECT count(*), count(DISTINCT record_id) FROM conversations"
    assert query(tmp_path / "w", head, ids) == [(3, 3)]
    joined = """
        SELECT c.messages[-1].content, r.messages[-1].content FROM preferences
        JOIN conversations c ON c.record_id = chosen_id JOIN conversations r ON r.record_id = rejected_id
    """
    assert sorted(query(tmp_path / "w", head, joined)) == [("2", "3"), ("2", "4"), ("4", "2")]
    # the last text was the first one again
    assert query(tmp_path / "w", head, "SELECT count(*) FROM sources") == [(3,)]


def test_equal_instances_of_a_record_are_taken_once(tmp_path: Path) -> None:
    file = tmp_path / "self.jsonl"
    task = {"instruction": "Add.", "instances": [{"input": "1 1", "output": "2"}] * 3}
    file.write_text(rows(task, task))
    head = ingest(tmp_path / "w", settings(file))
    ids = "SELECT count(*), count(DISTINCT record_id) FROM conversations"
    assert query(tmp_path / "w", head, ids) == [(2, 2)]
    assert query(tmp_path / "w", head, "SELECT reason, position FROM rejects ORDER BY position") == [
        ("repeated", 1),
        ("repeated", 1),
        ("repeated", 2),
        ("repeated", 2),
    ]
    assert query(tmp_path / "w", head, "SELECT conversations, rejects FROM sources") == [(2, 4)]


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    folder = texts(tmp_path / "seeds", 1)
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "away.txt").symlink_to("/nonexistent/file")
    os.mkfifo(folder / "pipe")
    os.mkfifo(tmp_path / "named")
    with socket.socket(socket.AF_UNIX) as sock, pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # a socket's path must be short
        sock.bind("seeds/socket")
    given = settings(folder, tmp_path / "named", Path("/dev/zero"))
    head = ingest(tmp_path / "w", given)
    found = query(tmp_path / "w", head, "SELECT reason, count(*) FROM rejects GROUP BY ALL ORDER BY ALL")
    assert found == [("not_a_file", 4), ("symbolic_link", 2)]
    assert ingest(tmp_path / "w", given, head) == head


def test_each_night_adds_its_own_rejects_only(tmp_path: Path) -> None:
    folder = tmp_path / "seeds"
    folder.mkdir()
    file = folder / "grows.jsonl"
    (folder / "link").symlink_to("/nonexistent/file")
    head = Head("test")
    for night in range(4):
        asked = [{"question": f"What is {n} and {n}?", "answer": str(2 * n)} for n in range(night)]
        file.write_text("{broken\n" + rows({"question": "Why?", "answer": "Because."}, *asked))
        head = ingest(tmp_path / "w", settings(folder), head)
    rejects = "SELECT reason, count(*) FROM rejects GROUP BY ALL ORDER BY ALL"
    assert query(tmp_path / "w", head, rejects) == [
        ("already_ingested", 3),
        ("broken_json", 1),
        ("symbolic_link", 1),
    ]
    versions = "SELECT count(*), count(DISTINCT (file, sha256)) FROM sources"
    assert query(tmp_path / "w", head, versions) == [(5, 5)]
    per_night = "SELECT documents, rejects FROM sources WHERE sha256 != '' ORDER BY modified_ns"
    assert query(tmp_path / "w", head, per_night) == [(1, 1), (1, 1), (1, 1), (1, 1)]


def test_other_settings_read_a_known_file_again(tmp_path: Path) -> None:
    file = tmp_path / "notes.md"
    file.write_text("# Notes\n\n" + "The harbour of the town was quiet. " * 20)
    given = settings(file)
    head = ingest(tmp_path / "w", given)
    as_code = given.model_copy(update={"seeds": SeedSettings(kind="code")})
    both = ingest(tmp_path / "w", as_code, head)
    assert query(tmp_path / "w", both, "SELECT kind FROM documents ORDER BY kind") == [("book",), ("code",)]
    assert query(tmp_path / "w", both, "SELECT count(DISTINCT reader), count(*) FROM sources") == [(2, 2)]
    # settings that make no difference to a file add nothing; nor do those known
    longer = given.model_copy(update={"seeds": SeedSettings(code_chunk=30_000)})
    same = ingest(tmp_path / "w", longer, both)
    assert query(tmp_path / "w", same, "SELECT count(*) FROM documents") == [(2,)]
    assert ingest(tmp_path / "w", given, same) == same


def run_or_die(root: Path, stage: str, pack: Pack, given: IngestSettings) -> tuple[Shard, ...]:
    """As a reader in C does on a page it cannot bear."""
    if any("deadly" in Path(f.source.file).read_text() for f in pack.files):
        os._exit(139)
    return run_pack(root, stage, pack, given)


def test_a_file_that_kills_its_reader_is_a_reject_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = texts(tmp_path / "seeds", 4)
    (folder / "1.txt").write_text("deadly")
    given = settings(folder)
    (files,) = pack_sources(given, {})
    pack = make_pack(files, {})
    shards = run_pack_apart(tmp_path / "w", "ingest-test", pack, given, run_or_die)
    head = Head("test", {"ingest": NodeState("", {pack.key: shards})})
    assert query(tmp_path / "w", head, "SELECT count(*) FROM documents") == [(3,)]
    assert query(tmp_path / "w", head, "SELECT reason, file FROM rejects") == [
        ("reader_crashed", str(folder / "1.txt"))
    ]
    assert query(tmp_path / "w", head, "SELECT count(*) FROM sources") == [(4,)]
    # the pack is done as a whole
    assert run_pack(tmp_path / "w", "ingest-test", pack, given) == shards
