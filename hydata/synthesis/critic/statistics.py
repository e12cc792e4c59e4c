"""Agreement of a critic with humans, as numbers. None stands for a number that is not defined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
import polars as pl


def kappa(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> float | None:
    """Cohen's kappa (Cohen 1960): (p_o - p_e) / (1 - p_e), the agreement beyond that of two raters who give
    the same categories as often but at random. None without rows, or if both always give one category."""
    n = len(ours)
    if not n:
        return None
    observed = sum(a == b for a, b in zip(ours, theirs, strict=True)) / n
    counts, others = Counter(ours), Counter(theirs)
    expected = sum(counts[category] * others[category] for category in counts) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Spearman's rank correlation: Pearson's of the ranks, equal values sharing the mean of theirs. None for
    fewer than two rows or if one side is constant."""
    ranks = [pl.Series(values, dtype=pl.Float64).rank("average").to_numpy() for values in (x, y)]
    if len(ranks[0]) < 2 or any(np.ptp(r) == 0 for r in ranks):
        return None
    a, b = (r - r.mean() for r in ranks)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def share(events: Sequence[bool]) -> float | None:
    """The mean of flags."""
    return sum(events) / len(events) if events else None
