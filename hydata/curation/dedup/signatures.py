"""The table ``signatures``: what duplicates are found by, so that no text is ever hashed twice.

A map stage hashes the conversations of a shard once; looking for duplicates reads its table and nothing
else. A night's new shards are hashed, the old ones are not, and a new threshold hashes nothing at all: band
keys are made of signatures as these are read. The shingle sets, which take most room, come last and are held
for those records alone that share a band with another.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from hydata.curation.dedup.kernels import Int64Array, UInt32Array
from hydata.curation.dedup.minhash import PERMUTATIONS, banding, keys_of, signatures
from hydata.curation.dedup.shingles import ShingleSets, end_to_end, read_texts
from hydata.curation.dedup.signed import Fetched, Signed
from hydata.curation.dedup.threads import together
from hydata.schema import Output, instruction_text
from hydata.stage import Context, MapStage, Settings

VERSION = 1
"""Of the hashes: signatures of different versions are not to be compared."""

_SMALL = ["record_id", "text", "words_1", "words_2", "length"]

Scope = Literal["instruction", "conversation"]

COLUMNS = pl.Schema(
    {
        "record_id": pl.String(),
        "scope": pl.String(),
        "text": pl.UInt64(),
        "words_1": pl.UInt64(),
        "words_2": pl.UInt64(),
        "length": pl.UInt32(),
        "signature": pl.List(pl.UInt32()),
        "shingles": pl.List(pl.UInt32()),
    }
)
"""A record's text of one ``scope``: hashes of its normal form and of its words (two halves), its length in
characters, its MinHash signature (80 values, datasketch's "affine32", seed 1) and its shingles, ascending."""


class SignaturesSettings(Settings):
    """``scope`` is the text compared: the instruction (all user turns), or the conversation (all turns but
    the system's, so that two answers to one instruction are compared as well)."""

    scope: Scope = "instruction"


def scope_text(scope: Scope) -> pl.Expr:
    """The text of ``messages`` that is compared, never null."""
    if scope == "instruction":
        return instruction_text().alias("text")
    turn = pl.element()
    contents = turn.filter(turn.struct.field("role") != "system").struct.field("content")
    joined = pl.col("messages").list.eval(contents).list.join("\n\n", ignore_nulls=True)
    return joined.fill_null("").alias("text")


def sign(ids: pl.Series, scope: Scope, texts: pa.Array) -> pl.DataFrame:
    """Rows of ``COLUMNS`` for the records ``ids``, whose texts of ``scope`` are ``texts``."""
    read = read_texts(texts)
    signature = signatures(read.sets)
    return pl.DataFrame(
        {
            "record_id": ids,
            "scope": pl.repeat(scope, len(ids), eager=True),
            "text": read.text,
            "words_1": read.words[:, 0],
            "words_2": read.words[:, 1],
            "length": read.length,
            "signature": _lists(signature.ravel(), np.arange(len(ids) + 1) * PERMUTATIONS),
            "shingles": _lists(read.sets.values, read.sets.offsets),
        }
    ).cast(COLUMNS)


def _lists(values: UInt32Array, offsets: Int64Array) -> pl.Series:
    return pl.Series(pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values)))


async def run(conversations: pl.DataFrame, settings: SignaturesSettings, context: Context) -> Output:
    """Conversations to rows of ``COLUMNS``, one each."""
    texts = conversations.select(scope_text(settings.scope)).to_series()
    return Output(sign(conversations["record_id"], settings.scope, texts.to_arrow()))


STAGE = MapStage(
    name="signatures",
    table="signatures",
    columns=COLUMNS,
    version=VERSION,
    settings=SignaturesSettings,
    run=run,
    computes=True,
)


def stored(paths: Sequence[Path], chosen: pl.DataFrame | None, threshold: float) -> tuple[pl.Series, Signed]:
    """The ids of the records in signature shards at ``paths``, those of ``chosen`` (``record_id``; None:
    all), and what is known of their texts. A record met again is taken once."""
    bands, rows_a_band = banding(threshold)

    def read(path: Path) -> tuple[pl.DataFrame, UInt32Array]:
        frame = pl.read_parquet(path, columns=_SMALL).with_row_index("row")
        if chosen is not None:
            frame = frame.join(chosen, on="record_id", how="semi", maintain_order="left")
        values = _lists_of(path, "signature").values.reshape(-1, PERMUTATIONS)[frame["row"].to_numpy()]
        return frame, keys_of(values, bands, rows_a_band)

    small = {"row": pl.UInt32(), **{name: COLUMNS[name] for name in _SMALL}, "part": pl.Int64()}
    frames = [pl.DataFrame(schema=small)]
    keys = []
    for number, (frame, found) in enumerate(together(read, paths)):
        frames.append(frame.with_columns(part=pl.lit(number, pl.Int64)))
        keys.append(found)
    records = pl.concat(frames).with_row_index("at").unique("record_id", keep="first", maintain_order=True)
    all_keys = end_to_end(keys, np.empty((0, bands), np.uint32))[records["at"].to_numpy()]
    part, row = records["part"].to_numpy(), records["row"].cast(pl.Int64).to_numpy()

    def fetch(rows: Int64Array) -> Fetched:
        def fetch_part(number: int) -> tuple[Int64Array, ShingleSets]:
            places = by_part[np.searchsorted(ordered, number) : np.searchsorted(ordered, number, "right")]
            return places, _lists_of(paths[number], "shingles").take(row[rows[places]])

        by_part = np.argsort(part[rows], kind="stable")
        ordered = part[rows][by_part]
        begins, ends = np.empty(len(rows), np.int64), np.empty(len(rows), np.int64)
        values = []
        total = 0
        for places, sets in together(fetch_part, np.unique(part[rows]).tolist()):
            begins[places], ends[places] = total + sets.offsets[:-1], total + sets.offsets[1:]
            total += len(sets.values)
            values.append(sets.values)
        return end_to_end(values, np.empty(0, np.uint32)), begins, ends

    return records["record_id"], Signed(
        text=records["text"].to_numpy(),
        words=records.select("words_1", "words_2").to_numpy(order="c"),
        length=records["length"].cast(pl.Int64).to_numpy(),
        keys=np.ascontiguousarray(all_keys.T),
        fetch=fetch,
    )


def _lists_of(path: Path, column: str) -> ShingleSets:
    lists = pq.read_table(path, columns=[column]).column(0).combine_chunks()
    return ShingleSets(lists.values.to_numpy(), lists.offsets.to_numpy().astype(np.int64))
