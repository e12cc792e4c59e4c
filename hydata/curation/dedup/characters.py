"""What the kernel knows about characters: one table from code point to its normal form and its class.

The normal form of a text is NFKC, then lower case, letter by letter (so that a word-final sigma is a sigma).
Nearly always it is the normal forms of its characters, one after the other. Where it may not be, because a
character composes with the one before it or takes another place among marks, the entry has ``JOINS`` set;
texts with such characters are normalised whole before they come to the kernel.

Table and regular expressions are Polars', as of ``hydata.curation.characters``: one version of Unicode.
"""

from __future__ import annotations

import threading
import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from hydata.compiled import POINTS
from hydata.curation.characters import ASSIGNED, OTHER, assigned, kind

EXPANDS = 4
"""The class, beside those of ``kind``, of what has several characters as its normal form."""
CLASS_SHIFT = 24
JOINS = 1 << 31
POINT = (1 << CLASS_SHIFT) - 1

HANGUL_VOWELS_AND_TAILS = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))


@dataclass(frozen=True)
class CharacterTable:
    """``entries[point]`` is the class, shifted, and the code point of the normal form; for ``EXPANDS`` the
    place in ``expansions`` where the number of entries stands that follow it. UInt32 both."""

    entries: npt.NDArray[np.uint32]
    expansions: npt.NDArray[np.uint32]


def normal_form(text: pl.Expr) -> pl.Expr:
    """NFKC and lower case, letter by letter."""
    return text.str.normalize("NFKC").str.to_lowercase().str.replace_all("ς", "σ", literal=True)


def character_table() -> CharacterTable:
    """The table of this process; made in 0.15 s, by the first thread that asks."""
    with _one_at_a_time:
        return _table()


_one_at_a_time = threading.Lock()


@cache
def _table() -> CharacterTable:
    points, own = assigned()
    char = pl.col("char")
    frame = pl.DataFrame({"char": own}).select(
        char,
        normal=normal_form(char),
        kind=kind(char),
        mark=char.str.contains(r"\p{M}"),
    )
    kinds = np.full(POINTS, OTHER, np.uint32)
    kinds[points] = frame["kind"].to_numpy()
    entries = kinds << np.uint32(CLASS_SHIFT) | np.arange(POINTS, dtype=np.uint32)

    changed = frame.with_columns(point=pl.Series(points)).filter(char != pl.col("normal"))
    single = changed.filter(pl.col("normal").str.len_chars() == 1)
    target = np.array([ord(c) for c in single["normal"]], np.uint32)
    entries[single["point"].to_numpy()] = kinds[target] << np.uint32(CLASS_SHIFT) | target
    expansions: list[int] = []
    several = changed.filter(pl.col("normal").str.len_chars() != 1)
    for point, normal in several.select("point", "normal").iter_rows():
        entries[point] = EXPANDS << CLASS_SHIFT | len(expansions)
        expansions += [len(normal), *(int(kinds[ord(c)]) << CLASS_SHIFT | ord(c) for c in normal)]

    joining = {ord(c) for c in frame.filter("mark")["char"] if _moves(c)}
    joining.update(_second_of_a_pair(), HANGUL_VOWELS_AND_TAILS)
    begins = frame.with_columns(point=pl.Series(points)).filter(
        pl.col("normal").str.slice(0, 1).is_in([chr(point) for point in joining])
    )
    entries[[*joining, *begins["point"]]] |= np.uint32(JOINS)
    return CharacterTable(entries, np.array(expansions, np.uint32))


def _moves(mark: str) -> bool:
    """Whether a mark may change places with others; also one that Python's Unicode does not know yet."""
    return unicodedata.combining(mark) != 0 or unicodedata.category(mark) == "Cn"


def _second_of_a_pair() -> set[int]:
    """Characters that compose with what stands before them."""
    pairs = (unicodedata.decomposition(chr(point)).split() for block in ASSIGNED for point in range(*block))
    return {int(pair[1], 16) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
