"""The judge "duplicates": a global stage over a snapshot of conversations.

Memory grows with the number of *different* texts: about 4 bytes a shingle, 64 of band keys and 100 of
bookkeeping each, 700 bytes for a text of 100 words. Texts are read, hashed and forgotten a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from pydantic import Field

from hydata.curation.dedup.clusters import components, leaders
from hydata.curation.dedup.minhash import band_keys, banding, candidates, similarities
from hydata.curation.dedup.shingles import ShingleSets, UInt32Array, shingle_sets, text_hash
from hydata.curation.words import normalised
from hydata.schema import JUDGEMENT_KEY, instruction_text, judgements_frame
from hydata.stage import Context, GlobalStage, Settings

VERSION = 1

COLUMNS = pl.Schema(
    {
        **JUDGEMENT_KEY,
        "cluster_id": pl.String(),
        "duplicate_of": pl.String(),
        "similarity": pl.Float32(),
        "keep": pl.Boolean(),
        "exact": pl.Boolean(),
    }
)

PART_ROWS = 100_000


class DuplicatesSettings(Settings):
    """``scope`` is the text compared: the instruction (all user turns), or the conversation (all turns but
    the system's, so that two answers to one instruction are compared as well). ``threshold`` is the least
    Jaccard similarity of duplicates."""

    scope: Literal["instruction", "conversation"] = "instruction"
    threshold: float = Field(default=0.8, ge=0.1, le=1.0)


@dataclass(frozen=True)
class _Batch:
    """Records (``record_id``, ``text_hash``, ``length``, ``set``) of one frame, and the shingle sets and band
    keys of its different texts; ``set`` numbers them."""

    records: pl.DataFrame
    sets: ShingleSets
    keys: UInt32Array


def find_duplicates(frames: Iterable[pl.DataFrame], admitted: pl.Series, threshold: float) -> pl.DataFrame:
    """``record_id``, ``cluster_id``, ``duplicate_of``, ``similarity``, ``keep`` and ``exact``: one row a
    record, in the order of ids.

    ``frames`` have ``record_id`` and ``text`` (String, not null); a record met again is taken once.
    ``admitted`` are ids of records that stay whatever they resemble. ``cluster_id`` is the id of the
    cluster's first record in keep order. ``duplicate_of`` and ``similarity`` (Jaccard) are null for
    kept records; ``exact`` says that the text is that of ``duplicate_of`` but for case and white space.
    """
    batches = [_hashed(frame, threshold) for frame in frames]
    records = _in_keep_order(batches, admitted)
    firsts = records.unique("text_hash", keep="first", maintain_order=True)  # one row a different text
    chosen = firsts["set"].to_numpy()
    sets = ShingleSets.concat([batch.sets for batch in batches]).take(chosen)
    keys = np.concatenate([np.empty((0, banding(threshold)[0]), np.uint32), *(b.keys for b in batches)])[
        chosen
    ]

    pairs = candidates(keys)
    similarity = similarities(sets, pairs, threshold)
    verified = similarity >= np.float32(threshold)
    pairs, similarity = pairs[verified], similarity[verified]
    cluster = components(len(sets), pairs)
    leader, best = leaders(len(sets), pairs, similarity, firsts["admitted"].to_numpy())

    ids = firsts["record_id"]
    judged = firsts.select(
        "text_hash",
        cluster_id=ids.gather(cluster),
        leader=ids.gather(leader),
        similarity=pl.Series(best),
        exact=pl.Series(leader == np.arange(len(sets))),
    )
    keep = pl.col("admitted") | (pl.col("record_id") == pl.col("leader"))
    return (
        records.join(judged, on="text_hash", how="left")
        .select(
            "record_id",
            "cluster_id",
            duplicate_of=pl.when(~keep).then("leader"),
            similarity=pl.when(~keep).then("similarity"),
            keep=keep,
            exact=~keep & pl.col("exact"),
        )
        .sort("record_id")
    )


def _hashed(frame: pl.DataFrame, threshold: float) -> _Batch:
    texts = frame.select("record_id", text=normalised(pl.col("text")), length=pl.col("text").str.len_chars())
    different = texts["text"].unique(maintain_order=True)
    hashes = pl.Series([text_hash(text) for text in different.to_list()], dtype=pl.Binary)
    numbered = pl.DataFrame({"text": different, "text_hash": hashes}).with_row_index("set")
    sets = shingle_sets(different)
    records = texts.join(numbered, on="text").select(
        "record_id", "text_hash", "length", pl.col("set").cast(pl.Int64)
    )
    return _Batch(records, sets, band_keys(sets, threshold))


def _in_keep_order(batches: list[_Batch], admitted: pl.Series) -> pl.DataFrame:
    """All records, each once, with ``admitted``; ``set`` numbers the sets of all batches end to end."""
    schema = {"record_id": pl.String, "text_hash": pl.Binary, "length": pl.UInt32, "set": pl.Int64}
    frames = [pl.DataFrame(schema=schema)]
    before = 0
    for batch in batches:
        frames.append(batch.records.with_columns(pl.col("set") + before))
        before += len(batch.sets)
    return (
        pl.concat(frames)
        .unique("record_id", keep="first", maintain_order=True)
        .with_columns(admitted=pl.col("record_id").is_in(admitted.implode()))
        .sort("admitted", "length", "record_id", descending=[True, True, False])
    )


def _text(scope: str) -> pl.Expr:
    if scope == "instruction":
        return instruction_text().alias("text")
    turn = pl.element()
    contents = turn.filter(turn.struct.field("role") != "system").struct.field("content")
    joined = pl.col("messages").list.eval(contents).list.join("\n\n", ignore_nulls=True)
    return joined.fill_null("").alias("text")


def _screened(conversations: pl.LazyFrame, decisions: list[Path] | None) -> pl.LazyFrame:
    if not decisions:
        return conversations
    kept = pl.scan_parquet(decisions).filter(pl.col("status") == "kept")
    return conversations.join(kept, on="record_id", how="semi", maintain_order="left")


def stage(name: str) -> GlobalStage:
    """The global stage of this name, which is the judge's name too: a recipe compares at several places.

    It reads ``conversations``, and ``admitted`` where the snapshot has it. Where it has ``decisions``, only
    the records kept there are compared: a record that is dropped for its own sake must not take the place of
    a good one like it.
    """

    def run(
        tables: Mapping[str, list[Path]], settings: DuplicatesSettings, context: Context
    ) -> Iterator[pl.DataFrame]:
        """Frames of ``COLUMNS`` in the order of ids: one row a record of ``conversations``."""
        text = _text(settings.scope)
        frames = (
            _screened(pl.scan_parquet(path), tables.get("decisions")).select("record_id", text).collect()
            for path in tables["conversations"]
        )
        admitted = [pl.read_parquet(path, columns=["record_id"]) for path in tables.get("admitted", [])]
        ids = pl.concat([pl.DataFrame(schema={"record_id": pl.String}), *admitted])["record_id"]
        found = find_duplicates(frames, ids, settings.threshold)
        judged = judgements_frame(found["record_id"], name, str(VERSION))
        table = pl.concat([judged, found.drop("record_id")], how="horizontal").match_to_schema(COLUMNS)
        yield from table.iter_slices(PART_ROWS) if table.height else [table]

    return GlobalStage(
        name=name,
        table="duplicates",
        columns=COLUMNS,
        version=VERSION,
        settings=DuplicatesSettings,
        run=run,
    )
