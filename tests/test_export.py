"""The export: what the trainer reads, what is dropped, and when nothing is written."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import duckdb
import polars as pl
import pytest

from hydata.errors import WarehouseError
from hydata.export.messages import Manifest, export_messages
from hydata.export.provenance import Provenance, read_provenance, record_provenance
from hydata.recipe import table_schemas
from hydata.schema import (
    CONTROL_TOKENS,
    CONVERSATIONS,
    DEFAULT_SYSTEM_PROMPT,
    MIXES,
    Conversation,
    Message,
    Role,
    ToolCall,
    conversations_frame,
)
from hydata.warehouse import create_view, write_frame

PROVENANCE = Provenance("main", "ab" * 32, None)


def conversation(*turns: tuple[Role, str], tools: str | None = None) -> Conversation:
    return Conversation("dataset", tuple(Message(*turn) for turn in turns), uri="set.jsonl", tools=tools)


GOOD = conversation(("user", "Why?"), ("assistant", "Because."))


def warehouse(folder: Path, mixed: pl.DataFrame, conversations: pl.DataFrame) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for name, schema in table_schemas().items():
        create_view(con, name, schema, [])
    for name, schema, frame in (("mixes", MIXES, mixed), ("conversations", CONVERSATIONS, conversations)):
        write_frame(folder / f"{name}.parquet", frame)
        create_view(con, name, schema, [folder / f"{name}.parquet"])
    return con


def mix_of(conversations: Sequence[Conversation], weight: float = 1.0) -> pl.DataFrame:
    rows = [("main", c.record_id, weight) for c in conversations]
    return pl.DataFrame(rows, schema=MIXES, orient="row")


def export(folder: Path, *conversations: Conversation) -> tuple[Manifest, list[list[dict[str, str]]]]:
    """Export these conversations: the manifest, and the messages of each line."""
    with warehouse(folder, mix_of(conversations), conversations_frame(conversations)) as con:
        manifest = export_messages(con, "main", folder / "mix.jsonl", PROVENANCE)
    lines = (folder / "mix.jsonl").read_bytes().split(b"\n")
    assert lines.pop() == b""
    return manifest, [json.loads(line)["messages"] for line in lines]


def test_the_trainers_form(tmp_path: Path) -> None:
    long = conversation(
        ("system", "Answer in rhyme."), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")
    )
    _, rows = export(tmp_path, GOOD, long)
    assert {"role": "system", "content": DEFAULT_SYSTEM_PROMPT} in (messages[0] for messages in rows)
    by_turns = {len(messages): messages for messages in rows}
    assert by_turns[3][1:] == [
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "Because."},
    ]
    assert [tuple(m.values()) for m in by_turns[5]] == [
        ("system", "Answer in rhyme."),
        ("user", "1"),
        ("assistant", "2"),
        ("user", "3"),
        ("assistant", "4"),
    ]


CALL = Message("assistant", "", tool_calls=(ToolCall("look_up", "{}"),))


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        *(
            (conversation(("user", f"What is {token}?"), ("assistant", "A token.")), "control_token")
            for token in CONTROL_TOKENS
        ),
        (conversation(("user", "Go on"), ("assistant", "so<|eos|>")), "control_token"),
        (conversation(("system", "<|extra_0|>"), ("user", "a"), ("assistant", "b")), "control_token"),
        (conversation(("user", "a"), ("assistant", "b"), tools="[]"), "tool_calls"),
        (dataclasses.replace(GOOD, messages=(*GOOD.messages, Message("user", "?"), CALL)), "tool_calls"),
        (conversation(("user", "a"), ("tool", "b"), ("assistant", "c")), "tool_calls"),
        (conversation(("assistant", "a"), ("user", "b")), "malformed"),
        (conversation(("user", "a"), ("user", "b")), "malformed"),
        (conversation(("user", "a"), ("assistant", "b"), ("user", "c")), "malformed"),
        (conversation(("user", "a"), ("assistant", " \n\u3000\u200b")), "malformed"),
        (conversation(("system", ""), ("user", "a"), ("assistant", "b")), "malformed"),
        (conversation(("system", "x"), ("system", "y"), ("user", "a"), ("assistant", "b")), "malformed"),
        (conversation(("user", "a"), ("system", "x"), ("assistant", "b")), "malformed"),
        (conversation(("system", "x")), "malformed"),
        (conversation(), "malformed"),
    ],
)
def test_what_the_trainer_cannot_read_is_dropped_with_a_reason(
    tmp_path: Path, bad: Conversation, reason: str
) -> None:
    manifest, rows = export(tmp_path, GOOD, bad)
    assert manifest.dropped == {reason: 1}
    assert manifest.rows == len(rows) == 1
    listed = pl.read_parquet(tmp_path / "mix.dropped.parquet")
    assert listed.rows() == [(bad.record_id, reason)]


def test_text_is_written_as_it_is_one_row_a_line(tmp_path: Path) -> None:
    text = '灯塔 \u2028 café\u2029\x85 \x00 \r\n "quoted" \\ \U0001f600 </s> {{x}}'
    _, rows = export(tmp_path, conversation(("user", text), ("assistant", text)))
    assert [m["content"] for m in rows[0][1:]] == [text, text]
    data = (tmp_path / "mix.jsonl").read_bytes()
    assert "灯塔 \u2028 café".encode() in data


def test_the_manifest_describes_the_file(tmp_path: Path) -> None:
    # 7 + 17 characters of the default system prompt and the English turn, six Chinese ones
    said = conversation(("user", "为什么海水咸"), ("assistant", "Salt."))
    manifest, rows = export(tmp_path, said, conversation(("user", "alone")))
    data = (tmp_path / "mix.jsonl").read_bytes()
    assert manifest == Manifest(
        file="mix.jsonl",
        mix="main",
        rows=len(rows),
        tokens=round(len(DEFAULT_SYSTEM_PROMPT) * 0.25 + 6 * 0.6 + 5 * 0.25),
        tokenizer="estimated",
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        dropped={"malformed": 1},
        contamination="mix.contamination.json",
        contamination_sha256=hashlib.sha256((tmp_path / "mix.contamination.json").read_bytes()).hexdigest(),
        **PROVENANCE.told(),
    )
    assert json.loads((tmp_path / "mix.manifest.json").read_text()) == dataclasses.asdict(manifest)
    assert sorted(p.name for p in tmp_path.glob("mix.*")) == [
        "mix.contamination.json",
        "mix.dropped.parquet",
        "mix.jsonl",
        "mix.manifest.json",
    ]


def test_without_a_benchmark_the_certificate_says_that_nothing_was_compared(tmp_path: Path) -> None:
    manifest, _ = export(tmp_path, GOOD)
    told = json.loads((tmp_path / manifest.contamination).read_bytes())
    assert told["statement"].startswith("No benchmark was compared with mix main")
    assert (told["benchmarks"], told["encoder"], told["sha256"]) == ([], None, manifest.sha256)
    assert told["in_mix"] == {"rows": 1, "compared": 0, "meeting_a_condition": 0}


def test_rows_are_in_the_order_of_ids_without_those_left_out(tmp_path: Path) -> None:
    said = [conversation(("user", f"{i}"), ("assistant", "yes")) for i in range(50)]
    mixed = pl.concat([mix_of(said[:40]), mix_of(said[40:], weight=0)])
    with warehouse(tmp_path, mixed, conversations_frame(said)) as con:
        export_messages(con, "main", tmp_path / "mix.jsonl", PROVENANCE)
    asked = [
        json.loads(x)["messages"][1]["content"] for x in (tmp_path / "mix.jsonl").read_bytes().splitlines()
    ]
    assert asked == [c.messages[0].content for c in sorted(said[:40], key=lambda c: c.record_id)]


def test_an_unknown_mix_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with (
        warehouse(tmp_path, mix_of([GOOD]), conversations_frame([GOOD])) as con,
        pytest.raises(WarehouseError, match=r"no mix 'other' here; mixes: main"),
    ):
        export_messages(con, "other", tmp_path / "mix.jsonl", PROVENANCE)
    assert not list(tmp_path.glob("mix.*"))


@pytest.mark.parametrize(
    ("conversations", "said"),
    [([], "1 of its 1 records.*older than the conversations"), ([GOOD, GOOD], "occur more than once")],
)
def test_a_mix_whose_records_are_not_there_once_leaves_the_last_export_alone(
    tmp_path: Path, conversations: list[Conversation], said: str
) -> None:
    export(tmp_path, GOOD)
    before = {path: path.read_bytes() for path in tmp_path.glob("mix.*")}
    with (
        warehouse(tmp_path, mix_of([GOOD]), conversations_frame(conversations)) as con,
        pytest.raises(WarehouseError, match=said),
    ):
        export_messages(con, "main", tmp_path / "mix.jsonl", PROVENANCE)
    assert {path: path.read_bytes() for path in tmp_path.glob("mix.*")} == before


def test_provenance_is_of_the_recipe_that_was_loaded(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("seed = 1\n")
    record_provenance(tmp_path, "main", file)
    assert read_provenance(tmp_path, "main").recipe_sha256 == hashlib.sha256(b"seed = 1\n").hexdigest()
    file.unlink()
    record_provenance(tmp_path, "main", file, recipe_sha256="cd" * 32)
    assert read_provenance(tmp_path, "main").recipe_sha256 == "cd" * 32
    record_provenance(tmp_path, "main", file)
    assert read_provenance(tmp_path, "main").recipe_sha256 == "unknown"
    with pytest.raises(WarehouseError, match="run recipe other again"):
        read_provenance(tmp_path, "other")
