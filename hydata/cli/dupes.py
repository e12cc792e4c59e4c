"""``hydata dupes``: the duplicates that runs have found."""

from __future__ import annotations

from typing import Annotated

import duckdb
import typer
from rich.table import Table
from rich.text import Text

from hydata import dupes
from hydata.cli.console import WAREHOUSE, Warehouse, out, printable, wide
from hydata.dupes import Member, Share
from hydata.errors import WarehouseError
from hydata.recipe import table_schemas
from hydata.warehouse import connect, latest_head

app = typer.Typer(no_args_is_help=True, help="The duplicates that runs have found.")

Judge = Annotated[
    str | None, typer.Option(help="One place where the recipe compares; default: the one that drops most.")
]
RecipeName = Annotated[str | None, typer.Option("--recipe", "-r", help="Default: the last run's.")]


@app.command()
def report(
    judge: Judge = None,
    most: Annotated[int, typer.Option(min=1, help="Lines of each list.")] = 5,
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
) -> None:
    """How many duplicates there are, how large their clusters, and which prompts and files they come from."""
    with connect(warehouse, latest_head(warehouse, recipe), table_schemas()) as con:
        found = dupes.summaries(con)
        if not found:
            raise WarehouseError(f"{warehouse}: nothing was compared yet; `hydata run` does it")
        head = Table(box=None, pad_edge=False)
        head.add_column("judge")
        for name in ("records", "dropped", "of them exact", "clusters", "largest"):
            head.add_column(name, justify="right")
        for s in found:
            counts = (s.records, s.dropped, s.exact, s.clusters, s.largest)
            head.add_row(s.judge, *(f"{count:,}" for count in counts))
        wide().print(head)
        chosen = judge or max(found, key=lambda s: s.dropped).judge
        if chosen not in {s.judge for s in found}:
            raise WarehouseError(f"--judge {chosen}: there are {', '.join(s.judge for s in found)}")
        _print_judge(con, chosen, most)


def _print_judge(con: duckdb.DuckDBPyConnection, judge: str, most: int) -> None:
    out.print(f"\n{judge}: clusters by size")
    for least, count in dupes.sizes(con, judge):
        out.print(f"  {f'{least:,}' if least == 1 else f'{least:,} to {2 * least - 1:,}':>15}  {count:,}")
    _print_shares("by prompt and model", dupes.by_prompt(con, judge, most))
    _print_shares("by file", dupes.by_source(con, judge, most))
    for title, ids in (
        ("the largest clusters", dupes.largest(con, judge, most)),
        ("dropped and nearest to being kept", dupes.least_similar(con, judge, most)),
    ):
        if ids:
            out.print(f"\n{title}")
        for id in ids:
            out.print(f"\n  hydata dupes show {id[:12]} --judge {judge}", style="bold")
            _print_members(dupes.members(con, id, judge, 3)[1])


def _print_shares(title: str, shares: list[Share]) -> None:
    if shares:
        out.print(f"\n{title}: dropped, of records")
    for share in shares:
        out.print(Text(f"  {share.dropped:>9,} {share.records:>9,}  {printable(share.name)}"))


@app.command()
def show(
    cluster: Annotated[
        str, typer.Argument(help="The id of a cluster or of one of its records, or its start.")
    ],
    judge: Judge = None,
    most: Annotated[int, typer.Option(min=1, help="Records.")] = 20,
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
) -> None:
    """The records of a cluster: which are kept, which are duplicates of which, and their texts."""
    with connect(warehouse, latest_head(warehouse, recipe), table_schemas()) as con:
        name, members = dupes.members(con, cluster, judge, most)
    out.print(name)
    _print_members(members)


def _print_members(members: list[Member]) -> None:
    for member in members:
        line = Text("  kept     " if member.keep else "  dropped  ", style="bold")
        line.append(member.record_id[:12], style="not bold")
        if member.duplicate_of is not None:
            line.append(f"  {member.similarity:.3f} like {member.duplicate_of[:12]}", style="not bold")
        line.append(f"  {printable(member.made_by)}", style="not bold")
        out.print(line)
        out.print(Text("           " + printable(" ".join(member.text.split()))))
