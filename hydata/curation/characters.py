"""What every compiled reader of texts knows of characters: where they are, and which make up words.

The regular expressions are Polars', the same as in ``hydata.curation.words``: one version of Unicode.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from hydata.curation import words

SPACE, OTHER, WORD, CHARACTER = 0, 1, 2, 3
"""Kinds: white space; punctuation and symbols; part of a word; a word of its own."""
ASSIGNED = ((0, 0xD800), (0xE000, 0x40000), (0xE0000, 0xE1000))
"""Where there are characters. The rest is surrogates, private use and four fifths of all code points that
are not assigned: each its own normal form and no word."""


def assigned() -> tuple[npt.NDArray[np.uint32], pl.Series]:
    """The code points of ``ASSIGNED``, ascending, and the text of each."""
    points = np.concatenate([np.arange(*block, dtype=np.uint32) for block in ASSIGNED])
    return points, pl.Series("char", list(points.astype("<u4").tobytes().decode("utf-32-le")))


def kind(char: pl.Expr) -> pl.Expr:
    """The kind of a text of one character, UInt32."""
    return (
        pl.when(char.str.contains(r"^\s$"))
        .then(SPACE)
        .when(char.str.contains(words.CJK))
        .then(CHARACTER)
        .when(char.str.contains(words.WORD))
        .then(WORD)
        .otherwise(OTHER)
        .cast(pl.UInt32)
    )
