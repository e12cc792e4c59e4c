"""Agreement (self-consistency): do several answers to one objective question come out the same?

After Wang et al. 2023 (arXiv 2203.11171); Hunyuan-Large keeps it beside the critique for objective tasks
(section 2.1.1, step 4). No model is asked. All answers to one instruction stand in one shard; their
final answers are extracted (``answers``) and counted by equivalence class (``votes``), the instruction's
reference answer among them. There is no verdict (``abstained``) when the question is not objective, when
fewer than ``min_votes`` answers could be extracted, when the largest class is not the largest alone, and when
its share is below ``min_share``.

Where ``run_code`` allows it, answers to questions with tests (``assert`` lines in the reference or the
question) are run in a ``sandbox``. The tests know the answer, so they are the vote: an answer that passes
is in the majority, any other is not, and there is always a verdict.

The votes here are equal; ``weigh`` weights them over the whole snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from pydantic import Field

from hydata.schema import JUDGEMENT_KEY, Output, judgements_frame, response_text
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis import sandbox
from hydata.synthesis.answers import Answer, asks_percent, extract_answer, read_reference
from hydata.synthesis.votes import form_of, tally

NAME = "agreement"
VERSION = 3

AGREEMENT = pl.Schema(
    {
        **JUDGEMENT_KEY,
        "question_id": pl.String(),
        "model": pl.String(),
        "objective": pl.Boolean(),
        "answer": pl.String(),
        "class": pl.Int32(),
        "samples": pl.Int32(),
        "votes": pl.Int32(),
        "classes": pl.List(pl.Int32()),
        "share": pl.Float32(),
        "majority_answer": pl.String(),
        "majority": pl.Boolean(),
        "reference": pl.Boolean(),
        "abstained": pl.Boolean(),
    }
)


class AgreementSettings(Settings):
    """``min_votes``: with fewer extracted answers there is no verdict; ``min_share``: nor if the
    largest class has less than this part of the votes. ``run_code``: run answers that come with tests."""

    min_votes: int = Field(default=2, ge=1)
    min_share: float = Field(default=0.0, ge=0, le=1)
    run_code: bool = False


def _check(settings: AgreementSettings, context: Context) -> None:
    if settings.run_code:
        sandbox.check()


def _rows(conversations: pl.DataFrame) -> pl.DataFrame:
    """What is needed of each row; ``question_id`` is the group."""
    last_user = (
        pl.col("messages")
        .list.eval(pl.element().filter(pl.element().struct.field("role") == "user").struct.field("content"))
        .list.last()
        .fill_null("")
    )
    return conversations.select(
        "record_id",
        # Answers to one instruction share its id; a dataset's row is a group of its own.
        question_id=pl.when(pl.col("step") == "respond")
        .then(pl.col("parent_ids").list.first())
        .otherwise(pl.col("record_id"))
        .fill_null(pl.col("record_id")),
        model="model",
        asked=last_user,
        text=response_text(),
        reference_text=pl.col("reference").struct.field("answer"),
        # The last number of a text that was cut off is any number.
        cut=pl.col("finish_reason").eq_missing("length"),
    )


def _judge(rows: Sequence[Mapping[str, Any]], settings: AgreementSettings) -> list[dict[str, Any]]:
    """The measures of all answers to one question."""
    asked, known = rows[0]["asked"], rows[0]["reference_text"]
    tests = sandbox.tests_of(known, asked) if settings.run_code else ()
    if tests:
        return _tested(rows, tests)
    form = form_of(asked, known)
    percent = asks_percent(asked)

    def read(row: Mapping[str, Any]) -> Answer | None:
        if form is None or row["text"] is None or row["cut"]:
            return None
        return extract_answer(row["text"], form, percent)

    answers = [read(row) for row in rows]
    reference = None if form is None or known is None else read_reference(known, form, percent)
    counted = tally([*answers, reference])
    *found, right = counted.classes
    abstained = counted.abstains(settings.min_votes, settings.min_share)
    common = {
        "objective": form is not None,
        "samples": len(rows),
        "votes": counted.votes,
        "classes": counted.sizes,
        "share": counted.share,
        "majority_answer": None if abstained else counted.answers[0],
        "abstained": abstained,
    }
    return [
        {
            **common,
            "record_id": row["record_id"],
            "answer": None if answer is None else answer.text,
            "class": c,
            "majority": None if abstained else c == 0,
            "reference": None if right is None else c == right,
        }
        for row, answer, c in zip(rows, answers, found, strict=True)
    ]


def _tested(rows: Sequence[Mapping[str, Any]], tests: tuple[str, ...]) -> list[dict[str, Any]]:
    """The same by tests; only what passes them all votes, and the tests themselves do."""
    passed = [
        row["text"] is not None and not row["cut"] and sandbox.passes(row["text"], tests) for row in rows
    ]
    common = {
        "objective": True,
        "samples": len(rows),
        "votes": sum(passed) + 1,
        "classes": [sum(passed) + 1],
        "share": 1.0,
        "majority_answer": "passes",
        "abstained": False,
    }
    return [
        {
            **common,
            "record_id": row["record_id"],
            "answer": "passes" if passes else None,
            "class": 0 if passes else None,
            "majority": passes,
            "reference": passes,
        }
        for row, passes in zip(rows, passed, strict=True)
    ]


async def run(conversations: pl.DataFrame, settings: AgreementSettings, context: Context) -> Output:
    """Complete conversations to one row of ``AGREEMENT`` each.

    ``answer`` is the record's own and ``class`` the class it is in, 0 the largest; ``classes`` are the votes
    of each, descending, and ``share`` the largest one's part of them, references included; ``majority``
    says whether the record belongs to it, null without a verdict: a record nobody contradicts is not in a
    minority. ``reference`` says whether it agrees with the reference answer, null without one.
    """
    frame = _rows(conversations)
    judged: list[dict[str, Any]] = []
    for group in frame.partition_by("question_id", maintain_order=True):
        judged += _judge(group.to_dicts(), settings)
    measures = pl.DataFrame(
        judged,
        schema={n: t for n, t in AGREEMENT.items() if n not in JUDGEMENT_KEY} | {"record_id": pl.String()},
    ).drop("question_id", "model")
    joined = frame.join(measures, on="record_id", how="left", maintain_order="left")
    key = judgements_frame(frame["record_id"], NAME, str(VERSION))
    return Output(key.hstack(joined.select(n for n in AGREEMENT if n not in JUDGEMENT_KEY)))


STAGE = MapStage(
    name=NAME,
    table="agreement",
    columns=AGREEMENT,
    version=VERSION,
    settings=AgreementSettings,
    run=run,
    check=_check,
    computes=True,
)
