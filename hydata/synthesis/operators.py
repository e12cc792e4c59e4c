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


def check_operators(step: str, key: str, names: Iterable[str], context: Context) -> None:
    """Check that ``names``, given at ``key`` of the recipe, are operators of the step.

    Raises:
        ConfigError: names the recipe, the key and what there is.
    """
    known = {prompt.name for prompt in context.prompts.find(step)}
    if unknown := sorted(set(names) - known):
        raise ConfigError(
            f"{context.recipe}: {key}: no prompts named {unknown} in {context.prompts.folder / step}; "
            f"there are {', '.join(sorted(known)) or 'none'}"
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
