"""The command line: thin functions over ``run``, ``report`` and ``export``.

Errors of the user's or the data's making are printed in one line, without a traceback, and end with
the error's own exit code (see ``hydata.errors``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import duckdb
import polars as pl
import typer
from pydantic import ValidationError
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from hydata import resources
from hydata.cli import batch as batch_command
from hydata.cli import classifier as classifier_command
from hydata.cli import critic as critic_command
from hydata.cli import dupes as dupes_command
from hydata.cli import generalise as generalise_command
from hydata.cli import journal as journal_command
from hydata.cli import judge as judge_command
from hydata.cli import models as models_command
from hydata.cli import plan as plan_command
from hydata.cli import policy as policy_command
from hydata.cli import yields as yield_command
from hydata.cli.console import WAREHOUSE, RecipeName, Warehouse, err, out, print_usage, printable, wide
from hydata.errors import ConfigError, HydataError, WarehouseError
from hydata.export.messages import Manifest, export_messages
from hydata.export.preferences import PairsManifest, export_preferences
from hydata.export.provenance import read_provenance
from hydata.models import Budget
from hydata.models import run as run_in_loop
from hydata.policy import last_policy
from hydata.progress import RunProgress
from hydata.recipe import Recipe, load_recipe, table_schemas
from hydata.report import FunnelRow, funnel, story
from hydata.run import run_recipe
from hydata.schema import Kind
from hydata.seeds import SeedSettings
from hydata.settings import explain
from hydata.warehouse import collect_garbage, connect, latest_head, locked

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Raw seeds in, a balanced, deduplicated, critique-filtered training mix out.

A first run:

1. `hydata init` writes `recipe.toml`, `models.toml`, `policy.toml`, `prompts/` and `taxonomy/`.
2. `hydata run recipe.toml SEEDS...` does everything; run it again to resume or to add seeds.
3. `hydata export` writes the mix as messages-JSONL.
4. `hydata status`, `hydata sql` and `hydata why` tell what became of the data.
""",
)

app.add_typer(batch_command.app, name="batch")
app.add_typer(classifier_command.app, name="classifier")
app.add_typer(critic_command.app, name="critic")
app.add_typer(dupes_command.app, name="dupes")
app.add_typer(generalise_command.app, name="generalise")
app.add_typer(journal_command.app, name="journal")
app.add_typer(judge_command.app, name="judge")
app.add_typer(models_command.app, name="models")
app.add_typer(policy_command.app, name="policy")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; it may exist.")] = Path(),
) -> None:
    """Write a commented recipe with its models, policy, prompts and taxonomy, all yours to edit.

    Existing files are left alone.
    """
    for path, written in resources.write_project(folder):
        out.print(f"{'wrote' if written else 'kept '}  {escape(str(path))}")
    out.print("\nNext: edit recipe.toml, then `hydata run recipe.toml SEEDS...`")


@app.command()
def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files and folders of seeds or instruction sets.")],
    warehouse: Warehouse = WAREHOUSE,
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", "-r", help="The recipe file; default: ./recipe.toml if there is one."),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option("--kind", "-k", help="web, qa, code, book or dataset, instead of detecting it."),
    ] = None,
) -> None:
    """Read seeds into the warehouse: documents, conversations, and rejects with their reasons.

    Kinds are detected: web pages (HTML, WARC, WET), Q&A (StackExchange, JSONL, CSV), source code, books and
    text, existing instruction sets. Nothing bad stops it: what cannot be read becomes a reject.
    """
    loaded = _recipe(recipe, tuple(paths), kind)
    with RunProgress(err) as progress:
        session = run_in_loop(run_recipe(warehouse, loaded, until="ingest", progress=progress))
    with connect(warehouse, session.head, session.schemas) as con:
        _print_query(con, "SELECT kind, count(*) AS documents FROM documents GROUP BY ALL ORDER BY ALL", {})
        _print_query(
            con,
            "SELECT reason, count(*) AS rejects FROM rejects WHERE stage = 'ingest' "
            "GROUP BY ALL ORDER BY rejects DESC",
            {},
        )
        row = con.execute("SELECT count(*) FROM conversations WHERE step = 'dataset'").fetchone()
        out.print(f"{row[0] if row else 0:,} conversations of existing sets")


