"""Truncation: signs that a text stops before its end.

C4 (Raffel et al. 2020, section 2.2) keeps only lines that end in a terminal punctuation mark. An answer may
rightly end in a list, a title or code, so here the mark's absence is counted in prose only, and the
stronger signs (an open fence, bracket or quotation, a dangling comma or conjunction) stand apart.
"""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import count_matches, counted, measure, on_candidates
from hydata.curation.reading.kernels import END_SENTENCE, END_WORD
from hydata.curation.words import word_count

_NO_PROSE = (
    r"^\s*(?:[-*+•·#|>–—―]|\p{N}{1,3}[.)、．）]|[（(]?\w[)）]|[A-Za-z][.、．]\s)|^(?: {4}|\t).*[(\[]"
    r"|#\w+\s*$|://\S*$|\d{1,4}[./-]\d{1,2}[./-]\d{1,4}\s*$|[{};=<>]"
)
_SENTENCE_END = r"[\p{L})”\"][.!?]\s|[。！？]"
_CLOSERS = "\"'”’»)）]】」』》*_`~ \t"
_PROSE_WORDS = 8
"""A last line of fewer words may be a title, a name or an item; of these many it is a sentence."""


@measure(pl.Boolean)
def finish_length(text: pl.Expr) -> pl.Expr:
    """The model's server stopped at the token limit (OpenAI protocol, ``finish_reason``)."""
    return pl.when(pl.col("messages").is_not_null()).then(
        (pl.col("finish_reason") == "length").fill_null(False)
    )


def _dangles(texts: pl.Series) -> pl.Series:
    text = pl.col("text").str.strip_chars_end()
    return texts.alias("text").to_frame().select(count_matches(text, "dangling") > 0).to_series()


@measure(pl.Boolean, "response")
def ends_dangling(text: pl.Expr) -> pl.Expr:
    """The last word or mark cannot end a text: a comma, a colon, an opening bracket, "and", 以及."""
    return on_candidates(counted(text, "end") != END_SENTENCE, _dangles, text)


def _stops_in_prose(texts: pl.Series) -> pl.Series:
    # The last line by itself first: as part of three expressions it would be looked for three times, and by a
    # regular expression from the start.
    last = pl.col("last")
    prose = (word_count(last) >= _PROSE_WORDS) & ~last.str.contains(_NO_PROSE)
    open_end = last.str.strip_chars_end(_CLOSERS).str.contains(r"[\p{L}\p{N}]\z")
    return (
        texts.alias("text")
        .to_frame()
        .with_columns(last=pl.col("text").str.strip_chars_end().str.split("\n").list.last())
        .select(prose & open_end & pl.col("text").str.contains(_SENTENCE_END))
        .to_series()
    )


@measure(pl.Boolean, "response")
def ends_in_mid_sentence(text: pl.Expr) -> pl.Expr:
    """Ends in a letter or digit, though it is prose (after C4): sentences end before, and the last line
    has at least 8 words and is neither a list item nor closed by a hashtag."""
    may = (counted(text, "end") == END_WORD) & (counted(text, "words") >= _PROSE_WORDS)
    return on_candidates(may, _stops_in_prose, text)


@measure(pl.Boolean, "instruction", "response")
def ends_in_ellipsis(text: pl.Expr) -> pl.Expr:
    """Ends in three dots or an ellipsis; Gopher (A.1.1) counts lines that do."""
    return counted(text, "ends_in_ellipsis") > 0


@measure(pl.Boolean, "instruction", "response")
def open_fence(text: pl.Expr) -> pl.Expr:
    """A Markdown code fence is opened and not closed."""
    return counted(text, "fences") % 2 == 1


@measure(pl.UInt32, "response")
def unclosed_brackets(text: pl.Expr) -> pl.Expr:
    """Brackets opened more often than closed, of all kinds together: "[0, 1)" is balanced. "1)" at a line's
    start closes what nothing opened, ":(" opens what nothing closes: these do not count."""
    return counted(text, "open_brackets")


@measure(pl.Boolean, "response")
def unclosed_quotes(text: pl.Expr) -> pl.Expr:
    """An odd number of straight double quotes (those behind a backslash and those of inches apart), or
    “ 「 『 《 without its other half."""
    return counted(text, "open_quotes") > 0


@measure(pl.Boolean, "response")
def unclosed_maths(text: pl.Expr) -> pl.Expr:
    r"""LaTeX is opened and not closed: $$, \\(, \\[ or \\begin."""
    return counted(text, "open_maths") > 0


@measure(pl.Boolean, "response")
def unclosed_json(text: pl.Expr) -> pl.Expr:
    """The text begins as JSON does, and its brackets outside of strings are still open at its end."""
    return counted(text, "open_json") > 0


@measure(pl.Boolean, "response")
def unclosed_table(text: pl.Expr) -> pl.Expr:
    """The last line is a row of a Markdown table that lacks the bar at its end, which rows before it have."""
    return counted(text, "open_table") > 0


@measure(pl.Boolean, "response")
def unclosed_list(text: pl.Expr) -> pl.Expr:
    """The last line is the marker of a list item without the item: "4.", "-"."""
    return counted(text, "open_item") > 0
