"""Tables of what scores are worth, and scorers trained for a page in a folder that is thrown away."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from shared.page import table

from hydata.curation.labelled import Source
from hydata.curation.lines import fasttext_lines
from hydata.curation.metrics import Metrics, measured
from hydata.curation.scorer import Card, Scorer, ScorerSettings, load_scorer, score_texts, train_scorer

HEAD = [
    "scores",
    "rows",
    "positive",
    "majority",
    "accuracy",
    "precision",
    "recall",
    "F1",
    "AUC",
    "calibration error",
]
SPEED_ROWS = 20_000


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def row(name: str, found: Metrics) -> list[str]:
    """A line of a table under ``HEAD``."""
    shown = (found.accuracy, found.precision, found.recall, found.f1, found.auc, found.calibration_error)
    return [
        name,
        f"{found.rows:,}",
        f"{found.positive:,}",
        f"{found.majority:.3f}",
        *("-" if value is None else f"{value:.3f}" for value in shown),
    ]


def of_scores(score: Callable[[pl.Series], pl.Series], texts: list[str], positive: list[bool]) -> Metrics:
    """The metrics of a judge's scores; what has none counts as 0."""
    found = score(pl.Series("text", texts, dtype=pl.String)).cast(pl.Float64).fill_null(0.0)
    return measured(np.array(positive), found.to_numpy())


def trained(name: str, texts: list[str], positive: list[bool], language: str) -> tuple[Card, Scorer]:
    """A scorer trained on these rows with the default settings; its card has the held-out metrics."""
    rows = pl.DataFrame({"text": texts, "positive": positive, "language": [language] * len(texts)})
    source = Source(name="page", rows=len(texts), skipped=0, positive=sum(positive), labels={})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scorer.zip"
        card = train_scorer(name, rows, [source], "label", ["true"], ScorerSettings(), path)
        return card, load_scorer(path)


def speed(heuristic: Callable[[pl.Series], pl.Series], scorers: dict[str, tuple[Scorer, list[str]]]) -> str:
    """Rows a second and core: a bare prediction of prepared lines, the judge with it, the heuristic."""
    lines = []
    for name, (scorer, texts) in scorers.items():
        texts = [text[:100] for text in texts]
        series = pl.Series("text", (texts * (SPEED_ROWS // len(texts) + 1))[:SPEED_ROWS])
        prepared = fasttext_lines(series).to_list()
        bare, whole, ours = cpu_seconds(
            lambda m=scorer.model, p=prepared: m.predict(p),
            lambda s=scorer, t=series: score_texts(t, s),
            lambda t=series: heuristic(t),
        )
        lines.append(
            [
                name,
                *(f"{SPEED_ROWS / s:,.0f}" for s in (bare, whole)),
                f"{bare / whole:.2f}",
                f"{SPEED_ROWS / ours:,.0f}",
            ]
        )
    return (
        "Rows a second and core (texts cut to 100 characters, processor time, best of nine): fastText's "
        "batch prediction alone, of lines made ready; the judge with everything; the heuristic.\n\n"
        + table(["text", "bare prediction", "trained judge", "ratio", "heuristic"], lines)
    )


def cpu_seconds(*works: Callable[[], object]) -> list[float]:
    """Processor seconds of each work, the best of nine rounds; they take turns, so that what else the machine
    does falls on all."""
    best = [float("inf")] * len(works)
    for _ in range(9):
        for place, work in enumerate(works):
            started = time.process_time()
            work()
            best[place] = min(best[place], time.process_time() - started)
    return best
