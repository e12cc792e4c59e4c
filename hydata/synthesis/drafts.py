"""What the steps that call models share: seeded choices, reading rows, asking for a draft.

A *draft* is an instruction a model has written and that passed the checks of ``text``; anything else is
a ``Defect``. Choices are made by hashing ids with the run's seed, so they depend neither on the order of
rows nor on which replies arrive first.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from hydata.errors import (
    BudgetError,
    ConfigError,
    EndpointDownError,
    TerminalModelError,
    TransientModelError,
    WarehouseError,
)
from hydata.models import Call, Model, Reply, Sampling
from hydata.prompts import Prompt, Value
from hydata.schema import (
    DEFAULT_SYSTEM_PROMPT,
    Conversation,
    Message,
    Output,
    Reject,
    Step,
    ToolCall,
    canonical_json,
    conversations_frame,
    hash128,
    rejects_frame,
)
from hydata.stage import Context
from hydata.synthesis.text import Defect, clean_instruction, find_defect, script_language

T = TypeVar("T")


class Sampled(Protocol):
    """Settings of a step that draws from a model."""

    @property
    def temperature(self) -> float: ...
    @property
    def top_p(self) -> float: ...
    @property
    def max_tokens(self) -> int: ...


def sampling(settings: Sampled, context: Context) -> Sampling:
    """The step's sampling with the run's seed."""
    return Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=settings.max_tokens,
        seed=context.seed,
    )


def fraction(*parts: str | int) -> float:
    """A number in [0, 1) that depends on ``parts`` alone."""
    return int(hash128(*parts)[:12], 16) / 16**12


def pick(options: Sequence[T], *parts: str | int) -> T:
    """One of ``options``, decided by ``parts`` alone."""
    return options[int(fraction(*parts) * len(options))]


def pick_weighted(options: Sequence[T], weights: Sequence[float], *parts: str | int) -> T:
    """One of ``options``, with a chance in proportion to its weight; with equal weights it is ``pick``."""
    point = fraction(*parts) * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        point -= weight
        if point < 0:
            return option
    return options[-1]  # rounding at the very end


def weighted_place(weight: float, *parts: str | int) -> float:
    """A key to sort options by, each with ``parts`` of its own, so that they come in a random order in which
    each is first with a chance in proportion to its weight (Efraimidis and Spirakis 2006)."""
    return -math.log1p(-fraction(*parts)) / weight


def shuffled(odds: Iterable[tuple[Prompt, float]], *parts: str | int) -> list[Prompt]:
    """The prompts in a random order that ``parts`` alone decide, each next one drawn by the odds of those
    that are left: sorted by exponential waiting times (Efraimidis and Spirakis 2006, algorithm A)."""
    return [p for p, _ in sorted(odds, key=lambda o: (weighted_place(o[1], *parts, o[0].id), o[0].id))]


def sample(ids: Iterable[str], share: float, maximum: int | None, *parts: str | int) -> set[str]:
    """About ``share`` of ``ids`` and at most ``maximum``; each id's place in line is its own hash, so a
    larger share or maximum only adds to a smaller one."""
    line = sorted((fraction(*parts, id), id) for id in set(ids))
    return {id for place, id in line[:maximum] if place < share}


WINDOW = 256


async def gather(calls: Iterable[Awaitable[T]], window: int = WINDOW) -> list[T]:
    """The results in order, with ``window`` calls under way at once: ``Models.window`` keeps all servers
    busy, and a shard's calls all at once, tens of thousands, would take 7 KiB each. ``calls`` is best a
    generator: it is asked for a call when there is room for one.

    A call that stays unanswered does not stop the others: their replies are journalled, and the resumed
    shard asks for the missing ones alone. After an error that concerns all (an endpoint that is down, a
    wrong setting, the budget) no call is begun; those under way end, since they are paid for.

    Raises:
        TransientModelError: some calls stayed unanswered.
        HydataError: what concerned all.
    """
    results: dict[int, T] = {}
    unanswered = 0
    first: str | None = None  # said of them; the errors themselves hold on to 12 KiB a call
    stopped: list[Exception] = []
    places = enumerate(calls)

    async def work() -> None:
        nonlocal unanswered, first
        while not stopped:
            try:
                if (next_call := next(places, None)) is None:  # all take from the one iterator
                    return
                place, call = next_call
                results[place] = await call
            except (EndpointDownError, ConfigError, BudgetError, WarehouseError) as error:
                stopped.append(error)
            except TransientModelError as error:
                unanswered += 1
                first = first or str(error)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(window):
                group.create_task(work())
    except ExceptionGroup as errors:  # a defect: as it is
        raise errors.exceptions[0] from None
    if stopped:
        raise stopped[0]
    if unanswered:
        total = len(results) + unanswered
        raise TransientModelError(f"{unanswered} of {total} calls stayed unanswered: {first}")
    return [results[place] for place in range(len(results))]


def labels_of(row: Mapping[str, Any], context: Context) -> dict[str, str | None]:
    """The labels of a row that routes go by: its language and, behind a gate, those of the taxonomy."""
    dimensions = ("language", *(dimension.id for dimension in context.taxonomy.dimensions))
    return {dimension: row.get(dimension) for dimension in dimensions}


def outcome(made: Sequence[Conversation | Reject], rejects: Iterable[Reject]) -> Output:
    """What a step's calls have made, beside the ``rejects`` that never came to a call."""
    rows = conversations_frame(m for m in made if isinstance(m, Conversation))
    return Output(rows, rejects_frame([*rejects, *(m for m in made if isinstance(m, Reject))]))


