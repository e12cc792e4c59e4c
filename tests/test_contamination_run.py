"""Contamination in a run: nothing made of a contaminated seed goes on, every row has a reason, and the
certificate beside an export says what was done."""

import csv
import hashlib
import json
from pathlib import Path

import pytest
from projects import run_project

from hydata.errors import ConfigError
from hydata.export.messages import export_messages
from hydata.export.provenance import read_provenance
from hydata.session import Session
from hydata.verdicts import compared, read_policy
from hydata.warehouse import connect

SECTIONS = "('gates.evolve', 'gates.respond', 'gates.critique', 'final')"


def run(project: Path, *, rebuild: tuple[str, ...] = ()) -> Session:
    return run_project(project, project / "warehouse", rebuild=rebuild)


def query(session: Session, text: str) -> list[tuple[object, ...]]:
    with connect(session.root, session.head, session.schemas) as con:
        return con.execute(text).fetchall()


def certificate(project: Path, session: Session) -> dict[str, object]:
    path = project / "mix.jsonl"
    with connect(session.root, session.head, session.schemas) as con:
        manifest = export_messages(con, "main", path, read_provenance(session.root, "demo"))
    written = (project / manifest.contamination).read_bytes()
    assert manifest.contamination == "mix.contamination.json"
    assert manifest.contamination_sha256 == hashlib.sha256(written).hexdigest()
    found: dict[str, object] = json.loads(written)
    assert found["sha256"] == manifest.sha256
    return found


def with_benchmark(project: Path, *lines: str) -> Path:
    """Two seed questions as a benchmark of the recipe, one of them word by word."""
    with (project / "seeds" / "qa" / "word_problems.csv").open() as file:
        copied, _, kept, *_ = (row["question"] for row in csv.DictReader(file))
    path = project / "benchmarks" / "exam.jsonl"
    path.parent.mkdir()
    path.write_text(
        "".join(json.dumps({"id": id, "question": q}) + "\n" for id, q in (("a", copied), ("c", kept)))
    )
    recipe = project / "recipe.toml"
    table = '\n[contamination]\nbenchmarks = { exam = "benchmarks/exam.jsonl" }\n'
    recipe.write_text(recipe.read_text() + table + "\n".join(lines))
    return path


def test_what_is_made_of_a_benchmarks_item_goes_no_further_and_the_certificate_says_so(project: Path) -> None:
    exam = with_benchmark(project)
    session = run(project)
    seeds = query(
        session,
        "SELECT record_id, item FROM contamination JOIN documents ON document_id = record_id "
        "WHERE overlap > 0.5 ORDER BY item",
    )
    assert [item for _, item in seeds] == ["a", "c"]
    ids = ", ".join(f"'{id}'" for id, _ in seeds)
    of_seeds = f"SELECT * FROM conversations WHERE list_has_any(document_ids, [{ids}])"
    made = query(session, f"SELECT step, count(*) FROM ({of_seeds}) GROUP BY step")
    assert made
    assert {step for step, _ in made} <= {"extract", "generate"}  # nothing was evolved or answered
    assert query(session, f"SELECT count(*) FROM admitted SEMI JOIN ({of_seeds}) USING (record_id)") == [(0,)]
    reasons = query(
        session,
        f"SELECT DISTINCT policy, status, list_contains(reasons, 'contaminated_seed') FROM decisions "
        f"SEMI JOIN ({of_seeds}) USING (record_id) WHERE policy IN {SECTIONS} ORDER BY policy",
    )
    assert reasons == [("gates.evolve", "dropped", True), ("gates.respond", "dropped", True)]
    # every record is measured, and every one is kept, dropped with a reason, or a parent of another
    assert query(session, "SELECT count(*) FROM conversations ANTI JOIN contamination USING (record_id)") == [
        (0,)
    ]
    assert query(
        session,
        """
        SELECT count(*) FROM conversations AS c ANTI JOIN (
            SELECT record_id FROM decisions WHERE len(reasons) > 0 OR status = 'kept'
            UNION SELECT unnest(parent_ids) FROM conversations
        ) AS accounted USING (record_id)
        """,
    ) == [(0,)]

    # a comparison of policies sees the seeds as the run did
    with connect(session.root, session.head, session.schemas) as con:
        policy = read_policy(con, project / "policy.toml", session.schemas)
        ((kept,),) = con.execute(
            "SELECT count(*) FROM decisions WHERE policy = 'gates.respond' AND status = 'kept'"
        ).fetchall()
        totals = {each.section: each.kept_a for each in compared(con, policy, policy, session.schemas)}
    assert totals["gates.respond"] == kept

    told = certificate(project, session)
    (benchmark,) = told["benchmarks"]
    assert benchmark["name"] == "exam"
    assert benchmark["file"] == "exam.jsonl"
    assert benchmark["sha256"] == hashlib.sha256(exam.read_bytes()).hexdigest()
    assert (benchmark["items"], benchmark["items_hit"]) == (2, ["a", "c"])
    assert benchmark["hits"]["seeds"]["contaminated"] == 2
    assert (told["words"], told["characters"]) == (13, 13)
    assert told["conditions"]["contaminated"] == {"measure": "contamination.overlap", "above": 0.5}
    assert told["removed"]["gates.evolve"]["contaminated_seed"] == sum(count for _, count in made)
    for rows in told["rows"].values():
        assert rows["rows"] == rows["compared"] > 0
    assert told["in_mix"]["rows"] == told["in_mix"]["compared"] > 0
    assert told["in_mix"]["meeting_a_condition"] == 0
    assert str(project) not in json.dumps(told)


def test_thresholds_change_without_measuring_and_a_new_benchmark_is_told_from_earlier_ones(
    project: Path,
) -> None:
    exam = with_benchmark(project)
    session = run(project)
    measured = {p: p.stat().st_mtime_ns for p in (session.root / "contamination").rglob("*.parquet")}
    policy = project / "policy.toml"
    other = policy.read_text().replace(
        '"contamination.overlap", above = 0.5', '"contamination.span", above = 500'
    )
    policy.write_text(other)
    told = certificate(project, run(project))
    assert {p: p.stat().st_mtime_ns for p in measured} == measured
    assert told["conditions"]["contaminated"] == {"measure": "contamination.span", "above": 500}

    exam.write_text(
        exam.read_text() + '{"id": "z", "question": "Who keeps the lamp on the far island now?"}\n'
    )
    told = certificate(project, run(project))
    assert told["rows"]["seeds"]["with_others"] == told["rows"]["seeds"]["rows"]
    assert told["in_mix"]["compared"] == 0
    told = certificate(project, run(project, rebuild=("contamination",)))
    assert told["rows"]["seeds"]["compared"] == told["rows"]["seeds"]["rows"]
    assert told["in_mix"]["compared"] == told["in_mix"]["rows"]


def test_a_benchmark_that_is_not_there_is_missed_before_any_work(project: Path) -> None:
    with_benchmark(project).unlink()
    with pytest.raises(ConfigError, match=r"exam\.jsonl: not readable"):
        run(project)
    assert not (project / "warehouse" / "documents").exists()
