"""Benchmarks out of their files: items with what they ask and what they take for right.

A benchmark is one file: JSONL, a JSON array (or an object that holds one), Parquet, CSV or TSV; .gz, .zst and
.bz2 are unpacked. What an item asks stands under a name that benchmarks use for it (``QUESTION``); where a
file has another, the recipe names it. So with the answer (``ANSWER``), which a benchmark need not have, and
the choices (``CHOICES``, or columns A, B, C, D). Turns are one question each. An item is known by its id
(``ID``) if the file has one that is different for each, else by its row, counted from 0. A row without a
question is no item.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
from pydantic import Field, model_validator

from hydata.curation.files import whole
from hydata.errors import ConfigError
from hydata.stage import Settings

QUESTION = ("question", "problem", "prompt", "instruction", "turns", "text", "query", "stem", "ctx", "input")
ANSWER = (
    "canonical_solution",
    "solution",
    "code",
    "output",
    "answer",
    "reference",
    "response",
    "target",
    "completion",
    "best answer",
)
CHOICES = ("choices", "options", "endings")
LETTERS = ("a", "b", "c", "d", "e", "f")
ID = ("task_id", "question_id", "unique_id", "id", "idx", "key")


class Benchmark(Settings):
    """``file`` is relative to the recipe; ``question`` and ``answer`` name the columns where these are not
    found by themselves. A plain text is the file."""

    file: Path = Field(exclude=True)  # identified by its content
    question: str | None = None
    answer: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_path(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str | Path) else given


@dataclass(frozen=True)
class Item:
    """``questions``: what is asked, by turn, and once more with its choices if it has some; never empty."""

    id: str
    questions: tuple[str, ...]
    answer: str | None


@dataclass(frozen=True)
class Items:
    """A benchmark that has been read. ``sha256`` is of its file's bytes; ``empty`` counts rows that ask
    nothing."""

    name: str
    sha256: str
    question: str
    answer: str | None
    items: tuple[Item, ...]
    empty: int


def named(given: Iterable[str]) -> dict[str, Benchmark]:
    """Benchmarks of the command line, FILE[:QUESTION[:ANSWER]], by their files' names without the ending.

    Raises:
        ConfigError: two have the same name.
    """
    found: dict[str, Benchmark] = {}
    for text in given:
        columns: list[str] = []
        path = text
        while not Path(path).exists() and ":" in path and len(columns) < 2:
            path, _, column = path.rpartition(":")
            columns.insert(0, column)
        file = Path(path if Path(path).exists() else text)
        name = file.name.split(".")[0]
        if name in found:
            again = found[name].file.resolve() == file.resolve()
            remedy = "it is given twice" if again else f"{found[name].file} has that name too; rename one"
            raise ConfigError(f"--benchmark {text}: a second one named {name!r}: {remedy}")
        found[name] = Benchmark(
            file=file, question=next(iter(columns), None), answer=next(iter(columns[1:]), None)
        )
    return found


def sha256_of(file: Path) -> str:
    """The hash of a file's bytes, as hex digits.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"benchmark {file}: not readable ({error.strerror}); check the path") from error


def read_benchmark(name: str, benchmark: Benchmark) -> Items:
    """The items of one file.

    Raises:
        ConfigError: it cannot be read, has no rows, or no column for the question; names the remedy.
    """
    file, sha256 = benchmark.file, sha256_of(benchmark.file)
    rows = _rows(file)
    names = list(dict.fromkeys(name for row in rows for name in row))
    asked = _column(benchmark.question, QUESTION, names, file, "question")
    if asked is None:
        raise ConfigError(
            f"benchmark {file}: no column for the question; it has {', '.join(map(repr, names))}; "
            "name one: { file = ..., question = COLUMN } in the recipe, FILE:COLUMN on the command line"
        )
    known = [column for column in ANSWER if column != asked.lower()]
    answered = _column(benchmark.answer, known, names, file, "answer")
    lower = {name.lower(): name for name in names}
    choices = [lower[name] for name in CHOICES if name in lower] or [
        lower[name] for name in LETTERS if name in lower
    ]
    beside = lower.get("input") if asked.lower() == "instruction" else None  # as in Alpaca's form
    ids = _ids(rows, lower)
    items = []
    for id, row in zip(ids, rows, strict=True):
        turns = [text for text in _texts(row.get(asked)) if text.strip()]
        more = [text for text in _texts(row.get(beside)) if text.strip()] if beside else []
        if len(turns) == 1:
            turns = ["\n".join([*turns, *more])]
            options = [text for column in choices for text in _texts(row.get(column)) if text.strip()]
            if options:
                turns.append("\n".join([*turns, *options]))
        answers = _texts(row.get(answered)) if answered else []
        if turns:
            items.append(Item(id, tuple(turns), "\n".join(answers) or None))
    if not items:
        raise ConfigError(
            f"benchmark {file}: column {asked!r} is empty in all of its {len(rows):,} rows; name another"
        )
    return Items(name, sha256, asked, answered, tuple(items), len(rows) - len(items))


