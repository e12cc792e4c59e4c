"""A bandit among the prompts of a step: what came to more accepted rows for its tokens gets more to do.

Thompson sampling (Thompson 1933; Chapelle and Li 2011) in batches: what a prompt is worth is the chance that
an attempt comes to an accepted row, over the tokens of an attempt. The chance has a Beta posterior, whose
prior is the rate of all its rivals with the weight of ``PRIOR`` attempts: under a flat one a new prompt would
expect a rate of one half and take over a whole run. A prompt's weight is its probability to be worth most of
all its rivals. No prompt falls below ``floor``, so that none is given up for good on the luck of one run.

Rivals are prompts that are drawn for the same things: of one step and language, the same seed kinds, families
and domains and, among operators of evolution, the same style. Between such groups nothing is shifted: a poor
kind of seed or a hard family is no fault of its prompts, and how much there is to be of each is for the
taxonomy and the recipe to say. So a prompt is first drawn as without the bandit, and the bandit decides which
of its rivals stands in its place.

Nothing learns while a run goes on. The yields are read when it begins and kept in ``heads/<recipe>.bandit``
until there are new final decisions: a run that was killed goes on with the weights it began with, and
asks what it had asked. The weights are part of the stage's identity.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from pydantic import Field

from hydata.errors import WarehouseError
from hydata.prompts import Prompt, PromptLibrary
from hydata.schema import canonical_json, hash128
from hydata.stage import Context, Settings
from hydata.synthesis.drafts import shuffled
from hydata.warehouse import Head, NodeState, connect, write_atomic
from hydata.yields import yields

FINAL = "decide/final"
"""The node whose results tell what is accepted. Rounds of follow-ups have further ones, whose results count
from the next time on that this one has new results: weights must not change between two rounds."""

PRIOR = 2
DRAWS = 20_000
"""Of each posterior; the weights are right to about 0.004."""


class BanditSettings(Settings):
    """``floor``: the least share of its group that a prompt keeps (never more than an equal one)."""

    floor: float = Field(default=0.05, gt=0, le=1)


class Chosen(Protocol):
    """Settings of a step whose prompts a bandit may choose among."""

    @property
    def bandit(self) -> bool: ...


@dataclass(frozen=True)
class Arm:
    """What became of a prompt: ``useful`` of its ``attempts`` came to an accepted row."""

    attempts: int = 0
    useful: int = 0
    tokens: int = 0


def rivals(
    drawn: Prompt, odds: Iterable[tuple[Prompt, float]], context: Context, *parts: str | int
) -> list[Prompt]:
    """Who may stand in the place of a prompt that was ``drawn`` by these ``odds``, itself among them, in an
    order that ``parts`` decide: first the one that is chosen, then the others, in case it was used before."""
    group = _group(drawn)
    learnt = ((p, own * context.weights.get(p.id, 1.0)) for p, own in odds if _group(p) == group)
    return shuffled(learnt, *parts)


def uses(step: str, settings: Chosen, context: Context) -> Iterable[str]:
    """What a bandit adds to a stage's identity."""
    if settings.bandit:
        known = context.weights
        yield canonical_json([[p.id, known[p.id]] for p in context.prompts.find(step) if p.id in known])


def weights(prompts: PromptLibrary, arms: Mapping[str, Arm], floor: float) -> dict[str, float]:
    """The weight of every prompt by its id, 1 on average over its rivals; empty while nothing is known."""
    if not arms:
        return {}
    groups: dict[Hashable, list[str]] = defaultdict(list)
    for prompt in prompts.prompts:
        groups[_group(prompt)].append(prompt.id)
    found: dict[str, float] = {}
    for ids in groups.values():
        shares = best([arms.get(id, Arm()) for id in ids])
        least = min(floor, 1 / len(ids))
        for id, share in zip(ids, shares, strict=True):
            found[id] = max(0.0001, round(len(ids) * (least + (1 - len(ids) * least) * share), 4))
    return found


def _group(prompt: Prompt) -> Hashable:
    """What rivals have in common. The style of a generator is how it asks, that of an operator what it is
    for."""
    head = prompt.header
    alike = tuple(tuple(sorted(labels)) for labels in (head.kinds, head.families, head.domains))
    return prompt.step, prompt.language, alike, head.style if prompt.step == "evolve" else None


def best(arms: list[Arm]) -> list[float]:
    """The probability of each arm to be worth most, drawn with a seed made of the arms: always the same."""
    attempts, useful, tokens = (
        sum(getattr(a, name) for a in arms) for name in ("attempts", "useful", "tokens")
    )
    if not attempts:
        return [1 / len(arms)] * len(arms)
    rate, cost = (useful + 1) / (attempts + 2), max(tokens, 1) / attempts
    seed = int(hash128(canonical_json([asdict(arm) for arm in arms]))[:16], 16)
    random = np.random.Generator(np.random.PCG64(seed))
    worth = np.array(
        [
            random.beta(PRIOR * rate + a.useful, PRIOR * (1 - rate) + a.attempts - a.useful, DRAWS)
            / ((PRIOR * cost + a.tokens) / (PRIOR + a.attempts))
            for a in arms
        ]
    )
    wins = np.bincount(worth.argmax(axis=0), minlength=len(arms))
    return [float(n) / DRAWS for n in wins]


# --- frozen ----------------------------------------------------------------------------------------------


def freeze(root: Path, head: Head, schemas: Mapping[str, pl.Schema]) -> dict[str, Arm]:
    """What became of each prompt, as of the last final decision: read from the file that says so, or from the
    warehouse, and then written there. Empty before the first decision.

    Raises:
        WarehouseError: the file is damaged.
    """
    path = root / "heads" / f"{head.recipe}.bandit"
    decided = _decided(head)
    if path.exists():
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["decided"] == decided:
                return {prompt: Arm(**counts) for prompt, counts in kept["arms"].items()}
        except (ValueError, KeyError, TypeError) as error:
            raise WarehouseError(f"{path}: damaged ({error}); remove it, it is made anew") from error
    if not head.nodes.get(FINAL, NodeState("")).shards:
        return {}
    found: dict[str, Arm] = {}
    with connect(root, head, schemas) as con:
        for y in yields(con, head.recipe):
            a = found.get(y.prompt, Arm())
            found[y.prompt] = Arm(a.attempts + y.attempts, a.useful + y.useful, a.tokens + y.tokens)
    hand_on(root, head, found)
    return found


def hand_on(root: Path, head: Head, arms: Mapping[str, Arm]) -> None:
    """Freeze these arms for runs in the warehouse ``root`` that begin with ``head``."""
    body = {"decided": _decided(head), "arms": {prompt: asdict(arm) for prompt, arm in sorted(arms.items())}}
    write_atomic(root / "heads" / f"{head.recipe}.bandit", json.dumps(body, indent=1).encode())


def _decided(head: Head) -> str:
    return hash128(*(shard.path for shard in head.nodes.get(FINAL, NodeState("")).shards))
