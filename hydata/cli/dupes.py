"""``hydata dupes``: the duplicates that runs have found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import duckdb
import typer
from rich.table import Table
from rich.text import Text

from hydata import dupes
from hydata.cli.console import WAREHOUSE, RecipeName, Warehouse, out, printable, wide
from hydata.curation.dedup import DuplicatesSettings
from hydata.curation.dedup.near import differing
from hydata.dupes import Member, Near, Share, Summary
from hydata.errors import WarehouseError
from hydata.recipe import table_schemas
from hydata.warehouse import connect, latest_head

app = typer.Typer(no_args_is_help=True, help="The duplicates that runs have found.")

SHOWN = 600
"""Characters of what differs, of each text."""

Judge = Annotated[
    str | None, typer.Option(help="One place where the recipe compares; default: the one that drops most.")
]


@app.command()
def report(
    judge: Judge = None,
    most: Annotated[int, typer.Option(min=1, help="Lines of each list.")] = 5,
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
) -> None:
    """How many duplicates there are, how large their clusters, and which prompts and files they come from."""
    with connect(warehouse, latest_head(warehouse, recipe), table_schemas()) as con:
        found = _summaries(con, warehouse)
        head = Table(box=None, pad_edge=False)
        head.add_column("judge")
        for name in ("records", "dropped", "of them exact", "clusters", "largest"):
            head.add_column(name, justify="right")
        for s in found:
            counts = (s.records, s.dropped, s.exact, s.clusters, s.largest)
            head.add_row(s.judge, *(f"{count:,}" for count in counts))
        wide().print(head)
        _print_judge(con, _chosen(found, judge), most)


def _summaries(con: duckdb.DuckDBPyConnection, warehouse: Path) -> list[Summary]:
    found = dupes.summaries(con)
    if not found:
        raise WarehouseError(f"{warehouse}: nothing was compared yet; `hydata run` does it")
    return found


def _chosen(found: list[Summary], judge: str | None) -> str:
    """The judge that is named, or the one that drops most."""
    chosen = judge or max(found, key=lambda s: s.dropped).judge
    if chosen not in {s.judge for s in found}:
        raise WarehouseError(f"--judge {chosen}: there are {', '.join(s.judge for s in found)}")
    return chosen


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


@app.command()
def near(
    judge: Judge = None,
    threshold: Annotated[
        float, typer.Option(min=dupes.LEAST, max=1.0, help="The threshold that the recipe has.")
    ] = DuplicatesSettings().threshold,
    within: Annotated[
        float, typer.Option(min=0.001, max=0.2, help="How far from it, to either side.")
    ] = 0.05,
    most: Annotated[int, typer.Option(min=1, help="Pairs of each list.")] = 10,
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
) -> None:
    """What was just kept and what just dropped, and in what the two texts differ: to choose a threshold by.

    Of each cluster the pair nearest to the threshold is shown. What a lower threshold would drop is found
    anew, from stored signatures of what is kept.
    """
    head = latest_head(warehouse, recipe)
    with connect(warehouse, head, table_schemas()) as con:
        fuzzy = [summary for summary in _summaries(con, warehouse) if dupes.has_signatures(summary.judge)]
        chosen = _chosen(fuzzy, judge)
        dupes.find_near(con, warehouse, head, chosen, threshold, within)
        scope, _ = dupes.signed_for(head, chosen)
        for keep, title in (
            (True, f"kept at {threshold:g} that {max(threshold - within, dupes.LEAST):g} would drop"),
            (False, f"dropped at {threshold:g} for a similarity of at most {min(threshold + within, 1):g}"),
        ):
            counts = dupes.near_counts(con, keep)
            out.print(f"\n{chosen}: {sum(count for _, count in counts):,} {title}")
            for similarity, count in counts:
                out.print(f"  {similarity:.2f} {count:>9,}")
            for pair in dupes.near_pairs(con, scope, keep, most):
                _print_near(pair)


def _print_near(pair: Near) -> None:
    line = Text(f"\n  {pair.similarity:.3f}  ", style="bold")
    line.append(f"{pair.record_id[:12]} like {pair.duplicate_of[:12]}", style="not bold")
    if pair.alike > 1:
        line.append(f", and {pair.alike - 1:,} more of its cluster", style="not bold")
    out.print(line)
    for text in differing(pair.text, pair.other):
        out.print(Text(f"         {printable(text[:SHOWN])}{'…' * (len(text) > SHOWN)}"))
