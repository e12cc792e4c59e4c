"""The label classifier: fastText learns the taxonomy's labels from those a model gave to a few records.

One supervised fastText model a dimension (``supervised``); the same labels give the same bytes. All of them
lie in one artefact, whose name carries the hash of its content:

    labels-<12 hex digits>.zip
        classifier.json      settings, and per dimension its labels and how many records carried them
        <dimension>.bin      fastText's model; absent where there was too little to learn from

A dimension with fewer than two labels, or fewer labelled records than ``min_records``, has no model: its
majority label is predicted for every record, with that label's share as confidence. The same goes for a text
without words. So the policy sees a low confidence instead of an invented one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock

import fasttext
import polars as pl
from pydantic import Field

from hydata.curation.supervised import MODEL_ENDING, FitSettings, fit, packed, predict, unpacked
from hydata.curation.words import words
from hydata.errors import WarehouseError
from hydata.schema import (
    JUDGEMENT_KEY,
    Output,
    Reject,
    canonical_json,
    instruction_text,
    judgements_frame,
    rejects_frame,
)
from hydata.stage import ArtefactStage, Context, MapStage, Settings
from hydata.warehouse import write_atomic

__all__ = ["ARTEFACT", "COLUMNS", "STAGE", "TRAIN", "ClassifySettings", "TrainSettings", "classify", "train"]

JUDGE = "classifier"
TEACHER = "labeller"
VERSION = 1
ARTEFACT = "labels"
"""The name under which ``Context.artefacts`` holds the trained file."""

COLUMNS = pl.Schema(
    {**JUDGEMENT_KEY, "dimension": pl.String(), "label": pl.String(), "confidence": pl.Float32()}
)

MAX_WORDS = 512
"""Words of an instruction that are looked at; what it is about shows in its beginning."""

_FOUND = ("record_id", "dimension", "label", "confidence")

_load_lock = Lock()


class TrainSettings(FitSettings):
    """``min_records`` labelled records give a dimension a model. The rest is fastText's."""

    min_records: int = Field(default=20, ge=2)


class ClassifySettings(Settings):
    """Nothing to set: the artefact says everything."""


class _Dimension(Settings):
    """``counts``: label -> labelled records that carry it; ``model``: whether the artefact has one."""

    counts: dict[str, int]
    model: bool

    @property
    def majority(self) -> tuple[str, float]:
        label = min(self.counts, key=lambda name: (-self.counts[name], name))
        return label, self.counts[label] / sum(self.counts.values())


class _Manifest(Settings):
    version: int
    settings: TrainSettings
    dimensions: dict[str, _Dimension]


@dataclass(frozen=True)
class _Classifier:
    manifest: _Manifest
    models: dict[str, fasttext.FastText._FastText]


def train(
    labels: Sequence[Path], conversations: Sequence[Path], settings: TrainSettings, out_folder: Path
) -> Path:
    """Train on the labels of judge "labeller" and return the artefact's path in ``out_folder``.

    ``labels`` are shards with the columns of ``COLUMNS``, ``conversations`` shards of ``CONVERSATIONS``.
    Labels of a record that is not among the conversations are left out; a record labelled several
    times counts as often. Without labels the artefact knows no dimension.
    """
    taught = _labelled(labels, conversations)
    dimensions, models = {}, {}
    for (name,), rows in taught.group_by("dimension", maintain_order=True):
        counts = dict(rows.group_by("label").len().sort("label").iter_rows())
        enough = len(counts) > 1 and rows.height >= settings.min_records
        dimensions[str(name)] = _Dimension(counts=counts, model=enough)
        if enough:
            models[f"{name}{MODEL_ENDING}"] = fit(rows["label"], rows["text"], settings)
    manifest = _Manifest(version=VERSION, settings=settings, dimensions=dimensions)
    return _store({"classifier.json": canonical_json(manifest.model_dump()).encode(), **models}, out_folder)


