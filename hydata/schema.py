"""The one data model: immutable records, separate judgements, derived decisions.

A *document* is a piece of seed text. A *conversation* is a list of messages: while its last message
is the user's it is an *instruction*, once the assistant has answered it is *complete*. Both are
written once and never edited. Their ids are 128-bit hashes of origin and content, so a regenerated
text never inherits what was judged of another one.

*Judgements* are rows keyed by ``(record_id, judge, version, repeat)`` in a table a judge; *decisions*
are derived from them by a policy. What a stage drops on the way is a *reject* with a reason.

The dataclasses are for code that makes one row at a time (a reader, a model's reply);
``documents_frame``, ``conversations_frame`` and ``rejects_frame`` turn them into Polars frames, which
is what all other code passes around. The constants in capitals are the tables' columns.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

Kind = Literal["web", "qa", "code", "book", "dataset"]
Role = Literal["system", "user", "assistant", "tool"]
Step = Literal[
    "dataset", "extract", "generate", "evolve", "generalise", "self_instruct", "respond", "follow_up"
]

CONTROL_TOKENS = ("<|startoftext|>", "<|extra_0|>", "<|extra_4|>", "<|extra_5|>", "<|eos|>")
"""The Hunyuan-Large trainer finds its loss mask by these; no exported text may hold one."""

DEFAULT_SYSTEM_PROMPT = "You are a helpful assistant."

MESSAGE = pl.Struct(
    {
        "role": pl.String(),
        "content": pl.String(),
        "reasoning": pl.String(),
        "tool_calls": pl.List(pl.Struct({"id": pl.String(), "name": pl.String(), "arguments": pl.String()})),
        "tool_call_id": pl.String(),
    }
)

REFERENCE = pl.Struct(
    {
        "answer": pl.String(),
        "spans": pl.List(pl.Struct({"document_id": pl.String(), "start": pl.Int64(), "end": pl.Int64()})),
    }
)

DOCUMENTS = pl.Schema(
    {
        "document_id": pl.String(),
        "kind": pl.String(),
        "uri": pl.String(),
        "file": pl.String(),
        "position": pl.Int64(),
        "title": pl.String(),
        "text": pl.String(),
        "answer_start": pl.Int64(),
        "start": pl.Int64(),
        "end": pl.Int64(),
        "language": pl.String(),
        "language_confidence": pl.Float32(),
        "programming_language": pl.String(),
        "licence": pl.String(),
        "published": pl.String(),
        "tags": pl.List(pl.String()),
        "score": pl.Int64(),
    }
)

CONVERSATIONS = pl.Schema(
    {
        "record_id": pl.String(),
        "step": pl.String(),
        "uri": pl.String(),
        "position": pl.Int64(),
        "messages": pl.List(MESSAGE),
        "tools": pl.String(),
        "parent_ids": pl.List(pl.String()),
        "document_ids": pl.List(pl.String()),
        "reference": REFERENCE,
        "licence": pl.String(),
        "prompt_id": pl.String(),
        "model": pl.String(),
        "sampling": pl.String(),
        "sample_index": pl.Int32(),
        "finish_reason": pl.String(),
        "request_hash": pl.String(),
    }
)

JUDGEMENT_KEY = pl.Schema(
    {"record_id": pl.String(), "judge": pl.String(), "version": pl.String(), "repeat": pl.Int32()}
)

REJECTS = pl.Schema(
    {
        "stage": pl.String(),
        "record_id": pl.String(),
        "file": pl.String(),
        "position": pl.Int64(),
        "reason": pl.String(),
        "detail": pl.String(),
        "prompt_id": pl.String(),
        "model": pl.String(),
    }
)

PREFERENCES = pl.Schema(
    {"chosen_id": pl.String(), "rejected_id": pl.String(), "source": pl.String(), "margin": pl.Float64()}
)

DECISIONS = pl.Schema(
    {"record_id": pl.String(), "policy": pl.String(), "status": pl.String(), "reasons": pl.List(pl.String())}
)

MIXES = pl.Schema({"mix": pl.String(), "record_id": pl.String(), "weight": pl.Float64()})

SOURCES = pl.Schema(
    {
        "file": pl.String(),
        "sha256": pl.String(),
        "bytes": pl.Int64(),
        "modified_ns": pl.Int64(),
        "kind": pl.String(),
        "documents": pl.Int64(),
        "conversations": pl.Int64(),
        "rejects": pl.Int64(),
        "reader": pl.String(),
    }
)

USAGE = pl.Schema(
    {
        "run": pl.String(),
        "recipe": pl.String(),
        "step": pl.String(),
        "prompt": pl.String(),
        "model": pl.String(),
        "calls": pl.Int64(),
        "cached": pl.Int64(),
        "sent": pl.Int64(),
        "retries": pl.Int64(),
        "replies": pl.Int64(),
        "refused": pl.Int64(),
        "repairs": pl.Int64(),
        "prompt_tokens": pl.Int64(),
        "completion_tokens": pl.Int64(),
        "cost": pl.Float64(),
        "seconds": pl.Float64(),
        "p50": pl.Float64(),
        "p90": pl.Float64(),
        "p99": pl.Float64(),
    }
)
"""What the model calls of each run took, by prompt and model; ``p50`` and so on are seconds a request."""

MAX_DETAIL = 500
"""Characters of a reject's ``detail`` that are kept: enough to see the cause, not to store the text."""


