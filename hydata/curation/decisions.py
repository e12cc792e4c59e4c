"""Global stages that turn judgements into decisions, and decisions into admissions.

``decide`` applies one section of the policy to a snapshot of conversations and the judgements on
them. ``admit`` stands after a gate's decision: it writes out, whole and with their labels, the
records that are kept now and were not admitted before, for the map stages behind the gate to
read. An admission is never withdrawn, so a nightly run sends only what is new to the
expensive steps, and a changed gate costs calls only for what it newly lets in.

A conversation that continues one which is not kept is dropped as ``earlier_turn``: the answer that was not
good enough would be trained on with it. One whose seed a condition on the table ``contamination`` would drop,
if it were a record, is dropped as ``contaminated_seed``: what is made of a benchmark's item is about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import duckdb
import polars as pl

from hydata.policy import Section, decide, label_pick, meets
from hydata.schema import CONVERSATIONS, DECISIONS
from hydata.stage import Context, GlobalStage, Settings
from hydata.warehouse import SHARD_ROWS, create_view

LABELS = ("domain", "task", "difficulty", "language")
"""Columns an admitted record carries beside the conversation's, to route and to target by."""

ADMITTED = pl.Schema({"gate": pl.String(), **CONVERSATIONS, **dict.fromkeys(LABELS, pl.String())})


class DecideSettings(Settings):
    """``section`` is applied to the conversations that lack an answer, or to those that have one, without
    what concerns the tables ``without``, whose judges come later. ``one_answer``: one answer to an
    instruction is kept at most, the first by the section's ``prefer``."""

    section: str
    of: Literal["instructions", "responses"]
    without: tuple[str, ...] = ()
    one_answer: bool = False


class AdmitSettings(Settings):
    """``section`` is what the decisions are named after: the gate in the policy, or ``ONE_ANSWER``."""

    section: str
    shard_rows: int = SHARD_ROWS


def _views(tables: Mapping[str, list[Path]], context: Context) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    for table, schema in context.schemas.items():
        create_view(con, table, schema, tables.get(table, []))
    return con


def continuing_dropped(decided: str, every: str) -> str:
    """A query of the ids of those among ``conversations`` that continue one which is not kept. ``decided`` is
    the relation of the decisions on these, ``every`` that of all conversations."""
    return f"""
        SELECT c.record_id FROM conversations AS c
        JOIN {every} AS asked ON asked.record_id = c.parent_ids[1] AND asked.step = 'follow_up'
        LEFT JOIN {decided} AS d ON d.record_id = asked.parent_ids[1]
        WHERE d.status IS DISTINCT FROM 'kept'
    """


def run_decide(
    tables: Mapping[str, list[Path]], settings: DecideSettings, context: Context
) -> Iterator[pl.DataFrame]:
    """Frames of ``DECISIONS`` for every instruction, or every complete conversation, of the snapshot. Its
    ``decisions``, if it has any, are those on what these continue."""
    with _views(tables, context) as con:
        con.execute("ALTER VIEW conversations RENAME TO everything")
        compared = "<>" if settings.of == "instructions" else "="
        con.execute(
            f"""
            CREATE VIEW conversations AS
            SELECT * FROM everything WHERE messages[-1].role {compared} 'assistant'
            """
        )
        con.execute(f"CREATE VIEW of_dropped AS {continuing_dropped('decisions', 'everything')}")
        write_contaminated(con, context.policy.section(settings.section))
        yield from decide(
            con,
            context.policy,
            settings.section,
            context.schemas,
            settings.without,
            {"earlier_turn": "of_dropped", "contaminated_seed": "of_contaminated"},
            settings.one_answer,
        )


def write_contaminated(con: duckdb.DuckDBPyConnection, section: Section) -> None:
    """Write the table ``of_contaminated``: the conversations one of whose seeds meets one of the section's
    conditions on ``contamination``."""
    parameters: list[object] = []
    met = meets(section, "contamination", parameters)
    con.execute(
        f"""
        CREATE OR REPLACE TABLE of_contaminated AS
        SELECT DISTINCT c.record_id
        FROM (SELECT record_id, unnest(document_ids) AS document_id FROM conversations) AS c
        JOIN contamination ON contamination.record_id = c.document_id
        WHERE {met}
        """,
        parameters,
    )


def run_admit(
    tables: Mapping[str, list[Path]], settings: AdmitSettings, context: Context
) -> Iterator[pl.DataFrame]:
    """Frames of ``ADMITTED`` in the order of record ids: kept by the gate, not admitted before.

    All but the last have ``shard_rows`` rows.
    """
    with _views(tables, context) as con:
        labels = ", ".join(f"{label_pick(name)} AS {name}" for name in LABELS[:-1])
        admitted = con.sql(
            f"""
            SELECT ? AS gate, c.*, l.* EXCLUDE (record_id), j.instruction_language AS language
            FROM conversations AS c
            JOIN (SELECT record_id FROM decisions WHERE policy = ? AND status = 'kept') AS d USING (record_id)
            ANTI JOIN (SELECT record_id FROM admitted) AS a USING (record_id)
            LEFT JOIN (SELECT record_id, {labels} FROM labels GROUP BY record_id) AS l USING (record_id)
            LEFT JOIN (SELECT record_id, min(instruction_language) AS instruction_language
                       FROM language GROUP BY record_id) AS j USING (record_id)
            ORDER BY c.record_id
            """,
            params=[settings.section, settings.section],
        )
        batches = admitted.to_arrow_reader(SHARD_ROWS)
        yield from _rechunked((pl.DataFrame(pl.from_arrow(b)) for b in batches), settings.shard_rows)


def _rechunked(frames: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in the same order, in frames of exactly ``rows`` and a shorter last one.

    DuckDB's batches end where its row groups do, which must not decide how shards are cut.
    """
    rest = pl.DataFrame(schema=ADMITTED)
    for frame in frames:
        rest = pl.concat([rest, frame.select(ADMITTED.names()).cast(ADMITTED)])
        while rest.height >= rows:
            yield rest.head(rows)
            rest = rest.slice(rows)
    if rest.height:
        yield rest


def _section_hash(settings: DecideSettings | AdmitSettings, context: Context) -> Iterable[str]:
    return (context.policy.hash(settings.section),)


DECIDE = GlobalStage(
    name="decide",
    table="decisions",
    columns=DECISIONS,
    version=3,
    settings=DecideSettings,
    run=run_decide,
    uses=_section_hash,
)

ADMIT = GlobalStage(
    name="admit", table="admitted", columns=ADMITTED, version=2, settings=AdmitSettings, run=run_admit
)
