"""Words and n-grams, the same for every judge.

A *word* is a run of Unicode letters, digits and marks; each Chinese or Japanese character is a word
of its own, because neither language puts spaces between words. An *n-gram* is n words in a row.

Words stay Polars lists as long as that is enough. For n-grams a column becomes two flat numpy arrays,
the row each word is in and a 64-bit value for the word; all windows of a batch are then hashed by n
multiplications of whole arrays, with no loop over texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
WORD = rf"{CJK}|[[\p{{L}}\p{{N}}\p{{M}}]--{CJK}]+"

UInt64Array = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: multiplying by it loses nothing


def words(text: pl.Expr) -> pl.Expr:
    """The words of ``text`` as a list of strings, as they are written."""
    return text.str.extract_all(WORD)


def word_count(text: pl.Expr) -> pl.Expr:
    """Number of words of ``text``, UInt32."""
    return text.str.count_matches(WORD)


@dataclass(frozen=True)
class FlatWords:
    """All words of a column in a row: word i stands in row ``row[i]`` (ascending), is ``text[i]``.

    ``rows`` is the column's height; rows without a word do not turn up in ``row``.
    """

    rows: int
    row: IntArray
    text: pl.Series


def flat_words(texts: pl.Series) -> FlatWords:
    """The words of every text, end to end; a null text has none."""
    frame = (
        pl.DataFrame({"text": texts})
        .with_row_index("row")
        .select(pl.col("row").cast(pl.Int64), words(pl.col("text")))
        .filter(pl.col("text").list.len() > 0)
        .explode("text")
    )
    return FlatWords(len(texts), frame["row"].to_numpy(), frame["text"])


def windows(row: IntArray, values: UInt64Array, n: int) -> tuple[IntArray, UInt64Array]:
    """The n-grams inside each row: where each begins (an index into ``row``) and its 64-bit hash."""
    if len(row) < n:
        return np.empty(0, np.int64), np.empty(0, np.uint64)
    last = len(row) - n + 1
    begins = np.flatnonzero(row[:last] == row[n - 1 :])
    hashes = np.full(len(begins), n, np.uint64)
    for k in range(n):
        hashes = mix(hashes * _MULTIPLIER + values[begins + k])
    return begins, hashes


def mix(values: UInt64Array) -> UInt64Array:
    """MurmurHash3's 64-bit finaliser: every bit of the input reaches every bit of the output."""
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xFF51AFD7ED558CCD)
    values = values ^ (values >> np.uint64(33))
    values = values * np.uint64(0xC4CEB9FE1A85EC53)
    mixed: UInt64Array = values ^ (values >> np.uint64(33))
    return mixed
