"""What the reading kernel knows of each character: its kind, and everything that some measure counts.

``marks[point]`` holds the kind in its two lowest bits, a script in four, and flags; ``lower[point]`` is the
letter in lower case; ``encodings[point]`` says in which single-byte encodings the character stands for a byte
that begins a character of UTF-8 (the low half, a bit an encoding) or that continues one (the high half). Two
characters in a row, a beginning and a continuation in one encoding, are what mojibake is made of.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from hydata.compiled import POINTS
from hydata.curation.characters import OTHER, assigned, kind

SCRIPTS = (
    r"\p{Latin}",
    r"\p{Cyrillic}",
    r"\p{Greek}",
    r"[\p{Han}\p{Hiragana}\p{Katakana}]",
    r"\p{Hangul}",
    r"\p{Arabic}",
    r"\p{Hebrew}",
    r"\p{Thai}",
    r"\p{Armenian}",
    r"\p{Georgian}",
    r"[\p{Devanagari}\p{Bengali}\p{Tamil}\p{Telugu}\p{Gujarati}\p{Gurmukhi}\p{Kannada}\p{Malayalam}]",
)
"""Script n of a character is the n-th of these, from 1; 0 is every other."""
LATIN, CYRILLIC = 1, 2
SCRIPT_SHIFT = 2
SCRIPT = 0xF

(
    LETTER,
    SYMBOL,
    CONTROL,
    UNASSIGNED,
    OPENS,
    CLOSES,
    TERMINAL,
    CLOSER,
    NUMBER,
    UPPER,
    LOWER,
    SUSPECT,
    BULLET,
    TONE,
    RADICAL,
    RARE,
    LATIN_1,
    BASE64,
    ANCHOR,
) = (1 << bit for bit in range(6, 25))
"""Flags. CLOSER: quotes, brackets and emphasis that may follow the end of a sentence. TONE: a vowel that only
pinyin has. RADICAL: a part of a Chinese character that stands alone. RARE: a Chinese character that the lists
of common ones (GB 2312, Big 5 and JIS level 1) lack. SUSPECT: has ``encodings``, or is a C1 control."""

_CLASSES = {
    LETTER: r"\p{L}",
    SYMBOL: r"\p{S}",
    CONTROL: r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]",
    UNASSIGNED: r"[\p{Co}\p{Cn}]",
    OPENS: r"[(\[{（【［]",
    CLOSES: r"[)\]}）】］]",
    TERMINAL: r"[.!?。！？．…‽؟।።]",
    CLOSER: r"[\"'”’»)）\]】」』》*_`~]",
    NUMBER: r"\p{N}",
    UPPER: r"\p{Lu}",
    LOWER: r"\p{Ll}",
    BULLET: r"[-*+•·●▪■◦‣–・]",
    TONE: "[ǎǐǒǔǖǘǚǜǍǏǑǓǕǗǙǛ]",
    RADICAL: r"[\u{2E80}-\u{2FDF}\u{2FF0}-\u{2FFF}\u{31C0}-\u{31EF}"
    "亻刂冖冫宀彳忄扌攵氵灬犭疒礻糹纟艹衤讠辶釒钅阝飠饣]",
    LATIN_1: "[À-ÖØ-öø-ÿ]",
    BASE64: "[A-Za-z0-9+/=_-]",
}
_ENCODINGS = (
    "latin-1",
    "cp1252",
    "cp1251",
    "cp1250",
    "cp1253",
    "cp1254",
    "cp1257",
    "iso8859-2",
    "mac-roman",
    "cp437",
)
_COMMON = (("gb2312", 0xB0, 0xD7), ("big5", 0xA4, 0xC6), ("shift-jis", 0x88, 0x98))
"""Encodings and the first bytes of their characters of level 1."""


@dataclass(frozen=True)
class ReadingTable:
    """UInt32[0x110000] each."""

    marks: npt.NDArray[np.uint32]
    lower: npt.NDArray[np.uint32]
    encodings: npt.NDArray[np.uint32]


def reading_table() -> ReadingTable:
    """The table of this process; made in half a second, by the first thread that asks."""
    with _one_at_a_time:
        return _table()


_one_at_a_time = threading.Lock()


@cache
def _table() -> ReadingTable:
    points, own = assigned()
    char = pl.col("char")
    script = pl.coalesce(
        *(pl.when(char.str.contains(pattern)).then(number) for number, pattern in enumerate(SCRIPTS, 1)),
        0,
    ).cast(pl.UInt32)
    flags = pl.sum_horizontal(
        pl.when(char.str.contains(pattern)).then(flag).otherwise(0).cast(pl.UInt32)
        for flag, pattern in _CLASSES.items()
    )
    low = char.str.to_lowercase()
    found = own.to_frame().select(
        marks=kind(char) | script * (1 << SCRIPT_SHIFT) | flags,
        lower=pl.when(low.str.len_chars() == 1).then(low).otherwise(char),
        han=char.str.contains(r"\p{Han}"),
        char=char,
    )
    marks = np.full(POINTS, OTHER | UNASSIGNED, np.uint32)
    marks[points] = found["marks"].to_numpy()
    lower = np.arange(POINTS, dtype=np.uint32)
    lower[points] = np.frombuffer("".join(found["lower"]).encode("utf-32-le"), np.uint32)
    rare = [ord(c) for c in found.filter("han")["char"] if not _common(c)]
    marks[rare] |= np.uint32(RARE)
    encodings = _encodings()
    marks[encodings > 0] |= np.uint32(SUSPECT)
    marks[0x80:0xA0] |= np.uint32(SUSPECT)
    return ReadingTable(marks, lower, encodings)


def _common(han: str) -> bool:
    for encoding, first, last in _COMMON:
        try:
            if first <= han.encode(encoding)[0] <= last:
                return True
        except UnicodeEncodeError:
            continue
    return False


def _encodings() -> npt.NDArray[np.uint32]:
    """Of each code point, the encodings in which it is a byte that begins (0xC2 to 0xF4), and that continues
    (0x80 to 0xBF); a byte that an encoding lacks stands for itself, as browsers read it."""
    found = np.zeros(POINTS, np.uint32)
    for bit, encoding in enumerate(_ENCODINGS):
        for byte in (*range(0x80, 0xC0), *range(0xC2, 0xF5)):
            char = bytes([byte]).decode(encoding, "ignore") or chr(byte)
            found[ord(char)] |= np.uint32(1 << (bit + 16 * (byte < 0xC0)))
    found[0xFFFD] |= np.uint32(0xFFFF << 16)  # where a byte was lost
    return found
