"""The benchmarks' items as an index of n-grams, and the texts that repeat them.

A *unit* is one text of an item: a question, a question with its choices, an answer. It is *long* if it has n
words: then what counts is the share of it that n-grams of a text cover. n is 13 (Brown et al. 2020, appendix
C), and for a unit of Chinese characters, which are a word each, ``characters`` (docs/decisions/0017 has the
measurement). A question of fewer words counts if all of it stands in the text, one of fewer than ``MINIMUM``
if it is all of the text: "what is the capital of france" stands in honest texts. Short answers do not count.

An n-gram is not specific, and does not count, if more than ``COMMON`` items have it (as GPT-3's authors
ignored those of more than ten documents), if it stands in ``stock.txt`` (licence headers, phrases of tests),
or if it repeats so few words that it could be a table's line. A unit without a specific n-gram cannot be
looked for and is counted as such.

Overlap is of words that are covered, not of n-grams found (Touvron et al. 2023, section A.6, count tokens as
well): one word changed in a question of forty leaves 39 of them covered and half of the n-grams gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources

import numpy as np
import polars as pl

from hydata.curation.contamination import kernels
from hydata.curation.contamination.items import Items
from hydata.curation.contamination.words import Words, read_words
from hydata.curation.dedup.kernels import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    UInt64Array,
)

COMMON = 10
"""Items that may share an n-gram."""
MINIMUM = {False: 6, True: 10}
"""Words of the least question that is looked for inside texts; of one in Chinese, characters."""
LEAST = 3
"""Words of the least question that is looked for at all."""
ANSWERS = 3
"""The least answer that is looked for has so many times n words: a bubble sort of 29 words, or a test for
primes, is nobody's in particular."""
DIVERSE = 0.4
"""Different words of an n-gram that is specific, as a share of n."""

QUESTION, CHOICES, ANSWER = "question", "choices", "answer"
UNITS = pl.Schema(
    {
        "benchmark": pl.String(),
        "item": pl.String(),
        "part": pl.String(),
        "number": pl.Int64(),
        "text": pl.String(),
    }
)
"""``number`` tells the items of all benchmarks apart, from 0."""


@dataclass(frozen=True)
class Long:
    """Units that are looked for by n-grams of ``n`` words; the arrays are as ``kernels.find_runs`` reads
    them. ``units`` are their numbers."""

    n: int
    units: Int64Array
    keys: UInt64Array
    slots: Int32Array
    owners: Int32Array
    owners_end: Int64Array
    places: Int32Array
    units_end: Int64Array
    units_words: Int64Array


@dataclass(frozen=True)
class Short:
    """Questions that are looked for whole, by an m-gram; as ``kernels.find_whole`` reads them."""

    m: int
    units: Int64Array
    keys: UInt64Array
    slots: Int32Array
    owners: Int32Array
    owners_end: Int64Array
    offsets: Int64Array
    words: Words


@dataclass(frozen=True)
class Found:
    """Of each text: the ``unit`` it repeats most of, by its number, -1 for none; ``overlap``, the share of
    its words; ``span``, the words of the longest run that both have."""

    unit: Int64Array
    overlap: Float32Array
    span: Int32Array

    def better(self, other: Found) -> Found:
        """The better one of both for each text, this one where they are equal."""
        more = (other.overlap > self.overlap) | ((other.overlap == self.overlap) & (other.span > self.span))
        return Found(
            np.where(more, other.unit, self.unit),
            np.where(more, other.overlap, self.overlap),
            np.where(more, other.span, self.span),
        )


