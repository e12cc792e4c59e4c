"""Forecasts against what the run then uses, with the stand-in model over the example seeds."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from projects import ROOT

from hydata.errors import BudgetError, TransientModelError
from hydata.forecast import Forecast, forecast
from hydata.models import Budget, Stats
from hydata.recipe import Recipe, load_recipe, table_schemas
from hydata.run import run_recipe
from hydata.session import Session
from hydata.warehouse import connect, read_head

SEEDS = "examples/seeds"
"""As a path that is the same wherever the repository lies: a file's name is part of its records' ids, and
these decide what is drawn for a sample."""
PRICED = "price = { input = 2, output = 10 }\n[models.first]"


@pytest.fixture(scope="module", autouse=True)
def _at_the_root() -> Iterator[None]:
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse that has the example seeds, to be copied: reading them takes longer than the rest."""
    root = tmp_path_factory.mktemp("ingested") / "w"
    recipe = load_recipe(ROOT / "examples" / "demo" / "recipe.toml", (SEEDS,))
    asyncio.run(run_recipe(root, recipe, until="ingest"))
    return root


@pytest.fixture
def root(ingested: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ingested, tmp_path / "w"))


@pytest.fixture
def priced(project: Path) -> Path:
    """The project with a price, and without the demo's choice of every second document."""
    change(project / "models.toml", "[models.first]", PRICED)
    change(project / "recipe.toml", "share = 0.4", "")
    return project


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def recipe_of(project: Path, *seeds: str) -> Recipe:
    return load_recipe(project / "recipe.toml", seeds or (SEEDS,))


def plan(root: Path, recipe: Recipe, sample: int) -> Forecast:
    return asyncio.run(forecast(root, recipe, sample=sample))


def run(root: Path, recipe: Recipe) -> Session:
    return asyncio.run(run_recipe(root, recipe))


def used(stats: Stats) -> tuple[float, float, float]:
    """Calls and tokens of a run, as if nothing had been in the journal."""
    return (
        stats.calls,
        stats.prompt_tokens + stats.found_prompt_tokens,
        stats.completion_tokens + stats.found_completion_tokens,
    )


def foretold(found: Forecast) -> tuple[float, float, float]:
    return found.total.calls, found.total.prompt_tokens, found.total.completion_tokens


def test_a_forecast_is_within_a_fifth_of_what_the_run_uses(priced: Path, root: Path) -> None:
    recipe = recipe_of(priced)
    found = plan(root, recipe, 40)
    assert found.sampled == 40 < found.rows
    assert 0 < found.error < 0.2
    session = run(root, recipe)
    assert foretold(found) == pytest.approx(used(session.stats), rel=0.2)
    # the bill of both together is that of a run without a forecast, but for what self-instruct tried in vain,
    # and for critiques: classifiers that learnt from other labels put a record into another family
    twice = session.ledger.groups.items()
    judged = sum(s.cost for (purpose, _), s in twice if purpose.startswith("critique/"))
    cost = session.stats.cost + found.spent.cost
    assert 0.8 * found.total.cost < cost < 1.2 * found.total.cost + judged
    assert session.stats.cached > 0.5 * found.spent.calls
    assert {line.step for line in found.lines} == {
        purpose.partition("/")[0] for purpose, _ in session.ledger.groups
    }


