"""The mix: which of the kept conversations are trained on, balanced to the taxonomy's target shares.

A global stage over the final decisions. Every kept record gets a row; ``weight`` 0 means that
the policy kept it and balancing left it out, or that a longer conversation, which is kept as well, begins
with it: a model should not learn the same turns twice (so it is, too, where balancing leaves out the longer
one). All kept records are held at once, but only as
id, label and score: some 50 bytes each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import duckdb
import polars as pl
from pydantic import Field

from hydata.curation.balance import balance
from hydata.policy import label_pick
from hydata.schema import MIXES
from hydata.stage import Context, GlobalStage, Settings
from hydata.warehouse import create_view

CONTINUED = """
    SELECT asked.parent_ids[1] FROM conversations AS longer
    JOIN decisions AS of_longer ON of_longer.record_id = longer.record_id AND of_longer.policy = 'final'
    JOIN conversations AS asked ON asked.record_id = longer.parent_ids[1] AND asked.step = 'follow_up'
    WHERE of_longer.status = 'kept'
"""
"""A query of the ids of conversations that a longer one, which is kept, begins with."""


class MixSettings(Settings):
    """``dimension`` is the one whose shares are balanced; ``size`` the rows wanted at most (None: as many
    as the shares allow); ``max_over`` by what factor a label may exceed its share."""

    name: str = Field(default="main", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    dimension: str = "domain"
    size: int | None = Field(default=None, ge=1)
    max_over: float = Field(default=2.0, ge=1)


def run(tables: Mapping[str, list[Path]], settings: MixSettings, context: Context) -> Iterator[pl.DataFrame]:
    """One frame of ``MIXES``: all records the final policy keeps, in the order of their ids."""
    with duckdb.connect() as con:
        for table, schema in context.schemas.items():
            create_view(con, table, schema, tables.get(table, []))
        kept = con.sql(
            f"""
            SELECT d.record_id, l.label, coalesce(-c.tier, 0)::DOUBLE AS score,
                   d.record_id IN ({CONTINUED}) AS continued
            FROM decisions AS d
            LEFT JOIN (SELECT record_id, {label_pick(settings.dimension)} AS label
                       FROM labels GROUP BY record_id) AS l USING (record_id)
            LEFT JOIN (SELECT record_id, avg(coalesce(combined_tier, tier)) AS tier
                       FROM critiques GROUP BY record_id) AS c USING (record_id)
            WHERE d.status = 'kept' ORDER BY d.record_id
            """
        ).pl()
    shares = context.taxonomy.dimension(settings.dimension).target_shares()
    whole = kept.filter(~pl.col("continued"))
    balanced = balance(whole, shares, settings.size, settings.max_over, context.seed)
    weights = balanced.select("record_id", weight=pl.when("keep").then("weight").otherwise(0.0))
    yield (
        kept.select("record_id", mix=pl.lit(settings.name))
        .join(weights, on="record_id", how="left", maintain_order="left")
        .with_columns(pl.col("weight").fill_null(0.0))
        .select(MIXES.names())
        .cast(MIXES)
    )


def _uses(settings: MixSettings, context: Context) -> Iterable[str]:
    return (context.taxonomy.hash,)


STAGE = GlobalStage(
    name="mix", table="mixes", columns=MIXES, version=4, settings=MixSettings, run=run, uses=_uses
)
