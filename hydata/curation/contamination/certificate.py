"""The table ``benchmarks``: what the records of a run were compared with, and by which conditions the policy
drops them. An export makes a certificate of it (``hydata.export.contamination``), on another day perhaps,
when the benchmarks' files and the policy are others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl

from hydata.curation.contamination.judge import JUDGE, ContaminationSettings, checker, identity
from hydata.policy import Policy
from hydata.schema import canonical_json
from hydata.stage import Context, GlobalStage

VERSION = 1

COLUMNS = pl.Schema(
    {
        "checked": pl.String(),
        "benchmark": pl.String(),
        "file": pl.String(),
        "sha256": pl.String(),
        "question": pl.String(),
        "answer": pl.String(),
        "items": pl.Int64(),
        "empty": pl.Int64(),
        "unspecific": pl.Int64(),
        "words": pl.Int64(),
        "characters": pl.Int64(),
        "encoder": pl.String(),
        "conditions": pl.String(),
    }
)
"""``checked`` is the identity in the table ``contamination``; ``question`` and ``answer`` are the file's
columns; ``empty`` counts rows that ask nothing, ``unspecific`` items a text of which has no n-gram of its own
to be looked for by; ``conditions``, JSON, are the final section's on that table, by reason."""


def run(
    tables: Mapping[str, list[Path]], settings: ContaminationSettings, context: Context
) -> Iterator[pl.DataFrame]:
    """One frame of ``COLUMNS``: a row for each benchmark."""
    found = checker(settings)
    lost = found.index.units[found.index.unspecific].group_by("benchmark").agg(pl.col("item").n_unique())
    unspecific = dict(lost.iter_rows())
    rows = [
        (
            found.identity,
            read.name,
            settings.benchmarks[read.name].file.name,
            read.sha256,
            read.question,
            read.answer,
            len(read.items),
            read.empty,
            unspecific.get(read.name, 0),
            settings.words,
            settings.characters,
            found.meaning.encoder if found.meaning else None,
            conditions(context.policy),
        )
        for read in found.benchmarks
    ]
    yield pl.DataFrame(rows, schema=COLUMNS, orient="row")


def conditions(policy: Policy) -> str:
    """The final section's conditions on the table ``contamination``, as JSON."""
    drop = policy.section("final").drop
    own = {reason: c.model_dump(exclude_none=True) for reason, c in drop.items() if c.table == JUDGE}
    return canonical_json(own)


def _uses(settings: ContaminationSettings, context: Context) -> Iterable[str]:
    return (identity(settings), conditions(context.policy))


STAGE = GlobalStage(
    name="benchmarks",
    table="benchmarks",
    columns=COLUMNS,
    version=VERSION,
    settings=ContaminationSettings,
    run=run,
    uses=_uses,
)
