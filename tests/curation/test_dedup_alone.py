"""Duplicates of files, by the command line as a user would."""

import gzip
import json
import random
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from hydata.cli import app
from hydata.curation import files
from hydata.curation.dedup import signed
from hydata.curation.dedup.alone import COLUMNS, judge_pieces
from hydata.errors import ConfigError

LONG = "a text of some words that is long enough to have more than a few shingles of five words each"
TEXTS = ["Another text.", LONG, LONG.upper() + "!", f"{LONG} more", "", "another  TEXT."]


def judge(tmp_path: Path, *inputs: Path, options: tuple[str, ...] = ()) -> pl.DataFrame:
    out = tmp_path / "out.parquet"
    arguments = ["judge", "duplicates", *map(str, inputs), "-o", str(out), *options]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return pl.read_parquet(out)


def write_lines(path: Path, rows: list[dict]) -> Path:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    data = lines.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_one_row_a_row_in_order(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [{"id": i, "text": text} for i, text in enumerate(TEXTS)])
    found = judge(tmp_path, path)
    assert found.schema == COLUMNS
    assert found["row"].to_list() == list(range(6))
    assert found["cluster_id"].to_list() == [5, 3, 3, 3, 4, 5]
    assert found["duplicate_of"].to_list() == [5, 3, 3, None, None, None]
    assert found["keep"].to_list() == [False, False, False, True, True, True]
    assert found["similarity"].to_list() == pytest.approx([1.0, 16 / 17, 16 / 17, None, None, None])


def test_half_a_surrogate_pair_is_read_as_a_replacement_character(tmp_path: Path) -> None:
    """In the text, in a column beside it, in a name, in messages; the other rows are judged as ever."""
    texts = ["half \ud800 a pair", "half \udfff a pair", "half \ufffd a pair", "a pair \U0001f600"]
    rows = [{"text": text, "other": "\udc00", "\ud800": 1} for text in texts]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "in.jsonl").write_text(lines.replace("\\ud", "\\uD"))
    assert judge(tmp_path, tmp_path / "in.jsonl")["cluster_id"].to_list() == [0, 0, 0, 3]
    chats = [{"messages": [{"role": "user", "content": text}]} for text in texts]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    assert judge(tmp_path, tmp_path / "chats.jsonl")["cluster_id"].to_list() == [0, 0, 0, 3]
    read = [text.as_py() for piece in files.pieces([tmp_path / "in.jsonl"], None) for text in piece.texts()]
    assert read == ["half \ufffd a pair"] * 3 + ["a pair \U0001f600"]


def test_whole_json_says_the_same_but_for_halves_of_pairs() -> None:
    draw = random.Random(1)
    bits = ["\ud800", "\udbff", "\udc00", "\udfff", "\\", "\\u", '"', "ud800", "\n", "a", "灯", "\U0001f600"]
    for _ in range(5000):
        text = json.dumps("".join(draw.choices(bits, k=draw.randint(0, 8))))
        wanted = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in json.loads(text))
        assert json.loads(files.whole(text.encode())) == wanted


