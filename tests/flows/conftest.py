"""A real Prefect on loopback: server, worker, the deployments of ``prefect.yaml``. All of it lives in one
temporary folder and is gone afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import pytest

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import Artifact, FlowRun, TaskRun

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
"""Seconds after which something is taken to hang; a server alone needs up to 25 on two busy cores."""

T = TypeVar("T")


class Prefect:
    """What a test asks of the server and its worker."""

    def __init__(self, client: SyncPrefectClient, home: Path) -> None:
        self.client = client
        self._home = home

    def start(self, deployment: str, **parameters: object) -> UUID:
        """Trigger a run of a deployment, named ``flow/deployment``."""
        id = self.client.read_deployment_by_name(deployment).id
        return self.client.create_flow_run_from_deployment(id, parameters=parameters).id

    def wait(self, run: UUID) -> FlowRun:
        """The flow run, once it ended."""

        def ended() -> FlowRun | None:
            found = self.client.read_flow_run(run)
            return found if found.state and found.state.is_final() else None

        return until(ended, f"flow run {run} to end", self._home)

    def tasks(self, run: UUID, count: int) -> list[TaskRun]:
        """The ``count`` task runs of a flow run; the server records them a moment after they ended."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        def ended() -> list[TaskRun] | None:
            of_run = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
            found: list[TaskRun] = []
            while more := self.client.read_task_runs(flow_run_filter=of_run, limit=200, offset=len(found)):
                found += more  # 200 are the most that one request gives
            done = len(found) >= count and all(t.state and t.state.is_final() for t in found)
            return found if done else None

        return until(ended, f"{count} task runs of flow run {run} to be recorded", self._home)

    def artifacts(self, run: UUID) -> dict[str, Artifact]:
        """The artifacts of a flow run by key."""
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

        found = self.client.read_artifacts(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run])))
        return {artifact.key: artifact for artifact in found if artifact.key}


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server with both deployments, made by ``prefect deploy --all``, and a worker that runs them."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}/api"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
        # else a test at 02:00 would see the real nightly run begin, in the real warehouse
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "0.5",
        "DO_NOT_TRACK": "1",
    }

    @contextmanager
    def running(folder: Path, *arguments: str) -> Iterator[None]:
        """``prefect ...`` in the background; its output goes to ``<home>/<first argument>.log``."""
        with (home / f"{arguments[0]}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *arguments],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def command(*arguments: str) -> None:
        """``prefect ...`` in the repository, to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "prefect", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, f"prefect {' '.join(arguments)}:\n{done.stdout}{done.stderr}{logs(home)}"

    with pytest.MonkeyPatch.context() as patch:
        # for the client in this process: Prefect makes its home as soon as it is imported
        patch.setenv("PREFECT_HOME", str(home))
        from prefect.client.orchestration import SyncPrefectClient

        try:
            with running(ROOT, "server", "start", "--host", "127.0.0.1", "--port", port):
                until(lambda: answers(f"{url}/health"), "the server to answer", home)
                command("work-pool", "create", "hydata", "--type", "process")
                with running(home, "worker", "start", "--pool", "hydata"):
                    command("--no-prompt", "deploy", "--all")
                    with SyncPrefectClient(api=url) as client:
                        yield Prefect(client, home)
        finally:
            left = strays(f"PREFECT_API_URL={url}")
            for process in left:
                os.kill(process, signal.SIGKILL)
        assert not left, f"these processes outlived server and worker: {left}"


def until(found: Callable[[], T | None], what: str, home: Path) -> T:
    """Ask again and again, till there is an answer."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        if (answer := found()) is not None:
            return answer
        time.sleep(0.2)
    raise AssertionError(f"waited {PATIENCE:g} s for {what}\n{logs(home)}")


def answers(url: str) -> bool | None:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def logs(home: Path) -> str:
    return "\n".join(f"--- {log}\n{log.read_text()[-8000:]}" for log in sorted(home.glob("*.log")))


def strays(setting: str) -> dict[int, str]:
    """Processes whose environment has this setting, with their commands."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if setting.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended meanwhile, or is another user's
            continue
    return found
