"""Privacy: which personal data stands where in a record, and how much of each kind; never the value."""

from __future__ import annotations

from typing import Self

import polars as pl
from pydantic import model_validator

from hydata.curation.alone import FileJudge
from hydata.privacy import KINDS, FindSettings, anonymized, find, find_in_arguments
from hydata.schema import JUDGEMENT_KEY, Output, judgements_frame
from hydata.stage import Context, MapStage

JUDGE = "privacy"
VERSION = 4

COUNTS = pl.Schema({name: pl.Int32() for name in ("total", *KINDS, "name")})
SPAN = pl.Struct(
    {"message": pl.Int32(), "field": pl.String(), "kind": pl.String(), "start": pl.Int32(), "end": pl.Int32()}
)
COLUMNS = pl.Schema({**JUDGEMENT_KEY, **COUNTS, "spans": pl.List(SPAN)})


def _counts(spans: pl.Expr) -> list[pl.Expr]:
    """How many ``spans`` there are, and how many of each kind."""
    kinds = spans.list.eval(pl.element().struct.field("kind"))
    each = [kinds.list.count_matches(name).cast(pl.Int32).alias(name) for name in COUNTS.names()[1:]]
    return [spans.list.len().cast(pl.Int32).alias("total"), *each]


# --- in the warehouse ------------------------------------------------------------------------------------


def texts_of(conversations: pl.DataFrame) -> pl.DataFrame:
    """Every text of every message that is shown or exported: ``record_id``, ``message`` (its place, from 0),
    ``field`` (``content``, ``reasoning``, or ``arguments/N`` of the N-th tool call) and ``text``."""
    turns = (
        conversations.select("record_id", "messages")
        .with_columns(message=pl.int_ranges(pl.col("messages").list.len(), dtype=pl.Int32))
        .explode("messages", "message")
        .drop_nulls("message")
        .with_columns(pl.col("messages").struct.unnest())
    )
    parts = [
        turns.select("record_id", "message", field=pl.lit(name), text=name)
        for name in ("content", "reasoning")
    ]
    calls = (
        turns.select("record_id", "message", "tool_calls")
        .with_columns(call=pl.int_ranges(pl.col("tool_calls").list.len()))
        .explode("tool_calls", "call")
        .drop_nulls("call")
    )
    parts.append(
        calls.select(
            "record_id",
            "message",
            field=pl.format(_ARGUMENTS + "{}", "call"),
            text=pl.col("tool_calls").struct.field("arguments"),
        )
    )
    return pl.concat(parts).drop_nulls("text")


_ARGUMENTS = "arguments/"


def _candidates(settings: FindSettings) -> pl.Expr:
    """Which of ``texts_of`` are worth a look; escapes of JSON hide what would tell."""
    escaped = pl.col("field").str.starts_with(_ARGUMENTS) & pl.col("text").str.contains("\\", literal=True)
    return settings.candidates(pl.col("text")) | escaped


async def run(conversations: pl.DataFrame, settings: FindSettings, context: Context) -> Output:
    """One row a record in ``COLUMNS``; nothing is rejected."""
    texts = texts_of(conversations).filter(_candidates(settings))
    found = [
        (record, {"message": message, "field": field, "kind": f.kind, "start": f.start, "end": f.end})
        for record, message, field, text in texts.iter_rows()
        for f in (find_in_arguments if field.startswith(_ARGUMENTS) else find)(text, settings)
    ]
    spans = (
        pl.DataFrame(found, schema={"record_id": pl.String, "spans": SPAN}, orient="row")
        .sort(
            "record_id",
            pl.col("spans").struct.field("message"),
            pl.col("spans").struct.field("field"),
            pl.col("spans").struct.field("start"),
        )
        .group_by("record_id", maintain_order=True)
        .agg("spans")
    )
    judged = (
        judgements_frame(conversations["record_id"], JUDGE, str(VERSION))
        .join(spans, on="record_id", how="left", maintain_order="left")
        .with_columns(pl.col("spans").fill_null([]))
        .with_columns(_counts(pl.col("spans")))
    )
    return Output(judged.match_to_schema(COLUMNS))


