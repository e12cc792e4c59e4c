"""Whether two tools mean the same by a measure: values and decisions on the same texts."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from judgements.common import COMMON, Pair
from shared.page import table

HEAD = (
    "measure",
    "limit",
    "language",
    "dropped by it",
    "by hydata",
    "decide alike",
    "median difference",
    "largest",
)


def agreement(values: Mapping[str, pl.DataFrame]) -> str:
    """A section of the page, of what the drivers wrote: values by contestant."""
    ours = values["hydata"]
    parts = ["## The same measures", _EXPLAINED.format(rows=ours.height // 2)]
    for peer, pairs in COMMON.items():
        if (theirs := values.get(peer)) is None:
            continue
        rows = [
            _compared(pair, language, theirs.filter(language=language), ours.filter(language=language))
            for pair in pairs
            for language in pair.languages
        ]
        parts += [f"### {peer}", table(HEAD, rows)]
    return "\n\n".join(parts)


_EXPLAINED = """Of the first {rows:,} records of each language: the share that both keep or both drop
at the limit (Gopher's, C4's, FineWeb's), and how far the values are apart where the peer gives one. What
differs:

- Words. datatrove's tokens include marks, which have no letter, so its share of words with a letter is
  lower; the peers divide characters by all of the text, hydata by those in words, in lower case.
- The most frequent n-gram. hydata gives 0 where none occurs twice, datatrove the share of one n-gram. NeMo
  Curator joins an n-gram's words by spaces and looks for that in the text, where it never is in Chinese.
- Chinese. NeMo Curator knows no Chinese mark that ends a sentence, and jieba's marks are words to it.
  FineWeb's short line has 30 characters; hydata takes 15 for Chinese.
- Bullets. datatrove knows two, hydata those of several scripts and * as well."""


def _compared(pair: Pair, language: str, theirs: pl.DataFrame, ours: pl.DataFrame) -> list[str]:
    mine, other = ours[pair.ours].cast(pl.Float64), theirs[pair.peer]
    if pair.rest:
        other = 1 - other
    drop = (mine < pair.least) | (mine > pair.most)
    if pair.decided:
        dropped, apart = other > 0, None
    else:
        dropped, apart = (other < pair.least) | (other > pair.most), (mine - other).abs()
    bounds = [f"< {pair.least:g}"] * (pair.least > 0) + [f"> {pair.most:g}"] * (pair.most < 1e9)
    return [
        pair.peer.removeprefix("drops_"),
        ", ".join(bounds),
        language,
        f"{dropped.mean():.3f}",
        f"{drop.mean():.3f}",
        f"{(dropped == drop).mean():.4f}",
        "" if apart is None else f"{apart.median():.3g}",
        "" if apart is None else f"{apart.max():.3g}",
    ]
