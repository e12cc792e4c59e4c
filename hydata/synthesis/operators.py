"""Operators: prompt files of a step, of which a record gets one that fits its labels, drawn by hash.

An operator is ``prompts/<step>/<operator>.<language>.md``. Its front matter may name ``families`` (labels of
the taxonomy's dimension task) and ``domains``; it is then only for records that are known to be of one of
them. An operator that names neither is for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hydata.errors import ConfigError
from hydata.prompts import Prompt
from hydata.stage import Context
from hydata.synthesis.drafts import pick_weighted


def check_operators(step: str, settings: str, names: Iterable[str], context: Context) -> None:
    """Raise ``ConfigError`` if one of ``names``, given at ``settings`` of the recipe, is no operator of the
    step, or an operator is for a label that the taxonomy has not."""
    prompts = context.prompts.find(step)
    known = {prompt.name for prompt in prompts}
    if unknown := sorted(set(names) - known):
        raise ConfigError(f"{settings}: no prompts named {unknown}; there are {sorted(known)}")
    labels = {dimension.id: dimension.ids for dimension in context.taxonomy.dimensions}
    for prompt in prompts:
        for key, dimension, wanted in (
            ("families", "task", prompt.header.families),
            ("domains", "domain", prompt.header.domains),
        ):
            if unknown := sorted(set(wanted) - set(labels.get(dimension, ()))):
                raise ConfigError(
                    f"{prompt.file}: {key}: no labels {unknown} in taxonomy/{dimension}.yaml; "
                    f"there are {list(labels.get(dimension, ()))}"
                )


def fits(prompt: Prompt, labels: Mapping[str, str | None]) -> bool:
    """Whether the operator is for a record with these labels."""
    header = prompt.header
    return (not header.families or labels.get("task") in header.families) and (
        not header.domains or labels.get("domain") in header.domains
    )


def draw(prompts: Sequence[Prompt], weights: Mapping[str, float], *parts: str | int) -> Prompt:
    """One of ``prompts``, decided by ``parts`` alone; an operator without a weight has 1.

    The place in the line of weights depends on the prompts' order, which is that of their ids.
    """
    return pick_weighted(prompts, [weights.get(prompt.name, 1.0) for prompt in prompts], *parts)
