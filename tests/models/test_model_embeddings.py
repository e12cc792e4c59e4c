"""Embeddings over the wire."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from servers import pointing

from hydata.errors import ConfigError, TerminalModelError, TransientModelError
from hydata.models import ModelsConfig, Outbox, StandinEndpoint, one_model, open_models
from hydata.models.config import load_models
from hydata.models.vectors import decode, written

TEXTS = ["hello there world", "hello there words", "\ud800 odd"]


def encoded(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


async def embed(config: ModelsConfig, journal: Path, texts: list[str], outbox: Outbox | None = None):
    async with open_models(config, journal, outbox=outbox) as models:
        return await models.embed(models.route("embedder", ""), texts, "embeddings"), models.stats


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[ModelsConfig]:
    """A server on loopback that answers so, as a models file."""
    application = web.Application()
    application.router.add_post("/v1/embeddings", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield pointing("http://{}:{}/v1".format(*runner.addresses[0][:2]))
    finally:
        await runner.cleanup()


async def from_server(rows: object, journal: Path, texts: list[str]):
    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        assert set(body) == {"model", "input", "encoding_format"}
        return web.json_response({"data": rows, "usage": {"prompt_tokens": 9}})

    async with serving(answer) as config:
        return await embed(config, journal, texts)


def test_a_batch_is_asked_for_once_and_then_read_from_the_journal(tmp_path: Path) -> None:
    config = one_model(StandinEndpoint(engine="standin"), "m")
    first, stats = asyncio.run(embed(config, tmp_path / "j", TEXTS))
    first = np.stack(first)
    assert first.shape == (3, 32)
    assert stats.sent == 1
    cosine = first @ first.T / np.outer(*[np.linalg.norm(first, axis=1)] * 2)
    assert cosine[0, 1] > 0.5 > cosine[0, 2]
    again, stats = asyncio.run(embed(config, tmp_path / "j", TEXTS))
    assert (np.stack(again) == first).all()
    assert stats.sent == 0
    more, stats = asyncio.run(embed(config, tmp_path / "j", [TEXTS[1], "new", TEXTS[0], "new"]))
    assert (stats.sent, stats.replies, stats.cached) == (1, 1, 2)
    assert (more[0] == first[1]).all()
    assert (more[1] == more[3]).all()


def test_embeddings_are_not_left_to_an_offline_batch(tmp_path: Path) -> None:
    config = one_model(StandinEndpoint(engine="standin"), "m")
    with Outbox(tmp_path / "batch.jsonl") as outbox:
        _, stats = asyncio.run(embed(config, tmp_path / "j", TEXTS, outbox))
    assert stats.sent == 1
    assert not outbox.requests


def test_numbers_come_as_base64_or_as_lists_in_any_order(tmp_path: Path) -> None:
    rows = [{"index": 1, "embedding": encoded(3, 4)}, {"index": 0, "embedding": [1, 2.5]}]
    found, stats = asyncio.run(from_server(rows, tmp_path / "j", TEXTS[:2]))
    assert [vector.tolist() for vector in found] == [[1, 2.5], [3, 4]]
    assert stats.prompt_tokens == 9


@pytest.mark.parametrize(
    "rows",
    [
        [{"embedding": [1, 2]}],
        [{"embedding": []}, {"embedding": []}],
        [{"embedding": "AAA"}, {"embedding": "AAA"}],
        [{"embedding": [[1]]}, {"embedding": [[1]]}],
        [{"embedding": None}, {"embedding": None}],
        [{"embedding": encoded(float("nan"))}, {"embedding": encoded(1)}],
        [{"index": 0, "embedding": [1]}, {"index": 0, "embedding": [2]}],
        [{"index": 1, "embedding": [1]}, {"index": 2, "embedding": [2]}],
        [{}, {}],
        None,
    ],
)
def test_what_is_no_embedding_is_asked_for_again_and_never_kept(tmp_path: Path, rows: object) -> None:
    with pytest.raises(TransientModelError, match="not embeddings"):
        asyncio.run(from_server(rows, tmp_path / "j", TEXTS[:2]))


def test_one_model_alone_plays_the_embedder(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(
        '[endpoints.e]\nengine = "standin"\n[models.a]\nendpoint = "e"\n[models.b]\nendpoint = "e"\n'
        "temperature = 0.1\n[roles.embedder]\nmodels = { a = 1, b = 1 }\n"
    )
    with pytest.raises(ConfigError, match="one model"):
        load_models(tmp_path / "models.toml")


def test_texts_are_written_as_servers_take_them() -> None:
    assert written(["é", "\ud800"]) == '["é","�"]'.encode()
    assert decode(encoded(1, 2)).tolist() == [1, 2]


def test_a_text_that_two_ask_for_at_once_is_sent_once(tmp_path: Path) -> None:
    texts = [f"text {i}" for i in range(40)]

    async def both():
        config = one_model(StandinEndpoint(engine="standin", delay=0.05), "m")
        async with open_models(config, tmp_path / "j") as models:
            model = models.route("embedder", "")
            found = await asyncio.gather(*(models.embed(model, some, "e") for some in (texts, texts[::-1])))
            return found, models.stats

    (first, second), stats = asyncio.run(both())
    assert (np.stack(first) == np.stack(second[::-1])).all()
    assert (stats.sent, stats.calls, stats.cached) == (1, 80, 40)


def test_a_text_that_is_refused_is_found_by_halving_and_asked_for_once_more_at_a_resume(
    tmp_path: Path,
) -> None:
    texts = [f"text {i}" for i in range(31)] + ["bad"]
    sizes: list[int] = []

    async def answer(request: web.Request) -> web.Response:
        asked = (await request.json())["input"]
        sizes.append(len(asked))
        if "bad" in asked:
            return web.json_response({"error": {"message": "input is too long"}}, status=400)
        rows = [{"index": i, "embedding": [1, float(text[5:])]} for i, text in enumerate(asked)]
        return web.json_response({"data": rows})

    async def twice():
        async with serving(answer) as config:
            return [await embed(config, tmp_path / "j", texts) for _ in range(2)]

    (found, stats), (again, later) = asyncio.run(twice())
    for answers in (found, again):
        assert [vector.tolist() for vector in answers[:-1]] == [[1, i] for i in range(31)]
        assert isinstance(answers[-1], TerminalModelError)
    assert sorted(sizes) == sorted([32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1, 1])
    assert (stats.calls, stats.refused) == (32, 1)
    assert (later.sent, later.refused) == (1, 1)
