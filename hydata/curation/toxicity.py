"""Toxicity: how likely a text is meant to offend, threaten or demean, or asks how to do serious harm, of 0 to
1; higher is worse.

Without a trained scorer: ``phrases/toxicity_<en|zh>.txt`` say of each slur, insult, curse, threat and request
for such help how likely a text that has it is toxic; independent signs add up to 1 - Π(1 - p) (a noisy or).
Each phrase counts once, so that length and loops do not. What excuses (quoting, reporting, teaching) lowers
the result. Contempt without such words, irony and what only a reader of the context knows is not found, nor
is harm that is asked for in other words; a poem or a novel that has them is.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from hydata.curation.scores import WORSE, Heuristic, file_judge, map_stage
from hydata.curation.weighted import folded, phrases

__all__ = ["ALONE", "HEURISTIC", "STAGE", "score"]

LISTS = ("toxicity_en", "toxicity_zh")


def score(texts: pl.Series) -> pl.Series:
    """The heuristic's score of each text, Float32; null for a null or blank one."""
    flat = folded(texts)
    found = pl.concat([phrases(name).found(flat) for name in LISTS])
    weight = pl.col("weight")
    none_of = (1 - pl.when(weight > 0).then(weight).otherwise(0)).log().sum().exp()
    excused = (1 + pl.when(weight < 0).then(weight).otherwise(0)).log().sum().exp()
    each = found.group_by("row").agg(score=((1 - none_of) * excused).cast(pl.Float32))
    scores = np.zeros(len(texts), np.float32)
    scores[each["row"].to_numpy()] = each["score"].to_numpy()
    return (
        pl.DataFrame({"text": flat, "score": scores})
        .select(pl.when(pl.col("text").str.strip_chars(" ") != "").then("score").alias("score"))
        .to_series()
    )


HEURISTIC = Heuristic("toxicity", version=1, score=score, lists=LISTS)

STAGE = map_stage(HEURISTIC, WORSE)

ALONE = file_judge(
    HEURISTIC,
    WORSE,
    """Score how toxic each row is.

    One row is written for each row of the inputs, in order: `row`, `score` (0 to 1, higher is more toxic;
    null: no text), of a conversation the worse of `instruction_score` and `response_score`. `--set
    model=FILE`: by a model of `hydata classifier train toxicity`, else by lists of phrases.
    """,
)
