"""Supervised fastText models (Joulin et al. 2017): trained, stored and loaded the same way by all who learn.

Training runs in one thread with a seed, so that the same examples in the same order give the same bytes.
What was trained lies in one file, an uncompressed zip of models and a description; its entries carry no time.
fastText reads and writes files only, so models pass through a temporary folder.
"""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import fasttext
import polars as pl
from pydantic import Field

from hydata.stage import Settings

PREFIX = "__label__"
MODEL_ENDING = ".bin"

_NOTHING = [(None, None)]
_WRITTEN = (1980, 1, 1, 0, 0, 0)  # the zip format's first day: the time of training is not content


class FitSettings(Settings):
    """fastText's: runs of up to ``word_ngrams`` words count, vectors have ``dimensions`` numbers, ``epochs``
    passes are made."""

    word_ngrams: int = Field(default=2, ge=1, le=5)
    dimensions: int = Field(default=32, ge=2)
    epochs: int = Field(default=25, ge=1)
    learning_rate: float = Field(default=0.5, gt=0)
    seed: int = 0


def fit(
    labels: pl.Series,
    lines: pl.Series,
    settings: FitSettings,
    *,
    buckets: int = 50_000,
    letters: tuple[int, int] = (0, 0),
) -> bytes:
    """fastText's model file after training on ``lines``, words between spaces, and their ``labels``.

    ``letters``: runs of so many letters of a word count as well; n-grams of both sorts share ``buckets``.
    """
    with tempfile.TemporaryDirectory() as folder:
        examples, model = Path(folder, "examples.txt"), Path(folder, f"model{MODEL_ENDING}")
        rows = pl.DataFrame({"label": labels, "line": lines})
        written = rows.select(pl.concat_str(pl.lit(PREFIX), "label", pl.lit(" "), "line")).to_series()
        examples.write_text("\n".join(written) + "\n", "utf-8")
        fasttext.train_supervised(
            str(examples),
            lr=settings.learning_rate,
            dim=settings.dimensions,
            epoch=settings.epochs,
            wordNgrams=settings.word_ngrams,
            minn=letters[0],
            maxn=letters[1],
            bucket=buckets,
            seed=settings.seed,
            thread=1,  # several threads race for the weights, and no two runs agree
            verbose=0,
        ).save_model(str(model))
        return model.read_bytes()


def predict(model: fasttext.FastText._FastText, lines: pl.Series) -> pl.DataFrame:
    """The best ``label`` of each line and its probability, ``confidence`` (Float32, 0 to 1); null where
    fastText gives none.

    Raises:
        ValueError: a line holds a line break.
    """
    if lines.str.contains("\n", literal=True).any():
        raise ValueError("fastText predicts one line at a time: take the line breaks out")
    # Line by line, by what fastText's own ``predict`` calls: its lists for a batch keep the garbage collector
    # busy for a tenth of the time, and the interpreter's lock as long. With bytes: of strings it makes them.
    best = model.f.predict
    found = [(best(line, 1, 0.0, "strict") or _NOTHING)[0] for line in (lines + "\n").cast(pl.Binary)]
    return pl.DataFrame(
        {
            "label": pl.Series([label for _, label in found], dtype=pl.String),
            "confidence": pl.Series([probability for probability, _ in found], dtype=pl.Float32),
        }
    ).with_columns(pl.col("label").str.strip_prefix(PREFIX), pl.col("confidence").clip(0, 1))


def packed(files: Mapping[str, bytes]) -> bytes:
    """The files as one zip, the same bytes for the same files."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as out:
        for name, content in files.items():
            out.writestr(zipfile.ZipInfo(name, _WRITTEN), content)
    return archive.getvalue()


def unpacked(path: Path, description: str) -> tuple[bytes, dict[str, fasttext.FastText._FastText]]:
    """The file ``description`` of a zip and its models, by name without ending.

    Raises:
        OSError, zipfile.BadZipFile, KeyError, ValueError: it is no such file, or broken.
    """
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
        if (broken := archive.testzip()) is not None:
            raise zipfile.BadZipFile(f"{broken} is damaged")
        names = sorted(name for name in archive.namelist() if name.endswith(MODEL_ENDING))
        for name in names:
            if "/" in name or "\\" in name:
                raise zipfile.BadZipFile(f"{name!r} is no name of a model")
        return archive.read(description), {
            name.removesuffix(MODEL_ENDING): loaded(archive.read(name), Path(folder)) for name in names
        }


def loaded(content: bytes, folder: Path) -> fasttext.FastText._FastText:
    """The model that ``content`` is the file of; ``folder`` is for its way there."""
    path = folder / f"model{MODEL_ENDING}"
    path.write_bytes(content)
    return fasttext.load_model(str(path))
