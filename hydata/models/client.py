"""``Models``: every model call of hydata goes through here.

The messages of a call are masked first: placeholders stand in place of personal data before the call has a
key, so neither a server nor the journal nor an offline batch ever has it. Then the call is looked up in the
journal, then among the calls in flight (equal ones are sent once), then sent to one of its model's servers,
which is started when first needed. The reply is in the journal before anyone sees it, also when it is empty
or refused: those were paid for as well, and a resumed run must not pay again to be told the same.

    async with open_models(load_models(path), journal) as models:
        model = models.route("responder", record_id, {"domain": "mathematics"})
        reply = await models.complete(model, Call(messages))
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from hydata.errors import (
    ConfigError,
    HydataError,
    TerminalModelError,
    TransientModelError,
    WarehouseError,
)
from hydata.models import embedded, router, vectors, vllm
from hydata.models.batch import Outbox
from hydata.models.config import (
    EmbeddedEndpoint,
    ModelsConfig,
    OpenAIEndpoint,
    Sampling,
    VllmEndpoint,
)
from hydata.models.journal import Entry, Journal
from hydata.models.protocol import (
    CHAT,
    FREE,
    Call,
    Form,
    Model,
    Reply,
    Request,
    check,
    decode_reply,
    encode_reply,
    prepare,
    request_hashes,
    written,
)
from hydata.models.standin import Standin
from hydata.models.transport import Servers, Transport, send
from hydata.models.usage import Budget, Ledger, Stats, bucket
from hydata.privacy import PrivacySettings, masked, masked_messages
from hydata.schema import hash128

T = TypeVar("T", bound=BaseModel)
Landing = asyncio.Future[Reply | HydataError | None]
"""The outcome of a request under way, for equal calls that wait for it; None if its caller gave it up."""

LOOK_UPS = 256
ROOM = 4
"""A JSON reply that was cut off is asked for again with twice the room, up to this many times the first."""
REPAIR_SEED = 1_000_003
REPAIR_TEMPERATURE = 0.7
"""A reply that is no valid JSON is drawn once more: with another seed, and never greedily, since that would
give the same."""


class Models:
    """All models of a run; made by ``open_models``, used inside ``async with`` in one event loop."""

    def __init__(
        self,
        config: ModelsConfig,
        journal: Path,
        budget: Budget,
        outbox: Outbox | None,
        privacy: PrivacySettings,
    ) -> None:
        charged = any(e.price != FREE for e in config.endpoints.values())
        if budget.cost is not None and not charged:
            raise ConfigError(
                f"budget.cost = {budget.cost:g}: no endpoint of {config.file} has a price; give each "
                "price = { input = ..., output = ... } for a million tokens, or set budget.tokens"
            )
        self.config = config
        self.privacy = privacy
        self.ledger = Ledger(budget)
        self._journal_path = journal
        self._outbox = outbox
        self._models: dict[str, Model] = {}
        self._forms: dict[tuple[str, type[BaseModel] | None], tuple[Sampling, Form]] = {}
        self._journal: Journal | None = None
        self._transports: dict[str, asyncio.Task[Transport]] = {}
        self._servers: dict[tuple[str, ...], Servers] = {}
        self._landings: dict[str, Landing] = {}
        self._fetching: set[asyncio.Task[object]] = set()
        self._open = AsyncExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._journal = Journal(self._journal_path)
        self._open.callback(self._journal.close)
        if self._outbox is not None:
            self._open.callback(self._outbox.flush, self._journal)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [*self._fetching, *self._transports.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._transports.clear()
        self._servers.clear()
        self._journal = None
        await self._open.aclose()

    @property
    def window(self) -> int:
        """Calls that a shard should have under way at once: twice the requests that all servers take, so that
        those who wait for the journal or before another attempt leave no server idle, and enough of them for
        few look-ups in the journal when the replies are there."""
        return max(LOOK_UPS, 2 * sum(e.concurrency for e in self.config.endpoints.values()))

    @property
    def stats(self) -> Stats:
        """Counters of all calls of this run."""
        return self.ledger.total

    @property
    def journal(self) -> Journal:
        """The open journal.

        Raises:
            RuntimeError: this is not open, or open in another event loop.
        """
        if self._journal is None:
            raise RuntimeError("Models is not open: use `async with open_models(...) as models`")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("Models was opened in another event loop; its calls must come from that one")
        return self._journal

    def identity(self, role: str) -> str:
        """Everything of the role's routing that changes rows, and what its models are not shown, for
        fingerprints."""
        entry = router.role_entry(self.config, role)
        names = {name for weights in entry.alternatives for name in weights}
        routed = router.role_identity(entry, {name: self.model(name) for name in names})
        return hash128(routed, self.privacy.identity) if self.privacy.identity else routed

    def route(self, role: str, key: str, labels: Mapping[str, str | None] | None = None) -> Model:
        """The model that plays ``role`` for the record ``key``: by its labels, weighted, and always the same.

        Raises:
            ConfigError: nobody plays that role, or the model is not installed.
        """
        weights = router.role_entry(self.config, role).fitting(labels or {})
        return self.model(router.choose(weights, role, key))

    def all(
        self, role: str, sampling: Sampling, labels: Mapping[str, str | None] | None = None
    ) -> tuple[Model, ...]:
        """Every model of ``role`` for a record with these labels, in file order, to be asked the same with
        ``sampling``.

        Raises:
            ConfigError: nobody plays that role, a model is not installed, or two would send one request.
        """
        weights = router.role_entry(self.config, role).fitting(labels or {})
        models = tuple(self.model(name) for name in weights)
        router.check_distinct(self.config.file, role, models, sampling)
        return models

    def model(self, name: str) -> Model:
        """The model of that name in the models file.

        Raises:
            ConfigError: it is not installed.
        """
        if name not in self._models:
            self._models[name] = router.build_model(self.config, name)
        return self._models[name]

    async def complete(self, model: Model, call: Call) -> Reply:
        """The model's reply, journalled.

        Raises:
            TransientModelError: it may succeed later; retries are exhausted.
            TerminalModelError: ``empty``, ``refused``, ``context_too_long`` or ``bad_request``.
            BudgetError: the budget of the run does not allow it.
            ConfigError: the endpoint answers no call at all (wrong key, address, model name).
            WarehouseError: the journal cannot be written.
        """
        form = self._form(model, call.sampling, call.schema)
        return check(await self._one(self._request(model, call, form, 1)))

    async def samples(self, model: Model, call: Call, count: int) -> list[Reply | TerminalModelError]:
        """``count`` replies to the same call, from its ``sample_index`` on, each journalled by itself: what
        is there already is not asked for. What is missing is one request where the servers give several.

        Raises:
            As ``complete``, but what never will have a reply stands in its place.
        """
        request = self._request(model, call, self._form(model, call.sampling, call.schema), count)
        if not model.several or self._outbox is not None:
            alone = [self._one_or_none(request.only([i])) for i in request.keys]
            return [_usable(outcome) for outcome in await _together(alone)]
        keys, counters = request.keys, request.counters
        found = await self.journal.find_many(list(keys.values()))
        made: dict[int, Reply | TerminalModelError] = {
            i: decode_reply(model, request.form.sampling, key, found[key])
            for i, key in keys.items()
            if key in found
        }
        counters.calls += len(made)
        counters.ended += len(made)
        for _, prompt_tokens, completion_tokens, seconds in found.values():
            counters.found(prompt_tokens, completion_tokens, seconds)
        for run in _runs([i for i in keys if i not in made]):
            for mine in _runs([i for i in run if keys[i] not in self._landings]):
                made |= await self._several(request.only(mine))
            for i in run:
                if i not in made:  # an equal call was under way
                    made[i] = await self._one_or_none(request.only([i]))
        return [_usable(made[i]) for i in keys]

    async def structured(self, model: Model, call: Call, schema: type[T]) -> tuple[T, Reply]:
        """The model's reply as a ``schema`` object, and the reply it was read from.

        Raises:
            As ``complete``; TerminalModelError ``truncated`` if even the widest room did not do,
            ``unparseable`` if a second draw was no better.
        """
        form = self._form(model, call.sampling, schema)
        sampling = form.sampling
        most = sampling.max_tokens * ROOM
        counters = self.ledger.of(call.purpose, model.identity)
        while True:
            reply = await self._one(self._request(model, call, form, 1))
            cut = reply.finish_reason == "length"
            try:
                if not cut or reply.text.strip():  # else all of the room went into reasoning
                    return schema.model_validate_json(_unfenced(check(reply).text)), reply
            except ValidationError as error:
                problem = _first(error)
            if cut:
                sampling = sampling.model_copy(update={"max_tokens": sampling.max_tokens * 2})
                if sampling.max_tokens > most:
                    raise TerminalModelError(
                        "truncated", f"no end of the JSON within {most} tokens: {reply.text}"
                    )
            elif sampling.seed == call.sampling.seed:
                sampling = _redrawn(sampling)
            else:
                raise TerminalModelError("unparseable", f"{problem}: {reply.text}")
            counters.repairs += 1
            form = prepare(model, sampling, schema)

    async def embed(
        self, model: Model, texts: Sequence[str], purpose: str
    ) -> list[npt.NDArray[np.float32] | TerminalModelError]:
        """The embeddings of texts, as the server gives them, or why it gives none. The journal keeps each by
        itself; those that neither it has nor an equal call under way is asking for are one request. They are
        never left to an offline batch.

        Raises:
            As ``complete``, but what never will have an answer stands in its place.
        """
        form, counters = vectors.prepare(model), self.ledger.of(purpose, model.identity)
        texts = [masked([text], self.privacy)[0] for text in texts]
        keys = [request_hashes(form, vectors.written([text]), [0])[0] for text in texts]
        wanted = dict(zip(keys, texts, strict=True))

        def asking(some: Sequence[str]) -> Request:
            messages = vectors.written([wanted[key] for key in some])
            return Request(model, form, messages, dict(enumerate(some)), purpose, counters)

        async def ask(some: Sequence[str]) -> dict[str, str | TerminalModelError]:
            """A batch is refused for one of its texts; which one that is, halving tells."""
            try:
                return {
                    reply.request_hash: reply.text for reply in (await self._fetch(asking(some))).values()
                }
            except TerminalModelError as error:
                if len(some) == 1:
                    return {some[0]: error}
            half = len(some) // 2
            first, second = await asyncio.gather(ask(some[:half]), ask(some[half:]))
            return first | second

        async def wait(key: str, landing: Landing) -> dict[str, str | TerminalModelError]:
            """What an equal call under way gets; its refusal may be another text's of its batch."""
            outcome = await asyncio.shield(landing)
            if isinstance(outcome, Reply):
                counters.cached += 1
                return {key: outcome.text}
            if isinstance(outcome, HydataError) and not isinstance(outcome, TerminalModelError):
                raise outcome
            return await ask([key])

        counters.calls += len(wanted)
        try:
            stored = await self.journal.find_many(list(wanted))
            for _, prompt_tokens, completion_tokens, seconds in stored.values():
                counters.found(prompt_tokens, completion_tokens, seconds)
            found: dict[str, str | TerminalModelError] = {
                key: decode_reply(model, form.sampling, key, row).text for key, row in stored.items()
            }
            missing = [key for key in wanted if key not in found]
            mine = [key for key in missing if key not in self._landings]
            theirs = [wait(key, self._landings[key]) for key in missing if key in self._landings]
            waiting = asyncio.gather(*theirs, return_exceptions=True)
            try:
                if (
                    mine
                ):  # awaited here and not as a task, which others would overtake before it has its landings
                    found |= await ask(mine)
            finally:
                outcomes = await waiting
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome
                found |= outcome
        finally:
            counters.ended += len(wanted)
        answers = [found[key] for key in keys]
        return [
            answer if isinstance(answer, TerminalModelError) else vectors.decode(answer) for answer in answers
        ]

    async def transport(self, name: str) -> Transport:
        """The endpoint ``name``, started by the first call that needs it.

        Raises:
            ConfigError: it cannot be started, or its key is not set.
        """
        task = self._transports.get(name)
        if task is None:
            task = self._transports[name] = asyncio.create_task(self._start(name))
        return await asyncio.shield(task)

    # --- one call ------------------------------------------------------------------------------------------

    def _form(self, model: Model, wanted: Sampling, schema: type[BaseModel] | None) -> Form:
        """What calls that ask for ``wanted`` have in common. A stage gives one sampling object to all its
        calls, so the last one is remembered."""
        known, form = self._forms.get((model.name, schema), (None, None))
        if form is None or not (known is wanted or known == wanted):
            form = prepare(model, model.sampling(wanted), schema)
            self._forms[model.name, schema] = wanted, form
        return form

    def _request(self, model: Model, call: Call, form: Form, count: int) -> Request:
        messages = written(masked_messages(call.messages, self.privacy))
        keys = request_hashes(form, messages, range(call.sample_index, call.sample_index + count))
        counters = self.ledger.of(call.purpose, model.identity)
        return Request(model, form, messages, keys, call.purpose, counters)

    async def _one(self, request: Request) -> Reply:
        """One sample: from the journal, from an equal call under way, or sent."""
        ((index, key),) = request.keys.items()
        counters = request.counters
        counters.calls += 1
        try:
            stored = await self.journal.find(key)
            if stored is not None:
                counters.found(*stored[1:])
                return decode_reply(request.model, request.form.sampling, key, stored)
            while key in self._landings:
                outcome = await asyncio.shield(self._landings[key])
                if isinstance(outcome, HydataError):
                    raise outcome
                if outcome is not None:
                    counters.cached += 1
                    return replace(outcome, cached=True)
            return (await self._fetch(request))[index]
        finally:
            counters.ended += 1

    async def _one_or_none(self, request: Request) -> Reply | TerminalModelError:
        try:
            return await self._one(request)
        except TerminalModelError as error:
            return error

    async def _several(self, request: Request) -> dict[int, Reply | TerminalModelError]:
        """Consecutive samples by as few requests as the server allows."""
        made: dict[int, Reply | TerminalModelError] = {}
        request.counters.calls += len(request.keys)
        try:
            while missing := [i for i in request.keys if i not in made]:
                made |= await self._fetch(request.only(missing))
        except TerminalModelError as error:
            made |= dict.fromkeys(missing, error)
        finally:
            request.counters.ended += len(request.keys)
        return made

    async def _fetch(self, request: Request) -> dict[int, Reply]:
        """Send for these samples, journal what comes, and let equal calls have it too."""
        if self._outbox is not None and request.form.path == CHAT:
            self._outbox.put(request, self.journal)
            raise TransientModelError(f"{request.model.name}: left to an offline batch")
        create_future = asyncio.get_running_loop().create_future
        landings: dict[str, Landing] = {key: create_future() for key in request.keys.values()}
        self._landings |= landings
        task = asyncio.current_task()
        assert task is not None
        self._fetching.add(task)
        outcomes: Mapping[str, Reply | HydataError] = {}
        try:
            replies = await self._send(request)
            outcomes = {reply.request_hash: reply for reply in replies}
            return dict(zip(request.keys, replies, strict=False))
        except HydataError as error:
            outcomes = dict.fromkeys(landings, error)
            raise
        finally:
            self._fetching.discard(task)
            for key, landing in landings.items():
                if self._landings.get(key) is landing:
                    del self._landings[key]
                landing.set_result(outcomes.get(key))

    async def _send(self, request: Request) -> list[Reply]:
        model, counters = request.model, request.counters
        servers = self._servers.get(model.entry.endpoint)
        if servers is None:
            started = await asyncio.gather(*map(self.transport, model.entry.endpoint))
            servers = self._servers[model.entry.endpoint] = {t.limiter: t for t in started}
        try:
            replies, transport = await send(servers, request, self.ledger)
        except TerminalModelError as error:
            if request.form.path == CHAT or len(request.keys) == 1:  # else one text of a batch is to blame
                counters.refused += len(request.keys)
            for server in servers.values():
                server.judge(error)
            raise
        first = replies[0]
        completion = first.completion_tokens
        counters.squares += (first.prompt_tokens + completion) ** 2
        for reply in replies[1:]:
            completion += reply.completion_tokens
            counters.squares += reply.completion_tokens**2
        counters.answered += 1
        counters.replies += len(replies)
        counters.prompt_tokens += first.prompt_tokens
        counters.completion_tokens += completion
        counters.cost += transport.settings.price.of(first.prompt_tokens, completion)
        counters.seconds += first.seconds
        counters.latencies[bucket(first.seconds)] += 1
        try:
            if len(replies) == 1:
                await self.journal.add(_entry(request, first))
            else:
                await asyncio.gather(*(self.journal.add(_entry(request, reply)) for reply in replies))
        except WarehouseError as error:
            # what is answered from here on would be paid for and lost
            for known in self._servers.values():
                for server in known.values():
                    server.stop(error)
            raise
        useless = [u for u in map(_usable, replies) if isinstance(u, TerminalModelError)]
        transport.judge(useless[0] if len(useless) == len(replies) else None)
        return replies

    # --- servers -------------------------------------------------------------------------------------------

    async def _start(self, name: str) -> Transport:
        endpoint = self.config.endpoints[name]
        if isinstance(endpoint, OpenAIEndpoint):
            key = self._secret(name, endpoint)
            transport = Transport(name, str(endpoint.url).rstrip("/"), endpoint, api_key=key)
        elif isinstance(endpoint, VllmEndpoint):
            log = self._journal_path.parent / f"{name}.log"
            server = await self._open.enter_async_context(vllm.serve(name, endpoint, log))
            transport = Transport(name, server.url, endpoint, server.api_key, local=True, ready=server.ready)
        elif isinstance(endpoint, EmbeddedEndpoint):
            url = await self._open.enter_async_context(embedded.serve(endpoint))
            transport = Transport(name, url, endpoint, local=True)
        else:
            standin = await self._open.enter_async_context(Standin(endpoint.delay, endpoint.fail_every))
            transport = Transport(name, standin.url, endpoint, local=True)
        self._open.push_async_callback(transport.close)
        return transport

    def _secret(self, name: str, endpoint: OpenAIEndpoint) -> str | None:
        if endpoint.api_key_env is None:
            return None
        value = os.environ.get(endpoint.api_key_env)
        if not value:
            raise ConfigError(
                f"{self.config.file}: endpoints.{name}.api_key_env = {endpoint.api_key_env!r}: "
                "that environment variable is not set; export it and run again"
            )
        value = value.strip()
        if not value.isascii() or not value.isprintable():
            raise ConfigError(
                f"{self.config.file}: endpoints.{name}.api_key_env = {endpoint.api_key_env!r}: that variable "
                "holds characters that no key has (a line break, perhaps); export it anew"
            )
        return value


