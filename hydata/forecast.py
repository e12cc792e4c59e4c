"""Forecast: what a recipe will take, from a small sample of its seeds, before the rest is paid for.

The seeds are ingested for real. A sample of their documents and dataset rows, all at one rate, then goes
through the whole recipe in a scratch warehouse, with the real warehouse's journal: what a record is asked
depends on the record and its labels alone, so the run finds the sample's replies there and does not pay for
them again, but where the whole run's classifiers give a record of the sample another label: its critique,
whose prompt goes by the task, is asked anew.

A row of the sample stands for 1 / rate rows, and so does what is made of it. What does not grow with the
rows is weighed by itself: stages that take so many rows of a shard and no more, and self-instruct, which
makes so many attempts for a shard of admitted instructions, however full it is, and the targets of
generalise, which are counts. The calls and tokens of a
step are those of the sample times the mean weight of the rows they were made for.

Hours follow from Little's law: an endpoint whose slots are never empty needs the sum of its requests'
seconds over its slots. Steps come one after another, the endpoints of a step side by side. The seconds are
the sample's, which may have left slots empty: a server under load takes longer for each request, and gets
more of them done.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import polars as pl

from hydata.models import Ledger, Model, Models, Stats, open_models
from hydata.recipe import Recipe, check_names, load_context, plan
from hydata.run import Progress, run_recipe
from hydata.session import Session
from hydata.stage import Settings
from hydata.synthesis import (
    bandit,
    critique,
    evolve,
    extract,
    follow_up,
    generalise,
    generate,
    label,
    respond,
    self_instruct,
)
from hydata.synthesis.drafts import fraction
from hydata.synthesis.drafts import sample as sample_ids
from hydata.synthesis.extract import ExtractSettings
from hydata.synthesis.generate import GenerateSettings
from hydata.warehouse import JOURNAL, Head, NodeState, Shard, connect, write_head, write_shard, write_usage

SAMPLE = 256

STEPS = (
    extract.NAME,
    generate.NAME,
    label.NAME,
    evolve.NAME,
    self_instruct.NAME,
    generalise.NAME,
    respond.NAME,
    follow_up.NAME,
    critique.NAME,
)
"""The steps that call models, in the order of the plan."""

UNASKED = (
    "not_sampled",
    "no_prompt",
    "not_an_instruction",
    "multi_turn",
    "not_complete",
    "not_alternating",
    "not_needed",
    "shortfall",
)
"""Why rows were rejected without a call."""

TOKENS = ("prompt_tokens", "completion_tokens")


@dataclass(frozen=True)
class Line:
    """What a model does for a step. ``hours``: of its endpoints, if they did nothing beside."""

    step: str
    model: str
    calls: float
    prompt_tokens: float
    completion_tokens: float
    cost: float
    hours: float


@dataclass(frozen=True)
class Forecast:
    """What the whole recipe takes, whatever of it is in the journal already.

    ``rows`` are the documents and dataset rows that something is to come of, ``sampled`` those that were
    tried; ``absent`` names the kinds of which none was. ``hours`` are of model calls alone; ``error`` is the
    standard error of the tokens over the tokens; ``spent`` is what the sample itself took.
    """

    rows: int
    sampled: int
    absent: tuple[str, ...]
    lines: tuple[Line, ...]
    hours: float
    error: float
    spent: Stats

    @property
    def total(self) -> Line:
        """The sum of the lines."""

        def of(name: str) -> float:
            return float(sum(getattr(line, name) for line in self.lines))

        return Line(
            "all", "", of("calls"), of("prompt_tokens"), of("completion_tokens"), of("cost"), self.hours
        )


async def forecast(
    root: Path, recipe: Recipe, *, sample: int = SAMPLE, progress: Progress | None = None
) -> Forecast:
    """Ingest the recipe's seeds into the warehouse ``root`` and forecast the rest from ``sample`` rows.

    Beside what is ingested, the warehouse keeps the journal and the account of what the sample took.

    Raises:
        As ``run_recipe``. What was answered until then is in the journal.
    """
    models = open_models(recipe.models_config(), root / JOURNAL, privacy=recipe.privacy)
    check_names(plan(recipe), load_context(recipe, models))  # of all nodes, before the seeds are read
    ingested = await run_recipe(root, recipe, until="ingest", progress=progress)
    with tempfile.TemporaryDirectory(prefix="hydata-plan-") as folder:
        scratch = Path(folder)
        drawn = _draw(ingested, sample, scratch)
        try:
            tried = await run_recipe(
                scratch, _scaled(recipe, drawn), journal=root / JOURNAL, progress=progress
            )
        finally:
            for path in (scratch / "usage").glob("*.parquet"):
                write_usage(root, path.stem, pl.read_parquet(path))
        with connect(scratch, tried.head, tried.schemas) as con:
            asked = _asked(con, recipe, drawn, tried.ledger)
    took = _took(tried.ledger).join(
        asked.group_by("step").agg(pl.col("weight").mean()), on="step", how="left"
    )
    lines, hours = _lines(took, models)
    return Forecast(
        rows=drawn.rows,
        sampled=drawn.sampled,
        absent=drawn.absent,
        lines=lines,
        hours=hours,
        error=_error(took, asked, drawn),
        spent=tried.stats,
    )


# --- the sample ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Drawn:
    """``conversations`` tells how many of the ``rows`` are in each shard of ingest, ``documents`` how many of
    them each step reads; ``left``, what part of a step's ``share`` of the documents its cap lets it ask."""

    rows: int
    sampled: int
    absent: tuple[str, ...]
    documents: Mapping[str, tuple[int, ...]]
    conversations: tuple[int, ...]
    left: Mapping[str, float]

    @property
    def everything(self) -> bool:
        return self.sampled == self.rows