@app.command()
def run(
    recipe: Annotated[Path, typer.Argument(help="The recipe file.")],
    paths: Annotated[list[str] | None, typer.Argument(help="Seeds beside those the recipe names.")] = None,
    warehouse: Warehouse = WAREHOUSE,
    rebuild: Annotated[
        list[str] | None,
        typer.Option(help="Redo a stage's shards that were made under an older prompt, model or setting."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Stop after this node of the plan, e.g. ingest, generate, follow_up/1.")
    ] = None,
    budget_tokens: Annotated[
        int | None, typer.Option(help="Tokens, read and written, that this run may use.", min=1)
    ] = None,
    budget_cost: Annotated[
        float | None, typer.Option(help="What this run may cost, by the prices in models.toml.")
    ] = None,
) -> None:
    """Run a recipe: all that is not done yet, from ingest to the mix.

    Killed at any point, it goes on where it was: finished shards and answered model calls are not
    repeated. Exit code 75 means that a model stayed unreachable, 76 that the budget is used up; run
    again to resume.
    """
    loaded = _with_budget(_recipe(recipe, tuple(paths or ()), None), budget_tokens, budget_cost)
    with RunProgress(err) as progress:
        session = run_in_loop(
            run_recipe(warehouse, loaded, rebuild=rebuild or (), until=until, progress=progress)
        )
    with connect(warehouse, session.head, session.schemas) as con:
        _print_funnel(funnel(con))
    print_usage(session.ledger)
    for stage, shards in sorted((+session.older).items()):
        out.print(
            f"\n{stage}: {shards} finished shards were made under an older prompt, model, setting or "
            f"classifier and stay; `--rebuild {stage}` redoes them"
        )
    out.print('\nNext: `hydata export`, `hydata status`, `hydata sql "SELECT ..."`, `hydata why RECORD`')


app.command()(plan_command.plan)
app.command("yield")(yield_command.show)


@app.command()
def status(warehouse: Warehouse = WAREHOUSE, recipe: RecipeName = None) -> None:
    """Print the funnel: documents, instructions, evolved, responses, kept, and why others were dropped."""
    head = latest_head(warehouse, recipe)
    with connect(warehouse, head, table_schemas()) as con:
        out.print(f"recipe {head.recipe} in {escape(str(warehouse))}\n")
        _print_funnel(funnel(con))


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="One DuckDB statement over the tables of the warehouse.")],
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
    format: Annotated[str, typer.Option("--format", "-f", help="table, csv or jsonl.")] = "table",
) -> None:
    """Ask the warehouse with SQL. The tables are listed by `hydata sql "SHOW TABLES"`."""
    with connect(warehouse, latest_head(warehouse, recipe), table_schemas()) as con:
        _print_query(con, query, {}, format)


@app.command()
def why(
    record: Annotated[str, typer.Argument(help="A record's or document's id, or its first digits.")],
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
) -> None:
    """Tell the whole story of one record: seed, ancestors, prompts, models, judgements, decision, mixes."""
    head, schemas = latest_head(warehouse, recipe), table_schemas()
    with connect(warehouse, head, schemas) as con:
        for line in story(con, record, last_policy(warehouse, head.recipe), schemas):
            text = Text("  " * line.depth)
            text.append(printable(line.label), style="bold")
            if line.text:
                text.append("  " + printable(line.text))
            out.print(text)


@app.command()
def export(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The .jsonl file to write.")] = None,
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeName = None,
    mix: Annotated[str, typer.Option(help="The mix to export.")] = "main",
    show: Annotated[int, typer.Option(help="Print this many sample rows.", min=0)] = 0,
    preferences: Annotated[
        bool, typer.Option("--preferences", help="Export preference pairs for DPO instead of a mix.")
    ] = False,
) -> None:
    """Write a mix as messages-JSONL with a manifest (rows, tokens, sha256, recipe, git revision).

    With --preferences: the preference pairs, `{"prompt": [...], "chosen": [...], "rejected": [...]}` a line,
    and in the manifest how much longer the chosen answers are.
    """
    head = latest_head(warehouse, recipe)
    name = "preferences" if preferences else mix
    path = output or warehouse / "exports" / f"{head.recipe}-{name}.jsonl"
    if path.suffix != ".jsonl":
        raise ConfigError(f"--output {path}: give a file name that ends in .jsonl")
    provenance = read_provenance(warehouse, head.recipe)
    with connect(warehouse, head, table_schemas()) as con:
        if preferences:
            pairs = export_preferences(con, path, provenance)
            _print_manifest(path, pairs)
            if pairs.length_difference is not None:
                more = pairs.length_difference
                compared = "longer" if more >= 0 else "shorter"
                out.print(
                    f"  chosen answers are {abs(more):,.0f} characters {compared} "
                    f"than rejected ones on average; {pairs.chosen_longer:.0%} of them are longer"
                )
        else:
            _print_manifest(path, export_messages(con, mix, path, provenance))
    with path.open(encoding="utf-8") as f:
        for _, line in zip(range(show), f, strict=False):
            out.print()
            row = json.loads(line)
            for message in row["messages"] if "messages" in row else row["prompt"]:
                _print_turn(message["role"], message["content"])
            for side in ("chosen", "rejected"):
                for message in row.get(side, ()):
                    _print_turn(side, message["content"])


