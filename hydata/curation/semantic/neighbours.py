"""Vectors to similar pairs.

Vectors are clustered into cells by k-means (faiss), and a vector is compared with all of its own cell and of
the ``PROBES - 1`` cells that are nearest to it next, by matrix products, on all cores. That is an inverted
file (Jégou et al. 2011) joined with itself: an index that is asked for the k nearest would have to be told
k, and what is wanted is all from a threshold on. Up to ``EXACT`` vectors there is one cell, and nothing is
missed.

Vectors stand in keep order. In a crowded block (a cell full of one template) a vector is paired with the
first ``MOST`` before it alone: these are most likely to lead it, and the judge compares what it keeps again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hydata.curation.dedup.kernels import BoolArray, Int64Array
from hydata.curation.semantic.encoders import Float32Array

Float16Array = npt.NDArray[np.float16]

EXACT = 10_000
PROBES = 4
CELLS_A_ROOT = 2
"""Cells for each unit of the square root of n: of a million vectors 2,000 cells of 500."""
POINTS_A_CELL = 40
ROUNDS = 6
SEED = 1
MOST = 64
BLOCK = 2048
"""Vectors on each side of one matrix product: 16 MiB of cosines."""
CELL_MOST = 1 << 14
"""Members of a cell that others are compared with, at the most."""
NEAREST = 4
"""Neighbours that a margin is over (4 as in Artetxe and Schwenk)."""


@dataclass(frozen=True)
class Similar:
    """Pairs, ``one`` before ``two`` in order, and their cosines (of a pair of two languages as well)."""

    one: Int64Array
    two: Int64Array
    similarity: Float32Array


Apart = Callable[[Int64Array, Int64Array], BoolArray]
"""Whether each pair, by the numbers of its two, is none whatever the cosine."""


def no_pairs() -> Similar:
    return Similar(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))


def joined(parts: Sequence[Similar]) -> Similar:
    """All pairs of ``parts``, each once, by ``two``, then ``one``."""
    if not parts:
        return no_pairs()
    one = np.concatenate([part.one for part in parts])
    two = np.concatenate([part.two for part in parts])
    similarity = np.concatenate([part.similarity for part in parts])
    _, first = np.unique(two << np.int64(32) | one, return_index=True)
    return Similar(one[first], two[first], similarity[first])


def similar_pairs(vectors: Float16Array, least: Float32Array, apart: Apart) -> Similar:
    """Pairs of ``vectors``, each of length 1, whose cosine is at least the ``least`` of both and that are not
    ``apart``."""
    return joined([part for cell in _cells(vectors) for part in _similar(vectors, *cell, least, apart)])


def _cells(vectors: Float16Array) -> Iterator[tuple[Int64Array, Int64Array]]:
    """(visitors, members) of each cell, by their numbers, ascending."""
    if len(vectors) <= EXACT:
        everyone = np.arange(len(vectors))
        yield everyone, everyone
        return
    import faiss  # 0.3 s

    cells = int(CELLS_A_ROOT * len(vectors) ** 0.5)
    chosen = np.random.default_rng(SEED).permutation(len(vectors))[: cells * POINTS_A_CELL]
    clustering = faiss.Kmeans(
        vectors.shape[1],
        cells,
        niter=ROUNDS,
        spherical=True,
        seed=SEED,
        max_points_per_centroid=POINTS_A_CELL,
    )
    clustering.train(vectors[np.sort(chosen)].astype(np.float32))
    nearest = np.empty((len(vectors), PROBES), np.int32)
    for begin in range(0, len(vectors), EXACT):
        block = slice(begin, begin + EXACT)
        nearest[block] = clustering.index.search(vectors[block].astype(np.float32), PROBES)[1]
    visits = nearest.ravel()
    by_cell = np.argsort(visits, kind="stable")
    bounds = np.searchsorted(visits[by_cell], np.arange(cells + 1))
    for cell in range(cells):
        entries = by_cell[bounds[cell] : bounds[cell + 1]]
        visitors, rank = np.divmod(entries, PROBES)
        yield visitors, visitors[rank == 0][:CELL_MOST]


def _similar(
    vectors: Float16Array, visitors: Int64Array, members: Int64Array, least: Float32Array, apart: Apart
) -> Iterator[Similar]:
    """Pairs of a visitor and a member. Of a crowded block each later one has its first ``MOST`` earlier ones
    alone."""
    alike = visitors is members
    for begin in range(0, len(visitors), BLOCK):
        rows = visitors[begin : begin + BLOCK]
        left = vectors[rows].astype(np.float32)
        for start in range(0, len(members), BLOCK):
            columns = members[start : start + BLOCK]
            if alike and columns[0] >= rows[-1]:
                break  # the same pairs come the other way round
            cosines = left @ vectors[columns].astype(np.float32).T
            row, column = np.nonzero(cosines >= np.maximum(least[rows, None], least[columns]))
            a, b, similarity = rows[row], columns[column], cosines[row, column]
            wanted = ~apart(a, b) & ((b < a) if alike else (b != a))
            one, two = np.minimum(a, b)[wanted], np.maximum(a, b)[wanted]
            similarity = similarity[wanted]
            if len(one) > MOST * len(rows):
                order = np.lexsort((one, two))
                few = order[np.arange(len(order)) - np.searchsorted(two[order], two[order]) < MOST]
                one, two, similarity = one[few], two[few], similarity[few]
            yield Similar(one, two, similarity)


def across(vectors: Float16Array, one: Int64Array, two: Int64Array, least: float, margin: float) -> Similar:
    """Pairs of a vector of ``one`` and a vector of ``two`` (numbers of ``vectors``: the records of two
    languages), each the nearest of the other, whose cosine is at least ``least`` and whose margin is at
    least ``margin``: the cosine over the mean of the cosines of both with their ``NEAREST`` others on the
    other side (after the ratio margin of Artetxe and Schwenk 2019, section 3.2, which counts the pair
    itself). Where there are fewer others, ``least`` stands for them."""
    if not len(one) or not len(two):
        return no_pairs()
    to_two, cosine_two = _nearest(vectors, one, two, least)
    to_one, cosine_one = _nearest(vectors, two, one, least)
    known = np.empty((len(vectors), NEAREST + 1), np.float32)
    known[one], known[two] = cosine_two, cosine_one
    left = np.concatenate([np.repeat(one, NEAREST + 1), to_one.ravel()])
    right = np.concatenate([to_two.ravel(), np.repeat(two, NEAREST + 1)])
    cosine = np.concatenate([cosine_two.ravel(), cosine_one.ravel()])
    near = (left >= 0) & (right >= 0) & (cosine >= least)
    left, right, cosine = left[near], right[near], cosine[near]
    others = (_mean_of_others(known[left], cosine) + _mean_of_others(known[right], cosine)) / 2
    best = (cosine >= known[left, 0]) & (cosine >= known[right, 0])
    clear = best & (cosine >= margin * others)
    left, right = left[clear], right[clear]
    return joined([Similar(np.minimum(left, right), np.maximum(left, right), cosine[clear])])


def _mean_of_others(known: Float32Array, cosine: Float32Array) -> Float32Array:
    """The mean of the first ``NEAREST`` of each row, descending, without the one that is ``cosine``."""
    without = np.maximum(cosine, known[:, -1])  # one that is not among them is less than the last
    mean: Float32Array = (known.sum(axis=1) - without) / NEAREST
    return mean


def _nearest(
    vectors: Float16Array, of: Int64Array, among: Int64Array, least: float
) -> tuple[Int64Array, Float32Array]:
    """For each vector of ``of`` its nearest of ``among`` (numbers) and the cosines, descending, of shape (of,
    ``NEAREST`` + 1); where there are not so many, -1 and ``least``."""
    import faiss

    size, count = vectors.shape[1], NEAREST + 1
    flat = faiss.IndexFlatIP(size)
    if len(among) > EXACT:
        cells = int(len(among) ** 0.5)
        index: Any = faiss.IndexIVFFlat(flat, size, cells, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid, index.nprobe = ROUNDS, POINTS_A_CELL, 2 * PROBES
        index.train(vectors[among[:: max(1, len(among) // (cells * POINTS_A_CELL))]].astype(np.float32))
    else:
        index = flat
    for begin in range(0, len(among), EXACT):
        index.add(vectors[among[begin : begin + EXACT]].astype(np.float32))
    cosines, places = np.empty((len(of), count), np.float32), np.empty((len(of), count), np.int64)
    for begin in range(0, len(of), EXACT):
        block = slice(begin, begin + EXACT)
        cosines[block], places[block] = index.search(vectors[of[block]].astype(np.float32), count)
    missing = places < 0
    found = np.where(missing, -1, among[places])
    return found, np.where(missing, np.float32(least), cosines)
