"""Vectors to similar pairs.

Vectors are clustered into cells by k-means (faiss), and a vector is compared with all of its own cell and of
the ``PROBES - 1`` cells that are nearest to it next, by matrix products, on all cores. That is an inverted
file (Jégou et al. 2011) joined with itself: an index that is asked for the k nearest would have to be told
k, and what is wanted is all from a threshold on. Up to ``EXACT`` vectors there is one cell, and nothing is
missed.

Vectors stand in keep order. Of those that are similar to very many (a cell full of one template) only the
first ``MOST`` before it are kept: these are who may lead it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hydata.curation.dedup.kernels import Int64Array
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
"""Neighbours that a margin is over (Artetxe and Schwenk use 4)."""


@dataclass(frozen=True)
class Similar:
    """Pairs, ``one`` before ``two`` in order, and their cosines (of a pair of two languages as well)."""

    one: Int64Array
    two: Int64Array
    similarity: Float32Array


def similar_pairs(vectors: Float16Array, least: Float32Array) -> Similar:
    """Pairs of ``vectors``, each of length 1, whose cosine is at least the ``least`` of both; each once, by
    ``two``, then ``one``."""
    found = [_similar(vectors, *cell, least) for cell in _cells(vectors)]
    if not found:
        return Similar(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    one, two, similarity = (np.concatenate(column) for column in zip(*found, strict=True))
    _, first = np.unique(two * len(vectors) + one, return_index=True)
    return Similar(one[first], two[first], similarity[first])


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
    vectors: Float16Array, visitors: Int64Array, members: Int64Array, least: Float32Array
) -> tuple[Int64Array, Int64Array, Float32Array]:
    """(one, two, cosine) of visitors and members, whichever comes first, that are similar: the later one
    with the first ``MOST`` earlier ones of each block."""
    found: list[tuple[Int64Array, Int64Array, Float32Array]] = []
    for begin in range(0, len(visitors), BLOCK):
        rows = visitors[begin : begin + BLOCK]
        left = vectors[rows].astype(np.float32)
        for start in range(0, len(members), BLOCK):
            columns = members[start : start + BLOCK]
            if columns[0] >= rows[-1] and visitors is members:
                break  # the same pairs come the other way round
            cosines = left @ vectors[columns].astype(np.float32).T
            row, column = np.nonzero(cosines >= np.maximum(least[rows, None], least[columns]))
            earlier = columns[column] < rows[row]
            if visitors is members:
                row, column = row[earlier], column[earlier]
            else:
                other = columns[column] != rows[row]
                row, column = row[other], column[other]
            first = np.searchsorted(row, row)  # pairs of one visitor stand together
            few = np.arange(len(row)) - first < MOST
            row, column = row[few], column[few]
            one, two = rows[row], columns[column]
            found.append((np.minimum(one, two), np.maximum(one, two), cosines[row, column]))
    if not found:
        return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32)
    one, two, cosine = (np.concatenate(column) for column in zip(*found, strict=True))
    return one, two, cosine


def across(vectors: Float16Array, one: Int64Array, two: Int64Array, least: float, margin: float) -> Similar:
    """Pairs of a vector of ``one`` and a vector of ``two`` (numbers of ``vectors``: the records of two
    languages) whose cosine is at least ``least`` and whose margin is at least ``margin``: the cosine over the
    mean of the cosines of both with their ``NEAREST`` on the other side (the ratio margin of Artetxe and
    Schwenk 2019, section 3.2)."""
    nothing = Similar(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    if not len(one) or not len(two):
        return nothing
    to_two, cosine_two = _nearest(vectors, one, two)
    to_one, cosine_one = _nearest(vectors, two, one)
    mean = np.zeros(len(vectors), np.float32)
    mean[one], mean[two] = cosine_two.mean(axis=1), cosine_one.mean(axis=1)
    left = np.concatenate([np.repeat(one, to_two.shape[1]), to_one.ravel()])
    right = np.concatenate([to_two.ravel(), np.repeat(two, to_one.shape[1])])
    cosine = np.concatenate([cosine_two.ravel(), cosine_one.ravel()])
    near = (cosine >= least) & (cosine >= margin * (mean[left] + mean[right]) / 2)
    first, second = np.minimum(left, right)[near], np.maximum(left, right)[near]
    _, once = np.unique(second * len(vectors) + first, return_index=True)
    return Similar(first[once], second[once], cosine[near][once])


def _nearest(vectors: Float16Array, of: Int64Array, among: Int64Array) -> tuple[Int64Array, Float32Array]:
    """For each vector of ``of`` its nearest of ``among`` (numbers) and the cosines, of shape (of, up to
    ``NEAREST``)."""
    import faiss

    size, count = vectors.shape[1], min(NEAREST, len(among))
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
    # where the cells asked hold fewer, faiss says place -1 and the least number that there is
    return among[places], np.maximum(cosines, -1)
