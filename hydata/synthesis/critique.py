"""Critique: a model scores complete conversations (Hunyuan-Large, section 2.1.1, step 4).

Five aspects are scored from 1 (bad) to 4 (excellent); the overall tier runs the other way, from 1 (the
critic's "A", excellent) to 4 ("D", wrong or useless). The critic writes its reason before its scores,
and letters for tiers so that it does not confuse the two scales. Its reply is constrained to a JSON schema
with bounded lengths, so that even a very small model comes to an end. A critic's failure leaves no
judgement: the policy then calls the record undecided.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, Field, model_validator

from hydata.errors import TerminalModelError
from hydata.models import Call
from hydata.prompts import Prompt
from hydata.schema import JUDGEMENT_KEY, Message, Output, Reject, rejects_frame
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.drafts import gather, labels_of, language_of, pick, read_messages, sampling

NAME = "critique"
ROLE = "critic"
VERSION = 1
VARIABLES = ("conversation", "response", "reference")
ASPECTS = ("accuracy", "relevance", "completeness", "usefulness", "clarity")

CRITIQUES = pl.Schema(
    {
        **JUDGEMENT_KEY,
        **dict.fromkeys(ASPECTS, pl.Int8()),
        "tier": pl.Int8(),
        "issues": pl.List(pl.String()),
        "reason": pl.String(),
        "model": pl.String(),
        "request_hash": pl.String(),
    }
)

Score = Literal[1, 2, 3, 4]


class Critique(BaseModel):
    """What the critic replies, in the order in which it is to think."""

    reason: str = Field(max_length=240)
    issues: list[Annotated[str, Field(max_length=80)]] = Field(max_length=3)
    accuracy: Score
    relevance: Score
    completeness: Score
    usefulness: Score
    clarity: Score
    tier: Literal["A", "B", "C", "D"]


class CritiqueSettings(Settings):
    """Each conversation is judged ``repeats`` times; ``characters`` is the longest conversation and
    the longest answer shown (the end of the first, the start of the second)."""

    repeats: int = Field(default=1, ge=1)
    characters: int = Field(default=4000, ge=100)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=400, ge=1)

    @model_validator(mode="after")
    def _repeats_differ(self) -> CritiqueSettings:
        if self.repeats > 1 and self.temperature == 0:
            raise ValueError("repeats > 1 needs temperature > 0: at 0 every repeat says the same")
        return self


def _uses(settings: CritiqueSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)


def _values(messages: tuple[Message, ...], row: Mapping[str, Any], characters: int) -> dict[str, str]:
    before = "\n\n".join(f"{m.role}: {m.content}" for m in messages[:-1])
    return {
        "conversation": before[-characters:],
        "response": messages[-1].content[:characters],
        "reference": (row["reference"] or {}).get("answer") or "",
    }


async def _judge(
    row: Mapping[str, Any],
    prompt: Prompt,
    values: Mapping[str, str],
    repeat: int,
    labels: Mapping[str, str | None],
    settings: CritiqueSettings,
    context: Context,
) -> dict[str, object] | Reject:
    call = Call(
        prompt.render_from(values), sampling(settings, context), sample_index=repeat, purpose=prompt.id
    )
    try:
        model = context.models.route(ROLE, row["record_id"], labels)
        critique, reply = await context.models.structured(model, call, Critique)
    except TerminalModelError as error:
        return Reject(NAME, error.reason, f"{prompt.id}: {error.detail}", row["record_id"])
    return {
        "record_id": row["record_id"],
        "judge": ROLE,
        "version": str(VERSION),
        "repeat": repeat,
        **{aspect: getattr(critique, aspect) for aspect in ASPECTS},
        "tier": "ABCD".index(critique.tier) + 1,
        "issues": critique.issues,
        "reason": critique.reason,
        "model": reply.model,
        "request_hash": reply.request_hash,
    }


async def run(conversations: pl.DataFrame, settings: CritiqueSettings, context: Context) -> Output:
    """Complete conversations to rows of ``CRITIQUES``."""
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[dict[str, object] | Reject]]:
        for row in conversations.iter_rows(named=True):
            id, messages = row["record_id"], read_messages(row)
            if not messages or messages[-1].role != "assistant":
                rejects.append(Reject(NAME, "not_complete", "the last message is not the assistant's", id))
                continue
            asked = [m.content for m in messages if m.role == "user"]
            language = language_of(row, asked[-1] if asked else messages[-1].content)
            prompts = context.prompts.find(NAME, language) or context.prompts.find(NAME, "en")
            values = _values(messages, row, settings.characters)
            prompt = pick(prompts, "prompt", context.seed, id)
            labels = labels_of(row, context) | {"language": language}
            for repeat in range(settings.repeats):
                yield _judge(row, prompt, values, repeat, labels, settings, context)

    made = await gather(calls(), context.models.window)
    rejects += [m for m in made if isinstance(m, Reject)]
    rows = [m for m in made if not isinstance(m, Reject)]
    return Output(pl.DataFrame(rows, schema=CRITIQUES), rejects_frame(rejects))


STAGE = MapStage(
    name=NAME,
    table="critiques",
    columns=CRITIQUES,
    version=VERSION,
    settings=CritiqueSettings,
    run=run,
    uses=_uses,
)
