"""``hydata yield``: which prompts and models come to accepted rows, and for how many tokens."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from hydata.cli.console import WAREHOUSE, Warehouse, out, printable, wide
from hydata.recipe import table_schemas
from hydata.warehouse import connect, latest_head
from hydata.yields import Failures, Yield, failures, yields


def show(
    warehouse: Warehouse = WAREHOUSE,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe", "-r", help="The name of the recipe whose data is meant; default: the last run's."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Rank the prompts and models of each step by accepted rows for 1,000 tokens.

    A row that the final policy keeps counts for every prompt in its lineage. The rate is the part of the
    attempts that came to an accepted row, with its 95% interval (Wilson). Below stand the prompts of judges,
    which make no rows, and what failed there.
    """
    head = latest_head(warehouse, recipe)
    with connect(warehouse, head, table_schemas()) as con:
        found, judges = yields(con, head.recipe), failures(con, head.recipe)
    if as_json:
        rows = [*map(_plain, found), *map(asdict, judges)]
        sys.stdout.write(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
    else:
        _print(found)
        _print_judges(judges)


def _plain(y: Yield) -> dict[str, object]:
    low, high = y.interval
    figures = {
        "attempts": y.attempts,
        "per_thousand": y.per_thousand,
        "rate": y.rate,
        "low": low,
        "high": high,
    }
    return asdict(y) | figures


def _print(found: list[Yield]) -> None:
    if not found:
        out.print("nothing was made here yet: no prompt has a yield")
        return
    table = _table("calls", "tokens", "made", "rejected")
    for name in ("accepted", "per 1,000", "rate", "95%"):
        table.add_column(name, justify="right", no_wrap=True)
    for y in found:
        table.add_row(
            Text(printable(y.prompt)),
            Text(printable(y.model)),
            *(f"{n:,}" for n in (y.calls, y.tokens, y.made, y.rejected)),
            _most(y),
            f"{y.accepted:,}",
            "" if y.per_thousand is None else f"{y.per_thousand:.2f}",
            "" if y.rate is None else f"{y.rate:.0%}",
            "{:.0%}-{:.0%}".format(*y.interval) if y.attempts else "",
        )
    wide().print(table)


def _print_judges(found: list[Failures]) -> None:
    if not found:
        return
    table = _table("calls", "tokens", "failed")
    for f in found:
        table.add_row(
            Text(printable(f.prompt)),
            Text(printable(f.model)),
            *(f"{n:,}" for n in (f.calls, f.tokens, f.rejected)),
            _most(f),
        )
    out.print()
    wide().print(table)


def _table(*counts: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("prompt", overflow="fold")
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=24)  # an identity ends in hashes
    for name in counts:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("most of them", overflow="fold")
    return table


def _most(y: Yield | Failures) -> str:
    return f"{y.reason} {y.reason_rejects:,}" if y.reason else ""
