"""Response generation: instructions to complete conversations (Hunyuan-Large, section 2.1.1, step 3).

The instruction is sent as it is, with the default system prompt if it has none, or in the words of a
prompt that asks for a ``manner`` of answering; the record keeps the plain instruction, so that a model
trained on it answers in that manner unasked (context distillation, Askell et al. 2021, arXiv 2112.00861).
Every model of the role answers it, or one drawn by the role's weights, ``samples`` times; each answer is
a record of its own with the instruction as parent. An answer cut off by the token limit is kept with
``finish_reason`` ``length``, so that the rules judge drops it with that reason. Reasoning is stored apart
from the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Literal

import polars as pl
from pydantic import Field

from hydata.errors import ConfigError, TerminalModelError
from hydata.models import Call, Model, Sampling
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
from hydata.synthesis.drafts import (
    gather,
    language_of,
    outcome,
    read_messages,
    sampling,
    sampling_json,
    with_system,
)

NAME: Final = "respond"
ROLE = "responder"
VARIABLES = ("instruction",)


class RespondSettings(Settings):
    """``samples`` answers of each asked model; ``models`` asks every model of the role, or one routed
    by the role's weights; ``manner`` names a prompt ``prompts/respond/<manner>.<language>.md``."""

    samples: int = Field(default=1, ge=1)
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


async def _answer(
    model: Model,
    index: int,
    row: Mapping[str, Any],
    instruction: Conversation,
    prompt: Prompt | None,
    sampling: Sampling,
    context: Context,
) -> Conversation | Reject:
    asked = instruction.messages
    if prompt is not None:
        asked = (*asked[:-1], *prompt.render(instruction=asked[-1].content))
    call = Call(asked, sampling, sample_index=index, purpose=NAME)
    try:
        reply = await context.models.complete(model, call)
    except TerminalModelError as error:
        return Reject(NAME, error.reason, f"{model.name}: {error.detail}", row["record_id"])
    return replace(
        instruction,
        messages=(*instruction.messages, Message("assistant", reply.text, reasoning=reply.reasoning)),
        prompt_id=prompt.id if prompt else None,
        model=reply.model,
        sampling=sampling_json(reply),
        sample_index=index,
        finish_reason=reply.finish_reason,
        request_hash=reply.request_hash,
    )


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
    everyone = context.models.all(ROLE, drawn) if settings.models == "all" else None
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[Conversation | Reject]]:
        for row in conversations.iter_rows(named=True):
            instruction = _read(row)
            if instruction.messages[-1].role not in ("user", "tool"):
                detail = f"the last message is the {instruction.messages[-1].role}'s"
                rejects.append(Reject(NAME, "not_an_instruction", detail, row["record_id"]))
                continue
            prompt = _prompt(row, instruction, settings, context)
            for model in everyone or (context.models.route(ROLE, row["record_id"]),):
                for index in range(settings.samples):
                    yield _answer(model, index, row, instruction, prompt, drawn, context)

    return outcome(await gather(calls()), rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=1,
    settings=RespondSettings,
    run=run,
    uses=_uses,
)