@pytest.mark.parametrize("name", ["in.parquet", "in.jsonl", "in.jsonl.gz", "in.json"])
def test_every_form_of_input_is_judged_alike(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".parquet":
        pl.DataFrame({"x": range(6), "text": TEXTS}).write_parquet(path, row_group_size=2)
    else:
        write_lines(path, [{"x": [i], "text": text} for i, text in enumerate(TEXTS)])
    assert judge(tmp_path, path)["duplicate_of"].to_list() == [5, 3, 3, None, None, None]
    assert judge(tmp_path, path, path)["keep"].sum() == 3


def test_columns(tmp_path: Path) -> None:
    messages = [
        [{"role": "system", "content": f"Nr. {i}"}, {"role": "user", "content": text}]
        for i, text in enumerate(TEXTS)
    ]
    expected = [5, 3, 3, None, None, None]
    for name in ("a.jsonl", "a.parquet"):
        path = tmp_path / name
        rows = [{"messages": m, "other": 1.5} for m in messages]
        if name.endswith("jsonl"):
            write_lines(path, rows)
        else:
            pl.DataFrame(rows).write_parquet(path)
        assert judge(tmp_path, path)["duplicate_of"].to_list() == expected
    rows = [{"prompt": text, "text": "all the same"} for text in TEXTS]
    path = write_lines(tmp_path / "b.jsonl", rows)
    assert judge(tmp_path, path, options=("--column", "prompt"))["duplicate_of"].to_list() == expected
    assert judge(tmp_path, path)["keep"].sum() == 1


def test_rows_without_text_are_kept(tmp_path: Path) -> None:
    rows = [{"text": "a"}, {"text": None}, {"other": 1}, {"text": ""}, {"text": " "}]
    found = judge(tmp_path, write_lines(tmp_path / "in.jsonl", rows))
    assert found["duplicate_of"].to_list() == [None, None, None, 4, None]
    assert found["cluster_id"].to_list() == [0, 1, 2, 4, 4]
    others = [{"messages": [{"from": "human", "value": text}]} for text in TEXTS]
    assert judge(tmp_path, write_lines(tmp_path / "chat.jsonl", others))["keep"].all()
    pl.DataFrame(others).write_parquet(tmp_path / "chat.parquet")
    with pytest.raises(ConfigError, match="its elements need role and content"):
        judge_pieces(files.pieces([tmp_path / "chat.parquet"], None), 0.8, tmp_path)
    pl.DataFrame({"text": [None, None]}).write_parquet(tmp_path / "null.parquet")
    assert judge(tmp_path, tmp_path / "null.parquet")["keep"].all()


def test_bytes_that_are_no_utf8_in_parquet_are_named(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"e\xcc\x81 \xe3"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    pq.write_table(pa.table({"text": broken}), tmp_path / "in.parquet")
    with pytest.raises(ConfigError, match=r"in.parquet, from row 0, column 'text'.*UTF8"):
        judge_pieces(files.pieces([tmp_path / "in.parquet"], None), 0.8, tmp_path)


def test_long_rows_make_small_batches_and_a_long_line_is_read(tmp_path: Path) -> None:
    long = "lorem ipsum " * 300_000
    pl.DataFrame({"text": [long, long, "short"]}).write_parquet(tmp_path / "in.parquet")
    found = list(files.pieces([tmp_path / "in.parquet"], None))
    assert [len(piece.data) for piece in found] == [3]
    pl.DataFrame({"text": [f"{i} {long}" for i in range(20)]}).write_parquet(
        tmp_path / "many.parquet", compression="uncompressed"
    )
    assert len(list(files.pieces([tmp_path / "many.parquet"], None))) > 2
    path = write_lines(tmp_path / "in.jsonl", [{"text": long}, {"text": long + "!"}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert judge(tmp_path, path)["keep"].to_list() == [False, True]


def test_an_empty_file_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n\n")
    assert judge(tmp_path, tmp_path / "in.jsonl").height == 0
    pl.DataFrame({"text": []}, schema={"text": pl.String}).write_parquet(tmp_path / "in.parquet")
    assert judge(tmp_path, tmp_path / "in.parquet").schema == COLUMNS


def test_blocks_end_at_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 64)
    rng = random.Random(1)
    texts = [" ".join(rng.choices("abcdefgh", k=rng.randint(0, 60))) for _ in range(300)]
    path = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    read = [text for piece in files.pieces([path], None) for text in piece.texts().to_pylist()]
    assert read == texts


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.jsonl", b'{"text": "x"}\n{"text": \n', "a.jsonl, line 2, column 'text'"),
        ("a.jsonl", b'{"text": "x"}\n\n{"text": 7}\n', "a.jsonl, line 3, column 'text'"),
        ("a.jsonl", b'{"text": "x"} {"text": "y"}\n', "2 JSON objects on 1 lines"),
        ("a.jsonl", b'{"text": "e\xcc\x81 \xe3"}\n', "a.jsonl, line 1, column 'text'.*UTF8"),
        ("a.jsonl", b'{"caf\xe9": 1, "text": "a"}\n', "the first line is no JSON object"),
        ("a.json", b'[{"text": "x"}]', "a JSON array; write one object a line"),
        ("a.jsonl", b"{}\n", "it has none at all"),
        ("a.jsonl", b"hello\n", "a.jsonl: the first line is no JSON object"),
        ("a.jsonl", b'{"prompt": "x"}\n', "no column text, instruction, messages; it has prompt"),
        ("a.parquet", b"PAR1 not really", "no Parquet file, or broken"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 9000)[:-20], "is it cut off"),
        ("a.jsonl.gz", b"plain", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        judge_pieces(files.pieces([path], None), 0.8, tmp_path)
    with pytest.raises(ConfigError, match="no such file"):
        judge_pieces(files.pieces([tmp_path / "none.jsonl"], None), 0.8, tmp_path)


def test_a_column_of_numbers_is_no_text(tmp_path: Path) -> None:
    pl.DataFrame({"text": [1, 2]}).write_parquet(tmp_path / "in.parquet")
    with pytest.raises(ConfigError, match="holds int64, not text"):
        judge_pieces(files.pieces([tmp_path / "in.parquet"], None), 0.8, tmp_path)


def test_the_output_is_no_input(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "in.jsonl", [{"text": "x"}])
    result = CliRunner().invoke(app, ["judge", "duplicates", str(path), "-o", str(path)])
    assert isinstance(result.exception, ConfigError)
    (tmp_path / "folder.parquet").mkdir()
    for output in ("", str(tmp_path), "/dev/null", str(path / "o.parquet"), str(tmp_path / "folder.parquet")):
        result = CliRunner().invoke(app, ["judge", "duplicates", str(path), "-o", output])
        assert isinstance(result.exception, ConfigError), output


@pytest.mark.parametrize(
    ("name", "options"),
    [("duplicates", []), ("semantic", []), ("agreement", []), ("critique", ["--critic", "m"])],
)
@pytest.mark.parametrize("output", ["out.csv", "out", "out.parquet.gz", "parquet"])
def test_no_judge_writes_parquet_under_another_name(
    tmp_path: Path, name: str, options: list[str], output: str
) -> None:
    path = write_lines(tmp_path / "in.jsonl", [{"text": "x"}])
    before = set(tmp_path.iterdir())
    arguments = ["judge", name, str(path), "-o", str(tmp_path / output), *options]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    said = f"-o {tmp_path / output}: Parquet is written; give a file name that ends in .parquet"
    assert str(result.exception) == said
    assert set(tmp_path.iterdir()) == before


def test_neither_threads_nor_room_change_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(2)
    bases = [[rng.choice(LONG.split()) + str(rng.randint(0, 99)) for _ in range(40)] for _ in range(60)]
    texts = [" ".join(rng.sample(base, 40)[: rng.randint(0, 1)] + base) for base in bases for _ in range(30)]
    path = write_lines(tmp_path / "in.jsonl", [{"text": text} for text in texts])
    one, two, five = (
        judge_pieces(files.pieces([path], None), 0.8, tmp_path, threads) for threads in (1, 2, 5)
    )
    assert one.equals(two)
    assert one.equals(five)
    monkeypatch.setattr(signed, "HELD_BYTES", 20_000)
    monkeypatch.setattr(files, "BLOCK_BYTES", 1_000)
    assert one.equals(judge_pieces(files.pieces([path], None), 0.8, tmp_path, 2))
    assert list(tmp_path.iterdir()) == [path]
