"""Agreement weighted by reliability: who is right more often counts for more.

A stage over the whole snapshot, since a model's reliability is estimated from all questions it has answered;
``agreement``, whose votes are equal, needs one shard only and stands before it. It reads the classes that
``agreement`` has found and no text. A reference answer votes as a model of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
from pydantic import Field

from hydata.schema import JUDGEMENT_KEY, judgements_frame
from hydata.stage import Context, GlobalStage, Settings
from hydata.synthesis.agreement import AGREEMENT
from hydata.synthesis.reliability import REFERENCE, UNKNOWN, weigh

NAME = "weigh"
VERSION = 1
UNMATCHED = -1
"""The class of a reference answer that no answer agrees with."""

WEIGHTED = pl.Schema(
    {
        **JUDGEMENT_KEY,
        "reliability": pl.Float64(),
        "weighted_answer": pl.String(),
        "share": pl.Float64(),
        "majority": pl.Boolean(),
        "abstained": pl.Boolean(),
    }
)


class WeighSettings(Settings):
    """``min_share``: there is no verdict where the most probable answer is less probable than this."""

    min_share: float = Field(default=0.5, ge=0, le=1)


def run(
    tables: Mapping[str, list[Path]], settings: WeighSettings, context: Context
) -> Iterator[pl.DataFrame]:
    """One row of ``WEIGHTED`` for each row of ``AGREEMENT``, by record id.

    ``reliability`` is that of the record's model, null if none of its answers has voted.
    ``weighted_answer`` is the most probable answer to the question and ``share`` its posterior probability.
    ``majority`` says whether the record gives it; null where nothing is decided (``abstained``): no votes, a
    tie, too small a share.
    """
    # A shard of an older version may stand beside newer ones; without classes, its rows have no votes.
    shards = pl.scan_parquet(
        tables["agreement"], schema=AGREEMENT, missing_columns="insert", extra_columns="ignore"
    )
    judged = (
        shards.select(
            "record_id",
            "answer",
            "class",
            "reference",
            pl.col("question_id").fill_null(pl.col("record_id")),
            pl.col("model").fill_null(UNKNOWN),
        )
        .sort("record_id")
        .collect()
    )
    own = judged.select("class", "model", question="question_id").drop_nulls("class")
    agreed = pl.col("class").filter(pl.col("reference")).first().fill_null(UNMATCHED)
    references = (
        judged.drop_nulls("reference")
        .group_by("question_id", maintain_order=True)
        .agg(agreed)
        .select("class", model=pl.lit(REFERENCE), question="question_id")
    )
    reliability, posterior = weigh(pl.concat([own, references]))
    texts = pl.col("answer")
    names = (
        judged.drop_nulls("class")
        .group_by("question_id", "class", "answer")
        .len()
        .sort("question_id", "class", -pl.col("len").cast(pl.Int64), texts.str.len_chars(), "answer")
        .group_by("question_id", "class", maintain_order=True)
        .agg(weighted_answer=texts.first())
    )
    best = (
        posterior.sort("question", -pl.col("posterior"), "class")
        .group_by("question", maintain_order=True)
        .agg(
            best=pl.col("class").first(),
            share=pl.col("posterior").first(),
            tie=(pl.col("posterior").max() - pl.col("posterior") < 1e-9).sum() > 1,
        )
        .join(names, left_on=["question", "best"], right_on=["question_id", "class"], how="left")
    )
    abstained = (pl.col("tie") | (pl.col("share") < settings.min_share)).fill_null(True)
    found = (
        judged.join(reliability, on="model", how="left", maintain_order="left")
        .join(best, left_on="question_id", right_on="question", how="left", maintain_order="left")
        .with_columns(abstained=abstained)
        .with_columns(majority=pl.when(~pl.col("abstained")).then(pl.col("class").eq_missing(pl.col("best"))))
    )
    key = judgements_frame(found["record_id"], NAME, str(VERSION))
    yield key.hstack(found.select(n for n in WEIGHTED if n not in JUDGEMENT_KEY))


STAGE = GlobalStage(
    name=NAME, table="weighted", columns=WEIGHTED, version=VERSION, settings=WeighSettings, run=run
)
