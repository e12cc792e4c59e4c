"""What a rule is: a named, typed Polars expression with its source written beside it.

A family module under ``hydata.curation.rules`` writes a rule as a function of one text column, and
``@measure`` turns it into a :class:`Measure`; adding a rule is adding such a function. The columns a
rule may use are those of ``hydata.schema.CONVERSATIONS`` and three texts made from ``messages``:
``instruction``, ``response`` (null while there is none) and ``text``, the contents of all turns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import polars as pl

Column = Literal["instruction", "response", "text"]


@dataclass(frozen=True)
class Measure:
    """``expressions`` maps each column of the judge's table to the expression behind it; all share
    ``dtype``. ``doc`` is the rule's docstring: what it counts, and where it comes from."""

    name: str
    dtype: pl.DataType
    expressions: Mapping[str, pl.Expr]
    doc: str


def measure(dtype: type[pl.DataType], *columns: Column) -> Callable[[Callable[[pl.Expr], pl.Expr]], Measure]:
    """Make a rule of a function from a text column to a value per row.

    It is measured once for each of ``columns``, named ``<column>_<function>``; a rule on the whole
    ``text`` (the default) is named by its function alone.
    """

    def decorate(rule: Callable[[pl.Expr], pl.Expr]) -> Measure:
        name = rule.__name__
        return Measure(
            name=name,
            dtype=dtype(),
            expressions={
                name if column == "text" else f"{column}_{name}": rule(pl.col(column)).cast(dtype)
                for column in columns or ("text",)
            },
            doc=(rule.__doc__ or "").strip(),
        )

    return decorate


def count_phrases(text: pl.Expr, name: str, flags: str = "(?im)") -> pl.Expr:
    """Matches in ``text`` of the lines of ``rules/phrases/<name>.txt``, summed over the lines.

    A line is a Rust regular expression; ``flags`` make it match in any case and ``^`` at every line's
    start. Empty lines and lines that begin with ``# `` are comments. Each phrase runs by itself: joined by
    ``|`` they lose the literals that a search skips ahead by, and took 5 to 10 times as long.
    """
    lines = (
        (resources.files("hydata.curation.rules") / "phrases" / f"{name}.txt").read_text("utf-8").splitlines()
    )
    found = [line.strip() for line in lines if line.strip() and not line.startswith("# ")]
    return pl.sum_horizontal((text.str.count_matches(flags + phrase) for phrase in found), ignore_nulls=False)


def share(part: pl.Expr, whole: pl.Expr) -> pl.Expr:
    """``part / whole`` as Float32, 0 where there is nothing to divide by, null where ``whole`` is null."""
    return pl.when(whole == 0).then(0.0).otherwise(part / whole).cast(pl.Float32)
