"""``hydata journal``: what the journal of model replies holds; writing it out; making it smaller."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hydata.cli.console import WAREHOUSE, Warehouse, out, printable, wide
from hydata.errors import ConfigError
from hydata.models import upkeep
from hydata.models.journal import check_exists
from hydata.models.upkeep import Chosen
from hydata.warehouse import JOURNAL, locked

app = typer.Typer(no_args_is_help=True, help="The journal of model replies: what is in it, export, prune.")

Purpose = Annotated[
    str | None,
    typer.Option("--purpose", "-p", help="Only this step or prompt, e.g. respond.", metavar="STEP"),
]
OfModel = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", help="Only this model: its identity, or what stands before @ or a space in it."
    ),
]
DAY = 86400


@app.command()
def stats(warehouse: Warehouse = WAREHOUSE) -> None:
    """Count replies, tokens and seconds by step, prompt and model. Reads the whole journal."""
    path = warehouse / JOURNAL
    found = upkeep.stats(path)
    table = Table(box=None, pad_edge=False)
    for name in ("step", "prompt", "model"):
        table.add_column(name, overflow="fold")
    for name in ("replies", "tokens in", "out", "mean s", "first", "last"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in found.groups:
        table.add_row(
            *(Text(printable(text)) for text in (group.step, group.purpose, group.model)),
            *(f"{n:,}" for n in (group.replies, group.prompt_tokens, group.completion_tokens)),
            f"{group.seconds:.2f}",
            *(f"{datetime.fromtimestamp(t):%Y-%m-%d %H:%M}" for t in (group.first, group.last)),
        )
    wide().print(table)
    replies = sum(group.replies for group in found.groups)
    out.print(f"\n{escape(str(path))}: {replies:,} replies, {found.size / 2**20:,.1f} MiB")
    if found.waiting:
        out.print(f"{found.waiting:,} requests written for an offline batch have no reply yet")


@app.command()
def export(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .jsonl or .parquet file; default: JSONL to a pipe."),
    ] = None,
    warehouse: Warehouse = WAREHOUSE,
    purpose: Purpose = None,
    model: OfModel = None,
) -> None:
    """Write the replies out, in the order they came: key, purpose, model, tokens, seconds, time, reply."""
    if output is not None and output.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"--output {output}: give a file name that ends in .jsonl or .parquet")
    if output is None and sys.stdout.isatty():
        # What a model wrote may steer a terminal.
        raise ConfigError("--output is missing: name a file, or send the output into a pipe")
    rows = upkeep.export(warehouse / JOURNAL, output or sys.stdout, Chosen(purpose=purpose, model=model))
    if output is not None:
        out.print(f"{escape(str(output))}: {rows:,} replies, {output.stat().st_size:,} bytes")


@app.command()
def prune(
    warehouse: Warehouse = WAREHOUSE,
    older_than: Annotated[
        float | None,
        typer.Option(help="Only what was stored more than this many days ago.", metavar="DAYS", min=0),
    ] = None,
    purpose: Purpose = None,
    model: OfModel = None,
    duplicates: Annotated[
        bool, typer.Option("--duplicates", help="Only second replies to a call that was answered twice.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove replies that meet all of the conditions given, and give the room back to the disk.

    A run that needs a removed reply pays for it again. Refused while a run holds the warehouse.
    """
    path = warehouse / JOURNAL
    check_exists(path)  # before the lock is made, in what may be no warehouse
    before = None if older_than is None else time.time() - older_than * DAY
    chosen = Chosen(purpose=purpose, model=model, before=before, duplicates=duplicates)
    with locked(warehouse):
        rows = upkeep.prune(path, chosen, dry_run=True).rows
        if dry_run or not rows:
            out.print(f"would remove {rows:,} replies" if rows else "no reply is meant; nothing removed")
            return
        if not yes:
            typer.confirm(f"Remove {rows:,} replies from {path}?", abort=True)
        gone = upkeep.prune(path, chosen)
    out.print(f"removed {gone.rows:,} replies, {(gone.before - gone.after) / 2**20:,.1f} MiB")
