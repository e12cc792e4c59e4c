"""Truncation: signs that a text stops before its end.

C4 (Raffel et al. 2020, section 2.2) keeps only lines that end in a terminal punctuation mark. An answer may
rightly end in a list, a title or code, so here the mark's absence is counted in prose only, and the
stronger signs (an open fence, bracket or quotation, a dangling comma or conjunction) stand apart.
"""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import count_phrases, measure
from hydata.curation.words import word_count

_FENCE = r"(?m)^[ \t]*(?:```|~~~)"

# "1)" at a line's start closes what nothing opened, ":(" opens what nothing closes.
_NO_BRACKET = r"(?m)^\s*\w{1,3}[)）]|[:;=]['-]?[(\[{]"

_NO_PROSE = r"^\s*(?:[-*+•·#|>–]|\p{N}{1,3}[.)、．）]|[（(]?\w[)）])|#\w+\s*$|[{};=<>]"
_SENTENCE_END = r"[\p{L})”\"][.!?]\s|[。！？]"
_CLOSERS = "\"'”’»)）]】」』》*_`~ \t"
_PROSE_WORDS = 8
"""A last line of fewer words may be a title, a name or an item; of these many it is a sentence."""


@measure(pl.Boolean)
def finish_length(text: pl.Expr) -> pl.Expr:
    """The model's server stopped at the token limit (OpenAI protocol, ``finish_reason``)."""
    return (pl.col("finish_reason") == "length").fill_null(False)


@measure(pl.Boolean, "response")
def ends_dangling(text: pl.Expr) -> pl.Expr:
    """The last word or mark cannot end a text: a comma, a colon, an opening bracket, "and", 以及."""
    return count_phrases(text.str.strip_chars_end(), "dangling") > 0


@measure(pl.Boolean, "response")
def ends_in_mid_sentence(text: pl.Expr) -> pl.Expr:
    """Ends in a letter or digit, though it is prose (after C4): sentences end before, and the last line
    has at least 8 words and is neither a list item nor closed by a hashtag."""
    last = text.str.strip_chars_end().str.extract(r"([^\n]*)\z")
    prose = (word_count(last) >= _PROSE_WORDS) & ~last.str.contains(_NO_PROSE)
    open_end = last.str.strip_chars_end(_CLOSERS).str.contains(r"[\p{L}\p{N}]\z")
    return prose & open_end & text.str.contains(_SENTENCE_END)


@measure(pl.Boolean, "instruction", "response")
def ends_in_ellipsis(text: pl.Expr) -> pl.Expr:
    """Ends in three dots or an ellipsis; Gopher (A.1.1) counts lines that do."""
    return text.str.strip_chars_end(_CLOSERS + "\n\r").str.contains(r"(?:\.\.\.|…|。。。)\z")


@measure(pl.Boolean, "instruction", "response")
def open_fence(text: pl.Expr) -> pl.Expr:
    """A Markdown code fence is opened and not closed."""
    return text.str.count_matches(_FENCE) % 2 == 1


@measure(pl.UInt32, "response")
def unclosed_brackets(text: pl.Expr) -> pl.Expr:
    """Brackets opened more often than closed, of all kinds together: "[0, 1)" is balanced."""
    plain = text.str.replace_all(_NO_BRACKET, "")
    opened = plain.str.count_matches(r"[(\[{（【［]").cast(pl.Int64)
    return (opened - plain.str.count_matches(r"[)\]}）】］]")).clip(lower_bound=0)


@measure(pl.Boolean, "response")
def unclosed_quotes(text: pl.Expr) -> pl.Expr:
    """An odd number of straight double quotes (those behind a backslash apart), or “ 「 『 《 without its
    other half."""
    odd = (text.str.count_matches('"', literal=True) + text.str.count_matches('\\"', literal=True)) % 2 == 1
    pairs = [
        text.str.count_matches(opening, literal=True) > text.str.count_matches(closing, literal=True)
        for opening, closing in ("“”", "「」", "『』", "《》")
    ]
    return pl.any_horizontal(odd, *pairs)
