"""The deployments of ``prefect.yaml``, run by a worker of a real Prefect server with the stand-in model."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from hydata.errors import TerminalModelError, TransientModelError, WarehouseError
from hydata.recipe import load_recipe
from hydata.run import run_recipe
from hydata.warehouse import Head, locked, read_head

if TYPE_CHECKING:
    from conftest import Prefect

pytestmark = pytest.mark.prefect

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "seeds"

RECIPE = f"""
name = "Small_One"
models = "{{models}}"
prompts = "{ROOT}/prompts"
taxonomy = "{ROOT}/taxonomy"
[ingest]
shard_rows = 4
[label]
share = 1.0
[respond]
samples = 1
"""

# every 15th request fails, and the client itself tries only once: tasks have to
MODELS = """
[endpoints.local]
engine = "standin"
concurrency = 4
{faults}
[models.one]
endpoint = "local"
[models.two]
endpoint = "local"
temperature = 0.3
[roles]
generator.models = {{ one = 1 }}
evolver.models = {{ one = 1 }}
responder.models = {{ one = 1, two = 1 }}
critic.models = {{ one = 1 }}
labeller.models = {{ one = 1 }}
"""
FAULTS = "attempts = 1\nfail_every = 15"

POLICY = """
[gates.evolve]
requires = ["rules", "duplicates"]
drop.duplicate = { measure = "duplicates.keep", equals = false }
[gates.respond]
requires = ["rules", "duplicates"]
also = ["gates.evolve"]
[gates.critique]
requires = ["rules", "duplicates"]
also = ["gates.evolve"]
[final]
requires = ["rules", "duplicates", "critiques"]
also = ["gates.evolve"]
drop.low_tier = { measure = "critiques.tier", above = 3 }
"""


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder with seeds, and one recipe over a model that fails now and then and one that does not."""
    (tmp_path / "seeds").mkdir()
    for seed in ("web/en_heat_pump.html", "web/zh_dujiangyan.html", "qa/word_problems.csv"):
        shutil.copy(EXAMPLES / seed, tmp_path / "seeds")
    for name, faults in (("steady", ""), ("faulty", FAULTS)):
        (tmp_path / f"{name}-models.toml").write_text(MODELS.format(faults=faults))
        (tmp_path / f"{name}.toml").write_text(RECIPE.format(models=f"{name}-models.toml"))
    (tmp_path / "policy.toml").write_text(POLICY)
    return tmp_path


def rows(warehouse: Path, query: str) -> list[tuple]:
    with duckdb.connect(warehouse / "hydata.duckdb", read_only=True) as con:
        return con.execute(query).fetchall()


def jobs(head: Head, before: Head | None = None) -> Counter[str]:
    """How many jobs of each node were done between two heads."""
    done = Counter({id: len(state.done) for id, state in head.nodes.items()})
    for id, state in before.nodes.items() if before else ():
        done[id] -= len(state.done.keys() & head.nodes[id].done.keys())
    return +done


CONVERSATIONS = "SELECT record_id, messages FROM conversations ORDER BY record_id"


def test_both_deployments_stand_as_prefect_yaml_says(prefect: Prefect) -> None:
    nightly = prefect.client.read_deployment_by_name("nightly/nightly")
    weekly = prefect.client.read_deployment_by_name("weekly-export/weekly-export")
    crons = [(d.schedules[0].schedule.cron, d.schedules[0].schedule.timezone) for d in (nightly, weekly)]
    assert crons == [("0 2 * * *", "UTC"), ("0 4 * * 0", "UTC")]
    assert nightly.global_concurrency_limit.limit == 1
    assert nightly.work_pool_name == weekly.work_pool_name == "hydata"
    assert weekly.parameters["recipe"] == load_recipe(ROOT / nightly.parameters["recipe"]).name
    assert str(ROOT) not in (ROOT / "prefect.yaml").read_text()


