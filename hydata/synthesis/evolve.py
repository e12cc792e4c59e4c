"""Instruction evolution: clearer or harder versions of instructions (Hunyuan-Large, section 2.1.1, step 2).

An operator is a prompt file ``prompts/evolve/<operator>.<language>.md``, of one of three styles: ``clarity``
(says better and more fully what is wanted), ``difficulty`` (constraints, deepening, concretising, more steps
of reasoning: the in-depth evolutions of Evol-Instruct, Xu et al. 2023, arXiv 2304.12244, section 3.1, for
code those of WizardCoder, Luo et al. 2023, arXiv 2306.08568) and ``breadth`` (a rarer request of the same
field). Which one an instruction gets is drawn by hash among those that fit its labels (``operators``).

The result is a new record whose parent is the instruction. A reference answer is not inherited, since
the question has changed. An evolution that fails in a recognisable way (``failures``) is rejected.

There can be several *rounds*: round n evolves what round n - 1 made, by another operator than the one
before. All rounds of an instruction are made here, one after another. Each result is a record of its own
whose parent is the one of the round before, so every step of a line can be judged, answered and traced; a
line ends with its first failure. Why there is no gate between the rounds: see
``docs/decisions/0013-evolution.md``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

import polars as pl
from pydantic import Field

from hydata.privacy import masked
from hydata.prompts import Prompt
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
    read_messages,
    rejected,
    sample,
    sampling,
)
from hydata.synthesis.failures import find_failure
from hydata.synthesis.operators import check_operators, draw, fits
from hydata.synthesis.text import Defect

NAME: Final = "evolve"
ROLE = "evolver"
VARIABLES = ("instruction",)


class EvolveSettings(Settings):
    """``share`` of the instructions, at most ``max_per_shard``, are evolved, each in up to ``rounds`` rounds;
    ``operators`` are names of prompts (none named: all of the folder), ``weights`` how often each is drawn
    (1 where nothing is said); ``bandit``: of the operators of a style, those that came to more in earlier
    runs get more."""

    operators: tuple[str, ...] = ()
    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    rounds: int = Field(default=1, ge=1, le=8)
    share: float = Field(default=0.5, gt=0, le=1)
    max_per_shard: int | None = Field(default=None, ge=1)
    bandit: bool = False
    temperature: float = Field(default=0.7, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)


def _check_names(settings: EvolveSettings, context: Context) -> None:
    check_operators(NAME, "evolve.operators", settings.operators, context)
    check_operators(NAME, "evolve.weights", settings.weights, context)
    context.prompts.check(NAME, VARIABLES)


def _uses(settings: EvolveSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)
    yield from bandit.uses(NAME, settings, context)


def _check(
    row: Mapping[str, Any], messages: tuple[Message, ...], settings: EvolveSettings, context: Context
) -> tuple[dict[str, str | None], list[Prompt]] | Defect:
    """The labels an instruction is evolved by and the operators that fit them."""
    if not messages or messages[-1].role != "user":
        return Defect("not_an_instruction", "the last message is not the user's")
    if any(message.role == "assistant" for message in messages):
        return Defect("multi_turn", "only single requests are evolved")
    language = language_of(row, messages[-1].content)
    labels = labels_of(row, context) | {"language": language}
    prompts = [
        p
        for p in context.prompts.find(NAME, language=language)
        if fits(p, labels) and (not settings.operators or p.name in settings.operators)
    ]
    return (labels, prompts) if prompts else Defect("no_prompt", f"no operator for language {language!r}")


async def _line(
    row: Mapping[str, Any],
    instruction: str,
    labels: Mapping[str, str | None],
    prompts: list[Prompt],
    settings: EvolveSettings,
    context: Context,
) -> list[Conversation | Reject]:
    """What the rounds make of one instruction: a record each, and a reject where the line ends early."""
    made: list[Conversation | Reject] = []
    # compared with what the model is shown: a number that is masked is none that was lost
    (text,) = masked([instruction], context.models.privacy)
    id, last = row["record_id"], ""
    for _ in range(settings.rounds):
        others = [p for p in prompts if p.name != last] or prompts
        prompt = draw(others, settings.weights, "operator", context.seed, id)
        if settings.bandit and context.weights:
            odds = ((p, settings.weights.get(p.name, 1.0)) for p in others)
            prompt = bandit.rivals(prompt, odds, context, "rival", context.seed, id)[0]
        wish = Wish(prompt, {"instruction": text}, id, labels=labels)
        found = await draft(wish, ROLE, sampling(settings, context), context)
        if not isinstance(found, Defect):
            found = find_failure(text, found.text, prompt.header.style) or found
        if isinstance(found, Defect):
            made.append(rejected(NAME, ROLE, wish, found, id, context))
            break
        record = found.conversation(NAME, (id,), row["document_ids"] or (), row["licence"])
        made.append(record)
        id, text, last = record.record_id, found.text, prompt.name
    return made


async def run(conversations: pl.DataFrame, settings: EvolveSettings, context: Context) -> Output:
    """Instructions to evolved instructions (``CONVERSATIONS``, step ``evolve``), of every round."""
    chosen = sample(conversations["record_id"], settings.share, settings.max_per_shard, NAME, context.seed)
    rejects: list[Reject] = []

    def lines() -> Iterator[Awaitable[list[Conversation | Reject]]]:
        for row in conversations.iter_rows(named=True):
            id = row["record_id"]
            if id not in chosen:
                rejects.append(Reject(NAME, "not_sampled", record_id=id))
                continue
            messages = read_messages(row)
            checked = _check(row, messages, settings, context)
            if isinstance(checked, Defect):
                rejects.append(Reject(NAME, checked.reason, checked.detail, id))
            else:
                yield _line(row, messages[-1].content, *checked, settings, context)

    made = await gather(lines(), context.models.window)
    return outcome([result for line in made for result in line], rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=2,
    settings=EvolveSettings,
    run=run,
    uses=_uses,
    check=_check_names,
)