@dataclass(frozen=True)
class Index:
    """``units`` in ``UNITS``; ``unspecific``: those that cannot be looked for. ``equal`` are the hashes of
    short questions, ascending, and ``equal_units`` their numbers."""

    units: pl.DataFrame
    long: tuple[Long, ...]
    short: tuple[Short, ...]
    equal: UInt64Array
    equal_units: Int64Array
    unspecific: Int64Array = field(repr=False)

    def find(self, texts: pl.Series, asked: pl.Series) -> Found:
        """What of the benchmarks each text repeats. ``asked`` is the instruction alone, or the text again:
        the shortest questions count if they are all of it."""
        words = read_words(texts)
        found = nothing(len(texts))
        for table in self.long:
            found = found.better(_runs(table, words))
        for whole in self.short:
            found = found.better(_whole(whole, words))
        return found.better(self._equal(read_words(asked)))

    def _equal(self, words: Words) -> Found:
        hashes = words.whole()
        place = np.minimum(np.searchsorted(self.equal, hashes), max(len(self.equal) - 1, 0))
        same = self.equal[place] == hashes if len(self.equal) else np.zeros(len(words), np.bool_)
        unit = np.full(len(words), -1)
        unit[same] = self.equal_units[place[same]]
        return Found(unit, same.astype(np.float32), np.where(same, words.sizes, 0).astype(np.int32))


def nothing(count: int) -> Found:
    """What is found of so many texts that repeat nothing."""
    return Found(np.full(count, -1), np.zeros(count, np.float32), np.zeros(count, np.int32))


def build(benchmarks: Sequence[Items], words: int, characters: int) -> Index:
    """The index of all items; ``words`` and ``characters`` are the n of its n-grams."""
    units = units_of(benchmarks)
    read = read_words(units["text"])
    numbers = units["number"].to_numpy()
    question = (units["part"] != ANSWER).to_numpy()
    chinese, sizes = read.mostly_characters, read.sizes
    long, short, lost = [], [], []
    repeated = _in_many(read.whole(), numbers)
    for of_characters, n in ((False, words), (True, characters)):
        own = chinese == of_characters
        least_words = np.where(question, n, ANSWERS * n)
        table, unspecific = _long(read, np.flatnonzero(own & (sizes >= least_words)), numbers, n)
        long.append(table)
        lost.append(unspecific)
        m = min(MINIMUM[of_characters], n)
        some = np.flatnonzero(own & question & (sizes < n) & (sizes >= m))
        lost.append(some[repeated[some]])
        short.append(_short(read, some[~repeated[some]], m))
    least = np.where(chinese, min(MINIMUM[True], characters), min(MINIMUM[False], words))
    tiny = np.flatnonzero(question & (sizes < least) & (sizes >= LEAST))
    lost += [tiny[repeated[tiny]], np.flatnonzero(question & (sizes < LEAST))]
    tiny = tiny[~repeated[tiny]]
    equal, first = np.unique(read.take(tiny).whole(), return_index=True)
    return Index(
        units.drop("text"), tuple(long), tuple(short), equal, tiny[first], np.unique(np.concatenate(lost))
    )


def units_of(benchmarks: Sequence[Items]) -> pl.DataFrame:
    """The texts of all items, in ``UNITS``."""
    rows = []
    number = 0
    for benchmark in benchmarks:
        for item in benchmark.items:
            texts = [(QUESTION, text) for text in item.questions]
            if len(texts) == 2 and texts[1][1].startswith(texts[0][1] + "\n"):
                texts[1] = (CHOICES, texts[1][1])
            if item.answer is not None:
                texts.append((ANSWER, item.answer))
            rows += [(benchmark.name, item.id, part, number, text) for part, text in texts]
            number += 1
    return pl.DataFrame(rows, schema=UNITS, orient="row")


def _in_many(keys: UInt64Array, items: Int64Array) -> BoolArray:
    """Whether each key is that of more than ``COMMON`` different items."""
    pairs = pl.DataFrame({"key": keys, "item": items})
    counted = pairs.select((pl.col("item").n_unique().over("key") > COMMON).alias("many"))
    found: BoolArray = counted["many"].to_numpy()
    return found


def _diverse(words: Words, begins: Int64Array, n: int) -> BoolArray:
    """Whether the n-gram from each of ``begins`` on has enough different words."""
    enough = np.empty(len(begins), np.bool_)
    for start in range(0, len(begins), 1 << 16):
        some = begins[start : start + (1 << 16)]
        ordered = np.sort(words.values[some[:, None] + np.arange(n)], axis=1)
        different = 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(axis=1)
        enough[start : start + len(some)] = different >= DIVERSE * n
    return enough


