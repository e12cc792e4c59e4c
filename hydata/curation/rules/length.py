"""Length and structure: how much there is of each part, and what pages of good text look like.

Gopher (Rae et al. 2021, appendix A.1.1) keeps documents of 50 to 100,000 words of 3 to 10 characters, with
symbols (# and ellipses) for at most 0.1 of the words, bullets before at most 0.9 of the lines, ellipses after
at most 0.3, a letter in at least 0.8 of the words, and two stop words. C4 (Raffel et al. 2020, section 2.2)
keeps lines that end in terminal punctuation, and pages of three sentences without braces, lorem ipsum and
notices of a browser. FineWeb (Penedo et al. 2024, section 3.6) keeps documents with at least 0.12 of the
lines so ended, at most 0.67 of them short and at most 0.3 line breaks a word. Instructions and answers need
bounds of their own, which is the policy's business.
"""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import count_phrases, count_stop_words, counted, measure, share


@measure(pl.UInt32, "instruction", "response")
def characters(text: pl.Expr) -> pl.Expr:
    """Unicode code points."""
    return counted(text, "characters")


@measure(pl.UInt32, "instruction", "response")
def words(text: pl.Expr) -> pl.Expr:
    """Words, as ``hydata.curation.words`` defines them: a Chinese character is one."""
    return counted(text, "words")


@measure(pl.UInt32, "instruction", "response", "text")
def tokens_estimated(text: pl.Expr) -> pl.Expr:
    """Tokens without a tokenizer: 4 characters each, 1.5 where they are Chinese or Japanese.

    Rules of thumb of the vendors of byte-level BPE tokenizers; right to about a fifth on prose,
    too low on code and numbers. For budgets, never for a loss mask.
    """
    cjk = counted(text, "cjk")
    return (cjk / 1.5 + (counted(text, "characters") - cjk) / 4).ceil()


@measure(pl.UInt32)
def turns(text: pl.Expr) -> pl.Expr:
    """Messages that are not the system's."""
    return pl.col("roles").str.len_bytes() - pl.col("roles").str.count_matches("s", literal=True)


@measure(pl.UInt32, "instruction", "response")
def lines(text: pl.Expr) -> pl.Expr:
    """Lines that are not empty."""
    return counted(text, "lines")


@measure(pl.UInt32, "instruction", "response")
def sentences(text: pl.Expr) -> pl.Expr:
    """Ends of sentences: . ! ? before white space, 。！？ anywhere (C4 keeps pages of at least three)."""
    return counted(text, "sentences")


@measure(pl.UInt32, "instruction", "response")
def list_items(text: pl.Expr) -> pl.Expr:
    """Lines that begin with a bullet and a space, or with up to three digits and one of . ) : 、."""
    return counted(text, "list_items")


@measure(pl.Float32, "instruction", "response")
def mean_word_length(text: pl.Expr) -> pl.Expr:
    """Characters a word (Gopher: 3 to 10); of words that are one Chinese or Japanese character there is
    nothing to measure, they are left out."""
    cjk = counted(text, "cjk")
    return share(counted(text, "word_characters") - cjk, counted(text, "words") - cjk)


@measure(pl.Float32, "instruction", "response")
def symbol_word_ratio(text: pl.Expr) -> pl.Expr:
    """Hash signs and ellipses a word, the more frequent of the two (Gopher)."""
    return share(
        pl.max_horizontal(counted(text, "hashes"), counted(text, "ellipses")), counted(text, "words")
    )


@measure(pl.Float32, "instruction", "response")
def bullet_line_fraction(text: pl.Expr) -> pl.Expr:
    """Lines that begin with a bullet, of all lines (Gopher)."""
    return share(counted(text, "bullet_lines"), counted(text, "lines"))


@measure(pl.Float32, "instruction", "response")
def ellipsis_line_fraction(text: pl.Expr) -> pl.Expr:
    """Lines that end in an ellipsis, of all lines (Gopher)."""
    return share(counted(text, "ellipsis_lines"), counted(text, "lines"))


@measure(pl.UInt32, "instruction", "response")
def stop_words(text: pl.Expr) -> pl.Expr:
    """Different English words of the, be, to, of, and, that, have, with (Gopher: at least two)."""
    return count_stop_words(text, "en")


@measure(pl.UInt32, "instruction", "response")
def stop_words_zh(text: pl.Expr) -> pl.Expr:
    """Different Chinese function words of twelve: 的 了 是 在 and others. Three sentences of prose
    have two."""
    return count_stop_words(text, "zh")


@measure(pl.Float32, "instruction", "response")
def terminal_line_fraction(text: pl.Expr) -> pl.Expr:
    """Lines that end in . ! ? 。！？ or a closing quotation mark and in no ellipsis, of all lines (C4,
    FineWeb)."""
    return share(counted(text, "terminal_lines"), counted(text, "lines"))


@measure(pl.Float32, "instruction", "response")
def short_line_fraction(text: pl.Expr) -> pl.Expr:
    """Lines of at most 30 characters, a Chinese or Japanese one counted twice, of all lines (FineWeb)."""
    return share(counted(text, "short_lines"), counted(text, "lines"))


@measure(pl.Float32, "instruction", "response")
def newline_word_ratio(text: pl.Expr) -> pl.Expr:
    """Line breaks a word (FineWeb)."""
    return share(counted(text, "newlines"), counted(text, "words"))


@measure(pl.UInt32, "instruction", "response")
def curly_braces(text: pl.Expr) -> pl.Expr:
    """{ and } (C4 keeps no page with one; code has them rightly)."""
    return counted(text, "braces")


@measure(pl.UInt32, "instruction", "response")
def lorem_ipsum(text: pl.Expr) -> pl.Expr:
    """The typesetters' filler (C4)."""
    return count_phrases(text, "lorem_ipsum")


@measure(pl.UInt32, "instruction", "response")
def web_notices(text: pl.Expr) -> pl.Expr:
    """Notices of a web page: turn on JavaScript, cookies, terms of use, 版权所有 (C4)."""
    return count_phrases(text, "web_notices")
