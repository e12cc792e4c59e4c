"""Response generation: instructions to complete conversations (Hunyuan-Large, section 2.1.1, step 3).

The instruction is sent as it is, with the default system prompt if it has none, or in the words of a
prompt that asks for a ``manner`` of answering (``manners``); the record keeps the plain instruction, so that
a model trained on it answers in that manner unasked (context distillation, Askell et al. 2021, arXiv
2112.00861). Every model of the role answers it, or one drawn by the role's weights, ``samples`` times; each
answer is a record of its own with the instruction as parent. An answer cut off by the token limit is
continued to its end (``continuation``) or rejected. Reasoning is stored apart from the answer.

Objective questions may be answered in ``rounds`` instead, which end when the vote is decided (``votes``;
adaptive consistency, Aggarwal et al. 2023, arXiv 2305.11860). It is decided of whole rounds only, all models
together, and by what the replies say: neither the order in which they arrive nor an interruption, after which
the journal answers for them, can change how many there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import polars as pl
from pydantic import Field

from hydata.errors import TerminalModelError
from hydata.models import Call, Model, Reply
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
from hydata.synthesis import continuation, manners
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
from hydata.synthesis.manners import MannerRoute
from hydata.synthesis.text import Defect
from hydata.synthesis.votes import form_of, is_decided, tally

NAME: Final = "respond"
ROLE = "responder"


class RespondSettings(Settings):
    """``samples`` answers of each asked model; ``models`` asks every model of the role, or one routed
    by the role's weights.

    ``rounds``: an objective question is answered so many times by each model, then so many times more, until
    its most frequent answer is the most probable one with ``confidence``; any other gets ``samples``. Where
    there are none, all get ``samples``.

    ``manner`` names a prompt ``prompts/respond/<manner>.<language>.md``; ``manners`` come first, the first
    that fits a record's labels is taken. ``use_reference`` shows the reference answer where there is one;
    ``personas`` is the share of instructions answered in a persona of ``prompts/system``;
    ``continue_truncated`` is how often a model is asked to go on with an answer that was cut off.
    """

    samples: int = Field(default=1, ge=1)
    rounds: tuple[Annotated[int, Field(ge=1)], ...] = ()
    confidence: float = Field(default=0.9, gt=0.5, lt=1)
    models: Literal["all", "routed"] = "all"
    manner: str | None = None
    manners: tuple[MannerRoute, ...] = ()
    use_reference: bool = False
    personas: float = Field(default=0.0, ge=0, le=1)
    continue_truncated: int = Field(default=0, ge=0, le=20)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)


def _check(settings: RespondSettings, context: Context) -> None:
    manners.check(settings, context)
    continuation.check(settings.continue_truncated, context)


def _uses(settings: RespondSettings, context: Context) -> Iterable[str]:
    yield context.models.identity(ROLE)
    yield from manners.uses(settings, context)
    yield from continuation.uses(settings.continue_truncated, context)


@dataclass(frozen=True)
class _Question:
    """An instruction and how it is asked: ``plain`` is what every answer inherits, ``reference`` what the
    ``prompt`` has shown ("": nothing)."""

    plain: Conversation
    prompt: Prompt | None
    reference: str
    labels: Mapping[str, str | None]
    call: Call

    @property
    def id(self) -> str:
        return self.plain.parent_ids[0]

    @property
    def language(self) -> str:
        return self.labels["language"] or "en"


def _question(row: Mapping[str, Any], settings: RespondSettings, context: Context) -> _Question | Defect:
    plain = _read(row)
    last = plain.messages[-1]
    if last.role not in ("user", "tool"):
        return Defect("not_an_instruction", f"the last message is the {last.role}'s")
    language = language_of(row, last.content)
    labels = labels_of(row, context) | {"language": language}
    plain = replace(
        plain, messages=manners.in_persona(plain.messages, row["record_id"], language, settings, context)
    )
    reference = plain.reference.answer if settings.use_reference and plain.reference is not None else ""
    prompt = manners.manner_of(labels, reference, settings, context) if last.role == "user" else None
    asked = plain.messages
    if prompt is not None:
        values = {"instruction": last.content, "reference": reference}
        asked = (*asked[:-1], *prompt.render_from(values))
    if prompt is None or "reference" not in prompt.header.variables:
        reference = ""
    call = Call(asked, sampling(settings, context), purpose=prompt.id if prompt else NAME)
    return _Question(plain, prompt, reference, labels, call)


async def _answers(
    model: Model, question: _Question, samples: int, settings: RespondSettings, context: Context
) -> list[Conversation | Reject]:
    """Samples of one model, from the call's index on: asked for together, so that a server that can gives
    them to one request."""
    call = question.call
    replies = await context.models.samples(model, call, samples)
    answers = (
        _answer(model, question, index, reply, settings, context)
        for index, reply in enumerate(replies, call.sample_index)
    )
    return await gather(answers, samples)


async def _in_rounds(
    models: Sequence[Model], question: _Question, form: Form, settings: RespondSettings, context: Context
) -> list[Conversation | Reject]:
    """Samples of all models, round after round until the vote is decided; in the order of rounds, models."""
    made: list[Conversation | Reject] = []
    asked = 0
    for size in settings.rounds:
        later = replace(question, call=replace(question.call, sample_index=asked))
        calls = (_answers(model, later, size, settings, context) for model in models)
        for answers in await gather(calls, context.models.window):
            made += answers
        asked += size
        # In a thread: formulas are compared by a process of their own, which takes its time.
        if await asyncio.to_thread(_decided, made, question.plain, form, settings.confidence):
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
        if isinstance(answer, Conversation)
    ]
    if instruction.reference is not None:
        votes.append(read_reference(instruction.reference.answer, form, percent))
    return is_decided(tally(votes).sizes, confidence)


async def _answer(
    model: Model,
    question: _Question,
    index: int,
    reply: Reply | TerminalModelError,
    settings: RespondSettings,
    context: Context,
) -> Conversation | Reject:
    """A sample as a record, or why it is none."""
    found: Reply | Defect | TerminalModelError = reply
    if isinstance(reply, Reply):
        call = replace(question.call, sample_index=index)
        found = await continuation.whole(
            model, call, reply, question.language, settings.continue_truncated, context
        )
    if isinstance(found, Reply) and question.reference and question.prompt is not None:
        instruction = question.plain.messages[-1].content
        found = manners.find_leak(found.text, found.reasoning, instruction, question.prompt) or found
    if not isinstance(found, Reply):
        return Reject(
            NAME,
            found.reason,
            f"{model.name}: {found.detail}",
            question.id,
            prompt_id=question.call.purpose,
            model=model.identity,
        )
    return replace(
        question.plain,
        messages=(*question.plain.messages, Message("assistant", found.text, reasoning=found.reasoning)),
        prompt_id=question.prompt.id if question.prompt else None,
        model=found.model,
        sampling=sampling_json(found),
        sample_index=index,
        finish_reason=found.finish_reason,
        request_hash=found.request_hash,
    )


def _form(question: _Question, settings: RespondSettings) -> Form | None:
    """What is voted on in rounds; None: there are none, or the question is not objective."""
    plain = question.plain
    if not settings.rounds or plain.messages[-1].role != "user":
        return None
    return form_of(plain.messages[-1].content, plain.reference.answer if plain.reference else None)


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
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[list[Conversation | Reject]]]:
        for row in conversations.iter_rows(named=True):
            question = _question(row, settings, context)
            if isinstance(question, Defect):
                rejects.append(Reject(NAME, question.reason, question.detail, row["record_id"]))
                continue
            if settings.models == "all":
                models = context.models.all(ROLE, question.call.sampling, question.labels)
            else:
                models = (context.models.route(ROLE, question.id, question.labels),)
            if (form := _form(question, settings)) is not None:
                yield _in_rounds(models, question, form, settings, context)
                continue
            for model in models:
                yield _answers(model, question, settings.samples, settings, context)

    answered = await gather(calls(), context.models.window)
    return outcome([made for answers in answered for made in answers], rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=3,
    settings=RespondSettings,
    run=run,
    uses=_uses,
    check=_check,
)
