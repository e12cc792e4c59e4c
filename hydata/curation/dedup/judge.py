"""The judge "duplicates": a global stage over the signatures of a snapshot.

Memory grows with the number of records, about 100 bytes of keys and hashes and as many of bookkeeping each,
and with the shingles, 4 bytes each, of those that share a band with another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl
from pydantic import Field

from hydata.curation.dedup.clusters import find_clusters
from hydata.curation.dedup.signatures import Scope, stored
from hydata.curation.dedup.signed import Signed
from hydata.schema import JUDGEMENT_KEY, judgements_frame
from hydata.stage import Context, GlobalStage, Settings

VERSION = 3

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
    """``threshold`` is the least Jaccard similarity of duplicates. ``responses``: the text of complete
    conversations that is compared, all of it, so that several answers to one instruction may stay, or the
    instruction alone."""

    responses: Scope = "conversation"
    threshold: float = Field(default=0.8, ge=0.1, le=1.0)


def judge_signed(ids: pl.Series, signed: Signed, admitted: pl.Series, threshold: float) -> pl.DataFrame:
    """``record_id``, ``cluster_id``, ``duplicate_of``, ``similarity``, ``keep`` and ``exact``: one row a
    record, in the order of ids.

    ``signed`` is what is known of the texts of ``ids``, which are all different. ``admitted`` are ids of
    records that stay whatever they resemble. ``cluster_id`` is the id of the cluster's first record in keep
    order. ``duplicate_of`` and ``similarity`` (Jaccard) are null for kept records; ``exact`` says that the
    text is that of ``duplicate_of`` but for case and white space.
    """
    records = (
        pl.DataFrame({"record_id": ids, "length": signed.length})
        .with_row_index("row")
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


def stage(name: str) -> GlobalStage:
    """The global stage of this name, which is the judge's name too: a recipe compares at several places.

    It reads ``signatures``, and ``admitted`` where the snapshot has it. Where it has ``decisions``, only
    the records kept there are compared: a record that is dropped for its own sake must not take the place of
    a good one like it.
    """

    def run(
        tables: Mapping[str, list[Path]], settings: DuplicatesSettings, context: Context
    ) -> Iterator[pl.DataFrame]:
        """Frames of ``COLUMNS`` in the order of ids: one row a record of ``signatures``."""
        chosen = None
        if tables.get("decisions"):
            kept = pl.scan_parquet(tables["decisions"]).filter(pl.col("status") == "kept")
            chosen = kept.select("record_id").collect()
        admitted = [pl.read_parquet(path, columns=["record_id"]) for path in tables.get("admitted", [])]
        always = pl.concat([pl.DataFrame(schema={"record_id": pl.String}), *admitted])["record_id"]
        ids, signed = stored(tables["signatures"], chosen, settings.threshold)
        found = judge_signed(ids, signed, always, settings.threshold)
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
