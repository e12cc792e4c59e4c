"""What a policy makes of a warehouse: explained for one record, and compared with another policy."""

from pathlib import Path

import polars as pl
import pytest
from projects import make_project, run_project
from typer.testing import CliRunner

from hydata.cli import app
from hydata.policy import last_policy
from hydata.session import Session
from hydata.verdicts import SECTIONS, Rule, by_rule, changes, compared, explained, read_policy
from hydata.warehouse import connect


def run(project: Path) -> Session:
    return run_project(project, project / "w")


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Session]:
    """A project that has run once, for tests that only read."""
    folder = make_project(tmp_path_factory.mktemp("judged") / "project")
    return folder, run(folder)


def changed(project: Path, name: str, **lines: str) -> Path:
    """The project's policy with other conditions for some reasons."""
    policy = (project / "policy.toml").read_text("utf-8").splitlines()
    for reason, condition in lines.items():
        assert any(line.split("=")[0].strip() == reason for line in policy), reason
        policy = [
            f"{reason} = {condition}" if line.split("=")[0].strip() == reason else line for line in policy
        ]
    (project / name).write_text("\n".join(policy) + "\n", "utf-8")
    return project / name


def decisions(session: Session) -> dict[tuple[str, str], str]:
    with connect(session.root, session.head, session.schemas) as con:
        rows = con.execute("SELECT policy, record_id, status FROM decisions").fetchall()
    return {(section, record): status for section, record, status in rows if section in SECTIONS}


STRICTER = {
    "low_tier": '{ measure = "critiques.combined_tier", above = 1 }',
    "answer_too_short": '{ measure = "rules.response_characters", below = 160 }',
    "too_long": '{ measure = "rules.instruction_characters", above = 90 }',
}


def test_a_diff_foretells_what_a_run_decides(project: Path) -> None:
    session = run(project)
    stricter = changed(project, "stricter.toml", **STRICTER)
    with connect(session.root, session.head, session.schemas) as con:
        old, new = (read_policy(con, path, session.schemas) for path in (project / "policy.toml", stricter))
        same = compared(con, old, old, session.schemas)
        assert list(changes(con)) == []
        foretold = compared(con, old, new, session.schemas)
        changed_rows = pl.concat(changes(con))
    before = decisions(session)
    for totals in same:
        kept = [status for (section, _), status in before.items() if section == totals.section]
        assert (totals.records, totals.kept_a) == (len(kept), kept.count("kept"))

    leaves = changed_rows.filter(pl.col("status_a") == "kept", pl.col("status_b") != "kept")
    leaving = set(leaves.select("section", "record_id").iter_rows())
    assert {section for section, _ in leaving} >= {"gates.evolve", "gates.critique", "final"}
    assert sum(totals.leave for totals in foretold) == len(leaving)
    stricter.replace(project / "policy.toml")
    after = decisions(run(project))
    left = {key for key, status in before.items() if status == "kept" and after.get(key) != "kept"}
    assert left == leaving


def test_rules_are_counted_and_what_is_not_judged_yet_waits(project: Path) -> None:
    changed(project, "policy.toml", answer_too_short='{ measure = "rules.response_characters", below = 160 }')
    session = run(project)
    looser = changed(
        project, "looser.toml", answer_too_short='{ measure = "rules.response_characters", below = 1 }'
    )
    with connect(session.root, session.head, session.schemas) as con:
        old, new = (read_policy(con, path, session.schemas) for path in (project / "policy.toml", looser))
        found = {totals.section: totals for totals in compared(con, old, new, session.schemas)}
        (rule,) = by_rule(con, "gates.critique", "wait", 2)
        assert by_rule(con, "gates.critique", "wait", 0) == [Rule(rule.name, rule.records, ())]
        short = {
            record
            for (record,) in con.execute(
                "SELECT record_id FROM decisions WHERE policy = 'gates.critique' "
                "AND reasons = ['answer_too_short']"
            ).fetchall()
        }
    totals = found["gates.critique"]
    assert (totals.enter, totals.wait, totals.leave) == (0, len(short), 0)
    assert (rule.name, rule.records) == ("answer_too_short", len(short))
    assert set(rule.some) <= short
    assert len(rule.some) == 2
    # the other way round they leave
    with connect(session.root, session.head, session.schemas) as con:
        compared(con, new, old, session.schemas)
        for move in ("enter", "leave"):
            assert by_rule(con, "gates.critique", move, 1) == []


