"""Instruction evolution: clearer or harder versions of instructions (Hunyuan-Large, section 2.1.1, step 2).

An operator is a prompt file ``prompts/evolve/<operator>.<language>.md``; which one an instruction gets is
drawn by hash. The result is a new record whose parent is the instruction. A reference answer is not
inherited, since the question has changed. Evolutions that fail in a recognisable way are rejected.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Any, Final

import polars as pl
from pydantic import Field

from hydata.errors import ConfigError
from hydata.schema import CONVERSATIONS, Conversation, Message, Output, Reject
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis import bandit
from hydata.synthesis.drafts import (
    Wish,
    draft,
    gather,
    labels_of,
    language_of,
    outcome,
    pick_weighted,
    read_messages,
    rejected,
    sample,
    sampling,
)
from hydata.synthesis.text import Defect, answers, tokens

NAME: Final = "evolve"
ROLE = "evolver"
VARIABLES = ("instruction",)

SHRUNK = 0.8
"""An evolution with less than this part of its parent's tokens has lost something."""

NEW_TOKENS = 3
"""With fewer tokens that the parent has not, an evolution is a copy."""

KEPT = 0.2
"""An evolution that keeps less than this part of its parent's longer words is about something else."""


class EvolveSettings(Settings):
    """``share`` of the instructions, at most ``max_per_shard``, are evolved; ``operators`` are names of
    prompts (none named: all of the folder). ``bandit``: operators that came to more in earlier runs get more
    of the instructions."""

    operators: tuple[str, ...] = ()
    share: float = Field(default=0.5, gt=0, le=1)
    max_per_shard: int | None = Field(default=None, ge=1)
    bandit: bool = False
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)


def _uses(settings: EvolveSettings, context: Context) -> Iterable[str]:
    known = {prompt.name for prompt in context.prompts.find(NAME)}
    if unknown := sorted(set(settings.operators) - known):
        raise ConfigError(f"evolve.operators: no prompts named {unknown}; there are {sorted(known)}")
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)
    yield from bandit.uses(NAME, settings, context)


def find_failure(parent: str, evolved: str) -> Defect | None:
    """How an evolution failed its parent: ``copied``, ``shrank``, ``answered`` or ``drifted``."""
    old, new = tokens(parent), tokens(evolved)
    if (Counter(new) - Counter(old)).total() < NEW_TOKENS:
        return Defect("copied" if len(new) >= SHRUNK * len(old) else "shrank", evolved)
    if answers(evolved) and not answers(parent):
        return Defect("answered", evolved)
    if len(new) < SHRUNK * len(old):
        return Defect("shrank", evolved)
    words = {token for token in old if len(token) > 3 or not token.isascii()}
    if len(words & set(new)) < KEPT * len(words):
        return Defect("drifted", evolved)
    return None


def _wish(
    row: Mapping[str, Any], messages: tuple[Message, ...], settings: EvolveSettings, context: Context
) -> Wish | Defect:
    if not messages or messages[-1].role != "user":
        return Defect("not_an_instruction", "the last message is not the user's")
    if any(message.role == "assistant" for message in messages):
        return Defect("multi_turn", "only single requests are evolved")
    instruction = messages[-1].content
    language = language_of(row, instruction)
    names = settings.operators
    prompts = [p for p in context.prompts.find(NAME, language=language) if not names or p.name in names]
    if not prompts:
        return Defect("no_prompt", f"no operator for language {language!r}")
    id = row["record_id"]
    weights = [bandit.weight(p, settings, context) for p in prompts]
    prompt = pick_weighted(prompts, weights, "operator", context.seed, id)
    return Wish(
        prompt, {"instruction": instruction}, id, labels=labels_of(row, context) | {"language": language}
    )


async def _evolve(
    wish: Wish, row: Mapping[str, Any], settings: EvolveSettings, context: Context
) -> Conversation | Reject:
    made = await draft(wish, ROLE, sampling(settings, context), context)
    if not isinstance(made, Defect):
        made = find_failure(str(wish.values["instruction"]), made.text) or made
    if isinstance(made, Defect):
        return rejected(NAME, ROLE, wish, made, row["record_id"], context)
    return made.conversation(NAME, (row["record_id"],), row["document_ids"] or (), row["licence"])


async def run(conversations: pl.DataFrame, settings: EvolveSettings, context: Context) -> Output:
    """Instructions to evolved instructions (``CONVERSATIONS``, step ``evolve``)."""
    chosen = sample(conversations["record_id"], settings.share, settings.max_per_shard, NAME, context.seed)
    rejects: list[Reject] = []

    def calls() -> Iterator[Awaitable[Conversation | Reject]]:
        for row in conversations.iter_rows(named=True):
            id = row["record_id"]
            if id not in chosen:
                rejects.append(Reject(NAME, "not_sampled", record_id=id))
                continue
            wish = _wish(row, read_messages(row), settings, context)
            if isinstance(wish, Defect):
                rejects.append(Reject(NAME, wish.reason, wish.detail, id))
            else:
                yield _evolve(wish, row, settings, context)

    return outcome(await gather(calls(), context.models.window), rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=1,
    settings=EvolveSettings,
    run=run,
    uses=_uses,
)
