"""Repetition: loops inside a text, and answers that say the question again.

The measures are Gopher's (Rae et al. 2021, table A1), whose limits for web documents are: duplicate lines or
paragraphs 0.30, of characters 0.20; most frequent 2-, 3- and 4-gram 0.20, 0.18 and 0.16 of all characters; 5-
to 10-grams that occurred before 0.15, 0.14, 0.13, 0.12, 0.11 and 0.10. Here words are compared in lower case,
without the marks between them, and characters are those in words; lines are compared by words and marks. Text
in which most words are Chinese or Japanese characters is measured with n-grams of twice as many of them,
since two characters make about one word.
"""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import counted, measure, share


@measure(pl.Float32, "instruction", "response")
def duplicate_line_fraction(text: pl.Expr) -> pl.Expr:
    """Lines that occurred before, of all lines with a letter or digit (a lone brace is no loop)."""
    return share(counted(text, "duplicate_lines"), counted(text, "worded_lines"))


@measure(pl.Float32, "instruction", "response")
def duplicate_line_character_fraction(text: pl.Expr) -> pl.Expr:
    """Characters of these lines, of all lines with a letter or digit."""
    return share(counted(text, "duplicate_line_characters"), counted(text, "worded_line_characters"))


@measure(pl.Float32, "instruction", "response")
def duplicate_paragraph_fraction(text: pl.Expr) -> pl.Expr:
    """Paragraphs (between blank lines) that occurred before, of all paragraphs."""
    return share(counted(text, "duplicate_paragraphs"), counted(text, "paragraphs"))


@measure(pl.Float32, "instruction", "response")
def duplicate_paragraph_character_fraction(text: pl.Expr) -> pl.Expr:
    """Characters of these paragraphs, of all paragraphs."""
    return share(counted(text, "duplicate_paragraph_characters"), counted(text, "paragraph_characters"))


@measure(pl.Float32, "instruction", "response")
def top_2gram_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in the most frequent 2-gram (zh: 4 characters), of all characters in words; 0 if none occurs
    twice, and at most 1, for overlapping ones count a character twice."""
    return share(counted(text, "top_2gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def top_3gram_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in the most frequent 3-gram (zh: 6 characters), of all characters in words."""
    return share(counted(text, "top_3gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def top_4gram_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in the most frequent 4-gram (zh: 8 characters), of all characters in words."""
    return share(counted(text, "top_4gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def duplicate_5gram_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in 5-grams (zh: 10 characters) that occurred before, of all characters in words: read from
    the start, such a 5-gram is counted and skipped, any other is remembered and its first word skipped."""
    return share(counted(text, "duplicate_5gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def duplicate_6gram_fraction(text: pl.Expr) -> pl.Expr:
    """The same of 6-grams (zh: 12 characters)."""
    return share(counted(text, "duplicate_6gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def duplicate_7gram_fraction(text: pl.Expr) -> pl.Expr:
    """The same of 7-grams (zh: 14 characters)."""
    return share(counted(text, "duplicate_7gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def duplicate_8gram_fraction(text: pl.Expr) -> pl.Expr:
    """The same of 8-grams (zh: 16 characters)."""
    return share(counted(text, "duplicate_8gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def duplicate_9gram_fraction(text: pl.Expr) -> pl.Expr:
    """The same of 9-grams (zh: 18 characters)."""
    return share(counted(text, "duplicate_9gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def duplicate_10gram_fraction(text: pl.Expr) -> pl.Expr:
    """The same of 10-grams (zh: 20 characters)."""
    return share(counted(text, "duplicate_10gram"), counted(text, "word_characters"))


@measure(pl.Float32, "instruction", "response")
def distinct_word_fraction(text: pl.Expr) -> pl.Expr:
    """Different words, of all words. It falls with the length of any text: compare texts of about one
    length."""
    return share(counted(text, "distinct_words"), counted(text, "words"))


@measure(pl.Float32, "response")
def loop_fraction(text: pl.Expr) -> pl.Expr:
    """Words in a loop at the end, a unit of up to 64 words three times or more, of all words: how a model
    ends that cannot stop."""
    return share(counted(text, "loop_words"), counted(text, "words"))


@measure(pl.UInt32, "instruction", "response")
def longest_run(text: pl.Expr) -> pl.Expr:
    """The most times that a letter or digit stands in a row: "hellooooo", 哈哈哈哈."""
    return counted(text, "longest_run")


@measure(pl.Float32, "response")
def copied_fraction(text: pl.Expr) -> pl.Expr:
    """5-grams of the response that stand in the instruction too, of all its 5-grams: near-copies of the
    prompt."""
    return share(counted(text, "copied_grams"), counted(text, "grams"))


@measure(pl.Float32, "response")
def echoed_fraction(text: pl.Expr) -> pl.Expr:
    """5-grams of the instruction that the response says again, of all its 5-grams."""
    return share(counted(text, "echoed_grams"), counted(text, "asked_grams"))


@measure(pl.Float32, "response")
def mirrored_fraction(text: pl.Expr) -> pl.Expr:
    """The smaller of ``copied_fraction`` and ``echoed_fraction``: near 1 only where prompt and answer are one
    text. A corrected sentence or a quoted passage is copied, but leaves the task itself behind. 0 where the
    instruction defines a function: who completes one repeats it first."""
    alike = pl.min_horizontal(
        share(counted(text, "copied_grams"), counted(text, "grams")),
        share(counted(text, "echoed_grams"), counted(text, "asked_grams")),
    )
    completes = pl.col("instruction").str.contains("def ", literal=True).fill_null(False)
    return pl.when(completes & alike.is_not_null()).then(pl.lit(0, pl.Float32)).otherwise(alike)


@measure(pl.Boolean, "response")
def same_words(text: pl.Expr) -> pl.Expr:
    """The response is the instruction, marks and case aside; short ones, too."""
    return counted(text, "same_words") > 0
