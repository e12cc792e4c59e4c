"""What humans said of answers, read from JSONL in one neutral form.

    {"instruction": ..., "response_a": ..., "response_b": ..., "preferred": "a", "family": "coding"}
    {"instruction": ..., "response": ..., "score": 3}

``preferred`` is "a", "b" or "tie"; ``score`` is the human's grade on the scale of the aspects, from 1 (bad)
to 4 (excellent), fractions allowed. ``family`` (a label of the dimension ``task``), ``reference`` (a right
answer) and ``language`` may be left out. Other keys are refused, so that a misspelt one is not overlooked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import orjson
from pydantic import Field, TypeAdapter, ValidationError

from hydata.curation.files import whole
from hydata.errors import ConfigError
from hydata.schema import hash128
from hydata.settings import explain
from hydata.stage import Settings
from hydata.synthesis.drafts import sample


class _Asked(Settings):
    instruction: str = Field(min_length=1)
    family: str | None = None
    reference: str | None = None
    language: str | None = None

    @property
    def group(self) -> str:
        """Labels of one instruction are never parted between what cut-offs are found and checked on."""
        return hash128(self.instruction)


class Pair(_Asked):
    """Two answers, and which one humans prefer."""

    response_a: str
    response_b: str
    preferred: Literal["a", "b", "tie"]

    @property
    def verdict(self) -> int:
        """-1 for a, 0 for a tie, 1 for b."""
        return {"a": -1, "tie": 0, "b": 1}[self.preferred]

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.response_a, self.response_b)


class Graded(_Asked):
    """One answer and its grade."""

    response: str
    score: float = Field(ge=1, le=4)

    @property
    def verdict(self) -> int:
        """The grade as a tier, 1 best; halves go to the better one."""
        return 5 - int(self.score + 0.5)

    @property
    def answers(self) -> tuple[str, ...]:
        return (self.response,)


Labelled = Pair | Graded
_ROW: TypeAdapter[Labelled] = TypeAdapter(Labelled)


def read_labelled(paths: Sequence[Path]) -> list[Labelled]:
    """All rows of the files, each different one once.

    Raises:
        ConfigError: names the file, the line and what is wrong there.
    """
    rows = dict.fromkeys(row for path in paths for row in _read(path))
    if not rows:
        raise ConfigError(f"{', '.join(map(str, paths))}: no rows; {_FORMS}")
    return list(rows)


_FORMS = "a row has instruction, response_a, response_b, preferred, or instruction, response, score"


def _read(path: Path) -> Iterator[Labelled]:
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: not readable ({error.strerror})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(whole(line))
            kind = Pair if isinstance(row, dict) and "preferred" in row else Graded
            yield kind.model_validate(row)
        except ValidationError as error:
            raise ConfigError(f"{path}, line {number}: {explain(error)}; {_FORMS}") from error
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: not JSON ({error}); {_FORMS}") from error


def drawn(rows: Sequence[Labelled], size: int | None, seed: int) -> list[Labelled]:
    """At most ``size`` of the rows in their order, drawn by the hashes of their texts."""
    ids = [hash128(row.instruction, *row.answers) for row in rows]
    chosen = sample(ids, 1.0, size, "labelled", seed)
    return [row for row, id in zip(rows, ids, strict=True) if id in chosen]
