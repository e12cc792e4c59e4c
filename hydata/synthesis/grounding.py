"""Grounding: where a quote stands in a text, and whether an answer rests on what was quoted.

A quote is looked for in three ways, each only where the one before found nothing:

1. *exactly*, character by character;
2. *folded*: case, width (full and half), accents, white space, quotation marks and dashes do not count,
   nor does white space beside Chinese characters, nor a stop written in the other script;
3. *nearly*: the folded stretch at the least edit distance, if that is at most ``MAX_EDITS`` of the quote's
   length, and its numbers and negations are the quote's own, since "in 1815" and "in 1851", or "is" and "is
   not", are a small edit apart and say different things.

Offsets always are the original text's, since every folded character remembers where it came from. A quote
with an ellipsis is its pieces, in order. What occurs several times is found where it occurs first.

The distance is computed by bit vectors: Myers 1999, "A fast bit-vector algorithm for approximate string
matching based on dynamic programming", JACM 46(3), in Hyyrö's formulation (2003); Python's integers are the
vectors. Unlike rapidfuzz's ``partial_ratio_alignment``, whose window is as long as the quote, it finds the
true ends of a quote that left words out.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import NamedTuple

from hydata.seeds.source import words
from hydata.synthesis.text import tokens

MAX_EDITS = 0.15
"""Edits a quote may have for each of its folded characters. Measured (``docs/decisions/0012-extraction.md``):
sentences of other documents are never nearer than 0.58; of copies that drop a word and have up to two typos,
19 of 20 in English and 9 of 10 in Chinese are within it."""

MIN_SUPPORT = 0.8
"""The part of an answer's own content words that must stand in the quotes: up to four words, all of them."""

MAX_QUOTE = 1000
"""Characters of a quote that are looked for nearly; a longer one must be verbatim or folded."""


class Found(NamedTuple):
    """Characters ``[start, end)`` of the text, ``edits`` away from the quote."""

    start: int
    end: int
    edits: int


class Folded(NamedTuple):
    """A folded text; ``offsets[i]`` is where its i-th character came from."""

    text: str
    offsets: list[int]


_SAME = {
    **dict.fromkeys("“”„‟«»＂「」『』〝〞《》", '"'),
    **dict.fromkeys("‘’‚‛`´ʼ＇′", "'"),
    **dict.fromkeys("‐‑‒–—―−－﹣", "-"),
    **{"。": ".", "、": ",", "·": "", "\u00ad": ""},
}


@lru_cache(maxsize=1 << 16)
def _fold(character: str) -> str:
    """One character folded: none, one or several characters."""
    if character in _SAME:
        return _SAME[character]
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    if category in ("Cf", "Cc", "Mn"):
        return ""
    parts = unicodedata.normalize("NFKD", character).casefold()
    kept = (_SAME.get(p, p) for p in parts if unicodedata.category(p) != "Mn")
    return "".join(" " if part.isspace() else part for part in kept)


