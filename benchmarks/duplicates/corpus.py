"""Documents with planted duplicates and the exact truth about them.

Four fifths are English-like (words drawn by Zipf's law), one fifth Chinese characters; about 105 words
each. Families are planted: a document and 1 to 4 variants of it. A variant is a copy with other case and
white space, or has words replaced and added so that its Jaccard similarity to the document, on shingles of 5
words, comes near 0.95, 0.9, 0.8, 0.6 or 0.4. Other documents share nothing but chance. The truth is computed
from the words' numbers, never by the code that is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

IntArray = npt.NDArray[np.int64]

ENGLISH_WORDS, CHARACTERS = 60_000, 6_000
CHINESE_SHARE = 0.2
MEAN_WORDS, SPREAD = 105, 30
SHINGLE = 5
FAMILIES = 0.16
"""Families, as a share of all documents."""
LEVELS = (1.0, 0.95, 0.9, 0.8, 0.6, 0.4)
WEIGHTS = (0.25, 0.2, 0.2, 0.2, 0.1, 0.05)
SHARD = 100_000
SYLLABLES = [c + v for c in "bdfghklmnprstvz" for v in ("a", "e", "i", "o", "u", "ar", "en", "is", "ou")]


@dataclass(frozen=True)
class Corpus:
    """``words``: the numbers of a document's words, end to end; ``offsets``; ``family``: of each document, -1
    for none; ``form``: 0 as it is, 1 and more other case and white space."""

    words: IntArray
    offsets: IntArray
    family: IntArray
    form: IntArray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def of(self, document: int) -> IntArray:
        return self.words[self.offsets[document] : self.offsets[document + 1]]


@cache
def vocabulary() -> pa.Array:
    """English-like words, then Chinese characters."""
    rng = np.random.default_rng(7)
    made: dict[str, None] = {}
    while len(made) < ENGLISH_WORDS:
        made["".join(SYLLABLES[i] for i in rng.integers(0, len(SYLLABLES), rng.integers(1, 5)))] = None
    return pa.array([*made, *(chr(0x4E00 + i) for i in range(CHARACTERS))])


def generate(count: int, seed: int) -> Corpus:
    """``count`` documents, shuffled."""
    rng = np.random.default_rng(seed)
    documents: list[IntArray] = []
    family: list[int] = []
    form: list[int] = []
    families = int(count * FAMILIES)
    for number in range(families):
        base = document(rng)
        documents.append(base)
        family.append(number)
        form.append(0)
        for _ in range(rng.choice((1, 2, 3, 4), p=(0.5, 0.25, 0.15, 0.1))):
            level = rng.choice(LEVELS, p=WEIGHTS)
            documents.append(base if level == 1.0 else varied(rng, base, level))
            family.append(number)
            form.append(int(rng.integers(1, 4)))
    while len(documents) < count:
        documents.append(document(rng))
        family.append(-1)
        form.append(0)
    order = rng.permutation(count)
    sizes = np.array([len(documents[i]) for i in order])
    return Corpus(
        np.concatenate([documents[i] for i in order]),
        np.concatenate(([0], np.cumsum(sizes))),
        np.array(family[:count])[order],
        np.array(form[:count])[order],
    )


def document(rng: np.random.Generator, chinese: float = CHINESE_SHARE) -> IntArray:
    """The words of one more document, Chinese with this probability."""
    length = max(20, int(rng.normal(MEAN_WORDS, SPREAD)))
    if rng.random() < chinese:
        return ENGLISH_WORDS + _zipf(rng, length, CHARACTERS)
    return _zipf(rng, length, ENGLISH_WORDS)


def _zipf(rng: np.random.Generator, length: int, words: int) -> IntArray:
    """Numbers of words: the chance of number n is about proportional to 1 / (n + 1)."""
    return (np.exp(rng.random(length) * np.log(words + 1)) - 1).astype(np.int64)


def varied(rng: np.random.Generator, base: IntArray, level: float) -> IntArray:
    """A copy whose similarity comes near ``level``: words replaced far from each other, each of which takes
    5 shingles out and puts 5 others in, and words added at the end, each of which puts one in."""
    shingles = len(base) - SHINGLE + 1
    replaced = int((1 - level) / (1 + level) * shingles / SHINGLE)
    first, words = (ENGLISH_WORDS, CHARACTERS) if base[0] >= ENGLISH_WORDS else (0, ENGLISH_WORDS)
    copy = base.copy()
    places = np.linspace(SHINGLE, len(base) - SHINGLE - 1, replaced + 2).astype(int)[1:-1]
    copy[places] = first + rng.integers(0, words, replaced)
    shared, union = shingles - SHINGLE * replaced, shingles + SHINGLE * replaced
    added = max(0, int(shared / level - union + rng.random()))
    return np.concatenate([copy, first + rng.integers(0, words, added)])


def texts(corpus: Corpus, begin: int, end: int) -> pl.Series:
    """The texts of documents ``begin`` to ``end``."""
    offsets = corpus.offsets[begin : end + 1]
    numbers = corpus.words[offsets[0] : offsets[-1]]
    words = vocabulary().take(pa.array(numbers))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets - offsets[0]), words)
    spaces = np.where(corpus.words[offsets[:-1]] >= ENGLISH_WORDS, "", " ")
    text, form = pl.col("text"), pl.col("form")
    plain = pl.DataFrame(
        {"text": pl.Series(pc.binary_join(lists, pa.array(spaces))), "form": corpus.form[begin:end]}
    )
    return plain.select(
        pl.when(form == 1)
        .then(text.str.to_uppercase())
        .when(form == 2)
        .then(text.str.replace_all(" ", "  ", literal=True))
        .when(form == 3)
        .then(text + " \n")
        .otherwise(text)
    ).to_series()


def write(folder: Path, count: int, seed: int) -> list[Path]:
    """Parquet files of 100,000 documents, columns ``id`` and ``text``, unless they are there."""
    paths = [folder / f"{seed}-{begin:09d}.parquet" for begin in range(0, count, SHARD)]
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    corpus = generate(count, seed)
    for path, begin in zip(paths, range(0, count, SHARD), strict=True):
        end = min(begin + SHARD, count)
        frame = pl.DataFrame({"id": np.arange(begin, end), "text": texts(corpus, begin, end)})
        frame.write_parquet(path, compression="zstd")
    return paths


def near_pairs(corpus: Corpus) -> list[tuple[int, int, float]]:
    """All pairs of documents of one family, with their exact Jaccard similarity."""
    members = np.argsort(corpus.family, kind="stable")
    members = members[np.searchsorted(corpus.family[members], 0) :]
    bounds = np.flatnonzero(np.diff(corpus.family[members], prepend=-1, append=-2))
    near: list[tuple[int, int, float]] = []
    for begin, end in pairwise(bounds.tolist()):
        family = members[begin:end].tolist()
        sets = [shingles(corpus.of(document)) for document in family]
        near += [
            (family[i], family[j], jaccard(sets[i], sets[j])) for i, j in combinations(range(len(sets)), 2)
        ]
    return near


def shingles(words: IntArray) -> set[bytes]:
    """The different runs of 5 words."""
    size = words.itemsize * SHINGLE
    data = words.tobytes()
    return {data[at : at + size] for at in range(0, len(data) - size + 1, words.itemsize)}


def jaccard(one: set[bytes], two: set[bytes]) -> float:
    """Jaccard similarity."""
    shared = len(one & two)
    return shared / (len(one) + len(two) - shared)


@dataclass(frozen=True)
class Score:
    """``precision``: of the removed documents, those within the threshold of a kept one. ``recall``: of those
    that should have been removed. Kept documents that are within the threshold of each other were missed, all
    but the first; which of two duplicates a tool keeps does not count."""

    removed: int
    recall: float
    precision: float

    def cells(self) -> list[str]:
        """For a table."""
        return [f"{self.removed:,}", f"{self.recall:.4f}", f"{self.precision:.4f}"]


def score(near: Sequence[tuple[int, int, float]], keep: npt.NDArray[np.bool_], threshold: float) -> Score:
    """What a tool's choice of kept documents is worth."""
    right, missed = np.zeros(len(keep), np.bool_), np.zeros(len(keep), np.bool_)
    for one, two, similarity in near:
        if similarity >= threshold:
            if keep[one] != keep[two]:
                right[two if keep[one] else one] = True
            elif keep[one] and not missed[one]:
                missed[two] = True
    found, removed = int(right.sum()), int((~keep).sum())
    return Score(removed, found / max(1, found + int(missed.sum())), found / max(1, removed))
