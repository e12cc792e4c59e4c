"""MinHash signatures, bands, and the pairs they propose.

Signatures are datasketch's: the same permutations (scheme "affine32", seed 1) over the same 32-bit
values give the same numbers as ``datasketch.MinHash(hashfunc=int)``, so that its indexes can read them.
They are computed a permutation at a time over all shingles of a batch.

A signature is cut into ``bands`` of ``rows`` values. Two sets of similarity s agree in one band with
probability ``s ** rows``, so they become a pair with ``1 - (1 - s ** rows) ** bands``. At 0.8, 16 bands of 5
find 0.998 of the pairs at the threshold itself and practically all above. They also propose 0.63 of the pairs
at 0.57, which costs little, since verification is cheap. (datasketch's own optimiser weighs the two errors
alike, picks 9 bands of 13 at 0.8 and misses 0.6 of the pairs at the threshold.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from datasketch import MinHash

from hydata.curation.dedup.shingles import IntArray, ShingleSets, UInt32Array, sorted_unique
from hydata.curation.words import UInt64Array, mix

PERMUTATIONS = 80
SEED = 1
MIN_FIND = 0.998
"""The least probability with which a pair at the threshold must become a candidate."""

BUCKET_ALL_PAIRS = 64
PREDECESSORS = 8
"""A bucket of more than 64 texts is a template that many share. Comparing all its pairs would take time in
the square of it, so each text is compared with the bucket's first and its 8 predecessors, in keep order."""

_CHUNK = 4_000_000  # shingles (or pairs x shingles) worked on at once: about 100 MB


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
    multipliers, addends = MinHash(num_perm=PERMUTATIONS, seed=SEED, scheme="affine32").permutations
    return multipliers, addends


def signatures(sets: ShingleSets) -> UInt32Array:
    """MinHash signatures of shape (number of sets, 80), as datasketch computes them."""
    found = np.empty((len(sets), PERMUTATIONS), np.uint32)
    ends = sets.offsets
    first = 0
    while first < len(sets):
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + _CHUNK, side="right")) - 1)
        values = _premix(sets.values[ends[first] : ends[last]])
        starts = ends[first:last] - ends[first]
        for k, (multiplier, addend) in enumerate(zip(*_permutations(), strict=True)):
            found[first:last, k] = np.minimum.reduceat(values * multiplier + addend, starts)
        first = last
    return found


def _premix(values: UInt32Array) -> UInt32Array:
    """MurmurHash3's 32-bit finaliser, which datasketch applies before its permutations."""
    values = values ^ (values >> np.uint32(16))
    values = values * np.uint32(0x85EBCA6B)
    values = values ^ (values >> np.uint32(13))
    values = values * np.uint32(0xC2B2AE35)
    return values ^ (values >> np.uint32(16))


def band_keys(sets: ShingleSets, threshold: float) -> UInt32Array:
    """One 32-bit key per set and band, of shape (number of sets, bands)."""
    bands, rows = banding(threshold)
    signature = signatures(sets)
    keys = np.empty((len(sets), bands), np.uint32)
    for band in range(bands):
        key = np.full(len(sets), band, np.uint64)
        for k in range(band * rows, (band + 1) * rows):
            key = mix(key + signature[:, k])
        keys[:, band] = key >> np.uint64(32)
    return keys


def candidates(keys: UInt32Array) -> npt.NDArray[np.int64]:
    """Pairs (earlier, later) of rows that share a band, each once, ascending; shape (pairs, 2).

    The rows are to be in keep order: of a large bucket only some pairs are proposed, and which ones
    follows from that order.
    """
    shift = np.uint64(32)
    row = np.arange(len(keys), dtype=np.uint64)
    pairs = [np.empty(0, np.uint64)]
    for band in range(keys.shape[1]):
        ordered = np.sort(keys[:, band].astype(np.uint64) << shift | row)
        pairs.append(_bucket_pairs(ordered >> shift, ordered & np.uint64(0xFFFFFFFF)))
    unique = sorted_unique(np.concatenate(pairs))
    return np.stack([unique >> shift, unique & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)


def _bucket_pairs(keys: UInt64Array, rows: UInt64Array) -> UInt64Array:
    """Pairs inside runs of equal keys, packed as ``earlier << 32 | later``; rows ascend in a run."""
    shift = np.uint64(32)
    starts = (
        np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.empty(0, int)
    )
    sizes = np.diff(np.append(starts, len(keys)))
    first = np.repeat(starts, sizes)  # of each member's bucket
    large = np.repeat(sizes > BUCKET_ALL_PAIRS, sizes)
    place = np.arange(len(keys))
    pairs = [np.empty(0, np.uint64)]
    # All pairs at distance d, bucket-wise; the first member is at distance place - first.
    for distance in range(1, min(int(sizes.max(initial=0)), BUCKET_ALL_PAIRS)):
        later = place[place - first >= distance]
        if distance > PREDECESSORS:
            later = later[~large[later]]
        pairs.append(rows[later - distance] << shift | rows[later])
    far = place[large & (place - first > PREDECESSORS)]
    pairs.append(rows[first[far]] << shift | rows[far])
    return np.concatenate(pairs)


def similarities(sets: ShingleSets, pairs: IntArray, threshold: float) -> npt.NDArray[np.float32]:
    """Jaccard similarity of each pair of sets, Float32; 0 where the sizes alone rule out ``threshold``."""
    sizes = sets.sizes[pairs]
    found = np.zeros(len(pairs), np.float32)
    possible = np.flatnonzero(sizes.min(axis=1) >= threshold * sizes.max(axis=1) - 1e-9)
    shingles = np.cumsum(sizes[possible].sum(axis=1))
    shift = np.uint64(32)
    begin = 0
    while begin < len(possible):
        done = shingles[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(shingles, done + _CHUNK, side="right")))
        chosen = possible[begin:end]
        both = sets.take(pairs[chosen].ravel())
        pair = np.repeat(np.arange(len(chosen), dtype=np.uint64), both.sizes.reshape(-1, 2).sum(axis=1))
        merged = np.sort(pair << shift | both.values)  # a shingle of both sets stands twice in a row
        twice = merged[1:][merged[1:] == merged[:-1]] >> shift
        shared = np.bincount(twice.astype(np.int64), minlength=len(chosen))
        found[chosen] = shared / (sizes[chosen].sum(axis=1) - shared)
        begin = end
    return found
