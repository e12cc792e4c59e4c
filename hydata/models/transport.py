"""One server over HTTP, and sending a request until it is answered.

A ``Transport`` is a pool of kept-alive connections to one URL with its limiter. ``send`` takes a slot,
makes an attempt, and tries again after failures that may pass. Waits double from ``backoff`` up to
``MAX_WAIT`` and are jittered, so that calls which failed together do not come back together; a server's
Retry-After is the least that is waited. A waiting request holds no slot, but the slot of one that met an
overload stays empty for as long as the server asks, or ``backoff``: a server refuses at once, and the next in
the queue would be refused as well, and the next, until the limiter has learned.

Some things stop more than one request, and everybody who waits for the server gives up at once: a request
that has used up its attempts while nobody else had an answer either (an outage), an error that every
request would meet (a wrong key), and a server whose first ``HOPELESS`` requests were all refused, which is
a wrong setting and not bad records.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectError, RequestError, RequestTimeoutError

from hydata.errors import (
    ConfigError,
    EndpointDownError,
    HydataError,
    TerminalModelError,
    TransientModelError,
)
from hydata.models.config import Endpoint
from hydata.models.limiter import Limiter, take
from hydata.models.protocol import (
    BYTES_A_TOKEN,
    EMBEDDINGS,
    Model,
    Reply,
    Request,
    read_failure,
    read_replies,
    request_body,
)
from hydata.models.usage import Ledger
from hydata.models.vectors import read_embeddings

MAX_WAIT = 30.0
MAX_RETRY_AFTER = 300.0
CONNECT_SECONDS = 15.0
IDLE_SECONDS = 4.0
"""Uvicorn, under vLLM and most others, closes a connection after 5 idle seconds; a request on its way to it
just then would be lost."""
HOPELESS = 20
OVERLOADED = (429, 503)


class Answer(NamedTuple):
    """The body of a 200 and the seconds it took."""

    body: bytes
    seconds: float


class Failure(NamedTuple):
    """Why an attempt gave no reply; ``retry_after``: seconds the server wants us to wait."""

    error: HydataError
    retry_after: float = 0.0
    overloaded: bool = False


async def _always() -> None:
    return None


@dataclass(eq=False)
class Transport:
    """The server ``name`` at ``url``. ``local`` servers are on this machine and never behind a proxy;
    ``ready`` returns once a server that is being started again is back."""

    name: str
    url: str
    settings: Endpoint
    api_key: str | None = None
    local: bool = False
    ready: Callable[[], Awaitable[None]] = _always
    failures: int = 0
    limiter: Limiter = field(init=False)
    _client: Client = field(init=False)
    _answered_at: float = -math.inf
    _stopped_at: float = -math.inf
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _error: HydataError = field(default_factory=HydataError)
    _rests: int = 0
    _rest_until: float = -math.inf
    _useful: bool = False
    _refused: int = 0

    def __post_init__(self) -> None:
        self.limiter = Limiter(self.settings.concurrency)
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        builder = (
            ClientBuilder()
            .default_headers(headers)
            # A redirect would carry the key and the prompt to wherever the server says.
            .follow_redirects(False)
            .timeout(timedelta(seconds=self.settings.timeout))
            .connect_timeout(timedelta(seconds=CONNECT_SECONDS))
            .pool_idle_timeout(timedelta(seconds=IDLE_SECONDS))
        )
        self._client = (builder.no_proxy() if self.local else builder).build()

    async def close(self) -> None:
        await self._client.close()

    async def attempt(self, model: Model, path: str, data: bytes) -> Answer | Failure:
        """One request: a reply or what went wrong."""
        start = time.perf_counter()
        request = self._client.post(f"{self.url}{path}").body_bytes(data).build()
        try:
            response = await request.send()
            body = self._redacted((await response.bytes()).to_bytes())
        except RequestTimeoutError:
            limit = f"no answer from {self.url} within {self.settings.timeout:g} s"
            return Failure(TransientModelError(f"{model.name}: {limit}"), overloaded=True)
        except RequestError as error:
            said = f"{model.name}: {self.url}: {_cause(error)}"
            return Failure(TransientModelError(said), overloaded=_unreachable(error))
        if response.status == 200:
            return Answer(body, time.perf_counter() - start)
        return Failure(
            read_failure(response.status, body, model, self.name),
            _seconds(response.get_header("Retry-After")) or 0.0,
            response.status in OVERLOADED,
        )

    @property
    def resting(self) -> bool:
        """Whether its last request failed so recently that another server of the model is to be asked."""
        return time.monotonic() < self._rest_until

    def failed(self) -> None:
        now = time.monotonic()
        self.failures += 1
        if now >= self._rest_until:
            self._rests += 1
            self._rest_until = now + _wait(self.settings.backoff, self._rests)

    def answered(self) -> None:
        self._answered_at = time.monotonic()
        self.failures, self._rests, self._rest_until = 0, 0, -math.inf

    def silent_since(self, moment: float) -> bool:
        """Whether nobody has had an answer from it since."""
        return self._answered_at < moment

    def stop(self, error: HydataError) -> None:
        """Let everybody who waits for it now have this error; who comes later may try."""
        self._stopped_at, self._error = time.monotonic(), error
        self._stop.set()
        self._stop = asyncio.Event()

    def check(self, began: float) -> None:
        """Raises the error with which it was stopped since ``began``."""
        if self._stopped_at > began:
            raise self._error

    async def pause(self, seconds: float) -> None:
        """Wait, but not on when it is stopped."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return

    def judge(self, error: TerminalModelError | None) -> None:
        """Count a reply that can be used (None), or a request that never will have one.

        Raises:
            ConfigError: none of the first ``HOPELESS`` requests had a reply that can be used.
        """
        if error is None:
            self._useful = True
        elif not self._useful:
            self._refused += 1
            if self._refused >= HOPELESS:
                hopeless = ConfigError(
                    f"endpoint {self.name!r}: none of its first {self._refused} requests had a usable reply, "
                    f"lastly: {error}; check its settings, the model and max_tokens"
                )
                self.stop(hopeless)
                raise hopeless from error

    def _redacted(self, body: bytes) -> bytes:
        """Some servers repeat the key they were sent; it must not reach a log or a reject."""
        return body.replace(self.api_key.encode(), b"***") if self.api_key else body


