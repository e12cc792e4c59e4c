"""Novelty: how near a new instruction is to all that were admitted when a stage began.

The measure is Self-Instruct's (Wang et al. 2023, arXiv 2212.10560, section 2.2): ROUGE-L, the F1 of the
longest common subsequence of words (Chinese characters each a word),

    rouge_l(a, b) = 2 * LCS(a, b) / (len(a) + len(b))

with words in lower case and without stemming. The judges of duplicates behind the stage look for equal
shingles or near meanings, at thresholds made for "the same text"; a bound of 0.7 here is wider: it also finds
a template with other words in its slots, of which a model with a handful of examples makes many.

The *pool* is an artefact: the words of every admitted instruction, collected from a snapshot before the stage
begins. Comparing is exact: LCS is at most the number of common words, counted as often as the new text has
them, so one join leaves the few texts that could reach the bound, and only for these LCS is computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from hydata.curation.words import words
from hydata.schema import hash128
from hydata.stage import ArtefactStage, Context, Settings
from hydata.warehouse import write_frame

ARTEFACT = "novelty"
VERSION = 1


class NoveltySettings(Settings):
    """Nothing to set: the bound is the stage's that asks."""


class Near(NamedTuple):
    """The nearest instruction of the pool to a new one, and their ROUGE-L."""

    likeness: float
    record_id: str


def pool(conversations: pl.LazyFrame) -> pl.DataFrame:
    """``record_id`` and ``words`` of the instructions' last turns, by id, each once."""
    last = pl.col("messages").list.last().struct.field("content").fill_null("")
    return (
        conversations.select("record_id", words=_words(last)).unique("record_id").sort("record_id").collect()
    )


def _words(text: pl.Expr) -> pl.Expr:
    return words(text.str.to_lowercase())


def nearest(texts: Sequence[str], known: pl.LazyFrame, bound: float) -> list[Near | None]:
    """For each text its nearest in the pool ``known`` if their ROUGE-L is above ``bound``; of several
    that are as near, the one with the smallest id."""
    new = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).select(words=_words(pl.col("text")))
    counts = (
        new.with_row_index("new")
        .with_columns(size=pl.col("words").list.len())
        .explode("words", empty_as_null=False, keep_nulls=False)
        .group_by("new", "size", word="words")
        .len("times")
    )
    could = (
        known.select(
            "record_id", words="words", length=pl.col("words").list.len(), word=pl.col("words").list.unique()
        )
        .explode("word", empty_as_null=False, keep_nulls=False)
        .join(counts.lazy(), on="word")
        .group_by("new", "record_id")
        .agg(pl.col("words", "length", "size").first(), common=pl.col("times").sum())
        .filter(
            2 * pl.min_horizontal("common", "length", "size") > bound * (pl.col("length") + pl.col("size"))
        )
        .sort("new", "record_id")
        .collect()
    )
    best: list[Near | None] = [None] * len(texts)
    own = new["words"].to_list()
    for row in could.iter_rows(named=True):
        likeness = rouge_l(own[row["new"]], row["words"])
        before = best[row["new"]]
        if likeness > (before.likeness if before else bound):
            best[row["new"]] = Near(likeness, row["record_id"])
    return best


def rouge_l(first: Sequence[str], second: Sequence[str]) -> float:
    """F1 of the longest common subsequence, 0 to 1; its length is found with one addition a word (Hyyrö
    2004, "Bit-parallel LCS-length computation revisited")."""
    if not first or not second:
        return 0.0
    places: dict[str, int] = {}
    for i, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << i
    everything = (1 << len(first)) - 1
    unmatched = everything
    for word in second:
        met = unmatched & places.get(word, 0)
        unmatched = ((unmatched + met) | (unmatched - met)) & everything
    common = len(first) - unmatched.bit_count()
    return 2 * common / (len(first) + len(second))


def _collect(
    tables: Mapping[str, list[Path]], settings: NoveltySettings, context: Context, folder: Path
) -> Path:
    """The pool of the admitted instructions as one Parquet file, named by a hash of their ids, which are
    hashes of what they say."""
    collected = pool(
        pl.concat([pl.scan_parquet(p).select("record_id", "messages") for p in tables["admitted"]])
    )
    path = folder / f"{ARTEFACT}-{hash128(VERSION, *collected['record_id'])[:12]}.parquet"
    write_frame(path, collected)
    return path


STAGE = ArtefactStage(name=ARTEFACT, version=VERSION, settings=NoveltySettings, run=_collect)
