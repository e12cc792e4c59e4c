"""What the commands share: the two consoles, what may be printed on them, options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hydata.models import Ledger

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


WAREHOUSE = Path("warehouse")
Warehouse = Annotated[
    Path,
    typer.Option("--warehouse", "-w", envvar="HYDATA_WAREHOUSE", help="The data root.", show_default=True),
]


RecipeName = Annotated[
    str | None,
    typer.Option(
        "--recipe", "-r", help="The name of the recipe whose data is meant; default: the last run's."
    ),
]


def printable(text: str) -> str:
    """Without control characters: seeds and model output must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text)


def wide() -> Console:
    """A console for tables: as wide as the terminal, 160 columns in a file."""
    return Console(highlight=False, width=None if out.is_terminal else 160)


def print_usage(ledger: Ledger) -> None:
    """What the model calls of a run took, a line for each prompt and model; nothing if there were none."""
    if not ledger.groups:
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("prompt", overflow="fold")
    table.add_column("model", overflow="ellipsis", no_wrap=True, max_width=28)  # an identity ends in hashes
    for name in (
        "calls",
        "cached",
        "sent",
        "retries",
        "refused",
        "tokens in",
        "out",
        "cost",
        "p50 s",
        "p99 s",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for (purpose, model), s in [*sorted(ledger.groups.items()), (("all", ""), ledger.total)]:
        counts = (s.calls, s.cached, s.sent, s.retries, s.refused, s.prompt_tokens, s.completion_tokens)
        table.add_row(
            Text(printable(purpose)),
            Text(printable(model)),
            *(f"{count:,}" for count in counts),
            f"{s.cost:.4g}",
            *("" if t is None else f"{t:.2f}" for t in (s.percentile(0.5), s.percentile(0.99))),
        )
    out.print("\nmodel calls of this run")
    wide().print(table)
