"""Judges of text that work alone on files, without a warehouse: what they are and how they are run.

A *file judge* takes a frame of ``hydata.curation.files.ROWS`` and gives its columns, one row each, in order.
Pieces of the files are judged side by side, by threads or processes, and written as they come, so memory is
bounded by a few pieces, however long the files are. A module that has such a judge ends with a constant
``ALONE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from hydata.curation import files
from hydata.curation.files import Piece
from hydata.curation.threads import apart, together
from hydata.stage import Settings
from hydata.warehouse import write_frames


def _no(settings: Any) -> bool:
    return False


@dataclass(frozen=True)
class FileJudge:
    """``judge(rows, settings)`` gives a frame of ``columns`` as high as its rows. ``doc`` is the help text of
    ``hydata judge NAME``; ``counts`` what is told at the end: a word and an expression over ``columns`` whose
    sum over all rows follows it. With settings of which ``by_processes`` is true it keeps the
    interpreter to itself (fastText): only processes make use of more cores then."""

    name: str
    doc: str
    settings: type[Settings]
    columns: pl.Schema
    judge: Callable[[pl.DataFrame, Any], pl.DataFrame]
    counts: Mapping[str, pl.Expr] = field(default_factory=dict)
    by_processes: Callable[[Any], bool] = _no


def judge_files(
    judge: FileJudge,
    settings: Settings,
    paths: Sequence[Path],
    column: str | None,
    output: Path,
    processes: int = 1,
) -> dict[str, int]:
    """Judge the rows of the files and write ``row``, which counts the rows of all files from 0, and the
    judge's columns to ``output``; what its ``counts`` come to, after the number of ``rows``. ``processes`` is
    how many may be started for a judge that needs them.

    Raises:
        ConfigError: a file cannot be read.
        WarehouseError: there is no room for the output.
    """
    totals = dict.fromkeys(("rows", *judge.counts), 0)

    one = partial(_judged, judge.name, judge.judge, settings)
    pieces = files.pieces(paths, column)

    def numbered() -> Iterator[pl.DataFrame]:
        for found in apart(one, pieces, processes) if judge.by_processes(settings) else together(one, pieces):
            start = totals["rows"]
            totals["rows"] += found.height
            if judge.counts:
                counted = found.select(e.sum().cast(pl.Int64).alias(n) for n, e in judge.counts.items())
                for name, count in counted.row(0, named=True).items():
                    totals[name] += count or 0
            yield found.with_row_index("row", start).cast({"row": pl.Int64})

    write_frames(output, numbered(), pl.Schema({"row": pl.Int64(), **judge.columns}))
    return totals


def _judged(
    name: str, judge: Callable[[pl.DataFrame, Any], pl.DataFrame], settings: Settings, piece: Piece
) -> pl.DataFrame:
    rows = piece.rows()
    found = judge(rows, settings)
    if found.height != rows.height:
        raise AssertionError(f"judge {name}: {found.height} rows for {rows.height}")
    return found
