"""The table ``embeddings``: what semantic duplicates are found by, so that no record is embedded twice.

A map stage embeds the different instructions (all user turns) of a shard: in this process, or by
the model of the role ``embedder``, whose replies the journal keeps, so that a text which several shards have
is sent once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
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
from hydata.errors import ConfigError, TerminalModelError
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
take half the room on disk); null where there is nothing to compare: no text, too long a one, or no
token that the encoder knows."""


class EmbeddingsSettings(Settings):
    """``encoder`` and ``vectors`` as in ``SemanticSettings``; a text of more than ``characters`` has no
    vector."""

    encoder: Literal["static", "bundled", "endpoint"] = "static"
    vectors: Path | None = Field(default=None, exclude=True)
    characters: int = Field(default=2000, ge=1)


def local_encoder(settings: EmbeddingsSettings) -> Encoder:
    """The encoder in this process.

    Raises:
        ConfigError: it is not installed, or its files are wrong.
    """
    return bundled() if settings.encoder == "bundled" else static(settings.vectors)


def comparable(texts: pl.Series, characters: int) -> pl.Series:
    """The different ones of ``texts`` that can be compared: not too long, and more than white space and
    characters that nobody sees."""
    different = texts.unique(maintain_order=True)
    visible = different.str.contains(r"[^\p{C}\p{Z}\s]")
    return different.filter(visible & (different.str.len_chars() <= characters))


def embed_local(texts: pl.Series, encoder: Encoder, characters: int) -> Encoded:
    """Those of ``texts`` that can be compared, each once, by an encoder in this process."""
    known = comparable(texts, characters)
    return spread(texts, known, encoder.encode(known.to_list()))


def spread(texts: pl.Series, known: pl.Series, found: Encoded) -> Encoded:
    """What was ``found`` of the texts ``known``, all different, for each of ``texts``; 0 for the others."""
    place = texts.replace_strict(
        known, pl.int_range(len(known), eager=True), default=None, return_dtype=pl.Int64
    )
    there = place.is_not_null().to_numpy()
    rows = place.drop_nulls().to_numpy()
    vectors = np.zeros((len(texts), found.vectors.shape[1]), np.float32)
    averaged = np.zeros(len(texts), np.int64)
    vectors[there], averaged[there] = found.vectors[rows], found.averaged[rows]
    return Encoded(vectors, averaged)


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


_NUMBER = r"[0-9]{1,3}(?:,[0-9]{3})+\b(?:\.[0-9]+)?|\^?[0-9]+(?:\.[0-9]+)?"


def numbers(texts: pl.Series) -> pl.Series:
    """The different numbers in each text: ASCII or full-width digits, with a decimal point perhaps, and an
    exponent; 1,000 and 1000 are the same."""
    plain = (
        pl.col("text")
        .str.replace_all(r"([⁰¹²³⁴-⁹]+)", "^$1 ")  # NFKC makes 102 of 10²
        .str.normalize("NFKC")
    )
    found = plain.str.extract_all(_NUMBER)
    bare = found.list.eval(pl.element().str.replace_all(",", "", literal=True)).list.unique().list.sort()
    return pl.DataFrame({"text": texts}).select(bare).to_series()


async def run_local(conversations: pl.DataFrame, settings: EmbeddingsSettings, context: Context) -> Output:
    """Conversations to rows of ``COLUMNS``, one each."""
    encoder, texts = local_encoder(settings), conversations.select(instruction_text()).to_series()
    found = embed_local(texts, encoder, settings.characters)
    return Output(embedded(conversations["record_id"], texts, encoder.identity, found))


async def run_remote(conversations: pl.DataFrame, settings: EmbeddingsSettings, context: Context) -> Output:
    """The same by the endpoint. A text that it refuses is rejected."""
    model, texts = embedder(context.models), conversations.select(instruction_text()).to_series()
    found, refused = await embed_remote(texts, context.models, model, settings.characters)
    rows = embedded(conversations["record_id"], texts, model.identity, found)
    rejects = [
        Reject("embeddings", error.reason, error.detail, id, prompt_id="embeddings", model=model.identity)
        for id, text in zip(conversations["record_id"], texts, strict=True)
        if (error := refused.get(text)) is not None
    ]
    return Output(rows.filter(~texts.is_in(list(refused))), rejects_frame(rejects))


def embedder(models: Models) -> Model:
    """The model that plays the role.

    Raises:
        ConfigError: none does.
    """
    return models.route(ROLE, "")


async def embed_remote(
    texts: pl.Series, models: Models, model: Model, characters: int
) -> tuple[Encoded, Mapping[str, TerminalModelError]]:
    """``embed_local`` by an endpoint; and the texts that it refuses, which have no vector.

    Raises:
        TransientModelError: some may be answered later.
        ConfigError: the endpoint gives vectors of several sizes.
    """
    wanted = comparable(texts, characters).to_list()
    batches = [wanted[begin : begin + BATCH] for begin in range(0, len(wanted), BATCH)]
    outcomes = await asyncio.gather(
        *(models.embed(model, batch, "embeddings") for batch in batches),
        return_exceptions=True,  # what is under way when one fails ends first, so that it is kept
    )
    found: dict[str, Float32Array] = {}
    refused: dict[str, TerminalModelError] = {}
    for batch, outcome in zip(batches, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        for text, vector in zip(batch, outcome, strict=True):
            if isinstance(vector, TerminalModelError):
                refused[text] = vector
            else:
                found[text] = vector
    sizes = sorted({len(vector) for vector in found.values()})
    if len(sizes) > 1:
        raise ConfigError(
            f"model {model.name!r}: vectors of {sizes[0]} and {sizes[-1]} numbers, of several models then; "
            "see to the server, and give this one another `revision`"
        )
    vectors = np.stack(list(found.values())) if found else np.zeros((0, 1), np.float32)
    known = pl.Series(list(found), dtype=pl.String)
    return spread(texts, known, whole(of_length_1(vectors))), refused


def identity(settings: EmbeddingsSettings, context: Context) -> str:
    """Which encoder it is.

    Raises:
        ConfigError: it is not installed, or nobody plays the role.
    """
    if settings.encoder == "endpoint":
        return embedder(context.models).identity
    return local_encoder(settings).identity


def _check(settings: EmbeddingsSettings, context: Context) -> None:
    """An encoder that is not here is missed before any work: every record is to have a vector."""
    identity(settings, context)


def _uses(settings: EmbeddingsSettings, context: Context) -> Iterable[str]:
    return (identity(settings, context),)


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
        uses=_uses,
        check=_check,
    )
