"""What is said on the wire: a call, its key, the request's JSON, and what the server's JSON means.

Pure functions, no sockets. The *key* of a call is a hash of everything that decides the reply: the
model's identity (not the URL, so that a moved server keeps its journal), the messages, every sampling
parameter, the schema and the sample's index. A ``Reply`` is what a model answered, good or not;
``check`` says whether it can be used.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import orjson
from pydantic import BaseModel

from hydata.errors import ConfigError, ModelError, TerminalModelError, TransientModelError
from hydata.models.config import ModelEntry, Price, Sampling
from hydata.models.usage import Stats
from hydata.schema import Message, canonical_json, framed

__all__ = ["Call", "Model", "Reply"]

CHAT, EMBEDDINGS = "/chat/completions", "/embeddings"
FREE = Price()
Content = tuple[str, str | None, str]
"""Text, reasoning and finish reason of an answer."""
BYTES_A_TOKEN = 3
"""Of text in English or Chinese, on the dear side: where a server does not count tokens, or before it has."""
MANY = 2**40
"""More tokens than anything has; the journal would refuse them."""
NEVER = "never: "
"""Begins the finish reason of what stands in the journal for a request that a server has refused for good;
the reason follows."""


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


@dataclass(frozen=True, slots=True)
class Form:
    """What all calls with one model, sampling and schema have in common, prepared once: ``sampling`` is what
    is really sent, ``path`` where to, the rest are the parts of bodies and keys around the messages, as
    bytes."""

    sampling: Sampling
    body_head: bytes
    body_tail: bytes
    key_head: bytes
    key_tail: bytes
    key_end: bytes
    path: str = CHAT


class Request(NamedTuple):
    """Samples of one call to ask a model for: ``keys`` maps their indices to the journal's keys, ``messages``
    are as ``written``."""

    model: Model
    form: Form
    messages: bytes
    keys: Mapping[int, str]
    purpose: str
    counters: Stats

    def only(self, indices: Iterable[int]) -> Request:
        """The same for some of the samples."""
        return self._replace(keys={index: self.keys[index] for index in indices})


def prepare(model: Model, sampling: Sampling, schema: type[BaseModel] | None) -> Form:
    """The form of calls."""
    rest: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if schema is not None and model.json_schema:
        # Without "strict": OpenAI's strict mode refuses schemas with defaults; vLLM and llama.cpp
        # constrain the decoding either way, and every reply is validated here.
        rest["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": schema.__name__, "schema": json.loads(schema_json(schema))},
        }
    drawn = (repr(sampling.temperature), repr(sampling.top_p), sampling.max_tokens, sampling.seed)
    return Form(
        sampling=sampling,
        body_head=b'{"model":' + json.dumps(model.served).encode() + b',"messages":',
        body_tail=b"," + json.dumps(rest).encode()[1:-1] + b',"seed":',
        key_head=framed("request 1", model.identity),
        key_tail=framed(*drawn),
        key_end=framed(None if schema is None else schema_json(schema)),
    )


def written(said: Iterable[Message]) -> bytes:
    """The messages of a call as canonical JSON: those of its key, and of its request."""
    messages = [_wire_message(m) for m in said]
    try:
        return orjson.dumps(
            messages, option=orjson.OPT_SORT_KEYS
        )  # as `canonical_json`, at a tenth of the time
    except TypeError:  # lone surrogates
        return json.dumps(messages, sort_keys=True, separators=(",", ":")).encode()


def request_hashes(form: Form, messages: bytes, indices: Iterable[int]) -> dict[int, str]:
    """The journal's keys of samples of a call, 32 hex digits each; ``messages`` is what ``written`` gave."""
    head = form.key_head + framed(messages) + form.key_tail
    return {
        index: hashlib.blake2b(head + framed(index) + form.key_end, digest_size=16).hexdigest()
        for index in indices
    }


@lru_cache(maxsize=256)
def schema_json(schema: type[BaseModel]) -> str:
    """The JSON schema of a pydantic model as canonical JSON."""
    return canonical_json(schema.model_json_schema())


def request_body(request: Request) -> bytes:
    """The body of the POST.

    The seed is that of the first sample. vLLM adds 0, 1, 2 ... to it for the choices of one request, so that
    a sample is the same however it was asked for.
    """
    form, count = request.form, len(request.keys)
    if form.path != CHAT:
        return b"".join((form.body_head, request.messages, form.body_tail))
    end = b"}" if count == 1 else b',"n":%d}' % count
    seed = b"%d" % (form.sampling.seed + min(request.keys))
    return b"".join((form.body_head, request.messages, form.body_tail, seed, end))


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


