"""``hydata judge``: one judge alone, on files."""

from __future__ import annotations

import tempfile
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from pydantic import ValidationError
from rich.markup import escape

from hydata.cli.console import err, out
from hydata.cli.critic import CriticName, ModelsFile, RecipeFile, critic_alone, recipe_of
from hydata.curation import education, files, language, privacy, quality, rules_alone, toxicity
from hydata.curation.alone import FileJudge, judge_files
from hydata.curation.contamination import judge as contamination_judge
from hydata.curation.contamination.items import named
from hydata.curation.dedup.alone import judge_pieces
from hydata.curation.semantic import alone
from hydata.curation.semantic.judge import SemanticSettings
from hydata.curation.threads import cores
from hydata.errors import ConfigError
from hydata.models import load_models
from hydata.models import run as run_in_loop
from hydata.settings import explain, overridden
from hydata.stage import Settings
from hydata.synthesis import agreement_alone
from hydata.synthesis.critic.alone import judge_rows
from hydata.warehouse import write_frame

app = typer.Typer(no_args_is_help=True, help="Judge the rows of Parquet or JSONL files, without a warehouse.")

Inputs = Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Parquet or JSONL files.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The Parquet file to write.")]
Column = Annotated[
    str | None, typer.Option(help="The column to judge. Default: the first of text, instruction, messages.")
]


Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Another value of a setting; can be given again."),
]

FILE_JUDGES = (
    rules_alone.ALONE,
    language.ALONE,
    privacy.ALONE,
    toxicity.ALONE,
    quality.ALONE,
    education.ALONE,
)


class Encoder(StrEnum):
    """What makes vectors of texts."""

    static = "static"
    bundled = "bundled"
    endpoint = "endpoint"


@app.callback()
def judge() -> None:
    """Judge the rows of files."""


@app.command()
def duplicates(
    inputs: Inputs,
    output: Output,
    column: Column = None,
    threshold: Annotated[
        float, typer.Option(min=0.1, max=1.0, help="The least Jaccard similarity of duplicates.")
    ] = 0.8,
    threads: Annotated[int | None, typer.Option(min=1, help="Default: one a core, and one more.")] = None,
) -> None:
    """Find exact and fuzzy duplicates.

    One row is written for each row of the inputs, in order: `row`, `cluster_id`, `keep`, `duplicate_of`,
    `similarity`. Of messages the user's turns are compared. A row without text is kept.
    """
    check_output(inputs, output)
    started = time.monotonic()
    found = judge_pieces(files.pieces(inputs, column), threshold, output.parent, threads)
    write_frame(output, found)
    _tell(found, output, started)


@app.command()
def semantic(
    inputs: Inputs,
    output: Output,
    column: Column = None,
    encoder: Annotated[
        Encoder,
        typer.Option(help="static: fast; bundled: slow, of several languages; endpoint: with --models."),
    ] = Encoder.static,
    threshold: Annotated[
        float | None, typer.Option(min=0.3, max=1.0, help="The least cosine of duplicates of one language.")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(min=1.0, max=2.0, help="The least margin of duplicates in en and zh.")
    ] = None,
    across: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="The least cosine of duplicates in en and zh.")
    ] = None,
    vectors: Annotated[
        Path | None, typer.Option(help="A folder of static vectors, as model2vec writes it.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="The models file whose role embedder is the endpoint.")
    ] = None,
) -> None:
    """Find instructions that say the same in other words, or in the other language.

    One row is written for each row of the inputs, in order: `row`, `cluster_id`, `keep`, `duplicate_of`,
    `similarity`, `cross_lingual`. Rows of one text stay or fall together; texts of more than 2,000
    characters (bundled: 500) are kept. What is not given is what was measured for the encoder; for an
    endpoint or vectors of your own there must be a threshold. Replies of an endpoint stand in
    OUT.embeddings.sqlite until all is done.
    """
    check_output(inputs, output)
    if (encoder is Encoder.endpoint) != (models is not None):
        raise ConfigError("--encoder endpoint and --models FILE belong together")
    given = {"threshold": threshold, "margin": margin, "across": across}
    try:
        settings = SemanticSettings.model_validate({"encoder": encoder.value, "vectors": vectors, **given})
    except ValidationError as error:
        raise ConfigError(f"judge semantic: {explain(error)}") from error
    started = time.monotonic()
    journal = output.with_name(f"{output.name}.embeddings.sqlite")
    by = alone.remote(settings, load_models(models), journal) if models else alone.local(settings)
    with by as embed:
        found, without = alone.judge_pieces(files.pieces(inputs, column), embed, settings)
    write_frame(output, found)
    if models:  # what was paid for is needed no more
        for end in ("", "-wal", "-shm"):
            journal.with_name(journal.name + end).unlink(missing_ok=True)
    _tell(found, output, started, without)


