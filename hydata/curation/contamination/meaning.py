"""Items that say the same in other words: found by vectors, made sure of by numbers, words and names.

A text, and each of its paragraphs (what is asked may stand in a long document), is compared with the
questions of all benchmarks in its script by exact cosines, in blocks. Texts with spaces have WordLlama's
static vectors. In Chinese these find everything alike (honest questions have 0.9 with some item), so a
Chinese text's vector is made of its pairs of characters, weighted by how few items have them and hashed to
``DIMENSIONS`` numbers; its similarity is the cube root of the cosine, which is of about the same scale.

A vector alone cannot tell a paraphrase of a test item from another problem of the same kind: 1 in 100 of
GSM8K's training problems is nearer to a test item than a third of the paraphrases are to theirs. What a
paraphrase keeps and another problem does not are its numbers, rare words and names. ``paraphrase`` is all of
it in one number (docs/decisions/0017 has what was measured):

    similarity * evidence
    evidence = (1 - w) * UNKNOWN + w * sqrt(agreement),  w = 1 - 2 ** -shared     where there are numbers
               UNKNOWN + words                                                    else

``agreement`` is the Jaccard similarity of the numbers in the text and in the question; those of the item's
answer, which the text may have as well, are left out. ``shared`` is how many both have: three numbers that
agree are strong evidence, a single one is little, and where all differ evidence is 0. ``words`` is the
Jaccard similarity of both texts' words (pairs of characters in Chinese), weighted as above. If the item has
names and the text none of them, the result is times ``NO_NAME``. What is code is compared with
items that are functions by ``code`` alone; the words around it as said here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hydata.curation.contamination import code
from hydata.curation.contamination.code import Functions, is_code, prose, read_functions
from hydata.curation.contamination.figures import capitalised, figures, names
from hydata.curation.contamination.index import ANSWER, QUESTION, units_of
from hydata.curation.contamination.items import Items
from hydata.curation.contamination.numbers import UNKNOWN, agree
from hydata.curation.contamination.rarity import Rarity, rarity_in
from hydata.curation.contamination.translations import Translations, other
from hydata.curation.contamination.words import Words, read_words
from hydata.curation.dedup.kernels import BoolArray, Float32Array, Int64Array, UInt64Array
from hydata.curation.semantic.embeddings import comparable, embed_local
from hydata.curation.semantic.encoders import Encoder, of_length_1

CHARACTERS = 4000
"""Characters of a text that is compared: the mean of more is like nothing in particular."""
NEAREST = 5
"""Items that are looked at closely: the nearest one is another in 2 of 100 paraphrases of GSM8K."""
FLOOR = 0.45
"""The least similarity of an item that is looked at closely."""
NO_NAME = 0.8
DIMENSIONS = 512
PASSAGES = 64
"""Paragraphs of a text that are compared, at the most: the first ones."""
LEAST_BYTES = 40
"""Of a paragraph that is compared by itself."""
TOGETHER = 4096
"""Passages that have vectors at a time."""
CELLS = 1 << 22
"""Cosines of a block: 16 MiB."""

_BLANK = re.compile(r"\n[^\S\n]*\n")


def passages(text: str) -> list[str]:
    """What is compared of a text: all of it if it is short enough, and its paragraphs. Of code all, or
    nothing."""
    found = [text] if len(text) <= CHARACTERS else []
    if '"""' in text or "'''" in text:
        return found
    parts = _BLANK.split(text, maxsplit=PASSAGES)[:PASSAGES]
    return found + [part for part in parts if len(part.encode()) >= LEAST_BYTES and part is not text]


@dataclass(frozen=True)
class Near:
    """Of each text: the ``unit`` it is likest, by its number, -1 for none; its ``similarity``; ``agreement``
    of numbers, NaN where neither has any, and of functions; ``paraphrase``, 0 to 1. Texts that are not
    compared have NaN."""

    unit: Int64Array
    similarity: Float32Array
    agreement: Float32Array
    paraphrase: Float32Array

    def improve(self, owner: Int64Array, other: Near) -> None:
        """Take over what ``other`` found of passages, by the places of the texts that own them, where that is
        better."""
        for place, at in enumerate(owner.tolist()):
            theirs = (other.paraphrase[place], other.similarity[place])
            if other.unit[place] >= 0 and (
                self.unit[at] < 0 or theirs > (self.paraphrase[at], self.similarity[at])
            ):
                self.unit[at], self.agreement[at] = other.unit[place], other.agreement[place]
                self.paraphrase[at], self.similarity[at] = theirs


def _nowhere(count: int) -> Near:
    nan = np.full(count, np.nan, np.float32)
    return Near(np.full(count, -1), nan, nan.copy(), nan.copy())


