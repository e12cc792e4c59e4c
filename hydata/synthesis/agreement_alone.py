"""Agreement of the samples in a file, without a warehouse.

A row is one question with its samples. Its form is what its words ask for; where they do not tell, the
answers are read by their own looks, since who asks for agreement has a question with one answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from hydata.curation.files import whole
from hydata.errors import ConfigError
from hydata.settings import explain
from hydata.synthesis.answers import asks_percent, extract_answer, read_reference
from hydata.synthesis.reliability import REFERENCE, weigh
from hydata.synthesis.votes import Tally, form_of, tally

JUDGED = pl.Schema(
    {
        "row": pl.Int64(),
        "answer": pl.String(),
        "share": pl.Float64(),
        "classes": pl.List(pl.Int64()),
        "abstained": pl.Boolean(),
        "answers": pl.List(pl.String()),
    }
)


class Sample(BaseModel):
    """One answer to the question; other keys are ignored."""

    model_config = ConfigDict(frozen=True)
    text: str | None = None
    model: str | None = None


class Row(BaseModel):
    """One line of the file; other keys are ignored."""

    model_config = ConfigDict(frozen=True)
    question: str
    samples: tuple[Sample, ...]
    reference: str | None = None


@dataclass(frozen=True)
class Judged:
    """A row's votes: ``answers`` of its samples, ``models`` of all voters, the reference last."""

    answers: tuple[str | None, ...]
    models: tuple[str | None, ...]
    tally: Tally


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a JSONL file. Bytes that are no UTF-8, and halves of characters, become U+FFFD.

    Raises:
        ConfigError: names the file, the line and what is wrong with it.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        text = whole(line).decode("utf-8", "replace").lstrip("\ufeff")
                        yield Row.model_validate(json.loads(text))
                    except (ValueError, RecursionError) as error:
                        cause = explain(error) if isinstance(error, ValidationError) else error
                        raise ConfigError(
                            f"{path}, line {number}: {cause}; each line is an object with question and "
                            'samples, a list of {"text": ..., "model": ...}'
                        ) from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error


def judge_row(row: Row) -> Judged:
    """Extract and count the answers of a row."""
    form = form_of(row.question, row.reference) or "any"
    percent = asks_percent(row.question)
    answers = [extract_answer(sample.text or "", form, percent) for sample in row.samples]
    models = [sample.model for sample in row.samples]
    voters = list(answers)
    if row.reference is not None:
        voters.append(read_reference(row.reference, form, percent))
        models.append(REFERENCE)
    texts = tuple(None if answer is None else answer.text for answer in answers)
    return Judged(texts, tuple(models), tally(voters))


def judge_rows(path: Path, min_share: float = 0.0, weighted: bool = False) -> pl.DataFrame:
    """One row of ``JUDGED`` for each line of the file, in order.

    ``answer`` names the largest class, also where there is no verdict (``abstained``: no vote, a tie, or a
    ``share`` below ``min_share``). ``weighted``: the votes are weighted by the models' reliability, estimated
    from the whole file; ``answer`` is the most probable class and ``share`` its posterior probability, while
    ``classes`` stays the number of votes.

    Raises:
        ConfigError: the file cannot be read.
    """
    judged = [judge_row(row) for row in read_rows(path)]
    tallies = [j.tally for j in judged]
    frame = pl.DataFrame(
        {
            "row": range(len(judged)),
            "answer": [t.answers[0] if t.answers else None for t in tallies],
            "share": [t.share for t in tallies],
            "classes": [t.sizes for t in tallies],
            "abstained": [t.abstains(1, min_share) for t in tallies],
            "answers": [j.answers for j in judged],
        },
        schema=JUDGED,
    )
    return _weighted(frame, judged, min_share) if weighted else frame


def _weighted(frame: pl.DataFrame, judged: list[Judged], min_share: float) -> pl.DataFrame:
    cast = [
        (row, c, model)
        for row, j in enumerate(judged)
        for c, model in zip(j.tally.classes, j.models, strict=True)
        if c is not None
    ]
    votes = pl.DataFrame(cast, schema={"row": pl.Int64, "class": pl.Int64, "model": pl.String}, orient="row")
    _, posterior = weigh(votes.rename({"row": "question"}))
    best = posterior.group_by("question", maintain_order=True).agg(
        c=pl.col("class").sort_by(-pl.col("posterior"), "class").first(),
        share=pl.col("posterior").max(),
        tie=(pl.col("posterior").max() - pl.col("posterior") < 1e-9).sum() > 1,
    )
    names = [judged[row].tally.answers[c] for row, c in best.select("question", "c").iter_rows()]
    best = best.with_columns(answer=pl.Series(names, dtype=pl.String))
    return (
        frame.drop("answer", "share")
        .join(best, left_on="row", right_on="question", how="left", maintain_order="left")
        .with_columns(abstained=(pl.col("tie") | (pl.col("share") < min_share)).fill_null(True))
        .select(JUDGED.names())
    )
