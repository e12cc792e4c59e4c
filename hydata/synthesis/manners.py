"""In what manner an answer is asked for: by which prompt, in which persona, with the reference shown or not.

A manner is a prompt ``prompts/respond/<manner>.<language>.md``: a long or a short chain of thought, the
bare answer, a brief one. The recipe gives one to all records, or one by their labels, as routes do:

    manners = [{ when = { task = "mathematical_reasoning" }, manner = "step_by_step" }]

A persona is a system prompt of ``prompts/system/``. All answers to an instruction are given in the same
one, so that they can be compared, and the record keeps it; a system message of the instruction's own is
never replaced.

A manner that declares the variable ``reference`` can show the reference answer that extraction found, for
the answer to be worked out towards it (rationalisation in STaR, Zelikman et al. 2022, arXiv 2203.14465).
This is off by default: towards a wrong reference a model argues as fluently as towards a right one, and
answers that were shown the reference agree with it and with each other, so that neither the critic's nor the
votes' comparison with it tells anything any more. An answer that lets on that it was shown one is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from hydata.errors import ConfigError
from hydata.models.config import When, fits
from hydata.models.router import check_when
from hydata.prompts import Prompt
from hydata.schema import DEFAULT_SYSTEM_PROMPT, Message
from hydata.stage import Context, Settings
from hydata.synthesis.drafts import fraction, pick
from hydata.synthesis.text import Defect, leaks

STEP: Final = "respond"
SYSTEM: Final = "system"
VARIABLES = ("instruction", "reference")
WITH_REFERENCE: Final = "with_reference"
"""The manner of answers with a reference where the recipe names no manner that shows it."""


class MannerRoute(Settings):
    """The ``manner`` of the records whose labels fit ``when``."""

    when: When
    manner: str


class Manners(Protocol):
    """The settings that say how answers are asked for."""

    @property
    def manner(self) -> str | None: ...
    @property
    def manners(self) -> tuple[MannerRoute, ...]: ...
    @property
    def use_reference(self) -> bool: ...
    @property
    def personas(self) -> float: ...


def _named(settings: Manners) -> dict[str, str]:
    """The manners that may be taken, by the key of the recipe that asks for each."""
    named = {"manner": settings.manner} if settings.manner is not None else {}
    named |= {f"manners[{place}].manner": route.manner for place, route in enumerate(settings.manners)}
    return named | ({"use_reference": WITH_REFERENCE} if settings.use_reference else {})


def check(settings: Manners, context: Context) -> None:
    """Check the names of the manners and the labels they are for.

    Raises:
        ConfigError: a manner without a prompt, a label that does not exist, no persona.
    """
    labels = {dimension.id: dimension.ids for dimension in context.taxonomy.dimensions}
    for place, route in enumerate(settings.manners):
        at = f"{context.recipe}: respond.manners[{place}].when"
        check_when(at, route.when, {"language": None, **labels})
    known = {prompt.name for prompt in context.prompts.find(STEP)}
    for key, name in _named(settings).items():
        if name not in known:
            raise ConfigError(
                f"{context.recipe}: respond.{key}: no manner {name!r} in {context.prompts.folder / STEP}; "
                f"there are {', '.join(sorted(known)) or 'none'}"
            )
    if _named(settings):
        context.prompts.check(STEP, VARIABLES)
    if settings.personas:
        context.prompts.hash(SYSTEM, ())


def uses(settings: Manners, context: Context) -> Iterable[str]:
    """What the manners add to a stage's identity."""
    if _named(settings):
        yield context.prompts.hash(STEP, VARIABLES)
    if settings.personas:
        yield context.prompts.hash(SYSTEM, ())


def manner_of(
    labels: Mapping[str, str | None], reference: str, settings: Manners, context: Context
) -> Prompt | None:
    """The prompt for an instruction with these labels, its language among them, and this reference answer
    ("": none); None sends the instruction as it is, as does a language without that prompt."""
    name = next((r.manner for r in settings.manners if fits(r.when, labels)), settings.manner)
    language = labels["language"]
    found = context.prompts.find(STEP, language, name=name) if name is not None else ()
    if reference and not any("reference" in prompt.header.variables for prompt in found):
        # a manner that has no place for a reference goes before it: the recipe has asked for that manner
        return (
            found[0] if found else next(iter(context.prompts.find(STEP, language, name=WITH_REFERENCE)), None)
        )
    return found[0] if found else None


def in_persona(
    messages: tuple[Message, ...], id: str, language: str, settings: Manners, context: Context
) -> tuple[Message, ...]:
    """The messages of record ``id``, which begin with a system message; a share ``personas`` of the records
    has a persona's in place of the default one. Not once the assistant has spoken: what it said was said
    under the system message that stands there."""
    if any(message.role == "assistant" for message in messages):
        return messages
    if fraction("persona", context.seed, id) >= settings.personas:
        return messages
    prompts = context.prompts.find(SYSTEM, language)
    if not prompts or messages[0] != Message("system", DEFAULT_SYSTEM_PROMPT):
        return messages
    (persona,) = pick(prompts, "which persona", context.seed, id).render()
    return (Message("system", persona.content), *messages[1:])


_TELLS = re.compile(
    r"\b(?:reference|model|official|expected|given|provided)\s+(?:answer|solution|outcome|result)s?\b"
    r"|\b(?:answer|solution|outcome|result)\s+(?:that\s+)?(?:i|we)\s+(?:was|were|am|are)\s+(?:given|told|shown)\b"
    r"|\b(?:you|user|prompt)\s+(?:already\s+)?(?:gave|provided|supplied|told)\b[^.\n]{0,40}\b(?:answer|outcome|result)\b"
    r"|(?:参考|标准|给定|已知|提供|给出)的?(?:答案|结论|解答|要点)",
    re.IGNORECASE,
)


def find_leak(answer: str, reasoning: str | None, instruction: str, prompt: Prompt) -> Defect | None:
    """How an answer, or the reasoning that led to it, lets on that it was shown the reference; words that the
    instruction itself uses prove nothing."""
    for text in (answer, reasoning or ""):
        told = _TELLS.search(text)
        if told is not None and told[0].lower() not in instruction.lower():
            return Defect("leaks_reference", f"{told[0]!r} in: {text[max(0, told.start() - 80) :]}")
        if text and leaks(text, prompt.own_words):
            return Defect("leaks_reference", text)
    return None
