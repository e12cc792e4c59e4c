"""From texts to clusters, and to the rows that are kept.

Rows are numbered in keep order: place 0 is the one that nothing can displace. Texts that differ in no word
are made one first. The different ones stand in the order of their hashes when pairs are proposed, so that
what a large bucket proposes, and with it the clusters, depends on the texts alone; only the leader pass goes
in keep order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hydata.curation.dedup import kernels
from hydata.curation.dedup.kernels import BoolArray, Int64Array, UInt64Array
from hydata.curation.dedup.minhash import PREDECESSORS, candidates, shared_shingles, sorted_unique, without
from hydata.curation.dedup.prefixes import prefix_pairs
from hydata.curation.dedup.signed import Signed

FloatArray = npt.NDArray[np.float32]
_SHIFT, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)


@dataclass(frozen=True)
class Clusters:
    """Of n places in keep order: ``first`` is the first place of its cluster; ``leader`` the kept one that it
    is a duplicate of, itself where it is kept; ``similarity`` their Jaccard similarity; ``exact`` whether the
    normal forms of their texts are equal (False for kept ones)."""

    first: Int64Array
    leader: Int64Array
    similarity: FloatArray
    exact: BoolArray

    @property
    def keep(self) -> BoolArray:
        """Whether each is kept."""
        return np.equal(self.leader, np.arange(len(self.leader)))


@dataclass(frozen=True)
class Pairs:
    """Verified pairs of different texts."""

    one: Int64Array
    two: Int64Array
    similarity: FloatArray

    def of(self, chosen: BoolArray) -> Pairs:
        """Some of these."""
        return Pairs(self.one[chosen], self.two[chosen], self.similarity[chosen])

    def and_also(self, *more: Pairs) -> Pairs:
        """These and more."""
        return Pairs(
            np.concatenate([self.one, *(pairs.one for pairs in more)]),
            np.concatenate([self.two, *(pairs.two for pairs in more)]),
            np.concatenate([self.similarity, *(pairs.similarity for pairs in more)]),
        )


def find_clusters(
    signed: Signed, order: Int64Array, admitted: int, threshold: float, threads: int | None = None
) -> Clusters:
    """Clusters of those texts of ``signed`` that ``order`` numbers, in keep order. The first ``admitted`` of
    them are kept whatever they resemble."""
    if len(order) >= 2**32:
        raise ValueError(f"{len(order):,} texts: rows are numbered by 32 bits; compare them in parts")
    group, places = _different(signed.words[order])
    rows = order[places]

    proposed, crowded = candidates(signed.keys(), rows, threads)
    is_involved = np.zeros(len(rows), np.bool_)
    is_involved[proposed >> _SHIFT] = is_involved[proposed & _LOW] = True
    involved = np.flatnonzero(is_involved)
    begins, ends = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    values, begins[involved], ends[involved] = signed.fetch(rows[involved])
    sizes = ends - begins

    def verify(pairs: UInt64Array) -> Pairs:
        shared = shared_shingles(values, begins, ends, pairs, threshold, threads)
        pairs, shared = pairs[shared >= 0], shared[shared >= 0]
        one, two = (pairs >> _SHIFT).astype(np.int64), (pairs & _LOW).astype(np.int64)
        return Pairs(one, two, (shared / (sizes[one] + sizes[two] - shared)).astype(np.float32))

    pairs = verify(proposed)
    if len(crowded):
        more = prefix_pairs(values, begins, ends, crowded, threshold, threads)
        pairs = pairs.and_also(*(verify(without(batch, proposed)) for batch in more))
    labels = np.arange(len(rows))
    kernels.join_components(labels, pairs.one, pairs.two)
    first = np.full(len(rows), len(order))
    np.minimum.at(first, labels, places)
    leader, best = np.arange(len(order)), np.ones(len(order), np.float32)
    _lead(pairs, places, admitted, leader, best)
    wanted = np.ones(len(rows), np.bool_)  # by label: clusters whose kept rows have not all been compared
    while True:
        again = verify(_not_compared(labels, places, leader, admitted, wanted))
        if not len(again.one):
            break
        pairs = pairs.and_also(again)
        wanted[:] = False
        wanted[labels[again.one]] = True
        redone = places[wanted[labels]]
        leader[redone], best[redone] = redone, 1
        _lead(pairs.of(wanted[labels[pairs.one]]), places, admitted, leader, best)
    values = np.empty(0, np.uint32)  # what was in it is most of what is held here

    place, mine = np.arange(len(order)), places[group]
    same = leader[mine] == mine  # the text's own first place is kept
    keep = (place < admitted) | (same & (place == mine))
    led = np.where(keep, place, np.where(same, mine, leader[mine]))
    text = signed.text[order]
    return Clusters(
        first=first[labels][group],
        leader=led,
        similarity=np.where(keep | same, np.float32(1), best[mine]),
        exact=~keep & (text == text[led]),
    )


def _different(words: UInt64Array) -> tuple[Int64Array, Int64Array]:
    """For each place the number of its text among the different ones, in the order of hashes, and for each
    of these the first place that has it."""
    if not len(words):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    by_words = np.argsort(words[:, 0])
    ordered = words[by_words]
    begins = np.ones(len(words), np.bool_)
    np.any(ordered[1:] != ordered[:-1], axis=1, out=begins[1:])
    group = np.empty(len(words), np.int64)
    group[by_words] = np.cumsum(begins) - 1
    return group, np.minimum.reduceat(by_words, np.flatnonzero(begins))


def _not_compared(
    labels: Int64Array, places: Int64Array, leader: Int64Array, admitted: int, wanted: BoolArray
) -> UInt64Array:
    """Pairs of texts of one cluster, of those whose label is ``wanted``, that are both kept: each with the
    first and with the few before it. Of a large bucket not all pairs were proposed, and without this a
    thousand variants of a template would keep dozens of each other."""
    is_kept = (leader[places] == places) & wanted[labels]
    kept = np.flatnonzero(is_kept & (np.bincount(labels, is_kept, len(labels))[labels] > 1))
    kept = kept[np.lexsort((places[kept], labels[kept]))]
    label, index = labels[kept], np.arange(len(kept))
    begins = np.ones(len(kept), np.bool_)
    np.not_equal(label[1:], label[:-1], out=begins[1:])
    first = np.maximum.accumulate(np.where(begins, index, 0))
    found = []
    for distance in range(PREDECESSORS + 1):
        earlier = np.maximum(first, index - distance) if distance else first
        new = (earlier < index) & (places[kept] >= admitted)
        found.append(kept[earlier[new]].astype(np.uint64) << _SHIFT | kept[new].astype(np.uint64))
    return sorted_unique(np.concatenate(found))


def _lead(pairs: Pairs, places: Int64Array, admitted: int, leader: Int64Array, best: FloatArray) -> None:
    """For each place the one it is a duplicate of (itself: kept), and their similarity.

    In keep order, one is dropped if a verified pair links it to an earlier one that is kept, and goes to the
    most similar of these, the first one if several are.
    """
    one, two = places[pairs.one].astype(np.uint64), places[pairs.two].astype(np.uint64)
    earlier, later = np.minimum(one, two), np.maximum(one, two)
    by_later = np.argsort(later << _SHIFT | earlier)
    kernels.lead(earlier[by_later], later[by_later], pairs.similarity[by_later], admitted, leader, best)


def longest_first(length: Int64Array) -> Int64Array:
    """The rows in keep order where none was admitted before and the row itself is the id: the longer text
    first, then the lesser row."""
    ordered = (np.int64(2**31 - 1) - np.minimum(length, 2**31 - 1)).astype(np.uint64) << _SHIFT
    ordered |= np.arange(len(length), dtype=np.uint64)
    ordered.sort()
    return (ordered & _LOW).astype(np.int64)
