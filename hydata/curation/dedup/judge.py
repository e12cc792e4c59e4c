"""The judge "duplicates": a global stage over the signatures of a snapshot.

Memory grows with the number of records, about 100 bytes of ids and hashes and twice as many of keys or
bookkeeping each, and with the shingles, 4 bytes each, of those that share a band with another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from hydata.curation.dedup.clusters import find_clusters, longest_first
from hydata.curation.dedup.kernels import BoolArray, Int64Array
from hydata.curation.dedup.signatures import THRESHOLD, Scope, stored
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
    threshold: float = Field(default=THRESHOLD, ge=0.1, le=1.0)


def judge_signed(ids: pl.Series, signed: Signed, admitted: pl.Series, threshold: float) -> pl.DataFrame:
    """``record_id``, ``cluster_id``, ``duplicate_of``, ``similarity``, ``keep`` and ``exact``: one row a
    record, in the order of ids.

    ``signed`` is what is known of the texts of ``ids``, which are all different. ``admitted`` says of each
    whether it stays whatever it resembles. ``cluster_id`` is the id of the cluster's first record in keep
    order. ``duplicate_of`` and ``similarity`` (Jaccard) are null for kept records; ``exact`` says that the
    text is that of ``duplicate_of`` but for case and white space.
    """
    by_id = _order(ids)
    order = _keep_order(by_id, signed.length, admitted.to_numpy())
    found = find_clusters(signed, order, int(admitted.sum()), threshold)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    place = place[by_id]
    keep = pl.Series(found.keep[place])
    return pl.DataFrame(
        {
            "record_id": ids.gather(by_id),
            "cluster_id": ids.gather(order[found.first[place]]),
            "duplicate_of": ids.gather(order[found.leader[place]]).set(keep, None),
            "similarity": pl.Series(found.similarity[place]).set(keep, None),
            "keep": keep,
            "exact": found.exact[place],
        }
    )


def _order(ids: pl.Series) -> Int64Array:
    """The numbers of ids, which are all different, in the order of ids: that of their first 8 bytes, taken
    for a number, and of the ids themselves where those are equal (200 of a million). Sorting strings takes
    six times as long."""
    first = ids.cast(pl.Binary).bin.head(8).bin.reinterpret(dtype=pl.UInt64, endianness="big")
    if first.has_nulls():  # a shorter id
        return ids.arg_sort().cast(pl.Int64).to_numpy()
    order = np.argsort(first.to_numpy())
    ordered = first.to_numpy()[order]
    same = ordered[1:] == ordered[:-1]
    tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
    order[tied] = order[tied][ids.gather(order[tied]).arg_sort().to_numpy()]
    return order


def _keep_order(by_id: Int64Array, length: Int64Array, admitted: BoolArray) -> Int64Array:
    """The numbers of records, of which ``by_id`` has the order of ids: those admitted before first, then the
    longer text, then the lesser id."""
    order = by_id[longest_first(length[by_id])]
    return np.concatenate([order[admitted[order]], order[~admitted[order]]])


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
        ids, signed = stored(tables["signatures"], chosen(tables), settings.threshold)
        always = ids.is_in(admitted_ids(tables).implode())
        found = judge_signed(ids, signed, always, settings.threshold)
        yield from in_parts(found, name, VERSION, COLUMNS)

    return GlobalStage(
        name=name,
        table="duplicates",
        columns=COLUMNS,
        version=VERSION,
        settings=DuplicatesSettings,
        run=run,
    )


def in_parts(found: pl.DataFrame, judge: str, version: int, columns: pl.Schema) -> Iterator[pl.DataFrame]:
    """What a judge found (``record_id`` and its measures) as frames of ``columns``, at least one."""
    judged = judgements_frame(found["record_id"], judge, str(version))
    table = pl.concat([judged, found.drop("record_id")], how="horizontal").match_to_schema(columns)
    yield from table.iter_slices(PART_ROWS) if table.height else [table]


def chosen(tables: Mapping[str, list[Path]]) -> pl.DataFrame | None:
    """The ``record_id`` of what ``decisions`` and ``duplicates`` keep, of those that the snapshot has; None:
    neither, and so all."""
    kept = []
    if tables.get("decisions"):
        kept.append(pl.scan_parquet(tables["decisions"]).filter(pl.col("status") == "kept"))
    if tables.get("duplicates"):
        kept.append(pl.scan_parquet(tables["duplicates"]).filter("keep"))
    if not kept:
        return None
    first, *rest = (frame.select("record_id") for frame in kept)
    for frame in rest:
        first = first.join(frame, on="record_id", how="semi")
    return first.collect()


def admitted_ids(tables: Mapping[str, list[Path]]) -> pl.Series:
    """The ids of what was admitted before."""
    frames = [pl.read_parquet(path, columns=["record_id"]) for path in tables.get("admitted", [])]
    return pl.concat([pl.DataFrame(schema={"record_id": pl.String}), *frames])["record_id"]
