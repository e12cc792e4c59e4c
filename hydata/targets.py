"""Weak types: which are far below their target share, and how far the targets set for them are filled."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from hydata.errors import WarehouseError
from hydata.policy import label_pick
from hydata.synthesis.generalise import LANGUAGES, NAME, Target
from hydata.taxonomy import Taxonomy

_MADE = f"""
    WITH slots AS (SELECT DISTINCT target, record_id, slot FROM aims WHERE record_id IS NOT NULL),
    made AS (
        SELECT s.target, s.record_id AS parent_id, c.record_id FROM slots AS s
        JOIN conversations AS c
            ON c.step = '{NAME}' AND c.parent_ids[1] = s.record_id AND c.sample_index = s.slot
    )
    SELECT target, count(*),
           count(*) FILTER (record_id IN (SELECT record_id FROM admitted WHERE gate = 'gates.respond'))
    FROM made GROUP BY target
"""

_FAILED = f"""
    SELECT target, reason, count(*) AS n
    FROM (SELECT DISTINCT target, record_id FROM aims WHERE record_id IS NOT NULL)
    JOIN rejects USING (record_id)
    WHERE stage = '{NAME}' AND reason <> 'not_needed' GROUP BY ALL ORDER BY n DESC, reason
"""


@dataclass(frozen=True)
class Standing:
    """How far a target is filled; ``failed`` counts attempts by reason, of slots by their record."""

    target: str
    wanted: int
    made: int
    admitted: int
    failed: tuple[tuple[str, int], ...]


def standing(con: duckdb.DuckDBPyConnection, targets: Iterable[Target]) -> list[Standing]:
    """Each target in its order: what is wanted of it, made, and admitted to be answered."""
    made = {target: (n, admitted) for target, n, admitted in con.execute(_MADE).fetchall()}
    failed: dict[str, list[tuple[str, int]]] = {}
    for target, reason, n in con.execute(_FAILED).fetchall():
        failed.setdefault(target, []).append((reason, n))
    return [
        Standing(t.name, t.count, *made.get(t.name, (0, 0)), tuple(failed.get(t.name, ()))) for t in targets
    ]


@dataclass(frozen=True)
class WeakType:
    """A type with its ``share`` of the mix and the ``target`` share it should have; ``count`` rows are
    missing."""

    label: str
    language: str
    difficulty: str
    share: float
    target: float
    count: int


def weak_types(
    con: duckdb.DuckDBPyConnection, taxonomy: Taxonomy, mix: str, dimension: str
) -> list[WeakType]:
    """The types below their share in ``mix``, the furthest first. Of the lowest difficulty there are none,
    since nothing simpler could be made into it.

    Raises:
        WarehouseError: the mix has no rows.
    """
    counts = con.execute(
        f"""
        SELECT label, language, difficulty, count(*) FROM mixes
        LEFT JOIN (SELECT record_id, {label_pick(dimension)} AS label,
                          {label_pick("difficulty")} AS difficulty
                   FROM labels GROUP BY record_id) USING (record_id)
        LEFT JOIN (SELECT record_id, min(instruction_language) AS language FROM language GROUP BY record_id)
                  USING (record_id)
        WHERE mix = ? AND weight > 0 GROUP BY ALL
        """,
        [mix],
    ).fetchall()
    found = {(label, language, difficulty): n for label, language, difficulty, n in counts}
    size = sum(found.values())
    if not size:
        raise WarehouseError(f"mix {mix!r} has no rows; run a recipe to its end, or name another with --mix")
    weak = []
    for label in taxonomy.dimension(dimension).labels:
        for level in taxonomy.dimension("difficulty").labels[1:]:
            for language in LANGUAGES:
                target = label.target_share * level.target_share / len(LANGUAGES)
                n = found.get((label.id, language, level.id), 0)
                if (count := math.ceil(target * size - n)) > 0:
                    weak.append(WeakType(label.id, language, level.id, n / size, target, count))
    return sorted(weak, key=lambda w: (w.share - w.target, w.label, w.language, w.difficulty))
