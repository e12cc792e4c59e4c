"""What is said on the wire: a call, its key, the request's JSON, and what the server's JSON means.

Pure functions, no sockets. The *key* of a call is a hash of everything that decides the reply: the
model's identity (not the URL, so that a moved server keeps its journal), the messages, every sampling
parameter, the schema and the sample's index. A ``Reply`` is what a model answered, good or not;
``check`` says whether it can be used.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from hydata.errors import ConfigError, ModelError, TerminalModelError, TransientModelError
from hydata.models.config import ModelEntry, Sampling
from hydata.schema import Message, canonical_json, hash128

__all__ = ["Call", "Model", "Reply"]


@dataclass(frozen=True, slots=True)
class Model:
    """One entry of the models file. ``identity`` is recorded with every reply; ``context`` is the
    number of tokens that prompt and reply may have together."""

    name: str
    identity: str
    entry: ModelEntry
    context: int

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
    sampling = call.sampling
    return hash128(
        "request 1",
        model.identity,
        canonical_json([_wire_message(m) for m in call.messages]),
        repr(sampling.temperature),
        repr(sampling.top_p),
        sampling.max_tokens,
        sampling.seed,
        call.sample_index,
        None if call.schema is None else schema_json(call.schema),
    )


@lru_cache(maxsize=256)
def schema_json(schema: type[BaseModel]) -> str:
    """The JSON schema of a pydantic model as canonical JSON."""
    return canonical_json(schema.model_json_schema())


def request_body(model: Model, call: Call) -> dict[str, Any]:
    """The body of ``POST /chat/completions``."""
    body: dict[str, Any] = {
        "model": model.entry.model or model.name,
        "messages": [_wire_message(m) for m in call.messages],
        "temperature": call.sampling.temperature,
        "top_p": call.sampling.top_p,
        "max_tokens": call.sampling.max_tokens,
        "seed": call.sampling.seed + call.sample_index,
    }
    if call.schema is not None:
        # Without "strict": OpenAI's strict mode refuses schemas with defaults; vLLM and llama.cpp
        # constrain the decoding either way, and every reply is validated here.
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": call.schema.__name__, "schema": json.loads(schema_json(call.schema))},
        }
    return body


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


def read_reply(model: Model, call: Call, key: str, data: bytes, seconds: float) -> Reply:
    """The server's body of a 200 as a ``Reply``.

    Raises:
        TransientModelError: it is not a chat completion (a proxy's page, a body cut off).
    """
    try:
        body = json.loads(data)
        choice = body["choices"][0]
        message = choice["message"]
        usage = body.get("usage") or {}
        text = message.get("content") or message.get("refusal") or ""
        thought = message.get("reasoning_content") or message.get("reasoning") or None
        finish = "content_filter" if message.get("refusal") else choice.get("finish_reason") or "unknown"
        tokens = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise TransientModelError(f"not a chat completion: {_excerpt(data)}") from error
    if thought is None:
        thought, text = _split_thought(text)
    return Reply(
        text=_clean(text),
        reasoning=None if thought is None else _clean(thought),
        finish_reason=finish,
        model=model.identity,
        request_hash=key,
        sampling=call.sampling,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        seconds=seconds,
        cached=False,
    )


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
    return json.dumps([reply.text, reply.reasoning, reply.finish_reason], ensure_ascii=False)


def decode_reply(model: Model, call: Call, key: str, stored: tuple[str, int, int, float]) -> Reply:
    """The reply to ``call`` from its journal row (reply, prompt tokens, completion tokens, seconds)."""
    text, reasoning, finish_reason = json.loads(stored[0])
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


def read_failure(status: int, data: bytes, model: Model) -> ModelError | ConfigError:
    """The error that an HTTP status other than 200 stands for.

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
        return ConfigError(f"{said}; check api_key_env of endpoint {model.entry.endpoint!r}")
    return ConfigError(f"{said}; check url of endpoint {model.entry.endpoint!r} and model of {model.name!r}")


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
