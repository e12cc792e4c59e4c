"""What people ask about duplicates, over tables made by hand and over a real run."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from hydata import dupes
from hydata.cli import app
from hydata.curation.dedup import COLUMNS
from hydata.dupes import Member, Near, Share, Summary
from hydata.errors import WarehouseError
from hydata.recipe import load_recipe, table_schemas
from hydata.run import run_recipe
from hydata.schema import Conversation, Document, Message, conversations_frame, documents_frame, hash128
from hydata.synthesis.follow_up import FollowUpSettings
from hydata.warehouse import Head, create_view, write_frame

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
    """Records 0, 1 and 2 are a cluster, of which 0 is kept; 3 and 4 stand alone in ``a``, in ``b``
    all do; ``s`` says that 4 means what 3 does."""
    rows = [
        ("a", IDS[0], IDS[0], None, None, True, False),
        ("a", IDS[1], IDS[0], IDS[0], 0.9, False, False),
        ("a", IDS[2], IDS[0], IDS[0], 1.0, False, True),
        ("a", IDS[3], IDS[3], None, None, True, False),
        ("a", IDS[4], IDS[4], None, None, True, False),
        *(("b", id, id, None, None, True, False) for id in IDS),
        ("s", IDS[3], IDS[3], None, None, True, None),
        ("s", IDS[4], IDS[3], IDS[3], 0.97, False, None),
    ]
    names = ["judge", "record_id", "cluster_id", "duplicate_of", "similarity", "keep", "exact"]
    judged = pl.DataFrame(rows, schema=names, orient="row").with_columns(
        version=pl.lit("1"), repeat=pl.lit(0)
    )
    judged = judged.cast({name: COLUMNS[name] for name in judged.columns})
    tables = {
        "duplicates": judged.filter(pl.col("judge") != "s").cast(
            {name: COLUMNS[name] for name in judged.columns}
        ),
        "semantic": judged.filter(judge="s").drop("exact"),
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
    assert dupes.summaries(con) == [
        *(Summary("a", 5, 2, 1, 1, 3), Summary("b", 5, 0, 0, 0, 1)),
        Summary("s", 2, 1, 0, 1, 2),
    ]
    assert dupes.sizes(con, "a") == [(1, 2), (2, 1)]
    assert dupes.largest(con, "a", 5) == [IDS[0]]
    assert dupes.largest(con, "b", 5) == []
    assert dupes.least_similar(con, "a", 5) == [IDS[1]]


def test_where_duplicates_come_from(con: duckdb.DuckDBPyConnection) -> None:
    assert dupes.by_prompt(con, "a", 5) == [Share("generate generate/ask m", 3, 2)]
    assert dupes.by_source(con, "a", 5) == [Share("one.html", 3, 1), Share("two.html", 2, 1)]
    assert dupes.by_source(con, "a", 1) == [Share("one.html", 3, 1)]
    assert dupes.by_prompt(con, "b", 5) == []
    assert dupes.by_prompt(con, "s", 5) == [Share("generate generate/tell m", 2, 1)]


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


def test_the_beginning_of_several_ids_is_not_enough(con: duckdb.DuckDBPyConnection) -> None:
    ids = [hash128(i) for i in range(17)]  # of 16 first digits one must come twice
    con.register("alone", pl.DataFrame({"record_id": ids, "cluster_id": ids}))
    nothing = "NULL AS duplicate_of, NULL AS similarity, false AS exact"
    con.execute(
        f"CREATE OR REPLACE VIEW duplicates AS SELECT 'c' AS judge, true AS keep, {nothing}, * FROM alone"
    )
    digit = next(id[0] for i, id in enumerate(ids) if id[0] in {other[0] for other in ids[:i]})
    with pytest.raises(WarehouseError, match=rf"{digit}: \d+ clusters of c hold it; give more of the id"):
        dupes.members(con, digit, None, 9)


def test_one_pair_of_a_cluster_nearest_to_the_threshold_first(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TEMP TABLE near (keep BOOL, record_id TEXT, cluster_id TEXT, duplicate_of TEXT, s FLOAT)"
    )
    con.execute("ALTER TABLE near RENAME s TO similarity")
    rows = [(1, "a", 0, 0.78), (2, "a", 0, 0.79), (3, "b", 4, 0.795), (4, "c", 0, 0.71)]
    for keep in (True, False):
        con.executemany(
            "INSERT INTO near VALUES (?, ?, ?, ?, ?)",
            [(keep, IDS[r], c, IDS[to], s if keep else round(1.6 - s, 3)) for r, c, to, s in rows],
        )
    assert dupes.near_counts(con, True) == [(0.79, 2), (0.78, 1), (0.71, 1)]
    assert dupes.near_counts(con, False) == [(0.8, 1), (0.81, 1), (0.82, 1), (0.89, 1)]
    for keep in (True, False):
        found = dupes.near_pairs(con, "instruction", keep, 2)
        assert [(f.record_id, f.duplicate_of, f.alike) for f in found] == [
            (IDS[3], IDS[4], 1),
            (IDS[2], IDS[0], 2),
        ]
    assert found[0] == Near(IDS[3], IDS[4], pytest.approx(0.805), 1, "Question 3?", "Question 4?")
    assert len(dupes.near_pairs(con, "conversation", True, 9)) == 3


def test_a_threshold_that_is_not_the_run_s_is_said(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match=r"a dropped records that are 0\.900 alike.*--threshold"):
        dupes.find_near(con, tmp_path, Head("main"), "a", 0.95, 0.02)
    with pytest.raises(WarehouseError, match="no signatures"):
        dupes.find_near(con, tmp_path, Head("main"), "a", 0.9, 0.02)


RIVER = (
    "Every spring the river rises after the snow in the mountains has melted, and the people of the valley "
    "move their boats to higher ground. They count the days since the last frost, look at the colour of the "
    "water and ask the oldest fisherman when it will fall again. He never answers at once, because the river "
    "has surprised him more often than he likes to say, and patience has cost him nothing so far."
)
ANSWERS = (
    RIVER,
    RIVER.replace("oldest", "youngest"),
    RIVER.replace("colour", "taste").replace("nothing", "plenty") + " That much is known.",
)


def test_the_commands_on_a_real_run(project: Path, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse"
    asked = "How does the valley prepare for the river each spring?"
    rows = [{"instruction": asked, "input": "", "output": answer} for answer in ANSWERS]
    (project / "seeds" / "near.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with chdir(project):
        recipe = load_recipe(project / "recipe.toml", ("seeds",))
        recipe = recipe.model_copy(update={"follow_up": FollowUpSettings(turns=0)})
        asyncio.run(run_recipe(warehouse, recipe))

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
                (SELECT count(*) FROM conversations
                    WHERE step <> 'follow_up' AND record_id NOT IN (SELECT record_id FROM signatures))
            """
        ).fetchone()
        (some,) = con.execute("SELECT record_id FROM duplicates WHERE judge = 'duplicates_evolve'").fetchone()
    assert compared > 0
    assert signed == 0, "a conversation has no signature"
    assert some[:12] in run("show", some, "--judge", "duplicates_evolve")
    with pytest.raises(WarehouseError, match="there are duplicates_critique"):
        run("report", "--judge", "none")
    near = run("near", "--judge", "duplicates_critique", "--within", "0.2")
    assert "1 kept at 0.8 that 0.6 would drop" in near
    assert "1 dropped at 0.8 for a similarity of at most 1" in near
    assert "… look at the [taste] of the water" not in near, "four words are shown on each side"
    assert "frost, look at the [taste] of the water and ask the [oldest] fisherman when it will …" in near
    assert "frost, look at the [colour] of the water and ask the [youngest] fisherman when it will …" in near
    assert "… water and ask the [oldest] fisherman when it will …" in near
    assert "0 kept at 0.8 that 0.75 would drop" in run("near", "--judge", "duplicates_critique")
    assert "duplicates_evolve: 0 kept" in run("near", "--judge", "duplicates_evolve")
    with pytest.raises(WarehouseError, match="--threshold"):
        run("near", "--judge", "duplicates_critique", "--threshold", "0.95")
