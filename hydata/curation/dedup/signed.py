"""What is known of many texts: all that later steps need of them, so that the texts themselves can go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from hydata.curation.dedup.kernels import Int64Array, UInt32Array, UInt64Array
from hydata.curation.dedup.minhash import band_keys, banding
from hydata.curation.dedup.shingles import Texts, end_to_end, read_texts

Fetched = tuple[UInt32Array, Int64Array, Int64Array]
"""Shingle sets: set i is ``values[begins[i]:ends[i]]``."""


@dataclass(frozen=True)
class Signed:
    """Of n texts: ``text`` and ``words`` as in ``Texts``; ``length``; their band ``keys``, UInt32[bands, n];
    and how to ``fetch`` the shingle sets of some, by their numbers, ascending or not."""

    text: UInt64Array
    words: UInt64Array
    length: Int64Array
    keys: UInt32Array
    fetch: Callable[[Int64Array], Fetched]


def sign_texts(texts: pa.Array, threshold: float) -> tuple[Texts, UInt32Array]:
    """Texts (Arrow strings; null counts as empty), read and signed: what is known of them and their band
    keys."""
    read = read_texts(texts)
    return read, band_keys(read.sets, threshold)


def in_memory(parts: list[tuple[Texts, UInt32Array]], threshold: float) -> Signed:
    """What ``sign_texts`` gave, in order, with all shingle sets in memory: 4 bytes a shingle. ``parts`` is
    empty then, so that little is in memory twice."""
    keys, sizes = [keys for _, keys in parts], [read.sets.sizes for read, _ in parts]
    values = [read.sets.values for read, _ in parts]
    text, words = [read.text for read, _ in parts], [read.words for read, _ in parts]
    length = [read.length for read, _ in parts]
    parts.clear()
    offsets = np.concatenate(([0], np.cumsum(end_to_end(sizes, np.empty(0, np.int64)))))
    all_values = end_to_end(values, np.empty(0, np.uint32))
    bands = np.empty((banding(threshold)[0], len(offsets) - 1), np.uint32)
    end = bands.shape[1]
    while keys:
        part = keys.pop()
        bands[:, end - len(part) : end] = part.T
        end -= len(part)
    return Signed(
        text=end_to_end(text, np.empty(0, np.uint64)),
        words=end_to_end(words, np.empty((0, 2), np.uint64)),
        length=end_to_end(length, np.empty(0, np.int64)),
        keys=bands,
        fetch=lambda rows: (all_values, offsets[rows], offsets[rows + 1]),
    )
