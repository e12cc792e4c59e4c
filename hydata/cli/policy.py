"""``hydata policy``: what thresholds make of the judgements there are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hydata.cli.console import WAREHOUSE, RecipeName, Warehouse, out, printable, wide
from hydata.cli.judge import check_output
from hydata.errors import ConfigError
from hydata.policy import Finding, last_policy
from hydata.recipe import table_schemas
from hydata.report import find_id
from hydata.verdicts import (
    CHANGES,
    SECTIONS,
    Move,
    by_rule,
    changes,
    check_record,
    compared,
    explained,
    read_policy,
)
from hydata.warehouse import connect, latest_head, write_frames

app = typer.Typer(no_args_is_help=True, help="What thresholds make of the judgements there are.")


MOVES: dict[Move, str] = {
    "enter": "enter; A dropped them by",
    "wait": "wait for a judge that B requires; A dropped them by",
    "leave": "leave; B drops them by",
}


@app.command()
def explain(
    record: Annotated[str, typer.Argument(help="A record's id, or its first digits.")],
    policy: Annotated[
        Path | None, typer.Option(help="A policy file; default: the policy of the last run.")
    ] = None,
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
) -> None:
    """Show every condition that a record met, gate by gate: its measure, the threshold, and whether it holds.

    With --policy FILE the conditions are that file's; what was decided is the last run's all the same.
    """
    head = latest_head(warehouse, recipe)
    schemas = table_schemas()
    with connect(warehouse, head, schemas) as con:
        table, record_id = find_id(con, record)
        check_record(table, record_id)
        applied = read_policy(con, policy, schemas) if policy else last_policy(warehouse, head.recipe)
        if applied is None:
            raise ConfigError(
                f"recipe {head.recipe} has no policy recorded: run it again, or give --policy FILE"
            )
        out.print(f"record {record_id}")
        for verdict in explained(con, applied, schemas, record_id):
            said = Text(f"\n{verdict.section}  ", style="bold")
            said.append(" ".join((verdict.status, ", ".join(verdict.reasons))).strip(), style="not bold")
            out.print(said)
            rows = Table(box=None, pad_edge=False)
            for name in ("  reason", "measure", "value", "dropped if", ""):
                rows.add_column(name)
            for found in sorted(verdict.findings, key=lambda f: not f.holds):
                rows.add_row(*_told(found))
            wide().print(rows)
            for judge in verdict.missing:
                out.print(f"  required and missing: {judge}")


def _told(found: Finding) -> tuple[Text, ...]:
    value = "not measured" if found.value is None else found.value
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    return (
        Text(f"  {found.reason}"),
        Text(found.condition.measure),
        Text(printable(shown)),
        Text(str(found.condition)),
        Text("holds" if found.holds else "", style="bold"),
    )


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A policy file.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A Parquet file for every record that is decided otherwise."),
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Records to name of each rule's, at most.")] = 3,
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
) -> None:
    """Compare two policies on what is in the warehouse: who enters, who leaves, by rule.

    Nothing is judged again: what A dropped before duplicates were looked for, or before the critique, waits
    for these. Balancing is left out.
    """
    if output is not None:
        check_output([before, after], output)
    schemas = table_schemas()
    with connect(warehouse, latest_head(warehouse, recipe), schemas) as con:
        a, b = (read_policy(con, path, schemas) for path in (before, after))
        totals = Table(box=None, pad_edge=False)
        totals.add_column("section")
        for name in ("records", "kept by A", "kept by B", *MOVES):
            totals.add_column(name, justify="right")
        for t in compared(con, a, b, schemas):
            counts = (t.records, t.kept_a, t.kept_b, t.enter, t.wait, t.leave)
            totals.add_row(t.section, *(f"{count:,}" for count in counts))
        wide().print(totals)
        for section in SECTIONS:
            for move, said in MOVES.items():
                rules = by_rule(con, section, move, show)
                if rules:
                    out.print(f"\n{section}: {said}")
                for rule in rules:
                    line = f"  {printable(rule.name):<24} {rule.records:>8,}  {' '.join(rule.some)}"
                    out.print(Text(line.rstrip()))
        if output is not None:
            write_frames(output, changes(con), CHANGES)
            out.print(f"\n{escape(str(output))}")