def open_models(
    config: ModelsConfig,
    journal: Path,
    budget: Budget | None = None,
    outbox: Outbox | None = None,
    privacy: PrivacySettings | None = None,
) -> Models:
    """All models of ``config``, with the journal file at ``journal`` (created if missing). With an ``outbox``
    nothing is sent: what the journal does not answer goes there, and its caller has a TransientModelError.
    ``privacy`` says what no request holds; without it, no personal data that has a form of its own."""
    return Models(config, journal, budget or Budget(), outbox, privacy or PrivacySettings())


async def _together(
    samples: Sequence[Coroutine[None, None, Reply | TerminalModelError]],
) -> list[Reply | TerminalModelError]:
    """All outcomes, in order. What is under way when one fails ends first, so that it is kept."""
    outcomes = await asyncio.gather(*samples, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, TerminalModelError):
            raise outcome
    return [o for o in outcomes if isinstance(o, Reply | TerminalModelError)]


def _entry(request: Request, reply: Reply) -> Entry:
    return Entry(
        key=reply.request_hash,
        purpose=request.purpose,
        model=request.model.identity,
        reply=encode_reply(reply.text, reply.reasoning, reply.finish_reason),
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        seconds=reply.seconds,
    )


def _usable(outcome: Reply | TerminalModelError) -> Reply | TerminalModelError:
    try:
        return check(outcome) if isinstance(outcome, Reply) else outcome
    except TerminalModelError as error:
        return error


def _runs(indices: Sequence[int]) -> list[list[int]]:
    """Ascending numbers as runs of consecutive ones."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def _redrawn(sampling: Sampling) -> Sampling:
    seed = (sampling.seed + REPAIR_SEED) % 2**31
    temperature = max(sampling.temperature, REPAIR_TEMPERATURE)
    return sampling.model_copy(update={"seed": seed, "temperature": temperature})


def _unfenced(text: str) -> str:
    """JSON without the Markdown fence that servers which ignore ``response_format`` let through."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        return text[3:-3].removeprefix("json").strip()
    return text


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(p) for p in problem['loc']) or 'reply'}: {problem['msg']}"
