"""Texts as sequences of hashed words, in order (``hydata.curation.words`` says what a word is): each Chinese
or Japanese character is one. What is compared is the normal form, NFKC in lower case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from hydata.compiled import utf8
from hydata.curation.contamination import kernels
from hydata.curation.dedup.characters import character_table
from hydata.curation.dedup.kernels import BoolArray, Int64Array, UInt64Array


@dataclass(frozen=True)
class Words:
    """The words of text i are ``values[ends[i - 1]:ends[i]]``. The lowest bit of a value says that the word
    is a character of its own."""

    values: UInt64Array
    ends: Int64Array

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def begins(self) -> Int64Array:
        return np.concatenate((np.zeros(1, np.int64), self.ends[:-1])) if len(self.ends) else self.ends

    @property
    def sizes(self) -> Int64Array:
        return self.ends - self.begins

    @property
    def mostly_characters(self) -> BoolArray:
        """Whether at least half of a text's words are characters of their own."""
        summed = np.concatenate(
            (np.zeros(1, np.int64), np.cumsum(self.values & np.uint64(1), dtype=np.int64))
        )
        found: BoolArray = (summed[self.ends] - summed[self.begins]) * 2 >= np.maximum(self.sizes, 1)
        return found

    def take(self, chosen: Int64Array) -> Words:
        """The words of the given texts, in that order."""
        sizes = self.sizes[chosen]
        ends = np.cumsum(sizes, dtype=np.int64)
        index = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            self.begins[chosen] - (ends - sizes), sizes
        )
        return Words(self.values[index], ends)

    def whole(self) -> UInt64Array:
        """A hash of all words of each text."""
        hashes = np.empty(len(self), np.uint64)
        kernels.read_whole(self.values, self.ends, hashes)
        return hashes

    def grams(self, n: int) -> UInt64Array:
        """The hash of the n words from each word on, 0 where the text ends before that."""
        found = np.zeros(len(self.values), np.uint64)
        kernels.read_grams(self.values, self.ends, n, found)
        return found


def read_words(texts: pl.Series) -> Words:
    """The words of each text; a null has none."""
    found, joins = _read(texts.to_arrow())
    again = np.flatnonzero(joins)
    if not len(again):
        return found
    # Few texts have characters that join others; they are normalised whole, and read again.
    mended, _ = _read(texts.gather(again).str.normalize("NFKC").to_arrow())
    order = np.arange(len(found))
    order[again] = len(found) + np.arange(len(again))
    both = Words(
        np.concatenate((found.values, mended.values)),
        np.concatenate((found.ends, len(found.values) + mended.ends)),
    )
    return both.take(order)


def _read(texts: pa.Array) -> tuple[Words, BoolArray]:
    data, offsets = utf8(texts)
    table = character_table()
    count = len(offsets) - 1
    joins, ends = np.empty(count, np.bool_), np.empty(count, np.int64)
    # A byte begins at most two words: "½" has two bytes, a word for each of its digits, and a neighbour.
    values = np.empty(2 * int(offsets[-1] - offsets[0]) + count, np.uint64)
    kernels.read_words(data, offsets, table.entries, table.expansions, joins, values, ends)
    return Words(values[: ends[-1] if count else 0].copy(), ends), joins
