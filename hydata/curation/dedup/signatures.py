"""The table ``signatures``: what duplicates are found by, so that no text is ever hashed twice.

A map stage hashes the conversations of a shard once; looking for duplicates reads its table and nothing
else. A night's new shards are hashed, the old ones are not, and a new threshold hashes nothing at all: its
band keys are made of signatures as these are read. The shingle sets, which take most room, come last and are
held for those records alone that share a band with another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from hydata.curation.dedup import kernels
from hydata.curation.dedup.kernels import Int64Array, UInt32Array
from hydata.curation.dedup.minhash import PERMUTATIONS, banding, keys_of, signatures
from hydata.curation.dedup.shingles import ShingleSets, apart, read_texts
from hydata.curation.dedup.signed import Fetched, Signed
from hydata.errors import WarehouseError
from hydata.schema import Output, instruction_text, response_text
from hydata.stage import Context, MapStage, Settings

VERSION = 3
"""Of the hashes and the columns; those of version 2 knew whole conversations of answers only."""

THRESHOLD = 0.8
"""The default least similarity of duplicates: what band keys are stored for."""

Scope = Literal["instruction", "conversation"]

COLUMNS = pl.Schema(
    {
        "record_id": pl.String(),
        "scope": pl.String(),
        "text": pl.UInt64(),
        "words_1": pl.UInt64(),
        "words_2": pl.UInt64(),
        "length": pl.UInt32(),
        "band_keys": pl.Binary(),
        "signature": pl.List(pl.UInt32()),
        "shingle_count": pl.UInt32(),
        "shingle_bytes": pl.Binary(),
    }
)
"""A record's text of one ``scope``: hashes of its normal form and of its words (two halves), its length in
characters, its 16 band keys at ``THRESHOLD``, its MinHash signature (80 values, datasketch's "affine32",
seed 1) and its shingles, ascending. Keys and shingles are the bytes of UInt32 (little-endian): lists of
numbers take five times as long to read (0.8 s against 0.15 for the shingles of a million texts)."""

_SMALL_NAMES = ("record_id", "text", "words_1", "words_2", "length", "shingle_count")
_SMALL = {name: COLUMNS[name] for name in _SMALL_NAMES}


class SignaturesSettings(Settings):
    """``scope`` is the text compared: the instruction (all user turns), or the conversation (all turns but
    the system's).

    Of conversations that the respond stage made, the shingles are those of the answer, and are compared with
    those of other answers to the same instruction only: of a long instruction and short answers all
    conversations are alike, and the instructions have been compared before they were answered. Conversations
    that differ in no word are found wherever they come from; a dataset's that are merely like one that was
    made are not."""

    scope: Scope = "instruction"


def scope_text(scope: Scope) -> pl.Expr:
    """The text of ``messages`` that is compared, never null."""
    if scope == "instruction":
        return instruction_text().alias("text")
    turn = pl.element()
    contents = turn.filter(turn.struct.field("role") != "system").struct.field("content")
    joined = pl.col("messages").list.eval(contents).list.join("\n\n", ignore_nulls=True)
    return joined.fill_null("").alias("text")


def sign(ids: pl.Series, scope: Scope, texts: pa.Array, sets: ShingleSets | None = None) -> pl.DataFrame:
    """Rows of ``COLUMNS`` for the records ``ids``, whose texts of ``scope`` are ``texts``; their shingles are
    ``sets``, if it is given."""
    read = read_texts(texts)
    sets = read.sets if sets is None else sets
    signature = signatures(sets)
    keys = keys_of(signature, *banding(THRESHOLD))
    return pl.DataFrame(
        {
            "record_id": ids,
            "scope": pl.repeat(scope, len(ids), eager=True),
            "text": read.text,
            "words_1": read.words[:, 0],
            "words_2": read.words[:, 1],
            "length": read.length,
            "band_keys": _bytes(keys, np.arange(len(ids) + 1) * keys.shape[1]),
            "signature": pl.Series(signature, dtype=pl.Array(pl.UInt32, PERMUTATIONS)),
            "shingle_count": sets.sizes,
            "shingle_bytes": _bytes(sets.values, sets.offsets),
        }
    ).cast(COLUMNS)


def _bytes(values: UInt32Array, offsets: Int64Array) -> pl.Series:
    buffers = [None, pa.py_buffer(offsets * values.itemsize), pa.py_buffer(values)]
    return pl.Series(pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers))


async def run(conversations: pl.DataFrame, settings: SignaturesSettings, context: Context) -> Output:
    """Conversations to rows of ``COLUMNS``, one each."""
    texts = conversations.select(scope_text(settings.scope)).to_series()
    sets = _of_answers(conversations, texts) if settings.scope == "conversation" else None
    return Output(sign(conversations["record_id"], settings.scope, texts.to_arrow(), sets))


def _of_answers(conversations: pl.DataFrame, texts: pl.Series) -> ShingleSets | None:
    """The shingles of conversations with these ``texts``, of answers that were made apart from all but their
    siblings; None: there are none of these."""
    answered = pl.col("step") == "respond"
    if not conversations.select(answered.any()).item():
        return None
    digits = pl.col("parent_ids").list.first().str.head(8)  # ids are digits of a hash
    group = digits.str.to_integer(base=16, dtype=pl.UInt32, strict=False).fill_null(0)
    own = conversations.select(
        text=pl.when(answered).then(response_text()).otherwise(texts),
        group=pl.when(answered).then(group).otherwise(pl.lit(0, pl.UInt32)),
    )
    return apart(read_texts(own["text"].to_arrow()).sets, own["group"].to_numpy())


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
    all), and what is known of their texts. A record met again is taken once. Band keys are read when they are
    asked for, and the shingles of those texts that are fetched, by one thread: three take twice the
    processor's time, most of it for fresh memory, and hold 70 MB more.

    Raises:
        WarehouseError: a shard is of another version.
    """
    frames = [_read_small(path) for path in paths]
    begins = np.cumsum([0, *(frame.height for frame in frames)])
    records = pl.concat([pl.DataFrame(schema=_SMALL), *frames], rechunk=True).with_row_index("row")
    frames.clear()
    if records["record_id"].hash().n_unique() < records.height:  # a quarter of the time of looking at the ids
        records = records.filter(pl.col("record_id").is_first_distinct())
    if chosen is not None:
        records = records.join(chosen, on="record_id", how="semi", maintain_order="left")
    row, sizes = records["row"].to_numpy(), records["shingle_count"].to_numpy()

    def places(rows: UInt32Array) -> Iterator[tuple[Path, slice, Int64Array]]:
        """Each shard that has some of the ``rows``, which are ascending; which of them, and their places
        in it."""
        bounds = np.searchsorted(rows, begins)
        for path, begin, (low, high) in zip(paths, begins, pairwise(bounds.tolist()), strict=False):
            if low < high:
                yield path, slice(low, high), rows[low:high] - begin

    def keys() -> UInt32Array:
        bands, rows_a_band = banding(threshold)
        found = np.empty((bands, len(row)), np.uint32)
        for path, part, at in places(row):
            found[:, part] = _keys(path, bands, rows_a_band)[at].T
        return found

    def fetch(numbers: Int64Array) -> Fetched:
        order = np.argsort(numbers)
        offsets = np.concatenate(([0], np.cumsum(sizes[numbers[order]], dtype=np.int64)))
        values = np.empty(offsets[-1], np.uint32)
        for path, part, at in places(row[numbers[order]]):
            shard, room = _shingles(path), values[offsets[part.start] : offsets[part.stop]]
            kernels.take_sets(shard.values, shard.offsets[at], shard.offsets[at + 1], room)
        pa.default_memory_pool().release_unused()  # 50 MB that it would hold on to
        set_begins, set_ends = np.empty_like(order), np.empty_like(order)
        set_begins[order], set_ends[order] = offsets[:-1], offsets[1:]
        return values, set_begins, set_ends

    return records["record_id"], Signed(
        text=records["text"].to_numpy(),
        words=records.select("words_1", "words_2").to_numpy(order="c"),
        length=records["length"].cast(pl.Int64).to_numpy(),
        keys=keys,
        fetch=fetch,
    )


def _read_small(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=list(_SMALL))
    except pl.exceptions.ColumnNotFoundError as error:
        raise WarehouseError(
            f"{path}: made by an older version of hydata; run again with --rebuild {STAGE.name}"
        ) from error


def _keys(path: Path, bands: int, rows: int) -> UInt32Array:
    """Band keys of a shard, of shape (rows of the shard, bands): as they are stored, or of its signatures."""
    if (bands, rows) == banding(THRESHOLD):
        return np.frombuffer(_column(path, "band_keys").buffers()[2], np.uint32).reshape(-1, bands)
    return keys_of(_column(path, "signature").values.to_numpy().reshape(-1, PERMUTATIONS), bands, rows)


def _shingles(path: Path) -> ShingleSets:
    """Shingle sets of a shard."""
    _, offsets, values = _column(path, "shingle_bytes").buffers()
    return ShingleSets(np.frombuffer(values, np.uint32), np.frombuffer(offsets, np.int64) // 4)


def _column(path: Path, name: str) -> pa.Array:
    return pq.ParquetFile(path).read(columns=[name], use_threads=False).column(0).combine_chunks()
