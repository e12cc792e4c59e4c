"""Answers that the token limit cut off: continued to their end, or given up; never kept as they are.

The model is shown the conversation, its own unfinished answer, and a short request to go on, a prompt of
``prompts/continue/``. So that no seam is left, the answer is first taken back to its last whole word:
whether "the li" and "ght" belong together could not be told afterwards, since chat servers strip the spaces
a reply begins with. Models also like to begin again with the word, line or sentence they stopped in; what
they repeat is taken once.

The continuations are counted to the prompt of the answer: its tokens are what the whole answer took.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from hydata.errors import ConfigError, TerminalModelError
from hydata.models import Call, Model, Reply
from hydata.schema import Message
from hydata.stage import Context
from hydata.synthesis.text import Defect, leaks, tokens

STEP: Final = "continue"
TRUNCATED: Final = "truncated"

LONGEST_WORD = 40
"""More characters without a space are no word (Chinese, a URL, base64): they stay as they are."""

LEAST_REPEATED = 4
"""Characters the two parts must share to count as repeated; fewer meet by chance ("is al", "l right")."""

BEGUN_AGAIN = 8
"""So many first tokens in common with the answer itself: it was begun anew instead of continued."""

_LAST_WORD = re.compile(rf"(?<=\s)[^\s\u3000-\u9fff\uff00-\uffef]{{1,{LONGEST_WORD}}}\Z")
_HALF_CHARACTER = re.compile("\ufffd+\\Z")
_OPENING = re.compile(
    r"\A(?:\.{3}|…+)\s*|\A(?:sure|certainly|of course|okay|continuing|here is the (?:rest|continuation))\b"
    r"[^\n:.]{0,60}[:.]\s*\n+|\A(?:好的|当然|接着|继续|以下是)[^\n：:。]{0,20}[：:。]\s*\n+",
    re.IGNORECASE,
)


def check(most: int, context: Context) -> None:
    """Check that there is a prompt to ask for the rest with, if anything is to be continued.

    Raises:
        ConfigError: names the folder and the remedy.
    """
    if most:
        for language in ("en", "zh"):
            if not context.prompts.find(STEP, language):
                raise ConfigError(
                    f"{context.prompts.folder / STEP}: no prompt in {language!r}; add answer.{language}.md "
                    f"or set respond.continue_truncated = 0 in {context.recipe}"
                )
        context.prompts.check(STEP, ())


def uses(most: int, context: Context) -> Iterable[str]:
    """What continuing adds to a stage's identity."""
    if most:
        yield context.prompts.hash(STEP, ())


async def whole(
    model: Model, call: Call, reply: Reply, language: str, most: int, context: Context
) -> Reply | Defect:
    """``reply`` to ``call`` brought to its end by at most ``most`` further calls; a ``truncated`` defect if
    that did not do.

    The whole has the last part's ``finish_reason`` and ``request_hash`` (that request holds all before it),
    and the reasoning of the first part: thoughts about going on are none about the question.

    Raises:
        As ``Models.complete``, apart from what is terminal.
    """
    text, parts = reply.text, 0
    while reply.finish_reason == "length":
        if parts == most:
            return Defect(TRUNCATED, f"{parts} continuations: {text[-200:]}" if parts else text[-200:])
        parts += 1
        kept = to_last_word(text)
        prompt = (context.prompts.find(STEP, language) or context.prompts.find(STEP, "en"))[0]
        more = Call(
            (*call.messages, Message("assistant", kept), *prompt.render()),
            call.sampling,
            sample_index=call.sample_index,
            purpose=call.purpose,
        )
        try:
            part = await context.models.complete(model, more)
        except TerminalModelError as error:
            return Defect(TRUNCATED, f"not continued, {error.reason}: {error.detail}")
        if begun_again(kept, part.text):
            return Defect(TRUNCATED, f"begun again instead of continued: {part.text[:200]}")
        if leaks(part.text, prompt.own_words):  # a small model repeats what it was told, for want of a rest
            return Defect(TRUNCATED, f"spoke of the interruption instead: {part.text[:200]}")
        text = join(kept, part.text)
        reply = replace(part, text=text, reasoning=reply.reasoning)
    return reply


def to_last_word(text: str) -> str:
    """``text`` without the word that it breaks off in, but with the space before it."""
    text = _HALF_CHARACTER.sub("", text)
    return _LAST_WORD.sub("", text) or text


def begun_again(kept: str, part: str) -> bool:
    """Whether ``part`` starts as ``kept`` does, and is not the whole of it with more behind."""
    old, new = tokens(kept)[:BEGUN_AGAIN], tokens(part)[:BEGUN_AGAIN]
    return len(old) == BEGUN_AGAIN and old == new and not part.lstrip().startswith(kept.strip())


def join(kept: str, part: str) -> str:
    """``kept`` continued by ``part``, what both hold at the seam once: repeated text, or spaces."""
    part = _OPENING.sub("", part, count=1)
    before, after = kept.rstrip(), part.lstrip()
    repeated = _repeated(before, after)
    if repeated:
        return before + after[repeated:]
    space, first = kept[len(before) :], part[: len(part) - len(after)]
    shared = next((k for k in range(min(len(space), len(first)), 0, -1) if space.endswith(first[:k])), 0)
    return before + space + first[shared:] + after


def _repeated(before: str, after: str) -> int:
    """How many characters at the end of ``before``, from the start of a word or line on, stand at the start
    of ``after`` again."""
    for size in range(min(len(before), len(after)), 1, -1):
        if not before.endswith(after[:size]):
            continue
        previous = before[-size - 1 : -size]
        line = previous in ("", "\n")
        inside_word = previous.isalnum() and after[0].isalnum() and (previous + after[0]).isascii()
        if line or (size >= LEAST_REPEATED and not inside_word):
            return size
    return 0
