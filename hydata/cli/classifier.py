"""``hydata classifier``: train the scorers of the judges of text, and measure them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from hydata.cli.console import Warehouse, err, out, wide
from hydata.cli.judge import Assignments
from hydata.curation.labelled import from_warehouse, read_labelled
from hydata.curation.metrics import Metrics, measured
from hydata.curation.scorer import (
    ScorerSettings,
    by_language,
    card_path,
    load_scorer,
    score_texts,
    train_scorer,
)
from hydata.errors import ConfigError
from hydata.recipe import table_schemas
from hydata.settings import overridden
from hydata.warehouse import latest_head

app = typer.Typer(
    no_args_is_help=True, help="Train classifiers of toxicity, quality, education, or anything; measure them."
)

Labels = Annotated[
    list[Path], typer.Argument(metavar="LABELS...", help="JSONL or Parquet files with a label for each row.")
]
Column = Annotated[
    str | None, typer.Option(help="The column of texts. Default: the first of text, instruction, messages.")
]
LabelColumn = Annotated[str, typer.Option(help="The column of labels.")]
Positive = Annotated[
    list[str] | None,
    typer.Option(help="A label that counts as yes; can be given again. Default: 1 and true."),
]
YES = ("1", "true")
BEST_TIERS = ("A", "B")


@app.callback()
def classifier() -> None:
    """Train and measure classifiers."""


@app.command()
def train(
    name: Annotated[str, typer.Argument(help="What is yes: toxicity, quality, education, or a word.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .zip file to write.")],
    labels: Annotated[list[Path] | None, typer.Argument(metavar="LABELS...", help="Files of labels.")] = None,
    column: Column = None,
    label_column: LabelColumn = "label",
    positive: Positive = None,
    from_records: Annotated[
        bool, typer.Option("--from-warehouse", help="Learn from the warehouse's records instead of files.")
    ] = False,
    warehouse: Warehouse = Path("warehouse"),
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="The recipe whose records; default: the last run's.")
    ] = None,
    dimension: Annotated[
        str | None,
        typer.Option(help="With --from-warehouse: a dimension of the labels; default: the critiques' tiers."),
    ] = None,
    assignments: Assignments = None,
) -> None:
    """Train a fastText classifier and write it with its card.

    Labels are of files, or of a warehouse: then a record is positive if its critique's tier is A or B (or
    what --positive says), or if a dimension of its labels is what --positive says. The card beside OUTPUT
    has the settings, the files with their hashes, counts and the metrics of a cross-validation, by language.
    The same labels and settings give the same bytes. `--set epochs=20` and so on: see the card for all
    settings.
    """
    if output.suffix != ".zip":
        raise ConfigError(f"-o {output}: give a file name that ends in .zip")
    settings = overridden(ScorerSettings, assignments or (), f"classifier train {name}")
    if from_records == bool(labels):
        raise ConfigError("classifier train: give files of labels, or --from-warehouse")
    if from_records:
        if dimension is not None and not positive:
            raise ConfigError(f"--dimension {dimension}: say which of its labels are yes, with --positive")
        wanted = tuple(positive or BEST_TIERS)
        label_column = dimension or "tier"
        head = latest_head(warehouse, recipe)
        rows, sources = from_warehouse(warehouse, head, table_schemas(), dimension, wanted)
    else:
        wanted = tuple(positive or YES)
        rows, sources = read_labelled(labels or (), column, label_column, wanted)
    card = train_scorer(name, rows, sources, label_column, wanted, settings, output)
    err.print(f"{rows.height:,} rows, {card.metrics.positive:,} positive, {settings.folds} folds")
    _print({"all": card.metrics, **card.languages})
    out.print(escape(str(output)))
    out.print(escape(str(card_path(output))))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A file that `hydata classifier train` wrote.")],
    labels: Labels,
    column: Column = None,
    label_column: LabelColumn = "label",
    positive: Positive = None,
) -> None:
    """Measure a classifier on labels: precision, recall, F1, area under the curve, calibration; by language.

    Give labels that it was not trained on; what it is worth on those it was stands in its card.
    """
    scorer = load_scorer(model)
    rows, sources = read_labelled(labels, column, label_column, positive or scorer.card.positive)
    seen = {source.sha256 for source in scorer.card.sources}
    for source in sources:
        if source.sha256 in seen:
            err.print(escape(f"{source.name}: the classifier was trained on this very file"))
    scores = score_texts(rows["text"], scorer).cast(float).fill_null(0.5).to_numpy()
    truth = np.asarray(rows["positive"].to_numpy(), dtype=np.bool_)
    languages = rows["language"].fill_null("unknown")
    _print({"all": measured(truth, scores), **by_language(languages, truth, scores)})


def _print(metrics: dict[str, Metrics]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("language", no_wrap=True)
    names = ("rows", "positive", "majority", "accuracy", "precision", "recall", "f1", "auc")
    for name in (*names, "brier", "calibration_error"):
        table.add_column(name.replace("_", " "), justify="right", no_wrap=True)
    for language, found in metrics.items():
        values = found.model_dump().values()
        table.add_row(
            language,
            *("-" if v is None else f"{v:,}" if isinstance(v, int) else f"{v:.3f}" for v in values),
        )
    wide().print(table)
