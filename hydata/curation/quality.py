"""Quality of writing, from 0 to 1; higher is better. It sees form alone: whether what is said is true or
helps is the critic's to say.

Without a trained scorer: ten measures of form, each from 0 to 1, are weighted and bent by the logistic
curve. They are how long the text is (up to some 200 words), whether it ends as a sentence does, how long its
sentences are, how many of its words differ, how many are function words (a sign of grammar), whether a text
of several sentences is laid out in lines, and, against it, marks and digits among the letters, capitals, and
repeated exclamation. ``WEIGHTS`` are rounded from a fit to one half of pairs of which humans preferred one,
except those of the last four, which such pairs hardly show (docs/judges.md has the other half).
"""

from __future__ import annotations

import polars as pl

from hydata.curation.scores import ANSWER, Heuristic, file_judge, map_stage
from hydata.curation.words import CJK, word_count, words

__all__ = ["ALONE", "HEURISTIC", "STAGE", "features", "score"]

MAX_CHARACTERS = 4_000
"""Characters that are looked at."""
_FUNCTION = (
    r"(?i)\b(?:the|an?|of|and|to|in|is|are|was|were|be|been|that|which|it|its|this|these|for|with|as|on|by|or|"
    r"from|at|can|may|will|has|have|not|but|if|when|their|they|he|she|we|you|your|i)\b"
    r"|[的了是在和有也这与为以对而其之]"
)
_SENTENCE = r"[.!?]+(?:[\s\"'”)]|$)|[。！？；]+"
_END = r"(?:[.!?。！？…:：]|```|[)\]}”\"'」』）])\s*$"

WEIGHTS = {
    "length": 2.6,
    "ends": 0.6,
    "sentence": 1.0,
    "distinct": 1.3,
    "function": 0.3,
    "laid_out": 0.3,
    "marks": -0.8,
    "digits": -0.4,
    "capitals": -0.6,
    "shouting": -0.6,
}
OFFSET = -3.2


def features(texts: pl.Series) -> pl.DataFrame:
    """The measures of ``WEIGHTS``, Float64 from 0 to 1; null for a null or blank text."""
    text = pl.col("text")
    start = pl.Series("text", texts, dtype=pl.String).str.slice(0, MAX_CHARACTERS).str.strip_chars()
    counted = (
        start.to_frame()
        .with_columns(pl.when(text != "").then(text))
        .select(
            "text",
            characters=text.str.len_chars(),
            letters=text.str.count_matches(r"\p{L}"),
            capitals=text.str.count_matches(r"\p{Lu}"),
            digits=text.str.count_matches(r"\p{N}"),
            marks=text.str.count_matches(r"[^\p{L}\p{N}\p{M}\s.,;:!?'\"()。，、；：！？“”‘’（）《》-]"),
            words=word_count(text),
            eastern=text.str.count_matches(CJK),
            different=words(text.str.to_lowercase()).list.n_unique(),
            function=text.str.count_matches(_FUNCTION),
            sentences=text.str.count_matches(_SENTENCE),
            lines=text.str.count_matches(r"\n\s*\S"),
            shouts=text.str.count_matches(r"[!?！？]{2,}"),
            ends=text.str.contains(_END),
        )
    )
    # two Chinese characters make about one word
    size = pl.col("words") - 0.5 * pl.col("eastern")
    per = size / pl.col("sentences").clip(1)
    expected = pl.col("words").clip(1).cast(pl.Float64) ** 0.85  # Heaps' law: longer texts repeat more
    return counted.select(
        length=((1 + size).log() / pl.lit(201.0).log()).clip(0, 1),
        ends=pl.col("ends").cast(pl.Float64),
        sentence=(1 - (per - 18).abs() / 18).clip(0, 1),
        distinct=(pl.col("different") / expected).clip(0, 1),
        function=(pl.col("function") / pl.col("words").clip(1) / 0.35).clip(0, 1),
        laid_out=((pl.col("lines") / (pl.col("sentences").clip(1))).clip(0, 1) * (pl.col("sentences") >= 3)),
        marks=(pl.col("marks") / pl.col("characters") / 0.2).clip(0, 1),
        digits=(pl.col("digits") / pl.col("characters") / 0.3).clip(0, 1),
        capitals=(pl.col("capitals") / pl.col("letters").clip(1) / 0.5).clip(0, 1),
        shouting=(pl.col("shouts") / pl.col("sentences").clip(1)).clip(0, 1),
    )


def score(texts: pl.Series) -> pl.Series:
    """The heuristic's score of each text, Float32; null for a null or blank one."""
    total = pl.sum_horizontal(
        *(pl.col(name) * weight for name, weight in WEIGHTS.items()), pl.lit(OFFSET), ignore_nulls=False
    )
    return features(texts).select((1 / (1 + (-total).exp())).cast(pl.Float32).alias("score")).to_series()


HEURISTIC = Heuristic("quality", version=1, score=score)

STAGE = map_stage(HEURISTIC, ANSWER)

ALONE = file_judge(
    HEURISTIC,
    ANSWER,
    """Score how well each row is written.

    One row is written for each row of the inputs, in order: `row`, `score` (0 to 1, higher is better; null:
    no text), of a conversation the answer's; `instruction_score` and `response_score`. `--set model=FILE`:
    by a model of `hydata classifier train quality`, else by measures of form, which do not see whether it is
    right.
    """,
)
