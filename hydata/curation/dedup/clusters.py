"""From verified pairs to clusters and to the records that are kept.

Rows are numbered in keep order: row 0 is the one that nothing can displace.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


def components(count: int, pairs: IntArray) -> IntArray:
    """For each of ``count`` rows the first row of its connected component.

    Every round gives both ends of each pair the smaller of their labels and then follows labels to their
    roots, so the rounds grow with the logarithm of the longest chain, not with its length.
    """
    label = np.arange(count)
    while True:
        low = np.minimum(label[pairs[:, 0]], label[pairs[:, 1]])
        joined = label.copy()
        for side in (0, 1):
            np.minimum.at(joined, label[pairs[:, side]], low)  # the roots
            np.minimum.at(joined, pairs[:, side], low)  # the rows
        while True:
            followed = joined[joined]
            if np.array_equal(followed, joined):
                break
            joined = followed
        if np.array_equal(joined, label):
            return label
        label = joined


def leaders(
    count: int, pairs: IntArray, similarity: FloatArray, always: npt.NDArray[np.bool_]
) -> tuple[IntArray, FloatArray]:
    """For each row the row it is a duplicate of (itself: kept) and their similarity.

    In keep order, a row is dropped if a verified pair links it to an earlier row that is kept, and goes
    to the most similar of these, the first one if several are. Rows of ``always`` are never dropped.
    ``pairs`` are (earlier, later).
    """
    leader = np.arange(count)
    best = np.ones(count, np.float32)
    order = np.lexsort((pairs[:, 0], -similarity, pairs[:, 1]))
    kept = np.ones(count, bool)
    for earlier, later, value in zip(
        pairs[order, 0].tolist(), pairs[order, 1].tolist(), similarity[order].tolist(), strict=True
    ):
        if kept[later] and kept[earlier] and not always[later]:
            kept[later] = False
            leader[later], best[later] = earlier, value
    return leader, best