def read_replies(request: Request, data: bytes, seconds: float) -> list[Reply]:
    """The server's body of a 200 as replies to the samples of ``request``, in their order; fewer if the
    server gave fewer.

    The tokens of the prompt are counted to the first; those of the completion, which a server tells in
    one sum, are shared out evenly.

    Raises:
        TransientModelError: it is not a chat completion (a proxy's page, a body cut off).
    """
    keys = request.keys
    try:
        contents, prompt, completion = read_completion(loads(data), len(keys))
    except ValueError as error:
        raise TransientModelError(f"{request.model.name}: not a chat completion: {excerpt(data)}") from error
    if not prompt and not completion:  # some servers do not tell; a budget wants to know
        prompt = len(request.messages) // BYTES_A_TOKEN
        completion = sum(len((t + (r or "")).encode()) // BYTES_A_TOKEN for t, r, _ in contents)
    share, rest = divmod(completion, len(contents))
    return [
        Reply(
            text,
            thought,
            finish,
            request.model.identity,
            key,
            request.form.sampling,
            prompt if place == 0 else 0,
            share + (place < rest),
            seconds,
            cached=False,
        )
        for place, (key, (text, thought, finish)) in enumerate(zip(keys.values(), contents, strict=False))
    ]


def read_completion(body: Any, most: int = 1) -> tuple[list[Content], int, int]:
    """What the parsed JSON of a chat completion says: the first ``most`` of its choices, at least one, and
    the tokens of the prompt and of all choices.

    Raises:
        ValueError: it is no chat completion.
    """
    try:
        choices = sorted(body["choices"], key=lambda choice: choice.get("index") or 0)[:most]
        usage = body.get("usage") or {}
        prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        if not choices or not (0 <= prompt < MANY and 0 <= completion < MANY):
            raise KeyError("choices" if not choices else "usage")
        return [_content(choice) for choice in choices], prompt, completion
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError("not a chat completion") from error


def _content(choice: Mapping[str, Any]) -> Content:
    message = choice["message"]
    text = message.get("content") or message.get("refusal") or ""
    thought = message.get("reasoning_content") or message.get("reasoning") or None
    finish = "content_filter" if message.get("refusal") else choice.get("finish_reason") or "unknown"
    if thought is None:
        thought, text = _split_thought(text)
    return _clean(text), None if thought is None else _clean(thought), _clean(str(finish))


def loads(data: bytes) -> Any:
    """The value of JSON text, also of what strict readers refuse: half a surrogate pair, NaN.

    Raises:
        ValueError: it is no JSON.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        try:
            return json.loads(data)
        except RecursionError:
            raise ValueError("JSON nested too deeply") from None


def check(reply: Reply) -> Reply:
    """``reply`` itself when it has an answer to use.

    Raises:
        TerminalModelError: ``refused`` by a content filter, or ``empty``; or a server has refused the request
            for good, and that was read from an offline batch.
    """
    if reply.finish_reason.startswith(NEVER):
        raise TerminalModelError(reply.finish_reason.removeprefix(NEVER), reply.text)
    if reply.finish_reason == "content_filter":
        raise TerminalModelError("refused", reply.text or "stopped by the server's content filter")
    if not reply.text.strip():
        spent = " (all of it went into reasoning; raise max_tokens)" if reply.reasoning else ""
        raise TerminalModelError(
            "empty", f"no text in {reply.completion_tokens} tokens, {reply.finish_reason}{spent}"
        )
    return reply


def encode_reply(text: str, reasoning: str | None, finish_reason: str) -> str:
    """What the journal stores of a reply: all that cannot be had from the request again."""
    return orjson.dumps([text, reasoning, finish_reason]).decode()


def decode_reply(model: Model, sampling: Sampling, key: str, stored: tuple[str, int, int, float]) -> Reply:
    """A reply from its journal row (reply, prompt tokens, completion tokens, seconds)."""
    text, reasoning, finish_reason = orjson.loads(stored[0])
    return Reply(text, reasoning, finish_reason, model.identity, key, sampling, *stored[1:], cached=True)


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
    words = server_words(data)
    said = f"{model.name}: HTTP {status}: {words}"
    if status in (408, 409, 425, 429) or (status >= 500 and status not in (501, 505)):
        return TransientModelError(said)
    if status == 402:
        return TransientModelError(f"{said} (the account is out of credit)")
    reason = refusal(status, words)
    if reason is not None:
        return TerminalModelError(reason, said)
    if status in (401, 403):
        return ConfigError(f"{said}; check api_key_env of endpoint {endpoint!r} (for vLLM: VLLM_API_KEY)")
    return ConfigError(f"{said}; check url of endpoint {endpoint!r} and model of {model.name!r}")


def refusal(status: int, words: str) -> str | None:
    """The reason for which a server with this status and these words will never answer this one request:
    ``context_too_long``, ``refused`` or ``bad_request``; None if it may, or answers no request at all."""
    if status in (400, 403, 413, 422):
        if status == 413 or CONTEXT.search(words):
            return "context_too_long"
        if REFUSED.search(words):
            return "refused"
        if status != 403:
            return "bad_request"
    return None


def server_words(data: bytes) -> str:
    """The message inside the usual error envelopes, else the start of the body."""
    try:
        body = loads(data)
        found = body.get("error", body)
        words = found if isinstance(found, str) else found.get("message") or found.get("detail")
        code = found.get("code") or found.get("type") if isinstance(found, dict) else None
    except (ValueError, AttributeError):
        return excerpt(data)
    if not isinstance(words, str):
        return excerpt(data)
    return f"{words[:400]} ({code})" if isinstance(code, str) else words[:400]


def excerpt(data: bytes) -> str:
    return " ".join(data[:400].decode("utf-8", "replace").split()) or "(empty body)"
