"""Educational value, from 0 to 1: how much a text explains or teaches; higher is better.

Without a trained scorer: what explaining text says speaks for it, what chat, adverts and the frames of web
pages say against it (``phrases/education_<en|zh>.txt``: weights, each phrase once, by the root of the text's
words, since a longer text has more of everything); so do long words in English and sentences of a readable
length (10 to 40 words), symbols of mathematics, and length up to some 200 words. These are signs of the
genre and not of how good a lesson is: a wrong proof scores as high as a right one.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from hydata.curation.scores import ANSWER, Heuristic, file_judge, map_stage
from hydata.curation.weighted import folded, phrases
from hydata.curation.words import CJK, word_count

__all__ = ["ALONE", "HEURISTIC", "STAGE", "score"]

LISTS = ("education_en", "education_zh")
MAX_CHARACTERS = 4_000
"""Characters that are looked at."""
_SENTENCE = r"[.!?]+(?:\s|$)|[。！？；]+"
_MATHEMATICS = r"[=+×÷^√∑∫≤≥≠±π]|\\[a-z]+|\$[^$]+\$"


def score(texts: pl.Series) -> pl.Series:
    """The heuristic's score of each text, Float32; null for a null or blank one."""
    text = pl.col("text")
    start = pl.Series("text", texts, dtype=pl.String).str.slice(0, MAX_CHARACTERS)
    flat = folded(start)
    found = pl.concat([phrases(name).found(flat) for name in LISTS])
    said = np.zeros(len(texts))
    each = found.group_by("row").agg(pl.col("weight").sum())
    said[each["row"].to_numpy()] = each["weight"].to_numpy()
    counted = start.to_frame().select(
        pl.when(text.str.strip_chars() != "").then(text),
        words=word_count(text) - 0.5 * text.str.count_matches(CJK),  # two Chinese characters make about one
        long=text.str.count_matches(r"\b[a-zA-Z]{8,}\b"),
        sentences=text.str.count_matches(_SENTENCE).clip(1),
        mathematics=text.str.count_matches(_MATHEMATICS),
        said=pl.Series(said),
    )
    words = pl.col("words").clip(1)
    per = words / pl.col("sentences")
    total = (
        1.6 * (pl.col("said") / words.sqrt()).clip(-2, 2)
        + 1.0 * (pl.col("long") / words / 0.25).clip(0, 1)
        + 0.6 * ((per >= 10) & (per <= 40))
        + 0.8 * (pl.col("mathematics") / words.sqrt()).clip(0, 1)
        + 1.0 * ((1 + words).log() / pl.lit(201.0).log()).clip(0, 1)
        - 1.9
    )
    return counted.select(
        pl.when(text.is_not_null()).then(1 / (1 + (-total).exp())).cast(pl.Float32).alias("score")
    ).to_series()


HEURISTIC = Heuristic("education", version=1, score=score, lists=LISTS)

STAGE = map_stage(HEURISTIC, ANSWER)

ALONE = file_judge(
    HEURISTIC,
    ANSWER,
    """Score how much each row explains or teaches.

    One row is written for each row of the inputs, in order: `row`, `score` (0 to 1, higher is more; null: no
    text), of a conversation the answer's; `instruction_score` and `response_score`. `--set model=FILE`: by a
    model of `hydata classifier train education`, else by signs of explaining text.
    """,
)
