"""Garbling: characters that nobody typed.

Mojibake is UTF-8 read as another encoding. What counts as one is ftfy's to say (``ftfy.badness``, and whether
its ``fix_encoding`` finds what the text was): the compiled pass picks the texts in which two characters in a
row are the bytes of a character in one of ten encodings, a hundredth of English and Chinese texts, and only
these go to ftfy. What ftfy does not look for, UTF-8 read as GBK, is listed in ``phrases/mojibake.txt``. The
word and symbol shares are Gopher's (Rae et al. 2021, appendix A.1.1: at least 0.8 of the words hold a letter,
symbols at most 0.1 of the words).
"""

from __future__ import annotations

import re
from functools import cache

import polars as pl
from ftfy import fix_encoding
from ftfy.badness import badness

from hydata.curation.measure import (
    count_phrases,
    count_stop_words,
    counted,
    measure,
    on_candidates,
    parts_of,
    phrases,
    share,
)

_LOOK_AT = 20_000
"""Characters that ftfy looks at, from a little before the first that is suspect."""
_BEFORE = 200
_HOPELESS = 8
"""Signs of mojibake in a text that cannot be repaired, from which on it counts. Fewer are leetspeak, or
names."""
_ASCII = re.compile("([\0-\x19\x1b-\x7f]{8})[\0-\x19\x1b-\x7f]+([\0-\x19\x1b-\x7f]{8})")
"""A run of ASCII whose middle says nothing to ftfy: every sequence that it looks for holds another character,
and none has more than eight of ASCII in a row. U+001A tells it which encodings are possible."""


_LATIN_WORD = re.compile("(?<![A-Za-z])[a-zü]{2,}")
"""A name, which is written with a capital, is none: lists of people are no soup."""
_MANY_SYLLABLES = 8
"""Words of a text that is looked at: an address or a title in pinyin has fewer."""


@measure(pl.UInt32)
def replacement_characters(text: pl.Expr) -> pl.Expr:
    """U+FFFD, what a decoder writes for bytes it cannot read."""
    return counted(text, "replacements")


@measure(pl.UInt32)
def control_characters(text: pl.Expr) -> pl.Expr:
    """C0 and C1 controls other than tab and line breaks."""
    return counted(text, "controls")


@measure(pl.UInt32)
def private_use_characters(text: pl.Expr) -> pl.Expr:
    """Private use and unassigned code points, which no font agrees on."""
    return counted(text, "unassigned")


def _mojibake(texts: pl.Series, at: pl.Series) -> pl.Series:
    return pl.Series([_signs(text, start) for text, start in zip(texts, at, strict=True)], dtype=pl.UInt32)


def _signs(text: str, at: int) -> int:
    """Signs of mojibake; ``at`` is the byte of the first suspect character, which is no sooner than that."""
    if len(text) > _LOOK_AT:
        start = max(0, len(text.encode()[:at].decode(errors="ignore")) - _BEFORE)
        text = text[start : start + _LOOK_AT]
    text = _ASCII.sub(r"\1\2", text)  # of 700 characters of English some 50 are left: a tenth of the time
    signs = badness(text)
    if signs and (signs >= _HOPELESS or fix_encoding(text) != text):
        return signs
    return 0


@measure(pl.UInt32)
def mojibake(text: pl.Expr) -> pl.Expr:
    """Sequences typical of text decoded with the wrong encoding (ftfy's, and GBK's)."""
    return count_phrases(text, "mojibake") + pl.sum_horizontal(
        on_candidates(
            counted(pl.col(part), "suspects") > 0, _mojibake, pl.col(part), pl.col(f"{part}:suspect_at")
        )
        for part in parts_of(text)
    )


@measure(pl.Float32, "instruction", "response")
def symbol_fraction(text: pl.Expr) -> pl.Expr:
    """Symbols (Unicode S: currency, maths, arrows, emoji, ...) of all characters that are not white space."""
    return share(counted(text, "symbols"), counted(text, "inked"))


