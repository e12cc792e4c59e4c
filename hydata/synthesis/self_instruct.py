"""Self-instruct: new instructions for rare fields from a handful of existing ones.

After Wang et al. 2023 (arXiv 2212.10560), used by Hunyuan-Large to widen low-resource domains (section
2.1.1, step 2). Each attempt shows the model a few instructions of one language and domain and asks
for another one. Which language and domain an attempt is aimed at is drawn by hash, with weights that
are higher the further a domain is below its target share in the shard. What is too like one of its
examples is rejected; the gate behind this stage compares it with everything else.
"""

from __future__ import annotations

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
    read_messages,
    rejected,
    sampling,
)
from hydata.synthesis.text import Defect, answers, overlap, tokens

NAME: Final = "self_instruct"
ROLE = "generator"
VARIABLES = ("examples", "domain")


class SelfInstructSettings(Settings):
    """``count`` attempts a shard, each with ``examples`` instructions of at most ``characters``;
    ``max_overlap`` is the largest token F1 with an example that still counts as new (the paper's
    bound, there for ROUGE-L)."""

    count: int = Field(default=8, ge=0)
    examples: int = Field(default=3, ge=1)
    characters: int = Field(default=600, ge=50)
    max_overlap: float = Field(default=0.7, gt=0, le=1)
    temperature: float = Field(default=0.9, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=256, ge=1)


def _uses(settings: SelfInstructSettings, context: Context) -> Iterable[str]:
    yield context.prompts.hash(NAME, VARIABLES)
    yield context.models.identity(ROLE)
    yield context.taxonomy.hash


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
        language, aim = aims[_weighted(weights, fraction("aim", context.seed, salt, i))]
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


def _weighted(weights: Sequence[float], place: float) -> int:
    """The index whose stretch of the line of weights contains ``place`` (0 to 1)."""
    left = place * sum(weights)
    for index, weight in enumerate(weights):
        left -= weight
        if left < 0:
            return index
    return len(weights) - 1


async def _instruction(
    attempt: Attempt, settings: SelfInstructSettings, context: Context
) -> Conversation | Reject:
    made = await draft(attempt.wish, ROLE, sampling(settings, context), context)
    if not isinstance(made, Defect):
        made = _not_new(made.text, attempt.examples, settings.max_overlap) or made
    if isinstance(made, Defect):
        return rejected(NAME, ROLE, attempt.wish, made, attempt.examples[0].id, context)
    licences = {e.licence for e in attempt.examples}
    return made.conversation(
        NAME,
        (e.id for e in attempt.examples),
        sorted({id for e in attempt.examples for id in e.document_ids}),
        None if None in licences else " AND ".join(sorted(x for x in licences if x)),
    )


def _not_new(text: str, examples: Sequence[Example], max_overlap: float) -> Defect | None:
    if answers(text):
        return Defect("not_a_request", text)
    likeness = max(overlap(tokens(text), tokens(e.text)) for e in examples)
    return Defect("not_novel", f"{likeness:.2f} like an example: {text}") if likeness > max_overlap else None


async def run(conversations: pl.DataFrame, settings: SelfInstructSettings, context: Context) -> Output:
    """Instructions to new ones (``CONVERSATIONS``, step ``self_instruct``, several parents each).

    A failed attempt is one reject, named by its first example. Rows no attempt used are ``not_sampled``;
    rows that were only shown in failed ones are ``examples_only``.
    """
    examples, rejects = _read(conversations, settings, context)
    attempts = _attempts(examples, settings, context)
    calls = (_instruction(attempt, settings, context) for attempt in attempts)
    made = await gather(calls, context.models.window)
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
    version=1,
    settings=SelfInstructSettings,
    run=run,
    uses=_uses,
)
