"""JSON replies: asked for by schema, validated, given more room, drawn once more, given up."""

from typing import Literal

import pytest
from pydantic import BaseModel, Field
from servers import ask, completion

from hydata.errors import TerminalModelError
from hydata.models import Sampling


class Verdict(BaseModel):
    reason: str = Field(max_length=200)
    tier: Literal[1, 2, 3, 4]


GOOD = completion('{"reason": "clear", "tier": 3}')


def judged(call=None):
    async def body(models, model, script):
        verdict, reply = await models.structured(model, call or ask(), Verdict)
        return verdict, reply, script.bodies

    return body


def test_the_schema_is_sent_and_the_reply_validated(converse):
    verdict, reply, bodies = converse(judged(), GOOD)
    assert verdict == Verdict(reason="clear", tier=3)
    wanted = bodies[0]["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["name"] == "Verdict"
    assert wanted["json_schema"]["schema"]["properties"]["tier"]["enum"] == [1, 2, 3, 4]
    assert reply.text == '{"reason": "clear", "tier": 3}'


def test_a_reply_cut_off_is_asked_again_with_twice_the_room(converse):
    cut = completion('{"reason": "cle', finish="length")
    verdict, reply, bodies = converse(judged(ask(sampling=Sampling(max_tokens=50))), cut, cut, GOOD)
    assert verdict.tier == 3
    assert [body["max_tokens"] for body in bodies] == [50, 100, 200]
    assert {body["seed"] for body in bodies} == {0}
    assert reply.sampling.max_tokens == 200


def test_a_reply_whose_room_all_went_into_reasoning_gets_more_of_it(converse):
    async def body(models, model, script):
        verdict, reply = await models.structured(model, ask(), Verdict)
        return verdict.tier, reply.reasoning, [b["max_tokens"] for b in script.bodies], models.stats.repairs

    thinking = completion("<think>let me see", finish="length")
    thought = completion('<think>so it is</think>{"reason": "clear", "tier": 2}')
    assert converse(body, thinking, thought) == (2, "so it is", [512, 1024], 1)


def test_a_server_without_schemas_is_sent_none_and_its_reply_is_validated(converse):
    async def body(models, model, script):
        verdict, _ = await models.structured(model, ask(), Verdict)
        return verdict.tier, "response_format" in script.bodies[0]

    assert converse(body, GOOD, json_schema=False) == (3, False)


def test_a_reply_that_never_ends_is_truncated_not_unparseable(converse):
    async def body(models, model, script):
        with pytest.raises(TerminalModelError) as caught:
            await models.structured(model, ask(), Verdict)
        return caught.value.reason, len(script.bodies)

    assert converse(body, completion('{"reason": "on and on', finish="length")) == ("truncated", 3)


@pytest.mark.parametrize("wrong", ['{"reason": "x", "tier": 9}', "I would say tier 3.", '{"tier": 3}'])
def test_a_wrong_reply_is_drawn_once_more(converse, wrong):
    verdict, _, bodies = converse(judged(ask(sampling=Sampling(temperature=0))), completion(wrong), GOOD)
    assert verdict.tier == 3
    assert bodies[0]["seed"] != bodies[1]["seed"]
    assert bodies[1]["temperature"] > 0  # a greedy second draw would be the first again


def test_twice_wrong_is_unparseable_with_what_was_said(converse):
    async def body(models, model, script):
        with pytest.raises(TerminalModelError) as caught:
            await models.structured(model, ask(), Verdict)
        return caught.value, len(script.bodies)

    error, sent = converse(body, completion('{"reason": "x", "tier": 9}'))
    assert (error.reason, sent) == ("unparseable", 2)
    assert "tier" in error.detail
    assert '"tier": 9' in error.detail


def test_a_markdown_fence_around_the_json_is_no_fault(converse):
    verdict, _, bodies = converse(judged(), completion('```json\n{"reason": "x", "tier": 1}\n```'))
    assert (verdict.tier, len(bodies)) == (1, 1)


def test_a_resumed_repair_sends_nothing(converse):
    answers = completion("nonsense"), GOOD
    first, _, bodies = converse(judged(), *answers)
    again, reply, sent = converse(judged(), *answers)
    assert (first, len(bodies), len(sent), reply.cached) == (again, 2, 0, True)