Servers = Mapping[Limiter, Transport]
"""The servers of one model, by their limiters."""


class Sending(NamedTuple):
    """A request on its way; ``data`` is its body, ``began`` the moment it first wanted a slot."""

    servers: Servers
    request: Request
    data: bytes
    ledger: Ledger
    began: float


async def send(servers: Servers, request: Request, ledger: Ledger) -> tuple[list[Reply], Transport]:
    """The replies to the samples of ``request``, in their order, and who gave them. A server that gives fewer
    samples than asked gives the first ones.

    Raises:
        TransientModelError: every attempt failed in a way that may pass.
        EndpointDownError: and so did everybody else's.
        TerminalModelError: the server will never answer this call.
        ConfigError: the server will never answer any call (wrong key, address or model name).
        BudgetError: the budget of the run does not allow it.
    """
    sending = Sending(servers, request, request_body(request), ledger, time.monotonic())
    read = read_embeddings if request.form.path == EMBEDDINGS else read_replies
    ask = _ask if next(iter(servers.values())).settings.hedge is None else _ask_hedged
    for attempt in itertools.count(1):
        outcome, transport = await ask(sending)
        if isinstance(outcome, Answer):
            try:
                replies = read(request, outcome.body, outcome.seconds)
            except TransientModelError as error:
                outcome = Failure(error)
            else:
                transport.answered()
                return replies, transport
        if isinstance(outcome.error, ConfigError):
            transport.stop(outcome.error)
        if not isinstance(outcome.error, TransientModelError):
            raise outcome.error
        transport.failed()
        await _wait_for_next(sending, transport, outcome, attempt)
        request.counters.retries += 1
    raise AssertionError("unreachable")


