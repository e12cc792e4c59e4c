"""Hints: what a text must hold for it to be worth a search, and the one pass that looks for all of them.

A *hint* is some words, in any case, and some *shapes*, each a row of sets of characters: "six digits with up
to three signs between two" is one. All hints of all finders become one automaton when the first text comes.
It reads a text once, character by character, at 2 ns each in English and 5 in Chinese, and says which hints
are in it, as a bit each. Columns and single texts are read by the same kernel, so that they have the same
answers.

A hint is exact: it is there or it is not, wherever in the text. What follows from it is up to its finder.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from hydata.compiled import decoded, kernel, utf8

_PLANE = 0x10000
"""Characters that can be told apart; all beyond them are the same to every hint."""


class Maybe(NamedTuple):
    """One of these characters, or nothing."""

    chars: str


Shape = tuple[str | Maybe, ...]
"""A set of characters each."""


@dataclass(frozen=True, eq=False)
class Hint:
    """One of ``words``, which are lower case, in any case, or one of ``shapes``."""

    words: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()

    def rows(self) -> tuple[Shape, ...]:
        """All as shapes."""
        return (*(tuple(map(_any_case, word)) for word in self.words), *self.shapes)


Has = Callable[[Hint], bool]
"""Whether a text has a hint."""


def _any_case(letter: str) -> str:
    """All characters whose lower case this is: of k the sign for Kelvin as well."""
    return _capitals()[letter] + letter


@cache
def _capitals() -> defaultdict[str, str]:
    capitals: defaultdict[str, str] = defaultdict(str)
    for char in map(chr, range(_PLANE)):
        if char != char.lower():
            capitals[char.lower()] += char
    return capitals


def span(first: str, last: str) -> str:
    """All characters from the first to the last."""
    return "".join(map(chr, range(ord(first), ord(last) + 1)))


DIGIT = span("0", "9")
UPPER = span("A", "Z")
NUMBER = Hint(shapes=((DIGIT, *(*(3 * (Maybe(" \u00a0.()/‐‑‒–-"),)), DIGIT) * 5),))
"""Six digits or more, in groups or not: most texts hold no such number."""


# --- the automaton ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Automaton:
    """``classes`` of characters; ``moves`` from a state (its first place in there) by a class to the next;
    the bits of what has ``ended`` there; ``bits`` of each hint."""

    classes: npt.NDArray[np.uint8]
    moves: npt.NDArray[np.uint32]
    ended: npt.NDArray[np.uint64]
    bits: dict[Hint, int] = field(repr=False)

    def read(self, text: str) -> int:
        """The bits of the hints in a text."""
        data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
        return int(_read(data, 0, len(data), self.classes, self.moves, self.ended))

    def read_all(self, texts: pl.Series) -> npt.NDArray[np.uint64]:
        """The same of each text of a column; of a null nothing."""
        array = texts.to_arrow()
        whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        found = np.zeros(len(texts), np.uint64)
        _read_all(*utf8(whole), self.classes, self.moves, self.ended, found)
        return found

    def of(self, hints: Iterable[Hint]) -> int:
        """The bits of these hints."""
        return sum(self.bits[hint] for hint in set(hints))


def automaton(hints: Sequence[Hint]) -> Automaton:
    """The automaton of up to 64 hints.

    It is the powerset construction. Each set of characters of each shape is a bit of one long integer, set
    while that set is what may come next, and followed by a bit for the shape's end; to read a character is to
    keep the bits of the sets that hold it, moved up by one. An integer that comes up is a state.

    Raises:
        ValueError: there are too many hints or kinds of characters.
    """
    begin = optional = place = 0
    sets: dict[str, int] = defaultdict(int)
    ends: dict[int, int] = {}
    for number, hint in enumerate(hints):
        for shape in hint.rows():
            begin |= 1 << place
            for one in shape:
                optional |= (1 << place) * isinstance(one, Maybe)
                sets[one.chars if isinstance(one, Maybe) else one] |= 1 << place
                place += 1
            ends[place] = 1 << number
            place += 1
    holds: dict[str, int] = defaultdict(int)
    for chars, where in sets.items():
        for char in chars:
            holds[char] |= where
    kinds = {where: 1 + at for at, where in enumerate(dict.fromkeys(holds.values()))}
    if len(hints) > 64 or len(kinds) > 255:
        raise ValueError(
            f"{len(hints)} hints of {len(kinds)} kinds of characters: 64 and 255 fit in the table"
        )
    classes = np.zeros(_PLANE, np.uint8)
    for char, where in holds.items():
        classes[ord(char)] = kinds[where]
    every_end = sum(1 << end for end in ends)

    def skipped(state: int) -> int:
        more = state & optional
        while more:
            state |= more << 1
            more = (more << 1) & optional
        return state

    width = len(kinds) + 1
    begin = skipped(begin)
    states = {begin: 0}
    rows: list[list[int]] = []
    ended: list[int] = []
    order = [begin]
    for state in order:
        rows.append([0] * width)
        found = 0
        last = state & every_end
        while last:
            found |= ends[last.bit_length() - 1]
            last &= ~(1 << (last.bit_length() - 1))
        ended.append(found)
        for where, kind in kinds.items():
            after = skipped((state & where) << 1) | begin
            if after not in states:
                states[after] = len(states)
                order.append(after)
            rows[-1][kind] = width * states[after]
    return Automaton(
        classes,
        np.array(list(itertools.chain.from_iterable(rows)), np.uint32),
        np.repeat(np.array(ended, np.uint64), width),
        {hint: 1 << number for number, hint in enumerate(hints)},
    )


@kernel
def _read(data: Any, at: Any, end: Any, classes: Any, moves: Any, ended: Any) -> Any:
    state = np.uint32(0)
    found = np.uint64(0)
    while at < end:
        first = data[at]
        if first < 0x80:
            point = np.int64(first)
            at += 1
        else:
            point, at = decoded(data, at, end)
        state = moves[state + (classes[point] if point < _PLANE else np.uint8(0))]
        found |= ended[state]
    return found


@kernel
def _read_all(data: Any, offsets: Any, classes: Any, moves: Any, ended: Any, found: Any) -> None:
    for row in range(len(found)):
        found[row] = _read(data, offsets[row], offsets[row + 1], classes, moves, ended)
