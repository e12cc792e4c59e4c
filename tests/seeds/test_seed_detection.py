"""Which reader gets a file, the walk over folders, and files that no reader can read."""

import gzip
import io
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hydata.errors import ConfigError
from hydata.schema import Document, Reject
from hydata.seeds import SeedSettings, Source, detect_kind, read, readers, walk

PROSE = "The harbour lay quiet in the early light, and nobody had yet come down to the boats. " * 8


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_every_reader_is_found() -> None:
    assert list(readers()) == ["book", "code", "dataset", "qa", "warc", "web"]


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("page.html", f"<!DOCTYPE html><html><body><p>{PROSE}</p></body></html>", "web"),
        ("page", f"<html><body><p>{PROSE}</p></body></html>", "web"),
        ("a.warc", "WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 0\r\n\r\n\r\n\r\n", "warc"),
        ("Posts.xml", '<?xml version="1.0"?><posts><row Id="1" PostTypeId="1" Title="Q"/></posts>', "qa"),
        ("qa.jsonl", jsonl({"question": "Why?", "answer": "Because."}), "qa"),
        ("qa.jsonl", jsonl({"title": "头痛", "ask": "怎么办？", "answer": "休息。"}), "qa"),
        ("qa.csv", "question,answer\nWhy?,Because.\n", "qa"),
        ("talk.jsonl", jsonl({"lang": "en", "turns": ["Hi", "Hello"]}), "qa"),
        ("set.json", json.dumps([{"instruction": "Add.", "input": "1 1", "output": "2"}]), "dataset"),
        ("set.json", json.dumps([{"instruction": "Add.", "output": "2"}], indent=2), "dataset"),
        ("set.jsonl", jsonl({"question": "1+1?", "std_answer": "2"}), "dataset"),
        ("set.jsonl", jsonl({"prompt": "1+1?", "response": "2"}), "dataset"),
        ("set.jsonl", jsonl({"messages": [{"role": "user", "content": "Hi"}]}), "dataset"),
        ("set.csv", "instruction,output\nAdd,2\n", "dataset"),
        ("c4.jsonl", jsonl({"text": PROSE}), "book"),
        ("poem.json", json.dumps({"title": "静夜思", "paragraphs": ["床前明月光", "疑是地上霜"]}), "book"),
        ("notes.txt", PROSE, "book"),
        ("README.md", f"# Notes\n\n{PROSE}", "book"),
        ("README", PROSE, "book"),
        ("grep.1", f".TH GREP 1\n.SH NAME\ngrep \\- find\n.SH DESCRIPTION\n{PROSE}\n", "book"),
        ("main.py", "print('hello')\n", "code"),
        ("run", "#!/usr/bin/env python3\nprint('hello')\n", "code"),
        ("Makefile", "all:\n\tcc a.c\n", "code"),
        ("yarn.lock", "# yarn lockfile v1\n", "code"),
    ],
)
def test_kind(tmp_path: Path, name: str, content: str, kind: str) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert detect_kind(Source(path, name), SeedSettings()) == kind


def test_long_html_with_numbered_chapters_is_a_book(tmp_path: Path) -> None:
    chapters = "".join(f"<h2>Chapter {n}</h2><p>{PROSE * 40}</p>" for n in range(1, 9))
    path = tmp_path / "novel.html"
    path.write_text(f"<html><body>{chapters}</body></html>")
    assert detect_kind(Source(path, "novel.html"), SeedSettings()) == "book"
    assert detect_kind(Source(path, "novel.html"), SeedSettings(kind="web")) == "web"


def test_unknown_kind_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(PROSE)
    with pytest.raises(ConfigError, match=r"'wbe'.*book, code"):
        detect_kind(Source(path, "a.txt"), SeedSettings(kind="wbe"))


def test_column_mapping_decides_the_kind(reading) -> None:
    rows = jsonl({"frage": "Warum?", "antwort": "Darum."})
    assert reading("a.jsonl", rows)[0].reason == "unknown_kind"
    (found,) = reading("a.jsonl", rows, columns={"question": "frage", "answer": "antwort"})
    assert isinstance(found, Document)
    assert found.text == "Warum?\n\nDarum."


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("empty.txt", b"", "empty"),
        ("blank.txt", b" \n\n ", "empty"),
        ("blank.py", b"\n", "empty"),
        ("image.png", b"\x89PNG\r\n\x1a\n" + bytes(100), "not_text"),
        ("image.html", b"\x89PNG\r\n\x1a\n" + bytes(100), "not_text"),
        ("paper.pdf", b"%PDF-1.7\n%\xe2\xe3", "not_text"),
        ("cut.py.gz", gzip.compress(PROSE.encode())[:-20], "unreadable"),
        ("bad.txt.gz", b"\x1f\x8b\x08\x00" + os.urandom(200), "unreadable"),
        ("bad.txt.zst", b"\x28\xb5\x2f\xfd" + os.urandom(200), "unreadable"),
        ("cut.parquet", b"PAR1" + bytes(100), "unreadable"),
        ("bad.epub", b"PK\x03\x04" + bytes(100), "unreadable"),
        ("package.json", b'{"name": "x", "version": "1"}', "unknown_kind"),
        ("manifest.jsonl", b'{"id": 1, "file": "a.html"}\n', "unknown_kind"),
        ("settings.toml", b"a = 1\n", "unknown_kind"),
        ("LICENSE", b"Permission is hereby granted\n", "unknown_kind"),
    ],
)
def test_bad_files_become_one_reject(reading, name: str, data: bytes, reason: str) -> None:
    (item,) = reading(name, data)
    assert isinstance(item, Reject)
    assert (item.reason, bool(item.detail)) == (reason, True)


