"""Garbling: characters that nobody typed.

Mojibake is UTF-8 read as another encoding; it leaves pairs of characters that real text hardly
ever holds, listed by encoding in ``phrases/mojibake.txt``. The word and symbol shares are Gopher's (Rae et
al. 2021, appendix A.1.1: at least 0.8 of the words hold a letter, symbols at most 0.1 of the words).
"""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import count_phrases, measure, share
from hydata.curation.words import WORD, word_count

_SCRIPTS = (
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


@measure(pl.UInt32)
def replacement_characters(text: pl.Expr) -> pl.Expr:
    """U+FFFD, what a decoder writes for bytes it cannot read."""
    return text.str.count_matches("\ufffd", literal=True)


@measure(pl.UInt32)
def control_characters(text: pl.Expr) -> pl.Expr:
    """C0 and C1 controls other than tab and line breaks."""
    return text.str.count_matches(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f]")


@measure(pl.UInt32)
def private_use_characters(text: pl.Expr) -> pl.Expr:
    """Private use and unassigned code points, which no font agrees on."""
    return text.str.count_matches(r"[\p{Co}\p{Cn}]")


@measure(pl.UInt32)
def mojibake(text: pl.Expr) -> pl.Expr:
    """Sequences typical of text decoded with the wrong encoding; case matters, it tells É from é."""
    return count_phrases(text, "mojibake", flags="")


@measure(pl.Float32, "instruction", "response")
def symbol_fraction(text: pl.Expr) -> pl.Expr:
    """Symbols (Unicode S: currency, maths, arrows, emoji, ...) of all characters that are not white space."""
    return share(text.str.count_matches(r"\p{S}"), text.str.count_matches(r"\S"))


@measure(pl.Float32, "instruction", "response")
def letter_word_fraction(text: pl.Expr) -> pl.Expr:
    """Words with a letter in them, of all words (Gopher)."""
    with_letter = rf"[\p{{N}}\p{{M}}]*\p{{L}}(?:{WORD})?"
    numbers = text.str.replace_all(with_letter, " ")
    total = word_count(text)
    return share(total - word_count(numbers).clip(upper_bound=total), total)


@measure(pl.UInt32)
def mixed_script_words(text: pl.Expr) -> pl.Expr:
    """Places where Latin and Cyrillic letters touch; Greek is left out, for μm and Δx are in order."""
    return text.str.count_matches(r"\p{Latin}\p{Cyrillic}|\p{Cyrillic}\p{Latin}")


@measure(pl.UInt32)
def scripts(text: pl.Expr) -> pl.Expr:
    """How many of eleven writing systems turn up; token soup shows four and more."""
    return pl.sum_horizontal(text.str.contains(script) for script in _SCRIPTS)
