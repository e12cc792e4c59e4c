"""MinHash signatures, bands, and the pairs they propose.

Signatures are datasketch's: the same permutations (scheme "affine32", seed 1) over the same 32-bit
values give the same numbers as ``datasketch.MinHash(hashfunc=int)``, so that its indexes can read them.

A signature is cut into ``bands`` of ``rows`` values. Two sets of similarity s agree in one band with
probability ``s ** rows``, so they become a pair with ``1 - (1 - s ** rows) ** bands``. At 0.8, 16 bands of 5
find 0.998 of the pairs at the threshold itself and practically all above. They also propose 0.63 of the pairs
at 0.57, which costs little, since verification is cheap. (datasketch's own optimiser weighs the two errors
alike, picks 9 bands of 13 at 0.8 and misses 0.6 of the pairs at the threshold.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from hydata.curation.dedup import kernels
from hydata.curation.dedup.kernels import BoolArray, Int32Array, Int64Array, UInt32Array, UInt64Array
from hydata.curation.dedup.shingles import ShingleSets
from hydata.curation.threads import together

PERMUTATIONS = 80
SEED = 1
MIN_FIND = 0.998
"""The least probability with which a pair at the threshold must become a candidate."""

BUCKET_ALL_PAIRS = 64
PREDECESSORS = 8
"""A bucket of more than 64 texts is a template that many share. Comparing all its pairs would take time in
the square of it, so each text is compared with the bucket's first and its 8 predecessors. Cutting it by more
bands finds no others: what tells two texts from the others is in no band that all share. It is in their
rarest shingles (``prefixes``)."""

MOST_PAIRS = 1 << 24
"""Pairs that wait until those proposed by several bands are made one: 128 MiB."""
PAIRS_A_PIECE = 1 << 16
_SHIFT = np.uint64(32)


def find_probability(similarity: float, bands: int, rows: int) -> float:
    """With which probability two sets of this Jaccard similarity share at least one band."""
    return float(1 - (1 - similarity**rows) ** bands)


def banding(threshold: float) -> tuple[int, int]:
    """(bands, rows) for a threshold: the most rows, hence the fewest false candidates, that still find a
    pair at the threshold with ``MIN_FIND``. One row if none does (thresholds under 0.08)."""
    fits = [
        rows
        for rows in range(1, PERMUTATIONS + 1)
        if find_probability(threshold, PERMUTATIONS // rows, rows) >= MIN_FIND
    ]
    rows = max(fits, default=1)
    return PERMUTATIONS // rows, rows


@lru_cache(maxsize=1)
def _permutations() -> tuple[UInt32Array, UInt32Array]:
    """Odd multipliers and addends as datasketch draws them; importing it takes 0.4 s and 50 MB, for it brings
    scipy and redis."""
    draw = np.random.RandomState(SEED).randint
    multipliers = draw(0, 1 << 31, PERMUTATIONS, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return multipliers, draw(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)


def signatures(sets: ShingleSets) -> UInt32Array:
    """MinHash signatures of shape (number of sets, 80), as datasketch computes them."""
    found = np.empty((len(sets), PERMUTATIONS), np.uint32)
    kernels.sign(
        sets.values, sets.offsets[1:], *_permutations(), 1, np.empty((len(sets), 0), np.uint32), found
    )
    return found


def band_keys(sets: ShingleSets, threshold: float) -> UInt32Array:
    """One 32-bit key per set and band, of shape (number of sets, bands)."""
    bands, rows = banding(threshold)
    keys = np.empty((len(sets), bands), np.uint32)
    nothing = np.empty((0, PERMUTATIONS), np.uint32)
    kernels.sign(sets.values, sets.offsets[1:], *_permutations(), rows, keys, nothing)
    return keys


def keys_of(signatures: UInt32Array, bands: int, rows: int) -> UInt32Array:
    """One 32-bit key for each signature and band, as ``band_keys``."""
    keys = np.empty((len(signatures), bands), np.uint32)
    kernels.key_signatures(signatures, rows, keys)
    return keys


def candidates(
    keys: UInt32Array, rows: Int64Array, threads: int | None = None
) -> tuple[UInt64Array, Int64Array]:
    """Pairs of ``rows`` that share a band, as places in ``rows``: ``earlier << 32 | later``, each once,
    ascending. ``keys``: UInt32 of shape (bands, texts).

    Of a large bucket only some pairs are proposed, and which ones follows from the order of rows. Also the
    places of all rows that are in a large bucket, ascending.
    """
    crowded = np.zeros(len(rows), np.bool_)  # threads only ever set it, so that they need not wait

    def propose(band: int) -> UInt64Array:
        return _band_pairs(keys[band][rows], crowded)

    pairs = np.empty(0, np.uint64)
    waiting: list[UInt64Array] = []
    for found in together(propose, range(len(keys)), threads):
        waiting.append(found)
        if sum(map(len, waiting)) > MOST_PAIRS:
            pairs, waiting = sorted_unique(np.concatenate([pairs, *waiting])), []
    return sorted_unique(np.concatenate([pairs, *waiting])), np.flatnonzero(crowded)


def _band_pairs(keys: UInt32Array, crowded: BoolArray) -> UInt64Array:
    ordered = np.sort(keys.astype(np.uint64) << _SHIFT | np.arange(len(keys), dtype=np.uint64))
    count = kernels.bucket_pairs(ordered, np.empty(0, np.uint64), BUCKET_ALL_PAIRS, PREDECESSORS, crowded)
    pairs = np.empty(count, np.uint64)
    kernels.bucket_pairs(ordered, pairs, BUCKET_ALL_PAIRS, PREDECESSORS, crowded)
    return pairs


def shared_shingles(
    values: UInt32Array,
    begins: Int64Array,
    ends: Int64Array,
    pairs: UInt64Array,
    threshold: float,
    threads: int | None = None,
) -> Int32Array:
    """How many shingles the two sets of each pair share; -1 where their Jaccard similarity is under the
    threshold. Set i is ``values[begins[i]:ends[i]]``."""
    shared = np.empty(len(pairs), np.int32)

    def count(begin: int) -> None:
        piece = slice(begin, begin + PAIRS_A_PIECE)
        kernels.count_shared(values, begins, ends, pairs[piece], threshold, shared[piece])

    for _ in together(count, range(0, len(pairs), PAIRS_A_PIECE), threads):
        pass
    return shared


def sorted_unique(keys: UInt64Array) -> UInt64Array:
    """The different keys, ascending: on millions of keys ten times as fast as numpy's ``unique``, which
    hashes them before it sorts."""
    keys = np.sort(keys)
    first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=first[1:])
    return keys[first]


def without(keys: UInt64Array, known: UInt64Array) -> UInt64Array:
    """Those keys that are not among the known ones, which are ascending; ascending themselves."""
    keys = np.sort(keys)  # so that each search ends near the last one
    places = np.searchsorted(known, keys)
    new = places == len(known)
    new[~new] = known[places[~new]] != keys[~new]
    left: UInt64Array = keys[new]
    return left
