"""Reading: one compiled pass over texts, which counts what the rules measure.

    characters   what there is to know of a character
    kernels      the pass itself; ``COUNTS`` says what it counts

``read`` takes a column of texts, and one of what each answers, and gives a frame of counts. On the way it
looks words up in a table of *anchors*, one of which a text must hold for a longer search to be worth while: a
long list of regular expressions then runs on the few texts that have one. An anchor is written as

    sorry           a word, in any case
    can't not_able  two words in one line, one after the other, whatever marks stand between
    无 无法         a Chinese character; two, side by side
    ^no ^无         the first word, or character, of a line
    <               a sign
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from hydata.compiled import taken, utf8
from hydata.curation.characters import CHARACTER, OTHER, WORD
from hydata.curation.reading import kernels
from hydata.curation.reading.characters import ANCHOR, ReadingTable, reading_table
from hydata.curation.reading.kernels import COUNTS, PAIR_COUNTS, UInt32Array, UInt64Array

__all__ = ["COUNTS", "FOUND", "PAIR_COUNTS", "Anchors", "anchors", "read"]

FOUND = ("anchors_0", "anchors_1")
"""The groups of anchors that a text has: UInt64, a bit a group, the first 64 groups in the first."""


@dataclass(frozen=True)
class Anchors:
    """The table of anchors as the kernel looks them up: by hash, to the bits of their groups. ``marks`` is
    the table of characters that knows which signs are anchors; ``sieve`` lets few keys through that are no
    anchors."""

    sieve: UInt64Array
    keys: UInt64Array
    values: UInt64Array
    marks: UInt32Array


def anchors(groups: Iterable[Iterable[str]]) -> Anchors:
    """A table of the anchors of up to 128 groups, each of which is a bit, in order.

    Raises:
        ValueError: an anchor is nothing that can be looked up, or there are too many.
    """
    table = reading_table()
    marks = table.marks.copy()
    bits: dict[str, list[int]] = {}
    listed = [*groups]
    if len(listed) > 64 * len(FOUND):
        raise ValueError(f"{len(listed)} groups of anchors: there is a bit for {64 * len(FOUND)}")
    for place, group in enumerate(listed):
        for anchor in group:
            bits.setdefault(anchor, [0] * len(FOUND))[place // 64] |= 1 << place % 64
    sieve = np.zeros(kernels.ANCHOR_BITS // 64, np.uint64)
    keys, values = np.zeros(kernels.ANCHOR_SLOTS, np.uint64), np.zeros((kernels.ANCHOR_SLOTS, 2), np.uint64)
    if 2 * len(bits) > len(keys):
        raise ValueError(f"{len(bits)} anchors: there is room for {len(keys) // 2}")
    for anchor, value in bits.items():
        key = _key(anchor, table)
        if len(anchor) == 1 and int(marks[ord(anchor)]) & 3 == OTHER:
            marks[ord(anchor)] |= np.uint32(ANCHOR)
        slot = int(kernels.anchored(keys, key))
        keys[slot] = key
        kernels.sift(sieve, key)
        values[slot] |= np.array(value, np.uint64)
    return Anchors(sieve, keys, values, marks)


def _key(anchor: str, table: ReadingTable) -> np.uint64:
    """What the kernel looks an anchor up by."""
    first = len(anchor) > 1 and anchor[0] == "^"
    word = anchor[first:]
    kinds = [int(table.marks[ord(char)]) & 3 for char in word]
    sort = set(kinds)
    if sort == {WORD} or (sort == {CHARACTER} and len(word) <= 2 - first):
        (key,) = _hashes([word], table)
        return np.uint64(taken(kernels.LINE_START, key) if first else key)
    if sort == {OTHER} and len(anchor) == 1:
        return np.uint64(_hashes([anchor], table)[0])
    gaps = [at for at, kind in enumerate(kinds) if kind == OTHER]
    if sort == {WORD, OTHER} and len(gaps) == 1 and 0 < gaps[0] < len(word) - 1 and not first:
        one, other = _hashes([word[: gaps[0]], word[gaps[0] + 1 :]], table)
        return np.uint64(taken(one, other))
    raise ValueError(
        f"anchor {anchor!r}: give a word, two (not_able), one or two Chinese characters, a sign, or ^ and "
        "what a line begins with"
    )


def _hashes(words: Sequence[str], table: ReadingTable) -> UInt64Array:
    points = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
    hashes = np.empty(len(words), np.uint64)
    kernels.hash_words(table.lower[points], np.cumsum([0, *map(len, words)]), hashes)
    return hashes


def read(texts: pl.Series, sources: pl.Series, table: Anchors) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The counts of texts, ``COUNTS``, ``PAIR_COUNTS`` and ``FOUND``, and those of the ``sources`` that they
    answer, without ``PAIR_COUNTS``. A row a text; 0 for a null one."""
    rows = len(texts)
    characters = reading_table()
    counts, source_counts = (np.zeros((len(COUNTS), rows), np.uint32) for _ in range(2))
    found, source_found = (np.zeros((len(FOUND), rows), np.uint64) for _ in range(2))
    pairs = np.zeros((len(PAIR_COUNTS), rows), np.uint32)
    kernels.read_texts(
        *_texts(texts),
        *_texts(sources),
        table.marks,
        characters.lower,
        characters.encodings,
        table.sieve,
        table.keys,
        table.values,
        counts,
        found,
        source_counts,
        source_found,
        pairs,
    )
    return (
        pl.DataFrame({**_columns(COUNTS, counts), **_columns(PAIR_COUNTS, pairs), **_columns(FOUND, found)}),
        pl.DataFrame({**_columns(COUNTS, source_counts), **_columns(FOUND, source_found)}),
    )


def _columns(names: Iterable[str], rows: UInt32Array | UInt64Array) -> dict[str, pl.Series]:
    return {name: pl.Series(row) for name, row in zip(names, rows, strict=True)}


def _texts(texts: pl.Series) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    there = texts.is_not_null().to_numpy()
    array = texts.to_arrow()
    return *utf8(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array), there