def test_only_ingest_the_journal_and_the_bill_stay_behind(
    priced: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = plan(root, recipe_of(priced), 10)
    head = read_head(root, "demo")
    assert set(head.nodes) == {"ingest"}
    shards = {path.relative_to(root).parts[1].split("-")[0] for path in root.glob("*/*/**/*.parquet")}
    assert shards == {"ingest"}
    with connect(root, head, table_schemas()) as con:
        (bill,) = con.execute("SELECT sum(calls), sum(prompt_tokens) FROM usage").fetchall()
    assert bill == (found.spent.calls, found.spent.prompt_tokens)
    assert not list(tmp_path.glob("hydata-plan-*"))


def test_a_sample_of_everything_is_the_run_itself(priced: Path, root: Path) -> None:
    recipe = recipe_of(priced)
    recipe = recipe.model_copy(
        update={
            "generate": recipe.generate.model_copy(update={"max_documents": 20, "share": 0.9}),
            "label": recipe.label.model_copy(update={"max_per_shard": 4}),
            "evolve": recipe.evolve.model_copy(update={"max_per_shard": 9}),
        }
    )
    found = plan(root, recipe, 1000)
    assert found.sampled == found.rows
    assert (found.error, found.absent) == (0, ())
    assert foretold(found) == used(found.spent)
    assert found.total.cost == pytest.approx(found.spent.cost)
    session = run(root, recipe)
    assert (session.stats.calls, session.stats.sent) == (found.spent.calls, 0)


def test_a_forecast_from_the_journal_is_the_same_and_costs_nothing(priced: Path, root: Path) -> None:
    recipe = recipe_of(priced)
    first = plan(root, recipe, 12)
    again = plan(root, recipe, 12)
    assert foretold(again) == foretold(first)
    assert again.error == first.error
    assert (again.spent.sent, again.spent.cost) == (0, 0)
    assert again.hours > 0  # by the seconds that the journal remembers


def test_what_does_not_grow_with_the_rows_is_reckoned_apart(priced: Path, root: Path) -> None:
    recipe = recipe_of(priced)
    recipe = recipe.model_copy(
        update={
            "ingest": recipe.ingest.model_copy(update={"shard_rows": 24}),
            "generate": recipe.generate.model_copy(update={"max_documents": 18}),
            "label": recipe.label.model_copy(update={"share": 1.0, "max_per_shard": 6}),
            "evolve": recipe.evolve.model_copy(update={"max_per_shard": 8}),
            "self_instruct": recipe.self_instruct.model_copy(update={"count": 20}),
        }
    )
    found = plan(root, recipe, 24)
    assert found.sampled < found.rows
    session = run(root, recipe)
    for step in ("generate", "label", "evolve", "self_instruct"):
        calls = sum(line.calls for line in found.lines if line.step == step)
        real = sum(s.calls for (purpose, _), s in session.ledger.groups.items() if purpose.startswith(step))
        assert calls == pytest.approx(real, rel=0.15), step
    assert foretold(found) == pytest.approx(used(session.stats), rel=0.2)


def test_existing_sets_are_part_of_it(priced: Path, tmp_path: Path) -> None:
    rows = [
        {"instruction": f"Explain in a few words what the number {n} is used for.", "output": ""}
        if n % 3
        else {
            "instruction": f"Tell me something about the town number {n}.",
            "output": f"The town with the number {n} lies by a river, and its {n} inhabitants like it well.",
        }
        for n in range(120)
    ]
    (tmp_path / "set.json").write_text(json.dumps(rows))
    pairs = [
        {"prompt": f"What is {n} and one?", "chosen": f"It is {n + 1}, of course.", "rejected": "Who knows?"}
        for n in range(30)
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    recipe = recipe_of(priced, str(tmp_path / "set.json"), str(tmp_path / "pairs.jsonl"))
    found = plan(tmp_path / "w", recipe, 60)
    assert found.rows == 180
    assert foretold(found) == pytest.approx(used(run(tmp_path / "w", recipe).stats), rel=0.2)


def test_a_sample_too_small_for_some_kinds_names_them(priced: Path, root: Path) -> None:
    found = plan(root, recipe_of(priced), 1)
    assert found.sampled == 1
    assert len(found.absent) > 4
    assert {kind.split()[0] for kind in found.absent} <= {"web", "qa", "code", "book"}


def test_without_seeds_there_is_nothing_to_ask(priced: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    found = plan(tmp_path / "w", recipe_of(priced, str(tmp_path / "none")), 10)
    assert (found.rows, found.sampled, found.lines, found.hours, found.error) == (0, 0, (), 0, 0)


def test_hours_follow_from_seconds_and_slots(priced: Path, root: Path) -> None:
    change(priced / "models.toml", "delay = 0", "delay = 0.05\nconcurrency = 4")
    found = plan(root, recipe_of(priced), 1000)
    # every request takes at least the stand-in's delay; both models share the four slots
    assert found.hours * 3600 >= found.spent.sent * 0.05 / 4
    assert found.hours == pytest.approx(sum(line.hours for line in found.lines))
    assert found.hours * 3600 * 4 == pytest.approx(found.spent.seconds)


def test_the_budget_holds_for_the_sample_as_well(priced: Path, root: Path) -> None:
    recipe = recipe_of(priced).model_copy(update={"budget": Budget(tokens=3000)})
    with pytest.raises(BudgetError, match=r"budget\.tokens = 3000"):
        plan(root, recipe, 40)
    with connect(root, read_head(root, "demo"), table_schemas()) as con:
        ((tokens,),) = con.execute("SELECT sum(prompt_tokens + completion_tokens) FROM usage").fetchall()
    assert 0 < tokens <= 3000


def test_a_dead_model_ends_it_as_it_ends_a_run(priced: Path, root: Path) -> None:
    change(priced / "models.toml", "delay = 0", "delay = 0\nfail_every = 1\nattempts = 2")
    with pytest.raises(TransientModelError):
        plan(root, recipe_of(priced), 10)


def test_on_the_command_line(priced: Path, root: Path) -> None:
    recipe = priced / "recipe.toml"
    recipe.write_text(recipe.read_text() + "\n[budget]\ntokens = 60000\n")

    def hydata(*options: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from hydata.cli import main; sys.argv[0] = 'hydata'; main()"
        command = [sys.executable, "-W", "error", "-c", code, "plan", str(recipe), SEEDS]
        command += ["--warehouse", str(root), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = hydata("--sample", "3")
    assert done.returncode == 0, done.stderr
    for said in ("the whole recipe, by 3 of", "critique", "± ", "standard error", "is used up by"):
        assert said in done.stdout
    numbers = json.loads(hydata("--sample", "3", "--json").stdout)
    assert numbers["sampled"] == 3
    assert numbers["total"]["calls"] == pytest.approx(sum(line["calls"] for line in numbers["lines"]))
    assert numbers["spent"]["sent"] == 0
    assert hydata("--sample", "0").returncode == 2


def test_targets_are_counts_and_rounds_are_calls(priced: Path, root: Path) -> None:
    change(priced / "recipe.toml", "[evolve]\n", "[evolve]\nrounds = 2\n")
    targets = "[generalise]\nmax_per_parent = 20\nattempts = 20\ntargets = [{ count = 4 }]\n"
    (priced / "recipe.toml").write_text((priced / "recipe.toml").read_text() + targets)
    recipe = recipe_of(priced)
    found = plan(root, recipe, 10_000)
    assert found.sampled == found.rows
    session = run(root, recipe)
    assert foretold(found) == used(session.stats)
    assert "generalise" in {line.step for line in found.lines}
    part = plan(root, recipe, 40)
    assert sum(line.calls for line in part.lines if line.step == "generalise") >= 4
