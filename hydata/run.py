"""Running a recipe in this process: every node in turn, the jobs of a node side by side.

The Prefect flow in ``flows/nightly.py`` drives a ``Session`` in the same order, with a task for each job.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from hydata.errors import BudgetError, ConfigError, EndpointDownError, TransientModelError, WarehouseError
from hydata.models import Ledger, Outbox
from hydata.recipe import Node, Recipe, plan
from hydata.session import Job, Result, Session, open_session
from hydata.stage import MapStage


def check_stages(recipe: Recipe, rebuild: Iterable[str]) -> None:
    """Check that the stages a caller names exist.

    Raises:
        ConfigError: names those there are.
    """
    stages = {node.stage.name for node in plan(recipe) if isinstance(node.stage, MapStage)}
    for name in rebuild:
        if name not in stages:
            raise ConfigError(f"--rebuild {name}: give one of {', '.join(sorted(stages))}")


async def _tick(progress: Progress) -> None:
    while True:
        await asyncio.sleep(1)
        progress.tick()


class Progress:
    """What ``run_recipe`` tells of its progress; this one is silent."""

    def node(self, node: Node, done: int, total: int, ledger: Ledger) -> None:
        """A node starts, with ``done`` of its ``total`` results there already; ``ledger`` counts on."""

    def job(self, node: Node, rows: int) -> None:
        """A job of the node ended with this many rows."""

    def tick(self) -> None:
        """Called about once a second while a node runs."""


async def run_recipe(
    root: Path,
    recipe: Recipe,
    *,
    rebuild: Iterable[str] = (),
    until: str | None = None,
    progress: Progress | None = None,
    shards_in_flight: int = 4,
    journal: Path | None = None,
    outbox: Outbox | None = None,
) -> Session:
    """Do all pending work of a recipe, or up to and with the node ``until`` (see ``planned``).

    ``journal``: another warehouse's journal to share. ``outbox``: where requests go instead of being sent;
    then the first stage that has any is the last one that is run, and stays unfinished.

    Raises:
        ConfigError: a file of the recipe is wrong, or there is no such stage or node.
        TransientModelError: some shards stayed unfinished; everything else is recorded.
        BudgetError: so did those that the budget did not reach.
    """
    progress = progress or Progress()
    check_stages(recipe, rebuild)
    async with open_session(root, recipe, rebuild, journal, outbox, until) as session:
        limit = asyncio.Semaphore(shards_in_flight)

        hopeless = False

        async def one(job: Job) -> tuple[Job, Result] | None:
            nonlocal hopeless
            async with limit:
                if hopeless:
                    return None
                try:
                    result = await session.execute(job)
                except (EndpointDownError, ConfigError, BudgetError, WarehouseError):
                    # what stops this shard would stop the next one: it is left for the next run
                    hopeless = True
                    raise
            progress.job(job.node, sum(shard.rows.get(shard.table, 0) for shard in result.shards))
            return job, result

        for node in session.todo:
            work = session.pending(node)
            progress.node(node, len(work.done), len(work.done) + len(work.jobs), session.ledger)
            ticker = asyncio.create_task(_tick(progress))
            try:
                results = await asyncio.gather(*map(one, work.jobs), return_exceptions=True)
            finally:
                ticker.cancel()
            session.finish(work, [r for r in results if isinstance(r, tuple)])
            failures = [r for r in results if isinstance(r, BaseException)]
            if failures:  # first what is more than unanswered calls
                raise min(failures, key=lambda failure: isinstance(failure, TransientModelError))
        return session
