"""The table ``embeddings``: what semantic duplicates are found by, so that no instruction is embedded twice.

A map stage embeds the instructions (all user turns, from their beginning) of a shard: in this process, or by
the model of the role ``embedder``, whose replies the journal keeps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
from pydantic import Field

from hydata.curation.dedup.shingles import read_texts
from hydata.curation.language import detect
from hydata.curation.semantic.encoders import (
    Encoded,
    Encoder,
    Float32Array,
    bundled,
    of_length_1,
    static,
    whole,
)
from hydata.errors import TerminalModelError
from hydata.models import Model, Models
from hydata.schema import Output, Reject, instruction_text, rejects_frame
from hydata.stage import Context, MapStage, Settings

VERSION = 1
ROLE = "embedder"
BATCH = 32
"""Texts of one request to an endpoint."""

COLUMNS = pl.Schema(
    {
        "record_id": pl.String(),
        "encoder": pl.String(),
        "text": pl.UInt64(),
        "length": pl.UInt32(),
        "language": pl.String(),
        "numbers": pl.List(pl.String()),
        "averaged": pl.UInt32(),
        "vector": pl.List(pl.Float32()),
    }
)
"""Of an instruction: the hash of its normal form, its length in characters, its language, the different
numbers in it, and its vector by ``encoder``, of length 1 and exact to three digits (16-bit numbers, which
take half the room on disk); null where there is nothing to compare: no text, or no token that the encoder
knows."""


class EmbeddingsSettings(Settings):
    """``encoder``: "static", "bundled", or the "endpoint" of the role embedder; ``vectors``: a folder of
    other static ones, as model2vec writes it; ``characters`` of a text are embedded at the most."""

    encoder: Literal["static", "bundled", "endpoint"] = "static"
    vectors: Path | None = None
    characters: int = Field(default=2000, ge=1)


def local_encoder(settings: EmbeddingsSettings) -> Encoder:
    """The encoder in this process.

    Raises:
        ConfigError: it is not installed, or its files are wrong.
    """
    return bundled() if settings.encoder == "bundled" else static(settings.vectors)


def embedded(ids: pl.Series, texts: pl.Series, encoder: str, found: Encoded) -> pl.DataFrame:
    """Rows of ``COLUMNS`` for the records ``ids`` with their ``texts``."""
    read, vectors = read_texts(texts.to_arrow()), found.vectors
    there = pl.Series(vectors.any(axis=1))
    offsets = np.arange(len(ids) + 1) * vectors.shape[1]
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(rounded(vectors).ravel()))
    return pl.DataFrame(
        {
            "record_id": ids,
            "encoder": pl.repeat(encoder, len(ids), eager=True),
            "text": read.text,
            "length": read.length,
            "language": detect(texts)["language"],
            "numbers": numbers(texts),
            "averaged": found.averaged,
            "vector": pl.Series(lists).set(~there, None),
        }
    ).cast(COLUMNS)


def rounded(vectors: Float32Array) -> Float32Array:
    """As 16-bit numbers have them."""
    return vectors.astype(np.float16).astype(np.float32)


def numbers(texts: pl.Series) -> pl.Series:
    """The different numbers in each text: digits, with a decimal point perhaps; 1,000 and 1000 are the
    same."""
    plain = pl.col("text").str.normalize("NFKC")
    for _ in range(2):  # each match eats the digit that the next one would begin with
        plain = plain.str.replace_all(r"(\d),(\d{3})\b", "$1$2")
    found = plain.str.extract_all(r"\d+(?:\.\d+)?").list.unique().list.sort()
    return pl.DataFrame({"text": texts}).select(found).to_series()


async def run_local(conversations: pl.DataFrame, settings: EmbeddingsSettings, context: Context) -> Output:
    """Conversations to rows of ``COLUMNS``, one each."""
    encoder, texts = local_encoder(settings), _texts(conversations, settings)
    found = encoder.encode(texts.to_list())
    return Output(embedded(conversations["record_id"], texts, encoder.identity, found))


async def run_remote(conversations: pl.DataFrame, settings: EmbeddingsSettings, context: Context) -> Output:
    """The same by the endpoint. A text that it refuses is rejected."""
    model, texts = embedder(context.models), _texts(conversations, settings)
    vectors, refused = await embed_texts(context.models, model, texts.to_list())
    rows = embedded(conversations["record_id"], texts, model.identity, whole(vectors))
    rejects = [
        Reject("embeddings", error.reason, error.detail, conversations["record_id"][place])
        for place, error in refused.items()
    ]
    answered = ~pl.int_range(len(texts), eager=True).is_in(list(refused))
    return Output(rows.filter(answered), rejects_frame(rejects))


def embedder(models: Models) -> Model:
    """The model that plays the role.

    Raises:
        ConfigError: none does.
    """
    return models.route(ROLE, "")


async def embed_texts(
    models: Models, model: Model, texts: Sequence[str]
) -> tuple[Float32Array, Mapping[int, TerminalModelError]]:
    """Vectors of length 1, 0 for texts of white space and for those that the server refuses, and these, by
    their places.

    Raises:
        TransientModelError: some may be answered later.
    """
    wanted = [place for place, text in enumerate(texts) if text.strip()]
    batches = [wanted[begin : begin + BATCH] for begin in range(0, len(wanted), BATCH)]
    outcomes = await asyncio.gather(
        *(_embed(models, model, [texts[place] for place in batch]) for batch in batches),
        return_exceptions=True,  # what is under way when one fails ends first, so that it is kept
    )
    found: dict[int, Float32Array] = {}
    refused: dict[int, TerminalModelError] = {}
    for batch, outcome in zip(batches, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        for place, vector in zip(batch, outcome, strict=True):
            if isinstance(vector, TerminalModelError):
                refused[place] = vector
            else:
                found[place] = vector
    vectors = np.zeros((len(texts), len(next(iter(found.values()), "-"))), np.float32)
    for place, vector in found.items():
        vectors[place] = vector
    return of_length_1(vectors), refused


async def _embed(
    models: Models, model: Model, texts: Sequence[str]
) -> Sequence[Float32Array | TerminalModelError]:
    """A vector for each text; a batch that the server refuses is halved until it is known for which text."""
    try:
        return list(await models.embed(model, texts, "embeddings"))
    except TerminalModelError as error:
        if len(texts) == 1:
            return [error]
        half = len(texts) // 2
        return [*await _embed(models, model, texts[:half]), *await _embed(models, model, texts[half:])]


def _texts(conversations: pl.DataFrame, settings: EmbeddingsSettings) -> pl.Series:
    return conversations.select(instruction_text().str.slice(0, settings.characters)).to_series()


def _uses_local(settings: EmbeddingsSettings, context: Context) -> Iterable[str]:
    return (local_encoder(settings).identity,)


def _uses_remote(settings: EmbeddingsSettings, context: Context) -> Iterable[str]:
    return (embedder(context.models).identity,)


def stage(settings: EmbeddingsSettings) -> MapStage:
    """The stage for an encoder in this process, which computes, or for an endpoint, which is awaited."""
    remote = settings.encoder == "endpoint"
    return MapStage(
        name="embeddings",
        table="embeddings",
        columns=COLUMNS,
        version=VERSION,
        settings=EmbeddingsSettings,
        run=run_remote if remote else run_local,
        computes=not remote,
        uses=_uses_remote if remote else _uses_local,
    )
