"""Loopback servers that behave as told, and configurations and calls for them."""

import asyncio
import json
from contextlib import asynccontextmanager

from aiohttp import web

from hydata.models import Call, Model, ModelsConfig, OpenAIEndpoint, Sampling, one_model
from hydata.models.protocol import prepare, request_hashes, written
from hydata.schema import Message


def completion(text: str | None = "Fine.", finish: str = "stop", **message: object) -> dict:
    return {
        "choices": [{"message": {"content": text, **message}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3},
    }


class Script:
    """A server that gives its answers in turn, the last one for ever. An answer is a completion, a
    (status, body, headers), seconds to stay silent, or "reset" (the connection is dropped)."""

    def __init__(self, answers: list) -> None:
        self.answers = answers
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.url = ""
        self.now = self.most = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            self.bodies.append(await request.json())
            self.headers.append(dict(request.headers))
            answer = self.answers[min(len(self.bodies), len(self.answers)) - 1]
            if isinstance(answer, float):
                await asyncio.sleep(answer)
                answer = completion()
            if answer == "reset":
                request.transport.abort()
                return web.Response()
            if isinstance(answer, tuple):
                status, body, headers = answer
                return web.Response(
                    status=status, text=body if isinstance(body, str) else json.dumps(body), headers=headers
                )
            return web.json_response(answer)
        finally:
            self.now -= 1


@asynccontextmanager
async def serving(*answers: object):
    script = Script(list(answers) or [completion()])
    application = web.Application()
    application.router.add_post("/v1/chat/completions", script.handle)
    runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    script.url = "http://{}:{}/v1".format(*runner.addresses[0][:2])
    try:
        yield script
    finally:
        await runner.cleanup()


def pointing(url: str, **settings: object) -> ModelsConfig:
    settings = {"backoff": 0.01, "attempts": 3, "timeout": 5, **settings}
    return one_model(OpenAIEndpoint(engine="openai", url=url, **settings), "tiny")


def request_hash(model: Model, call: Call) -> str:
    """The journal's key of a call as it is, the model's overrides aside."""
    form = prepare(model, call.sampling, call.schema)
    return request_hashes(form, written(call.messages), [call.sample_index])[call.sample_index]


def ask(text: str = "What is a lake?", **changes: object) -> Call:
    return Call(**{"messages": (Message("user", text),), "sampling": Sampling(), **changes})
