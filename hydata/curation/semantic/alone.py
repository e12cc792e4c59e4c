"""Semantic duplicates among the rows of files, without a warehouse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from hydata.curation.dedup import alone
from hydata.curation.files import Piece
from hydata.curation.semantic.embeddings import embed_local, embed_remote, embedded, embedder, local_encoder
from hydata.curation.semantic.encoders import Encoded
from hydata.curation.semantic.judge import SemanticSettings, judge_embedded, with_thresholds
from hydata.curation.semantic.neighbours import Float16Array
from hydata.models import ModelsConfig, open_models

T = TypeVar("T")
Embed = Callable[[pl.Series], Encoded]

COLUMNS = pl.Schema({**alone.COLUMNS, "cross_lingual": pl.Boolean()})
"""As ``dedup.alone.COLUMNS``; ``similarity`` is a cosine, and ``cross_lingual`` says that ``duplicate_of``
is in another language."""


@contextmanager
def local(settings: SemanticSettings) -> Iterator[Embed]:
    """By the encoder in this process."""
    encoder = local_encoder(settings.embeddings)
    yield lambda texts: embed_local(texts, encoder, settings.measured.characters)


@contextmanager
def remote(settings: SemanticSettings, config: ModelsConfig, journal: Path) -> Iterator[Embed]:
    """By the model of the role ``embedder``; what it refuses has no vector. Its replies are kept in
    ``journal``.

    Raises:
        ConfigError: nobody plays that role.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    models = open_models(config, journal)
    try:
        wait(models.__aenter__())
        try:
            model = embedder(models)
            yield lambda texts: wait(embed_remote(texts, models, model, settings.measured.characters))[0]
        finally:
            wait(models.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def judge_pieces(
    pieces: Iterable[Piece], embed: Embed, settings: SemanticSettings
) -> tuple[pl.DataFrame, int]:
    """A row of ``COLUMNS`` for each row of ``pieces``, in their order; and how many had nothing to compare:
    no text, too long a one, or none that the encoder takes. Those are kept. Rows with the same text stay or
    fall together: ``judge duplicates`` is for these.

    Raises:
        ConfigError: a piece cannot be read.
    """
    frames: list[pl.DataFrame] = []
    parts: list[Float16Array] = []
    rows = 0
    for piece in pieces:
        texts = pl.Series("text", piece.texts(), dtype=pl.String).fill_null("")
        numbers = pl.int_range(rows, rows + len(texts), dtype=pl.Int64, eager=True)
        encoded = embed(texts)
        frame = embedded(numbers.cast(pl.String), texts, "", encoded)
        there = frame["vector"].is_not_null()
        if there.any():
            frames.append(frame.drop("vector").with_columns(record_id=numbers).filter(there))
            parts.append(encoded.vectors[there.to_numpy()].astype(np.float16))
        rows += len(texts)
    everyone = pl.DataFrame({"row": pl.int_range(0, rows, dtype=pl.Int64, eager=True)})
    if not frames:
        nothing = {"row": "row", "cluster_id": "row"}
        return everyone.select(
            **nothing, keep=True, duplicate_of=None, similarity=None, cross_lingual=False
        ).cast(COLUMNS), rows
    records = with_thresholds(pl.concat(frames), [], settings)
    nobody = pl.repeat(False, records.height, eager=True)
    found = judge_embedded(records, np.concatenate(parts), nobody, settings)
    judged = everyone.join(
        found, left_on="row", right_on="record_id", how="left", maintain_order="left"
    ).select(
        "row",
        pl.col("cluster_id").fill_null(pl.col("row")),
        pl.col("keep").fill_null(True),
        "duplicate_of",
        "similarity",
        pl.col("cross_lingual").fill_null(False),
    )
    return judged, rows - records.height
