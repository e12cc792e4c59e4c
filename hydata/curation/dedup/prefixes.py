"""Pairs inside large buckets, by the rarest shingles that two texts share.

Where many texts share a template, what tells a pair above the threshold from the others is in no band, but
in the few shingles that are not the template's. Prefix filtering finds it (Chaudhuri et al. 2006; Bayardo, Ma
and Srikant, "Scaling up all pairs similarity search", WWW 2007; in the order of size as Xiao et al., PPJoin,
WWW 2008). Let the shingles of each set stand in one order, whichever it is. Two sets of a and b shingles
whose Jaccard similarity is at least t share one of the first ``a - ceil(t * a) + 1`` of the one and
``b - ceil(t * b) + 1`` of the other. With the rarest first, few others share it.

A shingle that more than ``BUCKET_ALL_PAIRS`` texts have among their first would take time in the square of
them again. Of these each is compared with the first and with its ``PREDECESSORS``, in the order of size: of
texts that have a template in common and nothing else, all that are near any other are near the shortest.
Those of one size stand in the order of their rarest shared shingle, so that neighbours share two.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hydata.curation.dedup import kernels
from hydata.curation.dedup.kernels import Int64Array, UInt32Array, UInt64Array
from hydata.curation.dedup.minhash import BUCKET_ALL_PAIRS, PREDECESSORS
from hydata.curation.dedup.shingles import end_to_end
from hydata.curation.threads import together

PAIRS_AT_ONCE = 1 << 20
TEXTS_A_PIECE = 1 << 13
COUNTER_BITS = 24
"""Shingles are counted by so many of their highest bits at the most (64 MiB). A rare one that is counted
together with a frequent one comes later in the order, which is an order all the same."""


def prefix_pairs(
    values: UInt32Array,
    begins: Int64Array,
    ends: Int64Array,
    crowded: Int64Array,
    threshold: float,
    threads: int | None = None,
) -> Iterator[UInt64Array]:
    """Pairs of ``crowded`` that share one of their rarest shingles, ``lesser << 32 | greater``, each once, in
    batches; a batch is overwritten by the next. Set i is ``values[begins[i]:ends[i]]``.

    Which ones depends on the sets of ``crowded`` and, between sets that are otherwise alike, on the order of
    their numbers. There are fewer than ``BUCKET_ALL_PAIRS`` for each of the first shingles of each text.
    """
    begins, ends = begins[crowded], ends[crowded]
    sizes = ends - begins
    lengths = sizes - np.ceil(threshold * sizes - 1e-6).astype(np.int64) + 1
    entries, found, leads = _rarest(values, begins, ends, lengths, threads)
    order = np.lexsort((leads, sizes))
    kernels.renumber(entries, order)
    entries.sort()
    offsets = np.concatenate(([0], np.cumsum(found[order])))
    places = np.empty(len(entries), np.int64)
    kernels.index_prefixes(entries, offsets[:-1].copy(), places)

    sizes, rows = sizes[order], crowded[order]
    met = np.full(len(rows), -1)
    pairs = np.empty(max(PAIRS_AT_ONCE, len(rows)), np.uint64)
    text = 0
    while text < len(rows):
        text, made = kernels.join_prefixes(
            *(entries, offsets, places, sizes, rows),
            *(threshold, BUCKET_ALL_PAIRS, PREDECESSORS),
            *(text, met, pairs),
        )
        yield pairs[:made]


def _rarest(
    values: UInt32Array, begins: Int64Array, ends: Int64Array, lengths: Int64Array, threads: int | None
) -> tuple[UInt64Array, Int64Array, UInt64Array]:
    """``shingle << 32 | set`` for the first shingles of each set, of ``lengths``, that others have as well;
    how many each set has; and numbers that are equal for sets with the same rarest one."""
    bits = min(COUNTER_BITS, int((ends - begins).sum()).bit_length() + 1)  # half of them or more stay zero
    counts = np.zeros(1 << bits, np.uint32)
    kernels.count_values(values, begins, ends, 32 - bits, counts)
    found, leads = np.empty(len(begins), np.int64), np.empty(len(begins), np.uint64)

    def piece(first: int) -> UInt64Array:
        chosen = slice(first, first + TEXTS_A_PIECE)
        room = np.empty(lengths[chosen].sum(), np.uint64)
        kernels.rarest(
            *(values, begins[chosen], ends[chosen], lengths[chosen]),
            *(32 - bits, counts),
            *(first, leads[chosen], found[chosen], room),
        )
        return room[: found[chosen].sum()].copy()

    entries = list(together(piece, range(0, len(begins), TEXTS_A_PIECE), threads))
    return end_to_end(entries, np.empty(0, np.uint64)), found, leads