def test_nightly_runs_only_what_is_new_and_its_mix_is_exported(prefect: Prefect, workplace: Path) -> None:
    warehouse = workplace / "warehouse"
    parameters = {
        "recipe": str(workplace / "faulty.toml"),
        "warehouse": str(warehouse),
        "seeds": [str(workplace / "seeds")],
        "retry_delays": [0] * 20,
    }

    # the first night; meanwhile the command line's way to do the same
    first = prefect.start("nightly/nightly", **parameters)
    direct = workplace / "direct"
    asyncio.run(run_recipe(direct, load_recipe(workplace / "steady.toml", (str(workplace / "seeds"),))))
    run = prefect.wait(first)
    assert run.state is not None
    assert run.state.is_completed(), run.state.message

    head = read_head(warehouse, "Small_One")
    tasks = prefect.tasks(first, jobs(head).total())
    assert Counter(t.name.split(": ")[0] for t in tasks) == jobs(head), "one task a job, named after its node"
    assert jobs(head)["respond"] > 1, "map stages run by shards"
    assert all(t.state.is_completed() for t in tasks)
    assert any(t.run_count > 1 for t in tasks), "no task met a transient error"

    for table in ("documents", "responses", "decisions", "mixes"):
        assert rows(warehouse, f"SELECT count(*) FROM {table}")[0][0] > 0, table
    made = rows(warehouse, CONVERSATIONS)
    assert made == rows(direct, CONVERSATIONS)

    artifacts = prefect.artifacts(first)
    assert artifacts["progress-small-one"].data == 100
    kept = rows(warehouse, "SELECT count(*) FROM decisions WHERE policy = 'final' AND status = 'kept'")[0][0]
    assert f"| kept | {kept} |" in artifacts["funnel-small-one"].data

    # one seed more: its documents, what comes of them, and the stages that look at everything
    written = {path: path.stat().st_mtime_ns for path in warehouse.rglob("*.parquet")}
    shutil.copy(EXAMPLES / "web" / "en_sourdough.html", workplace / "seeds")
    second = prefect.start("nightly/nightly", **parameters)
    assert prefect.wait(second).state.is_completed()
    later = read_head(warehouse, "Small_One")
    more = prefect.tasks(second, jobs(later, head).total())
    assert Counter(t.name.split(": ")[0] for t in more) == jobs(later, head)
    assert jobs(later, head)["ingest"] == jobs(later, head)["generate"] == 1
    assert not {t.name for t in tasks} & {t.name for t in more}
    assert dict(made).items() < dict(rows(warehouse, CONVERSATIONS)).items()
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())

    # a warehouse that someone else works on is left alone, with a word on who that is; exports only read
    with locked(warehouse):
        refused = prefect.start("nightly/nightly", **parameters)
        named = {"warehouse": str(warehouse), "recipe": "Small_One"}
        export = prefect.start("weekly-export/weekly-export", **named)
        state = prefect.wait(refused).state
        assert state.is_failed()
        assert f"WarehouseError: {warehouse}: locked by process {os.getpid()} on" in state.message
        assert prefect.wait(export).state.is_completed()

    (exported,) = (warehouse / "exports").glob("Small_One-main-*.jsonl")
    lines = [json.loads(line)["messages"] for line in exported.read_text(encoding="utf-8").splitlines()]
    mixed = rows(warehouse, "SELECT count(*) FROM mixes WHERE mix = 'main' AND weight > 0")[0][0]
    assert len(lines) == mixed > 0
    for messages in lines:
        assert [m["role"] for m in messages] == ["system", *["user", "assistant"] * (len(messages) // 2)]
        assert all(m["content"].strip() for m in messages)
    assert f"{mixed:,} rows" in prefect.artifacts(export)["export"].data


@pytest.mark.usefixtures("prefect")
def test_only_an_unreachable_model_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    from prefect.states import Failed

    from flows.nightly import is_transient

    errors = (TransientModelError("busy"), TerminalModelError("bad_request", "no"), WarehouseError("locked"))
    answers = [asyncio.run(is_transient(None, None, Failed(data=error))) for error in errors]
    assert answers == [True, False, False]