async def _wait_for_next(sending: Sending, transport: Transport, failure: Failure, attempt: int) -> None:
    """Wait before the next attempt, or raise because there is to be none."""
    settings = transport.settings
    if attempt < settings.attempts:
        wait = _wait(settings.backoff, attempt) * random.uniform(0.5, 1)
        await transport.pause(max(wait, failure.retry_after * random.uniform(1, 1.1)))
        transport.check(sending.began)
        return
    gave_up = f"{failure.error}; gave up after {attempt} attempts"
    servers = sending.servers.values()
    others = sum(server.failures for server in servers) > attempt
    if not others or not all(server.silent_since(sending.began) for server in servers):
        raise TransientModelError(gave_up) from failure.error
    names = ", ".join(server.name for server in servers)
    seconds = time.monotonic() - sending.began
    down = EndpointDownError(
        f"{gave_up}, and nobody had an answer from {names} in the last {seconds:.0f} s; "
        "see to the server and run again"
    )
    for server in servers:
        server.stop(down)
    raise down from failure.error


async def _ask_hedged(sending: Sending) -> tuple[Answer | Failure, Transport]:
    """``_ask``, and once more beside it after the ``hedge`` of the first server; the first answer counts. The
    second one's failure, or its being too much for the budget, does not end the first."""
    hedge = next(iter(sending.servers.values())).settings.hedge
    first = asyncio.create_task(_ask(sending))
    pending = {first}
    try:
        done, pending = await asyncio.wait(pending, timeout=hedge)
        if not done:
            pending.add(asyncio.create_task(_ask(sending)))
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None and isinstance(task.result()[0], Answer):
                    return task.result()
        return first.result()
    finally:
        for task in pending:
            task.cancel()


async def _ask(sending: Sending) -> tuple[Answer | Failure, Transport]:
    """One attempt, at the server of the model that is least busy."""
    transport = await _slot(sending.servers)
    limiter, ledger, request = transport.limiter, sending.ledger, sending.request
    empty = 0.0
    try:
        transport.check(sending.began)
        await transport.ready()
        most = len(request.keys) * request.form.sampling.max_tokens
        asked = len(sending.data) // BYTES_A_TOKEN
        aside = await ledger.reserve(request.counters, asked, most, transport.settings.price)
        try:
            transport.check(sending.began)
            request.counters.sent += 1
            sent_in = limiter.sent()
            outcome = await transport.attempt(request.model, request.form.path, sending.data)
        finally:
            ledger.release(aside)
        if isinstance(outcome, Failure) and outcome.overloaded:
            empty = max(outcome.retry_after, transport.settings.backoff)
        limiter.note(sent_in, overloaded=empty > 0)
        return outcome, transport
    finally:
        if empty:
            asyncio.get_running_loop().call_later(empty, limiter.release)
        else:
            limiter.release()


async def _slot(servers: Servers) -> Transport:
    """Wait for a slot; the server it is of. One whose last request failed is left in peace for a while, as
    long as there is another."""
    if len(servers) == 1:
        return servers[await take(servers)]
    while True:
        awake = [limiter for limiter, server in servers.items() if not server.resting]
        transport = servers[await take(awake or servers)]
        if not transport.resting or all(server.resting for server in servers.values()):
            return transport
        transport.limiter.release()  # it failed while this request waited


def _wait(backoff: float, failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(MAX_WAIT, backoff * 2.0 ** min(failures - 1, 30))


def _cause(error: RequestError) -> str:
    """The last and most telling of an error's causes."""
    causes = error.details.get("causes") or []
    return causes[-1]["message"] if causes else str(error)


def _unreachable(error: RequestError) -> bool:
    """Whether no connection came about, which tells of the server; one that broke tells of one request."""
    causes = error.details.get("causes") or []
    return isinstance(error, ConnectError) and any("(Connect)" in cause["message"] for cause in causes)


def _seconds(retry_after: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Retry-After, either form of RFC 9110, section 10.2.3, as seconds from now."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - now()
        except (ValueError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)
