"""Judges on files: what is read as a row, and that a row comes out for each row in, in order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from hydata.cli import app
from hydata.curation import files, language
from hydata.curation.alone import judge_files
from hydata.curation.files import ROWS
from hydata.curation.threads import FEW, apart
from hydata.errors import ConfigError, WarehouseError


def _written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _read(path: Path, column: str | None = None) -> pl.DataFrame:
    return pl.concat(piece.rows() for piece in files.pieces([path], column))


def test_a_text_has_no_roles(tmp_path: Path) -> None:
    rows = _read(_written(tmp_path / "in.jsonl", {"text": "Tea."}, {"text": None}, {"other": 1}))
    assert rows.schema == ROWS
    assert rows["text"].to_list() == ["Tea.", None, None]
    assert rows.select("messages", "instruction", "response").null_count().row(0) == (3, 3, 3)


def test_alpaca_columns_are_a_conversation(tmp_path: Path) -> None:
    path = _written(
        tmp_path / "in.jsonl",
        {"instruction": "Add.", "input": "", "output": "3"},
        {"instruction": "Name it.", "input": "茶", "output": "Tea.", "system": "Be brief."},
        {"instruction": "Why?"},
        {"instruction": None, "output": None},
        {"instruction": "Again.", "response": "Again."},
    )
    rows = _read(path)
    assert rows["instruction"].to_list() == ["Add.", "Name it.\n\n茶", "Why?", None, "Again."]
    assert rows["response"].to_list() == ["3", "Tea.", None, None, "Again."]
    assert rows["text"].to_list()[1] == "Be brief.\n\nName it.\n\n茶\n\nTea."
    roles = [[turn["role"] for turn in turns] if turns is not None else None for turns in rows["messages"]]
    assert roles == [
        ["user", "assistant"],
        ["system", "user", "assistant"],
        ["user"],
        None,
        ["user", "assistant"],
    ]


def test_messages_keep_their_tool_calls(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": {"zone": "UTC"}}}
    path = _written(
        tmp_path / "in.jsonl",
        {
            "messages": [
                {"role": "user", "content": "What time is it?"},
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "content": "12:00", "tool_call_id": "1"},
                {"role": "assistant", "content": "Noon."},
            ],
            "finish_reason": "stop",
        },
        {"messages": []},
        {"messages": [{"role": "user", "content": "Hello"}]},
    )
    rows = _read(path)
    assert [len(turn["tool_calls"] or []) for turn in rows["messages"][0]] == [0, 1, 0, 0]
    assert rows["messages"][0][1]["tool_calls"][0] == {
        "id": "1",
        "name": "clock",
        "arguments": '{"zone":"UTC"}',
    }
    assert rows["response"].to_list() == ["Noon.", None, None]
    assert rows["text"].to_list() == ["What time is it?\n\n12:00\n\nNoon.", None, "Hello"]
    assert rows["finish_reason"].to_list() == ["stop", None, None]
    parquet = tmp_path / "in.parquet"
    rows.select("messages", "finish_reason").write_parquet(parquet)
    assert _read(parquet).equals(rows)


@pytest.mark.parametrize("name", ["language"])
def test_a_row_for_each_row_in_order(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 200)
    texts = [f"This is sentence number {n}." if n % 3 else None for n in range(100)]
    one = _written(tmp_path / "one.jsonl", *({"text": text} for text in texts))
    two = tmp_path / "two.parquet"
    pl.DataFrame({"text": ["二零二六年十一月", None, "C'est la vie, mon ami."]}).write_parquet(two)
    out = tmp_path / "out.parquet"
    done = CliRunner().invoke(app, ["judge", name, str(one), str(two), "-o", str(out)])
    assert done.exit_code == 0, done.output
    found = pl.read_parquet(out)
    assert found["row"].to_list() == list(range(103))
    if name == "language":
        assert found["language"].to_list() == [text and "en" for text in texts] + ["zh", None, "fr"]


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    path = _written(tmp_path / "in.jsonl", {"text": "Tea."})
    for wrong in ("nothing", "=1", "least=1"):
        done = CliRunner().invoke(
            app, ["judge", "language", str(path), "-o", str(tmp_path / "out.parquet"), "--set", wrong]
        )
        assert done.exit_code == 1 or done.exit_code == 2, wrong
        assert not (tmp_path / "out.parquet").exists()


def test_personal_data_in_reasoning_and_tool_calls_is_found(tmp_path: Path) -> None:
    call = {
        "id": "1",
        "type": "function",
        "function": {"name": "mail", "arguments": '{"to": "bob@corp.example"}'},
    }
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "Write to Bob."}, {"type": "image_url"}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning": "His desk is at ann@corp.example.",
            "tool_calls": [call],
        },
    ]
    path = _written(tmp_path / "in.jsonl", {"messages": turns}, {"messages": turns[:1]}, {"messages": None})
    out = tmp_path / "out.parquet"
    for given in (path, tmp_path / "in.parquet"):
        _read(path).select("messages").write_parquet(tmp_path / "in.parquet")
        done = CliRunner().invoke(app, ["judge", "privacy", str(given), "-o", str(out)])
        assert done.exit_code == 0, done.output
        found = pl.read_parquet(out)
        assert found["total"].to_list() == [2, 0, None]
        masked = 'Write to Bob.\n\nHis desk is at [EMAIL_1].\n\n{"to": "[EMAIL_2]"}'
        assert found["anonymized"].to_list() == [masked, "Write to Bob.", None]


def test_calls_and_reasoning_in_every_spelling(tmp_path: Path) -> None:
    nested = {"function": {"name": "mail", "arguments": {"to": "ann@corp.example"}}}
    flat = {"id": "2", "name": "mail", "arguments": {"to": "ann@corp.example"}}
    turns = [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Ask bob@corp.example.",
            "tool_calls": calls,
        }
        for calls in ([nested], [flat], [{**flat, "arguments": json.dumps(flat["arguments"])}])
    ]
    path = _written(tmp_path / "in.jsonl", *({"messages": [turn]} for turn in turns))
    rows = _read(path)
    for kind in (nested, flat):
        frame = pl.DataFrame({"messages": [[{**turns[0], "tool_calls": [kind]}]]})
        frame.write_parquet(tmp_path / "in.parquet")
        rows = pl.concat([rows, _read(tmp_path / "in.parquet")])
    for (turn,) in rows["messages"]:
        assert turn["reasoning"] == "Ask bob@corp.example."
        assert turn["tool_calls"][0]["name"] == "mail"
        assert json.loads(turn["tool_calls"][0]["arguments"]) == {"to": "ann@corp.example"}


def test_every_text_of_a_part_is_read(tmp_path: Path) -> None:
    content = [
        {"type": "input_text", "text": "Tea?"},
        {"text": "Or water?"},
        {"type": "refusal", "refusal": "No."},
        {"type": "input_audio", "input_audio": {"data": ""}},
        {"type": "text", "text": None},
    ]
    path = _written(tmp_path / "in.jsonl", {"messages": [{"role": "user", "content": content}]})
    assert _read(path)["text"].to_list() == ["Tea?\n\nOr water?\n\nNo."]
    for part in (
        {"type": "tool_result", "content": "ann@corp.example"},
        {"text": 5},
        {"type": []},
        "Tea?",
        1,
    ):
        turn = {"role": "user", "content": [*content, part]}
        _written(path, {"messages": []}, {"messages": [turn]})
        with pytest.raises(ConfigError, match=r"line 2.* a part of a content") as raised:
            _read(path)
        assert "ann@" not in str(raised.value)


def test_arguments_keep_their_digits(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    arguments = '{"n":123456789012345678901234567,"x":[1.10,-0.0,1E5,NaN],"s":"\\ud83d\\ude00 \\ud800 1.10"}'
    turn = f'{{"role": "user", "content": [], "tool_calls": [{{"name": "f", "arguments": {arguments}}}]}}'
    path.write_text(f'{{"score": NaN, "messages": [{turn}], "n": 1.10}}\n', "utf-8")
    (read,) = _read(path)["messages"][0]
    assert read["tool_calls"][0]["arguments"] == arguments.replace("\\ud83d\\ude00 \\ud800", "😀 \ufffd")
    twice = turn.replace('"x"', '"n"')
    path.write_text(f'{{"messages": []}}\n{{"messages": [{twice}]}}\n', "utf-8")
    with pytest.raises(ConfigError, match=r"line 2.*a key twice"):
        _read(path)
    deep = "[" * 2_000 + "]" * 2_000
    path.write_text(f'{{"messages": []}}\n{{"messages": [{turn}], "deep": {deep}}}\n', "utf-8")
    with pytest.raises(ConfigError, match=r"line 2.*hundreds deep"):
        _read(path)


def test_what_is_nested_too_deep_is_refused_and_ends_no_process(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    for brackets in ("[]", ('{"a":', "}")):
        deep = brackets[0] * 200_000 + "1" + brackets[1] * 200_000
        path.write_text(f'{{"text": "]\\"[[", "deep": {deep}}}\n', "utf-8")
        with pytest.raises(ConfigError, match=r"in.jsonl.*deeper than 2,000"):
            _read(path)
        path.write_text(f'{{"text": "Tea?"}}\n{{"text": "[[\\"[[", "deep": {deep}}}\n', "utf-8")
        with pytest.raises(ConfigError, match=r"line 2.*deeper than 2,000"):
            _read(path)
    many = json.dumps({"text": "[" * 5_000, "some": [[[]]]}) + "\n"
    path.write_text(many * 3_000, "utf-8")
    assert len(_read(path)) == 3_000


def test_what_parquet_does_not_hold_as_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.parquet"
    turn = {"role": "user", "content": "Tea?"}
    for wrong, said in (
        ({"content": [{"type": "text", "text": "Tea?"}]}, "JSONL"),
        ({"reasoning": ["Tea?"]}, "reasoning of messages holds"),
        ({"tool_calls": "[]"}, "tool_calls hold"),
        ({"tool_calls": [{"name": "f", "arguments": [1]}]}, "arguments of messages holds"),
    ):
        pl.DataFrame({"messages": [[{**turn, **wrong}]]}).write_parquet(path)
        with pytest.raises(ConfigError, match=said):
            _read(path)
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": arguments}]}
        for arguments in ({"to": "é"}, None)
    ]
    pl.DataFrame({"messages": [[turn] for turn in turns]}).write_parquet(path)
    rows = _read(path)
    assert [turn["tool_calls"][0]["arguments"] for (turn,) in rows["messages"]] == ['{"to":"é"}', None]
    assert rows["text"].to_list() == ["", ""]
    turns[0]["tool_calls"][0]["arguments"] = {"to": [b"Tea?"]}
    pl.DataFrame({"messages": [turns]}).write_parquet(path)
    with pytest.raises(ConfigError, match="arguments of messages holds"):
        _read(path)
    pl.DataFrame({"messages": [[{**turn, "tool_calls": []}]]}).write_parquet(path)
    assert _read(path)["text"].to_list() == ["Tea?"]


def test_an_error_names_columns_and_no_other_keys(tmp_path: Path) -> None:
    path = _written(tmp_path / "in.jsonl", {"secret.person@example.org": 1, "13812345678": 1, "body": "Tea."})
    with pytest.raises(ConfigError, match="it has body, 2 that may be no names; name one") as raised:
        _read(path)
    assert "secret" not in str(raised.value)


def test_an_error_tells_where_and_not_what(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "Tea."}\n{"text": "ann@corp.example", "text": 5}\n', "utf-8")
    done = CliRunner().invoke(app, ["judge", "privacy", str(path), "-o", str(tmp_path / "out.parquet")])
    assert done.exit_code != 0
    assert "line 2" in str(done.exception)
    assert "ann@" not in str(done.exception)
    for missing in ("none.jsonl", "."):
        where = tmp_path / "new" / "out.parquet"
        done = CliRunner().invoke(app, ["judge", "privacy", str(tmp_path / missing), "-o", str(where)])
        assert isinstance(done.exception, ConfigError)
        assert not where.parent.exists()


@pytest.mark.parametrize(
    ("name", "assignment"),
    [
        ("rules", "lorem_ipsum={a=1}"),
        ("rules", "repeated_lines=[[1],[2]]"),
        ("rules", "lorem_ipsum=nan"),
        ("rules", "lorem_ipsum=1e400"),
        ("privacy", "kinds=[]"),
        ("toxicity", "model="),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(name: str, assignment: str, tmp_path: Path) -> None:
    path = _written(tmp_path / "in.jsonl", {"text": "Tea."})
    out = tmp_path / "out.parquet"
    done = CliRunner().invoke(app, ["judge", name, str(path), "-o", str(out), "--set", assignment])
    assert isinstance(done.exception, ConfigError), done.exception
    assert not out.exists()


def test_processes_judge_as_threads_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 400)
    texts = [
        ("Of the lake we know little.", "湖水很深。", "Vom See wissen wir wenig.")[i % 3] for i in range(60)
    ]
    path = _written(tmp_path / "in.jsonl", *({"text": text} for text in texts))
    assert len(list(files.pieces([path], None))) > FEW
    for processes in (1, 2):
        counts = judge_files(
            language.ALONE, language.LanguageSettings(), [path], None, tmp_path / f"{processes}", processes
        )
        assert counts["rows"] == 60
    one, two = (pl.read_parquet(tmp_path / name) for name in "12")
    assert one.equals(two)
    assert one["language"].to_list() == ["en", "zh", "de"] * 20


def test_an_error_in_a_process_is_told_and_a_dead_one_as_well(tmp_path: Path) -> None:
    assert list(apart(abs, range(-9, 0), 2)) == list(range(9, 0, -1))
    with pytest.raises(ZeroDivisionError):
        list(apart((1).__floordiv__, range(8), 2))
    with pytest.raises(WarehouseError, match="one of 2 processes has died"):
        list(apart(os._exit, range(8), 2))