def _is_han(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff"


def fold(text: str) -> Folded:
    """``text`` without what a copyist may change."""
    out: list[str] = []
    offsets: list[int] = []
    for offset, character in enumerate(text):
        for part in _fold(character):
            last = out[-1] if out else " "
            if part in " -" and last == part:
                continue
            if part == " " and _is_han(last):
                continue
            if _is_han(part) and last == " " and out:
                out.pop()
                offsets.pop()
            out.append(part)
            offsets.append(offset)
    while out and out[-1] == " ":
        out.pop()
        offsets.pop()
    return Folded("".join(out), offsets)


_ELLIPSIS = re.compile(r"\s*[\[(（]?(?:\.\s?\.\s?\.+|…+)[\])）]?\s*")


def locate(quote: str, text: str, folded: Folded | None = None) -> list[Found] | None:
    """Where ``quote`` stands in ``text``: one stretch, or the pieces of an elided quote in order; None if a
    piece is not there. ``folded`` is ``fold(text)``, to be made once for several quotes."""
    folded = folded or fold(text)
    whole = _locate(quote, text, folded, 0)
    if whole is not None:
        return [whole]
    pieces = [piece for piece in _ELLIPSIS.split(quote) if tokens(piece)]
    found: list[Found] = []
    for piece in pieces if len(pieces) > 1 else ():
        place = _locate(piece, text, folded, found[-1].end if found else 0)
        if place is None:
            return None
        found.append(place)
    return found or None


def _locate(quote: str, text: str, folded: Folded, after: int) -> Found | None:
    quote = quote.strip()
    if not tokens(quote):
        return None
    if (start := _find(quote, text, after)) is not None:
        return Found(start, start + len(quote), 0)
    first = next((i for i, offset in enumerate(folded.offsets) if offset >= after), len(folded.offsets))
    needle = fold(quote).text
    if (start := _find(needle, folded.text, first)) is not None:
        return _original(folded, start, start + len(needle), 0)
    if len(quote) > MAX_QUOTE or not int(MAX_EDITS * len(needle)):
        return None
    found = nearest(needle, folded.text[first:])
    if found.edits > MAX_EDITS * len(needle) or found.start == found.end:
        return None
    place = _original(folded, found.start + first, found.end + first, found.edits)
    said = text[place.start : place.end]
    same = numbers(said) == numbers(quote) and _negations(said) == _negations(quote)
    return place if same else None


def _original(folded: Folded, start: int, end: int, edits: int) -> Found:
    return Found(folded.offsets[start], folded.offsets[end - 1] + 1, edits)


def _find(needle: str, text: str, after: int) -> int | None:
    """The first place after ``after`` where ``needle`` stands as whole words."""
    while needle and (start := text.find(needle, after)) >= 0:
        if not (_joined(text, start) or _joined(text, start + len(needle))):
            return start
        after = start + 1
    return None


def _joined(text: str, place: int) -> bool:
    """Whether ``place`` is inside a word or a number."""
    if not 0 < place < len(text):
        return False
    before, behind = text[place - 1], text[place]
    return before.isalnum() and behind.isalnum() and not (_is_han(before) or _is_han(behind))


def nearest(pattern: str, text: str) -> Found:
    """The stretch of ``text`` at the least edit distance (Levenshtein) from ``pattern``: the first that ends
    soonest. Takes len(text) steps on integers of len(pattern) bits."""
    best, end = len(pattern), 0
    for place, distance in enumerate(_distances(pattern, text, anchored=False), 1):
        if distance < best:
            best, end = distance, place
    # From there backwards: the start is where the reversed pattern ends at the same distance.
    behind = text[max(0, end - len(pattern) - best) : end][::-1]
    start = end
    for length, distance in enumerate(_distances(pattern[::-1], behind, anchored=True), 1):
        if distance == best:
            start = end - length
            break
    return Found(start, end, best)


def _distances(pattern: str, text: str, *, anchored: bool) -> list[int]:
    """The edit distance of ``pattern`` from the stretch that ends after each character of ``text`` and begins
    at its start (``anchored``) or wherever is best."""
    size = len(pattern)
    full, last = (1 << size) - 1, 1 << (size - 1)
    places: dict[str, int] = {}
    for i, character in enumerate(pattern):
        places[character] = places.get(character, 0) | 1 << i
    plus, minus, score = full, 0, size
    scores = []
    for character in text:
        equal = places.get(character, 0)
        vertical = equal | minus
        horizontal = (((equal & plus) + plus) ^ plus) | equal
        up = minus | ~(horizontal | plus)
        down = plus & horizontal
        if up & last:
            score += 1
        elif down & last:
            score -= 1
        up = up << 1 | anchored
        plus = ((down << 1) | ~(vertical | up)) & full
        minus = up & vertical & full
        scores.append(score)
    return scores


# --- whether an answer rests on its quotes ---------------------------------------------------------------

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SPELLED = {
    **{"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"},
    **{
        "eight": "8",
        "nine": "9",
        "ten": "10",
        "eleven": "11",
        "twelve": "12",
        "dozen": "12",
        "fifteen": "15",
    },
    **{"twenty": "20", "thirty": "30", "forty": "40", "fifty": "50", "hundred": "100", "thousand": "1000"},
}
_NEGATION = re.compile(
    r"\b(?:not?|never|none|nor|neither|without|cannot)\b|n't\b|[不没沒无無未非]", re.IGNORECASE
)
_STOP = words(
    "a an the of to in on at by for from with as is are was were be been being it its this that these those "
    "and or but if then than so such which who whom whose what when where why how he she they them their his "
    "her him we our us you your i me my do does did has have had can could will would may might must shall "
    "should not no yes about into over under between because there here also very more most some any all "
    "each both one"
)
_FUNCTION_HAN = frozenset(
    "的了是在和与及或也都就而且之于以为被把对从到向其这那个有会能可要将因所则是否很更最"
)


def numbers(text: str) -> Counter[str]:
    """The numbers of a text, in digits, without separators of thousands or needless zeros."""
    found = _NUMBER.findall(unicodedata.normalize("NFKC", text))
    return Counter(_plain(number) for number in found)


def _plain(number: str) -> str:
    number = re.sub(r",(?=\d{3}(?!\d))", "", number)
    return number.rstrip("0").rstrip(".") if "." in number else number


def _negations(text: str) -> int:
    return len(_NEGATION.findall(text.replace("’", "'")))


def supported(answer: str, evidence: str, question: str = "") -> bool:
    """Whether the ``evidence`` says what the ``answer`` says, by its words: every number, and at least
    ``MIN_SUPPORT`` of the content words that the ``question`` did not bring along (all of them, where it
    brought all). Without a number or content word there is nothing that could be looked up: False.

    Words match by their beginnings ("flooded", "floods"), Chinese by pairs of characters.
    """
    there = set(numbers(evidence))
    there |= {_SPELLED[token] for token in tokens(evidence) if token in _SPELLED}
    there |= {str(int(value)) for c in evidence if _is_han(c) and (value := unicodedata.numeric(c, -1)) >= 0}
    wanted = set(numbers(answer))
    if not wanted <= there:
        return False
    said, asked = _content(answer), _content(question)
    own = {word for word in said if not _has(asked, word)} or said
    if not own:
        return bool(wanted)
    known = _content(evidence)
    hits = sum(_has(known, word) or _SPELLED.get(word, "") in there for word in own)
    return hits >= MIN_SUPPORT * len(own)


def _content(text: str) -> set[str]:
    """Content words: Latin ones but numbers, pairs of Chinese characters, single ones that stand alone."""
    found: set[str] = set()
    run = ""
    for token in [*tokens(unicodedata.normalize("NFKC", text)), ""]:
        if token and _is_han(token[0]) and token not in _FUNCTION_HAN:
            run += token
            continue
        found.update({run} if len(run) == 1 else {run[i : i + 2] for i in range(len(run) - 1)})
        run = ""
        if token and not _is_han(token[0]) and token not in _STOP and not token.isdigit():
            found.add(token)
    return found


def _has(known: set[str], word: str) -> bool:
    if word in known:
        return True
    if _is_han(word[0]):
        return len(word) == 1 and any(word in pair for pair in known)
    stem = word[: max(4, len(word) - 3)]
    return len(word) > 4 and any(other.startswith(stem) for other in known)
