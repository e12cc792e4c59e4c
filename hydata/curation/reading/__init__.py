"""Reading: one compiled pass over texts, which counts what the rules measure.

    characters   what there is to know of a character
    kernels      the pass itself; ``COUNTS`` says what it counts

``read`` takes a column of texts, and one of what each answers, and gives a frame of counts. On the way it
looks words up in a table of *anchors*: words, pairs of Chinese characters and signs one of which a text must
hold for a longer search to be worth while. A long list of regular expressions then runs on the few texts that
have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from hydata.compiled import utf8
from hydata.curation.reading import kernels
from hydata.curation.reading.characters import ANCHOR, reading_table
from hydata.curation.reading.kernels import COUNTS, PAIR_COUNTS, UInt32Array, UInt64Array

__all__ = ["COUNTS", "PAIR_COUNTS", "Anchors", "anchors", "read"]


@dataclass(frozen=True)
class Anchors:
    """The table of anchors as the kernel looks them up: by hash, to the bits of their groups. ``marks`` is
    the table of characters that knows which signs are anchors."""

    keys: UInt64Array
    values: UInt64Array
    marks: UInt32Array


def anchors(groups: Mapping[int, Iterable[str]]) -> Anchors:
    """A table of the anchors of each group, which is a bit from 0 to 63. An anchor is a word, in any case, a
    Chinese character or two, or one sign.

    Raises:
        ValueError: an anchor is none of these.
    """
    table = reading_table()
    marks = table.marks.copy()
    bits: dict[str, int] = {}
    for bit, members in groups.items():
        for anchor in members:
            bits[anchor] = bits.get(anchor, 0) | 1 << bit
    for anchor in bits:
        kinds = {int(marks[ord(c)]) & 3 for c in anchor}
        if not (kinds == {2} or (kinds == {3} and len(anchor) <= 2) or (kinds == {1} and len(anchor) == 1)):
            raise ValueError(f"anchor {anchor!r}: give a word, one or two Chinese characters, or one sign")
        if kinds == {1}:
            marks[ord(anchor)] |= np.uint32(ANCHOR)
    points = np.frombuffer("".join(bits).encode("utf-32-le"), np.uint32)
    hashes = np.empty(len(bits), np.uint64)
    starts = np.cumsum([0, *map(len, bits)])
    kernels.hash_anchors(table.lower[points], starts, hashes)
    keys, values = (np.zeros(kernels.ANCHOR_SLOTS, np.uint64) for _ in range(2))
    for key, value in zip(hashes, bits.values(), strict=True):
        slot = int(key) >> int(kernels.ANCHOR_SHIFT)
        while keys[slot] and keys[slot] != key:
            slot = (slot + 1) % len(keys)
        keys[slot] = key
        values[slot] |= np.uint64(value)
    return Anchors(keys, values, marks)


def read(texts: pl.Series, sources: pl.Series, table: Anchors) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The counts of texts, ``COUNTS``, ``PAIR_COUNTS`` and ``anchors`` (UInt64, a bit a group), and those of
    the ``sources`` that they answer, without ``PAIR_COUNTS``. A row a text; 0 for a null one."""
    rows = len(texts)
    characters = reading_table()
    counts, source_counts = (np.zeros((len(COUNTS), rows), np.uint32) for _ in range(2))
    found, source_found = (np.zeros(rows, np.uint64) for _ in range(2))
    pairs = np.zeros((len(PAIR_COUNTS), rows), np.uint32)
    kernels.read_texts(
        *_texts(texts),
        *_texts(sources),
        table.marks,
        characters.lower,
        characters.encodings,
        table.keys,
        table.values,
        counts,
        found,
        source_counts,
        source_found,
        pairs,
    )
    return (
        pl.DataFrame(
            [
                *(pl.Series(name, row) for name, row in zip(COUNTS, counts, strict=True)),
                *(pl.Series(name, row) for name, row in zip(PAIR_COUNTS, pairs, strict=True)),
                pl.Series("anchors", found),
            ]
        ),
        pl.DataFrame(
            [
                *(pl.Series(name, row) for name, row in zip(COUNTS, source_counts, strict=True)),
                pl.Series("anchors", source_found),
            ]
        ),
    )


def _texts(texts: pl.Series) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    there = texts.is_not_null().to_numpy()
    array = texts.to_arrow()
    return *utf8(array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array), there