def _stock(n: int) -> UInt64Array:
    text = (resources.files("hydata.curation.contamination") / "stock.txt").read_text("utf-8")
    phrases = "\n".join(line for line in text.splitlines() if not line.startswith("# ")).split("\n\n")
    return np.unique(read_words(pl.Series(phrases, dtype=pl.String)).grams(n))


def _long(read: Words, units: Int64Array, numbers: Int64Array, n: int) -> tuple[Long, Int64Array]:
    """The table of these units, and those of them without a specific n-gram."""
    words = read.take(units)
    unit = np.repeat(np.arange(len(units)), words.sizes)
    grams = words.grams(n)
    begins = np.flatnonzero(grams)
    grams, unit = grams[begins], unit[begins]
    specific = (
        ~_in_many(grams, numbers[units][unit]) & ~np.isin(grams, _stock(n)) & _diverse(words, begins, n)
    )
    begins, grams, unit = begins[specific], grams[specific], unit[specific]
    keys, gram = np.unique(grams, return_inverse=True)
    pairs = np.unique(gram.astype(np.int64) << np.int64(32) | unit)
    owned = np.bincount(pairs >> np.int64(32), minlength=len(keys))
    places = np.full(len(words.values), -1, np.int32)
    places[begins] = gram
    edges = np.zeros(len(words.values) + 1, np.int64)
    np.add.at(edges, begins, 1)
    np.add.at(edges, begins + n, -1)
    covered = np.cumsum(edges[:-1]) > 0
    units_words = np.bincount(
        np.repeat(np.arange(len(units)), words.sizes), weights=covered, minlength=len(units)
    ).astype(np.int64)
    table = Long(
        n,
        units,
        keys,
        _table(keys),
        (pairs & np.int64(0xFFFFFFFF)).astype(np.int32),
        np.cumsum(owned, dtype=np.int64),
        places,
        words.ends,
        units_words,
    )
    return table, units[units_words == 0]


def _short(read: Words, units: Int64Array, m: int) -> Short:
    words = read.take(units)
    unit = np.repeat(np.arange(len(units)), words.sizes)
    grams = words.grams(m)
    begins = np.flatnonzero(grams)
    rarest = (
        pl.DataFrame({"gram": grams[begins], "unit": unit[begins], "begin": begins})
        .with_columns(count=pl.len().over("gram"))
        .sort("count", "begin")
        .unique("unit", keep="first", maintain_order=True)
        .sort("gram", "unit")
    )
    keys, owned = np.unique(rarest["gram"].to_numpy(), return_counts=True)
    offsets = np.zeros(len(units), np.int64)
    offsets[rarest["unit"].to_numpy()] = rarest["begin"].to_numpy() - words.begins[rarest["unit"].to_numpy()]
    return Short(
        m,
        units,
        keys,
        _table(keys),
        rarest["unit"].to_numpy().astype(np.int32),
        np.cumsum(owned, dtype=np.int64),
        offsets,
        words,
    )


def _table(keys: UInt64Array) -> Int32Array:
    slots = np.empty(1 << max(4, (2 * len(keys)).bit_length()), np.int32)
    kernels.fill_table(keys, slots)
    return slots


def _runs(table: Long, words: Words) -> Found:
    count = len(words)
    if not len(table.keys):
        return nothing(count)
    unit, overlap, span = np.empty(count, np.int32), np.empty(count, np.float32), np.empty(count, np.int32)
    kernels.find_runs(
        words.values,
        words.ends,
        table.n,
        table.keys,
        table.slots,
        table.owners,
        table.owners_end,
        table.places,
        table.units_end,
        table.units_words,
        unit,
        overlap,
        span,
    )
    return Found(np.where(unit >= 0, table.units[unit], -1), overlap, span)


def _whole(table: Short, words: Words) -> Found:
    count = len(words)
    if not len(table.keys):
        return nothing(count)
    unit, span = np.empty(count, np.int32), np.empty(count, np.int32)
    kernels.find_whole(
        words.values,
        words.ends,
        table.m,
        table.keys,
        table.slots,
        table.owners,
        table.owners_end,
        table.offsets,
        table.words.begins,
        table.words.ends,
        table.words.values,
        unit,
        span,
    )
    return Found(np.where(unit >= 0, table.units[unit], -1), (unit >= 0).astype(np.float32), span)
