"""Preference pairs as TRL reads them: the form, what is left out, how much longer the chosen answers are."""

import json
from pathlib import Path

import duckdb
import polars as pl
import pytest

from hydata.errors import WarehouseError
from hydata.export.preferences import PairsManifest, export_preferences
from hydata.export.provenance import Provenance
from hydata.schema import (
    CONVERSATIONS,
    DECISIONS,
    DEFAULT_SYSTEM_PROMPT,
    PREFERENCES,
    Conversation,
    Message,
    conversations_frame,
)
from hydata.warehouse import create_view, write_frame

PROVENANCE = Provenance("main", "ab" * 32, None)


def said(*turns: tuple[str, str], uri: str = "u") -> Conversation:
    return Conversation("dataset", tuple(Message(role, content) for role, content in turns), uri=uri)


def answered(text: str, asked: str = "为什么海水是咸的？") -> Conversation:
    return said(("user", asked), ("assistant", text))


def export(
    folder: Path, *pairs: tuple[Conversation, Conversation], kept: bool = True
) -> tuple[PairsManifest, list[dict]]:
    conversations = {c.record_id: c for pair in pairs for c in pair}
    frames = {
        "conversations": (CONVERSATIONS, conversations_frame(conversations.values())),
        "preferences": (
            PREFERENCES,
            pl.DataFrame(
                [(c.record_id, r.record_id, "samples", 0.5) for c, r in pairs], PREFERENCES, orient="row"
            ),
        ),
        "decisions": (
            DECISIONS,
            pl.DataFrame(
                [(c.record_id, "final", "kept" if kept else "dropped", []) for c, _ in pairs],
                DECISIONS,
                orient="row",
            ),
        ),
    }
    with duckdb.connect() as con:
        for name, (schema, frame) in frames.items():
            write_frame(folder / f"{name}.parquet", frame)
            create_view(con, name, schema, [folder / f"{name}.parquet"])
        manifest = export_preferences(con, folder / "pairs.jsonl", PROVENANCE)
    return manifest, [json.loads(line) for line in (folder / "pairs.jsonl").read_bytes().splitlines()]


def test_the_form_of_a_dpo_trainer(tmp_path: Path) -> None:
    better, worse = answered("河流带来盐分。"), answered("不知道 \u2028 {{ x }} </s>")
    manifest, rows = export(tmp_path, (better, worse))
    assert rows == [
        {
            "prompt": [
                {"role": "system", "content": DEFAULT_SYSTEM_PROMPT},
                {"role": "user", "content": "为什么海水是咸的？"},
            ],
            "chosen": [{"role": "assistant", "content": "河流带来盐分。"}],
            "rejected": [{"role": "assistant", "content": "不知道 \u2028 {{ x }} </s>"}],
            "margin": 0.5,
            "source": "samples",
            "chosen_id": better.record_id,
            "rejected_id": worse.record_id,
        }
    ]
    assert manifest.rows == 1
    assert manifest.dropped == {}
    assert manifest.sources == {"samples": 1}
    assert json.loads((tmp_path / "pairs.manifest.json").read_text())["sha256"] == manifest.sha256


def test_several_turns_stand_in_the_prompt(tmp_path: Path) -> None:
    turns = (("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"))
    pair = said(*turns, ("assistant", "d")), said(*turns, ("assistant", "e"))
    _, (row,) = export(tmp_path, pair)
    assert [m["content"] for m in row["prompt"]] == ["Be brief.", "a", "b", "c"]


def test_the_mean_difference_of_lengths_is_told(tmp_path: Path) -> None:
    manifest, _ = export(
        tmp_path,
        (answered("x" * 100, "1"), answered("y" * 40, "1")),
        (answered("灯" * 10, "2"), answered("y" * 20, "2")),
    )
    assert manifest.length_difference == 25
    assert manifest.chosen_longer == 0.5


@pytest.mark.parametrize(
    ("chosen", "rejected", "kept", "reason"),
    [
        (answered("a"), answered("b"), False, "chosen_not_kept"),
        (answered("a"), answered("b <|eos|>"), True, "control_token"),
        (answered("a"), answered("  "), True, "malformed"),
        (answered("a"), answered("b", "another?"), True, "prompts_differ"),
        (answered("a"), said(("user", "为什么海水是咸的？"), uri="v"), True, "malformed"),
    ],
)
def test_what_is_no_pair_is_left_out_with_a_reason(
    tmp_path: Path, chosen: Conversation, rejected: Conversation, kept: bool, reason: str
) -> None:
    manifest, rows = export(tmp_path, (chosen, rejected), kept=kept)
    assert rows == []
    assert manifest.dropped == {reason: 1}
    assert manifest.length_difference is None
    listed = pl.read_parquet(tmp_path / "pairs.dropped.parquet")
    assert listed.rows() == [(chosen.record_id, rejected.record_id, reason)]


def test_without_pairs_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no preference pairs here"):
        export(tmp_path)
    assert not list(tmp_path.glob("pairs.*"))
