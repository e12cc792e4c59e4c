"""Encodings, lines, compression: bytes nobody can trust."""

import gzip
import json
import os
import random
from pathlib import Path

import pytest
import zstandard

from hydata.schema import Conversation, Reject
from hydata.seeds import Limits, Source
from hydata.seeds.io import clean, decode_html, detect_encoding, is_binary, lines, open_bytes, pieces
from hydata.seeds.source import BadInput

ENGLISH = "It was a bright cold day in April, and the clocks were striking thirteen.\n" * 40
CHINESE = "这是一个用来检查编码的句子，他们说我们在这里没有什么可以做的。\n" * 40
TRADITIONAL = "這是一個用來檢查編碼的句子，他們說我們在這裡沒有什麼可以做的。\n" * 40
GERMAN = "Für die Äpfel zahlte er größere Beträge, als er müßte.\n" * 40


def source(tmp_path: Path, data: bytes, name: str = "file.txt") -> Source:
    path = tmp_path / name
    path.write_bytes(data)
    return Source(path, name)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (ENGLISH, "ascii"),
        (CHINESE, "utf-8"),
        (CHINESE, "utf-8-sig"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16"),
        (CHINESE, "utf-16-le"),
        (CHINESE, "utf-16-be"),
        (ENGLISH, "utf-16-le"),
        (ENGLISH, "utf-16-be"),
        (TRADITIONAL, "big5"),
        (GERMAN, "latin-1"),
        (GERMAN, "utf-8"),
    ],
)
def test_text_survives_its_encoding(tmp_path: Path, text: str, encoding: str) -> None:
    assert "".join(pieces(source(tmp_path, text.encode(encoding)), Limits())) == text


def test_encoding_shows_only_behind_a_megabyte_of_ascii(tmp_path: Path) -> None:
    text = "a plain line\n" * 120_000 + CHINESE
    assert "".join(pieces(source(tmp_path, text.encode("gb18030")), Limits())) == text


def test_text_cut_inside_a_character_loses_only_that(tmp_path: Path) -> None:
    data = CHINESE.encode()[:-2]
    assert "".join(pieces(source(tmp_path, data), Limits())) == data.decode("utf-8", "replace")


def test_bytes_of_no_encoding_are_undecodable(tmp_path: Path) -> None:
    data = CHINESE.encode() * 20 + os.urandom(40_000)
    with pytest.raises(BadInput, match="undecodable"):
        "".join(pieces(source(tmp_path, data), Limits()))


def test_pieces_normalise_newlines_across_blocks(tmp_path: Path) -> None:
    line = "x" * 1021 + "\r\n"  # a \r falls on a block's end sooner or later
    text = "".join(pieces(source(tmp_path, line.encode() * 3000 + b"a\0b\rc"), Limits()))
    assert text == ("x" * 1021 + "\n") * 3000 + "ab\nc"


def test_clean_replaces_lone_surrogates() -> None:
    assert clean("a\ud800b\r\nc\0") == "a\ufffdb\nc"


def test_lines_pass_over_a_long_one_and_go_on(tmp_path: Path) -> None:
    found = list(
        lines(source(tmp_path, b"one\r\n" + b"x" * 5000 + b"\nthree\n\nfive"), Limits(line_bytes=1000))
    )
    assert [number for number, _ in found] == [1, 2, 3, 4, 5]
    assert [line for _, line in found if isinstance(line, str)] == ["one", "three", "", "five"]
    assert isinstance(found[1][1], BadInput)
    assert found[1][1].reason == "line_too_long"


def test_a_sparse_gigabyte_line_is_not_held(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "long.jsonl"
    with path.open("wb") as file:
        file.write(b"x")
        file.seek(200 << 20)
        file.write(b"\nlast\n")
    tracemalloc.start()
    found = list(lines(Source(path, "long.jsonl"), Limits(line_bytes=1 << 20)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [n for n, _ in found] == [1, 2]
    assert found[1][1] == "last"
    assert peak < 40 << 20


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_packed_files_are_unpacked(tmp_path: Path, pack: object) -> None:
    data = pack(CHINESE.encode())  # type: ignore[operator] # one of two functions
    assert "".join(pieces(source(tmp_path, data, "a.txt.gz"), Limits())) == CHINESE


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_decompression_bomb_is_stopped(tmp_path: Path, pack: object) -> None:
    bomb = pack(bytes(8 << 20))  # type: ignore[operator] # one of two functions
    limits = Limits(expansion_from_bytes=1 << 20)
    with open_bytes(source(tmp_path, bomb), limits) as stream, pytest.raises(BadInput, match="bomb"):
        stream.read()


def test_ordinary_compression_is_no_bomb(tmp_path: Path) -> None:
    data = gzip.compress(os.urandom(1000) * 2000)
    with open_bytes(source(tmp_path, data), Limits(expansion_from_bytes=1000, expansion=2000)) as stream:
        assert len(stream.read()) == 2_000_000


@pytest.mark.parametrize(
    "data",
    [b"\x89PNG\r\n\x1a\n" + bytes(50), b"%PDF-1.7 ...", b"\x7fELF\x02\x01", os.urandom(4096), b"PK\x03\x04"],
)
def test_binary_is_told_from_text(data: bytes) -> None:
    assert is_binary(data)
    assert not is_binary(CHINESE.encode("gb18030"))
    assert not is_binary(CHINESE.encode("utf-16"))


@pytest.mark.parametrize(
    ("data", "charset"),
    [
        (f'<meta charset="gb2312"><p>{CHINESE}'.encode("gb18030"), None),
        (f"<p>{CHINESE}".encode("gb18030"), "GBK"),
        (f'<meta charset="iso-8859-1"><p>{CHINESE}'.encode(), None),  # a wrong declaration
        (f'<meta charset="zlib"><p>{CHINESE}'.encode("gb18030"), None),  # no text encoding at all
        (f"<p>{CHINESE}".encode("utf-16"), None),
    ],
)
def test_html_is_decoded_by_what_fits(data: bytes, charset: str | None) -> None:
    assert CHINESE.strip() in decode_html(data, charset)


def test_detection_names_the_codec() -> None:
    assert detect_encoding(CHINESE.encode("gb18030")) == "gb18030"
    assert detect_encoding(TRADITIONAL.encode("big5")) == "big5hkscs"


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_rows_before_the_damage_of_a_packed_file_are_kept(reading, pack) -> None:
    numbers = random.Random(0)
    rows = [
        {"instruction": f"Add {numbers.random()} and {n}.", "output": str(numbers.random())}
        for n in range(5000)
    ]
    packed = pack("".join(json.dumps(row) + "\n" for row in rows).encode())
    items = reading("cut.jsonl.gz", packed[: len(packed) * 9 // 10])
    assert sum(isinstance(item, Conversation) for item in items) > 3000
    # zstd ends at the cut without a word, in the middle of a row
    reason = "unreadable" if pack is gzip.compress else "broken_json"
    assert [item.reason for item in items if isinstance(item, Reject)] == [reason]