def hash128(*parts: str | bytes | int | None) -> str:
    """128-bit BLAKE2b of the parts as 32 hex digits; each part is framed by its length, so that
    ``("ab", "c")`` and ``("a", "bc")`` differ. Bytes count as the text they are the UTF-8 of; lone
    surrogates are hashed as they stand."""
    return hashlib.blake2b(framed(*parts), digest_size=16).hexdigest()


def framed(*parts: str | bytes | int | None) -> bytes:
    """What ``hash128`` hashes; framings of some parts and of further ones can be put together."""
    framed = b""
    for part in parts:
        if isinstance(part, bytes):
            data = part
        else:
            data = b"\x00" if part is None else str(part).encode("utf-8", "surrogatepass")
        framed += len(data).to_bytes(8, "little") + data
    return framed


def canonical_json(value: object) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Document:
    """One seed document or chunk, as a reader yields it.

    ``uri`` is the page's own address where known, else the file; ``file`` is the file that was read,
    as the user gave it; ``position`` tells documents of one file apart (byte offset of a WARC record,
    line of a JSONL row, index of a chunk). ``start`` and ``end`` are character offsets of ``text``
    in the decoded (for HTML: extracted) text of its source; ``answer_start`` is where the answer
    begins inside ``text`` (Q&A only). ``language`` is an ISO 639-1 code if the reader knows it;
    otherwise ingest asks fastText.
    """

    kind: Kind
    uri: str
    file: str
    position: int
    text: str
    title: str | None = None
    answer_start: int | None = None
    start: int = 0
    end: int | None = None
    language: str | None = None
    programming_language: str | None = None
    licence: str | None = None
    published: str | None = None
    tags: tuple[str, ...] = ()
    score: int | None = None

    @property
    def document_id(self) -> str:
        return hash128("document", self.kind, self.uri, self.file, self.position, self.title, self.text)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool; ``arguments`` is JSON text as the model wrote it."""

    name: str
    arguments: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. ``reasoning`` is kept apart from ``content`` and is never shown to a judge as the answer."""

    role: Role
    content: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """Characters ``[start, end)`` of a document's text."""

    document_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference answer and where in the documents it stands."""

    answer: str
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Conversation:
    """One instruction (last message the user's) or complete conversation.

    ``uri`` and ``position`` are set for rows read from a dataset; ``parent_ids`` and ``document_ids``
    for what synthesis made. ``model`` is the model's identity, ``sampling`` canonical JSON of every
    sampling parameter, ``request_hash`` the journal's key of the reply.
    """

    step: Step
    messages: tuple[Message, ...]
    uri: str | None = None
    position: int | None = None
    tools: str | None = None
    parent_ids: tuple[str, ...] = ()
    document_ids: tuple[str, ...] = ()
    reference: Reference | None = None
    licence: str | None = None
    prompt_id: str | None = None
    model: str | None = None
    sampling: str | None = None
    sample_index: int | None = None
    finish_reason: str | None = None
    request_hash: str | None = None

    @property
    def record_id(self) -> str:
        turns: list[str | None] = [self.tools]
        for m in self.messages:
            turns += [m.role, m.content, m.reasoning, m.tool_call_id]
            for call in m.tool_calls:
                turns += [call.id, call.name, call.arguments]
        return hash128(
            "conversation",
            self.step,
            self.uri,
            self.position,
            ",".join(self.parent_ids),
            ",".join(self.document_ids),
            self.prompt_id,
            self.model,
            self.request_hash,
            self.sample_index,
            *turns,
        )


@dataclass(frozen=True, slots=True)
class Preference:
    """A pair from a preference dataset; ``margin`` is how much better, where the set says."""

    chosen: Conversation
    rejected: Conversation
    source: str
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that was not taken further. ``reason`` is a short snake_case word to group by,
    ``detail`` says what was seen. ``record_id`` names the record or document; a reader that has none
    yet gives ``file`` and ``position`` (line, record number or byte offset). ``prompt_id`` (as in ``USAGE``:
    the step where there was no prompt) and ``model`` are set where a call was made for it."""

    stage: str
    reason: str
    detail: str = ""
    record_id: str | None = None
    file: str | None = None
    position: int | None = None
    prompt_id: str | None = None
    model: str | None = None


Item = Document | Conversation | Preference | Reject


@dataclass(frozen=True)
class Output:
    """What a map stage makes of one input shard: the rows of its own table, and the rejects."""

    rows: pl.DataFrame
    rejects: pl.DataFrame = field(default_factory=lambda: rejects_frame(()))


def documents_frame(documents: Sequence[Document]) -> pl.DataFrame:
    """Documents as a frame of ``DOCUMENTS``; ``language`` may still be null."""
    columns: dict[str, list[object]] = {name: [] for name in DOCUMENTS}
    for d in documents:
        for name in DOCUMENTS:
            if name == "language_confidence":
                columns[name].append(None)
            elif name == "tags":
                columns[name].append(list(d.tags))
            elif name == "end":
                columns[name].append(d.start + len(d.text) if d.end is None else d.end)
            else:
                columns[name].append(getattr(d, name))
    return pl.DataFrame(columns, schema=DOCUMENTS)


def conversations_frame(conversations: Iterable[Conversation]) -> pl.DataFrame:
    """Conversations as a frame of ``CONVERSATIONS``, ids computed."""
    columns: dict[str, list[object]] = {name: [] for name in CONVERSATIONS}
    for c in conversations:
        for name in CONVERSATIONS:
            value: object = getattr(c, name)
            if name == "messages":
                value = [_message(m) for m in c.messages]
            elif name in ("parent_ids", "document_ids"):
                value = list(getattr(c, name))
            elif name == "reference" and c.reference is not None:
                value = {
                    "answer": c.reference.answer,
                    "spans": [
                        {"document_id": s.document_id, "start": s.start, "end": s.end}
                        for s in c.reference.spans
                    ],
                }
            columns[name].append(value)
    return pl.DataFrame(columns, schema=CONVERSATIONS)


def _message(m: Message) -> dict[str, object]:
    return {
        "role": m.role,
        "content": m.content,
        "reasoning": m.reasoning,
        "tool_calls": [{"id": c.id, "name": c.name, "arguments": c.arguments} for c in m.tool_calls],
        "tool_call_id": m.tool_call_id,
    }


def rejects_frame(rejects: Iterable[Reject]) -> pl.DataFrame:
    """Rejects as a frame of ``REJECTS``, details cut at ``MAX_DETAIL`` characters."""
    rows = [
        (r.stage, r.record_id, r.file, r.position, r.reason, r.detail[:MAX_DETAIL], r.prompt_id, r.model)
        for r in rejects
    ]
    return pl.DataFrame(rows, schema=REJECTS, orient="row")


def judgements_frame(ids: pl.Series, judge: str, version: str, repeat: int = 0) -> pl.DataFrame:
    """The key columns of a judgement table for ``ids``; a judge adds its measures with ``with_columns``."""
    return pl.DataFrame({"record_id": ids}).with_columns(
        judge=pl.lit(judge), version=pl.lit(version), repeat=pl.lit(repeat, dtype=pl.Int32)
    )


def _contents(role: str) -> pl.Expr:
    turn = pl.element()
    return pl.col("messages").list.eval(
        turn.filter(turn.struct.field("role") == role).struct.field("content")
    )


def instruction_text() -> pl.Expr:
    """All user turns of ``messages`` joined by blank lines, as column ``instruction`` (never null)."""
    return _contents("user").list.join("\n\n", ignore_nulls=True).fill_null("").alias("instruction")


def response_text() -> pl.Expr:
    """The last assistant turn as column ``response``; null while the last message is the user's."""
    last = pl.col("messages").list.last()
    return (
        pl.when(last.struct.field("role") == "assistant").then(last.struct.field("content")).alias("response")
    )
