"""Numbers of identity cards, passports and licence plates.

Sources: GB 11643-1999 (18 digits: region of GB/T 2260, date of birth, sequence, check character by ISO 7064
MOD 11-2); the US Social Security Administration's rules on numbers never given (areas 000, 666 and 9xx,
group 00, serial 0000); Hong Kong's card with its check digit in brackets; GA 36-2018 for Chinese plates.
Synthetic and mistyped card numbers rarely check, so a word for the card in the same sentence stands in for
the check; a bare number that does not check is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from string import ascii_letters

from hydata.privacy.finder import FOLDED, Finder, Place, digits, matches_at, near, places, words
from hydata.privacy.hints import DIGIT, NUMBER, UPPER, Has, Hint, Maybe

# --- identity cards --------------------------------------------------------------------------------------

_CHINESE = re.compile(
    r"[1-9](?<![0-9A-Za-z_.][1-9])[0-9]{5} ?(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|"
    r"3[01]) ?[0-9]{3}[0-9Xx]"
    r"(?![0-9A-Za-z_]|[.,][0-9])"
)
_REGIONS = frozenset(
    words(
        "11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 "
        "71 81 82 83"
    )
)
_SSN = re.compile(
    r"[0-8](?<![0-9A-Za-z_.-][0-8])(?!(?<=0)00|(?<=6)66)[0-9]{2}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z_-]|[.,][0-9])"
)
_HONG_KONG = re.compile(r"(?<![0-9A-Za-z_.])[A-Z]{1,2}[0-9]{6} ?[(（][0-9A][)）]")
_NUMBERED = re.compile(
    r"(?<![0-9A-Za-z_.])(?:[A-Za-z]{0,3}+[0-9](?:[ /-]?[0-9]){4,17}[A-Za-z]{0,2})(?![0-9A-Za-z_]|[.,][0-9])"
)
_CARD = re.compile(
    r"(?<![a-z])(?=[incstad])"
    r"(?:id(?:entity|entification)?[ -]?(?:card)?[ -]?(?:numbers?|no\.?|#)|"
    r"id(?:entity|entification)? cards?|"
    r"national (?:id|identification|identity)|citizen(?:ship)? (?:id|number)|"
    r"social security(?: (?:number|no\.?|#))?|ssn|sin|"
    r"nino|national insurance(?: number)?|tax(?:payer)? (?:id|identification)|itin|aadhaa?r(?: number)?|"
    r"driver'?s?'? licen[cs]e(?: (?:number|no\.?|#))?|driving licen[cs]e(?: (?:number|no\.?))?)(?![a-z])"
    r"|(?=[身居证社驾公])(?:身份证|身分證|居民证|证件号|社会保障号|社保号|驾驶证|驾照|公民身份号码)",
    re.IGNORECASE,
)


def checks(number: str) -> bool:
    """Whether an 18-digit number is of a Chinese region and its last character checks (ISO 7064 MOD 11-2)."""
    total = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(number[:17]))
    return number[:2] in _REGIONS and "10X98765432"[total % 11] == number[17].upper()


def _checks_hong_kong(number: str) -> bool:
    letters = "".join(c for c in number if c.isalnum()).rjust(9)
    values = [36 if c == " " else int(c, 36) for c in letters[:8]]
    last = 10 if letters[8] == "A" else int(letters[8])
    return (
        sum(value * weight for value, weight in zip(values, range(9, 1, -1), strict=True)) + last
    ) % 11 == 0


_IN_HONG_KONG = Hint(shapes=((UPPER, *6 * (DIGIT,), Maybe(" "), "(（"),))
_CALLED_CARD = Hint(
    (
        *("identity", "identification", "national", "citizen", "social security", "ssn", "sin", "nino"),
        *("taxpayer id", "tax id", "itin", "aadha", "driver", "driving", "id card", "id-card", "idcard"),
        *words("身份证 身分證 居民证 证件号 社会保障号 社保号 驾驶证 驾照 公民身份号码"),
    ),
    (
        FOLDED,
        *(("iI", "dD", Maybe(" -"), Maybe(" -"), *more) for more in (("nN", "oOuU"), ("#",))),
    ),
)


def find_id_cards(text: str, has: Has) -> Iterator[Place]:
    """Numbers that check, or have the form of a US social security number; others beside a word for a
    card."""
    for match in _CHINESE.finditer(text):
        if checks(match[0].replace(" ", "")):
            yield match.span()
    yield from places(_SSN.finditer(text))
    for match in _HONG_KONG.finditer(text) if has(_IN_HONG_KONG) else ():
        if _checks_hong_kong(match[0]):
            yield match.span()
    if not has(_CALLED_CARD):
        return
    for match in matches_at(_numbers(text), _NUMBERED, text):
        if (
            len(digits(match[0])) >= 7
            and near(text, match.start(), _CARD, 48)
            and not _DATE.fullmatch(match[0])
        ):
            yield match.span()


def _numbers(text: str) -> Iterator[int]:
    """Where a number of five digits begins, or up to three letters before it."""
    for match in _FIVE.finditer(text):
        before = text[max(0, match.start() - 3) : match.start()]
        yield match.start() - len(before) + len(before.rstrip(ascii_letters))


_FIVE = re.compile(r"[0-9](?<![0-9][0-9])(?=(?:[ /-]?[0-9]){4})")
_DATE = re.compile(
    r"(?:19|20)[0-9]{2}[-/ ][0-9]{1,2}[-/ ][0-9]{1,2}|[0-9]{1,2}[-/ ][0-9]{1,2}[-/ ](?:19|20)[0-9]{2}"
)

ID_CARD = Finder("id_card", find_id_cards, hints=(NUMBER,), needs=(_IN_HONG_KONG, _CALLED_CARD))

# --- passports -------------------------------------------------------------------------------------------

_PASSPORT = re.compile(
    r"(?<![0-9A-Za-z_])(?:[A-Z]{1,2}[0-9]{6,8}|[0-9]{9}|[A-Z][0-9]{2}[A-Z]{2}[0-9]{4})(?![0-9A-Za-z_])"
)
_PASSPORT_WORD = re.compile(r"passport|护照|護照", re.IGNORECASE)


def find_passports(text: str, _: Has) -> Iterator[Place]:
    """Numbers in the form of ICAO Doc 9303 (letters and digits, up to nine) in a sentence on a passport."""
    for match in _PASSPORT.finditer(text):
        if near(text, match.start(), _PASSPORT_WORD, 48):
            yield match.span()


PASSPORT = Finder("passport", find_passports, hints=(Hint(("passport", "护照", "護照"), (FOLDED,)),))

# --- plates ----------------------------------------------------------------------------------------------

_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_CHINESE_PLATE = re.compile(
    rf"[{_PROVINCES}][A-HJ-NP-Z][ ·•.-]?(?=[A-Z0-9]{{0,4}}[0-9][A-Z0-9]{{0,4}}[0-9])"
    r"(?:[A-HJ-NP-Z0-9]{5}|[A-HJ-NP-Z0-9]{6}|[A-HJ-NP-Z0-9]{4}[挂学警港澳])(?![0-9A-Za-z_])"
)
_PLATE = re.compile(
    r"(?<![0-9A-Za-z_-])[A-Z0-9]{1,4}(?:[ -][A-Z0-9]{1,4}){1,2}(?![0-9A-Za-z_-])|"
    r"(?<![0-9A-Za-z_-])[A-Z0-9]{5,8}(?![0-9A-Za-z_-])"
)
_PLATE_WORD = re.compile(
    r"licen[cs]e plates?|number plates?|registration (?:plates?|number|no)|"
    r"(?<![a-z])plates?(?: (?:number|no)| is| was|:)|"
    r"(?<![a-z])tags? number|车牌|牌照|号牌",
    re.IGNORECASE,
)


_LATIN = "ABCDEFGHJKLMNPQRSTUVWXYZ"
_IN_CHINA = Hint(shapes=((_PROVINCES, _LATIN, Maybe(" ·•.-"), *4 * (_LATIN + DIGIT,)),))
_CALLED_PLATE = Hint(
    ("plate", "registration n", "tag number", "tags number", "车牌", "牌照", "号牌"), (FOLDED,)
)


def find_plates(text: str, has: Has) -> Iterator[Place]:
    """Chinese plates by their form; those of other countries, letters and digits, beside a word for one."""
    if has(_IN_CHINA):
        yield from places(_CHINESE_PLATE.finditer(text))
    if not has(_CALLED_PLATE) or not _PLATE_WORD.search(text):
        return
    for match in _PLATE.finditer(text):
        both = any(c.isdigit() for c in match[0]) and any(c.isalpha() for c in match[0])
        if both and 4 <= len(match[0].replace(" ", "")) <= 9 and near(text, match.start(), _PLATE_WORD, 32):
            yield match.span()


PLATE = Finder("plate", find_plates, hints=(_CALLED_PLATE, _IN_CHINA))