def test_every_condition_is_explained(judged: tuple[Path, Session]) -> None:
    _, session = judged
    policy = last_policy(session.root, session.head.recipe)
    assert policy is not None
    with connect(session.root, session.head, session.schemas) as con:
        # two of each kind of decision, since an explanation takes half a second
        kinds = con.execute(
            "SELECT min(record_id, 2) FROM decisions GROUP BY policy, status, reasons"
        ).fetchall()
        for id in sorted({id for (ids,) in kinds for id in ids}):
            verdicts = explained(con, policy, session.schemas, id)
            decided = con.execute("SELECT policy, status, reasons FROM decisions WHERE record_id = ?", [id])
            wanted = {p: (status, reasons) for p, status, reasons in decided.fetchall() if p in SECTIONS}
            assert {v.section: (v.status, list(v.reasons)) for v in verdicts} == wanted
            for verdict in verdicts:
                held = [found.reason for found in verdict.findings if found.holds]
                if verdict.status == "dropped":  # else by its conversation's earlier turn or a better answer
                    assert held == [
                        r for r in verdict.reasons if r not in ("earlier_turn", "not_best_answer")
                    ]
                elif verdict.status == "kept":
                    assert held == list(verdict.missing) == []
                else:
                    assert list(verdict.reasons) == list(verdict.missing)
                lengths = [
                    f.value for f in verdict.findings if f.condition.measure == "rules.response_characters"
                ]
                for length in lengths:
                    ((last,),) = con.execute(
                        "SELECT length(messages[-1].content) FROM conversations WHERE record_id = ?", [id]
                    ).fetchall()
                    assert length == last


def test_the_commands(project: Path, tmp_path: Path) -> None:
    session = run(project)
    stricter = changed(project, "stricter.toml", **STRICTER)
    where = ["-w", str(session.root)]

    def said(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*arguments, *where])
        assert done.exit_code == code, (done.output, done.exception)
        return done.output + (str(done.exception) if done.exception else "")

    out = tmp_path / "changes.parquet"
    told = said("policy", "diff", str(project / "policy.toml"), str(stricter), "-o", str(out))
    assert "low_tier" in told
    assert "leave; B drops them by" in told
    changes = pl.read_parquet(out)
    leaver = changes.filter(pl.col("section") == "final", pl.col("reasons_b").list.contains("low_tier"))
    record = leaver["record_id"][0]
    told = said("policy", "explain", record[:12])
    assert f"record {record}" in told
    assert "critiques.combined_tier" in told
    assert "above 1" in said("policy", "explain", record, "--policy", str(stricter))
    with connect(session.root, session.head, session.schemas) as con:
        ((document,),) = con.execute("SELECT document_id FROM documents LIMIT 1").fetchall()
    stricter.replace(project / "policy.toml")
    run(project)
    told = said("why", record)
    assert "  final  dropped" in told
    assert "answer_too_short  rules.response_characters = " in told or "low_tier  critiques" in told, told
    assert "is a document" in said("policy", "explain", document, code=1)
    assert "no record" in said("policy", "explain", "zz", code=1)


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ('low_tier = { measure = "critiques.nothing", above = 1 }', "measures there are"),
        ('low_tier = { measure = "labels.nothing", equals = "x" }', "measures there are"),
        ("low_tier = { above = 1 }", "measure"),
    ],
)
def test_a_wrong_policy_is_named(judged: tuple[Path, Session], line: str, remedy: str) -> None:
    project, session = judged
    wrong = changed(project, "wrong.toml", low_tier=line.partition("=")[2])
    done = CliRunner().invoke(
        app, ["policy", "diff", str(project / "policy.toml"), str(wrong), "-w", str(session.root)]
    )
    assert done.exit_code == 1
    assert "wrong.toml" in str(done.exception)
    assert remedy in str(done.exception)
