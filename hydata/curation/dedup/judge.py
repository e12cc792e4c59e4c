"""The judge "duplicates": a global stage over a snapshot of conversations.

Memory grows with the number of *different* texts: about 4 bytes a shingle, 64 of band keys and 100 of
bookkeeping each, 700 bytes for a text of 100 words. Texts are read, hashed and forgotten a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import polars as pl
from pydantic import Field

from hydata.curation.dedup.clusters import find_clusters
from hydata.curation.dedup.kernels import UInt32Array
from hydata.curation.dedup.shingles import Texts
from hydata.curation.dedup.signed import in_memory, sign_texts
from hydata.curation.dedup.threads import together
from hydata.schema import JUDGEMENT_KEY, instruction_text, judgements_frame
from hydata.stage import Context, GlobalStage, Settings

VERSION = 2

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


def find_duplicates(frames: Iterable[pl.DataFrame], admitted: pl.Series, threshold: float) -> pl.DataFrame:
    """``record_id``, ``cluster_id``, ``duplicate_of``, ``similarity``, ``keep`` and ``exact``: one row a
    record, in the order of ids.

    ``frames`` have ``record_id`` and ``text`` (String, not null); a record met again is taken once.
    ``admitted`` are ids of records that stay whatever they resemble. ``cluster_id`` is the id of the
    cluster's first record in keep order. ``duplicate_of`` and ``similarity`` (Jaccard) are null for
    kept records; ``exact`` says that the text is that of ``duplicate_of`` but for case and white space.
    """

    def sign(frame: pl.DataFrame) -> tuple[pl.Series, tuple[Texts, UInt32Array]]:
        return frame["record_id"], sign_texts(frame["text"].to_arrow(), threshold)

    ids = [pl.Series([], dtype=pl.String)]
    parts = []
    for series, part in together(sign, frames):
        ids.append(series)
        parts.append(part)
    signed = in_memory(parts, threshold)
    records = (
        pl.DataFrame({"record_id": pl.concat(ids), "length": signed.length})
        .with_row_index("row")
        .unique("record_id", keep="first", maintain_order=True)
        .with_columns(admitted=pl.col("record_id").is_in(admitted.implode()))
        .sort("admitted", "length", "record_id", descending=[True, True, False])
    )
    found = find_clusters(signed, records["row"].to_numpy(), int(records["admitted"].sum()), threshold)
    keep = pl.Series(found.keep)
    return pl.DataFrame(
        {
            "record_id": records["record_id"],
            "cluster_id": records["record_id"].gather(found.first),
            "duplicate_of": records["record_id"].gather(found.leader).set(keep, None),
            "similarity": pl.Series(found.similarity).set(keep, None),
            "keep": keep,
            "exact": found.exact,
        }
    ).sort("record_id")


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
