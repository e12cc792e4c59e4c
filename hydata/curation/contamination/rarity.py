"""How much a word says: inverse document frequencies over the questions of the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from hydata.curation.contamination.words import Words
from hydata.curation.dedup.kernels import Float32Array, UInt64Array


@dataclass(frozen=True)
class Rarity:
    """How much a word says: ``weights`` of ``keys``, ascending; any other word says as
    much as one that a single question has, ``most``."""

    keys: UInt64Array
    weights: Float32Array
    most: float

    def of(self, words: UInt64Array) -> Float32Array:
        """The weight of each word."""
        place = np.minimum(np.searchsorted(self.keys, words), len(self.keys) - 1)
        return np.where(self.keys[place] == words, self.weights[place], np.float32(self.most))


def rarity_in(words: Words) -> Rarity:
    """Inverse document frequencies."""
    row = np.repeat(np.arange(len(words)), words.sizes)
    pairs = pl.DataFrame({"word": words.values, "row": row}).unique()
    counted = pairs.group_by("word").len().sort("word")
    count = len(words)
    if not counted.height:
        return Rarity(np.zeros(1, np.uint64), np.ones(1, np.float32), 1.0)
    weights = np.log((count + 1) / (counted["len"].to_numpy() + 0.5)).astype(np.float32)
    return Rarity(counted["word"].to_numpy(), weights, float(np.log((count + 1) / 1.5)))