@dataclass(frozen=True)
class Question:
    """What is compared closely of one question, or of a text: the numbers in it and in its answer; its
    different ``words``, ascending, and their weights' sum; its names."""

    numbers: frozenset[float]
    answer: frozenset[float]
    words: UInt64Array
    weight: float
    names: frozenset[str]


@dataclass(frozen=True)
class Script:
    """The questions of all benchmarks in one script: ``units`` are their numbers, ``vectors``, Float32[n,
    dimensions], their vectors, ``functions`` says which are functions. Words are n-grams of ``n`` words, or
    characters."""

    encoder: Encoder | None
    n: int
    rarity: Rarity
    units: Int64Array
    vectors: Float32Array
    functions: BoolArray
    questions: tuple[Question, ...]

    def find(
        self,
        texts: pl.Series,
        read: Words,
        functions: BoolArray,
        near: Near,
        chosen: Int64Array,
    ) -> None:
        """What each of the ``chosen`` texts is likest, leaving out items that are functions for those that
        are; written to its place in ``near``."""
        said, words = texts.gather(chosen), Words(*_grams(read.take(chosen), self.n))
        vectors = _vectors(said, words, self.encoder, self.rarity)
        rows = np.flatnonzero(vectors.any(axis=1))
        step, begins = max(1, CELLS // max(1, len(self.units))), words.begins
        for begin in range(0, len(rows) if len(self.units) else 0, step):
            some = rows[begin : begin + step]
            cosines = vectors[some] @ self.vectors.T
            cosines[np.ix_(functions[chosen[some]], self.functions)] = -1
            most = min(NEAREST, cosines.shape[1])
            nearest = np.argpartition(-cosines, most - 1, axis=1)[:, :most]
            likeness = np.take_along_axis(cosines, nearest, axis=1)
            if self.encoder is None:
                likeness = np.cbrt(np.maximum(likeness, 0))
            for row, candidates, similar in zip(some.tolist(), nearest, likeness, strict=True):
                own = words.values[begins[row] : words.ends[row]]
                to = chosen[row]
                at, near.similarity[to], near.agreement[to], near.paraphrase[to] = self._likest(
                    said[row], own, candidates, similar
                )
                near.unit[to] = self.units[at]

    def _likest(
        self,
        text: str,
        words: UInt64Array,
        candidates: Int64Array,
        similar: Float32Array,
    ) -> tuple[int, float, float, float]:
        """The best of the candidates: its place, similarity, agreement, and paraphrase."""
        order = np.argsort(-similar, kind="stable")
        best = order[0]
        found = (int(candidates[best]), float(similar[best]), np.nan, -1.0)
        if similar[best] < FLOOR:
            return (*found[:3], 0.0)
        numbers, capitals = figures(text), capitalised(text)
        words = np.unique(words)
        weight = float(self.rarity.of(words).sum())
        for at, similarity in zip(candidates[order].tolist(), similar[order].tolist(), strict=True):
            if similarity < FLOOR:
                break
            item = self.questions[at]
            agreement, evidence = agree(numbers - (item.answer - item.numbers), item.numbers)
            if np.isnan(agreement):
                both = np.intersect1d(words, item.words, assume_unique=True)
                shared = float(self.rarity.of(both).sum())
                evidence = min(1.0, UNKNOWN + shared / max(weight + item.weight - shared, 1e-9))
            if item.names and capitals.isdisjoint(item.names):
                evidence *= NO_NAME
            if similarity * evidence > found[3]:
                found = (at, similarity, agreement, similarity * evidence)
        return found


@dataclass(frozen=True)
class Meaning:
    """The questions of all benchmarks: those in words with spaces, those in Chinese, and what finds either in
    the other language, if there is such."""

    spaced: Script
    chinese: Script
    functions: Functions
    translations: Translations | None

    @property
    def encoder(self) -> str:
        """The names of all encoders."""
        used = [self.spaced.encoder, self.translations.encoder if self.translations else None]
        return ", ".join(encoder.identity for encoder in used if encoder)

    def find(self, asked: pl.Series, texts: pl.Series) -> Near:
        """What each record is likest, among the items in its script or in translation, by what is ``asked``
        in it; of code, among the items that are functions, by all of it."""
        asked, texts = asked.fill_null(""), texts.fill_null("")
        short = texts.str.len_chars() <= code.CHARACTERS
        functions = self.functions.find(texts.zip_with(short, asked))
        compared = np.zeros(len(asked), np.bool_)
        compared[functions.places] = True
        parts = [passages(text) for text in asked]
        owner = np.repeat(np.arange(len(parts)), [len(some) for some in parts])
        flat = pl.Series([passage for some in parts for passage in some], dtype=pl.String)
        best = _nowhere(len(asked))
        for begin in range(0, len(flat), TOGETHER):
            some, own = flat.slice(begin, TOGETHER), owner[begin : begin + TOGETHER]
            best.improve(own, self._find(some, is_code(some) & compared[own]))
        unknown = np.full(len(functions.places), np.nan, np.float32)
        near = Near(functions.unit, functions.similarity, unknown, functions.paraphrase)
        best.improve(functions.places, near)
        return best

    def _find(self, texts: pl.Series, functions: BoolArray) -> Near:
        said = _said(texts)
        read = read_words(said)
        chinese = read.mostly_characters
        near = _nowhere(len(texts))
        there = (said.is_in(comparable(said, CHARACTERS).implode())).to_numpy()
        self.spaced.find(said, read, functions, near, np.flatnonzero(~chinese & there))
        self.chinese.find(said, read, functions, near, np.flatnonzero(chinese & there))
        if self.translations:
            some = np.flatnonzero(there)
            translated = self.translations.find(said.gather(some).to_list(), chinese[some].tolist())
            for place, (unit, similarity, agreement, paraphrase) in translated.items():
                at = some[place]
                if not near.paraphrase[at] >= paraphrase:  # or there is none
                    near.unit[at], near.similarity[at] = unit, similarity
                    near.agreement[at], near.paraphrase[at] = agreement, paraphrase
        return near


def read_meaning(benchmarks: Sequence[Items], encoder: Encoder, across: Encoder | None = None) -> Meaning:
    """The questions of all benchmarks, numbered as by ``units_of``; ``encoder`` is for those with spaces,
    ``across`` for translations."""
    units = units_of(benchmarks).with_row_index("unit")
    questions = units.filter(pl.col("part") == QUESTION)
    answers = dict(units.filter(pl.col("part") == ANSWER).select("number", "text").iter_rows())
    questions = questions.with_columns(
        said=_said(questions["text"]),
        answer=questions["number"].replace_strict(answers, default="", return_dtype=pl.String),
    )
    read = read_words(questions["said"])
    chinese = read.mostly_characters
    functions = read_functions(questions.filter(~chinese), encoder)
    return Meaning(
        _script(questions, read, np.flatnonzero(~chinese), encoder, 1, functions.units),
        _script(questions, read, np.flatnonzero(chinese), None, 2, functions.units),
        functions,
        Translations(across, other(questions.filter(~chinese)), other(questions.filter(chinese)))
        if across
        else None,
    )


def _script(
    questions: pl.DataFrame,
    read: Words,
    chosen: Int64Array,
    encoder: Encoder | None,
    n: int,
    functions: Int64Array,
) -> Script:
    own = questions[chosen]
    words = Words(*_grams(read.take(chosen), n))
    rarity = rarity_in(words)
    vectors = _vectors(own["said"], words, encoder, rarity)
    there: BoolArray = np.any(vectors, axis=1)
    compared = []
    for place, (text, said, answer) in enumerate(own.select("text", "said", "answer").iter_rows()):
        if there[place]:
            different = np.unique(words.values[words.begins[place] : words.ends[place]])
            compared.append(
                Question(
                    figures(said),
                    figures(answer),
                    different,
                    float(rarity.of(different).sum()),
                    names(said) if said == text else frozenset(),  # capitals in code are the language's
                )
            )
    units = own["unit"].to_numpy().astype(np.int64)[there]
    return Script(encoder, n, rarity, units, vectors[there], np.isin(units, functions), tuple(compared))


def _said(texts: pl.Series) -> pl.Series:
    """What is compared of each text; of one that is too long, all of it, which is then not compared."""
    return pl.Series([t if len(t) > CHARACTERS else prose(t) for t in texts.fill_null("")], dtype=pl.String)


def _grams(words: Words, n: int) -> tuple[UInt64Array, Int64Array]:
    """n-grams as words: of a text of fewer than n words, none."""
    if n == 1:
        return words.values, words.ends
    grams = words.grams(n)
    there = np.concatenate((np.zeros(1, np.int64), np.cumsum(grams > 0, dtype=np.int64)))
    return grams[grams > 0], there[words.ends]


def _vectors(said: pl.Series, words: Words, encoder: Encoder | None, rarity: Rarity) -> Float32Array:
    """A vector for each text: the encoder's, or of its words."""
    if encoder is not None:
        return embed_local(said, encoder, CHARACTERS).vectors
    row = np.repeat(np.arange(len(words)), words.sizes)
    sign = np.where(words.values >> np.uint64(63), np.float32(1), np.float32(-1))
    place = row * DIMENSIONS + (words.values % np.uint64(DIMENSIONS)).astype(np.int64)
    summed = np.bincount(place, weights=rarity.of(words.values) * sign, minlength=len(words) * DIMENSIONS)
    return of_length_1(summed.reshape(len(words), DIMENSIONS).astype(np.float32))
