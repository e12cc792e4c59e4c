"""One endpoint over HTTP: a pool of kept-alive connections, a limit of requests in flight, retries.

Which failures are worth a retry is decided by ``protocol.read_failure``. Waits double from
``backoff`` up to ``MAX_WAIT`` and are jittered, so that calls which failed together do not come back
together; a server's Retry-After comes on top. A waiting request keeps its place in the limit: while a
server is overloaded, fewer requests reach it.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import aiohttp

from hydata.errors import ModelError, TransientModelError
from hydata.models.config import Endpoint
from hydata.models.protocol import Call, Model, Reply, read_failure, read_reply, request_body

MAX_WAIT = 30.0
MAX_RETRY_AFTER = 300.0
CONNECT_SECONDS = 15.0


@dataclass
class Stats:
    """Counters of one ``Models``. ``calls`` were asked for, ``ended`` of them have their outcome, ``cached``
    needed no request; ``sent`` counts HTTP requests, ``retries`` those sent again; ``seconds`` sums the
    ones that succeeded."""

    calls: int = 0
    ended: int = 0
    cached: int = 0
    sent: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass
class Transport:
    """An endpoint that is up at ``url``. ``local`` servers are in this process and never behind a proxy."""

    url: str
    settings: Endpoint
    stats: Stats
    api_key: str | None = None
    local: bool = False
    _session: aiohttp.ClientSession = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        headers = {"Content-Type": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
            cookie_jar=aiohttp.DummyCookieJar(),
            # The environment's proxy is looked up once. aiohttp's trust_env would look it up in a thread for
            # every request, and let ~/.netrc contradict the key.
            proxy=None if self.local else _proxy(self.url),
            timeout=aiohttp.ClientTimeout(total=self.settings.timeout, sock_connect=CONNECT_SECONDS),
        )
        self._slots = asyncio.Semaphore(self.settings.concurrency)

    async def close(self) -> None:
        await self._session.close()

    async def send(self, model: Model, call: Call, key: str) -> Reply:
        """The model's reply, after as many attempts as the endpoint allows.

        Raises:
            TransientModelError: every attempt failed in a way that may pass.
            TerminalModelError: the server will never answer this call.
            ConfigError: the server will never answer any call (wrong key, address or model name).
        """
        async with self._slots:
            data = json.dumps(request_body(model, call)).encode()  # only for as many as are in flight
            attempt = 1
            while True:
                outcome, retry_after = await self._attempt(model, call, key, data)
                if isinstance(outcome, Reply):
                    return outcome
                if not isinstance(outcome, TransientModelError):
                    raise outcome
                if attempt == self.settings.attempts:
                    raise TransientModelError(f"{outcome}; gave up after {attempt} attempts") from outcome
                wait = min(MAX_WAIT, self.settings.backoff * 2 ** (attempt - 1)) * random.uniform(0.5, 1)
                await asyncio.sleep(wait + (retry_after or 0))
                attempt += 1
                self.stats.retries += 1

    async def _attempt(
        self, model: Model, call: Call, key: str, data: bytes
    ) -> tuple[Reply | Exception, float | None]:
        """One request: a reply or what went wrong, and the seconds the server wants us to wait."""
        self.stats.sent += 1
        start = time.perf_counter()
        try:
            # A redirect would carry the key and the prompt to wherever the server says.
            async with self._session.post(
                f"{self.url}/chat/completions", data=data, allow_redirects=False
            ) as response:
                body = await response.read()
                status, retry_after = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            return TransientModelError(
                f"{model.name}: no answer from {self.url} within {self.settings.timeout:g} s"
            ), None
        except (aiohttp.ClientError, OSError) as error:
            return TransientModelError(f"{model.name}: {self.url}: {error or type(error).__name__}"), None
        if status != 200:
            return read_failure(status, self._redacted(body), model), _seconds(retry_after)
        try:
            return read_reply(model, call, key, body, time.perf_counter() - start), None
        except ModelError as error:
            return error, None

    def _redacted(self, body: bytes) -> bytes:
        """Some servers repeat the key they were sent; it must not reach a log or a reject."""
        return body.replace(self.api_key.encode(), b"***") if self.api_key else body


def _proxy(url: str) -> str | None:
    parts = urlsplit(url)
    if not parts.hostname or urllib.request.proxy_bypass(parts.hostname):
        return None
    return urllib.request.getproxies().get(parts.scheme)


def _seconds(retry_after: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Retry-After, either form of RFC 9110, section 10.2.3, as seconds from now."""
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - now()
        except ValueError:
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER)