_SEEDS = """
    WITH seeds AS (
        SELECT document_id AS id, concat_ws(' ', kind, language) AS stratum, text
        FROM documents SEMI JOIN asked USING (document_id)
        UNION ALL
        SELECT record_id, if(messages[-1].role = 'assistant', 'dataset conversation', 'dataset instruction'),
               array_to_string(list_transform(list_filter(messages, lambda m: m.role = 'user'),
                                              lambda m: m.content), chr(10))
        FROM conversations WHERE step = 'dataset'
    )
    SELECT id, stratum FROM seeds ORDER BY stratum, md5(concat($seed, ' ', text)), id
"""
"""In the order of a hash of their texts, so that equal ones are in the sample together or not at all: drawn
one by one, it would hold fewer duplicates than there are."""


def _draw(ingested: Session, size: int, scratch: Path) -> _Drawn:
    """Write a sample of what was ingested into the warehouse ``scratch``, as if there were no more.

    Every stratum gives its first rows, in number its share of ``size``. Fractions are rounded by cutting one
    line of all strata into stretches of equal length from a random start, which is right on average, also for
    a stratum smaller than a stretch.
    """
    root, head, seed = ingested.root, ingested.head, ingested.recipe.seed
    state = head.nodes.get("ingest", NodeState(""))
    wanted = [_wanted(root, shard, ingested.recipe) for shard in state.shards]
    chosen = [frame["document_id"] for frame in wanted]
    of_all = pl.concat(wanted) if wanted else pl.DataFrame(schema=_WANTED)
    read = {
        extract.NAME: [int((frame["read"] | frame[extract.NAME]).sum()) for frame in wanted],
        generate.NAME: [int(frame[generate.NAME].sum()) for frame in wanted],
    }
    left = {step: int(of_all[step].sum()) / max(1, int(of_all[f"{step} uncapped"].sum())) for step in read}
    with connect(root, head, ingested.schemas) as con:
        asked = pl.DataFrame({"document_id": pl.concat([pl.Series(dtype=pl.String), *chosen])})
        con.register("asked", asked)
        seeds = con.sql(_SEEDS, params={"seed": seed}).pl()
    rows, sampled = seeds.height, min(size, seeds.height)
    start = int(fraction("plan", seed) * rows)
    strata = seeds.group_by("stratum", maintain_order=True).agg(rows=pl.len().cast(pl.Int64))
    strata = strata.with_columns(until=(pl.col("rows").cum_sum() * sampled + start) // max(rows, 1))
    strata = strata.with_columns(wanted=pl.col("until") - pl.col("until").shift(1, fill_value=0))
    place = pl.int_range(pl.len()).over("stratum")
    drawn = seeds.join(strata, on="stratum").filter(place < pl.col("wanted"))["id"].implode()
    done = {
        key: tuple(_sampled(root, shard, drawn, scratch) for shard in shards)
        for key, shards in state.done.items()
    }
    drawn_head = Head(head.recipe, {"ingest": NodeState(state.fingerprint, done)})
    write_head(scratch, drawn_head)
    if ingested.recipe.has_bandit:  # the sample is asked what the run will ask
        bandit.hand_on(scratch, drawn_head, bandit.freeze(root, head, ingested.schemas))
    return _Drawn(
        rows=rows,
        sampled=sampled,
        absent=tuple(strata.filter(pl.col("wanted") == 0)["stratum"]),
        documents={step: tuple(counts) for step, counts in read.items()},
        conversations=tuple(shard.rows.get("conversations", 0) for shard in state.shards),
        left=left,
    )


_WANTED = pl.Schema(
    {"document_id": pl.String(), "read": pl.Boolean()}
    | {name: pl.Boolean() for step in (extract.NAME, generate.NAME) for name in (step, f"{step} uncapped")}
)


def _wanted(root: Path, shard: Shard, recipe: Recipe) -> pl.DataFrame:
    """The documents of a shard of ingest that something is to come of: whether it is Q&A to be ``read``
    without a model, and which steps ask a model about it, with their caps and without."""
    documents = pl.read_parquet(root / shard.path, columns=["document_id", "kind"])
    is_qa = pl.col("kind") == "qa"

    def drawn(settings: ExtractSettings | GenerateSettings, step: str, fit: pl.Expr) -> dict[str, pl.Expr]:
        ids = documents.filter(fit)["document_id"]
        caps = {step: settings.max_documents, f"{step} uncapped": None}
        asked = {name: sample_ids(ids, settings.share, cap, step, recipe.seed) for name, cap in caps.items()}
        return {
            name: pl.col("document_id").is_in(pl.Series(sorted(ids), dtype=pl.String).implode())
            for name, ids in asked.items()
        }

    columns = {
        "read": is_qa & recipe.extract.qa,
        **drawn(recipe.extract, extract.NAME, ~is_qa),
        **drawn(recipe.generate, generate.NAME, pl.lit(True)),
    }
    wanted = documents.with_columns(**columns).filter(pl.any_horizontal("read", extract.NAME, generate.NAME))
    return wanted.sort("document_id").select(_WANTED.names())


_IDS = {
    "documents": ("document_id",),
    "conversations": ("record_id",),
    "preferences": ("chosen_id", "rejected_id"),
}


def _sampled(root: Path, shard: Shard, chosen: pl.Series, scratch: Path) -> Shard:
    """The ``chosen`` rows of a shard of ingest, as the same shard in ``scratch``."""
    frames = {}
    for table in shard.rows:
        frame = pl.scan_parquet(root / shard.sibling(table))
        wanted = [pl.col(name).is_in(chosen) for name in _IDS.get(table, ())]
        frames[table] = frame.filter(pl.any_horizontal(*wanted) if wanted else False).collect()
    return write_shard(scratch, shard.path, frames)


def _scaled(recipe: Recipe, drawn: _Drawn) -> Recipe:
    """The recipe for the sample: nothing to read, and without the caps of a shard's rows, with which
    ``_asked`` reckons. A sample that is everything has the shards of the whole."""
    changed: dict[str, Settings] = {"ingest": recipe.ingest.model_copy(update={"paths": ()})}
    if not drawn.everything:
        per_row = recipe.generate.per_document / recipe.ingest.shard_rows
        shards, of_sample = (math.ceil(rows * per_row) for rows in (drawn.rows, drawn.sampled))
        attempts = recipe.self_instruct.count * (shards / of_sample) * (drawn.sampled / drawn.rows)
        changed |= {
            "extract": recipe.extract.model_copy(update={"max_documents": None}),
            "generate": recipe.generate.model_copy(update={"max_documents": None}),
            "label": recipe.label.model_copy(update={"max_per_shard": None}),
            "evolve": recipe.evolve.model_copy(update={"max_per_shard": None}),
            "self_instruct": recipe.self_instruct.model_copy(update={"count": math.ceil(attempts)}),
            "generalise": _scaled_targets(recipe.generalise, drawn.sampled / drawn.rows),
        }
    return recipe.model_copy(update=changed)


def _scaled_targets(settings: generalise.GeneraliseSettings, rate: float) -> generalise.GeneraliseSettings:
    """The targets with counts for a sample drawn at ``rate``."""
    targets = (t.model_copy(update={"count": math.ceil(t.count * rate)}) for t in settings.targets)
    return settings.model_copy(update={"targets": tuple(targets)})


def _left(shards: Iterable[float], share: float, cap: int | None) -> float:
    """The part of a ``share`` of the shards' rows that is left when no shard may give more than ``cap``."""
    wanted = [share * rows for rows in shards]
    if cap is None or not sum(wanted):
        return 1.0
    return sum(min(cap, rows) for rows in wanted) / sum(wanted)


# --- what the sample's rows stand for --------------------------------------------------------------------

_LINE = """
    CREATE TEMP VIEW line AS
    WITH RECURSIVE line AS (
        SELECT record_id, step AS branch, if(step = 'extract' AND prompt_id IS NULL, 'read', step) AS origin,
               if(step IN ('extract', 'generate'), document_ids[1], record_id) AS seed
        FROM conversations WHERE step NOT IN ('evolve', 'generalise', 'respond', 'follow_up')
        UNION ALL
        SELECT c.record_id, if(c.step IN ('evolve', 'generalise'), c.step, line.branch), line.origin,
        line.seed FROM conversations AS c JOIN line ON c.parent_ids[1] = line.record_id WHERE c.step IN
        ('evolve', 'generalise', 'respond', 'follow_up') ) SELECT * FROM line
"""
"""Where every record comes from: Q&A whose pairs are read without a model has no cap, like a dataset."""

_ASKED = """
    WITH asked AS (
        SELECT step, coalesce(parent_ids[1], document_ids[1]) AS id FROM conversations
        WHERE step IN ('generate', 'evolve', 'generalise', 'respond', 'follow_up')
            OR step = 'extract' AND prompt_id IS NOT NULL
        UNION
        SELECT 'label', record_id FROM labels WHERE judge = 'labeller'
        UNION
        SELECT 'critique', record_id FROM critiques
        UNION
        SELECT stage, record_id FROM rejects
        WHERE stage IN ('generate', 'label', 'evolve', 'generalise', 'respond', 'follow_up', 'critique')
            AND reason NOT IN (SELECT unnest($unasked))
        UNION
        SELECT stage, record_id FROM rejects JOIN documents ON record_id = document_id
        WHERE stage = 'extract' AND kind <> 'qa' AND reason NOT IN (SELECT unnest($unasked))
    )
    SELECT asked.step, coalesce(line.seed, asked.id) AS seed, line.branch,
           if(asked.step IN ('extract', 'generate'), asked.step, line.origin) AS origin
    FROM asked LEFT JOIN line ON asked.id = line.record_id
    ORDER BY ALL
"""


def _asked(con: duckdb.DuckDBPyConnection, recipe: Recipe, drawn: _Drawn, ledger: Ledger) -> pl.DataFrame:
    """What the sample made calls for: ``step``, the ``seed`` that it descends from (an attempt of
    self-instruct descends from itself) and ``weight``, the number of such things in a whole run."""
    con.execute(_LINE)
    asked: pl.DataFrame = con.sql(_ASKED, params={"unasked": UNASKED}).pl()
    attempts = sum(
        s.calls for (purpose, _), s in ledger.groups.items() if _step(purpose) == self_instruct.NAME
    )
    name = self_instruct.NAME
    own = [(name, f"attempt {i}", name, name) for i in range(attempts)]
    asked = pl.concat([asked, pl.DataFrame(own, schema=asked.schema, orient="row")])
    if drawn.everything:
        return asked.with_columns(weight=1.0)

    each = drawn.rows / drawn.sampled
    labelled: list[float] = [*drawn.conversations]
    for first, read in drawn.documents.items():
        made = each * _count(con, drawn, f"SELECT record_id FROM conversations WHERE step = '{first}'")
        labelled += [rows * made / max(1, sum(read)) for rows in read]
    label_left = _left(labelled, recipe.label.share, recipe.label.max_per_shard)

    size = recipe.ingest.shard_rows
    admitted = each * _count(con, drawn, "SELECT record_id FROM admitted WHERE gate = 'gates.evolve'")
    full, rest = divmod(admitted, size)
    evolved = [size] * int(full) + [rest]
    evolve_left = _left(evolved, recipe.evolve.share, recipe.evolve.max_per_shard)
    wanted = recipe.self_instruct.count * math.ceil(full + rest / size)

    wanted_complex = sum(t.count for t in recipe.generalise.targets)
    tried = sum(t.count for t in _scaled_targets(recipe.generalise, drawn.sampled / drawn.rows).targets)

    branch, step = pl.col("branch"), pl.col("step")
    left = pl.col("origin").replace_strict(dict(drawn.left), default=1.0, return_dtype=pl.Float64)
    return asked.with_columns(
        weight=pl.when(branch.eq_missing(self_instruct.NAME))
        .then(wanted / max(1, attempts))
        .when((step == generalise.NAME) | branch.eq_missing(generalise.NAME))
        .then(wanted_complex / max(1, tried))
        .when(step == label.NAME)
        .then(each * left * label_left)
        .when((step == evolve.NAME) | branch.eq_missing(evolve.NAME))
        .then(each * left * evolve_left)
        .otherwise(each * left)
    )


def _count(con: duckdb.DuckDBPyConnection, drawn: _Drawn, records: str) -> float:
    """How many of the ``records`` there would be with the caps of the steps they come from."""
    found = con.execute(
        f"SELECT origin, count(*) FROM ({records}) JOIN line USING (record_id) GROUP BY origin"
    )
    return sum((drawn.left.get(origin, 1.0) * int(count) for origin, count in found.fetchall()), 0.0)


def _step(purpose: str) -> str:
    return purpose.partition("/")[0]


# --- the whole -------------------------------------------------------------------------------------------

_TOOK = pl.Schema(
    {
        "step": pl.String(),
        "model": pl.String(),
        "calls": pl.Float64(),
        "prompt_tokens": pl.Float64(),
        "completion_tokens": pl.Float64(),
        "seconds": pl.Float64(),
        "squares": pl.Float64(),
    }
)


def _took(ledger: Ledger) -> pl.DataFrame:
    """What the sample's calls took by step and model, as if none had been in the journal."""
    groups = [
        (
            _step(purpose),
            model,
            s.calls,
            s.prompt_tokens + s.found_prompt_tokens,
            s.completion_tokens + s.found_completion_tokens,
            s.seconds + s.found_seconds,
            s.squares,
        )
        for (purpose, model), s in ledger.groups.items()
    ]
    took = pl.DataFrame(groups, schema=_TOOK, orient="row")
    took = took.group_by("step", "model", maintain_order=True).sum()
    return took.sort(pl.col("step").cast(pl.Enum(STEPS)), "model")


def _lines(took: pl.DataFrame, models: Models) -> tuple[tuple[Line, ...], float]:
    """The weighted sums of the sample as lines, and the hours of all steps one after another."""
    config = models.config
    named = {name for role in config.roles.values() for weights in role.alternatives for name in weights}
    served: dict[str, list[Model]] = defaultdict(list)
    for model in map(models.model, sorted(named)):
        served[model.identity].append(model)
    lines = []
    busy: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for row in took.iter_rows(named=True):
        entries = served[row["model"]]
        endpoints = {endpoint for model in entries for endpoint in model.entry.endpoint}
        slots = sum(config.endpoints[endpoint].concurrency for endpoint in endpoints)
        hours = row["weight"] * row["seconds"] / slots / 3600
        calls, read, written = (row["weight"] * row[name] for name in ("calls", *TOKENS))
        cost = max(model.price.of(read, written) for model in entries)
        lines.append(Line(row["step"], row["model"], calls, read, written, cost, hours))
        for endpoint in endpoints:
            busy[row["step"]][endpoint] += hours
    return tuple(lines), sum(max(endpoints.values()) for endpoints in busy.values())


def _error(took: pl.DataFrame, asked: pl.DataFrame, drawn: _Drawn) -> float:
    """The standard error of the tokens over the tokens; 0 for a sample that is everything.

    Seeds are drawn independently of each other and come to different numbers of calls; the calls of a step
    and model differ in size.
    """
    weight, tokens = pl.col("weight"), pl.sum_horizontal(TOKENS)
    total, sizes = took.select(
        total=(weight * tokens).sum(),
        sizes=(weight**2 * (pl.col("squares") - tokens**2 / pl.col("calls"))).sum(),
    ).row(0)
    if not total:
        return 0.0
    rows = asked.join(took.group_by("step").agg(tokens=tokens.sum()), on="step", maintain_order="left")
    rows = rows.with_columns(tokens=weight * pl.col("tokens") / pl.len().over("step"))
    seeds = rows.group_by("seed", maintain_order=True).agg(pl.col("tokens").sum())
    drawn_seeds = max(drawn.sampled, seeds.height)  # nothing came of some of them
    (spread,) = seeds.select((pl.col("tokens") ** 2).sum() - pl.col("tokens").sum() ** 2 / drawn_seeds).row(0)
    return math.sqrt(max(0.0, (1 - drawn.sampled / drawn.rows) * (spread + sizes))) / float(total)
