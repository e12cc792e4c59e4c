"""Words and n-grams, the same for every judge.

A *word* is a run of Unicode letters, digits and marks; each Chinese or Japanese character is a word
of its own, because neither language puts spaces between words. An *n-gram* is n words in a row.
"""

from __future__ import annotations

import polars as pl

CJK = r"[\p{Han}\p{Hiragana}\p{Katakana}]"
WORD = rf"{CJK}|[[\p{{L}}\p{{N}}\p{{M}}]--{CJK}]+"


def words(text: pl.Expr) -> pl.Expr:
    """The words of ``text`` as a list of strings, as they are written."""
    return text.str.extract_all(WORD)


def word_count(text: pl.Expr) -> pl.Expr:
    """Number of words of ``text``, UInt32."""
    return text.str.count_matches(WORD)
