"""A deterministic stand-in model, shipped so that recipes, flows and tests run without a real one.

A real HTTP server on loopback that speaks the OpenAI chat protocol. Its reply is a pure function of
the request, so an interrupted and resumed run must equal an uninterrupted one, whatever the order of
the calls. It counts requests, and answers slowly or with faults when told to.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, Self

from aiohttp import web

from hydata.models import standin_text
from hydata.schema import canonical_json, hash128

VERSION = 2
"""Part of the model's identity: raise it when a reply to the same request changes."""


class Standin:
    """``async with Standin() as server``: serves at ``server.url`` until closed.

    ``requests`` counts all that came in, ``answered`` how often each different one got an answer, by
    the request's hash (each of several samples by itself). Every ``fail_every``-th request is answered
    with 503 instead.
    """

    def __init__(self, delay: float = 0, fail_every: int = 0) -> None:
        self.delay = delay
        self.fail_every = fail_every
        self.requests = 0
        self.answered: Counter[str] = Counter()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> Self:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_post("/v1/chat/completions", self._answer)
        application.router.add_post("/v1/embeddings", self._answer)
        # Who hangs up gets no answer, and at the end nobody waits for one (0 seconds would mean for ever).
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests += 1
        number = self.requests
        try:
            body = await request.json()
        except ValueError:
            return _refusal(400, "the body is not JSON")
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.fail_every and number % self.fail_every == 0:
            return _refusal(503, "told to fail")
        try:
            answer = embeddings(body) if request.path.endswith("/embeddings") else replies(body)
        except (KeyError, TypeError, ValueError) as error:
            return _refusal(400, f"{type(error).__name__}: {error}")
        for sample in _samples(body):
            self.answered[hash128(canonical_json(sample))] += 1
        return web.json_response(answer)


def embeddings(body: dict[str, Any]) -> dict[str, Any]:
    """A vector for each text of ``input``: the sum of one of each of its words, so that texts which share
    most words have similar ones."""
    rows = [
        {"object": "embedding", "index": index, "embedding": standin_text.vector(text)}
        for index, text in enumerate(body["input"])
    ]
    usage = {"prompt_tokens": sum(standin_text.tokens(text) for text in body["input"])}
    return {"object": "list", "model": body.get("model"), "data": rows, "usage": usage}


def replies(body: dict[str, Any]) -> dict[str, Any]:
    """The chat completion with as many choices as ``n`` says, each what a request of its own would give."""
    each = [reply(sample) for sample in _samples(body)]
    usage = {
        "prompt_tokens": each[0]["usage"]["prompt_tokens"],
        "completion_tokens": sum(answer["usage"]["completion_tokens"] for answer in each),
    }
    choices = [answer["choices"][0] | {"index": index} for index, answer in enumerate(each)]
    return each[0] | {"choices": choices, "usage": usage}


def _samples(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The requests of one sample each that a request for ``n`` stands for: seeds count on, as vLLM's do."""
    alone = {key: value for key, value in body.items() if key != "n"}
    count = int(body.get("n") or 1)
    return [alone | {"seed": (body.get("seed") or 0) + i} for i in range(count)] if count > 1 else [alone]


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """The chat completion to a request's body: text made of the prompt's words, or JSON of the asked shape.

    Raises:
        ValueError, KeyError, TypeError: not a chat request, or a schema beyond the stand-in.
    """
    messages = [(m["role"], m["content"] or "") for m in body["messages"]]
    wanted = (body.get("response_format") or {}).get("json_schema")
    room = int(body.get("max_tokens") or 512)
    seed = hash128(canonical_json(body))
    prompt = "\n".join(content for role, content in messages if role != "system")
    writer = standin_text.Writer(prompt, seed)
    text = (
        writer.prose(room)
        if wanted is None
        else json.dumps(writer.instance(wanted["schema"]), ensure_ascii=False)
    )
    text, finished = standin_text.cut(text, room)
    return {
        "id": f"standin-{seed}",
        "object": "chat.completion",
        "created": 0,
        "model": body.get("model"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop" if finished else "length",
            }
        ],
        "usage": {
            "prompt_tokens": sum(standin_text.tokens(content) for _, content in messages),
            "completion_tokens": standin_text.tokens(text),
        },
    }


def _refusal(status: int, words: str) -> web.Response:
    return web.json_response({"error": {"message": f"stand-in: {words}"}}, status=status)
