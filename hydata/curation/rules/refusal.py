"""Refusal and evasion: answers that do not answer, instructions that lack what they speak of.

The phrases are lists, English and Chinese, in ``phrases/``. Placeholders such as "<noinput>" and references
to images that nobody attached are defects that curated versions of Alpaca remove.
"""

from __future__ import annotations

import polars as pl

from hydata.curation.measure import count_phrases, measure

_URL = r"(?i)\bhttps?://[^\s<>\"'）)\]】，。]+|\bwww\.[^\s<>\"'）)\]】，。]+"
_OPENING = 300
"""Characters in which a refusal shows itself; later on the words are part of an answer."""


@measure(pl.UInt32, "response")
def refusals(text: pl.Expr) -> pl.Expr:
    """Phrases of refusal within the first 300 characters."""
    return count_phrases(text.str.slice(0, _OPENING), "refusals")


@measure(pl.UInt32, "response")
def ai_disclaimers(text: pl.Expr) -> pl.Expr:
    """ "As an AI language model" and its relatives, anywhere."""
    return count_phrases(text, "ai_disclaimers")


@measure(pl.UInt32, "instruction", "response")
def placeholders(text: pl.Expr) -> pl.Expr:
    """A line that is nothing but "<noinput>", "No input", "N/A", 无输入."""
    return count_phrases(text, "placeholders")


@measure(pl.UInt32, "instruction")
def missing_media(text: pl.Expr) -> pl.Expr:
    """References to an image, file or recording that is not there."""
    return count_phrases(text, "missing_media")


@measure(pl.UInt32, "instruction", "response")
def urls(text: pl.Expr) -> pl.Expr:
    """Web addresses; in an answer they are often invented, in an instruction they cannot be opened."""
    return text.str.count_matches(_URL)


@measure(pl.Boolean, "instruction")
def url_only_input(text: pl.Expr) -> pl.Expr:
    """The last line is a web address alone: the task is about a page that nobody can see."""
    last = text.str.strip_chars_end().str.extract(r"([^\n]*)\z").str.strip_chars()
    return (
        (last != "") & last.str.replace(_URL, "").str.contains(r"^[\s<>\[\]().]*$") & last.str.contains(_URL)
    )
