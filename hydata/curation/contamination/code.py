"""Functions that are the same in other words: told by what they say, how they work, and the shape of their
examples.

A rephrased function has other names, another loop, other values. What it keeps are three things, each a set
of grams, weighted by how few of the benchmarks' functions have them:

    words       of the docstring up to its examples, and of the function's name
    code        1 to 3 tokens on end, without docstrings and comments; a name is any name, unless it is called
                or an attribute and not defined here (``sorted``, ``.isupper``)
    examples    one for each line of a docstring or assert that holds values, its brackets and the kinds of
                its values: ``f([0, -3], "a") == True`` is ``([ii]s)T``; and one for all lines of a docstring
                in their order, since the kinds of one line agree by chance

Two sets are as like as their weighted Jaccard similarity says, times 1 - exp(-shared / (2 * most)), where
``shared`` is what the grams in both weigh and ``most`` what a gram of a single item does: however alike it
makes two functions that both have one common gram and nothing else, it says little. With the cosine of what
both say,

    paraphrase = similarity * (1 + words) * (NOTHING + CODE * code + EXAMPLES * examples)

What each of them is worth, measured without it where 3 of 2,991 other exercises are taken: the share of 73
rephrased functions of HumanEval that is found, the same without their examples; how many of HumanEval's own
164 are taken for another, and how many of MBPP's 974 written as HumanEval is (docs/decisions/0017).

                       found    without examples    another    MBPP
    all                 0.90          0.64             13         7
    without words       0.86          0.47             13        12
    without code        0.90          0.60             34        64
    without examples    0.58                           10         0
    without cosine      0.89          0.48             30       191

A question that defines a function as Python does is compared, with its answer, with every text that is code
and short enough, exactly, by lists of the items that have a gram: half a millisecond a text. Nothing is
parsed. Tokens find as much as syntax trees (0.79 of the rephrased functions first by tokens alone, 0.77 by
the n-grams of trees), take no harm from nesting, and read half a function as well. Of other languages only
what is said counts: a translation is hardly ever found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from keyword import iskeyword

import numpy as np
import polars as pl

from hydata.curation.contamination.rarity import Rarity, rarity_in
from hydata.curation.contamination.words import Words, read_words
from hydata.curation.dedup.kernels import BoolArray, Float32Array, Int64Array, UInt64Array
from hydata.curation.semantic.embeddings import embed_local
from hydata.curation.semantic.encoders import Encoder

CHARACTERS = 8000
"""Characters of a text that is compared: a function with what is said about it."""
GRAM = 3
"""Tokens of the longest gram of code."""
NOTHING, CODE, EXAMPLES = 0.45, 0.5, 1.0
"""Evidence where nothing is shared, and of code and of examples that are the same."""

_DOCUMENTED = re.compile(r'"""(.*?)"""|' r"'''(.*?)'''", re.DOTALL)
_DEFINED = re.compile(r"\b(?:def|function|class)\s+(\w+)")
_FUNCTION = re.compile(r"\bdef \w+ ?\(")
_CODE = _FUNCTION.pattern + r"|\w ?\([^()\n]*\)[^()\n;]{0,60}\n?[^\S\n]{0,8}\{"
"""A function, or a block in braces: ``int f(int n) {``."""
_EXAMPLE = re.compile(r">>>|\b[Ee]xamples?\b|\n[^\S\n]*\w+\([^\n]*\)[^\S\n]*(?:==|=>|➞|->|=)")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|_+")
_SAID = re.compile(_DOCUMENTED.pattern + r"|#[^\n]*", re.DOTALL)
_STRING = r'"[^"\n]*"|' r"'[^'\n]*'"
_TOKEN = re.compile(rf"{_STRING}|\w+(?:(?<=\d)\.\d+)?|==|!=|<=|>=|//|\*\*|[-+*/%]=|[-+*/%<>\[\](){{}}:=.]")
_VALUE = re.compile(rf"({_STRING})|(-?\d+\.\d*)|(-?\d+)|(True|False|None)\b|([\[\](){{}}])|\w+")
_VALUED = re.compile("[sifTFN]")


def prose(text: str) -> str:
    """What a text says in words: of code its docstring up to the examples, with the function's name."""
    documented = _EXAMPLE.split(" ".join(a or b for a, b in _DOCUMENTED.findall(text)), maxsplit=1)[0]
    if not documented.strip():
        return text
    return ". ".join((*(_HUMP.sub(" ", name) for name in _DEFINED.findall(text)[-1:]), documented.strip()))


def is_code(texts: pl.Series) -> BoolArray:
    """Which texts hold a function as Python has them, or a block in braces."""
    found: BoolArray = texts.str.contains(_CODE).fill_null(value=False).to_numpy()
    return found


def tokens(text: str) -> list[str]:
    """The tokens of a text from its first function on, without docstrings, comments and names."""
    function = _FUNCTION.search(text)
    code = _SAID.sub(" ", text[function.start() :]) if function else ""
    defined = set(_DEFINED.findall(code))
    found = _TOKEN.findall(code)
    kept = []
    for before, token, after in zip(["", *found], found, [*found[1:], ""], strict=False):
        if token.isidentifier() and not iskeyword(token):
            used = (after == "(" or before == ".") and token not in defined
            token = token if used else "name"
        if token not in (".", "pass"):
            kept.append(token)
    return kept


def shapes(text: str) -> list[str]:
    """The shapes of a text's examples, the brackets and the kinds of the values in a line; and those of a
    docstring, or of all asserts, as one."""
    asserted = "\n".join(line for line in text.split("\n") if line.lstrip().startswith("assert "))
    found = []
    for block in (*(a or b for a, b in _DOCUMENTED.findall(text)), asserted):
        shaped = [shape for line in _examples(block) if _VALUED.search(shape := _shape(line))]
        found += [*shaped, "\n".join(shaped)] if shaped else []
    return found


def _examples(block: str) -> Iterator[str]:
    """The lines that may be examples; a prompt's with the line after it."""
    for line, following in pairwise((*block.split("\n"), "")):
        asked = line.lstrip().startswith(">>>")
        if asked or "=" in line or "(" in line:
            yield line + following if asked else line


def _shape(line: str) -> str:
    return "".join(_kind(match) for match in _VALUE.finditer(line))


def _kind(value: re.Match[str]) -> str:
    """``s``, ``f``, ``i`` for a value of that kind; T, F, N; a bracket as it is; nothing for a name."""
    which = value.lastindex
    return "" if which is None else "sfi"[which - 1] if which < 4 else value[0][0]


@dataclass(frozen=True)
class Grams:
    """Which items have which grams: ``owners`` holds for each of ``rarity.keys`` the items that have it;
    ``weights``, Float32[items], is what all different grams of an item weigh together."""

    rarity: Rarity
    owners: Words
    weights: Float32Array

    def likeness(self, read: Words, at: int) -> Float32Array:
        """How like the text at a place is, by its different grams, to each item: 0 to 1."""
        own, keys = read.values[read.begins[at] : read.ends[at]], self.rarity.keys
        place = np.minimum(np.searchsorted(keys, own), len(keys) - 1)
        known = keys[place] == own
        weights, place = self.rarity.of(own), place[known]
        owners = self.owners.take(place)
        each = np.repeat(weights[known], self.owners.sizes[place])
        shared = np.bincount(owners.values.astype(np.int64), each, len(self.weights))
        alike = shared / np.maximum(weights.sum() + self.weights - shared, 1e-9)
        found: Float32Array = (alike * (1 - np.exp(-shared / (2 * self.rarity.most)))).astype(np.float32)
        return found


@dataclass(frozen=True)
class Traits:
    """Of each text the different grams of its words, its code, its examples."""

    words: Words
    code: Words
    examples: Words


def read_traits(texts: Sequence[str], said: Sequence[str]) -> Traits:
    """The traits of ``texts``, each with the prose of what it says."""
    read = _hashed([tokens(text) for text in texts])
    grams = [np.where(read.values == 0, 1, read.values)] + [read.grams(n) for n in range(2, GRAM + 1)]
    return Traits(
        _different(read_words(pl.Series(said, dtype=pl.String))),
        _different(read, *grams),
        _different(_hashed([shapes(text) for text in texts])),
    )


def _hashed(lists: Sequence[Sequence[str]]) -> Words:
    flat = pl.Series([token for some in lists for token in some], dtype=pl.String)
    return Words(flat.hash().to_numpy(), np.cumsum([len(some) for some in lists], dtype=np.int64))


def _different(words: Words, *grams: UInt64Array) -> Words:
    """The different grams of each text: from each of its words on, 0 for none; or its words."""
    row = np.repeat(np.arange(len(words)), words.sizes)
    frames = [pl.DataFrame({"row": row, "gram": some}) for some in grams or (words.values,)]
    found = pl.concat(frames).filter(pl.col("gram") > 0).unique().sort("row", "gram")
    ends = np.searchsorted(found["row"].to_numpy(), np.arange(len(words)), side="right")
    return Words(found["gram"].to_numpy(), ends.astype(np.int64))


def _owned(read: Words) -> Grams:
    rarity = rarity_in(read)
    row = np.repeat(np.arange(len(read)), read.sizes)
    order = np.argsort(read.values, kind="stable")
    ends = np.searchsorted(read.values[order], rarity.keys, side="right").astype(np.int64)
    weights = np.bincount(row, rarity.of(read.values), len(read)).astype(np.float32)
    return Grams(rarity, Words(row[order].astype(np.uint64), ends), weights)


@dataclass(frozen=True)
class Alike:
    """Of the texts that are code: their ``places``, and of each the item ``unit`` it is likest."""

    places: Int64Array
    unit: Int64Array
    similarity: Float32Array
    paraphrase: Float32Array


@dataclass(frozen=True)
class Functions:
    """The items that are functions: ``units`` are their questions' numbers, ``vectors`` those of what they
    say."""

    encoder: Encoder
    units: Int64Array
    vectors: Float32Array
    words: Grams
    code: Grams
    examples: Grams

    def find(self, texts: pl.Series) -> Alike:
        """What each of ``texts`` that is code is likest. Those that are too long are not compared."""
        short = texts.set(texts.str.len_chars() > CHARACTERS, None)
        places = np.flatnonzero(is_code(short) & (len(self.units) > 0))
        some = texts.gather(places)
        said = [prose(text) for text in some]
        traits = read_traits(some.to_list(), said)
        vectors = embed_local(pl.Series(said, dtype=pl.String), self.encoder, CHARACTERS).vectors
        best = np.zeros(len(places), np.int64)
        similarity, paraphrase = np.zeros(len(places), np.float32), np.zeros(len(places), np.float32)
        for i, vector in enumerate(vectors):
            cosines = self.vectors @ vector
            words = self.words.likeness(traits.words, i)
            code, examples = self.code.likeness(traits.code, i), self.examples.likeness(traits.examples, i)
            sure = cosines * (1 + words) * (NOTHING + CODE * code + EXAMPLES * examples)
            at = best[i] = int(sure.argmax())
            similarity[i], paraphrase[i] = cosines[at], np.clip(sure[at], 0, 1)
        return Alike(places, self.units[best], similarity, paraphrase)


def read_functions(questions: pl.DataFrame, encoder: Encoder) -> Functions:
    """Those of ``questions`` (``unit``, ``text``, ``said``, ``answer``) that are functions."""
    own = questions.filter(pl.col("text").str.contains(_FUNCTION.pattern))
    whole = own.select(pl.concat_str("text", "answer", separator="\n")).to_series()
    traits = read_traits(whole.to_list(), own["said"].to_list())
    return Functions(
        encoder,
        own["unit"].to_numpy().astype(np.int64),
        embed_local(own["said"], encoder, CHARACTERS).vectors,
        *(_owned(read) for read in (traits.words, traits.code, traits.examples)),
    )
