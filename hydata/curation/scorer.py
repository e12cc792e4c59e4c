"""A scorer: a fastText classifier of yes and no that gives a text a score from 0 to 1, with a card beside it.

A scorer is one file, a zip of ``card.json`` and ``model.bin`` (``supervised``); the same labels and settings
give the same bytes, and the hash of these is its identity. The card says what it was trained on (files,
hashes, counts), how (settings, split) and what it is worth: by cross-validation, each row is scored by a
model that has not seen its text, and the metrics of these scores are written down, of all rows and by
language. fastText is too sure of itself; its log-odds are bent by a logistic curve fitted to the same scores
(Platt 1999), so that of the texts scored 0.8 four of five are positive. The metrics of a row are of a curve
that was not fitted to its fold.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import fasttext
import numpy as np
import numpy.typing as npt
import orjson
import polars as pl
from pydantic import Field, ValidationError

from hydata.curation.labelled import Source
from hydata.curation.lines import fasttext_lines
from hydata.curation.metrics import BoolArray, FloatArray, Metrics, curve, log_odds, measured, steepness
from hydata.curation.supervised import FitSettings, fit, loaded, packed, predict, unpacked
from hydata.errors import ConfigError
from hydata.settings import explain
from hydata.stage import Settings
from hydata.warehouse import write_atomic

VERSION = 1
CARD, MODEL = "card.json", "model.bin"
_load_lock = Lock()


class ScorerSettings(FitSettings):
    """Runs of ``shortest`` to ``longest`` letters of a word count, against its spellings; n-grams share
    ``buckets``. ``folds`` of the cross-validation."""

    epochs: int = Field(default=8, ge=1)
    learning_rate: float = Field(default=0.3, gt=0)
    shortest: int = Field(default=3, ge=0)
    longest: int = Field(default=5, ge=0, le=12)
    buckets: int = Field(default=100_000, ge=1)
    folds: int = Field(default=5, ge=2)


class Split(Settings):
    """How the metrics were come by: rows of one text are in one fold."""

    kind: str = "cross-validation"
    folds: int
    rows: tuple[int, ...]


class Card(Settings):
    """What is known of a scorer. ``slope`` and ``offset`` bend its log-odds; ``languages`` has the metrics by
    language, of those with ten rows of both classes."""

    name: str
    version: int
    settings: ScorerSettings
    label_column: str
    positive: tuple[str, ...]
    sources: tuple[Source, ...]
    counts: dict[str, dict[str, int]]
    split: Split
    slope: float
    offset: float
    metrics: Metrics
    languages: dict[str, Metrics]

    def pretty(self) -> bytes:
        """The card as people read it."""
        return orjson.dumps(
            self.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        )


class Scorer(NamedTuple):
    """A loaded one; ``identity`` is the hash of its file."""

    card: Card
    model: fasttext.FastText._FastText
    identity: str


def train_scorer(
    name: str,
    rows: pl.DataFrame,
    sources: Sequence[Source],
    label_column: str,
    positive: Sequence[str],
    settings: ScorerSettings,
    output: Path,
) -> Card:
    """Train on ``rows`` (``labelled.LABELLED``) and write the scorer to ``output`` and its card beside it.

    Raises:
        ConfigError: there are fewer different texts of a class than folds.
    """
    known = (
        rows.with_columns(line=fasttext_lines(rows["text"]))
        .filter(pl.col("line") != "")
        .sort("line", "positive")
    )
    for wanted in (True, False):
        texts = known.filter(pl.col("positive") == wanted)["line"].n_unique()
        if texts < settings.folds:
            raise ConfigError(
                f"{', '.join(s.name for s in sources)}: {texts:,} different texts "
                f"{'are' if wanted else 'are not'} {name}, for {settings.folds} folds; label more"
            )
    truth = known["positive"].to_numpy()
    folds = _folds(known["line"], truth, settings)
    margins = np.empty(known.height)
    for fold in range(settings.folds):
        mine = folds == fold
        margins[mine] = _margins(_fitted(known.filter(~mine), settings), known.filter(mine)["line"])
    scores = np.empty(known.height)
    for fold in range(settings.folds):
        mine = folds == fold
        scores[mine] = curve(margins[mine], *steepness(truth[~mine], margins[~mine]))
    slope, offset = steepness(truth, margins)
    languages = known["language"].fill_null("unknown")
    card = Card(
        name=name,
        version=VERSION,
        settings=settings,
        label_column=label_column,
        positive=tuple(positive),
        sources=tuple(sources),
        counts={
            str(of): {"positive": int(part.sum()), "negative": int((~part).sum())}
            for of in sorted(languages.unique())
            for part in [truth[(languages == of).to_numpy()]]
        },
        split=Split(folds=settings.folds, rows=tuple(np.bincount(folds, minlength=settings.folds).tolist())),
        slope=slope,
        offset=offset,
        metrics=measured(truth, scores),
        languages=by_language(languages, truth, scores),
    )
    model = fit(_named(known["positive"]), known["line"], settings, **_letters(settings))
    write_atomic(output, packed({CARD: card.pretty(), MODEL: model}))
    write_atomic(card_path(output), card.pretty())
    return card


def card_path(output: Path) -> Path:
    """Where the card of a scorer is written to be read."""
    return output.with_suffix(".card.json")


def by_language(languages: pl.Series, truth: BoolArray, scores: FloatArray) -> dict[str, Metrics]:
    """The metrics of each language with ten rows of both classes."""
    found = {}
    for name in sorted(languages.unique()):
        mine = (languages == name).to_numpy()
        if min(truth[mine].sum(), (~truth[mine]).sum()) >= 10:
            found[str(name)] = measured(truth[mine], scores[mine])
    return found


def score_texts(texts: pl.Series, scorer: Scorer) -> pl.Series:
    """A score for each text, Float32 from 0 to 1; null for a null or blank one. Only its first 4,000
    characters count. Safe to call from several threads."""
    lines = fasttext_lines(texts)
    there = lines.fill_null("") != ""
    margins = _margins(scorer.model, lines.filter(there))
    scores = pl.Series(curve(margins, scorer.card.slope, scorer.card.offset), dtype=pl.Float32)
    whole = pl.repeat(None, len(texts), dtype=pl.Float32, eager=True).alias("score")
    return whole.scatter(there.arg_true(), scores)


def load_scorer(path: Path) -> Scorer:
    """The scorer at ``path``.

    Raises:
        ConfigError: it is missing, broken, or no scorer.
    """
    with _load_lock:
        if path.is_dir():
            raise ConfigError(f"{path}: a folder; name the file that `hydata classifier train` wrote")
        try:
            stat = path.stat()
            return _load(path.resolve(), stat.st_mtime_ns, stat.st_size)
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: no such model; `hydata classifier train` writes one") from error
        except ValidationError as error:
            raise ConfigError(
                f"{path}: its card is of another kind or version ({explain(error)}); train it again"
            ) from error
        except (OSError, KeyError, ValueError, RuntimeError, MemoryError, zipfile.BadZipFile) as error:
            raise ConfigError(
                f"{path}: no model of `hydata classifier train`, or damaged ({error}); train it again"
            ) from error


@lru_cache(maxsize=4)
def _load(path: Path, changed: int, size: int) -> Scorer:
    description, models = unpacked(path, CARD)
    card = Card.model_validate_json(description)
    identity = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return Scorer(card, models[MODEL.removesuffix(".bin")], identity)


def _folds(lines: pl.Series, truth: BoolArray, settings: ScorerSettings) -> npt.NDArray[np.int64]:
    """The fold of each row: those of one text in one, both classes spread evenly."""
    rng = np.random.default_rng(settings.seed)
    texts = pl.DataFrame({"line": lines, "positive": truth}).group_by("line").agg(pl.col("positive").any())
    texts = (
        texts.sort("positive", "line").with_columns(drawn=rng.random(texts.height)).sort("positive", "drawn")
    )
    numbered = texts.with_row_index("fold").select("line", pl.col("fold").cast(pl.Int64) % settings.folds)
    folds = lines.to_frame("line").join(numbered, on="line", maintain_order="left")
    return folds["fold"].to_numpy()


def _fitted(rows: pl.DataFrame, settings: ScorerSettings) -> fasttext.FastText._FastText:
    with tempfile.TemporaryDirectory() as folder:
        content = fit(_named(rows["positive"]), rows["line"], settings, **_letters(settings))
        return loaded(content, Path(folder))


def _letters(settings: ScorerSettings) -> dict[str, Any]:
    return {"buckets": settings.buckets, "letters": (settings.shortest, settings.longest)}


def _named(positive: pl.Series) -> pl.Series:
    return pl.select(pl.when(positive).then(pl.lit("yes")).otherwise(pl.lit("no"))).to_series()


def _margins(model: fasttext.FastText._FastText, lines: pl.Series) -> FloatArray:
    """fastText's log-odds of yes; 0 where it says nothing."""
    found = predict(model, lines)
    yes = pl.when(pl.col("label") == "yes").then("confidence").otherwise(1 - pl.col("confidence"))
    return log_odds(found.select(yes.fill_null(0.5).cast(pl.Float64)).to_series().to_numpy())
