"""Novelty: how near a new instruction is to all that were admitted when a stage began.

The measure is Self-Instruct's (Wang et al. 2023, arXiv 2212.10560, section 2.2): ROUGE-L, the F1 of the
longest common subsequence of words (Chinese characters each a word),

    rouge_l(a, b) = 2 * LCS(a, b) / (len(a) + len(b))

with words in lower case and without stemming. The judges of duplicates behind the stage look for equal
shingles or near meanings, at thresholds made for "the same text"; a bound of 0.7 here is wider: it also finds
a template with other words in its slots, of which a model with a handful of examples makes many.

The *pool* is an artefact: the words of every admitted instruction, collected from a snapshot before the stage
begins. It is read once for all shards of a stage and indexed by word. Comparing is exact: LCS is at most
the number of common words, so the holders of the rarer words of a new text are all that could reach the
bound, and LCS is computed for those alone that have enough of its words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from hydata.curation.words import words
from hydata.schema import hash128
from hydata.stage import ArtefactStage, Context, Settings
from hydata.warehouse import write_frame

ARTEFACT = "novelty"
VERSION = 1
PIECE = 50_000
"""Instructions that are read, or compared, at once."""

Numbers = npt.NDArray[np.uint32]
Places = npt.NDArray[np.int64]


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


@dataclass(frozen=True)
class Index:
    """A pool in memory, 8 bytes a word (20 while it is made). Its words are numbered: instruction i holds
    ``said[begins[i] : begins[i + 1]]``, and word w stands in ``where[starts[w] : starts[w + 1]]``, ascending,
    as often as it is said there."""

    ids: pl.Series
    said: Numbers
    begins: Places
    where: Numbers
    starts: Places
    numbers: Mapping[str, int]

    def number(self, word: str) -> int:
        """The number of a word; all that the pool does not hold share one, behind the others."""
        return self.numbers.get(word, len(self.numbers))

    def holding(self, word: int) -> Numbers:
        """The instructions that hold the word of this number."""
        ends = self.starts[word : word + 2]
        return self.where[ends[0] : ends[1]] if len(ends) == 2 else self.where[:0]


def index(pieces: Iterable[pl.DataFrame]) -> Index:
    """The index of a pool that comes in pieces."""
    numbers: dict[str, int] = {}
    ids, said, lengths = [pl.Series(dtype=pl.String)], [np.empty(0, np.uint32)], [np.zeros(1, np.int64)]
    for piece in pieces:
        ids.append(piece["record_id"])
        lengths.append(piece["words"].list.len().to_numpy().astype(np.int64))
        coded = piece["words"].explode(empty_as_null=False, keep_nulls=False).to_arrow().dictionary_encode()
        own = [numbers.setdefault(word, len(numbers)) for word in coded.dictionary.to_pylist()]
        said.append(np.array(own, np.uint32)[coded.indices.to_numpy()])
    words, begins = np.concatenate(said), np.cumsum(np.concatenate(lengths))
    holders = np.repeat(np.arange(len(begins) - 1, dtype=np.uint32), np.diff(begins))
    starts = np.concatenate([[0], np.cumsum(np.bincount(words, minlength=len(numbers)))])
    return Index(pl.concat(ids), words, begins, holders[np.argsort(words, kind="stable")], starts, numbers)


_opened: dict[Path, Index] = {}
_opening = Lock()


def opened(path: Path) -> Index:
    """The index of the pool at ``path``, made once for all shards of a stage: the last one is kept, since
    nobody says when a stage has ended."""
    with _opening:
        if path not in _opened:
            _opened.clear()
            batches = pq.ParquetFile(path).iter_batches(PIECE)
            _opened[path] = index(pl.DataFrame(batch) for batch in batches)
        return _opened[path]


def nearest(texts: Sequence[str], known: Index, bound: float) -> list[Near | None]:
    """For each text its nearest in the pool ``known`` if their ROUGE-L is above ``bound``; of several
    that are as near, the one with the smallest id."""
    new = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).select(_words(pl.col("text")))["text"]
    return [_nearest(np.array([*map(known.number, own)], np.uint32), known, bound) for own in new.to_list()]


def _nearest(own: Numbers, known: Index, bound: float) -> Near | None:
    best: Near | None = None
    for place in _could(own, known, bound):
        other = known.said[known.begins[place] : known.begins[place + 1]]
        likeness = rouge_l(own.tolist(), other.tolist())
        if likeness > (best.likeness if best else bound):
            best = Near(likeness, known.ids[int(place)])
    return best


def _could(own: Numbers, known: Index, bound: float) -> Iterator[int]:
    """The instructions that could be nearer than the bound, in their order.

    LCS is at most the shorter length, so only lengths within a range can come above the bound, and LCS must
    be above ``least`` even for the shortest of them. What holds none of the rarest words of the text, all but
    ``least`` of them, has too little in common with it. The common words are where most texts meet: they are
    not looked at.
    """
    size, slack = len(own), 1e-9
    least = size * bound / (2 - bound) - slack
    words = sorted((len(known.holding(word)), word, times) for word, times in Counter(own.tolist()).items())
    holders, rest = [known.where[:0]], size
    for _, word, times in words:
        if rest <= least:
            break
        holders.append(known.holding(word))
        rest -= times
    holding = np.unique(np.concatenate(holders)).astype(np.int64)
    for begin in range(0, len(holding), PIECE):
        found = holding[begin : begin + PIECE]
        lengths = known.begins[found + 1] - known.begins[found]
        enough = bound * (lengths + size) / 2 - slack
        fit = np.minimum(lengths, size) > enough
        found, lengths, enough = found[fit], lengths[fit], enough[fit]
        ends = np.cumsum(lengths)
        said = np.arange(lengths.sum()) + np.repeat(known.begins[found] - ends + lengths, lengths)
        shared = np.concatenate([[0], np.cumsum(np.isin(known.said[said], own))])
        yield from found[shared[ends] - shared[ends - lengths] > enough]


def rouge_l(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """F1 of the longest common subsequence, 0 to 1; its length is found with one addition a word (Hyyrö
    2004, "Bit-parallel LCS-length computation revisited")."""
    if not first or not second:
        return 0.0
    places: dict[Hashable, int] = {}
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
