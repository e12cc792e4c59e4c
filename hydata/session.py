"""A session of a recipe: which work is pending, doing one piece of it, recording that it is done.

A ``Session`` holds the warehouse's lock, the head and the model client. Whoever drives it, the
command line in this process or a Prefect flow with a task a job, does the same thing:

    for node in session.todo:
        work = session.pending(node)
        results = [(job, await session.execute(job)) for job in work.jobs]   # in any order, several at once
        session.finish(work, results)

What is on disk decides what is pending, so a run killed at any point is resumed by running again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import polars as pl

from hydata import ingest
from hydata.errors import ConservationError, WarehouseError
from hydata.export.provenance import record_provenance
from hydata.models import Ledger, Outbox, Stats, open_models
from hydata.policy import record_policy
from hydata.recipe import Node, Recipe, check_names, load_context, plan, planned, table_schemas
from hydata.schema import REJECTS, Output
from hydata.stage import ArtefactStage, Context, GlobalStage, MapStage, fingerprint
from hydata.synthesis import bandit
from hydata.warehouse import (
    JOURNAL,
    Head,
    NodeState,
    Shard,
    connect,
    find_shard,
    locked,
    read_head,
    read_manifest,
    shard_key,
    without_missing,
    write_duckdb,
    write_head,
    write_manifest,
    write_shard,
    write_usage,
)

RECORDS = ("documents", "conversations", "admitted")
"""The tables by which records go from node to node; the others tell of them."""


@dataclass(frozen=True)
class Job:
    """A piece of work of a node: an input shard, a pack of files, or a snapshot, under its ``key`` in the
    node's state. ``path`` is the shard or folder it will make."""

    node: Node
    key: str
    path: str
    pack: ingest.Pack | None = None


