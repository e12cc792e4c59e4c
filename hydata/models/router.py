"""Which model plays a role for a record: a weighted choice that depends on nothing but the record's id.

The same record always goes to the same model, so a resumed run asks the same questions, and shards
can be made in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hydata.errors import ConfigError
from hydata.models import embedded, standin
from hydata.models.config import EmbeddedEndpoint, ModelsConfig, OpenAIEndpoint, Sampling
from hydata.models.protocol import Model
from hydata.schema import canonical_json, hash128


def build_model(config: ModelsConfig, name: str) -> Model:
    """The entry ``name`` with its identity: which weights, which engine, never where it runs.

    Raises:
        ConfigError: the model's file or engine is not installed.
    """
    entry = config.models[name]
    endpoint = config.endpoints[entry.endpoint[0]]
    served = entry.model or name
    if isinstance(endpoint, EmbeddedEndpoint):
        identity = embedded.identity(endpoint)
    elif isinstance(endpoint, OpenAIEndpoint):
        identity = served
    else:
        identity = f"{served} (stand-in {standin.VERSION})"
    if entry.revision is not None:
        identity = f"{identity} revision {entry.revision}"
    return Model(name=name, identity=identity, entry=entry, context=endpoint.context)


def weights(config: ModelsConfig, role: str) -> Mapping[str, float]:
    """Model names and weights of a role, in file order.

    Raises:
        ConfigError: the models file has no such role.
    """
    for known, entry in config.roles.items():
        if known == role:
            return entry.models
    raise ConfigError(
        f"{config.file}: no model for the role {role!r}; add [roles.{role}] with models = {{ NAME = 1 }}"
    )


def choose(shares: Mapping[str, float], role: str, key: str) -> str:
    """The name that ``key`` falls to when the models share the unit interval by weight."""
    point = int(hash128("route", role, key), 16) / 2**128 * sum(shares.values())
    for name, weight in shares.items():
        point -= weight
        if point < 0:
            return name
    return name  # rounding at the interval's very end


def check_distinct(file: str, role: str, models: Iterable[Model], sampling: Sampling) -> None:
    """Check that no two models would send the same request, whose one reply would become two records.

    Raises:
        ConfigError: names both, and how to tell them apart.
    """
    seen: dict[tuple[str, Sampling], str] = {}
    for model in models:
        twin = seen.setdefault((model.identity, model.sampling(sampling)), model.name)
        if twin != model.name:
            raise ConfigError(
                f"{file}: roles.{role}.models: {twin!r} and {model.name!r} are the same model "
                f"({model.identity}) with the same sampling and would give the same replies; give one "
                "another temperature, a `revision` if the servers hold different weights, or take one out"
            )


def role_identity(shares: Mapping[str, float], models: Mapping[str, Model]) -> str:
    """Everything of a role that changes rows, as canonical JSON: order, weights, identities, overrides."""
    return canonical_json(
        [
            [
                models[name].identity,
                models[name].entry.model_dump(include={"temperature", "top_p", "max_tokens"}),
                weight,
            ]
            for name, weight in shares.items()
        ]
    )
