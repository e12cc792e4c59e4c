"""Items that say the same in other words: a neighbour by its vector, made sure of by numbers and names.

Each text is compared with the questions of all benchmarks by exact cosines, in blocks. A vector alone cannot
tell a paraphrase of a test item from another problem of the same kind: of GSM8K's training problems 1 in 100 is
nearer to a test item than a third of the paraphrases are to theirs. What a paraphrase keeps and another problem
does not are its numbers and names. ``paraphrase`` is all of it in one number (docs/decisions/0017):

    similarity * evidence        evidence = (1 - w) * UNKNOWN + w * sqrt(agreement),  w = 1 - 2 ** -shared

``agreement`` is the Jaccard similarity of the numbers in the text and in the question; those of the item's answer,
which the text may have as well, are left out. ``shared`` is how many both have: three numbers that agree are
strong evidence, a single one is little. Where neither has any, evidence is ``UNKNOWN``; where they have
none in common, it is 0. If the item has names and the text none of them, the result is times ``NO_NAME``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hydata.curation.contamination.figures import capitalised, figures, names
from hydata.curation.contamination.index import ANSWER, units_of
from hydata.curation.contamination.items import Items
from hydata.curation.dedup.kernels import Float32Array, Int64Array
from hydata.curation.semantic.embeddings import embed_local
from hydata.curation.semantic.encoders import Encoder

CHARACTERS = 4000
"""Characters of a text that is compared: the mean of more is like nothing in particular."""
NEAREST = 5
"""Items whose numbers are compared: the nearest one is another in 2 of 100 paraphrases of GSM8K."""
FLOOR = 0.45
"""The least cosine of an item whose numbers are compared."""
UNKNOWN = 0.6
NO_NAME = 0.8
CELLS = 1 << 22
"""Cosines of a block: 16 MiB."""

_DOCUMENTED = re.compile(r'"""(.*?)"""|' r"'''(.*?)'''", re.DOTALL)
_DEFINED = re.compile(r"\b(?:def|function|class)\s+(\w+)")
_EXAMPLE = re.compile(r">>>|\b[Ee]xamples?\b|\n\s*\w+\([^\n]*\)\s*(?:==|=>|➞|->|=)")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|_+")


def prose(text: str) -> str:
    """What a text says in words: of code its docstring up to the examples, with the function's name."""
    documented = _EXAMPLE.split(" ".join(a or b for a, b in _DOCUMENTED.findall(text)), maxsplit=1)[0]
    if not documented.strip():
        return text
    return ". ".join((*(_HUMP.sub(" ", name) for name in _DEFINED.findall(text)[-1:]), documented.strip()))


@dataclass(frozen=True)
class Near:
    """Of each text: the ``unit`` it is likest, by its number, -1 for none; its ``similarity``, a cosine;
    ``agreement`` of numbers, NaN where neither has any; ``paraphrase``, 0 to 1. Texts that are not compared
    have NaN."""

    unit: Int64Array
    similarity: Float32Array
    agreement: Float32Array
    paraphrase: Float32Array


@dataclass(frozen=True)
class Meaning:
    """The questions of all benchmarks: ``units`` are their numbers; ``vectors``, Float32[n, dimensions]; what
    each holds, and what its answer does."""

    encoder: Encoder
    units: Int64Array
    vectors: Float32Array
    numbers: tuple[frozenset[float], ...]
    answers: tuple[frozenset[float], ...]
    names: tuple[frozenset[str], ...]

    def find(self, texts: pl.Series) -> Near:
        """What each text is likest."""
        said = pl.Series([None if t is None else _said(t) for t in texts], dtype=pl.String).fill_null("")
        vectors = embed_local(said, self.encoder, CHARACTERS).vectors
        count = len(texts)
        unit, paraphrase = np.full(count, -1), np.full(count, np.nan, np.float32)
        similarity, agreement = paraphrase.copy(), paraphrase.copy()
        rows = np.flatnonzero(vectors.any(axis=1))
        step = max(1, CELLS // max(1, len(self.units)))
        for begin in range(0, len(rows) if len(self.units) else 0, step):
            some = rows[begin : begin + step]
            cosines = vectors[some] @ self.vectors.T
            most = min(NEAREST, cosines.shape[1])
            nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
            for row, candidates, near in zip(
                some.tolist(), nearest, np.take_along_axis(cosines, nearest, axis=1), strict=True
            ):
                at, similarity[row], agreement[row], paraphrase[row] = self._likest(
                    said[row], candidates, near
                )
                unit[row] = self.units[at]
        return Near(unit, similarity, agreement, paraphrase)

    def _likest(
        self, text: str, candidates: Int64Array, cosines: Float32Array
    ) -> tuple[int, float, float, float]:
        """The best of the candidates: its place, cosine, agreement, and paraphrase."""
        best = int(np.argmax(cosines))
        found = (int(candidates[best]), float(cosines[best]), np.nan, 0.0)
        if cosines[best] < FLOOR:
            return found
        numbers, capitals = figures(text), capitalised(text)
        for at, cosine in zip(candidates.tolist(), cosines.tolist(), strict=True):
            if cosine < FLOOR:
                continue
            own, answer = self.numbers[at], self.answers[at]
            agreement, evidence = agree(numbers - (answer - own), own)
            if self.names[at] and capitals.isdisjoint(self.names[at]):
                evidence *= NO_NAME
            if cosine * evidence > found[3]:
                found = (at, cosine, agreement, cosine * evidence)
        return found


def agree(text: frozenset[float], item: frozenset[float]) -> tuple[float, float]:
    """The agreement of two sets of numbers, NaN if both are empty, and what it is worth as evidence."""
    shared, both = len(text & item), len(text | item)
    if not both:
        return np.nan, UNKNOWN
    agreement = shared / both
    weight = 1 - 0.5**shared
    return agreement, (1 - weight) * UNKNOWN + weight * agreement**0.5 if shared else 0.0


def read_meaning(benchmarks: Sequence[Items], encoder: Encoder) -> Meaning:
    """The questions of all benchmarks, as ``units_of`` numbers them."""
    units = units_of(benchmarks).with_row_index("unit")
    questions = units.filter(pl.col("part") == "question")
    answers = dict(units.filter(pl.col("part") == ANSWER).select("number", "text").iter_rows())
    said = pl.Series([_said(text) for text in questions["text"]], dtype=pl.String)
    vectors = embed_local(said, encoder, CHARACTERS).vectors
    there = np.flatnonzero(vectors.any(axis=1))
    texts = said.gather(there).to_list()
    code = (said != questions["text"]).gather(there).to_list()  # its capitals are the language's
    numbers = questions["number"].gather(there).to_list()
    return Meaning(
        encoder,
        questions["unit"].gather(there).to_numpy().astype(np.int64),
        vectors[there],
        tuple(figures(text) for text in texts),
        tuple(figures(answers.get(number, "")) for number in numbers),
        tuple(frozenset() if coded else names(text) for text, coded in zip(texts, code, strict=True)),
    )


def _said(text: str) -> str:
    return text if len(text) > CHARACTERS else prose(text)