@app.command()
def critique(
    inputs: Inputs,
    output: Output,
    critic: CriticName,
    models: ModelsFile = None,
    recipe: RecipeFile = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Tiers by the cut-offs that `hydata critic evaluate` found.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="Where replies are kept; default: OUTPUT.journal.sqlite.")
    ] = None,
) -> None:
    """Let a critic score complete conversations.

    One row is written for each row of the inputs, in order: `row`, `tier` (1 best to 4), the five aspects (4
    best), `issues`, `reason`; a row that the critic failed on has no `tier` and the failure as `reason`. Rows
    are `messages`, or `instruction`, `input` and `output` or `response`; `reference`, `task` and `language`
    help where they are. Stopped, it goes on from its journal.
    """
    check_output(inputs, output)
    started = time.monotonic()
    loaded = recipe_of(recipe)
    settings = loaded.critique.model_copy(update={"calibration": calibration or loaded.critique.calibration})

    async def main() -> pl.DataFrame:
        kept = journal or output.with_name(f"{output.name}.journal.sqlite")
        async with critic_alone(loaded, models, critic, kept) as context:
            return await judge_rows(inputs, settings, context)

    found = run_in_loop(main())
    write_frame(output, found)
    tiers = ", ".join(
        f"{n:,} of tier {tier}" for tier, n in found["tier"].drop_nulls().value_counts().sort("tier").rows()
    )
    failed = found["tier"].null_count()
    seconds = time.monotonic() - started
    err.print(f"{found.height:,} rows: {tiers or 'none judged'}; {failed:,} failed, in {seconds:.1f} s")
    out.print(escape(str(output)))


@app.command()
def agreement(
    path: Annotated[Path, typer.Argument(metavar="INPUT", help="A JSONL file of questions with samples.")],
    output: Output,
    min_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Abstain where the largest class has less of the votes.")
    ] = 0.0,
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Weight votes by the models' reliability in this file.")
    ] = False,
) -> None:
    """Tell which answer the samples to each question agree on (self-consistency).

    A line is {"question": ..., "samples": [{"text": ..., "model": ...}, ...]} and may have a "reference"
    answer, which votes too. One row is written for each, in order: `row`, `answer`, `share`, `classes`
    (votes, descending), `abstained` (no vote, a tie, too small a share), `answers` (what each sample gives;
    null: nothing, and no vote). Weighted, `answer` is the most probable class and `share` its probability.
    """
    check_output([path], output)
    started = time.monotonic()
    found = agreement_alone.judge_rows(path, min_share, weighted)
    write_frame(output, found)
    seconds, samples = time.monotonic() - started, int(found["answers"].list.len().sum())
    err.print(
        f"{found.height:,} rows, {samples:,} samples, {int(found['classes'].list.sum().sum()):,} votes, "
        f"{int(found['abstained'].sum()):,} abstained, in {seconds:.1f} s"
    )
    out.print(escape(str(output)))


@app.command(help=contamination_judge.ALONE.doc)
def contamination(
    inputs: Inputs,
    output: Output,
    benchmark: Annotated[
        list[str],
        typer.Option(
            metavar="FILE[:QUESTION[:ANSWER]]",
            help="A benchmark, and its columns where these are not found; can be given again.",
        ),
    ],
    column: Column = None,
    assignments: Assignments = None,
) -> None:
    judge = contamination_judge.ALONE
    settings = overridden(contamination_judge.AloneSettings, assignments or (), f"judge {judge.name}")
    settings = settings.model_copy(update={"benchmarks": {**settings.benchmarks, **named(benchmark)}})
    check_output(inputs, output)
    contamination_judge.checker(
        settings.measured
    )  # a benchmark that cannot be read is missed before any work
    _judge(judge, settings, inputs, column, output)


def _register(judge: FileJudge) -> None:
    def command(
        inputs: Inputs, output: Output, column: Column = None, assignments: Assignments = None
    ) -> None:
        check_output(inputs, output)
        settings = overridden(judge.settings, assignments or (), f"judge {judge.name}")
        _judge(judge, settings, inputs, column, output)

    app.command(judge.name, help=judge.doc)(command)


def _judge(
    judge: FileJudge, settings: Settings, inputs: list[Path], column: str | None, output: Path
) -> None:
    started = time.monotonic()
    counts = judge_files(judge, settings, inputs, column, output, processes=cores())
    rows, *others = counts.items()
    seconds = time.monotonic() - started
    told = "".join(f", {count:,} {name}" for name, count in others)
    err.print(f"{rows[1]:,} rows{told}, in {seconds:.1f} s")
    out.print(escape(str(output)))


for _alone in FILE_JUDGES:
    _register(_alone)


def check_output(inputs: list[Path], output: Path) -> None:
    """Check that a result can be written there, before hours of work.

    Raises:
        ConfigError: it cannot.
    """
    for path in inputs:
        if not path.is_file():
            raise ConfigError(f"{path}: no such file, or a folder; name Parquet or JSONL files")
    if output.suffix.lower() != ".parquet":
        raise ConfigError(f"-o {output}: Parquet is written; give a file name that ends in .parquet")
    if output.exists() and not output.is_file():
        raise ConfigError(f"-o {output}: no regular file; give the name of the Parquet file to write")
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise ConfigError(f"-o {output}: is an input as well; give another name")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output.parent):
            pass
    except OSError as error:
        raise ConfigError(f"-o {output}: its folder cannot be written ({error}); give another") from error


def _tell(found: pl.DataFrame, output: Path, started: float, without: int = 0) -> None:
    kept, seconds = int(found["keep"].sum()), time.monotonic() - started
    err.print(
        f"{found.height:,} rows, {found['cluster_id'].n_unique():,} clusters, {kept:,} kept, "
        f"{found.height - kept:,} duplicates, in {seconds:.1f} s"
        + (f"; {without:,} without a text to compare" if without else "")
    )
    out.print(escape(str(output)))
