"""``Models``: every model call of hydata goes through here.

A call is looked up in the journal, then among the calls in flight (equal ones are sent once), then
sent to its endpoint, which is started when first needed. The reply is in the journal before anyone
sees it, also when it is empty or refused: those were paid for as well, and a resumed run must not pay
again to be told the same.

    async with open_models(load_models(path), journal) as models:
        model = models.route("responder", record_id)
        reply = await models.complete(model, Call(messages))
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from pydantic import BaseModel, ValidationError

from hydata.errors import ConfigError, TerminalModelError
from hydata.models import embedded, router
from hydata.models.config import EmbeddedEndpoint, ModelsConfig, OpenAIEndpoint, Sampling
from hydata.models.journal import Entry, Journal
from hydata.models.protocol import (
    Call,
    Model,
    Reply,
    check,
    decode_reply,
    encode_reply,
    request_hash,
)
from hydata.models.standin import Standin
from hydata.models.transport import Stats, Transport

T = TypeVar("T", bound=BaseModel)

ROOM = 4
"""A JSON reply that was cut off is asked for again with twice the room, up to this many times the first."""
REPAIR_SEED = 1_000_003
REPAIR_TEMPERATURE = 0.7
"""A reply that is no valid JSON is drawn once more: with another seed, and never greedily, since that would
give the same."""


@dataclass
class Flight:
    """A request under way and how many calls wait for it."""

    task: asyncio.Task[Reply]
    waiting: int = 0


class Models:
    """All models of a run; made by ``open_models``, used inside ``async with`` in one event loop."""

    def __init__(self, config: ModelsConfig, journal: Path) -> None:
        self.stats = Stats()
        self._config = config
        self._journal_path = journal
        self._models: dict[str, Model] = {}
        self._journal: Journal | None = None
        self._transports: dict[str, asyncio.Task[Transport]] = {}
        self._flights: dict[str, Flight] = {}
        self._open = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._journal = Journal(self._journal_path)
        self._open.callback(self._journal.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*(flight.task for flight in self._flights.values()), *self._transports.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._transports.clear()
        self._journal = None
        await self._open.aclose()

    def identity(self, role: str) -> str:
        """Everything of the role's routing that changes rows, for fingerprints."""
        shares = router.weights(self._config, role)
        return router.role_identity(shares, {name: self._model(name) for name in shares})

    def route(self, role: str, key: str) -> Model:
        """The model that plays ``role`` for the record ``key``: weighted, and always the same.

        Raises:
            ConfigError: nobody plays that role, or the model is not installed.
        """
        return self._model(router.choose(router.weights(self._config, role), role, key))

    def all(self, role: str, sampling: Sampling) -> tuple[Model, ...]:
        """Every model of ``role``, in file order, to be asked the same with ``sampling``.

        Raises:
            ConfigError: nobody plays that role, a model is not installed, or two would send one request.
        """
        models = tuple(self._model(name) for name in router.weights(self._config, role))
        router.check_distinct(self._config.file, role, models, sampling)
        return models

    async def complete(self, model: Model, call: Call) -> Reply:
        """The model's reply, journalled.

        Raises:
            TransientModelError: it may succeed later; retries are exhausted.
            TerminalModelError: ``empty``, ``refused``, ``context_too_long`` or ``bad_request``.
            ConfigError: the endpoint answers no call at all (wrong key, address, model name).
            WarehouseError: the journal cannot be written.
        """
        return await self._complete(model, replace(call, sampling=model.sampling(call.sampling)))

    async def structured(self, model: Model, call: Call, schema: type[T]) -> tuple[T, Reply]:
        """The model's reply as a ``schema`` object, and the reply it was read from.

        Raises:
            TerminalModelError: as ``complete``; ``truncated`` if even the widest room did not do,
                ``unparseable`` if a second draw was no better.
        """
        call = replace(call, sampling=model.sampling(call.sampling), schema=schema)
        last = call.sampling.max_tokens * ROOM
        for draw in (call, _redraw(call)):
            while True:
                reply = await self._complete(model, draw)
                try:
                    return schema.model_validate_json(_unfenced(reply.text)), reply
                except ValidationError as error:
                    problem = error
                if reply.finish_reason != "length":
                    break
                room = draw.sampling.max_tokens * 2
                if room > last:
                    raise TerminalModelError(
                        "truncated", f"no end of the JSON within {last} tokens: {reply.text}"
                    )
                draw = _with(draw, max_tokens=room)
        raise TerminalModelError("unparseable", f"{_first(problem)}: {reply.text}")

    async def _complete(self, model: Model, call: Call) -> Reply:
        self.stats.calls += 1
        try:
            return await self._look_up_or_fetch(model, call)
        finally:
            self.stats.ended += 1

    async def _look_up_or_fetch(self, model: Model, call: Call) -> Reply:
        journal = self._open_journal()
        key = request_hash(model, call)
        stored = journal.find(key)
        if stored is not None:
            self.stats.cached += 1
            return check(decode_reply(model, call, key, stored))
        flight = self._flights.get(key)
        if flight is None:
            task = asyncio.create_task(self._fetch(model, call, key, journal))
            flight = self._flights[key] = Flight(task)
            return check(await self._wait(key, flight))
        self.stats.cached += 1
        return check(replace(await self._wait(key, flight), cached=True))

    async def _wait(self, key: str, flight: Flight) -> Reply:
        """The outcome of a flight; the last call to give up on it cancels it."""
        flight.waiting += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0:
                self._flights.pop(key, None)
                flight.task.cancel()  # does nothing to one that has landed

    async def _fetch(self, model: Model, call: Call, key: str, journal: Journal) -> Reply:
        transport = await self._transport(model.entry.endpoint[0])
        reply = await transport.send(model, call, key)
        self.stats.prompt_tokens += reply.prompt_tokens
        self.stats.completion_tokens += reply.completion_tokens
        self.stats.seconds += reply.seconds
        await journal.add(
            Entry(
                key=key,
                purpose=call.purpose,
                model=model.identity,
                reply=encode_reply(reply),
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.completion_tokens,
                seconds=reply.seconds,
            )
        )
        return reply

    async def _transport(self, name: str) -> Transport:
        """The endpoint ``name``, started by the first call that needs it."""
        task = self._transports.get(name)
        if task is None:
            task = self._transports[name] = asyncio.create_task(self._start(name))
        return await asyncio.shield(task)

    async def _start(self, name: str) -> Transport:
        endpoint = self._config.endpoints[name]
        if isinstance(endpoint, OpenAIEndpoint):
            key = self._secret(name, endpoint)
            transport = Transport(str(endpoint.url).rstrip("/"), endpoint, self.stats, api_key=key)
        elif isinstance(endpoint, EmbeddedEndpoint):
            server = await self._open.enter_async_context(embedded.serve(endpoint))
            transport = Transport(server, endpoint, self.stats, local=True)
        else:
            standin = await self._open.enter_async_context(Standin(endpoint.delay, endpoint.fail_every))
            transport = Transport(standin.url, endpoint, self.stats, local=True)
        self._open.push_async_callback(transport.close)
        return transport

    def _secret(self, name: str, endpoint: OpenAIEndpoint) -> str | None:
        if endpoint.api_key_env is None:
            return None
        value = os.environ.get(endpoint.api_key_env)
        if not value:
            raise ConfigError(
                f"{self._config.file}: endpoints.{name}.api_key_env = {endpoint.api_key_env!r}: "
                "that environment variable is not set; export it and run again"
            )
        return value

    def _model(self, name: str) -> Model:
        if name not in self._models:
            self._models[name] = router.build_model(self._config, name)
        return self._models[name]

    def _open_journal(self) -> Journal:
        if self._journal is None:
            raise RuntimeError("Models is not open: use `async with open_models(...) as models`")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("Models was opened in another event loop; its calls must come from that one")
        return self._journal


def open_models(config: ModelsConfig, journal: Path) -> Models:
    """All models of ``config``, with the journal file at ``journal`` (created if missing)."""
    return Models(config, journal)


def _with(call: Call, **changes: float) -> Call:
    return replace(call, sampling=call.sampling.model_copy(update=changes))


def _redraw(call: Call) -> Call:
    sampling = call.sampling
    seed = (sampling.seed + REPAIR_SEED) % 2**31
    return _with(call, seed=seed, temperature=max(sampling.temperature, REPAIR_TEMPERATURE))


def _unfenced(text: str) -> str:
    """JSON without the Markdown fence that servers which ignore ``response_format`` let through."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json").strip()
    return text


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(p) for p in problem['loc']) or 'reply'}: {problem['msg']}"