def classify(conversations: pl.DataFrame, artefact: Path) -> pl.DataFrame:
    """``record_id``, ``dimension``, ``label``, ``confidence`` (0 to 1): one row per record and dimension
    that the artefact knows."""
    with _load_lock:
        classifier = _load(artefact)
    texts = conversations.select("record_id", text=_tokens())
    wordless = texts["text"] == ""
    frames = [pl.DataFrame(schema={name: COLUMNS[name] for name in _FOUND})]
    for name, dimension in sorted(classifier.manifest.dimensions.items()):
        label, share = dimension.majority
        predicted = texts.select(
            "record_id", dimension=pl.lit(name), label=pl.lit(label), confidence=pl.lit(share)
        )
        if model := classifier.models.get(name):
            learnt = predict(model, texts["text"])
            predicted = predicted.with_columns(
                pl.when(wordless).then(column).otherwise(learnt[column]).alias(column)
                for column in ("label", "confidence")
            )
        frames.append(predicted.with_columns(pl.col("confidence").cast(pl.Float32).clip(0, 1)))
    return pl.concat(frames)


async def run(conversations: pl.DataFrame, settings: ClassifySettings, context: Context) -> Output:
    """One row per record and dimension in ``COLUMNS``; rejects only if there were no labels to learn from."""
    artefact = _artefact(context)
    found = classify(conversations, artefact)
    if found.is_empty():
        ids = conversations["record_id"]
        rejects = rejects_frame(Reject("classify", "no_labels_to_learn_from", record_id=id) for id in ids)
        return Output(pl.DataFrame(schema=COLUMNS), rejects)
    judged = judgements_frame(found["record_id"], JUDGE, artefact.stem)
    return Output(pl.concat([judged, found.drop("record_id")], how="horizontal").match_to_schema(COLUMNS))


def _artefact(context: Context) -> Path:
    if ARTEFACT not in context.artefacts:
        raise WarehouseError(
            f"no trained artefact {ARTEFACT!r}: train the label classifier before this stage"
        )
    return context.artefacts[ARTEFACT]


def _uses(settings: ClassifySettings, context: Context) -> Iterable[str]:
    return (_artefact(context).stem,)


def _tokens() -> pl.Expr:
    """The instruction as fastText wants it: one line of lower-case words between spaces, Chinese
    characters each a word."""
    return words(instruction_text().str.to_lowercase()).list.head(MAX_WORDS).list.join(" ")


def _labelled(labels: Sequence[Path], conversations: Sequence[Path]) -> pl.DataFrame:
    """``dimension``, ``label`` and ``text`` of every label that has its conversation, in a fixed order."""
    wanted = [
        pl.scan_parquet(path)
        .filter(pl.col("judge") == TEACHER, pl.col("label").is_not_null())
        .select("record_id", "version", "repeat", "dimension", "label")
        for path in labels
    ]
    texts = [pl.scan_parquet(path).select("record_id", text=_tokens()) for path in conversations]
    if not wanted or not texts:
        return pl.DataFrame(schema=dict.fromkeys(("dimension", "label", "text"), pl.String()))
    return (
        pl.concat(wanted)
        .join(pl.concat(texts).unique("record_id", keep="any"), on="record_id")
        .filter(pl.col("text") != "")
        .sort("dimension", "record_id", "version", "repeat", "label")
        .collect()
    )


def _store(files: dict[str, bytes], folder: Path) -> Path:
    """Write the files as one zip named by the hash of its bytes."""
    content = packed(files)
    path = folder / f"{ARTEFACT}-{hashlib.blake2b(content, digest_size=6).hexdigest()}.zip"
    write_atomic(path, content)
    return path


@lru_cache(maxsize=4)
def _load(artefact: Path) -> _Classifier:
    description, models = unpacked(artefact, "classifier.json")
    return _Classifier(_Manifest.model_validate(json.loads(description)), models)


STAGE = MapStage(
    name="classify",
    table="labels",
    columns=COLUMNS,
    version=VERSION,
    settings=ClassifySettings,
    run=run,
    computes=True,
    uses=_uses,
)


def _train_stage(
    tables: Mapping[str, list[Path]], settings: TrainSettings, context: Context, folder: Path
) -> Path:
    return train(tables.get("labels", ()), tables.get("conversations", ()), settings, folder)


TRAIN = ArtefactStage(name=ARTEFACT, version=VERSION, settings=TrainSettings, run=_train_stage)
