"""``hydata critic``: how far a critic agrees with humans; what to train a better one on."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from hydata import resources
from hydata.cli.console import WAREHOUSE, Warehouse, out, print_usage, printable
from hydata.errors import ConfigError
from hydata.models import Budget, load_models, open_models
from hydata.models import run as run_in_loop
from hydata.models.config import RoleEntry
from hydata.prompts import load_prompts
from hydata.recipe import Recipe, load_context, load_recipe, table_schemas
from hydata.stage import Context
from hydata.synthesis.critic.calibration import Calibration, Critic, load_calibration
from hydata.synthesis.critic.evaluate import Report
from hydata.synthesis.critic.evaluate import evaluate as evaluate_critic
from hydata.synthesis.critic.labelled import drawn, read_labelled
from hydata.synthesis.critic.page import page
from hydata.synthesis.critic.training import export_training
from hydata.synthesis.critique import ROLE
from hydata.warehouse import connect, latest_head, write_atomic

app = typer.Typer(no_args_is_help=True, help="Evaluate and calibrate a critic; export what to train one on.")

CriticName = Annotated[str, typer.Option("--critic", help="The model of the models file that judges.")]
ModelsFile = Annotated[
    Path | None, typer.Option("--models", "-m", help="The models file; default: the recipe's.")
]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe",
        "-r",
        help="The recipe file, for its prompts and [critique]; default: ./recipe.toml if there is one.",
    ),
]


@app.callback()
def critic() -> None:
    """Evaluate and calibrate a critic."""


@app.command()
def evaluate(
    labelled: Annotated[
        list[Path], typer.Argument(metavar="LABELLED...", help="JSONL of pairs or graded answers.")
    ],
    critic: CriticName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")],
    models: ModelsFile = None,
    recipe: RecipeFile = None,
    sample: Annotated[int | None, typer.Option(min=1, help="Draw this many rows.")] = None,
) -> None:
    """Compare a critic with what humans preferred or graded, probe its biases, and calibrate it.

    A row is `{"instruction", "response_a", "response_b", "preferred": "a", "b" or "tie"}` or `{"instruction",
    "response", "score": 1 to 4}`, with `family`, `reference` and `language` if you have them. The folder gets
    `report.json`, `report.md`, the journal, and `calibration.json`, in which other critics stay.
    """
    loaded = recipe_of(recipe)
    rows = drawn(read_labelled(labelled), sample, loaded.seed)
    output.mkdir(parents=True, exist_ok=True)
    stored = output / "calibration.json"
    earlier = load_calibration(stored) if stored.exists() else Calibration()

    async def main() -> tuple[Report, Critic]:
        async with critic_alone(loaded, models, critic, output / "journal.sqlite") as context:
            return await evaluate_critic(rows, critic, loaded.critique, context)

    report, found = run_in_loop(main())
    write_atomic(stored, (earlier.with_critic(found).model_dump_json(indent=2) + "\n").encode())
    write_atomic(output / "report.json", (json.dumps(asdict(report), indent=2) + "\n").encode())
    text = page(report, found)
    write_atomic(output / "report.md", text.encode())
    out.print(printable(text), markup=False)
    out.print(escape(str(output)))


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The .jsonl file to write.")],
    warehouse: Warehouse = WAREHOUSE,
    recipe: RecipeFile = None,
) -> None:
    """Write a critic's training set: judgements that human preferences or other critics confirm.

    Each row is the critic's prompt and its judgement as messages-JSONL, with a manifest beside the file.
    """
    if output.suffix != ".jsonl":
        raise ConfigError(f"--output {output}: give a file name that ends in .jsonl")
    loaded = recipe_of(recipe)
    prompts = load_prompts(loaded.beside(loaded.prompts))
    with connect(warehouse, latest_head(warehouse, loaded.name), table_schemas()) as con:
        found = export_training(con, prompts, loaded.critique.characters, output, loaded.privacy)
    chosen = ", ".join(f"{count:,} confirmed by {ground}" for ground, count in found.chosen.items())
    out.print(
        f"{escape(str(output))}: {found.rows:,} rows ({chosen or 'none confirmed'}), {found.bytes:,} bytes, "
        f"sha256 {found.sha256[:16]}…"
    )
    for reason, count in found.dropped.items():
        out.print(f"  dropped {count:,}: {reason}")


def recipe_of(path: Path | None) -> Recipe:
    """The recipe in ``path``, in the working directory, or of the templates."""
    if path is None and not Path("recipe.toml").exists():
        return resources.default_recipe(())
    return load_recipe(path or Path("recipe.toml"))


@asynccontextmanager
async def critic_alone(
    recipe: Recipe, models: Path | None, critic: str, journal: Path
) -> AsyncIterator[Context]:
    """The recipe's context in which the model ``critic`` alone plays the critic.

    Raises:
        ConfigError: there is no such model, or a file of the recipe is wrong.
    """
    config = load_models(models) if models is not None else recipe.models_config()
    if critic not in config.models:
        raise ConfigError(
            f"--critic {critic}: no such model in {config.file}; there are {', '.join(config.models)}"
        )
    roles = {**config.roles, ROLE: RoleEntry(models={critic: 1})}
    config = config.model_copy(update={"roles": roles})
    async with open_models(config, journal, Budget(), privacy=recipe.privacy) as opened:
        yield load_context(recipe, opened)
    print_usage(opened.ledger)
