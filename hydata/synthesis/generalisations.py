"""The mappings from simple to complex instructions: pairs of which both sides passed the gates.

A pair is an instruction and what ``evolve`` made of it, both admitted by a gate. What an operator of breadth
made is no harder form of its parent, and what ``generalise`` made came from a model that may have been
trained on these very pairs; neither is a mapping. Beside the ids stands what the pair was checked for, in
words (Chinese characters each a word): so a training set can be chosen by a query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import polars as pl

from hydata.curation.words import words
from hydata.schema import instruction_text
from hydata.stage import Context, GlobalStage, Settings
from hydata.synthesis import evolve
from hydata.synthesis.failures import BREADTH

CHECKS = pl.Struct({"length_ratio": pl.Float64(), "kept": pl.Float64(), "added": pl.Int64()})
"""Words of the complex instruction over those of the simple one; the share of the simple one's different
words that it has; how many different words it has beside."""

GENERALISATIONS = pl.Schema(
    {
        "simple_id": pl.String(),
        "complex_id": pl.String(),
        "operator": pl.String(),
        "prompt_id": pl.String(),
        "model": pl.String(),
        "checks": CHECKS,
    }
)


class GeneralisationsSettings(Settings):
    """Nothing to set: every accepted pair is kept."""


def _breadth(context: Context) -> list[str]:
    return sorted({p.name for p in context.prompts.find(evolve.NAME) if p.header.style == BREADTH})


def run(
    tables: Mapping[str, list[Path]], settings: GeneralisationsSettings, context: Context
) -> Iterator[pl.DataFrame]:
    """One frame of ``GENERALISATIONS`` in the order of ``complex_id``."""
    admitted = pl.concat([pl.scan_parquet(path) for path in tables["admitted"]])
    texts = admitted.select(
        "record_id",
        "step",
        "parent_ids",
        "prompt_id",
        "model",
        said=words(instruction_text().str.to_lowercase()),
    ).unique("record_id")
    complex = texts.filter(pl.col("step") == evolve.NAME).select(
        simple_id=pl.col("parent_ids").list.first(),
        complex_id="record_id",
        operator=pl.col("prompt_id").str.extract(r"^[^/]+/(.+)\.[a-z]+@"),
        prompt_id="prompt_id",
        model="model",
        after="said",
    )
    pairs = complex.filter(~pl.col("operator").is_in(_breadth(context))).join(
        texts.select(simple_id="record_id", before="said"), on="simple_id"
    )
    old, new = pl.col("before").list.unique(), pl.col("after").list.unique()
    common = old.list.set_intersection(new).list.len()
    checks = pl.struct(
        length_ratio=pl.col("after").list.len() / pl.col("before").list.len(),
        kept=common / old.list.len(),
        added=(new.list.len() - common).cast(pl.Int64),
    )
    yield (
        pairs.with_columns(checks=checks.cast(CHECKS))
        .select(GENERALISATIONS.names())
        .sort("complex_id")
        .collect()
    )


def _uses(settings: GeneralisationsSettings, context: Context) -> Iterable[str]:
    return _breadth(context)


STAGE = GlobalStage(
    name="generalisations",
    table="generalisations",
    columns=GENERALISATIONS,
    version=1,
    settings=GeneralisationsSettings,
    run=run,
    uses=_uses,
)
