"""``hydata plan``: what a recipe will take, forecast from a small sample of its seeds."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hydata.cli.console import WAREHOUSE, Warehouse, err, out, printable, wide
from hydata.forecast import SAMPLE, Forecast, forecast
from hydata.models import Budget, run
from hydata.progress import RunProgress
from hydata.recipe import load_recipe


def plan(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.")],
    paths: Annotated[list[str] | None, typer.Argument(help="Seeds beside those the recipe names.")] = None,
    warehouse: Warehouse = WAREHOUSE,
    sample: Annotated[
        int, typer.Option("--sample", "-n", help="Documents and dataset rows to try.", min=1)
    ] = SAMPLE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Forecast the calls, tokens, cost and hours of a recipe from a sample of its seeds.

    Reads all seeds into the warehouse and sends a sample of them through the whole recipe aside. The sample's
    replies stay in the journal, where `hydata run` finds them. Its exit codes are those of `hydata run`.
    """
    loaded = load_recipe(recipe, tuple(paths or ()))
    with RunProgress(err) as progress:
        found = run(forecast(warehouse, loaded, sample=sample, progress=progress))
    if as_json:
        sys.stdout.write(_json(found) + "\n")
    else:
        _print(found, loaded.budget)


def _json(found: Forecast) -> str:
    numbers = asdict(found)
    spent = numbers.pop("spent")
    del spent["latencies"]
    return json.dumps(numbers | {"total": asdict(found.total), "spent": spent}, indent=1)


def _print(found: Forecast, budget: Budget) -> None:
    if not found.rows:
        out.print("nothing was read, so nothing is to be asked: no documents and no dataset rows")
        return
    share = found.sampled / found.rows
    out.print(
        f"the whole recipe, by {found.sampled:,} of {found.rows:,} documents and dataset rows ({share:.1%})\n"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("step", "model"):
        table.add_column(name, overflow="fold")
    for name in ("calls", "tokens in", "out", "cost", "hours"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in (*found.lines, found.total):
        table.add_row(
            Text(line.step),
            Text(printable(line.model)),
            *(f"{n:,.0f}" for n in (line.calls, line.prompt_tokens, line.completion_tokens)),
            f"{line.cost:.4g}",
            f"{line.hours:.2g}",
        )
    wide().print(table)
    if found.error:
        out.print(f"\n± {found.error:.0%} of the tokens (standard error)")
    if found.absent:
        out.print(f"not in the sample: {', '.join(found.absent)}; a larger --sample reaches them")
    spent = found.spent
    out.print(
        f"\nthe sample made {spent.calls:,} calls; the journal answered {spent.cached:,}, the others "
        f"took {spent.prompt_tokens:,} tokens in, {spent.completion_tokens:,} out, cost {spent.cost:.4g}"
    )
    total = found.total
    for name, limit, needed in (
        ("tokens", budget.tokens, total.prompt_tokens + total.completion_tokens),
        ("cost", budget.cost, total.cost),
    ):
        if limit is not None:
            says = "may do" if needed <= limit else f"is used up by {limit / needed:.0%} of the recipe"
            out.print(f"budget.{name} = {limit:g} {says}")
