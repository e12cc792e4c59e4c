"""What a stage is: a function from frames to frames, with its settings and columns declared beside it.

A *map stage* turns one input shard into one output shard and sees nothing else, so shards can be
made in any order, on any machine, and again after a crash. A *global stage* reads a snapshot of many
shards at once. A module that implements a stage ends with a constant of one of the types below;
``recipe.py`` collects them. How shards are named, written and resumed is the warehouse's business.

A stage's *identity* is everything that changes its rows: name, version, settings, and what its
``uses`` function adds (content hashes of prompts, identities of routed models, hashes of trained
artefacts). Concurrency, paths and hosts stay outside.

What a stage's ``check`` refuses is wrong whatever the data: a name in its settings that nothing has, a prompt
with a variable that the stage does not know. It is called for every node before any work, so it demands
nothing that a run may do without, unless the settings ask for it: a run that only curates never comes to the
generator, whose role and prompts need not exist then. Those are demanded by ``uses``.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from hydata.schema import Output, canonical_json, hash128

if TYPE_CHECKING:
    from hydata.models import Models
    from hydata.policy import Policy
    from hydata.prompts import PromptLibrary
    from hydata.taxonomy import Taxonomy


class Settings(BaseModel):
    """Base of every settings object: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Context:
    """What stages may use beside their input. ``artefacts`` maps the name of a trained artefact to
    its file, whose name carries its hash; ``schemas`` holds the columns of every table of the recipe;
    ``weights`` what a bandit gives to prompts (by id), frozen when the run began; ``recipe`` is its file,
    for errors to name."""

    seed: int
    prompts: PromptLibrary
    taxonomy: Taxonomy
    policy: Policy
    models: Models
    artefacts: Mapping[str, Path]
    schemas: Mapping[str, pl.Schema] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    recipe: Path = Path("recipe.toml")


def _uses_nothing(settings: Any, context: Context) -> Iterable[str]:
    return ()


def _all_is_right(settings: Any, context: Context) -> None:
    pass


@dataclass(frozen=True)
class MapStage:
    """``run(input_frame, settings, context)`` is awaited once a shard.

    Every input row's id (``document_id`` or ``record_id``) must turn up in the output, as
    ``record_id``, in ``parent_ids`` or in ``document_ids``, or in the rejects; the runner checks it. A
    stage that ``computes`` and awaits no model is run in a thread, so that calls of other shards go on.
    """

    name: str
    table: str
    columns: pl.Schema
    version: int
    settings: type[Settings]
    run: Callable[[pl.DataFrame, Any, Context], Coroutine[Any, Any, Output]]
    uses: Callable[[Any, Context], Iterable[str]] = _uses_nothing
    check: Callable[[Any, Context], None] = _all_is_right
    computes: bool = False


@dataclass(frozen=True)
class GlobalStage:
    """``run(tables, settings, context)`` gets the shard paths of each input table and yields output
    frames in a stable order; each becomes one part of the result."""

    name: str
    table: str
    columns: pl.Schema
    version: int
    settings: type[Settings]
    run: Callable[[Mapping[str, list[Path]], Any, Context], Iterator[pl.DataFrame]]
    uses: Callable[[Any, Context], Iterable[str]] = _uses_nothing
    check: Callable[[Any, Context], None] = _all_is_right


@dataclass(frozen=True)
class ArtefactStage:
    """``run(tables, settings, context, folder)`` trains something from a snapshot and writes it into
    ``folder`` as one file, whose name carries the hash of its content; stages find it by ``name`` in
    ``context.artefacts``."""

    name: str
    version: int
    settings: type[Settings]
    run: Callable[[Mapping[str, list[Path]], Any, Context, Path], Path]
    uses: Callable[[Any, Context], Iterable[str]] = _uses_nothing
    check: Callable[[Any, Context], None] = _all_is_right


Stage = MapStage | GlobalStage | ArtefactStage


def fingerprint(stage: Stage, settings: Settings, context: Context) -> str:
    """The identity of a stage as 12 hex digits: name, version, settings and all it ``uses``."""
    return hash128(
        stage.name,
        stage.version,
        canonical_json(settings.model_dump(mode="json")),
        context.seed,
        *stage.uses(settings, context),
    )[:12]
