"""Several samples of one call: by one request where the server can, each journalled by itself."""

import asyncio
from pathlib import Path

import pytest
from servers import ask, completion, pointing

from hydata.errors import TerminalModelError
from hydata.models import Reply, Standin, StandinEndpoint, one_model, open_models


def many(*texts: str | None) -> dict:
    """A completion with several choices, in the wrong order."""
    choices = [completion(text)["choices"][0] | {"index": i} for i, text in enumerate(texts)]
    return {"choices": choices[::-1], "usage": {"prompt_tokens": 7, "completion_tokens": 10}}


def wanted(count: int):
    async def body(models, model, script):
        replies = await models.samples(model, ask(), count)
        return replies, [(b.get("n"), b["seed"]) for b in script.bodies], models.stats

    return body


def test_one_request_brings_all_and_its_tokens_are_shared_out(converse) -> None:
    replies, sent, stats = converse(wanted(4), many("a", "b", "c", "d"), n=True)
    assert [reply.text for reply in replies] == ["a", "b", "c", "d"]
    assert sent == [(4, 0)]
    assert [reply.prompt_tokens for reply in replies] == [7, 0, 0, 0]
    assert [reply.completion_tokens for reply in replies] == [3, 3, 2, 2]
    assert len({reply.request_hash for reply in replies}) == 4
    assert (stats.calls, stats.ended, stats.sent, stats.replies) == (4, 4, 1, 4)
    assert (stats.prompt_tokens, stats.completion_tokens) == (7, 10)


def test_going_from_four_to_eight_asks_for_the_missing_four_by_one_request(converse) -> None:
    converse(wanted(4), many("a", "b", "c", "d"), n=True)
    replies, sent, stats = converse(wanted(8), many("e", "f", "g", "h"), n=True)
    assert [reply.text for reply in replies] == list("abcdefgh")
    assert sent == [(4, 4)]
    assert (stats.cached, stats.sent) == (4, 1)


def test_a_server_without_n_is_asked_once_for_each(converse) -> None:
    replies, sent, stats = converse(wanted(3), completion("one"))
    assert [reply.text for reply in replies] == ["one"] * 3
    assert sorted(sent) == [(None, 0), (None, 1), (None, 2)]
    assert stats.sent == 3


def test_a_server_that_gives_fewer_than_asked_is_asked_for_the_rest(converse) -> None:
    replies, sent, _ = converse(wanted(4), completion("a"), many("b", "c"), completion("d"), n=True)
    assert [reply.text for reply in replies] == list("abcd")
    assert sent == [(4, 0), (3, 1), (None, 3)]


def test_only_gaps_are_filled_run_by_run(converse) -> None:
    async def one(models, model, script):
        await models.complete(model, ask(sample_index=2))

    converse(one, completion("c"), n=True)
    replies, sent, _ = converse(wanted(4), many("a", "b"), completion("d"), n=True)
    assert [reply.text for reply in replies] == list("abcd")
    assert sent == [(2, 0), (None, 3)]


def test_a_sample_without_an_answer_stands_in_its_place(converse) -> None:
    replies, _, _ = converse(wanted(3), many("a", "", "c"), n=True)
    assert [type(reply) for reply in replies] == [Reply, TerminalModelError, Reply]
    assert replies[1].reason == "empty"
    again, sent, _ = converse(wanted(3), n=True)
    assert (again[1].reason, sent) == ("empty", [])


@pytest.mark.parametrize("n", [True, False])
def test_a_refused_request_is_the_outcome_of_all_its_samples(converse, n: bool) -> None:
    failure = (400, {"error": {"message": "no"}}, {})
    replies, _, stats = converse(wanted(3), failure, n=n)
    assert [reply.reason for reply in replies] == ["bad_request"] * 3
    assert (stats.calls, stats.ended, stats.refused) == (3, 3, 3)


def test_samples_by_one_request_are_those_of_single_requests(tmp_path: Path) -> None:
    async def texts(n: bool) -> list[str]:
        config = one_model(StandinEndpoint(engine="standin", n=n), "tiny")
        async with open_models(config, tmp_path / f"j{n}") as models:
            replies = await models.samples(models.route("responder", "x"), ask(), 5)
            assert models.stats.sent == (1 if n else 5)
            return [reply.text for reply in replies if isinstance(reply, Reply)]

    assert asyncio.run(texts(True)) == asyncio.run(texts(False))


def test_an_equal_call_under_way_is_not_sent_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            Standin(delay=0.1) as server,
            open_models(pointing(server.url, n=True), tmp_path / "j") as models,
        ):
            model = models.route("responder", "x")
            alone = asyncio.create_task(models.complete(model, ask(sample_index=1)))
            await asyncio.sleep(0.03)
            replies = await models.samples(model, ask(), 4)
            assert (await alone).text == replies[1].text
            assert server.answered.total() == 4
            assert (models.stats.calls, models.stats.ended, models.stats.cached) == (5, 5, 1)

    asyncio.run(main())
