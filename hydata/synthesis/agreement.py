"""Agreement (self-consistency): do several answers to one objective question come out the same?

After Wang et al. 2023 (arXiv 2203.11171); Hunyuan-Large keeps it beside the critique for objective tasks
(section 2.1.1, step 4). No model is asked. All answers to one instruction stand in one shard; their
final answers are extracted and grouped by normalised form, each extracted one is a vote. There is no
verdict (``abstained``) when the question is not objective, when fewer than ``min_votes`` answers could be
extracted, and when the largest group is not the largest alone.
"""

from __future__ import annotations

import polars as pl
from pydantic import Field

from hydata.schema import JUDGEMENT_KEY, Output, judgements_frame, response_text
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.answers import answer_form, asks_percent, extract_answer

NAME = "agreement"
VERSION = 1

AGREEMENT = pl.Schema(
    {
        **JUDGEMENT_KEY,
        "objective": pl.Boolean(),
        "answer": pl.String(),
        "samples": pl.Int32(),
        "votes": pl.Int32(),
        "share": pl.Float32(),
        "majority": pl.Boolean(),
        "abstained": pl.Boolean(),
    }
)


class AgreementSettings(Settings):
    """``min_votes``: with fewer extracted answers there is no verdict; ``min_share``: nor if the
    largest group has less than this part of the votes."""

    min_votes: int = Field(default=2, ge=1)
    min_share: float = Field(default=0.0, ge=0, le=1)


def _answers(conversations: pl.DataFrame) -> pl.DataFrame:
    """``record_id``, ``question`` (the group), ``objective`` and ``answer`` of each row."""
    last_user = (
        pl.col("messages")
        .list.eval(pl.element().filter(pl.element().struct.field("role") == "user").struct.field("content"))
        .list.last()
        .fill_null("")
    )
    frame = conversations.select(
        "record_id",
        # Answers to one instruction share its id; a dataset's row is a group of its own.
        question=pl.when(pl.col("step") == "respond")
        .then(pl.col("parent_ids").list.first())
        .otherwise(pl.col("record_id"))
        .fill_null(pl.col("record_id")),
        asked=last_user,
        text=response_text(),
        cut=pl.col("finish_reason").eq_missing("length"),
    )
    forms = [answer_form(asked) for asked in frame["asked"]]
    answers = [
        # The last number of a text that was cut off is any number.
        None if form is None or text is None or cut else extract_answer(text, form, asks_percent(asked))
        for form, text, cut, asked in zip(forms, frame["text"], frame["cut"], frame["asked"], strict=True)
    ]
    return frame.select(
        "record_id",
        "question",
        objective=pl.Series([form is not None for form in forms], dtype=pl.Boolean),
        answer=pl.Series(answers, dtype=pl.String),
    )


async def run(conversations: pl.DataFrame, settings: AgreementSettings, context: Context) -> Output:
    """Complete conversations to one row of ``AGREEMENT`` each.

    ``answer`` is the record's own; ``share`` is the largest group's part of the votes; ``majority`` says
    whether the record belongs to it, null without a verdict: a record nobody contradicts is not in a
    minority.
    """
    votes = pl.col("answer").count()
    measured = _answers(conversations).with_columns(size=votes.over("question", "answer"))
    # One row an extracted answer: its group's size, and how many groups share the largest one.
    groups = measured.drop_nulls("answer").unique(["question", "answer"])
    best = groups.group_by("question").agg(
        largest=pl.col("size").max(), leaders=(pl.col("size") == pl.col("size").max()).sum()
    )
    measured = (
        measured.with_columns(
            samples=pl.len().over("question").cast(pl.Int32), votes=votes.over("question").cast(pl.Int32)
        )
        .join(best, on="question", how="left", maintain_order="left")
        .with_columns(share=(pl.col("largest") / pl.col("votes")).cast(pl.Float32))
        .with_columns(
            abstained=(
                (pl.col("votes") < settings.min_votes)
                | (pl.col("leaders") != 1)
                | (pl.col("share") < settings.min_share)
            ).fill_null(True)
        )
        .with_columns(
            majority=pl.when(~pl.col("abstained")).then(
                pl.col("answer").is_not_null() & (pl.col("size") == pl.col("largest"))
            )
        )
    )
    key = judgements_frame(measured["record_id"], NAME, str(VERSION))
    return Output(key.hstack(measured.select(n for n in AGREEMENT if n not in JUDGEMENT_KEY)))


STAGE = MapStage(
    name=NAME,
    table="agreement",
    columns=AGREEMENT,
    version=VERSION,
    settings=AgreementSettings,
    run=run,
    computes=True,
)
