"""What finds a kind of personal data, and how what several of them found is put together.

A *finder* is a function from a text to places, with the hints one of which the text must hold for it to be
worth asking (``hydata.privacy.hints``). It can ask for more of them before it runs a pattern.

Every pattern is linear: a run of characters is entered at its beginning alone (a lookbehind), and every
repetition is bounded or possessive. A pattern begins with characters rather than a lookbehind, which looks
back over them: Python then skips what is none of these, at 4 ns a character instead of 25. Where many words
may come next, a lookahead first asks for their first letters, since each costs as much to try. Offsets are
characters of the text as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from hydata.privacy.hints import Has, Hint, Shape

Kind = Literal[
    "key",
    "email",
    "iban",
    "id_card",
    "bank_card",
    "passport",
    "ip",
    "phone",
    "plate",
    "address",
    "name",
]

ORDER: tuple[Kind, ...] = get_args(Kind)
"""The most specific first: of two readings of the same characters it is taken."""

Place = tuple[int, int]

NO_DIGIT = r"(?<![0-9A-Za-z_.])"
"""No number, word or decimal goes on here. Chinese characters may stand on either side of a value, so that
``\\b`` and ``\\w`` would not do."""

DASHES = r"\u00a0‐-–-"
"""In a set of characters: those that group digits as a space does, also where no line may break."""


class Found(NamedTuple):
    """Characters ``[start, end)`` of a text that hold a value of this kind."""

    start: int
    end: int
    kind: Kind


@dataclass(frozen=True)
class Finder:
    """``find`` gives the places of a kind in a text that has one of ``hints``. What it asks of the text
    besides, before it begins a search that is in vain as a rule, is in ``needs``."""

    kind: Kind
    find: Callable[[str, Has], Iterable[Place]]
    hints: tuple[Hint, ...]
    needs: tuple[Hint, ...] = ()


FOLDED: Shape = ("ſıİ\u212a",)
"""Letters that ``re.IGNORECASE`` takes for s, i and k. A need that stands for such a pattern is open to any
text that has one, so that it never says no where the pattern would match."""


def matches_at(starts: Iterable[int], pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """What ``pattern.finditer`` gives, where every match begins at one of ``starts``, which ascend and are
    cheaper to look for."""
    end = 0
    for start in starts:
        if start >= end and (match := pattern.match(text, start)):
            yield match
            end = match.end()


def near(text: str, start: int, context: re.Pattern[str], reach: int = 40, *, across: bool = False) -> bool:
    """Whether ``context`` matches in the ``reach`` characters before ``start``, in the same sentence (a
    full stop and a space, a Chinese one and a blank line end it) or ``across`` sentences, with no other
    number in between: of values in a row each next one is near when the one before has been found."""
    first = max(0, start - reach)
    sentence = (
        first if across else max((end.end() for end in _ENDS.finditer(text, first, start)), default=first)
    )
    last = max((match.end() for match in context.finditer(text, sentence, start)), default=None)
    return last is not None and _BETWEEN.search(text, last, start) is None


_BETWEEN = re.compile(r"[0-9]{4}|\](?!(?:[\s,;:、，；/和及与\]]|and|or)*+$)")
# "No. " is a number's, not an end.
_ENDS = re.compile(r"[.!?。！？\n](?:(?<=[.!?])(?<!\b[nN][oOrR]\.)[ \n]|(?<=[。！？])|(?<=\n)\s*\n)")


def union(found: Iterable[Found]) -> list[Found]:
    """The places in order, without overlaps. What overlaps becomes one place, so that no part of a value is
    left over, of the kind of its longest member, or the most specific of the longest."""
    merged: list[Found] = []
    longest: Found | None = None
    for one in sorted(found, key=lambda f: (f.start, -f.end, ORDER.index(f.kind))):
        if longest is None or one.start >= merged[-1].end:
            merged.append(one)
            longest = one
            continue
        if _rank(one) > _rank(longest):
            longest = one
        merged[-1] = Found(merged[-1].start, max(merged[-1].end, one.end), longest.kind)
    return merged


def _rank(found: Found) -> tuple[int, int]:
    return found.end - found.start, -ORDER.index(found.kind)


def starts(spots: re.Pattern[str], text: str, back: int = 0) -> Iterator[int]:
    """Where these match, or ``back`` characters before."""
    for match in spots.finditer(text):
        yield match.start() - back


def places(matches: Iterator[re.Match[str]]) -> Iterator[Place]:
    """Where these match."""
    for match in matches:
        yield match.span()


def words(text: str) -> tuple[str, ...]:
    """The words of a list that is written as a text."""
    return tuple(text.split())


def digits(text: str) -> str:
    """The digits of a text."""
    return "".join(c for c in text if "0" <= c <= "9")


def alternatives(words: Sequence[str]) -> str:
    """A pattern of any of the words, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