STAGE = MapStage(
    name="privacy",
    table="privacy",
    columns=COLUMNS,
    version=VERSION,
    settings=FindSettings,
    run=run,
    computes=True,
)

# --- alone on files --------------------------------------------------------------------------------------

ROW_SPAN = pl.Struct({"kind": pl.String(), "start": pl.Int32(), "end": pl.Int32()})
BETWEEN = "\n\n"
"""Between the texts of a row."""
_FOUND = {"row": pl.get_index_type(), "spans": pl.List(ROW_SPAN), "anonymized": pl.String}


class AloneSettings(FindSettings):
    """What is looked for, which is something: a report of no personal data must mean that."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.finders:
            raise ValueError("kinds = [] looks for nothing; leave it out for all kinds")
        return self


def _shown(rows: pl.DataFrame) -> pl.DataFrame:
    """``texts_of`` messages, and of a row without these its ``text``, in order."""
    numbered = rows.with_row_index("record_id")
    plain = numbered.filter(pl.col("messages").is_null() & pl.col("text").is_not_null()).select(
        "record_id", message=pl.lit(0, pl.Int32), field=pl.lit("content"), text="text"
    )
    said = texts_of(numbered).filter(pl.col("text") != "")
    return pl.concat([plain, said]).sort("record_id", "message", maintain_order=True)


def judge_rows(rows: pl.DataFrame, settings: FindSettings) -> pl.DataFrame:
    """Of each text its counts, its ``spans`` and the text with placeholders; of a row without any, nulls."""
    shown = _shown(rows).with_columns(worth=_candidates(settings))
    texts = shown.group_by(row="record_id").agg("text", "field", pl.col("worth").any())
    found = []
    for row, parts, fields in texts.filter("worth").select("row", "text", "field").iter_rows():
        arguments = {place for place, field in enumerate(fields) if field.startswith(_ARGUMENTS)}
        places, masked = anonymized(parts, arguments, settings)
        if not any(places):  # the text stays as it is
            continue
        spans, start = [], 0
        for part, within in zip(parts, places, strict=True):
            spans += [{"kind": f.kind, "start": start + f.start, "end": start + f.end} for f in within]
            start += len(part) + len(BETWEEN)
        found.append((row, spans, BETWEEN.join(masked)))
    return (
        rows.select(pl.row_index("row"))
        .join(texts.select("row", pl.col("text").list.join(BETWEEN)), on="row", how="left")
        .join(pl.DataFrame(found, schema=_FOUND, orient="row"), on="row", how="left")
        .sort("row")
        .select(
            spans=pl.when(pl.col("text").is_not_null()).then(pl.col("spans").fill_null([])),
            anonymized=pl.coalesce("anonymized", "text"),
        )
        .with_columns(_counts(pl.col("spans")))
        .select(*COUNTS, "spans", "anonymized")
    )


ALONE = FileJudge(
    name=JUDGE,
    doc="""Find personal data in each row, and write the text without it.

    One row is written for each row of the inputs, in order: `row`, `total` and the number of each kind
    (`key`, `email`, `iban`, `id_card`, `bank_card`, `passport`, `ip`, `phone`, `plate`, `address`, `name`),
    `spans` (kind, start and end in characters of the text; of messages, of all contents, reasoning and
    arguments of tool calls joined by blank lines, each that is not empty), and `anonymized`, that text with
    placeholders such as [EMAIL_1], the same for the same value. Each text of a row is searched by itself;
    arguments are shown as they were written, and searched for what their JSON spells: a span is then within
    one string, or a number, whose placeholder is a string. `--set 'kinds=["email", "phone"]'` looks for some
    kinds only, `--set names=true` for names of people as well.
    """,
    settings=AloneSettings,
    columns=pl.Schema({**COUNTS, "spans": pl.List(ROW_SPAN), "anonymized": pl.String()}),
    judge=judge_rows,
    counts={"with personal data": pl.col("total") > 0, "values": pl.col("total")},
)