@measure(pl.Float32, "instruction", "response")
def mark_fraction(text: pl.Expr) -> pl.Expr:
    """Punctuation and symbols, of all characters that are not white space."""
    inked = counted(text, "inked")
    return share(inked - counted(text, "word_characters"), inked)


@measure(pl.Float32, "instruction", "response")
def letter_word_fraction(text: pl.Expr) -> pl.Expr:
    """Words with a letter in them, of all words (Gopher)."""
    return share(counted(text, "letter_words"), counted(text, "words"))


@measure(pl.UInt32)
def mixed_script_words(text: pl.Expr) -> pl.Expr:
    """Places where Latin and Cyrillic letters touch; Greek is left out, for μm and Δx are in order."""
    return counted(text, "mixed_script_words")


@measure(pl.UInt32)
def scripts(text: pl.Expr) -> pl.Expr:
    """How many of eleven writing systems turn up; token soup shows four and more."""
    seen = pl.lit(0, pl.UInt32)
    for part in parts_of(text):
        seen = seen | pl.col(f"{part}:scripts")
    return seen.bitwise_count_ones()


@measure(pl.Float32, "instruction", "response")
def script_change_fraction(text: pl.Expr) -> pl.Expr:
    """Words of another writing system than the word before, of all words; a Chinese character is a word."""
    return share(counted(text, "script_changes"), counted(text, "words"))


@measure(pl.Float32, "instruction", "response")
def rare_han_fraction(text: pl.Expr) -> pl.Expr:
    """Chinese and Japanese characters that are not among the common ones of GB 2312, Big 5 and JIS (level 1),
    of all: text in a wrong encoding is full of them."""
    return share(counted(text, "rare_han"), counted(text, "cjk"))


@measure(pl.UInt32)
def han_faults(text: pl.Expr) -> pl.Expr:
    """Broken Chinese: parts of characters that stand alone (radicals), and Latin letters of the upper half of
    Latin-1 between two Chinese characters."""
    about = count_phrases(text, "about_radicals") > 0
    return pl.when(about).then(0).otherwise(counted(text, "han_faults"))


@measure(pl.Float32, "instruction", "response")
def pinyin_fraction(text: pl.Expr) -> pl.Expr:
    """Words of pinyin, of all words: with a vowel that no other language has (ǎ ǐ ǒ ǔ ǚ), or a tone's digit
    after two words in a row (ni3 hao3)."""
    return share(counted(text, "pinyin_words"), counted(text, "words"))


@cache
def _syllables() -> frozenset[str]:
    return frozenset(word for line in phrases("pinyin") for word in line.split())


def _syllable_fraction(texts: pl.Series) -> pl.Series:
    found = []
    for text in texts:
        words = _LATIN_WORD.findall(text[:_LOOK_AT])
        many = len(words) >= _MANY_SYLLABLES
        found.append(sum(word in _syllables() for word in words) / len(words) if many else 0.0)
    return pl.Series(found, dtype=pl.Float32)


@measure(pl.Float32, "instruction", "response")
def toneless_pinyin_fraction(text: pl.Expr) -> pl.Expr:
    """Syllables of pinyin without tones ("bei jing shi"), of the words in Latin letters among the first
    20,000 characters. 0 where there are fewer than 8 such words, where most are Chinese characters, or where
    one is an English stop word (Gopher's)."""
    words = counted(text, "words")
    may = (
        (words >= _MANY_SYLLABLES) & (2 * counted(text, "cjk") < words) & (count_stop_words(text, "en") == 0)
    )
    return on_candidates(may, _syllable_fraction, text, dtype=pl.Float32)


@measure(pl.Float32, "instruction", "response")
def base64_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in runs of at least 40 of base64's alphabet with small and capital letters and digits, of
    all that are not white space: keys, pictures, token soup."""
    return share(counted(text, "base64_characters"), counted(text, "inked"))
