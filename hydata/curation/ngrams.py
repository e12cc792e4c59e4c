"""Shares of n-grams: how much of a text its own repetitions, or another text's words, make up.

Both functions take a whole column and work on its flat words, row and n-gram packed into one
64-bit key, so that counting is one sort. They are what a compiled kernel could replace.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from hydata.curation.words import CJK, IntArray, UInt64Array, flat_words, windows

FloatArray = npt.NDArray[np.float64]

_HASH_BITS = np.uint64(40)
"""Of a key; the other 24 hold the row, enough for 16 million rows a batch. Two different n-grams of one
text of 1,000 words share 40 bits once in two million texts."""


def top_share(texts: pl.Series, n: int) -> pl.Series:
    """Per text: characters of the most frequent n-gram times its count, of all characters in words.

    An n-gram that occurs once is no repetition (0); overlapping ones ("ha ha ha") may count a
    character twice, so the share is cut at 1.
    """
    flat = flat_words(texts)
    characters = flat.text.str.len_chars().to_numpy().astype(np.int64)
    values = flat.text.hash().to_numpy()
    cjk = flat.text.str.contains(rf"^{CJK}").to_numpy()
    in_row = np.bincount(flat.row, minlength=flat.rows)
    mostly_cjk = np.bincount(flat.row, weights=cjk, minlength=flat.rows) * 2 > in_row
    total = np.bincount(flat.row, weights=characters, minlength=flat.rows)

    best = np.zeros(flat.rows, np.int64)
    for words, chosen in ((n, ~mostly_cjk), (2 * n, mostly_cjk)):
        part = chosen[flat.row]
        covered = _most_frequent(flat.row[part], values[part], characters[part], words, flat.rows)
        best = np.maximum(best, covered)
    return _with_nulls(np.minimum(_divide(best, total), 1.0), texts.is_null())


def _most_frequent(row: IntArray, values: UInt64Array, characters: IntArray, n: int, rows: int) -> IntArray:
    """Per row: count x characters of its most frequent n-gram (of several, the longest)."""
    begins, hashes = windows(row, values, n)
    keys = _keys(row[begins], hashes)
    order = np.argsort(keys)
    keys = keys[order]
    starts = (
        np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.empty(0, int)
    )
    counts = np.diff(np.append(starts, len(keys)))
    first = begins[order[starts[counts > 1]]]
    counts = counts[counts > 1]
    ends = np.concatenate(([0], np.cumsum(characters)))
    length = ends[first + n] - ends[first]

    score = counts << 32 | length  # the count decides, then the length
    best = np.zeros(rows, np.int64)
    np.maximum.at(best, row[first], score)
    covered: IntArray = (best >> 32) * (best & 0xFFFFFFFF)
    return covered


def copied_share(pairs: pl.Series, n: int) -> pl.Series:
    """Per row of a struct of ``text`` and ``source``: the n-grams of the text that stand in its source
    too, of all n-grams of the text; 0 for a text shorter than n words, null for none."""
    text, source = (
        _row_ngrams(pairs.struct.field(name).str.to_lowercase(), n) for name in ("text", "source")
    )
    rows = len(pairs)
    row = (text >> _HASH_BITS).astype(np.int64)
    copied = np.bincount(
        row, weights=pl.Series(text).is_in(pl.Series(source).implode()).to_numpy(), minlength=rows
    )
    total = np.bincount(row, minlength=rows)
    return _with_nulls(_divide(copied, total), pairs.struct.field("text").is_null())


def _row_ngrams(texts: pl.Series, n: int) -> UInt64Array:
    flat = flat_words(texts)
    begins, hashes = windows(flat.row, flat.text.hash().to_numpy(), n)
    return _keys(flat.row[begins], hashes)


def _keys(row: IntArray, hashes: UInt64Array) -> UInt64Array:
    return row.astype(np.uint64) << _HASH_BITS | hashes >> (np.uint64(64) - _HASH_BITS)


def _divide(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> FloatArray:
    share: FloatArray = np.divide(part, whole, out=np.zeros(len(part)), where=whole > 0)
    return share


def _with_nulls(values: FloatArray, null: pl.Series) -> pl.Series:
    return pl.select(pl.when(~null).then(pl.Series(values, dtype=pl.Float32))).to_series()
