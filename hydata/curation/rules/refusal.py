"""Refusal and evasion: answers that do not answer, instructions that lack what they speak of.

The phrases are lists, English and Chinese, in ``phrases/``. Placeholders such as "<noinput>" and references
to images that nobody attached are defects that curated versions of Alpaca remove.
"""

from __future__ import annotations

from functools import cache
from urllib.parse import urlsplit

import polars as pl
from tld import get_tld

from hydata.curation.measure import count_phrases, has_anchor, measure, on_candidates, phrases

_OPENING = 300
"""Characters in which a refusal shows itself; later on the words are part of an answer."""


@measure(pl.UInt32, "response")
def refusals(text: pl.Expr) -> pl.Expr:
    """Phrases of refusal within the first 300 characters."""
    return count_phrases(text, "refusals", within=_OPENING)


@measure(pl.UInt32, "response")
def ai_disclaimers(text: pl.Expr) -> pl.Expr:
    """ "As an AI language model" and its relatives, anywhere."""
    return count_phrases(text, "ai_disclaimers")


@measure(pl.UInt32, "instruction", "response")
def placeholders(text: pl.Expr) -> pl.Expr:
    """A line that is nothing but "<noinput>", "No input", "N/A", 无输入."""
    return count_phrases(text, "placeholders")


@measure(pl.UInt32, "instruction", "response")
def missing_media(text: pl.Expr) -> pl.Expr:
    """References to an image, file or recording that is not there."""
    drawn = count_phrases(text, "drawn_media") > 0
    return pl.when(drawn).then(0).otherwise(count_phrases(text, "missing_media"))


@measure(pl.UInt32, "instruction", "response")
def urls(text: pl.Expr) -> pl.Expr:
    """Web addresses; in an answer they are often invented, in an instruction they cannot be opened."""
    return count_phrases(text, "urls")


@cache
def _url() -> str:
    (pattern,) = phrases("urls")
    return f"(?i){pattern}"


def _only_url(texts: pl.Series) -> pl.Series:
    last = pl.col("text").str.strip_chars_end().str.extract(r"([^\n]*)\z").str.strip_chars()
    only = last.str.replace(_url(), "").str.contains(r"^[\s<>\[\]().]*$") & last.str.contains(_url())
    return texts.alias("text").to_frame().select((last != "") & only).to_series()


@measure(pl.Boolean, "instruction")
def url_only_input(text: pl.Expr) -> pl.Expr:
    """The last line is a web address alone: the task is about a page that nobody can see."""
    return on_candidates(has_anchor(text, "urls"), _only_url, text)


@cache
def _stand_ins() -> frozenset[str]:
    return frozenset(phrases("invented_hosts"))


def _invented(url: str) -> bool:
    try:
        parsed = urlsplit(url if "://" in url else f"http://{url}")
        host = (parsed.hostname or "").rstrip(".,;:!?*_`")
    except ValueError:  # a port or a bracket that is none
        return True
    if host == "localhost" or host.replace(".", "").isdigit() or ":" in host:
        return False  # a machine of one's own, as code has it
    labels = host.split(".")
    stands_for = any(".".join(labels[k:]) in _stand_ins() for k in range(len(labels)))
    return stands_for or get_tld(f"http://{host}", fail_silently=True) is None


def _count_invented(texts: pl.Series) -> pl.Series:
    found = texts.alias("text").to_frame().select(pl.col("text").str.extract_all(_url())).to_series()
    return pl.Series([sum(map(_invented, urls)) for urls in found], dtype=pl.UInt32)


@measure(pl.UInt32, "instruction", "response")
def invented_urls(text: pl.Expr) -> pl.Expr:
    """Web addresses that cannot be real: a host that stands for one (example.com, of RFC 2606, and those of
    ``phrases/invented_hosts.txt``), no host, or one under no top-level domain of the public suffix list."""
    return on_candidates(has_anchor(text, "urls"), _count_invented, text)
