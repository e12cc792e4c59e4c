"""The rules: cheap measures of form, one file a family, all computed in one pass over a batch.

``MEASURES`` is collected from the modules of this package, so a new rule is a new function in its
family's file and a new family is a new file. The columns of the table follow from them and are the
same for every batch: measures of a response that does not exist are null, not absent.

Long lists of phrases are data, in ``phrases/``; their hash is part of the stage's identity.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from importlib import resources

import polars as pl

from hydata.curation.files import ROWS
from hydata.curation.measure import Measure, anchor_table, search
from hydata.curation.reading import read
from hydata.curation.turns import letters, parts
from hydata.schema import JUDGEMENT_KEY, Output, hash128, judgements_frame
from hydata.stage import Context, MapStage, Settings

__all__ = [
    "COLUMNS",
    "MEASURES",
    "STAGE",
    "VERSION",
    "RulesSettings",
    "measures",
    "measures_of_rows",
    "measures_of_texts",
]

JUDGE = "rules"
VERSION = 5
"""Goes up when a rule's expression changes; a changed list of phrases is noticed by itself."""


def _discover() -> dict[str, tuple[Measure, ...]]:
    """The measures of each family module, families by name, measures in the order of their file."""
    families = {}
    for found in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{__name__}.{found.name}")
        families[found.name] = tuple(value for value in vars(module).values() if isinstance(value, Measure))
    return families


MEASURES = _discover()
"""Family -> its measures."""

_EXPRESSIONS = {
    name: (expression, rule.dtype)
    for family in MEASURES.values()
    for rule in family
    for name, expression in rule.expressions.items()
}

COLUMNS = pl.Schema({**JUDGEMENT_KEY, **{name: dtype for name, (_, dtype) in _EXPRESSIONS.items()}})


class RulesSettings(Settings):
    """Rules have nothing to set: thresholds are the policy's."""


def measures(conversations: pl.DataFrame) -> pl.DataFrame:
    """``record_id`` and every measure, one row a conversation (``hydata.schema.CONVERSATIONS``), in the order
    given."""
    texts = parts(conversations["messages"]).with_columns(pl.col("instruction").fill_null(""))
    return _measured(conversations, texts)


def measures_of_texts(texts: pl.Series) -> pl.DataFrame:
    """Every measure of texts that are no conversations, one row a text: each is measured as a response
    without an instruction, and what needs either or turns is null. A null text has no measures."""
    return measures_of_rows(
        pl.DataFrame({"text": texts.cast(pl.String)}).match_to_schema(ROWS, missing_columns="insert")
    )


def measures_of_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Every measure of rows of files (``hydata.curation.files.ROWS``): of conversations as ``measures`` has
    them, of texts as ``measures_of_texts``."""
    plain = pl.col("messages").is_null()
    found = parts(rows["messages"])
    texts = pl.concat([rows.select("messages", "text"), found], how="horizontal").select(
        pl.when(~plain).then(pl.col("instruction").fill_null("")),
        pl.when(plain).then("text").otherwise("response").alias("response"),
        "rest",
    )
    return _measured(rows.select("messages", "finish_reason", tools=pl.lit(None, pl.String)), texts)


def _measured(records: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """``records`` have ``messages``, ``tools``, ``finish_reason`` and perhaps ``record_id``, ``texts`` the
    parts."""
    table = anchor_table()
    answered, asked = read(texts["response"], texts["instruction"], table)
    rest, _ = read(texts["rest"], pl.repeat(None, texts.height, dtype=pl.String, eager=True), table)
    counts = [
        found.rename({name: f"{part}:{name}" for name in found.columns})
        for part, found in (("response", answered), ("instruction", asked), ("rest", rest))
    ]
    frame = pl.concat([records, texts, *counts], how="horizontal").with_columns(letters(records["messages"]))
    frame = frame.with_columns(search(frame, (e for e, _ in _EXPRESSIONS.values())))
    text = pl.concat_str("instruction", "response", "rest", separator="\n\n", ignore_nulls=True)
    ids = [name for name in ("record_id",) if name in records.columns]
    return (
        frame.lazy()
        .with_columns(text=text)
        .select(*ids, **{name: e for name, (e, _) in _EXPRESSIONS.items()})
        .collect()
    )


def _phrases_hash() -> str:
    folder = resources.files(__name__) / "phrases"
    files = sorted((file.name, file.read_text("utf-8")) for file in folder.iterdir())
    return hash128(*(part for file in files for part in file))


def _uses(settings: RulesSettings, context: Context) -> Iterable[str]:
    return (_phrases_hash(),)


async def run(conversations: pl.DataFrame, settings: RulesSettings, context: Context) -> Output:
    """One row a record in ``COLUMNS``; nothing is rejected."""
    version = f"{VERSION}-{_phrases_hash()[:8]}"
    judged = judgements_frame(conversations["record_id"], JUDGE, version)
    return Output(
        pl.concat([judged, measures(conversations).drop("record_id")], how="horizontal").match_to_schema(
            COLUMNS
        )
    )


STAGE = MapStage(
    name="rules",
    table="rules",
    columns=COLUMNS,
    version=VERSION,
    settings=RulesSettings,
    run=run,
    computes=True,
    uses=_uses,
)
