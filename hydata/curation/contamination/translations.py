"""Items in the other language: found by their numbers, made sure of by multilingual-e5-small.

An encoder of several languages takes a core 0.2 s a text, too slow to look at everything; numbers are the
same in all languages and cost nothing. So a text is compared with the few items of the other script whose
numbers agree best with its own (of 30 translated problems of CMATH, 29 have theirs among the first three of
600), and with those alone by vectors: translations have cosines of 0.81 to 0.89, the problems of GSM8K with
the same numbers 0.74 to 0.83. A text with fewer than ``LEAST`` numbers of an item is not compared: nothing is
known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import polars as pl

from hydata.curation.contamination.figures import figures
from hydata.curation.contamination.numbers import SURE, agree
from hydata.curation.dedup.kernels import Float32Array, Int64Array
from hydata.curation.semantic.encoders import Encoder

LEAST = 2
"""Numbers that both must have."""
NEAREST = 5
LOOKED_AT = 20
CHARACTERS = 500
"""Of a text that is encoded: what a vector of e5 is good for (docs/decisions/0009)."""
NOTHING, ALL = 0.70, 0.88
"""Cosines that are similarities of 0 and 1."""


@dataclass(frozen=True)
class Other:
    """The questions of one script: their ``units``, what they say, their numbers and those of their
    answers."""

    units: Int64Array
    said: tuple[str, ...]
    numbers: tuple[frozenset[float], ...]
    answers: tuple[frozenset[float], ...]
    having: dict[float, Int64Array]
    sizes: Int64Array

    def candidates(self, text: str) -> list[tuple[int, float, float]]:
        """(place, agreement, evidence) of those whose numbers agree best with the text's."""
        numbers = figures(text)
        lists = [self.having[number] for number in numbers if number in self.having]
        if len(numbers) < LEAST or not lists:
            return []
        shared = np.bincount(np.concatenate(lists), minlength=len(self.units))
        share = np.where(shared >= LEAST, shared / (self.sizes + len(numbers) - shared), 0)
        first = np.argsort(-share, kind="stable")[:LOOKED_AT]
        found = []
        for at in first[share[first] > 0].tolist():
            own, answer = self.numbers[at], self.answers[at]
            agreement, evidence = agree(numbers - (answer - own), own)
            if evidence >= SURE:
                found.append((at, agreement, evidence))
        return sorted(found, key=lambda one: -one[2])[:NEAREST]


@dataclass(frozen=True)
class Translations:
    """The questions with spaces, to compare Chinese texts with, and the Chinese ones for the others."""

    encoder: Encoder
    spaced: Other
    chinese: Other
    known: dict[str, Float32Array] = field(default_factory=dict, repr=False)
    lock: Lock = field(default_factory=Lock, repr=False)

    def find(
        self, texts: Sequence[str], chinese: Sequence[bool]
    ) -> dict[int, tuple[int, float, float, float]]:
        """By the place of a text that has one: the unit it is likest, their similarity, agreement,
        paraphrase."""
        others = [self.spaced if is_chinese else self.chinese for is_chinese in chinese]
        pairs = [(i, *one) for i, text in enumerate(texts) for one in others[i].candidates(text)]
        if not pairs:
            return {}
        items = [others[i].said[at] for i, at, _, _ in pairs]
        of_items, of_texts = self._items(items), self._encoded([texts[i] for i, *_ in pairs])
        found: dict[int, tuple[int, float, float, float]] = {}
        for (i, at, agreement, evidence), said in zip(pairs, items, strict=True):
            cosine = float(of_texts[texts[i]] @ of_items[said])
            similarity = min(1.0, max(0.0, (cosine - NOTHING) / (ALL - NOTHING)))
            if i not in found or similarity * evidence > found[i][3]:
                found[i] = (int(others[i].units[at]), similarity, agreement, similarity * evidence)
        return found

    def _items(self, said: Sequence[str]) -> dict[str, Float32Array]:
        """The vectors of items, each encoded when it is first asked for."""
        with self.lock:
            self.known.update(self._encoded([text for text in said if text not in self.known]))
            return {text: self.known[text] for text in said}

    def _encoded(self, texts: Sequence[str]) -> dict[str, Float32Array]:
        different = list(dict.fromkeys(texts))
        vectors = self.encoder.encode([text[:CHARACTERS] for text in different]).vectors
        return dict(zip(different, vectors, strict=True))


def other(questions: pl.DataFrame) -> Other:
    """The questions (``unit``, ``said``, ``answer``) of one script."""
    said = tuple(questions["said"].to_list())
    numbers = tuple(figures(text) for text in said)
    lists: dict[float, list[int]] = {}
    for place, own in enumerate(numbers):
        for number in own:
            lists.setdefault(number, []).append(place)
    return Other(
        questions["unit"].to_numpy().astype(np.int64),
        said,
        numbers,
        tuple(figures(text) for text in questions["answer"]),
        {number: np.array(places) for number, places in lists.items()},
        np.array([len(own) for own in numbers], np.int64),
    )
