"""For a person who chooses the threshold: what a lower one would drop, and in what two texts differ.

What a lower threshold would drop is what the same judge finds at that threshold among the records that are
kept now. Nothing is stored for it: signatures make band keys for any threshold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import takewhile
from pathlib import Path

import polars as pl

from hydata.curation.dedup.judge import judge_signed
from hydata.curation.dedup.signatures import stored

CONTEXT = 4
"""Words shown of what two texts share, on each side of a difference."""
ALIGNED = 400
"""Words that are aligned, from the first difference on: aligning takes time in the square of it."""

_CHARACTER = r"\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff01-\uffef"  # and their punctuation
_WORD = re.compile(rf"[{_CHARACTER}]|[^\s{_CHARACTER}]+")


def would_fall(paths: Sequence[Path], kept: pl.DataFrame, threshold: float, lower: float) -> pl.DataFrame:
    """Those of the ``kept`` (``record_id``) that the threshold ``lower`` would drop: ``record_id``,
    ``cluster_id``, ``duplicate_of`` and ``similarity``, which is from ``lower`` up to, but without,
    ``threshold``. ``paths`` are the signature shards; of records that are dropped nothing is held."""
    ids, signed = stored(paths, kept, lower)
    found = judge_signed(ids, signed, pl.repeat(False, len(ids), eager=True), lower)
    under = pl.col("similarity") < pl.lit(threshold, pl.Float32)
    return found.filter(~pl.col("keep") & under).select(
        "record_id", "cluster_id", "duplicate_of", "similarity"
    )


def differing(one: str, two: str) -> tuple[str, str]:
    """Both texts, with what differs in [brackets] and with "…" for what they share further away from that,
    or what is too long to be aligned. Case and white space do not count."""
    a, b = _WORD.findall(one), _WORD.findall(two)
    keys_a, keys_b = [word.casefold() for word in a], [word.casefold() for word in b]
    begin = _shared(keys_a, keys_b)
    end = _shared(keys_a[begin:][::-1], keys_b[begin:][::-1])
    middle_a, middle_b = keys_a[begin : len(a) - end], keys_b[begin : len(b) - end]
    aligned = SequenceMatcher(None, middle_a[:ALIGNED], middle_b[:ALIGNED], autojunk=False)
    shown_a, shown_b = [_edge(a[:begin], last=True)], [_edge(b[:begin], last=True)]
    for kind, a1, a2, b1, b2 in aligned.get_opcodes():
        words_a, words_b = a[begin + a1 : begin + a2], b[begin + b1 : begin + b2]
        if kind == "equal":
            shown_a.append(_between(words_a))
            shown_b.append(_between(words_b))
        else:
            shown_a.append(f"[{_joined(words_a)}]")
            shown_b.append(f"[{_joined(words_b)}]")
    for shown, middle, tail in (
        (shown_a, middle_a, a[len(a) - end :]),
        (shown_b, middle_b, b[len(b) - end :]),
    ):
        shown.append("[…]" if len(middle) > ALIGNED else "")
        shown.append(_edge(tail, last=False))
    return " ".join(filter(None, shown_a)), " ".join(filter(None, shown_b))


def _shared(one: list[str], two: list[str]) -> int:
    """Words that both begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False)))


def _edge(words: list[str], last: bool) -> str:
    """What is shared before the first difference (its ``last`` words) or after the last one."""
    if len(words) <= CONTEXT:
        return _joined(words)
    return f"… {_joined(words[-CONTEXT:])}" if last else f"{_joined(words[:CONTEXT])} …"


def _between(words: list[str]) -> str:
    """What is shared between two differences."""
    if len(words) <= 2 * CONTEXT:
        return _joined(words)
    return f"{_joined(words[:CONTEXT])} … {_joined(words[-CONTEXT:])}"


def _joined(words: list[str]) -> str:
    """With spaces, but for two Chinese or Japanese characters in a row."""
    return _GAP.sub("", " ".join(words))


_GAP = re.compile(rf"(?<=[{_CHARACTER}]) (?=[{_CHARACTER}])")
