"""What people ask about duplicates, over tables made by hand and over a real run."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from hydata import dupes
from hydata.cli import app
from hydata.curation.dedup import COLUMNS
from hydata.dupes import Member, Share, Summary
from hydata.errors import WarehouseError
from hydata.recipe import load_recipe, table_schemas
from hydata.run import run_recipe
from hydata.schema import Conversation, Document, Message, conversations_frame, documents_frame
from hydata.warehouse import create_view, write_frame

SCHEMAS = table_schemas()
SEEDS = [Document("web", f"{name}.html", f"{name}.html", 0, name, language="en") for name in ("one", "two")]
RECORDS = [
    Conversation(
        "generate",
        (Message("system", "Be brief."), Message("user", f"Question {i}?")),
        document_ids=(SEEDS[i % 2].document_id,),
        prompt_id=f"generate/{'ask' if i < 3 else 'tell'}",
        model="m",
    )
    for i in range(5)
]
IDS = [record.record_id for record in RECORDS]


@pytest.fixture
def con(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Records 0, 1 and 2 are a cluster, of which 0 is kept; 3 and 4 stand alone in ``a``, in ``b`` all do."""
    rows = [
        ("a", IDS[0], IDS[0], None, None, True, False),
        ("a", IDS[1], IDS[0], IDS[0], 0.9, False, False),
        ("a", IDS[2], IDS[0], IDS[0], 1.0, False, True),
        ("a", IDS[3], IDS[3], None, None, True, False),
        ("a", IDS[4], IDS[4], None, None, True, False),
        *(("b", id, id, None, None, True, False) for id in IDS),
    ]
    names = ["judge", "record_id", "cluster_id", "duplicate_of", "similarity", "keep", "exact"]
    judged = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        version=pl.lit("1"), repeat=pl.lit(0)
    )
    tables = {
        "duplicates": judged.cast({name: COLUMNS[name] for name in judged.columns}),
        "conversations": conversations_frame(RECORDS),
        "documents": documents_frame(SEEDS),
    }
    with duckdb.connect() as con:
        for name, frame in tables.items():
            full = frame.match_to_schema(SCHEMAS[name], missing_columns="insert")
            write_frame(tmp_path / f"{name}.parquet", full)
            create_view(con, name, SCHEMAS[name], [tmp_path / f"{name}.parquet"])
        yield con


def test_summaries_and_sizes(con: duckdb.DuckDBPyConnection) -> None:
    assert dupes.summaries(con) == [Summary("a", 5, 2, 1, 1, 3), Summary("b", 5, 0, 0, 0, 1)]
    assert dupes.sizes(con, "a") == [(1, 2), (2, 1)]
    assert dupes.largest(con, "a", 5) == [IDS[0]]
    assert dupes.largest(con, "b", 5) == []
    assert dupes.least_similar(con, "a", 5) == [IDS[1]]


def test_where_duplicates_come_from(con: duckdb.DuckDBPyConnection) -> None:
    assert dupes.by_prompt(con, "a", 5) == [Share("generate generate/ask m", 3, 2)]
    assert dupes.by_source(con, "a", 5) == [Share("one.html", 3, 1), Share("two.html", 2, 1)]
    assert dupes.by_source(con, "a", 1) == [Share("one.html", 3, 1)]
    assert dupes.by_prompt(con, "b", 5) == []


def test_a_cluster_is_found_by_any_of_its_records(con: duckdb.DuckDBPyConnection) -> None:
    for id in (IDS[0], IDS[1][:20], IDS[2]):
        judge, found = dupes.members(con, id, "a", 10)
        assert judge == "a"
        assert {m.record_id for m in found} == set(IDS[:3])
        assert found[0].record_id == IDS[0]
    assert [m.record_id for m in dupes.members(con, IDS[1], "a", 2)[1]] == [IDS[0], IDS[1]]
    made_by = "generate generate/ask m"
    found = dupes.members(con, IDS[0], "a", 10)[1]
    assert found[1] == Member(IDS[2], False, IDS[0], 1.0, made_by, "Question 2?")
    assert len(dupes.members(con, IDS[0], "a", 2)[1]) == 2
    assert dupes.members(con, IDS[1].upper(), None, 9)[0] == "a"
    with pytest.raises(WarehouseError, match="no cluster or compared record begins so"):
        dupes.members(con, "x' OR 1=1 --", None, 9)
    with pytest.raises(WarehouseError, match="name a cluster or a record"):
        dupes.members(con, "", "a", 9)


def test_the_commands_on_a_real_run(project: Path, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    asyncio.run(run_recipe(warehouse, load_recipe(project / "recipe.toml", (str(project / "seeds"),))))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["dupes", *arguments, "-w", str(warehouse)], catch_exceptions=False)
        assert result.exit_code == 0
        return result.output

    said = run("report")
    for word in ("duplicates_critique", "duplicates_evolve", "duplicates_respond", "clusters by size"):
        assert word in said
    with duckdb.connect(str(warehouse / "hydata.duckdb"), read_only=True) as con:
        compared, signed = con.execute(
            """
            SELECT (SELECT count(DISTINCT record_id) FROM duplicates),
                (SELECT count(*) FROM conversations WHERE record_id NOT IN (SELECT record_id FROM signatures))
            """
        ).fetchone()
        (some,) = con.execute("SELECT record_id FROM duplicates WHERE judge = 'duplicates_evolve'").fetchone()
    assert compared > 0
    assert signed == 0, "a conversation has no signature"
    assert some[:12] in run("show", some, "--judge", "duplicates_evolve")
    with pytest.raises(WarehouseError, match="there are duplicates_critique"):
        run("report", "--judge", "none")
