"""Preference pairs from the answers to one instruction: which is the better one, and by how much.

A global stage after the final decision. The *chosen* answer of a pair is one that the policy keeps. The
*rejected* one is worse and still whole: it passed the gate before the critique, whose conditions are about
form, and is neither cut off nor a refusal, whatever that gate says of these; from a broken answer a model
would learn to avoid what is broken, and nothing about the question. What the final policy thinks of it
(a low tier, a minority's answer, not the best) is what makes the pair.

How good an answer is, is told by ``signals``, each brought to the range from 0 to 1:

    tier        of the critique: A is 1, D is 0            critique    the mean of its five aspects
    agreement   1 in the majority, 0 in a minority

The margin is the mean difference of the signals that both answers have. No signal may speak against the
pair: a critic who contradicts the vote has not seen which answer is better.

Critics favour long answers (Dubois et al. 2024, arXiv 2404.04475), and what is trained on such pairs learns
to be long. ``max_length_ratio`` leaves out pairs of too unequal length, among pairs of one margin the more
equal ones go first, and the export reports the mean difference.

The pairs stand beside those of preference datasets, under the source ``samples``. The policy reads those of
the datasets alone (``preferences.rejected``): what is the worse half here was judged already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Literal

import duckdb
import polars as pl
from pydantic import Field

from hydata.schema import PREFERENCES
from hydata.stage import Context, GlobalStage, Settings
from hydata.warehouse import create_view

SOURCE: Final = "samples"

Signal = Literal["tier", "critique", "agreement"]

_SIGNALS: Mapping[Signal, str] = {
    "tier": "(4 - tier) / 3",
    "critique": "(aspects / 5 - 1) / 3",
    "agreement": "majority::INTEGER::DOUBLE",
}

PAIR_ROWS = 1_000_000
"""Rows of one frame of pairs: about 100 MB."""


class PreferSettings(Settings):
    """Pairs with a margin of at least ``min_margin``, at most ``max_pairs`` an instruction (0: none are
    made), the widest first. The longer answer of a pair has at most ``max_length_ratio`` times the characters
    of the shorter one.

    A margin of 0.25 is most of a tier together with the aspects that go with it; one aspect more or less,
    which a second critique of the same answer often gives, is 1/30 where tier and critique are the signals.
    """

    signals: tuple[Signal, ...] = Field(default=("tier", "critique", "agreement"), min_length=1)
    min_margin: float = Field(default=0.25, gt=0, le=1)
    max_pairs: int = Field(default=1, ge=0)
    max_length_ratio: float | None = Field(default=None, ge=1)


def run(
    tables: Mapping[str, list[Path]], settings: PreferSettings, context: Context
) -> Iterator[pl.DataFrame]:
    """Frames of ``PREFERENCES`` in the order of the ids."""
    with duckdb.connect() as con:
        for table, schema in context.schemas.items():
            create_view(con, table, schema, tables.get(table, []))
        query = _query(settings)
        for batch in con.sql(query, params=_parameters(settings)).to_arrow_reader(PAIR_ROWS):
            pairs = pl.DataFrame(pl.from_arrow(batch)).with_columns(source=pl.lit(SOURCE))
            yield pairs.select(PREFERENCES.names()).cast(PREFERENCES)


def _parameters(settings: PreferSettings) -> dict[str, object]:
    return {
        "min_margin": settings.min_margin,
        "max_pairs": settings.max_pairs,
        "max_length_ratio": settings.max_length_ratio,
    }


def _query(settings: PreferSettings) -> str:
    signals = list(dict.fromkeys(settings.signals))
    scores = ", ".join(f"{_SIGNALS[name]} AS {name}" for name in signals)
    differences = ", ".join(f"c.{name} - r.{name}" for name in signals)
    # ``[:-2]`` is all but the last: DuckDB's slices include their end.
    # Sums of whole numbers before any division: the same to the last bit, whatever the order of the rows.
    return f"""
        WITH answers AS (
            SELECT record_id, parent_ids[1] AS instruction, messages[-1].content AS text,
                   list_transform(messages[:-2], lambda m: concat(m.role, ' ', m.content)) AS asked
            FROM conversations
            WHERE step = 'respond' AND finish_reason IS DISTINCT FROM 'length'
        ),
        whole AS (
            SELECT answers.* FROM answers
            SEMI JOIN (SELECT record_id FROM decisions WHERE policy = 'gates.critique' AND status = 'kept')
                AS d USING (record_id)
            ANTI JOIN (SELECT record_id FROM rules WHERE response_refusals > 0) AS r USING (record_id)
        ),
        critique AS (
            SELECT record_id, sum(tier) / count(tier) AS tier,
                   sum(accuracy + relevance + completeness + usefulness + clarity) / count(*) AS aspects
            FROM critiques GROUP BY record_id
        ),
        vote AS (SELECT record_id, bool_and(majority) AS majority FROM agreement GROUP BY record_id),
        scored AS (
            SELECT whole.*, {scores}
            FROM whole LEFT JOIN critique USING (record_id) LEFT JOIN vote USING (record_id)
        ),
        kept AS (SELECT record_id FROM decisions WHERE policy = 'final' AND status = 'kept'),
        paired AS (
            SELECT c.instruction, c.record_id AS chosen_id, r.record_id AS rejected_id,
                   list_filter([{differences}], lambda d: d IS NOT NULL) AS differences,
                   greatest(length(c.text), length(r.text)) / least(length(c.text), length(r.text)) AS ratio
            FROM (SELECT * FROM scored SEMI JOIN kept USING (record_id)) AS c
            JOIN scored AS r ON c.instruction = r.instruction AND c.asked = r.asked AND c.text <> r.text
        ),
        measured AS (SELECT *, list_avg(differences) AS margin FROM paired WHERE list_min(differences) >= 0),
        ranked AS (
            SELECT *, row_number() OVER (
                PARTITION BY instruction ORDER BY margin DESC, ratio, chosen_id, rejected_id
            ) AS place
            FROM measured
            WHERE margin >= $min_margin AND ($max_length_ratio IS NULL OR ratio <= $max_length_ratio)
        )
        SELECT chosen_id, rejected_id, margin FROM ranked WHERE place <= $max_pairs
        ORDER BY chosen_id, rejected_id
        """


STAGE = GlobalStage(
    name="prefer", table="preferences", columns=PREFERENCES, version=1, settings=PreferSettings, run=run
)
