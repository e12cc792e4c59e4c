"""The one function: texts with placeholders in place of personal data.

Everything that is shown to a model or exported goes through ``masked``: the texts of one request, or of one
record, at once, so that a value has one placeholder in all of them, ``[EMAIL_1]`` for the first address,
``[EMAIL_2]`` for the next; the same words in English and Chinese. A text may hold placeholders already (a
model that was shown some writes them again): a new value never takes the number of one that stands before
it. So texts that are masked stay as they are, and an answer to a masked question fits the question masked
later.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import replace
from functools import cache, reduce
from operator import or_
from typing import Self

import numpy as np
import polars as pl
from pydantic import model_validator

from hydata.privacy.addresses import ADDRESS
from hydata.privacy.banking import BANK_CARD, IBAN
from hydata.privacy.contact import EMAIL, PHONE
from hydata.privacy.credentials import KEY
from hydata.privacy.documents import ID_CARD, PASSPORT, PLATE
from hydata.privacy.finder import Finder, Found, Kind, union
from hydata.privacy.hints import Automaton, Hint, automaton, span
from hydata.privacy.names import NAME, check_names
from hydata.privacy.network import IP
from hydata.schema import Message
from hydata.stage import Settings

FINDERS: tuple[Finder, ...] = (KEY, EMAIL, IBAN, ID_CARD, BANK_CARD, PASSPORT, IP, PHONE, PLATE, ADDRESS)
KINDS: tuple[Kind, ...] = tuple(finder.kind for finder in FINDERS)

VERSION = 4
"""Raise it when what is found changes."""

_TAG = "|".join(kind.upper() for kind in (*KINDS, "name"))
_PLACEHOLDER = re.compile(rf"\[({_TAG})_([0-9]{{1,6}})\]")
_WIDE = str.maketrans({chr(narrow + 0xFEE0): chr(narrow) for narrow in range(0x21, 0x7F)})
"""Full-width forms of ASCII, character for character: offsets stay."""
_HIDDEN = "\u00ad\u200b\u200c\u200d\u2060\ufeff"
"""Signs of no width, which hide a value but not from a reader."""
_PLAIN = {**_WIDE, **dict.fromkeys(map(ord, _HIDDEN))}
_TOLD_APART = Hint(
    shapes=((span("０", "９") + span("Ａ", "Ｚ") + span("ａ", "ｚ") + "＠．＝－＿＋／" + _HIDDEN,),)
)
"""What a reader takes for plain ASCII. Chinese punctuation is none: few texts have the rest."""
_HOLE = "]"
"""Stands for a placeholder, or for a value that was found, while more is looked for. No value holds one."""
ROUNDS = 30
"""More than a text takes in earnest: of values behind one word for them 24 are within its reach, the shortest
placeholder and comma counted, and each is known when the one before has been found."""


class FindSettings(Settings):
    """``kinds`` are looked for, and names of people where ``names`` is set."""

    kinds: tuple[Kind, ...] = KINDS
    names: bool = False

    @model_validator(mode="after")
    def _installed(self) -> Self:
        if self.names or "name" in self.kinds:
            check_names()
        return self

    @property
    def finders(self) -> tuple[Finder, ...]:
        """Those of what is looked for."""
        return tuple(finder for finder, _ in _finders(self.kinds, self.names))

    def candidates(self, text: pl.Expr) -> pl.Expr:
        """Which texts of a column are worth a look; by compiled code."""
        finders = _finders(self.kinds, self.names)
        if not finders:
            return pl.lit(False)

        def worth(texts: pl.Series) -> pl.Series:
            known = _hints()
            bits = reduce(or_, (bits for _, bits in finders), known.bits[_TOLD_APART])
            return pl.Series(texts.name, known.read_all(texts) & np.uint64(bits) != 0)

        return text.map_batches(worth, return_dtype=pl.Boolean)


class PrivacySettings(FindSettings):
    """With ``anonymise`` every model request and every export holds placeholders in place of what is
    found."""

    anonymise: bool = True

    @property
    def finding(self) -> FindSettings:
        """What is looked for, whatever is done with it."""
        return FindSettings(kinds=self.kinds, names=self.names)

    @property
    def replaces(self) -> tuple[str, ...]:
        """The kinds that have placeholders in prompts and exports."""
        return tuple(sorted(f.kind for f in self.finders)) if self.anonymise else ()

    @property
    def identity(self) -> str:
        """What of this changes requests, and so the rows of stages that ask models."""
        return ",".join((str(VERSION), *self.replaces)) if self.replaces else ""


def find(text: str, settings: FindSettings) -> list[Found]:
    """Where personal data stands in a text: sorted, without overlaps, in characters. What is a placeholder
    already is none.

    What was found is taken out and the rest looked at again, until nothing more is found: so nothing is
    left that would be found in the masked text, and masking twice is masking once. A text in which each of
    many values hides the one before it is a place as a whole: to uncover them one by one would take time in
    proportion to its square.
    """
    found: list[Found] = []
    for _ in range(ROUNDS):
        rest = _Rest(text, found)
        more = [f for place in _find(rest.text, settings) if (f := rest.original(place)) is not None]
        if not more:
            return found
        found = sorted([*found, *more])
    return [Found(0, len(text), found[0].kind)]


def _find(text: str, settings: FindSettings) -> list[Found]:
    bits = _hints().read(text)
    found = _places(text, bits, settings)
    if bits & _hints().bits[_TOLD_APART]:
        plain = text.translate(_PLAIN)
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
        kept = np.flatnonzero(~np.isin(points, list(map(ord, _HIDDEN))))
        for start, end, kind in _places(plain, _hints().read(plain), settings):
            found.append(Found(int(kept[start]), int(kept[end - 1]) + 1, kind))
    return union(found)


def _places(text: str, bits: int, settings: FindSettings) -> list[Found]:
    """What each finder finds in a text with these hints."""
    known = _hints()

    def has(hint: Hint) -> bool:
        return bool(bits & known.bits[hint])

    return [
        Found(start, end, finder.kind)
        for finder, hinted in _finders(settings.kinds, settings.names)
        if bits & hinted
        for start, end in finder.find(text, has)
    ]


@cache
def _hints() -> Automaton:
    """Of all finders, whatever is looked for."""
    asked = (hint for finder in (*FINDERS, NAME) for hint in (*finder.hints, *finder.needs))
    return automaton([*dict.fromkeys(asked), _TOLD_APART])


@cache
def _finders(kinds: tuple[Kind, ...], names: bool) -> tuple[tuple[Finder, int], ...]:
    """Those that are asked for, each with the bits of its hints."""
    chosen = [f for f in (*FINDERS, NAME) if f.kind in kinds or (names and f is NAME)]
    return tuple((finder, _hints().of(finder.hints)) for finder in chosen)


class _Rest:
    """A text with holes where placeholders and what was found stand, and where its characters came from."""

    def __init__(self, text: str, found: Sequence[Found]) -> None:
        holes = [(start, end) for start, end, _ in found]
        if "[" in text:
            holes = sorted([*holes, *(match.span() for match in _PLACEHOLDER.finditer(text))])
        pieces: list[str] = []
        self._starts: list[int] = []
        """Of each piece between the holes, in the text with holes ..."""
        self._shifts: list[int] = []
        """... and how much further it stands in the original."""
        place = written = 0
        for start, end in [*holes, (len(text), len(text))]:
            pieces.append(text[place:start])
            self._starts.append(written)
            self._shifts.append(place - written)
            written += start - place + 1
            place = end
        self.text = _HOLE.join(pieces) if holes else text

    def original(self, found: Found) -> Found | None:
        """The place in the original; None if there is a hole in it."""
        piece = bisect_right(self._starts, found.start) - 1
        if piece + 1 < len(self._starts) and found.end >= self._starts[piece + 1]:
            return None
        shift = self._shifts[piece]
        return Found(found.start + shift, found.end + shift, found.kind)


def masked(texts: Sequence[str], settings: PrivacySettings) -> list[str]:
    """The texts of one record or request with a placeholder in place of each value."""
    if not settings.anonymise:
        return list(texts)
    return replaced(texts, [find(text, settings) for text in texts])


def masked_messages(messages: tuple[Message, ...], settings: PrivacySettings) -> tuple[Message, ...]:
    """The messages of one request: contents and arguments of tool calls, which are JSON and stay so (a number
    becomes a string). Reasoning is neither sent nor exported, and stays."""
    if not settings.anonymise:
        return messages
    texts: list[str] = []
    arguments: set[int] = set()
    for message in messages:
        texts.append(message.content)
        arguments.update(range(len(texts), len(texts) + len(message.tool_calls)))
        texts += [call.arguments for call in message.tool_calls]
    _, shown = anonymized(texts, arguments, settings)
    if shown == texts:
        return messages
    rest = iter(shown)
    made = []
    for message in messages:
        content = next(rest)
        calls = tuple(replace(call, arguments=next(rest)) for call in message.tool_calls)
        made.append(replace(message, content=content, tool_calls=calls))
    return tuple(made)


def anonymized(
    texts: Sequence[str], arguments: Set[int], settings: FindSettings
) -> tuple[list[list[Found]], list[str]]:
    """What is found in each text of one record, and the texts with placeholders. Those at the places
    ``arguments`` are of tool calls."""
    found = [
        find_in_arguments(text, settings) if place in arguments else find(text, settings)
        for place, text in enumerate(texts)
    ]
    return found, replaced(texts, found, arguments)


_ESCAPE = re.compile(
    r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)", re.DOTALL
)
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_TOKEN = re.compile(
    r"[\s\[\]{},:]++"
    r'|(?:"(?P<string>[^"\\]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\]*+)*+)"'
    r"|(?P<number>-?[0-9][0-9.eE+-]*+)|true|false|null|NaN|-?Infinity)(?=\s*+(?:[\[\]{},:]|\Z))"
)
_BARE = re.compile(rf'("(?:[^"\\]++|\\.)*+")|(\[(?:{_TAG})_[0-9]{{1,6}}\])', re.DOTALL)


def find_in_arguments(text: str, settings: FindSettings) -> list[Found]:
    """``find`` in the arguments of a tool call, places in the text as it was written. The finders see what
    the escapes of JSON spell, and names beside values, which say what these are. A place is within one
    string, or a whole number; in what is no JSON, or is cut off, it may be anywhere, as written or as spelt.
    """
    plain, starts, shifts = _unescaped(text)

    def written(at: int) -> int:
        return at + shifts[bisect_right(starts, at) - 1]

    spelt = [Found(written(start), written(end), kind) for start, end, kind in find(plain, settings)]
    values = _values(text)
    if values is None:
        return union([*spelt, *find(text, settings)]) if len(shifts) > 1 else spelt
    made: list[Found] = []
    value = done = 0
    for start, end, kind in spelt:
        while value < len(values) and values[value][0] < end:
            first, last, string = values[value]
            place = Found(max(first, start), min(last, end), kind) if string else Found(first, last, kind)
            if last > start and place.start >= done and any(map(str.isalnum, text[place.start : place.end])):
                made.append(place)
                done = place.end
            if last > end:  # the next one may be in it, too
                break
            value += 1
    return made


def _values(text: str) -> list[tuple[int, int, bool]] | None:
    """Where the strings, without quotes, and the numbers of JSON stand, and which are strings; None if it is
    no JSON. Tokens are read and nothing is built: nesting costs no stack, no digit or double key is lost."""
    values = []
    done = 0
    while done < len(text):
        token = _TOKEN.match(text, done)
        if token is None:
            return None
        if token.lastgroup:
            values.append((*token.span(token.lastgroup), token.lastgroup == "string"))
        done = token.end()
    return values


def _unescaped(text: str) -> tuple[str, list[int], list[int]]:
    """What the escapes in it spell; where pieces of that begin, and how much further each is in ``text``."""
    pieces: list[str] = []
    starts, shifts = [0], [0]
    done = written = 0
    for escape in _ESCAPE.finditer(text):
        high, low, unit, letter = escape.groups()
        if high:
            spelt = chr(0x10000 + ((int(high, 16) & 0x3FF) << 10 | int(low, 16) & 0x3FF))
        else:
            spelt = chr(int(unit, 16)) if unit else _LETTERS.get(letter, letter)
        pieces += (text[done : escape.start()], spelt)
        written += escape.start() - done + 1
        done = escape.end()
        starts.append(written)
        shifts.append(done - written)
    pieces.append(text[done:])
    return "".join(pieces), starts, shifts


def masked_frame(frame: pl.DataFrame, columns: Sequence[str], settings: PrivacySettings) -> pl.DataFrame:
    """Rows whose ``columns`` are lists of messages, each row masked as one record over all of them, in the
    order of the columns. Rows in which nothing can be are not looked at."""
    if not settings.anonymise or not columns or not frame.height:
        return frame
    content = settings.candidates(pl.element().struct.field("content"))
    worth = frame.select(
        pl.any_horizontal(pl.col(name).list.eval(content).list.any() for name in columns).fill_null(False)
    ).to_series()
    rows = frame.with_row_index("_row").filter(worth)
    if not rows.height:
        return frame
    made = []
    for row in rows.iter_rows(named=True):
        turns = [turn for name in columns for turn in row[name] or ()]
        shown = masked([turn["content"] or "" for turn in turns], settings)
        for turn, text in zip(turns, shown, strict=True):
            turn["content"] = text if turn["content"] is not None else None
        made.append(row)
    others = frame.with_row_index("_row").filter(~worth)
    return pl.concat([others, pl.DataFrame(made, schema=rows.schema)]).sort("_row").drop("_row")


def replaced(
    texts: Sequence[str], found: Sequence[Sequence[Found]], arguments: Set[int] = frozenset()
) -> list[str]:
    """The texts of one record with placeholders in place of what was found in each. Those at the places
    ``arguments`` are of tool calls: JSON stays JSON."""
    if not any(found):
        return list(texts)
    known: dict[tuple[Kind, str], int] = {}
    last: dict[str, int] = defaultdict(int)
    made = []
    for number, (text, places) in enumerate(zip(texts, found, strict=True)):
        pieces = []
        done = 0
        for start, end, kind in places:
            pieces.append(_passed(text[done:start], last))
            said = _unescaped(text[start:end])[0] if number in arguments else text[start:end]
            value = kind, "".join(filter(str.isalnum, said.translate(_WIDE).casefold()))
            tag = kind.upper()
            if value not in known:
                known[value] = last[tag] = last[tag] + 1
            pieces.append(f"[{tag}_{known[value]}]")
            done = end
        pieces.append(_passed(text[done:], last))
        shown = "".join(pieces)
        if places and number in arguments and _values(text) is not None:
            shown = _BARE.sub(lambda bare: bare[1] or f'"{bare[2]}"', shown)
        made.append(shown)
    return made


def _passed(text: str, last: dict[str, int]) -> str:
    """``text``, whose placeholders take their numbers."""
    if "[" in text:
        for tag, number in _PLACEHOLDER.findall(text):
            last[tag] = max(last[tag], int(number))
    return text


def restored(found: Sequence[Found], shown: str, start: int, end: int) -> tuple[int, int]:
    """Characters ``[start, end)`` of ``shown``, the masked form of a text in which this was ``found``, as
    characters of the text itself. A placeholder counts as a whole."""
    shift = 0
    first = last = None
    for place in found:
        written = place.start + shift
        tag = _PLACEHOLDER.match(shown, written)
        after = tag.end() if tag else written
        if first is None and start < after:
            first = place.start if start >= written else start - shift
        if last is None and end <= after:
            last = place.end if end > written else end - shift
        shift = after - place.end
    return (start - shift if first is None else first), (end - shift if last is None else last)