def _column(
    named: str | None, known: Sequence[str], names: Sequence[str], file: Path, what: str
) -> str | None:
    if named is not None:
        if named not in names:
            raise ConfigError(
                f"benchmark {file}: no column {named!r} for the {what}; it has {', '.join(map(repr, names))}"
            )
        return named
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in known if name in lower), None)


def _ids(rows: Sequence[Mapping[str, Any]], lower: Mapping[str, str]) -> list[str]:
    for name in ID:
        if name in lower:
            ids = [str(row.get(lower[name])) for row in rows]
            if len(set(ids)) == len(ids):
                return ids
    return [str(number) for number in range(len(rows))]


def _texts(value: Any) -> list[str]:
    """The texts in a value, in order; of an object {"text": [...], "label": [...]} those under ``text``."""
    if value is None or isinstance(value, bool):
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        kept = [value[name] for name in ("text", "content", "value") if name in value] or value.values()
        return [text for one in kept for text in _texts(one)]
    if isinstance(value, Iterable):
        return [text for one in value for text in _texts(one)]
    return [str(value)]


def _rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file, as plain objects."""
    kind = next((s for s in reversed(file.suffixes) if s.lower() not in (".gz", ".zst", ".bz2")), "").lower()
    try:
        with pa.input_stream(str(file), compression="detect") as stream:
            data: bytes = stream.read()
        if data[:4] == b"PAR1":
            rows = pl.read_parquet(io.BytesIO(data)).to_dicts()
        elif kind in (".csv", ".tsv"):
            separator = "\t" if kind == ".tsv" else ","
            rows = pl.read_csv(io.BytesIO(data), separator=separator, infer_schema=False).to_dicts()
        else:
            rows = _json(file, whole(data.removeprefix(b"\xef\xbb\xbf")))
    except (OSError, pa.ArrowException, pl.exceptions.PolarsError) as error:
        line = next(iter(str(error).splitlines()), "")
        raise ConfigError(
            f"benchmark {file}: not readable ({line}); give JSONL, a JSON array, Parquet or CSV in UTF-8"
        ) from error
    if not rows:
        raise ConfigError(f"benchmark {file}: no rows; leave it out, or see why it is empty")
    return rows


def _json(file: Path, data: bytes) -> list[dict[str, Any]]:
    stripped = data.strip()
    try:
        found = orjson.loads(stripped) if stripped else []
    except orjson.JSONDecodeError:
        return _lines(file, data)
    if isinstance(found, dict):  # {"data": [...]}, or a file of one line
        lists = [
            v for v in found.values() if isinstance(v, list) and v and all(isinstance(x, dict) for x in v)
        ]
        known = any(name.lower() in QUESTION for name in found)
        found = lists[0] if len(lists) == 1 and not known else [found]
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        raise ConfigError(f"benchmark {file}: no array of JSON objects; write one object a line")
    return found


def _lines(file: Path, data: bytes) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise ConfigError(f"benchmark {file}, line {number}: no JSON ({error}); mend it") from error
        if not isinstance(row, dict):
            raise ConfigError(f"benchmark {file}, line {number}: {type(row).__name__}, no object; mend it")
        rows.append(row)
    return rows