@app.command()
def gc(
    warehouse: Warehouse = WAREHOUSE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Remove shards that no recipe's head lists any more, and what killed runs left half written."""
    with locked(warehouse):
        files, size = collect_garbage(warehouse, dry_run=dry_run)
    out.print(f"{'would remove' if dry_run else 'removed'} {files:,} files, {size / 2**20:,.1f} MiB")


def _recipe(path: Path | None, seeds: tuple[str, ...], kind: str | None) -> Recipe:
    if path is not None or Path("recipe.toml").exists():
        recipe = load_recipe(path or Path("recipe.toml"), seeds)
    else:
        recipe = resources.default_recipe(seeds)
    if kind is None:
        return recipe
    kinds = Kind.__args__  # type: ignore[attr-defined]  # a Literal's alternatives
    if kind not in kinds:
        raise ConfigError(f"--kind {kind}: give one of {', '.join(kinds)}")
    readers = SeedSettings(**{**recipe.ingest.seeds.model_dump(), "kind": kind})
    return recipe.model_copy(update={"ingest": recipe.ingest.model_copy(update={"seeds": readers})})


def _with_budget(recipe: Recipe, tokens: int | None, cost: float | None) -> Recipe:
    given = {name: value for name, value in (("tokens", tokens), ("cost", cost)) if value is not None}
    try:
        budget = Budget(**{**recipe.budget.model_dump(), **given})
    except ValidationError as error:
        raise ConfigError(f"--budget: {explain(error)}") from error
    return recipe.model_copy(update={"budget": budget})


def _print_funnel(rows: list[FunnelRow]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("step", no_wrap=True)
    table.add_column("rows", justify="right")
    table.add_column("not taken on, by reason", overflow="fold")
    for row in rows:
        table.add_row(row.step, f"{row.rows:,}", ", ".join(f"{reason} {n:,}" for reason, n in row.dropped))
    wide().print(table)


def _print_turn(who: str, content: str) -> None:
    text = Text(f"  {who}: ", style="bold")
    text.append(printable(" ".join(content.split()))[:400], style="not bold")
    out.print(text)


def _print_manifest(path: Path, manifest: Manifest | PairsManifest) -> None:
    out.print(
        f"{escape(str(path))}: {manifest.rows:,} rows, {manifest.bytes:,} bytes, "
        f"{manifest.tokens:,} tokens ({manifest.tokenizer}), sha256 {manifest.sha256[:16]}…"
    )
    for reason, count in manifest.dropped.items():
        out.print(f"  dropped {count:,}: {reason}")


def _print_query(
    con: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any], format: str = "table"
) -> None:
    if format not in ("table", "csv", "jsonl"):
        raise ConfigError(f"--format {format}: give table, csv or jsonl")
    try:
        result = con.sql(query, params=parameters)
        frame = result.pl() if result is not None else None
    except duckdb.Error as error:
        raise ConfigError(f"DuckDB: {error}") from error
    if frame is None:
        return
    if format == "csv":
        nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
        if nested:
            raise ConfigError(
                f"--format csv: {', '.join(nested)} is nested, which CSV cannot hold; give jsonl"
            )
        sys.stdout.write(frame.write_csv())
    elif format == "jsonl":
        sys.stdout.write(frame.write_ndjson())
    else:
        table = Table()
        for name, dtype in frame.schema.items():
            table.add_column(Text(name), justify="right" if dtype.is_numeric() else "left", overflow="fold")
        for row in frame.iter_rows():
            table.add_row(*(Text(printable("" if v is None else str(v))) for v in row))
        wide().print(table)


def _plain(error: Exception) -> tuple[str, int] | None:
    """What to say of an error of the user's, the data's or the machine's making, and the exit code; None for
    a defect in hydata, whose traceback is wanted."""
    line = next(iter(str(error).splitlines()), "")
    if isinstance(error, HydataError):
        return str(error), error.exit_code
    if isinstance(error, OSError):  # those of Polars have no `filename` but end with it
        seen = f"{error.filename}: {error.strerror}" if error.filename is not None else line
        return (
            f"{seen}; check that the path is right, that you may write there, and that the disk has room",
            1,
        )
    if isinstance(error, pl.exceptions.ComputeError) and "(os error" in line:
        return f"{line}; check that the disk of the warehouse has room", 1
    damaged = isinstance(error, duckdb.InvalidInputException) and "parquet" in line.lower()
    if isinstance(error, duckdb.OperationalError) or damaged:
        remedy = "a missing shard is made again by the next `hydata run`, a damaged one once it is removed"
        return f"DuckDB: {line}; {remedy}", WarehouseError.exit_code
    return None


def main() -> None:
    """The entry point ``hydata``."""
    try:
        app()
    except Exception as error:
        said = _plain(error)
        if said is None:
            raise
        err.print(Text(f"error: {printable(said[0])}", style="red"))
        raise SystemExit(said[1]) from None
    except KeyboardInterrupt:
        err.print("stopped; run the same command again to go on")
        raise SystemExit(130) from None
