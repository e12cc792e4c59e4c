"""What goes over the wire, and what is made of each way a server can fail."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from servers import ask, completion, pointing, serving

from hydata.errors import ConfigError, TerminalModelError, TransientModelError
from hydata.models import Sampling, open_models
from hydata.models.transport import MAX_RETRY_AFTER, _seconds
from hydata.schema import Message, ToolCall


def once(call=None):
    async def body(models, model, script):
        return await models.complete(model, call or ask()), models.stats, script

    return body


def test_a_reply_is_read(converse):
    reply, stats, script = converse(
        once(ask(sampling=Sampling(seed=5), sample_index=2)), completion("A lake.")
    )
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("A lake.", None, "stop")
    assert (reply.prompt_tokens, reply.completion_tokens, reply.cached) == (7, 3, False)
    assert (stats.calls, stats.sent, stats.retries, stats.prompt_tokens, stats.completion_tokens) == (
        1,
        1,
        0,
        7,
        3,
    )
    assert script.bodies == [
        {
            "model": "tiny",
            "messages": [{"role": "user", "content": "What is a lake?"}],
            "temperature": 0.7,
            "top_p": 0.95,
            "max_tokens": 512,
            "seed": 7,
        }
    ]


def test_tool_messages_are_sent_in_full_and_reasoning_is_not(converse):
    messages = (
        Message("user", "Weather?"),
        Message(
            "assistant",
            "",
            reasoning="secret thought",
            tool_calls=(ToolCall("weather", '{"in":"Oslo"}', "c1"),),
        ),
        Message("tool", "rain", tool_call_id="c1"),
    )
    _, _, script = converse(once(ask(messages=messages)))
    assert script.bodies[0]["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"in":"Oslo"}'},
                }
            ],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    "failure",
    [
        (429, {"error": {"message": "slow down"}}, {}),
        (500, "oops", {}),
        (503, "", {}),
        (408, "", {}),
        "reset",
        (200, "<html>bad gateway</html>", {}),
        (200, {"choices": []}, {}),
        (200, '{"choices": [{"mess', {}),
    ],
    ids=str,
)
def test_what_may_pass_is_tried_again(converse, failure):
    reply, stats, script = converse(once(), failure, failure, completion("At last."))
    assert reply.text == "At last."
    assert (stats.sent, stats.retries, len(script.bodies)) == (3, 2, 3)


def test_a_slow_answer_is_tried_again(converse):
    reply, stats, _ = converse(once(), 5.0, completion("Quick."), timeout=0.2)
    assert (reply.text, stats.retries) == ("Quick.", 1)


def test_what_does_not_pass_is_transient_with_the_servers_words(converse):
    with pytest.raises(TransientModelError, match=r"HTTP 429: slow down.*gave up after 3 attempts"):
        converse(once(), (429, {"error": {"message": "slow down"}}, {}))
    with pytest.raises(TransientModelError, match=r"no answer from http.* within 0\.1 s"):
        converse(once(), 5.0, timeout=0.1, attempts=1)


def test_nobody_listening_is_transient(tmp_path):
    async def main():
        async with serving() as script:
            config = pointing(script.url)
        async with open_models(config, tmp_path / "j") as models:
            await models.complete(models.route("critic", "x"), ask())

    with pytest.raises(TransientModelError, match=r"127\.0\.0\.1"):
        asyncio.run(main())


def test_retry_after_is_honoured(converse):
    start = time.perf_counter()
    reply, _, _ = converse(once(), (429, "", {"Retry-After": "0.4"}), completion("Now."))
    assert reply.text == "Now."
    assert time.perf_counter() - start > 0.4


def test_retry_after_in_either_form_and_capped():
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    assert 17 < _seconds(soon) <= 20
    assert (_seconds("7"), _seconds("86400"), _seconds("-5")) == (7, MAX_RETRY_AFTER, 0)
    assert (_seconds(None), _seconds("soon"), _seconds("nan"), _seconds("inf")) == (
        None,
        None,
        None,
        MAX_RETRY_AFTER,
    )


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        ((400, {"error": {"message": "temperature must be a number"}}, {}), "bad_request"),
        ((422, {"detail": "no such field"}, {}), "bad_request"),
        (
            (400, {"error": {"message": "This model's maximum context length is 4096 tokens"}}, {}),
            "context_too_long",
        ),
        (
            (
                400,
                {
                    "error": {
                        "message": "request exceeds the available context size",
                        "type": "exceed_context_size_error",
                    }
                },
                {},
            ),
            "context_too_long",
        ),
        ((413, "too large", {}), "context_too_long"),
        ((400, {"error": {"message": "no", "code": "content_filter"}}, {}), "refused"),
        ((403, {"error": {"message": "your input was flagged by moderation"}}, {}), "refused"),
        (completion("", finish="content_filter"), "refused"),
        (completion(None, refusal="I cannot help with that."), "refused"),
        (completion(""), "empty"),
        (completion(" \n"), "empty"),
        (completion("<think>but what about", finish="length"), "empty"),
    ],
    ids=str,
)
def test_what_never_passes_is_terminal_and_sent_once(converse, failure, reason):
    async def body(models, model, script):
        with pytest.raises(TerminalModelError) as caught:
            await models.complete(model, ask())
        return caught.value, len(script.bodies)

    error, sent = converse(body, failure)
    assert (error.reason, sent) == (reason, 1)
    assert error.detail


@pytest.mark.parametrize(
    ("status", "remedy"), [(401, "api_key_env"), (403, "api_key_env"), (404, "url"), (307, "url")]
)
def test_what_fails_every_call_stops_the_run_with_a_remedy(converse, status, remedy):
    failure = (
        status,
        {"error": {"message": "The model `tiny` does not exist"}},
        {"Location": "http://127.0.0.1:9/"},
    )
    with pytest.raises(ConfigError, match=f"HTTP {status}: The model .*check {remedy} of endpoint 'tiny'"):
        converse(once(), failure)


def test_the_key_comes_from_the_environment_and_never_comes_out(converse, monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match=r"api_key_env = 'TINY_KEY'.*not set"):
        converse(once(), api_key_env="TINY_KEY")
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")
    _, _, script = converse(once(), api_key_env="TINY_KEY")
    assert script.headers[0]["Authorization"] == "Bearer sk-very-secret"
    with pytest.raises(ConfigError, match=r"wrong key \*\*\*") as caught:
        converse(
            once(ask("again")),
            (401, {"error": {"message": "wrong key sk-very-secret"}}, {}),
            api_key_env="TINY_KEY",
        )
    assert "very-secret" not in str(caught.value)
    assert not any(b"very-secret" in file.read_bytes() for file in tmp_path.iterdir())


def test_the_environments_proxy_is_used_but_not_for_local_servers(tmp_path, monkeypatch):
    async def main(url, attempts=1):
        async with open_models(pointing(url, attempts=attempts), tmp_path / "j") as models:
            return await models.complete(models.route("critic", "x"), ask(url))

    async def through_proxy():
        async with serving(completion("Direct.")) as script:
            monkeypatch.setenv("http_proxy", script.url.removesuffix("/v1"))
            monkeypatch.setenv("no_proxy", "127.0.0.1")
            assert (await main(script.url)).text == "Direct."
            with pytest.raises(ConfigError, match="HTTP 404"):  # the proxy was asked, and knows no such path
                await main("http://models.invalid/elsewhere")

    asyncio.run(through_proxy())


def test_no_more_requests_in_flight_than_the_endpoint_allows(converse):
    async def body(models, model, script):
        await asyncio.gather(*(models.complete(model, ask(sample_index=i)) for i in range(20)))
        return script.most

    assert converse(body, 0.02, concurrency=3) == 3


@pytest.mark.parametrize(
    ("message", "text", "reasoning"),
    [
        ({"text": "<think>\nhm\n</think>\n\nYes."}, "Yes.", "hm"),
        ({"text": "<think></think>Yes."}, "Yes.", None),
        ({"text": "Yes.", "reasoning_content": "hm"}, "Yes.", "hm"),
        ({"text": "Yes.", "reasoning": "hm"}, "Yes.", "hm"),
        ({"text": "The tag <think>x</think> is not HTML."}, "The tag <think>x</think> is not HTML.", None),
        ({"text": "  Indented.\n"}, "  Indented.\n", None),
        ({"text": "half a pair \ud83d here"}, "half a pair \ufffd here", None),
    ],
    ids=str,
)
def test_reasoning_is_kept_apart(converse, message, text, reasoning):
    reply, _, _ = converse(once(), completion(**message))
    assert (reply.text, reply.reasoning) == (text, reasoning)
