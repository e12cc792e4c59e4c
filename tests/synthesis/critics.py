"""Critics with known answers, behind a real HTTP server; which one answers is said by the model's name.

knows    scores an answer as ``known`` says, all aspects alike, and compares by that
first    gives everything tier 2, and of two answers takes the one that is shown first
longer   likes length: more characters, more points and a better tier; of two answers the longer one
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Self

from aiohttp import web

from hydata.synthesis.critique import ASPECTS

TAG = re.compile(r"<(answer|answer_a|answer_b|回答|回答甲|回答乙)>\n(.*?)\n</\1>", re.DOTALL)
CRITICS = ("knows", "first", "longer")
STEPS = (20, 200, 500)
"""Characters from which ``longer`` gives 2, 3 and 4 points."""


class Critics:
    """``async with Critics(known) as server``: ``known`` maps answers to points, 4 best; other answers get
    1. ``asked`` keeps the last message of every request."""

    def __init__(self, known: Mapping[str, int]) -> None:
        self.known = known
        self.asked: list[str] = []

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def models(self) -> str:
        """A models file in which each critic is a model."""
        entries = "".join(f'[models.{name}]\nendpoint = "stub"\nmodel = "{name}"\n' for name in CRITICS)
        endpoint = f'[endpoints.stub]\nengine = "openai"\nurl = "{self.url}"\n'
        return f"{endpoint}{entries}[roles.critic]\nmodels = {{ knows = 1 }}\n"

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        asked = body["messages"][-1]["content"]
        self.asked.append(asked)
        text = json.dumps(self.reply(body["model"], asked), ensure_ascii=False)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return web.json_response({"model": body["model"], "choices": [choice], "usage": usage})

    def points(self, critic: str, answer: str) -> int:
        if critic == "knows":
            return self.known.get(answer, 1)
        return 3 if critic == "first" else 1 + sum(len(answer) >= step for step in STEPS)

    def reply(self, critic: str, asked: str) -> dict[str, Any]:
        answers = [answer.strip() for _, answer in TAG.findall(asked)]
        points = [self.points(critic, answer) for answer in answers]
        if len(answers) == 1:
            scores = dict.fromkeys(ASPECTS, points[0])
            return {"reason": "known", "issues": [], **scores, "tier": "DCBA"[points[0] - 1]}
        a, b = (len(answer) for answer in answers) if critic == "longer" else points
        better = "A" if a > b or critic == "first" else "B" if b > a else "tie"
        return {"reason": "known", "better": better}
