"""How good scores of yes-or-no questions are: precision, recall, F1, area under the curve, calibration.

A score is how likely it is (0 to 1) that the answer is yes; from ``THRESHOLD`` on it counts as one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydata.stage import Settings

THRESHOLD = 0.5
BINS = 10

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


class Metrics(Settings):
    """``majority`` is the accuracy of always saying what is more frequent. All else is of the scores: at
    ``THRESHOLD`` accuracy, precision, recall and F1 (null where nothing is to divide by); ``auc``, how often
    a positive is scored above a negative (ties count half; null if there is but one class); ``brier``, the
    mean squared error; ``calibration_error``, the mean distance of score and share of positives in ten equal
    bins, weighted by their rows (Naeini et al. 2015)."""

    rows: int
    positive: int
    majority: float
    accuracy: float
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None
    brier: float
    calibration_error: float


def measured(positive: BoolArray, scores: FloatArray) -> Metrics:
    """The metrics of ``scores`` whose truth is ``positive``; there must be a row at least."""
    said = scores >= THRESHOLD
    right, rows = int((said & positive).sum()), len(positive)
    truth = int(positive.sum())
    precision = right / int(said.sum()) if said.any() else None
    recall = right / truth if truth else None
    bins = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights=scores - positive, minlength=BINS)
    return Metrics(
        rows=rows,
        positive=truth,
        majority=max(truth, rows - truth) / rows,
        accuracy=float((said == positive).mean()),
        precision=precision,
        recall=recall,
        f1=2 * right / (int(said.sum()) + truth) if truth or said.any() else None,
        auc=_auc(positive, scores),
        brier=float(((scores - positive) ** 2).mean()),
        calibration_error=float(np.abs(gaps).sum()) / rows,
    )


def _auc(positive: BoolArray, scores: FloatArray) -> float | None:
    """By the mean ranks of the positives (Mann and Whitney 1947)."""
    truth, others = int(positive.sum()), int((~positive).sum())
    if not truth or not others:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks = (last - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - truth * (truth + 1) / 2) / (truth * others))


def steepness(positive: BoolArray, margins: FloatArray, rounds: int = 50) -> tuple[float, float]:
    """``slope`` and ``offset`` of Platt's logistic curve over ``margins`` (log-odds), by Newton's method.

    Platt (1999), with his targets, which keep a perfect separation from an endless slope.
    """
    truth, others = int(positive.sum()), int((~positive).sum())
    target = np.where(positive, (truth + 1) / (truth + 2), 1 / (others + 2))
    columns = np.stack([margins, np.ones_like(margins)])
    weights = np.array([1.0, 0.0])
    for _ in range(rounds):
        scores = curve(margins, weights[0], weights[1])
        slope = columns @ (target - scores)
        curvature = (columns * np.maximum(scores * (1 - scores), 1e-9)) @ columns.T + 1e-6 * np.eye(2)
        step = np.linalg.solve(curvature, slope)
        weights = weights + np.clip(step, -1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def curve(margins: FloatArray, slope: float, offset: float) -> FloatArray:
    """The logistic curve: scores of log-odds."""
    return 1 / (1 + np.exp(-np.clip(slope * margins + offset, -30, 30)))


def log_odds(scores: FloatArray) -> FloatArray:
    """The inverse of the curve with slope 1; what is too near to 0 or 1 for a Float32 ends at 13.8."""
    inside = np.clip(scores, 1e-6, 1 - 1e-6)
    odds: FloatArray = np.log(inside / (1 - inside))
    return odds
