"""Lists of weighted phrases, in files, and where they occur: all are looked for in one pass over a text.

A line of ``phrases/<name>.txt`` is a weight and a phrase; lines that begin with ``# `` are comments. A phrase
is lower case; words are found whole, or, with a ``*`` behind them, as the beginning of a word. Chinese
characters are found wherever they stand. Texts are folded first: full-width forms, case, links, mentions,
entities of HTML, and marks between words are all the same; ``*``, ``$`` and ``'`` stay, ``!`` in a word is i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import polars as pl

from hydata.errors import ConfigError
from hydata.schema import hash128

_NOISE = r"https?://\S+|&#?\w+;|@\w+"
_MARK = r"[^\p{L}\p{N}\p{M}*$']+"
_LATIN = r"[\p{Latin}\p{N}*$']+"


@dataclass(frozen=True)
class Phrases:
    """``patterns`` as they stand in folded texts; ``hash`` identifies the file's content."""

    patterns: tuple[str, ...]
    weights: tuple[float, ...]
    hash: str

    def found(self, folded: pl.Series) -> pl.DataFrame:
        """``row``, ``weight`` and ``count`` of each phrase in each text of ``folded`` that has it."""
        weights = pl.DataFrame({"phrase": self.patterns, "weight": self.weights})
        return (
            folded.to_frame("text")
            .with_row_index("row")
            .select("row", phrase=pl.col("text").str.extract_many(list(self.patterns), overlapping=True))
            .filter(pl.col("phrase").list.len() > 0)
            .explode("phrase")
            .group_by("row", "phrase", maintain_order=True)
            .agg(count=pl.len())
            .join(weights, on="phrase")
            .select("row", "weight", "count")
        )


@lru_cache
def phrases(name: str) -> Phrases:
    """The list ``phrases/<name>.txt``.

    Raises:
        ConfigError: a line is no weight and phrase, or stands twice.
    """
    text = (resources.files("hydata.curation") / "phrases" / f"{name}.txt").read_text("utf-8")
    found: dict[str, float] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("# "):
            continue
        weight, _, phrase = line.partition(" ")
        pattern = _pattern(phrase.strip())
        if not pattern.strip() or pattern in found:
            raise ConfigError(f"phrases/{name}.txt, line {number}: {line!r} is empty or stands twice")
        found[pattern] = float(weight)
    return Phrases(tuple(found), tuple(found.values()), hash128(text)[:12])


def folded(texts: pl.Series) -> pl.Series:
    """Texts as phrases are looked for in them: words between single spaces, one at each end."""
    text = (
        pl.Series("text", texts, dtype=pl.String)
        .to_frame()
        .select(
            pl.col("text")
            .str.normalize("NFKC")
            .str.to_lowercase()
            .str.replace_all(_NOISE, " ")
            .str.replace_all(r"(\p{Latin})!(\p{Latin})", "${1}i$2")
            .str.replace_all("’", "'", literal=True)
            .str.replace_all(_MARK, " ")
            .str.replace_all(_LATIN, " $0 ")
            .str.replace_all("  +", " ")
        )["text"]
    )
    return " " + text.str.strip_chars(" ") + " "


def _pattern(phrase: str) -> str:
    """A phrase as it stands in folded texts, with the spaces around its Latin ends."""
    flat = folded(pl.Series([phrase.removesuffix("*")])).item().strip()
    before = " " if flat[:1] < "\u2e80" else ""
    after = " " if flat[-1:] < "\u2e80" and not phrase.endswith("*") else ""
    return f"{before}{flat}{after}"
