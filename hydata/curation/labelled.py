"""Texts with a yes or no, to train and evaluate judges: from files of human labels, or from a warehouse.

A row of a file is what ``files.ROWS`` says, and a column with its label; it is *positive* if the label is one
of those named. A conversation counts by its answer, or by its user's turns while it has none. Of a warehouse
the critic's tiers are the labels, or what a dimension of the taxonomy says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from hydata.curation import files, language
from hydata.errors import ConfigError
from hydata.policy import label_pick
from hydata.schema import instruction_text, response_text
from hydata.stage import Settings
from hydata.warehouse import Head, connect

LABELLED = pl.Schema({"text": pl.String(), "positive": pl.Boolean(), "language": pl.String()})


class Source(Settings):
    """Where labels are from: a file and its hash, or a recipe's head in a warehouse. ``rows`` have a label,
    ``skipped`` no label or no text; ``labels`` counts each."""

    name: str
    sha256: str | None = None
    rows: int
    skipped: int
    positive: int
    labels: dict[str, int]


def read_labelled(
    paths: Sequence[Path], column: str | None, label_column: str, positive: Sequence[str]
) -> tuple[pl.DataFrame, tuple[Source, ...]]:
    """The rows of the files in ``LABELLED``, and what each file holds.

    Labels are compared as JSON would write them, texts without quotes: ``1``, ``true``, ``toxic``.

    Raises:
        ConfigError: a file cannot be read, has no such column or label.
    """
    found = []
    for path in paths:
        texts = [
            piece.rows().select(pl.coalesce("response", "instruction", "text").alias("text"))
            for piece in files.pieces([path], column)
        ]
        rows = pl.concat([pl.DataFrame(schema={"text": pl.String}), *texts])
        labels = _labels(path, label_column)
        if len(labels) != rows.height:
            raise ConfigError(f"{path}: {len(labels):,} labels of {rows.height:,} rows; is it whole?")
        found.append((path.name, _sha256(path), rows.with_columns(label=labels)))
    return _gathered(found, positive, label_column)


def from_warehouse(
    root: Path, head: Head, schemas: dict[str, pl.Schema], dimension: str | None, positive: Sequence[str]
) -> tuple[pl.DataFrame, tuple[Source, ...]]:
    """The records of a warehouse in ``LABELLED``: the label is the tier of their critique, ``A`` best to
    ``D``, or theirs in a ``dimension``.

    Raises:
        ConfigError: nothing there is labelled so.
    """
    if dimension is None:
        query = """SELECT messages, chr(CAST(64 + any_value(combined_tier) AS INTEGER)) AS label
                   FROM conversations JOIN critiques USING (record_id)
                   GROUP BY record_id, messages ORDER BY record_id"""
    else:
        query = f"""SELECT any_value(messages) AS messages, {label_pick(dimension)} AS label
                    FROM conversations JOIN labels USING (record_id) GROUP BY record_id ORDER BY record_id"""
    with connect(root, head, schemas) as con:
        frame = con.sql(query).pl()
    text = pl.coalesce(response_text(), instruction_text()).alias("text")
    rows = (
        frame.select(text, "label")
        if frame.height
        else pl.DataFrame(schema={"text": pl.String, "label": pl.String})
    )
    what = dimension or "tier"
    return _gathered([(f"{head.recipe}: {what}", None, rows)], positive, what)


def _gathered(
    found: Sequence[tuple[str, str | None, pl.DataFrame]], positive: Sequence[str], column: str
) -> tuple[pl.DataFrame, tuple[Source, ...]]:
    frames, sources = [], []
    for name, sha256, rows in found:
        whole = rows.drop_nulls().filter(pl.col("text") != "")
        frame = whole.select("text", positive=pl.col("label").is_in(list(positive)))
        counts = whole.group_by("label").len().sort("label")
        frames.append(frame)
        sources.append(
            Source(
                name=name,
                sha256=sha256,
                rows=frame.height,
                skipped=rows.height - frame.height,
                positive=int(frame["positive"].sum()),
                labels=dict(counts.iter_rows()),
            )
        )
    rows = pl.concat(frames)
    truth = int(rows["positive"].sum())
    if rows.is_empty() or truth in (0, rows.height):
        said = ", ".join(sorted({label for source in sources for label in source.labels})[:20]) or "none"
        which = "no row has a label" if rows.is_empty() else f"all {rows.height:,} rows are of one class"
        raise ConfigError(
            f"{', '.join(s.name for s in sources)}: {which} ({truth:,} positive); {column} is {said}, "
            f"positive is {', '.join(positive)}; name the positive labels with --positive, or give rows of "
            "both classes"
        )
    return rows.with_columns(language.detect(rows["text"])["language"]), tuple(sources)


def _labels(path: Path, column: str) -> pl.Series:
    """The labels of a file as strings; null where a row has none."""
    try:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        if parquet:
            names = pq.read_schema(path).names
            values = pq.read_table(path, columns=[column]).column(0).to_pylist() if column in names else None
        else:
            with pa.input_stream(str(path), compression="detect") as stream:
                lines = [
                    line for line in stream.read().removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()
                ]
            rows = [orjson.loads(files.whole(line)) for line in lines]
            names = list(dict.fromkeys(name for row in rows[:100] for name in row))
            values = [row.get(column) for row in rows]
            if all(value is None for value in values):
                values = None
    except (pa.ArrowException, orjson.JSONDecodeError, AttributeError) as error:
        raise ConfigError(f"{path}: labels cannot be read ({error}); give JSONL or Parquet") from error
    if values is None:
        raise ConfigError(
            f"{path}: no column {column!r}; it has {', '.join(names)}; name it with --label-column"
        )
    return pl.Series("label", [_said(value) for value in values], dtype=pl.String)


def _said(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