def test_missing_file_and_unreadable_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.txt", tmp_path):
        (item,) = read(Source(path, "x"), SeedSettings())
        assert isinstance(item, Reject)
        assert item.reason == "unreadable"


def test_truncated_parquet_after_good_rows_is_not_silent(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": [PROSE + str(i) for i in range(5000)]}), buffer, compression="none")
    path = tmp_path / "a.parquet"
    data = bytearray(buffer.getvalue())
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    path.write_bytes(data)
    assert any(isinstance(item, Reject) for item in read(Source(path, "a.parquet"), SeedSettings()))


def test_walk_is_sorted_skips_hidden_and_names_links(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.txt", "a.txt", ".git/config", "b/.hidden"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(PROSE)
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    found = list(walk([tmp_path]))
    assert [s.path.relative_to(tmp_path).as_posix() for s in found] == [
        "a.txt",
        "b/1.txt",
        "b/2.txt",
        "b/loop",
    ]
    (item,) = read(found[-1], SeedSettings())
    assert isinstance(item, Reject)
    assert item.reason == "symbolic_link"


def test_walk_takes_single_files_and_names_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text(PROSE)
    assert [s.file for s in walk([path])] == [path.as_posix()]
    with pytest.raises(ConfigError, match="gone"):
        list(walk([tmp_path / "gone"]))


def test_file_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"caf\xe8.txt", b"caf\xe9.txt"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_text(PROSE)
    sources = list(walk([tmp_path]))
    assert [Path(s.file).name for s in sources] == ["caf\\xe8.txt", "caf\\xe9.txt"]
    items = [item for source in sources for item in read(source, SeedSettings())]
    assert [type(item) for item in items] == [Document, Document]


@pytest.mark.parametrize("name", ["set.jsonl", "set.json", "set.ndjson.gz"])
@pytest.mark.parametrize("first", ['{"broken": ', "[broken", '{"a": "', "[1, 2]", '{"broken": \n{"also": ['])
def test_broken_first_lines_cost_themselves_only(reading, name: str, first: str) -> None:
    good = jsonl(*({"instruction": f"Add {n} and 1.", "output": str(n + 1)} for n in range(50)))
    data = f"{first}\n{good}".encode()
    items = reading(name, gzip.compress(data) if name.endswith(".gz") else data)
    rejects = [item for item in items if isinstance(item, Reject)]
    assert [r.position for r in rejects] == list(range(1, len(first.splitlines()) + 1))
    assert {r.reason for r in rejects} <= {"broken_json", "not_an_object"}
    assert len(items) - len(rejects) == 50


def test_a_first_line_that_is_no_json_at_all(reading) -> None:
    good = jsonl(*({"instruction": f"Add {n} and 1.", "output": str(n + 1)} for n in range(3)))
    reject, *found = reading("set.jsonl", f"<<<<<<< ours\n\n{good}broken too\n")
    assert (reject.reason, reject.position) == ("broken_json", 1)
    assert [type(item).__name__ for item in found] == ["Conversation"] * 3 + ["Reject"]
    # elsewhere it is what it looks like: text that quotes JSON
    (text,) = reading("notes.md", f"Lines of such a file:\n\n{good}")
    assert isinstance(text, Document)


@pytest.mark.parametrize(
    "text",
    [
        '[\n{"instruction": "Add.", "output": "2"},\n{"instruction": "Sum.", "output": "3"}\n]',
        '[\n{"instruction": "Add.", "output": "2"}\n,\n{"instruction": "Sum.", "output": "3"}\n]',
        '{\n"instruction": "Add.",\n"output": "2"\n}\n{\n"instruction": "Sum.",\n"output": "3"\n}',
    ],
)
def test_records_over_several_lines_are_no_lines(reading, text: str) -> None:
    for name in ("set.json", "set.jsonl"):
        assert [type(item).__name__ for item in reading(name, text)] == ["Conversation"] * 2
