"""What a paraphrase or a translation keeps: the numbers of a problem and the names in it.

Numbers are read from digits and words, in English and Chinese (``twenty-five``, ``3.5万``, ``二十五``), and
what multiplies or divides as the number by which it does (``twice``, ``half``, ``两倍``). ``one`` and
``一`` are articles as often as numbers: 1 does not count, nor do ordinals."""

from __future__ import annotations

import re
import unicodedata

_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_BY_TEN = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SMALL = {word: value for value, word in enumerate(_UNITS.split())} | {
    word: 10 * value for value, word in enumerate(_BY_TEN, 2)
}
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9}
_FACTORS = {
    word: value
    for value, words in (
        (2.0, "twice double doubles doubled half halves halved couple pair"),
        (3.0, "thrice triple triples tripled"),
        (4.0, "quadruple quarter quarters"),
        (12.0, "dozen dozens"),
    )
    for word in words.split()
}
_DIGITS = {c: float(value) for value, c in enumerate("零一二三四五六七八九")} | {"〇": 0.0, "两": 2.0}
_TENS = {"十": 1e1, "百": 1e2, "千": 1e3}
_MYRIADS = {"万": 1e4, "亿": 1e8}
_AFTER_DIGITS = _SCALES | _MYRIADS
_TOKEN = re.compile(
    r"(?P<digits>[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?)(?: ?(?P<scale>hundred|thousand|million|billion|万|亿))?"
    r"|(?P<word>[a-z]+)|(?P<half>一?半)"
    r"|第[零〇一二三四五六七八九十百]+|[百千](?=[克米瓦卡赫伏分])"  # ordinals and units
    r"|(?P<han>(?:[零〇一二两三四五六七八九十百万亿]|千(?![克米瓦卡赫伏]))+)"
)
_NAME = re.compile(r"[A-Z][A-Za-z]+")
_INSIDE = re.compile(r"(?:[a-z0-9,;)] )([A-Z][A-Za-z]+)|([A-Z][A-Za-z]+)(?=['’]s\b)")
_MARKER = re.compile(r"(?m)^[^\S\n]*\(?[0-9]{1,2}[.)、:：](?![0-9])")
"""A list's numbering, which counts nothing."""
LONGEST = 18
"""Digits of a number that is told from its neighbours."""


def figures(text: str) -> frozenset[float]:
    """The different numbers in a text."""
    found: set[float] = set()
    total = current = 0.0
    inside = False

    def end() -> None:
        nonlocal total, current, inside
        if inside:
            found.add(total + current)
        total = current = 0.0
        inside = False

    last = 0
    for match in _TOKEN.finditer(_MARKER.sub(" ", unicodedata.normalize("NFKC", text).lower())):
        word = match["word"]
        if inside and (word is None or match.start() - last > 1):
            end()
        last = match.end()
        if match["digits"]:
            value = float(match["digits"].replace(",", "")[:LONGEST])
            found.add(value * _AFTER_DIGITS.get(match["scale"] or "", 1.0))
        elif match["half"]:
            found.add(2.0)
        elif match["han"]:
            found.update(value for value in [_chinese(match["han"])] if value > 1)
        elif word is None:
            continue
        elif word in _SMALL:
            value = _SMALL[word]
            after_tens = current % 100 >= 20 and current % 10 == 0 and value < 10
            if inside and not after_tens and current % 100:
                end()
            current, inside = current + value, True
        elif word in _SCALES and inside:
            scale = _SCALES[word]
            if scale == 1e2:
                current *= scale
            else:
                total, current = total + current * scale, 0.0
        elif word in _FACTORS:
            end()
            found.add(_FACTORS[word])
        elif word != "and":
            end()
    end()
    return frozenset(found - {1.0})


def _chinese(numeral: str) -> float:
    total = section = digit = 0.0
    for c in numeral[:LONGEST]:
        if c in _DIGITS:
            digit = digit * 10 + _DIGITS[c] if digit and section == 0 else _DIGITS[c]
        elif c in _TENS:
            section, digit = section + (digit or 1) * _TENS[c], 0.0
        else:  # 亿 is of all that stands before it, 万 of what has no such word yet
            before, total = (total, 0.0) if c == "亿" else (0.0, total)
            total, section, digit = total + (before + section + digit or 1) * _MYRIADS[c], 0.0, 0.0
    return total + section + digit


def names(text: str) -> frozenset[str]:
    """Words that begin with a capital where no sentence does, or own something."""
    return frozenset(inside or owner for inside, owner in _INSIDE.findall(text))


def capitalised(text: str) -> frozenset[str]:
    """All words that begin with a capital."""
    return frozenset(_NAME.findall(text))
