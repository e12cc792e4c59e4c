"""What is said on the wire: a call, its key, the request's JSON, and what the server's JSON means.

Pure functions, no sockets. The *key* of a call is a hash of everything that decides the reply: the
model's identity (not the URL, so that a moved server keeps its journal), the messages, every sampling
parameter, the schema and the sample's index. A ``Reply`` is what a model answered, good or not;
``check`` says whether it can be used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson
from pydantic import BaseModel

from hydata.errors import ConfigError, ModelError, TerminalModelError, TransientModelError
from hydata.models.config import ModelEntry, Price, Sampling
from hydata.schema import Message, canonical_json, hash128

__all__ = ["Call", "Model", "Reply"]

FREE = Price()


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the models file. ``identity`` is recorded with every reply; ``served`` is the name its
    servers know it by; ``context`` is the number of tokens that prompt and reply may have together;
    ``several`` says whether its servers give several samples to one request, ``json_schema`` whether they
    constrain replies to a schema; ``price`` is the dearest of theirs."""

    name: str
    identity: str
    entry: ModelEntry
    served: str
    context: int
    several: bool = False
    json_schema: bool = True
    price: Price = FREE

    def sampling(self, wanted: Sampling) -> Sampling:
        """What is really sent when a call asks for ``wanted``: the entry's overrides applied."""
        return self.entry.override(wanted)


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``sample_index`` tells several samples of one prompt apart and moves the seed;
    ``schema`` asks for JSON of that shape; ``purpose`` (a step or prompt id) is for accounting only
    and is not part of the key."""

    messages: tuple[Message, ...]
    sampling: Sampling = field(default_factory=Sampling)
    sample_index: int = 0
    schema: type[BaseModel] | None = None
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model answered. ``sampling`` is what was really sent, ``seconds`` the time of the one
    request that succeeded, ``cached`` that nothing was sent for it (journal, or an equal call in
    flight). ``text`` is the answer without the model's reasoning."""

    text: str
    reasoning: str | None
    finish_reason: str
    model: str
    request_hash: str
    sampling: Sampling
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cached: bool


def request_hash(model: Model, call: Call) -> str:
    """The journal's key of ``call`` on ``model``: 32 hex digits."""
    return request_hashes(model, call, 1)[0]


def request_hashes(model: Model, call: Call, count: int) -> list[str]:
    """The keys of ``count`` samples of ``call``, from its own ``sample_index`` on."""
    sampling = call.sampling
    messages = canonical_json([_wire_message(m) for m in call.messages])
    schema = None if call.schema is None else schema_json(call.schema)
    drawn = (repr(sampling.temperature), repr(sampling.top_p), sampling.max_tokens, sampling.seed)
    return [
        hash128("request 1", model.identity, messages, *drawn, index, schema)
        for index in range(call.sample_index, call.sample_index + count)
    ]


@lru_cache(maxsize=256)
def schema_json(schema: type[BaseModel]) -> str:
    """The JSON schema of a pydantic model as canonical JSON."""
    return canonical_json(schema.model_json_schema())


def request_body(model: Model, call: Call, first: int, count: int) -> bytes:
    """The body of ``POST /chat/completions`` for ``count`` samples from index ``first`` on.

    The seed is that of the first sample. vLLM adds 0, 1, 2 ... to it for the choices of one request, so that
    a sample is the same however it was asked for.
    """
    body: dict[str, Any] = {
        "model": model.served,
        "messages": [_wire_message(m) for m in call.messages],
        "temperature": call.sampling.temperature,
        "top_p": call.sampling.top_p,
        "max_tokens": call.sampling.max_tokens,
        "seed": call.sampling.seed + first,
    }
    if count > 1:
        body["n"] = count
    if call.schema is not None and model.json_schema:
        # Without "strict": OpenAI's strict mode refuses schemas with defaults; vLLM and llama.cpp
        # constrain the decoding either way, and every reply is validated here.
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": call.schema.__name__, "schema": json.loads(schema_json(call.schema))},
        }
    try:
        return orjson.dumps(body)
    except TypeError:  # lone surrogates, or an integer beyond 64 bits, which JSON itself allows
        return json.dumps(body).encode()


