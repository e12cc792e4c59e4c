"""The funnel and the story of one record, over tables made by hand."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import polars as pl
import pytest

from hydata.recipe import table_schemas
from hydata.report import FunnelRow, funnel, story
from hydata.schema import (
    Conversation,
    Document,
    Message,
    Reject,
    conversations_frame,
    documents_frame,
    judgements_frame,
    rejects_frame,
)
from hydata.warehouse import create_view, write_frame

SCHEMAS = table_schemas()

SEED = Document("web", "seed.html", "seed.html", 0, "A heat pump moves heat.", language="en")
ASKED = Conversation("generate", (Message("user", "What moves heat?"),), document_ids=(SEED.document_id,))
HARDER = Conversation("evolve", (Message("user", "Why does it?"),), parent_ids=(ASKED.record_id,))
ANSWERED = Conversation(
    "respond",
    (Message("user", "Why does it?"), Message("assistant", "Work is done.")),
    parent_ids=(HARDER.record_id,),
)


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as con:
        for name, schema in SCHEMAS.items():
            create_view(con, name, schema, [])
        yield con


def fill(con: duckdb.DuckDBPyConnection, folder: Path, tables: Mapping[str, pl.DataFrame]) -> None:
    for name, frame in tables.items():
        write_frame(
            folder / f"{name}.parquet", frame.match_to_schema(SCHEMAS[name], missing_columns="insert")
        )
        create_view(con, name, SCHEMAS[name], [folder / f"{name}.parquet"])


def decided(*rows: tuple[str, str, str, list[str]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMAS["decisions"], orient="row")


def test_admissions_are_counted_and_the_reasons_are_the_decisions(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    # b was admitted under an older policy that dropped it since; c was never admitted; d lacks a judge
    fill(
        con,
        tmp_path,
        {
            "admitted": pl.DataFrame(
                {"gate": ["gates.evolve"] * 2 + ["gates.respond"], "record_id": ["a", "b", "a"]}
            ),
            "decisions": decided(
                ("a", "gates.evolve", "kept", []),
                ("b", "gates.evolve", "dropped", ["too_short", "garbled"]),
                ("c", "gates.evolve", "dropped", ["too_short"]),
                ("d", "gates.evolve", "undecided", ["rules"]),
                ("e", "gates.evolve without duplicates", "dropped", ["too_short"]),
                ("a", "final", "kept", []),
            ),
            "mixes": pl.DataFrame({"mix": ["main"] * 2, "record_id": ["a", "x"], "weight": [1.0, 0.0]}),
            "rejects": rejects_frame([Reject("evolve", "copied", "", "a"), Reject("ingest", "empty")]),
        },
    )
    rows = {row.step: row for row in funnel(con)}
    assert rows["admitted to evolve"] == FunnelRow(
        "admitted to evolve", 2, (("too_short", 2), ("garbled", 1), ("undecided: no rules", 1))
    )
    assert rows["admitted to respond"] == FunnelRow("admitted to respond", 1)
    assert rows["admitted to critique"].rows == 0
    assert rows["instructions evolved"] == FunnelRow("instructions evolved", 0, (("copied", 1),))
    assert rows["documents"].dropped == (("empty", 1),)
    assert rows["kept"] == FunnelRow("kept", 1)
    assert rows["in the mix"] == FunnelRow("in the mix", 1, (("left out to balance", 1),))


def told(con: duckdb.DuckDBPyConnection, id: str) -> list[str]:
    return [f"{'  ' * line.depth}{line.label}: {line.text}" for line in story(con, id)]


def test_a_document_tells_what_stages_did_not_take_on(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    rejects = rejects_frame([Reject("generate", "not_sampled", "", SEED.document_id)])
    fill(con, tmp_path, {"documents": documents_frame([SEED]), "rejects": rejects})
    assert "  not taken on by generate: not_sampled" in told(con, SEED.document_id[:12])


def test_an_ancestor_that_is_not_current_is_named(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    fill(con, tmp_path, {"conversations": conversations_frame([ANSWERED])})
    (line,) = (x for x in told(con, ANSWERED.record_id) if HARDER.record_id in x)
    assert line.startswith(f"    record {HARDER.record_id}: not current any more")
    fill(con, tmp_path, {"conversations": conversations_frame([ANSWERED, HARDER, ASKED])})
    lines = told(con, ANSWERED.record_id)
    assert any(x.startswith(f"    evolve {HARDER.record_id}") for x in lines)
    (line,) = (x for x in lines if SEED.document_id in x)
    assert line.startswith(f"        document {SEED.document_id}: not current any more")


@pytest.mark.parametrize("table", [name for name, schema in SCHEMAS.items() if "judge" in schema])
def test_every_judge_is_heard(con: duckdb.DuckDBPyConnection, tmp_path: Path, table: str) -> None:
    judged = judgements_frame(pl.Series([ASKED.record_id]), "someone", "7")
    fill(con, tmp_path, {"conversations": conversations_frame([ASKED]), table: judged})
    assert [x for x in told(con, ASKED.record_id) if f"{table} by someone (version 7)" in x]
