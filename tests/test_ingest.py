"""Ingest: packs, parts, what is known, what is broken."""

import json
from pathlib import Path

import polars as pl
import pytest

from hydata.errors import ConfigError
from hydata.ingest import TABLES, IngestSettings, KnownFile, make_pack, pack_sources, run_pack
from hydata.seeds import SeedSettings


def settings(*paths: Path, **changes: int) -> IngestSettings:
    return IngestSettings(paths=tuple(map(str, paths)), **changes)


def texts(folder: Path, count: int) -> Path:
    folder.mkdir()
    for n in range(count):
        (folder / f"{n}.txt").write_text(f"The harbour of town {n} was quiet. " * 20)
    return folder


def table(root: Path, name: str) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(p) for p in sorted((root / name).rglob("*.parquet"))])


def ingest(root: Path, given: IngestSettings) -> None:
    for files in pack_sources(given, {}):
        run_pack(root, "ingest-test", make_pack(files), given)


def test_packs_are_bounded_by_files_and_bytes_and_stable(tmp_path: Path) -> None:
    folder = texts(tmp_path / "texts", 10)
    by_files = list(pack_sources(settings(folder, pack_files=4), {}))
    assert [len(files) for files in by_files] == [4, 4, 2]
    assert all(len(f) == 1 for f in pack_sources(settings(folder, pack_bytes=1000), {}))
    again = list(pack_sources(settings(folder, pack_files=4), {}))
    assert [make_pack(f).key for f in again] == [make_pack(f).key for f in by_files]


def test_a_known_file_is_read_again_only_if_its_bytes_changed(tmp_path: Path) -> None:
    folder = texts(tmp_path / "texts", 1)
    file = folder / "0.txt"
    ((seen,),) = pack_sources(settings(folder), {})
    known = {seen.source.file: KnownFile(seen.sha256, seen.bytes, seen.modified_ns)}
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
