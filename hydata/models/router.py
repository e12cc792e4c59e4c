"""Which model plays a role for a record: a route by the record's labels, then a weighted choice by its id.

Nothing else decides, so the same record always goes to the same model, a resumed run asks the same
questions, and shards can be made in any order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hydata.errors import ConfigError
from hydata.models import embedded, standin, vllm
from hydata.models.config import (
    EmbeddedEndpoint,
    Endpoint,
    ModelsConfig,
    OpenAIEndpoint,
    RoleEntry,
    Sampling,
    VllmEndpoint,
)
from hydata.models.protocol import Model
from hydata.schema import canonical_json, hash128


def build_model(config: ModelsConfig, name: str) -> Model:
    """The entry ``name`` with its identity: which weights, which engine, never where it runs.

    Raises:
        ConfigError: the model's file or engine is not installed, or its endpoints hold different weights.
    """
    entry = config.models[name]
    endpoints = [config.endpoints[endpoint] for endpoint in entry.endpoint]
    identities = {_identity(endpoint, entry.model or name) for endpoint in endpoints}
    if len(identities) > 1:
        raise ConfigError(
            f"{config.file}: models.{name}.endpoint = {list(entry.endpoint)}: they serve different models "
            f"({', '.join(sorted(identities))}); make each a model of its own"
        )
    (identity,) = identities
    served = endpoints[0].served_name if isinstance(endpoints[0], VllmEndpoint) else entry.model or name
    return Model(
        name=name,
        identity=identity if entry.revision is None else f"{identity} revision {entry.revision}",
        entry=entry,
        served=served,
        context=min(endpoint.context for endpoint in endpoints),
        several=all(endpoint.n for endpoint in endpoints),
        json_schema=all(endpoint.json_schema for endpoint in endpoints),
        price=max((endpoint.price for endpoint in endpoints), key=lambda price: price.of(1, 1)),
    )


def _identity(endpoint: Endpoint, served: str) -> str:
    if isinstance(endpoint, EmbeddedEndpoint):
        return embedded.identity(endpoint)
    if isinstance(endpoint, VllmEndpoint):
        return vllm.identity(endpoint)
    return served if isinstance(endpoint, OpenAIEndpoint) else f"{served} (stand-in {standin.VERSION})"


def role_entry(config: ModelsConfig, role: str) -> RoleEntry:
    """Who plays a role.

    Raises:
        ConfigError: the models file has no such role.
    """
    for known, entry in config.roles.items():
        if known == role:
            return entry
    raise ConfigError(
        f"{config.file}: no model for the role {role!r}; add [roles.{role}] with models = {{ NAME = 1 }}"
    )


def choose(shares: Mapping[str, float], role: str, key: str) -> str:
    """The name that ``key`` falls to when the models share the unit interval by weight."""
    if len(shares) == 1:
        return next(iter(shares))
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


def role_identity(entry: RoleEntry, models: Mapping[str, Model]) -> str:
    """Everything of a role that changes rows, as canonical JSON: routes, order, weights, identities,
    overrides."""

    def shares(weights: Mapping[str, float]) -> list[object]:
        return [
            [
                models[name].identity,
                models[name].entry.model_dump(include={"temperature", "top_p", "max_tokens"}),
                weight,
            ]
            for name, weight in weights.items()
        ]

    routes = [[route.model_dump(include={"when"}), shares(route.models)] for route in entry.routes]
    return canonical_json([*shares(entry.models), *([{"routes": routes}] if routes else [])])


def check_labels(config: ModelsConfig, dimensions: Mapping[str, Collection[str] | None]) -> None:
    """Check that every route asks for labels that exist; ``dimensions`` maps each dimension to its labels, or
    to None where any may occur (languages).

    Raises:
        ConfigError: names the route and what there is.
    """
    for role, entry in config.roles.items():
        for place, route in enumerate(entry.routes):
            check_when(f"{config.file}: roles.{role}.routes[{place}].when", route.when, dimensions)


def check_when(
    at: str, when: Mapping[str, Collection[str]], dimensions: Mapping[str, Collection[str] | None]
) -> None:
    """Check one such condition, which stands ``at`` that place of a file.

    Raises:
        ConfigError: names the place and what there is.
    """
    for dimension, wanted in when.items():
        if dimension not in dimensions:
            raise ConfigError(f"{at}: no dimension {dimension!r}; there are {', '.join(dimensions)}")
        labels = dimensions[dimension]
        unknown = sorted(set(wanted) - set(labels)) if labels is not None else []
        if labels is not None and unknown:
            known = ", ".join(labels)
            raise ConfigError(f"{at}.{dimension}: no label {unknown[0]!r}; there are {known}")
