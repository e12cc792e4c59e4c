"""Repetition: loops inside a text, and answers that say the question again.

The measures are Gopher's (Rae et al. 2021, table A1), whose limits for web documents are: duplicate lines
or paragraphs 0.30, most frequent 2-, 3- and 4-gram 0.20, 0.18 and 0.16 of all characters. Text in which most
words are Chinese or Japanese characters is measured with twice as many of them, since two characters
make about one word.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from hydata.curation.measure import measure, share
from hydata.curation.ngrams import copied_share, top_share

_LINE = r"[^\s][^\n]*[\p{L}\p{N}][^\n]*|[\p{L}\p{N}][^\n]*"


@measure(pl.Float32, "instruction", "response")
def duplicate_line_fraction(text: pl.Expr) -> pl.Expr:
    """Lines that occurred before, of all lines with a letter or digit (a lone brace is no loop)."""
    lines = text.str.extract_all(_LINE)
    return share(lines.list.len() - lines.list.n_unique(), lines.list.len())


@measure(pl.Float32, "instruction", "response")
def duplicate_paragraph_fraction(text: pl.Expr) -> pl.Expr:
    """Paragraphs (between blank lines) that occurred before, of all paragraphs."""
    paragraphs = text.str.replace_all(r"\s*\n\s*\n\s*", "\x00").str.extract_all(r"[^\x00]+")
    return share(paragraphs.list.len() - paragraphs.list.n_unique(), paragraphs.list.len())


@measure(pl.Float32, "instruction", "response")
def top_2gram_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in the most frequent 2-gram (zh: 4 characters), of all characters in words."""
    return text.map_batches(partial(top_share, n=2), return_dtype=pl.Float32, is_elementwise=True)


@measure(pl.Float32, "instruction", "response")
def top_3gram_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in the most frequent 3-gram (zh: 6 characters), of all characters in words."""
    return text.map_batches(partial(top_share, n=3), return_dtype=pl.Float32, is_elementwise=True)


@measure(pl.Float32, "instruction", "response")
def top_4gram_fraction(text: pl.Expr) -> pl.Expr:
    """Characters in the most frequent 4-gram (zh: 8 characters), of all characters in words."""
    return text.map_batches(partial(top_share, n=4), return_dtype=pl.Float32, is_elementwise=True)


@measure(pl.Float32, "response")
def copied_fraction(text: pl.Expr) -> pl.Expr:
    """5-grams of the response that stand in the instruction too, of all its 5-grams."""
    return pl.struct(text.alias("text"), pl.col("instruction").alias("source")).map_batches(
        partial(copied_share, n=5), return_dtype=pl.Float32, is_elementwise=True
    )
