"""Multi-turn conversations: the user's next turn in an answered conversation.

Hunyuan-Large's SFT data holds role-play and other dialogue (section 4.1); one question and its answer do not
teach a model to keep a thread. The generator plays the user: an operator, a prompt file
``prompts/follow_up/<operator>.<language>.md`` drawn by hash, tells it whether to ask deeper, to doubt, to
change a condition and so on. The result is an instruction whose messages are the history and the new
turn, and whose parent is the answered conversation; the respond stage answers it.

What is continued is what the policy has kept, since its answers are trained on as well, and one answer of an
instruction. A follow-up may point
back ("in your second step"), and is checked for all else that other instructions are, and for saying what was
said before; then it passes the gate that they pass.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import polars as pl
from pydantic import Field

from hydata.privacy import masked_messages
from hydata.schema import CONVERSATIONS, Conversation, Message, Output, Reject
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.drafts import (
    Wish,
    draft,
    gather,
    labels_of,
    language_of,
    outcome,
    pick,
    read_messages,
    rejected,
    sample,
    sampling,
)
from hydata.synthesis.operators import check_operators
from hydata.synthesis.text import Defect, answers, overlap, tokens

NAME: Final = "follow_up"
ROLE = "generator"
VARIABLES = ("turns",)
REPEATS = 0.8
"""A turn this much like an earlier one of the user's (F1 of the tokens) asks for nothing new."""


_REACTION = re.compile(r"\A(?:yes|no|ok(?:ay)?|sure|of course|当然|好的?)[\s,.!，。！]+", re.IGNORECASE)
"""How a user may begin, though an answer begun so is a model's."""


class FollowUpSettings(Settings):
    """``turns`` rounds of follow-ups, each over what is kept of the round before, of which ``share`` is
    continued; ``operators`` are names of prompts (none named: all of the folder);
    ``characters`` of every turn, its beginning, are shown."""

    turns: int = Field(default=1, ge=0, exclude=True)  # of the plan: another round changes none before it
    share: float = Field(default=0.1, gt=0, le=1)
    operators: tuple[str, ...] = ()
    characters: int = Field(default=1000, ge=100)
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=128, ge=1)


def _check(settings: FollowUpSettings, context: Context) -> None:
    check_operators(NAME, "follow_up.operators", settings.operators, context)
    context.prompts.check(NAME, VARIABLES)


def _uses(settings: FollowUpSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)


def _wish(
    row: Mapping[str, Any], messages: tuple[Message, ...], settings: FollowUpSettings, context: Context
) -> Wish | Defect:
    said = [m for m in masked_messages(messages, context.models.privacy) if m.role != "system"]
    if [m.role for m in said] != ["user", "assistant"] * (len(said) // 2) or not said:
        return Defect("not_alternating", "the turns are not the user's and the assistant's by turns")
    spoken = language_of(row, said[-2].content)
    prompts = [
        p
        for p in context.prompts.find(NAME, language=spoken)
        if not settings.operators or p.name in settings.operators
    ]
    if not prompts:
        return Defect("no_prompt", f"no operator for language {spoken!r}")
    id = row["record_id"]
    prompt = pick(prompts, "operator", context.seed, id)
    values = {"turns": [m.content[: settings.characters] for m in said]}
    return Wish(prompt, values, id, labels=labels_of(row, context) | {"language": spoken})


def find_failure(turn: str, messages: Iterable[Message]) -> Defect | None:
    """How a turn fails the conversation it continues: ``not_a_request``, ``repeats`` (what the user said) or
    ``copied`` (what the assistant said)."""
    if answers(_REACTION.sub("", turn)):
        return Defect("not_a_request", turn)
    new = tokens(turn)
    for message in messages:
        old = tokens(message.content)
        if message.role == "user" and overlap(new, old) > REPEATS:
            return Defect("repeats", turn)
        if message.role == "assistant" and " ".join(new) in " ".join(old):
            return Defect("copied", turn)
    return None


async def _next_turn(
    wish: Wish,
    row: Mapping[str, Any],
    messages: tuple[Message, ...],
    settings: FollowUpSettings,
    context: Context,
) -> Conversation | Reject:
    made = await draft(wish, ROLE, sampling(settings, context), context, standalone=False)
    if not isinstance(made, Defect):
        made = find_failure(made.text, masked_messages(messages, context.models.privacy)) or made
    if isinstance(made, Defect):
        return rejected(NAME, ROLE, wish, made, row["record_id"], context)
    new = made.conversation(NAME, (row["record_id"],), row["document_ids"] or (), row["licence"])
    return replace(new, messages=(*messages, Message("user", made.text)), tools=row["tools"])


async def run(conversations: pl.DataFrame, settings: FollowUpSettings, context: Context) -> Output:
    """Complete conversations to instructions of one turn more (``CONVERSATIONS``, step ``follow_up``)."""
    drawn = sample(conversations["record_id"], settings.share, None, NAME, context.seed)
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[Conversation | Reject]]:
        for row in conversations.iter_rows(named=True):
            id = row["record_id"]
            if id not in drawn:
                rejects.append(Reject(NAME, "not_sampled", record_id=id))
                continue
            messages = read_messages(row)
            wish = _wish(row, messages, settings, context)
            if isinstance(wish, Defect):
                rejects.append(Reject(NAME, wish.reason, wish.detail, id))
            else:
                yield _next_turn(wish, row, messages, settings, context)

    return outcome(await gather(calls(), context.models.window), rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=2,
    settings=FollowUpSettings,
    run=run,
    uses=_uses,
    check=_check,
)
