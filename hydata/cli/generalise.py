"""``hydata generalise``: weak types, how full their targets are, and training data for a generaliser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from hydata import resources
from hydata.cli.console import WAREHOUSE, Warehouse, out, wide
from hydata.errors import ConfigError
from hydata.export.generaliser import MIX, export_generaliser
from hydata.export.provenance import read_provenance
from hydata.prompts import load_prompts
from hydata.recipe import Recipe, load_recipe, table_schemas
from hydata.targets import standing, weak_types
from hydata.taxonomy import load_taxonomy
from hydata.warehouse import connect, latest_head

app = typer.Typer(
    no_args_is_help=True, help="Complex instructions of weak types, and what a model learns of them."
)

RecipeFile = Annotated[
    Path | None,
    typer.Argument(metavar="RECIPE", help="The recipe file; default: ./recipe.toml if there is one."),
]


def _recipe(path: Path | None) -> Recipe:
    if path is not None or Path("recipe.toml").exists():
        return load_recipe(path or Path("recipe.toml"))
    return resources.default_recipe(())


@app.command()
def export(
    recipe: RecipeFile = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The .jsonl file to write.")] = None,
    warehouse: Warehouse = WAREHOUSE,
) -> None:
    """Write the accepted pairs of simple and complex instructions as messages-JSONL, to train a generaliser.

    The user's turn is the prompt of `prompts/generalise/` with the simple instruction; serve the trained
    model and give it the role `generaliser` in models.toml.
    """
    loaded = _recipe(recipe)
    path = output or warehouse / "exports" / f"{loaded.name}-{MIX}.jsonl"
    if path.suffix != ".jsonl":
        raise ConfigError(f"--output {path}: give a file name that ends in .jsonl")
    prompts, taxonomy = (
        load_prompts(loaded.beside(loaded.prompts)),
        load_taxonomy(loaded.beside(loaded.taxonomy)),
    )
    with connect(warehouse, latest_head(warehouse, loaded.name), table_schemas()) as con:
        manifest = export_generaliser(con, path, prompts, taxonomy, read_provenance(warehouse, loaded.name))
    out.print(
        f"{escape(str(path))}: {manifest.rows:,} pairs, {manifest.tokens:,} tokens ({manifest.tokenizer})"
    )
    for reason, count in manifest.dropped.items():
        out.print(f"  dropped {count:,}: {reason}")


@app.command()
def status(recipe: RecipeFile = None, warehouse: Warehouse = WAREHOUSE) -> None:
    """Tell of each target of [generalise] what is wanted, made and admitted, and why it fell short."""
    loaded = _recipe(recipe)
    if not loaded.generalise.targets:
        out.print(
            f"{escape(str(loaded.file))}: \\[generalise] has no targets, so nothing is generalised; "
            "`hydata generalise suggest` lists weak types"
        )
        return
    with connect(warehouse, latest_head(warehouse, loaded.name), table_schemas()) as con:
        rows = standing(con, loaded.generalise.targets)
    table = Table(box=None, pad_edge=False)
    for name in ("target", "wanted", "made", "admitted"):
        table.add_column(name, justify="left" if name == "target" else "right")
    table.add_column("failed, by reason", overflow="fold")
    for row in rows:
        why = ", ".join(f"{reason} {n:,}" for reason, n in row.failed)
        table.add_row(row.target, f"{row.wanted:,}", f"{row.made:,}", f"{row.admitted:,}", why)
    wide().print(table)


@app.command()
def suggest(
    recipe: RecipeFile = None,
    warehouse: Warehouse = WAREHOUSE,
    mix: Annotated[str, typer.Option(help="The mix whose shares are looked at.")] = "main",
    dimension: Annotated[str, typer.Option(help="domain, or task for capabilities.")] = "domain",
    top: Annotated[int, typer.Option(help="So many types.", min=1)] = 10,
) -> None:
    """List the types that are furthest below their target share in the last mix, as lines for the recipe.

    A type is a label of the dimension, a language and a difficulty; its share is meant to be the product of
    the labels' target shares, of each language half. A line names no label of the other dimension: as a
    target it fits any. Add `task = "..."` (or `domain`) to a line to narrow it.
    """
    if dimension not in ("domain", "task"):
        raise ConfigError(f"--dimension {dimension}: give domain or task")
    loaded = _recipe(recipe)
    taxonomy = load_taxonomy(loaded.beside(loaded.taxonomy))
    with connect(warehouse, latest_head(warehouse, loaded.name), table_schemas()) as con:
        found = weak_types(con, taxonomy, mix, dimension)[:top]
    out.print("\\[generalise]\ntargets = [" if found else "no type is below its share")
    for weak in found:
        out.print(
            f'  {{ {dimension} = "{weak.label}", language = "{weak.language}", '
            f'difficulty = "{weak.difficulty}", count = {weak.count} }},'
            f"  # {weak.share:.1%} of the mix instead of {weak.target:.1%}",
            markup=False,
            highlight=False,
        )
    if found:
        out.print("]")
