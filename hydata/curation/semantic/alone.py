"""Semantic duplicates among the rows of files, without a warehouse."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from hydata.curation.files import Piece
from hydata.curation.semantic.embeddings import embed_texts, embedded, embedder
from hydata.curation.semantic.encoders import Encoder, whole
from hydata.curation.semantic.judge import SemanticSettings, judge_embedded, with_thresholds
from hydata.models import ModelsConfig, open_models

T = TypeVar("T")

COLUMNS = pl.Schema(
    {
        "row": pl.Int64(),
        "cluster_id": pl.Int64(),
        "keep": pl.Boolean(),
        "duplicate_of": pl.Int64(),
        "similarity": pl.Float32(),
        "cross_lingual": pl.Boolean(),
    }
)
"""As ``dedup.alone.COLUMNS``; ``similarity`` is a cosine, and ``cross_lingual`` says that ``duplicate_of``
is in another language."""


@contextmanager
def endpoint_encoder(config: ModelsConfig, folder: Path) -> Iterator[Encoder]:
    """The model of the role ``embedder`` as an encoder; what it refuses has no vector. Its replies are kept
    in a journal in ``folder``.

    Raises:
        ConfigError: nobody plays that role.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    models = open_models(config, folder / "journal.sqlite")
    try:
        wait(models.__aenter__())
        try:
            model = embedder(models)
            yield Encoder(model.identity, lambda texts: whole(wait(embed_texts(models, model, texts))[0]))
        finally:
            wait(models.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def judge_pieces(pieces: Iterable[Piece], encoder: Encoder, settings: SemanticSettings) -> pl.DataFrame:
    """A row of ``COLUMNS`` for each row of ``pieces``, in their order. Rows with the same text stay or fall
    together: ``judge duplicates`` is for these. A row without text, or of whose words the encoder knows
    none, is kept.

    Raises:
        ConfigError: a piece cannot be read, or the encoder is not installed.
    """
    frames, parts, rows = [], [], 0
    for piece in pieces:
        texts = (
            pl.Series("text", piece.texts(), dtype=pl.String).fill_null("").str.slice(0, settings.characters)
        )
        numbers = pl.int_range(rows, rows + len(texts), dtype=pl.Int64, eager=True)
        encoded = encoder.encode(texts.to_list())
        frame = embedded(numbers.cast(pl.String), texts, encoder.identity, encoded)
        there = frame["vector"].is_not_null()
        frames.append(frame.drop("vector").with_columns(record_id=numbers).filter(there))
        parts.append(encoded.vectors[there.to_numpy()].astype(np.float16))
        rows += len(texts)
    everyone = pl.DataFrame({"row": pl.int_range(0, rows, dtype=pl.Int64, eager=True)})
    if not any(frame.height for frame in frames):
        return everyone.select(
            "row", cluster_id="row", keep=True, duplicate_of=None, similarity=None, cross_lingual=False
        ).match_to_schema(COLUMNS, missing_columns="raise", integer_cast="upcast")
    records = with_thresholds(pl.concat(frames), [], settings)
    nobody = pl.repeat(False, records.height, eager=True)
    found = judge_embedded(records, np.concatenate(parts), nobody, settings)
    return everyone.join(
        found, left_on="row", right_on="record_id", how="left", maintain_order="left"
    ).select(
        "row",
        pl.col("cluster_id").fill_null(pl.col("row")),
        pl.col("keep").fill_null(True),
        "duplicate_of",
        "similarity",
        pl.col("cross_lingual").fill_null(False),
    )
