"""``hydata batch``: the pending model calls of a recipe as files, and their results into the journal."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hydata.cli.console import WAREHOUSE, Warehouse, err, out, printable, wide
from hydata.errors import ConfigError, TransientModelError
from hydata.models import run as run_in_loop
from hydata.models.batch import MAX_REQUESTS, Outbox, Results, read_results
from hydata.models.journal import Journal, check_exists
from hydata.progress import RunProgress
from hydata.recipe import Recipe, load_recipe, plan
from hydata.run import run_recipe
from hydata.stage import MapStage
from hydata.warehouse import JOURNAL, write_usage

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Offline batches: model calls in files, for `vllm run-batch` or a batch service, not by HTTP.

Round by round, until `write` says that nothing is pending:

1. `hydata batch write recipe.toml SEEDS... -o requests.jsonl`
2. `vllm run-batch -i requests.jsonl -o results.jsonl --model MODEL --served-model-name NAME`
3. `hydata batch read results.jsonl`

Each stage that asks models takes a round, since it asks about what the stage before it has made. A stage
that wants JSON may take more: a reply that was cut off or does not parse is asked for again, and further
votes follow the first. `hydata run` goes on from there at any time, and sends what is still pending.
""",
)


@app.command()
def write(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.")],
    paths: Annotated[list[str] | None, typer.Argument(help="Seeds beside those the recipe names.")] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The .jsonl file to write; further ones get numbers.")
    ],
    stage: Annotated[
        str | None,
        typer.Option(
            "--stage",
            "-s",
            help="E.g. respond; default: the first one that has something to ask.",
            show_default=False,
        ),
    ] = None,
    warehouse: Warehouse = WAREHOUSE,
    rebuild: Annotated[
        list[str] | None,
        typer.Option(help="Redo a stage's shards that were made under an older prompt, model or setting."),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Leave out what an earlier batch asks for and has no reply yet.")
    ] = False,
    max_requests: Annotated[
        int,
        typer.Option(help="Requests in one file; 50,000 and 200 MB are the most that OpenAI takes.", min=1),
    ] = MAX_REQUESTS,
) -> None:
    """Run all that needs no model, and write the calls that are pending then, instead of making them.

    A line for each sample that the journal does not have. A file holds requests for one model. It holds what
    the prompts hold, and no key. No file is written if nothing is pending.
    """
    loaded = load_recipe(recipe, tuple(paths or ()))
    if output.suffix != ".jsonl":
        raise ConfigError(f"--output {output}: give a file name that ends in .jsonl")
    _check_stage(loaded, stage)
    with (
        Outbox(output, stage, only_new=new, max_requests=max_requests) as outbox,
        RunProgress(err) as progress,
        suppress(TransientModelError),  # nothing was sent: those are the calls that went to the outbox
    ):
        todo = run_recipe(
            warehouse, loaded, rebuild=rebuild or (), until=stage, progress=progress, outbox=outbox
        )
        run_in_loop(todo)
    for step, calls in outbox.steps.items():
        if stage not in (None, step):
            raise ConfigError(
                f"--stage {stage}: {step} comes before it and has {calls:,} calls pending; finish it first, "
                f"or write its batch: --stage {step}"
            )
    _print_written(outbox, stage, new)


def _check_stage(recipe: Recipe, stage: str | None) -> None:
    stages = [n.stage.name for n in plan(recipe) if isinstance(n.stage, MapStage) and not n.stage.computes]
    if stage is not None and stage not in stages:
        raise ConfigError(f"--stage {stage}: give one that asks models: {', '.join(dict.fromkeys(stages))}")


def _print_written(outbox: Outbox, stage: str | None, new: bool) -> None:
    earlier = f"{outbox.again:,} were written before and have no reply yet"
    if not outbox.files:
        said = f"nothing of {stage} is pending" if stage else "nothing is pending, the recipe is done"
        out.print(f"{said}; no file written" if not outbox.again else f"nothing new: {earlier}")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("file", "model"):
        table.add_column(name, overflow="fold")
    for name in ("requests", "bytes"):
        table.add_column(name, justify="right", no_wrap=True)
    for file in outbox.files:
        names = (Text(printable(str(text))) for text in (file.path, file.served))
        table.add_row(*names, f"{file.requests:,}", f"{file.size:,}")
    wide().print(table)
    out.print(f"\n{' and '.join(outbox.steps)}: {outbox.requests:,} requests")
    if outbox.again:
        out.print(
            f"{earlier}{': left out' if new else ', some in other files perhaps; --new leaves them out'}"
        )
    out.print("Next: have them answered, then `hydata batch read RESULTS...`")


@app.command()
def read(
    results: Annotated[
        list[Path], typer.Argument(help="Files of results, and of errors where those are apart.")
    ],
    warehouse: Warehouse = WAREHOUSE,
    give_up: Annotated[
        bool,
        typer.Option(
            "--give-up",
            help="Take what a server refused for good (too long, a bad request) as answered so: these "
            "records become rejects. Without it they are asked for again.",
        ),
    ] = False,
) -> None:
    """Read results into the journal, where the next run finds them.

    Any number of files, in any order, also again: a reply that is there already stays. Every line that
    gave none is accounted for. Requests that failed stay pending, and `hydata batch write` writes them
    again. May be called while a run goes on.
    """
    path = warehouse / JOURNAL
    check_exists(path)
    for file in results:
        if not file.exists() or file.is_dir():
            raise ConfigError(f"{file}: no such file; name the files of results")
    found = run_in_loop(_read(results, path, give_up))
    run = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-batch"
    if found.ledger.groups:
        write_usage(warehouse, run, found.ledger.frame(run, ""))
    _print_read(found)
    if not found.added + found.already + found.given_up:
        what = next(iter(found.problems), "they are empty")
        raise ConfigError(f"no reply to a request of {warehouse} in these results: {what}; see above")


async def _read(files: list[Path], path: Path, give_up: bool) -> Results:
    journal = Journal(path)
    try:
        return await read_results(files, journal, give_up)
    finally:
        journal.close()


def _print_read(found: Results) -> None:
    total = found.ledger.total
    out.print(
        f"{found.added:,} replies added ({total.prompt_tokens:,} tokens in, "
        f"{total.completion_tokens:,} out), {found.already:,} were there already"
    )
    if found.given_up:
        out.print(f"{found.given_up:,} requests given up: refused for good")
    for what, problem in found.problems.items():
        more = ", …" if problem.lines > len(problem.places) else ""
        words = f": {problem.words}" if problem.words else ""
        out.print(Text(printable(f"  {problem.lines:,} {what} ({', '.join(problem.places)}{more}){words}")))
    if found.failed:
        out.print(
            f"{found.failed:,} requests failed and stay pending; `hydata batch write` writes them again"
        )
