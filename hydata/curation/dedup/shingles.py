"""Texts as sets of shingles.

A shingle is 5 words in a row (``hydata.curation.words`` says what a word is), hashed to 32 bits. A text
of fewer words is one shingle, and a text without any word is the shingle of its own characters, so that
"!!!" and "???" are not alike. All sets of a batch lie end to end in one array, each sorted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from hydata.curation.words import UInt64Array, flat_words, mix, windows

SHINGLE_WORDS = 5

UInt32Array = npt.NDArray[np.uint32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ShingleSets:
    """Set i is ``values[offsets[i]:offsets[i + 1]]``, ascending and never empty."""

    values: UInt32Array
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> IntArray:
        return np.diff(self.offsets)

    def take(self, chosen: IntArray) -> ShingleSets:
        """The sets of the given numbers, in that order."""
        sizes = self.sizes[chosen]
        offsets = np.concatenate(([0], np.cumsum(sizes)))
        index = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], sizes)
        return ShingleSets(self.values[index], offsets)

    @staticmethod
    def concat(parts: list[ShingleSets]) -> ShingleSets:
        """The sets of all parts, in order."""
        if not parts:
            return ShingleSets(np.empty(0, np.uint32), np.zeros(1, np.int64))
        sizes = np.concatenate([part.sizes for part in parts])
        return ShingleSets(
            np.concatenate([part.values for part in parts]), np.concatenate(([0], np.cumsum(sizes)))
        )


def text_hash(text: str) -> bytes:
    """128-bit hash of a normalised text: equal hashes are exact duplicates."""
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def shingle_sets(normalised: pl.Series) -> ShingleSets:
    """The shingle set of each normalised text."""
    flat = flat_words(normalised)
    row, values = flat.row, _word_values(flat.text)
    in_row = np.bincount(row, minlength=flat.rows)

    begins, hashes = windows(row, values, SHINGLE_WORDS)
    rows, shingles = [row[begins]], [hashes]
    for n in range(1, SHINGLE_WORDS):  # texts of fewer words: one window as long as the text
        short = in_row[row] == n
        begins, hashes = windows(row[short], values[short], n)
        rows.append(row[short][begins])
        shingles.append(hashes)
    wordless = np.flatnonzero(in_row == 0)
    rows.append(wordless)
    shingles.append(_hashes(normalised.gather(wordless)))

    high = np.uint64(32)
    keys = np.concatenate(rows).astype(np.uint64) << high | np.concatenate(shingles) >> high
    keys = sorted_unique(keys)
    sizes = np.bincount((keys >> high).astype(np.int64), minlength=flat.rows)
    return ShingleSets(keys.astype(np.uint32), np.concatenate(([0], np.cumsum(sizes))))


def sorted_unique(keys: UInt64Array) -> UInt64Array:
    """The different keys, ascending: on millions of keys ten times as fast as numpy's ``unique``, which
    hashes them before it sorts."""
    keys = np.sort(keys)
    first = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def _word_values(words: pl.Series) -> UInt64Array:
    """A 64-bit hash of every word, computed once for each different one.

    Not Polars' own hash, which may change with its version: signatures are to be stored one day.
    """
    encoded = words.to_arrow().dictionary_encode()
    codes: IntArray = encoded.indices.to_numpy()
    return _hashes(pl.Series(encoded.dictionary, dtype=pl.String))[codes]


def _hashes(texts: pl.Series) -> UInt64Array:
    digests = (hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts.to_list())
    return mix(np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64))
