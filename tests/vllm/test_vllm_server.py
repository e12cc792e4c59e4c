"""A real vLLM server on the CPU, started and kept by hydata: `make test-vllm`.

A server takes 30 s to start on an idle machine, so there are two: one kept by `hydata models up`, which is
used by others and at last killed, and one of a test that kills the server instead.
"""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from projects import ROOT
from pydantic import BaseModel

from hydata.models import Call, Sampling, load_models, open_models
from hydata.recipe import load_recipe
from hydata.run import run_recipe
from hydata.schema import Message
from hydata.session import Session
from hydata.warehouse import connect

pytestmark = pytest.mark.vllm

HYDATA = "from hydata.cli import main; main()"
PATIENCE = 240
SEEDS = (
    "books/energy_in_living_things.txt",
    "qa/word_problems.csv",
    "web/en_heat_pump.html",
    "web/en_longitude.html",
)


class Answer(BaseModel):
    colour: Literal["red", "green", "blue"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of a vLLM server with a free port, all of whose seeds are used, and short answers."""
    environment = os.environ.get("HYDATA_VLLM")
    if not environment:
        pytest.fail("HYDATA_VLLM does not name vLLM's environment; `make test-vllm` builds one and sets it")
    folder = tmp_path_factory.mktemp("vllm") / "project"
    shutil.copytree(ROOT / "examples" / "vllm", folder)
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    edit(
        folder / "models.toml",
        ("../../.venv-vllm", environment),
        ("port = 8017", f"port = {port}"),
        ("context = 4096", "context = 2048"),
        ("{ smol = 1, smol-careful = 1 }", "{ smol = 1 }"),
    )
    edit(
        folder / "recipe.toml",
        ("../../", f"{ROOT}/"),
        ("share = 0.55", "share = 1.0"),
        ("count = 8", "count = 24"),
        ("max_tokens = 160\n\n[critique]", "max_tokens = 60\n\n[critique]"),
        ("characters = 400\nmax_tokens = 160", "characters = 300\nmax_tokens = 80"),
    )
    return folder


def command(project: Path, name: str) -> list[str]:
    return [sys.executable, "-c", HYDATA, "models", name, "--models", str(project / "models.toml")]


@pytest.fixture(scope="module")
def served(project: Path) -> Iterator[Path]:
    """The project while `hydata models up` keeps its server, and is then killed: nothing may be left."""
    up = subprocess.Popen(command(project, "up"), cwd=project, stdout=subprocess.PIPE, text=True)
    pids = {}
    try:
        assert "127.0.0.1" in up.stdout.readline()
        pids = processes(project)
        assert len(pids) >= 3  # server, engine, worker
        yield project
        assert processes(project) == pids  # others used it and left it alone
    finally:
        up.kill()
        up.communicate()
    wait_until(lambda: gone(pids), "all of the server's processes gone")


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text()
    for old, new in changes:
        assert old in text, f"{file}: {old}"
        text = text.replace(old, new)
    file.write_text(text)


def processes(project: Path) -> dict[int, str]:
    """The server's processes by pid: vLLM names its children anew, but they share its session."""
    config = load_models(project / "models.toml").endpoints["vllm"]
    sessions, found = set(), {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            command = (stat.parent / "cmdline").read_bytes().decode().split("\0")
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == "Z":
            continue
        if str(config.port) in command and command[1:3] == ["-m", "vllm.entrypoints.openai.api_server"]:
            sessions.add(session)
        found[int(stat.parent.name)] = session, " ".join(command)
    return {pid: command for pid, (session, command) in found.items() if session in sessions}


def gone(pids: dict[int, str]) -> bool:
    return not any(Path(f"/proc/{pid}/cmdline").exists() for pid in pids)


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.2)


def run(project: Path, root: Path) -> Session:
    seeds = tuple(str(ROOT / "examples" / "seeds" / seed) for seed in SEEDS)
    return asyncio.run(run_recipe(root, load_recipe(project / "recipe.toml", seeds)))


def test_samples_schemas_and_a_server_killed_amid_calls(project: Path, tmp_path: Path) -> None:
    def ask(text: str, **changes: object) -> Call:
        return Call(**{"messages": (Message("user", text),), "sampling": Sampling(max_tokens=40), **changes})

    async def main() -> None:
        journal = tmp_path / "journal.sqlite"
        async with open_models(load_models(project / "models.toml"), journal) as models:
            model = models.route("responder", "x")
            four = await models.samples(model, ask("Tell me of a lake."), 4)
            assert len({reply.text for reply in four}) > 1
            assert models.stats.sent == 1
            six = await models.samples(model, ask("Tell me of a lake."), 6)
            assert [reply.text for reply in six[:4]] == [reply.text for reply in four]
            assert (models.stats.sent, models.stats.replies) == (2, 6)

            answer, _ = await models.structured(model, ask("Write a poem about the sea."), Answer)
            assert answer.colour in ("red", "green", "blue")

            first = processes(project)
            before = models.stats.replies
            calls = [
                asyncio.create_task(models.complete(model, ask(f"Say {i} in words."))) for i in range(48)
            ]
            while models.stats.replies < before + 8:
                await asyncio.sleep(0.05)
            server = next(pid for pid, command in first.items() if "api_server" in command)
            os.kill(server, signal.SIGKILL)
            replies = await asyncio.gather(*calls)
            assert len(replies) == 48
            assert models.stats.replies == before + 48  # none was asked for again that had an answer
            assert models.stats.retries > 0
            assert gone(first)
            second = processes(project)
            assert second
        assert gone(second)

    asyncio.run(main())
    log = (tmp_path / "vllm.log").read_text()
    assert log.count("hydata starts vLLM") == 2


def test_check_reports_what_it_can_do(served: Path) -> None:
    check = subprocess.run(command(served, "check"), cwd=served, capture_output=True, text=True)
    assert check.returncode == 0, check.stderr
    row = next(line.split() for line in check.stdout.splitlines() if line.startswith("vllm"))
    assert row[:6] == ["vllm", "vllm", "smollm2-135m-instruct", "2,048", "yes", "yes"]
    assert float(row[6]) > 0


def test_the_four_steps_and_a_second_run_that_asks_nothing(served: Path, tmp_path: Path) -> None:
    session = run(served, tmp_path / "w")
    with connect(session.root, session.head, session.schemas) as con:
        # What it is asked for at each step, not what comes of it: so small a model's evolved instructions may
        # all be refused, and vLLM's sums, and so its words, differ with what else is in its batch.
        models = dict(
            con.execute(
                "SELECT step, list(DISTINCT model) FROM usage WHERE sent > 0 GROUP BY step"
            ).fetchall()
        )
        (generated,) = con.execute("SELECT count(*) FROM conversations WHERE step = 'generate'").fetchone()
        answers, samples = con.execute(
            "SELECT count(*), count(*) FILTER (sample_index = 1) FROM responses"
        ).fetchone()
        (critiques,) = con.execute("SELECT count(*) FROM critiques").fetchone()
    assert set(models) >= {"generate", "evolve", "self_instruct", "respond", "critique"}
    assert generated > 0
    for (model,) in models.values():
        assert re.fullmatch(r"smollm2-135m-instruct@[0-9a-f]{16} \(vllm \S+\)", model)
    assert critiques > 0
    assert samples > 0
    assert answers > samples
    stats = session.ledger.total
    assert stats.calls == stats.replies + stats.cached + stats.refused
    assert stats.replies > answers  # every one of them was really given
    assert stats.sent < stats.calls  # several answers by one request
    assert stats.completion_tokens > stats.replies

    again = run(served, tmp_path / "w")
    assert again.ledger.total.calls == 0
