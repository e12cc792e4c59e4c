"""The nightly run: what ``hydata run`` does, as a flow with one task a job.

Every task is a coroutine on the flow's own event loop, so that all of them share the session: one lock,
one model client with its limits, one pool of processes for ingest. The files in the warehouse tell what
is done and the journal keeps every reply, so Prefect keeps no results and caches nothing; a run
that was stopped or failed is resumed by the next one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from prefect import State, Task, flow, get_run_logger, task
from prefect.artifacts import acreate_markdown_artifact, acreate_progress_artifact, aupdate_progress_artifact
from prefect.client.schemas.objects import TaskRun
from pydantic import Field, NonNegativeFloat, PositiveInt

from hydata.errors import TransientModelError
from hydata.recipe import load_recipe
from hydata.report import funnel
from hydata.session import Job, Result, Session, Work, open_session
from hydata.warehouse import connect

RetryDelays = Annotated[tuple[NonNegativeFloat, ...], Field(max_length=50)]  # Prefect takes no more
Report = Callable[[str, float], Awaitable[None]]


@flow(name="nightly", persist_result=False)
async def nightly(
    recipe: Path,
    warehouse: Path = Path("warehouse"),
    seeds: tuple[str, ...] = (),
    shards_in_flight: PositiveInt = 4,
    retry_delays: RetryDelays = (60, 600, 1800),
) -> None:
    """Do all pending work of a recipe: new seeds, new prompts, what earlier runs left unfinished.

    Args:
        recipe: The recipe file. Relative paths are meant from the repository.
        warehouse: The data root.
        seeds: Files and folders to ingest beside those that the recipe names.
        shards_in_flight: How many jobs of a node run side by side.
        retry_delays: Seconds before each further attempt at a job whose model is unreachable.

    Raises:
        ConfigError: a file of the recipe is wrong.
        WarehouseError: another run holds the warehouse; the message names it.
        TransientModelError: a model stayed unreachable; everything else is recorded.
    """
    async with open_session(warehouse, load_recipe(recipe, seeds)) as session:
        progress = await acreate_progress_artifact(0, key=artifact_key(session, "progress"))

        async def report(position: int, text: str, share: float) -> None:
            percent = 100 * (position + share) / len(session.todo)
            await aupdate_progress_artifact(progress, percent, text)

        for position, node in enumerate(session.todo):
            work = session.pending(node)
            get_run_logger().info("%s: %d to do, %d done", node.id, len(work.jobs), len(work.done))
            results = await run_tasks(
                session, work, shards_in_flight, retry_delays, partial(report, position)
            )
            session.finish(work, [r for r in results if not isinstance(r, BaseException)])
            for failure in results:
                if isinstance(failure, BaseException):
                    raise failure
        await aupdate_progress_artifact(progress, 100, "done")
        await acreate_markdown_artifact(summary(session), key=artifact_key(session, "funnel"))


async def run_tasks(
    session: Session, work: Work, shards_in_flight: int, retry_delays: RetryDelays, report: Report
) -> list[tuple[Job, Result] | BaseException]:
    """Run a node's jobs side by side; what each made or failed with, in the jobs' order."""
    limit = asyncio.Semaphore(shards_in_flight)
    ended = 0

    async def one(job: Job) -> tuple[Job, Result]:
        nonlocal ended
        async with limit:
            result = await job_task(session, job, retry_delays)()
        ended += 1
        await report(f"{job.node.id}: {ended} of {len(work.jobs)} jobs", ended / len(work.jobs))
        return job, result

    return await asyncio.gather(*map(one, work.jobs), return_exceptions=True)


def job_task(session: Session, job: Job, retry_delays: RetryDelays) -> Task[[], Coroutine[Any, Any, Result]]:
    """A job as a task, tried again only while its model is unreachable; answered calls are not repeated.

    It has no parameters because Prefect would walk through them, down to every file of a pack.
    """

    @task(
        name=job.node.id,
        task_run_name=f"{job.node.id}: {job.path}",
        retries=len(retry_delays),
        retry_delay_seconds=list(retry_delays),
        retry_condition_fn=is_transient,
        persist_result=False,
    )
    async def execute() -> Result:
        return await session.execute(job)

    return execute


async def is_transient(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether another attempt may succeed: the type of the error alone tells."""
    return isinstance(await state.aresult(raise_on_failure=False), TransientModelError)


def summary(session: Session) -> str:
    """The funnel and the model calls of this run as Markdown."""
    with connect(session.root, session.head, session.schemas) as con:
        rows = funnel(con)
    stats = session.stats
    return "\n".join(
        [
            f"# {session.recipe.name}",
            "",
            "| step | rows | not taken on, by reason |",
            "|:--|--:|:--|",
            *(
                f"| {row.step} | {row.rows:,} | {', '.join(f'{reason} {n:,}' for reason, n in row.dropped)} |"
                for row in rows
            ),
            "",
            f"{stats.calls:,} model calls in this run, {stats.cached:,} of them from the journal; "
            f"{stats.completion_tokens:,} tokens generated.",
        ]
    )


def artifact_key(session: Session, what: str) -> str:
    """``funnel-main``: Prefect wants small letters, digits and dashes."""
    return f"{what}-{re.sub('[^a-z0-9]+', '-', session.recipe.name.lower())}"
