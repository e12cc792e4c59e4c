"""Duplicates among the rows of files, without a warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from hydata.curation.dedup.clusters import find_clusters, longest_first
from hydata.curation.dedup.kernels import BoolArray, UInt32Array
from hydata.curation.dedup.shingles import Texts
from hydata.curation.dedup.signed import gathered, sign_texts
from hydata.curation.files import Piece
from hydata.curation.threads import together

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
    of equally long ones the first. A row without text is kept. What does not fit in memory is in ``folder``
    for the while.

    Raises:
        ConfigError: a piece cannot be read.
        WarehouseError: the folder has no room.
    """

    def sign(piece: Piece) -> tuple[BoolArray, tuple[Texts, UInt32Array]]:
        texts = piece.texts()
        return texts.is_valid().to_numpy(zero_copy_only=False), sign_texts(texts, threshold)

    present = [np.empty(0, np.bool_)]

    def signed_parts() -> Iterator[tuple[Texts, UInt32Array]]:
        for valid, part in together(sign, pieces, threads):
            present.append(valid)
            yield part

    with gathered(signed_parts(), threshold, folder) as signed:
        has_text = np.concatenate(present)
        order = longest_first(signed.length)
        order = order[has_text[order]]
        found = find_clusters(signed, order, 0, threshold, threads)
    rows = np.arange(len(has_text))
    cluster, leader, keep = rows.copy(), rows.copy(), np.ones(len(rows), np.bool_)
    similarity = np.ones(len(rows), np.float32)
    cluster[order], leader[order] = order[found.first], order[found.leader]
    keep[order], similarity[order] = found.keep, found.similarity
    kept = pl.Series(keep)
    return pl.DataFrame(
        {
            "row": rows,
            "cluster_id": cluster,
            "keep": kept,
            "duplicate_of": pl.Series(leader).set(kept, None),
            "similarity": pl.Series(similarity).set(kept, None),
        },
        schema=COLUMNS,
    )