@dataclass(frozen=True)
class Work:
    """A node's jobs that are pending, and the results it already has, among them those that a pending job
    is to replace: they stay current until it has."""

    node: Node
    fingerprint: str
    jobs: tuple[Job, ...] = ()
    done: Mapping[str, tuple[Shard, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a job made."""

    shards: tuple[Shard, ...] = ()
    artefact: str | None = None


class Session:
    """One run of a recipe over a warehouse; made by ``open_session``."""

    def __init__(
        self,
        root: Path,
        recipe: Recipe,
        todo: tuple[Node, ...],
        head: Head,
        context: Context,
        rebuild: frozenset[str],
    ) -> None:
        self.root = root
        self.recipe = recipe
        self.head = head
        self.nodes = plan(recipe)
        self.todo = todo
        """The nodes of this run, a beginning of the plan."""
        self.schemas = table_schemas()
        self.older: Counter[str] = Counter()
        """Shards by stage that are current under an older identity, seen by ``pending``."""
        self.run = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{recipe.name}"
        self._base_context = context
        self._rebuild = rebuild
        self._pool: ProcessPoolExecutor | None = None

    @property
    def stats(self) -> Stats:
        """Counters of the model calls of this run."""
        return self._base_context.models.stats

    @property
    def ledger(self) -> Ledger:
        """The same by prompt and model."""
        return self._base_context.models.ledger

    # --- what is to do ------------------------------------------------------------------------------

    def context(self) -> Context:
        """The context with the artefacts trained so far."""
        trained = {
            node.stage.name: self.root / state.artefact
            for node in self.nodes
            if isinstance(node.stage, ArtefactStage)
            and (state := self.head.nodes.get(node.id)) is not None
            and state.artefact is not None
        }
        return replace(self._base_context, artefacts=trained)

    def identity(self, node: Node) -> str:
        """The fingerprint under which a node's new results are stored."""
        if isinstance(node.settings, ingest.IngestSettings):
            return ingest.fingerprint(node.settings)
        assert node.stage is not None
        return fingerprint(node.stage, node.settings, self.context())

    def inputs(self, node: Node) -> tuple[tuple[str, Shard], ...]:
        """The current, non-empty input shards of a node with the table each is read from.

        In the order of their paths, which does not tell in what order, or in how many runs, they were made.
        """
        found = []
        for table, sources in node.reads.items():
            for source in sources:
                state = self.head.nodes.get(source)
                for shard in state.shards if state else ():
                    if shard.rows.get(table, 0) > 0:
                        found.append((table, shard))
        return tuple(sorted(found, key=lambda f: (f[0], f[1].path)))

    def pending(self, node: Node) -> Work:
        """What of a node is not done yet, and what is."""
        state = self.head.nodes.get(node.id, NodeState(""))
        if isinstance(node.settings, ingest.IngestSettings):
            return self._pending_packs(node, node.settings, state)
        if not isinstance(node.stage, MapStage):
            return self._pending_snapshot(node, state)
        work = self._pending_shards(node, node.stage, state)
        if work.jobs and not node.stage.computes:
            self._check_road(node)
        return work

    def _check_road(self, start: Node) -> None:
        """Check that all who will ask models about what ``start`` makes have their roles and prompts, before
        ``start`` asks any itself.

        Raises:
            ConfigError: one is missing.
        """
        reached = {start.id}
        for node in self.todo:
            sources = (source for table in RECORDS for source in node.reads.get(table, ()))
            if reached.isdisjoint(sources):
                continue
            reached.add(node.id)
            if isinstance(node.stage, MapStage) and not node.stage.computes:
                list(node.stage.uses(node.settings, self.context()))

    def _pending_packs(self, node: Node, settings: ingest.IngestSettings, state: NodeState) -> Work:
        done = dict(state.done)
        jobs = []
        fingerprint = self.identity(node)
        with connect(self.root, self.head, self.schemas) as con:
            for pack in ingest.pending_packs(con, settings):
                folder = f"documents/ingest-{fingerprint}/{pack.key}"
                finished = read_manifest(self.root, folder)
                if finished is None:
                    jobs.append(Job(node, pack.key, folder, pack))
                else:
                    done[pack.key] = finished
        return Work(node, fingerprint, tuple(jobs), done)

    def _pending_shards(self, node: Node, stage: MapStage, state: NodeState) -> Work:
        inputs = self.inputs(node)
        if not inputs:
            return Work(node, state.fingerprint)
        done: dict[str, tuple[Shard, ...]] = {}
        jobs = []
        fingerprint = self.identity(node)
        for table, shard in inputs:
            path = shard.path if shard.table == table else shard.sibling(table)
            target = f"{stage.table}/{stage.name}-{fingerprint}/{shard_key(path)}.parquet"
            earlier = state.done.get(path)
            if earlier:
                done[path] = earlier
                self.older[stage.name] += earlier[0].path != target and stage.name not in self._rebuild
            if earlier and (stage.name not in self._rebuild or earlier[0].path == target):
                continue
            if found := find_shard(self.root, target, (stage.table, "rejects")):
                done[path] = (found,)
            else:
                jobs.append(Job(node, path, target))
        return Work(node, fingerprint, tuple(jobs), done)

    def _pending_snapshot(self, node: Node, state: NodeState) -> Work:
        """A snapshot is named by its inputs; what the node merely remembers is part of the name of the
        result but does not ask for work by itself."""
        assert node.stage is not None
        inputs = self.inputs(node)
        if not inputs:
            return Work(node, state.fingerprint)
        fingerprint = self.identity(node)
        key = shard_key(fingerprint, *(f"{table}:{shard.path}" for table, shard in inputs))
        if key in state.done:
            return Work(node, fingerprint, (), state.done)
        if node.appends:
            state = self._still_current(node, state)
        remembered = [shard.path for _, shard in self.inputs(replace(node, reads=node.remembers))]
        table = node.stage.table if isinstance(node.stage, GlobalStage) else "artefacts"
        folder = f"{table}/{node.stage.name}-{fingerprint}/{shard_key(key, *remembered)}"
        return Work(node, fingerprint, (Job(node, key, folder),), state.done if node.appends else {})

    def _still_current(self, node: Node, state: NodeState) -> NodeState:
        """The state without admitted shards that hold records a rebuild has replaced.

        No policy withdraws an admission, but a record that is gone must not go on having offspring; what
        else stood in its shard is admitted anew, and the journal answers for it.
        """
        if not state.shards:
            return state
        conversations = [
            self.root / shard.sibling(table) for table, shard in self.inputs(node) if table == "conversations"
        ]
        admitted = pl.scan_parquet([self.root / s.path for s in state.shards], include_file_paths="file")
        gone = admitted.select("record_id", "file").join(
            pl.scan_parquet(conversations).select("record_id"), on="record_id", how="anti"
        )
        stale = set(gone.select(pl.col("file").unique()).collect()["file"])
        kept = {
            key: tuple(s for s in shards if str(self.root / s.path) not in stale)
            for key, shards in state.done.items()
        }
        state = NodeState(state.fingerprint, kept, state.artefact)
        self.head = self.head.with_node(node.id, state)
        return state

    # --- doing it -----------------------------------------------------------------------------------

    async def execute(self, job: Job) -> Result:
        """Do one job and return what it made; safe to repeat and to run beside other jobs.

        Raises:
            TransientModelError: a model stayed unreachable; the job is to be resumed later.
        """
        if job.pack is not None:
            return await self._execute_pack(job, job.pack)
        if isinstance(job.node.stage, MapStage):
            return await self._execute_shard(job, job.node.stage)
        return await asyncio.to_thread(self._execute_snapshot, job)

    async def _execute_pack(self, job: Job, pack: ingest.Pack) -> Result:
        assert isinstance(job.node.settings, ingest.IngestSettings)
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                ingest.workers(), mp_context=get_context("spawn"), initializer=ingest.end_with_parent
            )
        pool, stage = self._pool, job.path.split("/")[1]
        work = (self.root, stage, pack, job.node.settings)
        try:
            shards = await asyncio.get_running_loop().run_in_executor(pool, ingest.run_pack, *work)
        except BrokenProcessPool:  # by this pack or by one beside it; the next one gets a new pool
            if self._pool is pool:
                self._pool = None
            shards = await asyncio.to_thread(ingest.run_pack_apart, *work)
        return Result(shards)

    async def _execute_shard(self, job: Job, stage: MapStage) -> Result:
        try:
            frame = pl.read_parquet(self.root / job.key)
        except pl.exceptions.ComputeError as error:
            raise WarehouseError(
                f"{self.root / job.key}: damaged ({error}); remove it and run again, it will be made anew"
            ) from error
        made = stage.run(frame, job.node.settings, self.context())
        output = await (asyncio.to_thread(asyncio.run, made) if stage.computes else made)
        check_conservation(stage.name, job.key, frame, output)
        frames = {
            "rejects": output.rejects.cast(REJECTS),
            stage.table: output.rows.select(stage.columns.names()).cast(stage.columns),
        }
        return Result((write_shard(self.root, job.path, frames),))

    def _execute_snapshot(self, job: Job) -> Result:
        node = job.node
        tables: dict[str, list[Path]] = {}
        for table, shard in (*self.inputs(node), *self.inputs(replace(node, reads=node.remembers))):
            path = shard.path if shard.table == table else shard.sibling(table)
            tables.setdefault(table, []).append(self.root / path)
        if isinstance(node.stage, ArtefactStage):
            folder = self.root / job.path
            folder.mkdir(parents=True, exist_ok=True)
            made = node.stage.run(tables, node.settings, self.context(), folder)
            return Result(artefact=made.relative_to(self.root).as_posix())
        assert isinstance(node.stage, GlobalStage)
        done = read_manifest(self.root, job.path)
        if done is None:
            frames = node.stage.run(tables, node.settings, self.context())
            columns = node.stage.columns
            done = write_manifest(
                self.root,
                job.path,
                [
                    write_shard(
                        self.root,
                        f"{job.path}/part-{i:05}.parquet",
                        {node.stage.table: frame.select(columns.names()).cast(columns)},
                    )
                    for i, frame in enumerate(frames)
                ],
            )
        return Result(done)

    # --- recording it -------------------------------------------------------------------------------

    def finish(self, work: Work, results: Iterable[tuple[Job, Result]]) -> None:
        """Make the results current, beside what was done before and still is.

        When the whole plan is done, nodes that only an earlier plan of the recipe had are current no more.
        Until then they are among what the rest of the head was made from.
        """
        node, results = work.node, tuple(results)
        done = dict(work.done)
        earlier = self.head.nodes.get(node.id)
        artefact = earlier.artefact if earlier else None
        for job, result in results:
            done[job.key] = result.shards
            artefact = result.artefact or artefact
        state = NodeState(work.fingerprint, done, artefact)
        head = self.head if state == earlier else self.head.with_node(node.id, state)
        if node == self.nodes[-1] and len(results) == len(work.jobs):
            head = head.only(node.id for node in self.nodes)
        if head != self.head:
            self.head = head
            write_head(self.root, head)
        self.record_usage()

    def record_usage(self) -> None:
        """Write what this run's model calls took so far, if there were any."""
        if self.ledger.groups:
            write_usage(self.root, self.run, self.ledger.frame(self.run, self.recipe.name))

    def close(self) -> None:
        self.record_usage()
        if self._pool is not None:
            self._pool.shutdown()


def check_conservation(stage: str, shard: str, frame: pl.DataFrame, output: Output) -> None:
    """Every input row is in the output, a parent of a row there, or in the rejects; no record is made twice.

    Raises:
        ConservationError: with some of the ids that vanished or stand twice.
    """
    if "messages" in output.rows.columns:
        twice = output.rows["record_id"].filter(output.rows["record_id"].is_duplicated())
        if twice.len():
            raise ConservationError(f"{stage}: record {twice[0]} is made twice of {shard}; this is a defect")
    column = "record_id" if "record_id" in frame.columns else "document_id"
    seen = [output.rejects["record_id"]]
    for name in ("record_id", "parent_ids", "document_ids"):
        if name in output.rows.columns:
            values = output.rows[name]
            seen.append(values.explode() if values.dtype == pl.List else values)
    lost = frame[column].filter(~frame[column].is_in(pl.concat(seen).drop_nulls().implode()))
    if lost.len():
        raise ConservationError(
            f"{stage}: {lost.len()} of {frame.height} rows of {shard} are neither kept nor rejected, "
            f"e.g. {', '.join(lost.head(3))}; this is a defect in the stage"
        )


@asynccontextmanager
async def open_session(
    root: Path,
    recipe: Recipe,
    rebuild: Iterable[str] = (),
    journal: Path | None = None,
    outbox: Outbox | None = None,
    until: str | None = None,
) -> AsyncIterator[Session]:
    """Lock the warehouse, read the head, check every file of the recipe and every name its nodes use, prepare
    the model client.

    ``journal``: another warehouse's journal to share, instead of this one's own. ``outbox``: where requests
    go instead of being sent. ``until``: the last node of this run, see ``planned``.
    Models are started at the first call that needs them. On leaving, ``hydata.duckdb`` is renewed.

    Raises:
        ConfigError: a file of the recipe is wrong.
        WarehouseError: another run holds the lock.
    """
    todo = planned(recipe, until)
    with locked(root):
        head = without_missing(root, read_head(root, recipe.name))
        sha256 = hashlib.sha256(recipe.file.read_bytes()).hexdigest()  # of what runs, not of a later edit
        journal = journal or root / JOURNAL
        models = open_models(recipe.models_config(), journal, recipe.budget, outbox, recipe.privacy)
        arms = bandit.freeze(root, head, table_schemas()) if recipe.has_bandit else {}
        context = load_context(recipe, models, arms)
        check_names(todo, context)
        async with models:
            session = Session(root, recipe, todo, head, context, frozenset(rebuild))
            try:
                yield session
                record_provenance(root, recipe.name, recipe.file, sha256, recipe.privacy)
                record_policy(root, recipe.name, context.policy)
            finally:
                session.close()
                write_head(root, session.head)
                write_duckdb(root, session.head, session.schemas)
