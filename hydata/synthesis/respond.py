"""Response generation: instructions to complete conversations (Hunyuan-Large, section 2.1.1, step 3).

The instruction is sent as it is, with the default system prompt if it has none, or in the words of a
prompt that asks for a ``manner`` of answering; the record keeps the plain instruction, so that a model
trained on it answers in that manner unasked (context distillation, Askell et al. 2021, arXiv 2112.00861).
Every model of the role answers it, or one drawn by the role's weights, ``samples`` times; each answer is
a record of its own with the instruction as parent. An answer cut off by the token limit is kept with
``finish_reason`` ``length``, so that the rules judge drops it with that reason. Reasoning is stored apart
from the answer.

Objective questions may be answered in ``rounds`` instead, which end when the vote is decided (``votes``;
adaptive consistency, Aggarwal et al. 2023, arXiv 2305.11860). It is decided of whole rounds only, all models
together, and by what the replies say: neither the order in which they arrive nor an interruption, after which
the journal answers for them, can change how many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

import polars as pl
from pydantic import Field

from hydata.errors import ConfigError, TerminalModelError
from hydata.models import Call, Model
from hydata.prompts import Prompt
from hydata.schema import (
    CONVERSATIONS,
    Conversation,
    Message,
    Output,
    Reference,
    Reject,
    Span,
)
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.answers import Form, asks_percent, extract_answer, read_reference
from hydata.synthesis.drafts import (
    gather,
    labels_of,
    language_of,
    outcome,
    read_messages,
    sampling,
    sampling_json,
    with_system,
)
from hydata.synthesis.votes import form_of, is_decided, tally

NAME: Final = "respond"
ROLE = "responder"
VARIABLES = ("instruction",)


class RespondSettings(Settings):
    """``samples`` answers of each asked model; ``models`` asks every model of the role, or one routed
    by the role's weights; ``manner`` names a prompt ``prompts/respond/<manner>.<language>.md``.

    ``rounds``: an objective question is answered so many times by each model, then so many times more, until
    its most frequent answer is the most probable one with ``confidence``; any other gets ``samples``. Where
    there are none, all get ``samples``."""

    samples: int = Field(default=1, ge=1)
    rounds: tuple[Annotated[int, Field(ge=1)], ...] = ()
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    models: Literal["all", "routed"] = "all"
    manner: str | None = None
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)


def _uses(settings: RespondSettings, context: Context) -> Iterable[str]:
    yield context.models.identity(ROLE)
    if settings.manner is not None:
        yield context.prompts.hash(NAME, VARIABLES)
        if not context.prompts.find(NAME, name=settings.manner):
            known = sorted({prompt.name for prompt in context.prompts.find(NAME)})
            raise ConfigError(f"respond.manner = {settings.manner!r}: no such prompt; there are {known}")


async def _answers(
    model: Model,
    row: Mapping[str, Any],
    instruction: Conversation,
    prompt: Prompt | None,
    call: Call,
    samples: int,
    context: Context,
) -> list[Conversation | Reject]:
    """Samples of one model, from the call's index on: asked for together, so that a server that can gives
    them to one request."""
    made: list[Conversation | Reject] = []
    for index, reply in enumerate(await context.models.samples(model, call, samples), call.sample_index):
        if isinstance(reply, TerminalModelError):
            made.append(Reject(NAME, reply.reason, f"{model.name}: {reply.detail}", row["record_id"]))
            continue
        answer = Message("assistant", reply.text, reasoning=reply.reasoning)
        made.append(
            replace(
                instruction,
                messages=(*instruction.messages, answer),
                prompt_id=prompt.id if prompt else None,
                model=reply.model,
                sampling=sampling_json(reply),
                sample_index=index,
                finish_reason=reply.finish_reason,
                request_hash=reply.request_hash,
            )
        )
    return made


async def _in_rounds(
    models: Sequence[Model],
    row: Mapping[str, Any],
    instruction: Conversation,
    prompt: Prompt | None,
    call: Call,
    form: Form,
    settings: RespondSettings,
    context: Context,
) -> list[Conversation | Reject]:
    """Samples of all models, round after round until the vote is decided; in the order of rounds, models."""
    made: list[Conversation | Reject] = []
    asked = 0
    for size in settings.rounds:
        later = replace(call, sample_index=asked)
        calls = (_answers(model, row, instruction, prompt, later, size, context) for model in models)
        for answers in await gather(calls, context.models.window):
            made += answers
        asked += size
        # In a thread: formulas are compared by a process of their own, which takes its time.
        if await asyncio.to_thread(_decided, made, instruction, form, settings.confidence):
            break
    return made


def _decided(
    made: Sequence[Conversation | Reject], instruction: Conversation, form: Form, confidence: float
) -> bool:
    """Whether more answers would hardly change the vote."""
    percent = asks_percent(instruction.messages[-1].content)
    votes = [
        extract_answer(answer.messages[-1].content, form, percent)
        for answer in made
        if isinstance(answer, Conversation) and answer.finish_reason != "length"
    ]
    if instruction.reference is not None:
        votes.append(read_reference(instruction.reference.answer, form, percent))
    return is_decided(tally(votes).sizes, confidence)


def _prompt(
    row: Mapping[str, Any], instruction: Conversation, settings: RespondSettings, context: Context
) -> Prompt | None:
    """The prompt of the wanted manner in the instruction's language; None sends the instruction as it is,
    as does a language without that prompt."""
    last = instruction.messages[-1]
    if settings.manner is None or last.role != "user":
        return None
    found = context.prompts.find(NAME, language_of(row, last.content), name=settings.manner)
    return found[0] if found else None


def _read(row: Mapping[str, Any]) -> Conversation:
    """What every answer to the instruction inherits."""
    found = row["reference"]
    reference = None
    if found is not None and found["answer"] is not None:
        spans = tuple(Span(s["document_id"], s["start"], s["end"]) for s in found["spans"] or ())
        reference = Reference(found["answer"], spans)
    return Conversation(
        step=NAME,
        messages=with_system(read_messages(row)),
        tools=row["tools"],
        parent_ids=(row["record_id"],),
        document_ids=tuple(row["document_ids"] or ()),
        reference=reference,
        licence=row["licence"],
    )


async def run(conversations: pl.DataFrame, settings: RespondSettings, context: Context) -> Output:
    """Instructions to complete conversations (``CONVERSATIONS``, step ``respond``)."""
    drawn = sampling(settings, context)
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[list[Conversation | Reject]]]:
        for row in conversations.iter_rows(named=True):
            instruction = _read(row)
            last = instruction.messages[-1]
            if last.role not in ("user", "tool"):
                detail = f"the last message is the {last.role}'s"
                rejects.append(Reject(NAME, "not_an_instruction", detail, row["record_id"]))
                continue
            prompt = _prompt(row, instruction, settings, context)
            asked = instruction.messages
            if prompt is not None:
                asked = (*asked[:-1], *prompt.render(instruction=last.content))
            call = Call(asked, drawn, purpose=prompt.id if prompt else NAME)
            labels = labels_of(row, context) | {"language": language_of(row, last.content)}
            if settings.models == "all":
                models = context.models.all(ROLE, drawn, labels)
            else:
                models = (context.models.route(ROLE, row["record_id"], labels),)
            reference = instruction.reference.answer if instruction.reference else None
            form = form_of(last.content, reference) if settings.rounds and last.role == "user" else None
            if form is not None:
                yield _in_rounds(models, row, instruction, prompt, call, form, settings, context)
                continue
            for model in models:
                yield _answers(model, row, instruction, prompt, call, settings.samples, context)

    answered = await gather(calls(), context.models.window)
    return outcome([made for answers in answered for made in answers], rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=1,
    settings=RespondSettings,
    run=run,
    uses=_uses,
)
