"""The taxonomy: dimensions (domain, task, difficulty), each a YAML file of labels with target shares.

``taxonomy/<dimension>.yaml`` holds a ``description`` and ``labels``; a label has an ``id``, a ``name``
and ``definition`` in English and Chinese, ``examples`` in both, and the ``target_share`` of the finished
mix that balancing aims at. The shares of one dimension sum to 1.

The domains are the fields the Hunyuan-Large report (arXiv 2411.02265, section 4.1) collects instructions
for; mathematics, code, low-resource and high-educational-value fields get more than their natural share
(section 2.1.1).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import AfterValidator, Field, ValidationError

from hydata.errors import ConfigError
from hydata.schema import canonical_json, hash128
from hydata.stage import Settings


def _identifier(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", value):
        raise ValueError(f"{value!r} is not a snake_case word")
    return value


class Bilingual(Settings):
    """The same thing said in both languages; any language but Chinese gets the English."""

    en: Annotated[str, Field(min_length=1)]
    zh: Annotated[str, Field(min_length=1)]

    def in_language(self, language: str) -> str:
        return self.zh if language == "zh" else self.en


class Examples(Settings):
    """Instructions that carry the label; not translations of each other."""

    en: Annotated[tuple[str, ...], Field(min_length=1)]
    zh: Annotated[tuple[str, ...], Field(min_length=1)]


class Label(Settings):
    """One label; ``target_share`` is its part of the finished mix, 0 to 1."""

    id: Annotated[str, AfterValidator(_identifier)]
    name: Bilingual
    definition: Bilingual
    examples: Examples
    target_share: Annotated[float, Field(ge=0, le=1)]


class _DimensionFile(Settings):
    description: Bilingual
    labels: Annotated[tuple[Label, ...], Field(min_length=2)]


@dataclass(frozen=True)
class Dimension:
    """One dimension; ``id`` is its file's name without the suffix. Labels keep the file's order."""

    id: str
    description: Bilingual
    labels: tuple[Label, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(label.id for label in self.labels)

    def target_shares(self) -> dict[str, float]:
        return {label.id: label.target_share for label in self.labels}


@dataclass(frozen=True)
class Taxonomy:
    """All dimensions, in the order of their ids; ``hash`` changes with any word or share."""

    dimensions: tuple[Dimension, ...]
    hash: str

    def dimension(self, id: str) -> Dimension:
        for dimension in self.dimensions:
            if dimension.id == id:
                return dimension
        raise ConfigError(f"taxonomy: no dimension {id!r}; there are {[d.id for d in self.dimensions]}")

    def describe(self, language: str) -> str:
        """Every dimension with its labels and definitions, as lines for a prompt."""
        return "\n\n".join(
            f"{d.id} ({d.description.in_language(language)}):\n"
            + "\n".join(f"- {label.id}: {label.definition.in_language(language)}" for label in d.labels)
            for d in self.dimensions
        )


def load_taxonomy(folder: Path) -> Taxonomy:
    """Every ``<dimension>.yaml`` of ``folder``, checked. Raises ``ConfigError`` (file, key, remedy)."""
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(f"{folder}: no dimensions; expected files such as domain.yaml")
    loaded = [(file.stem, _load(file)) for file in files]
    return Taxonomy(
        dimensions=tuple(Dimension(id, content.description, content.labels) for id, content in loaded),
        hash=hash128(*(canonical_json([id, content.model_dump(mode="json")]) for id, content in loaded)),
    )


def _load(file: Path) -> _DimensionFile:
    try:
        content = _DimensionFile.model_validate(yaml.safe_load(file.read_bytes()))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: not YAML in UTF-8: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{file}: {key}: {first['msg']}; correct it there") from error
    _identifier_of(file)
    twice = [id for id, n in Counter(label.id for label in content.labels).items() if n > 1]
    if twice:
        raise ConfigError(f"{file}: labels: the ids {twice} appear twice; rename or remove one")
    total = sum(label.target_share for label in content.labels)
    if not math.isclose(total, 1, abs_tol=1e-6):
        raise ConfigError(f"{file}: target_share: the shares sum to {total:.6g}; make them sum to 1")
    return content


def _identifier_of(file: Path) -> None:
    try:
        _identifier(file.stem)
    except ValueError as error:
        raise ConfigError(f"{file}: the file's name is the dimension's id: {error}; rename it") from error
