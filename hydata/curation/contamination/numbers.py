"""What agreeing numbers are worth as evidence that two problems are one."""

from __future__ import annotations

import numpy as np

UNKNOWN = 0.5
"""Evidence where there are no numbers."""
SURE = 0.7
"""Evidence of two numbers that both have, where one has a third."""


def agree(text: frozenset[float], item: frozenset[float]) -> tuple[float, float]:
    """The agreement of two sets of numbers, NaN if both are empty, and what it is worth as evidence."""
    shared, both = len(text & item), len(text | item)
    if not both:
        return np.nan, UNKNOWN
    agreement = shared / both
    weight = 1 - 0.5**shared
    return agreement, (1 - weight) * UNKNOWN + weight * agreement**0.5 if shared else 0.0
