"""Texts as sets of shingles, with their hashes.

A shingle is 5 words in a row (``hydata.curation.words`` says what a word is), hashed to 32 bits. A text
of fewer words is one shingle, and a text without any word is the shingle of its own characters, so that
"!!!" and "???" are not alike. Texts are read as the UTF-8 that Arrow holds, in one pass (``kernels``).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from hydata.compiled import utf8
from hydata.curation.dedup import kernels
from hydata.curation.dedup.characters import JOINS, character_table
from hydata.curation.dedup.kernels import SHINGLE_WORDS, BoolArray, Int64Array, UInt32Array, UInt64Array

Number = TypeVar("Number", bound=np.generic)

HELD = 64 << 20
"""Numbers that a thread's scratch room holds at the most: 256 MiB, hardly any of which are touched."""

__all__ = ["SHINGLE_WORDS", "ShingleSets", "Texts", "read_texts"]


@dataclass(frozen=True)
class ShingleSets:
    """Set i is ``values[offsets[i]:offsets[i + 1]]``, ascending and never empty."""

    values: UInt32Array
    offsets: Int64Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Int64Array:
        return np.diff(self.offsets)

    def take(self, chosen: Int64Array) -> ShingleSets:
        """The sets of the given numbers, in that order."""
        sizes = self.sizes[chosen]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], sizes)
        return ShingleSets(self.values[index], offsets)

    @staticmethod
    def concat(parts: Sequence[ShingleSets]) -> ShingleSets:
        """The sets of all parts, in order."""
        sizes = np.concatenate([np.empty(0, np.int64), *(part.sizes for part in parts)])
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        return ShingleSets(end_to_end([part.values for part in parts], np.empty(0, np.uint32)), offsets)


@dataclass(frozen=True)
class Texts:
    """What is known of n texts. ``text``, UInt64[n]: a hash of each one's normal form, equal for exact
    duplicates; ``words``, UInt64[n, 2]: of the sequence of its words, equal for texts that differ in no word,
    or whose only shingle is the same; ``length``, Int64[n]: characters."""

    text: UInt64Array
    words: UInt64Array
    length: Int64Array
    sets: ShingleSets

    def __len__(self) -> int:
        return len(self.text)


def end_to_end(parts: list[npt.NDArray[Number]], none: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """All arrays of ``parts`` in one, ``none`` if there are none. Each is let go when it is copied, so that
    no more than one is in memory twice; ``parts`` is empty then."""
    whole = np.empty((sum(map(len, parts)), *none.shape[1:]), none.dtype)
    end = len(whole)
    while parts:
        part = parts.pop()
        whole[end - len(part) : end] = part
        end -= len(part)
    return whole


def read_texts(texts: pa.Array) -> Texts:
    """What is known of texts (Arrow strings; null counts as empty)."""
    found, joins = _read(texts)
    again = np.flatnonzero(joins)
    if not len(again):
        return found
    # Few texts have such characters; they are normalised whole, and read again.
    raw = texts.take(pa.array(again)).cast(pa.large_binary()).to_pylist()
    whole = pl.Series([(text or b"").decode("utf-8", "replace") for text in raw], dtype=pl.String)
    normal = whole.str.normalize("NFKC").to_arrow()
    mended, _ = _read(normal)
    found.text[again], found.words[again] = mended.text, mended.words
    order = np.arange(len(found))
    order[again] = len(found) + np.arange(len(again))
    return Texts(
        found.text, found.words, found.length, ShingleSets.concat([found.sets, mended.sets]).take(order)
    )


def apart(sets: ShingleSets, groups: UInt32Array) -> ShingleSets:
    """The same, but that sets of different groups have nothing in common: their hashes differ by those of the
    ``groups``, one a set. Group 0 stays as it is."""
    row = np.repeat(np.arange(len(sets), dtype=np.uint64), sets.sizes)
    ordered = row << np.uint64(32) | (sets.values ^ groups[row])
    ordered.sort()
    return ShingleSets((ordered & np.uint64(0xFFFFFFFF)).astype(np.uint32), sets.offsets)


def _read(texts: pa.Array) -> tuple[Texts, BoolArray]:
    data, offsets = utf8(texts)
    table = character_table()
    count = len(offsets) - 1
    text, words = np.empty(count, np.uint64), np.empty((count, 2), np.uint64)
    length, joins = np.empty(count, np.int64), np.empty(count, np.bool_)
    # A byte begins at most two words: "½" has two bytes, a word for each of its digits, and a neighbour.
    values = _scratch(2 * int(offsets[-1] - offsets[0]) + count)
    ends = np.empty(count + 1, np.int64)
    ends[0] = 0
    kernels.read_texts(
        data, offsets, table.entries, table.expansions, text, words, length, joins, values, ends[1:]
    )
    return Texts(text, words, length, ShingleSets(values[: ends[-1]].copy(), ends)), joins


def _scratch(count: int) -> UInt32Array:
    """Room for so many numbers, the same every time in one thread: fresh memory costs as much as reading the
    texts does. Very large room, for a very long text, is not held on to."""
    held: UInt32Array | None = getattr(_threads, "values", None)
    if held is None or len(held) < count:
        held = np.empty(count, np.uint32)
        if count <= HELD:
            _threads.values = held
    return held


_threads = threading.local()

assert JOINS == 1 << 31  # as the kernel reads it
