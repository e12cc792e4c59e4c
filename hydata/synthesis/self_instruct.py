"""Self-instruct: new instructions for rare fields from a handful of existing ones.

After Wang et al. 2023 (arXiv 2212.10560), used by Hunyuan-Large to widen low-resource domains (section
2.1.1, step 2). Each attempt shows the model a few instructions of one language and domain and asks
for another one. Which language and domain an attempt is aimed at is drawn by hash, with weights that
are higher the further a domain is below its target share in the shard. What is too near to an instruction
that was admitted when the stage began is rejected (``novelty``); the gate behind this stage does the rest.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl
from pydantic import Field

from hydata.schema import CONVERSATIONS, Conversation, Output, Reject
from hydata.stage import Context, MapStage, Settings
from hydata.synthesis.drafts import (
    Wish,
    draft,
    fraction,
    gather,
    language_of,
    outcome,
    pick,
    pick_weighted,
    read_messages,
    rejected,
    sampling,
)
from hydata.synthesis.novelty import ARTEFACT, index, nearest, opened, pool
from hydata.synthesis.text import Defect, answers

NAME: Final = "self_instruct"
ROLE = "generator"
VARIABLES = ("examples", "domain")


class SelfInstructSettings(Settings):
    """``count`` attempts a shard, each with ``examples`` instructions of at most ``characters``;
    ``max_overlap`` is the largest ROUGE-L with an admitted instruction that still counts as new (the
    paper's bound)."""

    count: int = Field(default=8, ge=0)
    examples: int = Field(default=3, ge=1)
    characters: int = Field(default=600, ge=50)
    max_overlap: float = Field(default=0.7, gt=0, le=1)
    temperature: float = Field(default=0.9, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)


def _check(settings: SelfInstructSettings, context: Context) -> None:
    if settings.count:
        context.prompts.check(NAME, VARIABLES)


def _uses(settings: SelfInstructSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)
    yield context.taxonomy.hash
    if ARTEFACT in context.artefacts:
        yield context.artefacts[ARTEFACT].stem


@dataclass(frozen=True)
class Example:
    """An instruction that may be shown; ``domain`` is None where no label is known."""

    id: str
    text: str
    language: str
    domain: str | None
    document_ids: tuple[str, ...]
    licence: str | None


@dataclass(frozen=True)
class Attempt:
    """One call: the examples it shows, the first of which stands for it in the rejects."""

    wish: Wish
    examples: tuple[Example, ...]


def _read(
    conversations: pl.DataFrame, settings: SelfInstructSettings, context: Context
) -> tuple[list[Example], list[Reject]]:
    """The rows that can serve as examples, and why the others cannot."""
    examples, rejects = [], []
    for row in conversations.iter_rows(named=True):
        messages = read_messages(row)
        text = messages[-1].content if messages else ""
        language = language_of(row, text)
        if not messages or messages[-1].role != "user" or any(m.role == "assistant" for m in messages):
            rejects.append(Reject(NAME, "not_a_single_request", record_id=row["record_id"]))
        elif len(text) > settings.characters:
            rejects.append(Reject(NAME, "too_long_for_example", f"{len(text)} characters", row["record_id"]))
        elif not context.prompts.find(NAME, language=language):
            rejects.append(Reject(NAME, "no_prompt", f"no prompt for {language!r}", row["record_id"]))
        else:
            examples.append(
                Example(
                    row["record_id"],
                    text,
                    language,
                    row.get("domain"),
                    tuple(row["document_ids"] or ()),
                    row["licence"],
                )
            )
    return examples, rejects


def _attempts(examples: Sequence[Example], settings: SelfInstructSettings, context: Context) -> list[Attempt]:
    pools: dict[tuple[str, str | None], list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda e: e.id):
        pools[example.language, example.domain].append(example)
    if not pools:
        return []
    domain = context.taxonomy.dimension("domain")
    targets, known = domain.target_shares(), {label.id: label for label in domain.labels}
    aims = list(pools)
    # A pool's weight is its target share over its size. Unlabelled rows get an average domain's share.
    weights = [targets.get(d or "", 1 / len(targets)) / len(pools[language, d]) for language, d in aims]
    salt = pools[aims[0]][0].id
    attempts = []
    for i in range(settings.count):
        language, aim = pick_weighted(aims, weights, "aim", context.seed, salt, i)
        pool = pools[language, aim]
        others = [e for e in examples if e.language == language and e.domain != aim]
        by_hash = [
            sorted(group, key=lambda e: fraction("example", context.seed, i, e.id))
            for group in (pool, others)
        ]
        shown = tuple((by_hash[0] + by_hash[1])[: settings.examples])
        label = known.get(aim or "")
        values = {
            "examples": [e.text for e in shown],
            "domain": label.name.in_language(language) if label else "",
        }
        prompt = pick(context.prompts.find(NAME, language=language), "prompt", context.seed, salt, i)
        labels = {"language": language, "domain": aim}
        attempts.append(Attempt(Wish(prompt, values, shown[0].id, i, labels), shown))
    return attempts


async def _instruction(
    attempt: Attempt, settings: SelfInstructSettings, context: Context
) -> Conversation | Reject:
    made = await draft(attempt.wish, ROLE, sampling(settings, context), context)
    if not isinstance(made, Defect) and answers(made.text):
        made = Defect("not_a_request", made.text)
    if isinstance(made, Defect):
        return rejected(NAME, ROLE, attempt.wish, made, attempt.examples[0].id, context)
    licences = {e.licence for e in attempt.examples}
    return made.conversation(
        NAME,
        (e.id for e in attempt.examples),
        sorted({id for e in attempt.examples for id in e.document_ids}),
        None if None in licences else " AND ".join(sorted(x for x in licences if x)),
    )


def _only_new(
    made: Sequence[Conversation | Reject],
    conversations: pl.DataFrame,
    settings: SelfInstructSettings,
    context: Context,
) -> list[Conversation | Reject]:
    """The same, with a reject in place of each new instruction that is too near to a known one.

    Known are those admitted when the stage began; where no such pool was collected, those of the shard.
    """
    collected = context.artefacts.get(ARTEFACT)
    known = opened(collected) if collected else index([pool(conversations.lazy())])
    texts = [m.messages[-1].content if isinstance(m, Conversation) else "" for m in made]
    results = []
    for result, text, near in zip(made, texts, nearest(texts, known, settings.max_overlap), strict=True):
        if near is not None and isinstance(result, Conversation):
            detail = f"{result.prompt_id}: {near.likeness:.2f} like {near.record_id}: {text}"
            result = Reject(
                NAME,
                "not_novel",
                detail,
                result.parent_ids[0],
                prompt_id=result.prompt_id,
                model=result.model,
            )
        results.append(result)
    return results


async def run(conversations: pl.DataFrame, settings: SelfInstructSettings, context: Context) -> Output:
    """Instructions to new ones (``CONVERSATIONS``, step ``self_instruct``, several parents each).

    A failed attempt is one reject, named by its first example. Rows no attempt used are ``not_sampled``;
    rows that were only shown in failed ones are ``examples_only``.
    """
    examples, rejects = _read(conversations, settings, context)
    attempts = _attempts(examples, settings, context)
    calls = (_instruction(attempt, settings, context) for attempt in attempts)
    made = await gather(calls, context.models.window)
    made = await asyncio.to_thread(_only_new, made, conversations, settings, context)
    accounted = {r.record_id for r in rejects}
    for result in made:
        accounted.update((result.record_id,) if isinstance(result, Reject) else result.parent_ids)
    shown = {e.id for attempt in attempts for e in attempt.examples}
    rejects += [
        Reject(NAME, "examples_only" if e.id in shown else "not_sampled", record_id=e.id)
        for e in examples
        if e.id not in accounted
    ]
    return outcome(made, rejects)


STAGE = MapStage(
    name=NAME,
    table="conversations",
    columns=CONVERSATIONS,
    version=2,
    settings=SelfInstructSettings,
    run=run,
    uses=_uses,
    check=_check,
)