def read_messages(row: Mapping[str, Any]) -> tuple[Message, ...]:
    """The messages of a conversations row."""
    return tuple(
        Message(
            role=m["role"],
            content=m["content"] or "",
            reasoning=m["reasoning"],
            tool_calls=tuple(ToolCall(c["name"], c["arguments"], c["id"]) for c in m["tool_calls"] or ()),
            tool_call_id=m["tool_call_id"],
        )
        for m in row["messages"]
    )


def with_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages, begun with the default system prompt if they have none."""
    if messages and messages[0].role == "system":
        return messages
    return (Message("system", DEFAULT_SYSTEM_PROMPT), *messages)


def language_of(row: Mapping[str, Any], text: str) -> str:
    """The row's ``language`` where a gate has added one, else by the script of ``text``."""
    return row.get("language") or script_language(text)


@dataclass(frozen=True)
class Draft:
    """A new instruction, and the call it came from."""

    text: str
    prompt: Prompt
    reply: Reply
    index: int

    def conversation(
        self, step: Step, parent_ids: Iterable[str], document_ids: Iterable[str], licence: str | None
    ) -> Conversation:
        """The draft as a record: the default system prompt and the user's turn."""
        return Conversation(
            step=step,
            messages=with_system((Message("user", self.text),)),
            parent_ids=tuple(parent_ids),
            document_ids=tuple(document_ids),
            licence=licence,
            prompt_id=self.prompt.id,
            model=self.reply.model,
            sampling=sampling_json(self.reply),
            sample_index=self.index,
            finish_reason=self.reply.finish_reason,
            request_hash=self.reply.request_hash,
        )


def sampling_json(reply: Reply) -> str:
    """The sampling parameters a reply was drawn with, for the record."""
    return canonical_json(reply.sampling.model_dump(mode="json"))


@dataclass(frozen=True)
class Wish:
    """One instruction to ask for. ``key`` (the seed's id) and ``labels`` route it, ``index`` tells several
    apart."""

    prompt: Prompt
    values: Mapping[str, Value]
    key: str
    index: int = 0
    labels: Mapping[str, str | None] = field(default_factory=dict)


async def draft(
    wish: Wish, role: str, sampling: Sampling, context: Context, standalone: bool = True
) -> Draft | Defect:
    """Ask the role's model for one instruction and check the reply; ``standalone``: whoever answers sees
    nothing but the instruction.

    Raises ``TransientModelError`` and ``ConfigError``; what can never succeed is a ``Defect``.
    """
    messages = wish.prompt.render_from(wish.values)
    call = Call(messages, sampling, sample_index=wish.index, purpose=wish.prompt.id)
    try:
        reply = await context.models.complete(context.models.route(role, wish.key, wish.labels), call)
    except TerminalModelError as error:
        return Defect(error.reason, error.detail)
    if reply.finish_reason == "length":
        return Defect("truncated", reply.text)
    text = clean_instruction(reply.text)
    defect = find_defect(text, wish.prompt.language, wish.prompt.own_words, standalone)
    return defect or Draft(text, wish.prompt, reply, wish.index)


def rejected(stage: str, role: str, wish: Wish, defect: Defect, record_id: str, context: Context) -> Reject:
    """A wish that came to nothing."""
    return failed(stage, wish.prompt, context.models.route(role, wish.key, wish.labels), defect, record_id)


def failed(
    stage: str, prompt: Prompt, model: Model, why: Defect | TerminalModelError, record_id: str
) -> Reject:
    """What was asked for a record in vain, with the prompt and the model that are to blame."""
    detail = f"{prompt.id}: {why.detail}"
    return Reject(stage, why.reason, detail, record_id, prompt_id=prompt.id, model=model.identity)
