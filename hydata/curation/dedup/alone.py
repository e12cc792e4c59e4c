"""Duplicates among the rows of files, without a warehouse."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from hydata.curation.dedup.clusters import find_clusters, longest_first
from hydata.curation.dedup.kernels import UInt32Array
from hydata.curation.dedup.shingles import Texts
from hydata.curation.dedup.signed import gathered, sign_texts
from hydata.curation.dedup.threads import together
from hydata.curation.files import Piece

COLUMNS = pl.Schema(
    {
        "row": pl.Int64(),
        "cluster_id": pl.Int64(),
        "keep": pl.Boolean(),
        "duplicate_of": pl.Int64(),
        "similarity": pl.Float32(),
    }
)
"""``row`` counts the rows of all files from 0; ``cluster_id`` is the row of its cluster that comes first in
keep order, ``duplicate_of`` a kept row of which this one is a duplicate (null: this one is kept),
``similarity`` their Jaccard similarity (null: kept)."""


def judge_pieces(
    pieces: Iterable[Piece], threshold: float, folder: Path, threads: int | None = None
) -> pl.DataFrame:
    """A row of ``COLUMNS`` for each row of ``pieces``, in their order. Of duplicates the longest text stays,
    of equally long ones the first. What does not fit in memory is kept in ``folder`` for the while.

    Raises:
        ConfigError: a piece cannot be read.
        WarehouseError: the folder has no room.
    """

    def sign(piece: Piece) -> tuple[Texts, UInt32Array]:
        return sign_texts(piece.texts(), threshold)

    with gathered(together(sign, pieces, threads), threshold, folder) as signed:
        order = longest_first(signed.length)
        found = find_clusters(signed, order, 0, threshold, threads)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    keep = pl.Series(found.keep[place])
    return pl.DataFrame(
        {
            "row": np.arange(len(order)),
            "cluster_id": order[found.first[place]],
            "keep": keep,
            "duplicate_of": pl.Series(order[found.leader[place]]).set(keep, None),
            "similarity": pl.Series(found.similarity[place]).set(keep, None),
        },
        schema=COLUMNS,
    )
