"""Yields: the figures of a small run equal those counted by hand, row by row."""

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import polars as pl
import pytest
from projects import run_project

from hydata.recipe import table_schemas
from hydata.schema import USAGE, Conversation, Message, Reject, conversations_frame, rejects_frame
from hydata.session import Session
from hydata.warehouse import connect, create_view, write_frame
from hydata.yields import STEPS, Failures, Yield, failures, wilson, yields

SCHEMAS = table_schemas()


def made(step: str, prompt: str | None, text: str, *parents: Conversation) -> Conversation:
    ids = tuple(p.record_id for p in parents)
    return Conversation(step, (Message("user", text),), parent_ids=ids, prompt_id=prompt, model="m")


def test_an_accepted_row_counts_for_every_prompt_in_its_lineage(tmp_path: Path) -> None:
    #   a ──▶ a1 ──▶ x (kept)      a ──▶ y (kept)      b ──▶ z (dropped)      a + b ──▶ s ──▶ t (kept)
    a, b = made("generate", "generate/g", "a"), made("generate", "generate/g", "b")
    a1 = made("evolve", "evolve/e", "a1", a)
    s = made("self_instruct", "self_instruct/s", "s", a, b)
    x, y, z, t = (
        made("respond", None, name, parent) for name, parent in zip("xyzt", (a1, a, b, s), strict=True)
    )
    frames = {
        "conversations": conversations_frame([a, b, a1, s, x, y, z, t]),
        "decisions": pl.DataFrame(
            [
                *((c.record_id, "final", "kept", []) for c in (x, y, t)),
                (z.record_id, "final", "dropped", ["low_tier"]),
                (a.record_id, "gates.respond", "kept", []),
            ],
            schema=SCHEMAS["decisions"],
            orient="row",
        ),
        "rejects": rejects_frame(
            [
                Reject("generate", "not_sampled", record_id="d0"),  # no call was made
                Reject("generate", "copied", record_id="d1", prompt_id="generate/g", model="m"),
                Reject("generate", "truncated", record_id="d2", prompt_id="generate/g", model="m"),
                Reject("generate", "truncated", record_id="d3", prompt_id="generate/g", model="m"),
                Reject("evolve", "drifted", record_id="b", prompt_id="evolve/dear", model="m"),
                Reject("critique", "unparseable", record_id="x", prompt_id="critique/general", model="m"),
                Reject("label", "unparseable", record_id="a", prompt_id="label/all", model="n"),
                Reject("label", "not_sampled", record_id="b"),
            ]
        ),
        "usage": pl.DataFrame(
            [
                {"run": run, "recipe": recipe, "step": prompt.split("/")[0], "prompt": prompt, "model": "m"}
                | {"calls": calls, "prompt_tokens": tokens, "completion_tokens": 1}
                for run, recipe, prompt, calls, tokens in (
                    ("1", "main", "generate/g", 4, 399),
                    ("2", "main", "generate/g", 1, 99),
                    ("2", "main", "evolve/e", 1, 9),
                    ("2", "main", "evolve/dear", 1, 999),
                    ("2", "main", "respond", 4, 39),
                    ("2", "main", "critique/general", 4, 39),
                    ("3", "other", "respond", 4, 39),
                )
            ],
            schema=USAGE,
        ),
    }
    with duckdb.connect() as con:
        for name, schema in {**SCHEMAS, "usage": USAGE}.items():
            create_view(con, name, schema, [])
            if name in frames:
                write_frame(tmp_path / f"{name}.parquet", frames[name])
                create_view(con, name, schema, [tmp_path / f"{name}.parquet"])
        found, judges = yields(con, "main"), failures(con, "main")
    assert judges == [
        Failures("label", "label/all", "n", 0, 0, 1, "unparseable", 1),
        Failures("critique", "critique/general", "m", 4, 40, 1, "unparseable", 1),
    ]
    assert found == [
        Yield("generate", "generate/g", "m", 5, 500, 2, 3, "truncated", 2, 3, 2),
        Yield("evolve", "evolve/e", "m", 1, 10, 1, 0, None, 0, 1, 1),
        Yield("evolve", "evolve/dear", "m", 1, 1000, 0, 1, "drifted", 1, 0, 0),
        Yield("self_instruct", "self_instruct/s", "m", 0, 0, 1, 0, None, 0, 1, 1),
        Yield("respond", "respond", "m", 4, 40, 4, 0, None, 0, 3, 3),
    ]
    assert found[0].per_thousand == 6
    assert found[0].rate == 0.4
    assert found[3].per_thousand is None


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # of R's prop.test(correct = FALSE)
    [
        (0, 0, 0, 1),
        (0, 10, 0, 0.2775),
        (10, 10, 0.7225, 1),
        (3, 10, 0.1078, 0.6032),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilsons_interval(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_a_small_runs_yields_are_those_counted_by_hand(project: Path, tmp_path: Path) -> None:
    session = run_project(project, tmp_path / "w")
    with connect(session.root, session.head, session.schemas) as con:
        found = yields(con, session.head.recipe)
        rows = {
            row["record_id"]: row for row in con.sql("SELECT * FROM conversations").pl().iter_rows(named=True)
        }
        kept = [
            id
            for (id,) in con.sql(
                "SELECT record_id FROM decisions WHERE policy = 'final' AND status = 'kept'"
            ).fetchall()
        ]
        rejects = con.sql(
            "SELECT stage, prompt_id, model, reason FROM rejects WHERE model IS NOT NULL"
        ).fetchall()
        # what no model was asked for, and what was: nothing asked for is missing from the account
        unaccounted = con.sql(
            "SELECT stage, reason FROM rejects "
            "WHERE model IS NULL AND stage IN ('generate', 'evolve', 'respond')"
        ).fetchall()
    assert {reason for _, reason in unaccounted} <= {"not_sampled", "no_prompt", "multi_turn"}

    accepted: dict[tuple, set] = defaultdict(set)
    useful: dict[tuple, set] = defaultdict(set)

    def climb(id: str, of: str) -> None:
        row = rows[id]
        if row["step"] != "dataset":
            key = (row["step"], row["prompt_id"] or row["step"], row["model"] or "")
            accepted[key].add(of)
            useful[key].add(id)
        for parent in row["parent_ids"]:
            climb(parent, of)

    for id in kept:
        climb(id, id)
    counts = Counter(
        (row["step"], row["prompt_id"] or row["step"], row["model"] or "") for row in rows.values()
    )
    failed = Counter((stage, prompt, model) for stage, prompt, model, _ in rejects)
    spent = {
        (purpose.partition("/")[0], purpose, model): (s.calls, s.prompt_tokens + s.completion_tokens)
        for (purpose, model), s in session.ledger.groups.items()
    }
    assert len(found) > 10
    for y in found:
        key = (y.step, y.prompt, y.model)
        assert (y.calls, y.tokens) == spent.get(key, (0, 0))  # what is extracted of Q&A asks no model
        assert (y.made, y.rejected) == (counts[key], failed[key])
        assert (y.accepted, y.useful) == (len(accepted[key]), len(useful[key]))
        # one run, nothing continued: each call made a record or a reject
        assert y.calls == y.attempts or key not in spent
        assert y.useful <= y.made
    assert {(y.step, y.prompt, y.model) for y in found} >= set(counts)
    steps = [y.step for y in found]
    assert steps == sorted(steps, key=list(STEPS).index)

    command = [sys.executable, "-m", "hydata.cli", "yield", "-w", str(session.root)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found[0].prompt[:20] in said
    told = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert [(t["prompt"], t["accepted"], t["rejected"]) for t in told if "accepted" in t] == [
        (y.prompt, y.accepted, y.rejected) for y in found
    ]
    judged = [t for t in told if "accepted" not in t]
    assert {t["step"] for t in judged} == {"label", "critique"}
    assert [(t["prompt"], t["calls"]) for t in judged] == [
        (purpose, s.calls)
        for step in ("label", "critique")
        for (purpose, _), s in sorted(session.ledger.groups.items())
        if purpose.startswith(f"{step}/")
    ]
    assert judged[0]["prompt"][:14] in said


def test_pairs_made_from_samples_change_no_decision(project: Path, tmp_path: Path) -> None:
    def decided(session: Session) -> list:
        with connect(session.root, session.head, session.schemas) as con:
            return con.sql("SELECT record_id, policy, status, reasons FROM decisions ORDER BY ALL").fetchall()

    first = run_project(project, tmp_path / "w")
    with connect(first.root, first.head, first.schemas) as con:
        pairs = con.sql("SELECT * FROM preferences").pl()
        kept = con.sql("SELECT record_id FROM decisions WHERE policy = 'final' AND status = 'kept'").pl()
    assert pairs.height > 0
    assert set(pairs["source"]) == {"samples"}
    assert set(pairs["chosen_id"]) <= set(kept["record_id"])
    # what is added later is decided with the pairs of the first run there
    recipe = project / "recipe.toml"
    recipe.write_text(recipe.read_text() + "\n[prefer]\nmax_pairs = 0\n")
    without = run_project(project, tmp_path / "without")
    assert decided(first) == decided(without)
    second = run_project(project, first.root)
    assert decided(second) == decided(first)
    command = [sys.executable, "-m", "hydata.cli", "export", "--preferences", "-w"]
    none = subprocess.run([*command, str(second.root)], capture_output=True, text=True, check=False)
    assert none.returncode == 3
    assert "no preference pairs here" in none.stderr