def _wire_message(message: Message) -> dict[str, Any]:
    """Reasoning is left out: models are trained on histories without it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        wire["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire


def read_replies(
    model: Model, call: Call, keys: Mapping[int, str], data: bytes, seconds: float
) -> list[Reply]:
    """The server's body of a 200 as replies to the samples ``keys`` (sample index -> key), in their order;
    fewer if the server gave fewer.

    The tokens of the prompt are counted to the first; those of the completion, which a server tells in
    one sum, are shared out evenly.

    Raises:
        TransientModelError: it is not a chat completion (a proxy's page, a body cut off).
    """
    try:
        body = _loads(data)
        choices = sorted(body["choices"], key=lambda choice: choice.get("index") or 0)[: len(keys)]
        usage = body.get("usage") or {}
        prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        contents = [_content(choice) for choice in choices]
        if not contents:
            raise KeyError("choices")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise TransientModelError(f"{model.name}: not a chat completion: {_excerpt(data)}") from error
    share, rest = divmod(completion, len(contents))
    return [
        Reply(
            text=text,
            reasoning=thought,
            finish_reason=finish,
            model=model.identity,
            request_hash=key,
            sampling=call.sampling,
            prompt_tokens=prompt if place == 0 else 0,
            completion_tokens=share + (place < rest),
            seconds=seconds,
            cached=False,
        )
        for place, (key, (text, thought, finish)) in enumerate(zip(keys.values(), contents, strict=False))
    ]


def _content(choice: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """Text, reasoning and finish reason of a choice."""
    message = choice["message"]
    text = message.get("content") or message.get("refusal") or ""
    thought = message.get("reasoning_content") or message.get("reasoning") or None
    finish = "content_filter" if message.get("refusal") else choice.get("finish_reason") or "unknown"
    if thought is None:
        thought, text = _split_thought(text)
    return _clean(text), None if thought is None else _clean(thought), str(finish)


def _loads(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:  # half a surrogate pair or NaN, which json reads
        return json.loads(data)


def check(reply: Reply) -> Reply:
    """``reply`` itself when it has an answer to use.

    Raises:
        TerminalModelError: ``refused`` by a content filter, or ``empty``.
    """
    if reply.finish_reason == "content_filter":
        raise TerminalModelError("refused", reply.text or "stopped by the server's content filter")
    if not reply.text.strip():
        spent = " (all of it went into reasoning; raise max_tokens)" if reply.reasoning else ""
        raise TerminalModelError(
            "empty", f"no text in {reply.completion_tokens} tokens, {reply.finish_reason}{spent}"
        )
    return reply


def encode_reply(reply: Reply) -> str:
    """What the journal stores: all that cannot be had from the request again."""
    return orjson.dumps([reply.text, reply.reasoning, reply.finish_reason]).decode()


def decode_reply(model: Model, call: Call, key: str, stored: tuple[str, int, int, float]) -> Reply:
    """The reply to ``call`` from its journal row (reply, prompt tokens, completion tokens, seconds)."""
    text, reasoning, finish_reason = orjson.loads(stored[0])
    return Reply(text, reasoning, finish_reason, model.identity, key, call.sampling, *stored[1:], cached=True)


def _split_thought(text: str) -> tuple[str | None, str]:
    """``<think>...</think>`` at the start, apart from the answer. Cut off before its end it is all
    thought. Tags further on belong to the answer (a text about HTML, say)."""
    start = text.lstrip()
    if not start.startswith("<think>"):
        return None, text
    thought, _, answer = start.removeprefix("<think>").partition("</think>")
    return thought.strip() or None, answer.lstrip()


def _clean(text: str) -> str:
    """Lone surrogates, which a server's JSON may hold, would fail in every UTF-8 writer downstream."""
    return (
        text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )


CONTEXT = re.compile(
    r"context.{0,40}(length|size|window|exceed)|exceed.{0,40}context|prompt is too long", re.I | re.S
)
REFUSED = re.compile(r"content.?(filter|policy|management)|moderation|flagged|safety", re.I)


def read_failure(status: int, data: bytes, model: Model, endpoint: str) -> ModelError | ConfigError:
    """The error that an HTTP status other than 200 of ``endpoint`` stands for.

    A wrong key, address or model name fails every request alike. Taken for terminal it would turn the
    whole seed set into rejects, so it is the user's ``ConfigError`` and stops the run.
    """
    words = _server_words(data)
    said = f"{model.name}: HTTP {status}: {words}"
    if status in (408, 409, 425, 429) or (status >= 500 and status not in (501, 505)):
        return TransientModelError(said)
    if status == 402:
        return TransientModelError(f"{said} (the account is out of credit)")
    if status in (400, 403, 413, 422):
        if status == 413 or CONTEXT.search(words):
            return TerminalModelError("context_too_long", said)
        if REFUSED.search(words):
            return TerminalModelError("refused", said)
        if status != 403:
            return TerminalModelError("bad_request", said)
    if status in (401, 403):
        return ConfigError(f"{said}; check api_key_env of endpoint {endpoint!r}")
    return ConfigError(f"{said}; check url of endpoint {endpoint!r} and model of {model.name!r}")


def _server_words(data: bytes) -> str:
    """The message inside the usual error envelopes, else the start of the body."""
    try:
        body = json.loads(data)
        found = body.get("error", body)
        words = found if isinstance(found, str) else found.get("message") or found.get("detail")
        code = found.get("code") or found.get("type") if isinstance(found, dict) else None
    except (ValueError, AttributeError):
        return _excerpt(data)
    if not isinstance(words, str):
        return _excerpt(data)
    return f"{words[:400]} ({code})" if isinstance(code, str) else words[:400]


def _excerpt(data: bytes) -> str:
    return " ".join(data[:400].decode("utf-8", "replace").split()) or "(empty body)"
