"""Bare clients, as floors: a loop over all requests and nothing else.

python drive_client.py URL ITEMS IN_FLIGHT FOLDER aiohttp|httpx|openai
"""

import asyncio
import json
import sys

import uvloop
from driver import IN_FLIGHT, ITEMS, URL, report
from workload import is_answer, prompt

CLIENT = sys.argv[5]


def body(item):
    return {
        "model": "stub",
        "messages": [{"role": "user", "content": prompt(item)}],
        "temperature": 0.7,
        "top_p": 0.95,
        "max_tokens": 512,
    }


async def with_aiohttp():
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(item):
            async with session.post(f"{URL}/chat/completions", json=body(item)) as response:
                return json.loads(await response.read())["choices"][0]["message"]["content"]

        return await count(ask)


async def with_httpx():
    import httpx

    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits, timeout=600) as client:

        async def ask(item):
            response = await client.post(f"{URL}/chat/completions", json=body(item))
            return response.json()["choices"][0]["message"]["content"]

        return await count(ask)


async def with_openai():
    import openai

    async with openai.AsyncOpenAI(base_url=URL, api_key="none") as client:

        async def ask(item):
            response = await client.chat.completions.create(**body(item))
            return response.choices[0].message.content

        return await count(ask)


async def count(ask):
    """The items answered, ``IN_FLIGHT`` at a time. The first failure is the end: for the instant stub."""
    items = iter(range(ITEMS))
    complete = 0

    async def work():
        nonlocal complete
        for item in items:
            text = await ask(item)
            complete += is_answer(item, text)

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return complete


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    complete = runner.run({"aiohttp": with_aiohttp, "httpx": with_httpx, "openai": with_openai}[CLIENT]())
report(complete, CLIENT)
