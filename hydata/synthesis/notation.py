"""How numbers, dates and units are written, in English and Chinese.

Plain functions over short pieces of text, for ``answers``: 三分之二 and 3.5万 worked out, 十二个 in digits,
2023年5月1日 as an ISO date, 公里 as ``km``.
"""

from __future__ import annotations

import re
from fractions import Fraction

WINDOW = 80
"""Characters in which a unit is looked for; a date may stand in four times as many."""

LONGEST = 60
"""Characters of a numeral; hostile ones have thousands, which int and str refuse."""


def decimal(value: Fraction) -> str:
    """``value`` exactly: as a decimal if it ends within 20 places, else as a fraction."""
    places = 0
    while places < 20 and 10**places % value.denominator:
        places += 1
    if 10**places % value.denominator:
        return str(value)
    digits = f"{abs(value.numerator) * (10**places // value.denominator):0{places + 1}d}"
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}" if places else f"{sign}{digits}"


# --- Chinese numerals -------------------------------------------------------------------------------

_DIGIT = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_SCALE = {"十": 10, "百": 100, "千": 1_000, "万": 10**4, "亿": 10**8}
_NUMERAL = "[零〇一二两三四五六七八九十百千万亿]"
_COUNTED = "[个只元天人年月日本次岁倍条名张棵辆米千位件支种块页组度号点分秒时斤克厘毫公平立吨升]"
_PART = rf"(?:\d{{1,30}}(?:\.\d{{1,30}})?|{_NUMERAL}{{1,30}}(?:点{_NUMERAL}{{1,30}})?)"
_OF = re.compile(rf"(?P<sign>负)?(?:(?P<whole>{_PART})又)?(?P<under>{_PART})分之(?P<over>{_PART})")
_MEASURED = "(?![米克瓦卡赫焦牛帕伏])"  # 5千米 is 5 km
_SCALED = re.compile(
    rf"\d[\d,]{{0,30}}(?:\.\d{{1,30}})?\s*(?:[万亿百]|千{_MEASURED})(?:\d{{0,12}}(?:[万亿百]|千{_MEASURED})?){{0,4}}"
)
_WRITTEN = re.compile(
    rf"(?<![几数上\d])(?P<sign>负)?(?P<value>{_NUMERAL}+(?:点[零〇一二三四五六七八九]+)?)"
    rf"(?=\s*(?:{_COUNTED}|\Z|[，。,.;；%％)）]))"
)
_ANNOUNCED = re.compile(
    rf"(?:^|[=：:]|共有?|[总合]计|剩[下余]?|等于|得到?|(?:有|是|为|需要?|[要付花用赚])(?!一{_COUNTED}))(?:[了约]|大约|\s){{0,3}}"
    rf"{_NUMERAL}{{0,40}}(?:半{_COUNTED}|点?{_NUMERAL}(?=\s*(?:{_COUNTED}|[，。；]|\Z)))(?:{_COUNTED}半)?",
    re.MULTILINE,
)
_HALF = re.compile(rf"(?<![上下前后大多小对各过{_NUMERAL[1:-1]}])半(?=小时|{_COUNTED})")
_AND_HALF = re.compile(r"(?<![\d.])(\d{1,9})([个年天月])半")
_VAGUE = re.compile(rf"\s*(?:几|[多余来]{_COUNTED})")


def chinese_value(text: str) -> Fraction | None:
    """三百二十 is 320, 二点五 is 2.5; digits are read as they stand. None for what is no number, or a longer
    one than anybody writes."""
    if len(text) > LONGEST:
        return None
    whole, _, places = text.partition("点")
    if re.fullmatch(r"\d+(?:\.\d+)?", whole):
        return Fraction(whole)
    total = section = digit = 0
    if len(whole) > 1 and all(c in _DIGIT for c in whole):  # digit by digit, as years are read
        total = int("".join(str(_DIGIT[c]) for c in whole))
    else:
        for c in whole:
            if c in _DIGIT:
                digit = _DIGIT[c]
            elif (scale := _SCALE[c]) < 10**4:
                section, digit = section + (digit or 1) * scale, 0
            elif c == "万":
                total, section, digit = total + (section + digit) * scale, 0, 0
            else:
                total, section, digit = (total + section + digit) * scale, 0, 0
    value = Fraction(total + section + digit)
    if places:
        value += Fraction(int("".join(str(_DIGIT[c]) for c in places)), 10 ** len(places))
    return value


def worked_out(text: str) -> str:
    """三分之二 as 2/3, 百分之五 as 5%, 3.5万 as 35000."""

    def of(m: re.Match[str]) -> str:
        over = chinese_value(m["over"])
        under = Fraction(100) if m["under"] == "百" else chinese_value(m["under"])
        whole = chinese_value(m["whole"]) if m["whole"] else Fraction(0)
        if over is None or whole is None or not under:
            return m[0]
        sign = "-" if m["sign"] else ""
        return f" {sign}{decimal(over)}%" if m["under"] == "百" else f" {sign}{whole + over / under}"

    def scaled(m: re.Match[str]) -> str:
        total = part = Fraction(0)
        for number, scale in re.findall(r"([\d.]+)?([万亿千百])?", re.sub(r"[,\s]", "", m[0])):
            if number:
                part += Fraction(number) * (_SCALE[scale] if scale in ("千", "百") else 1)
            if scale == "万":
                total, part = total + part * _SCALE[scale], Fraction(0)
            elif scale == "亿":
                total, part = (total + part) * _SCALE[scale], Fraction(0)
        return decimal(total + part)

    return _SCALED.sub(scaled, _OF.sub(of, text)) if re.search("分之|[万亿千百]", text) else text


def in_digits(text: str) -> str:
    """Written numerals before a measure word or at an end as digits: 十二个 is 12个, 两个半 2.5个, but 一共
    stays and so does 几十个."""

    def written(m: re.Match[str]) -> str:
        value = chinese_value(m["value"])
        return m[0] if value is None else f"{'-' if m['sign'] else ''}{decimal(value)}"

    text = _WRITTEN.sub(written, text.replace("一半", "1/2"))
    return _HALF.sub("1/2", _AND_HALF.sub(r"\1.5\2", text))


def announced(text: str) -> str:
    """The same only where a result is told: 一共有七个, 还剩两本, but not 这是一个简单的问题."""
    return _ANNOUNCED.sub(lambda m: in_digits(m[0]) if m[0] else "", text)


def is_vague(behind: str) -> bool:
    """Whether what stands behind a number makes it none: 20多个, 10几."""
    return _VAGUE.match(behind) is not None


# --- dates ------------------------------------------------------------------------------------------

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            ("jan", "january"),
            ("feb", "february"),
            ("mar", "march"),
            ("apr", "april"),
            ("may",),
            ("jun", "june"),
            ("jul", "july"),
            ("aug", "august"),
            ("sep", "sept", "september"),
            ("oct", "october"),
            ("nov", "november"),
            ("dec", "december"),
        ),
        1,
    )
    for name in names
}
_MONTH = "(?P<month>" + "|".join(sorted(_MONTHS, key=len, reverse=True)) + r")\.?"
_DATES = (
    re.compile(
        r"(?:公元)?(?P<year>\d{4}|[零〇一二三四五六七八九]{4})年(?:(?P<month>\d{1,2}|十[一二]?|[一二三四五六七八九])月"
        r"(?:(?P<day>\d{1,2}|[一二三]?十?[一二三四五六七八九]?)[日号])?)?"
    ),
    re.compile(
        r"(?P<month>\d{1,2}|十[一二]?|[一二三四五六七八九])月(?P<day>\d{1,2}|[一二三]?十?[一二三四五六七八九]?)[日号]"
    ),
    re.compile(r"\b(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})\b"),
    re.compile(
        rf"\b{_MONTH}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,?\s+(?P<year>\d{{4}}))?", re.IGNORECASE
    ),
    re.compile(
        rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>\d{{4}}))?\b",
        re.IGNORECASE,
    ),
    re.compile(rf"\b{_MONTH},?\s+(?:of\s+)?(?P<year>\d{{4}})\b", re.IGNORECASE),
)


def iso_date(text: str) -> str | None:
    """The first date of ``text`` as ISO 8601, or as much of it as is said: ``2023-05-01``, ``2023-05``,
    ``--05-01``. 5/1/2023 is no date: who wrote it may mean January."""
    for pattern in _DATES:
        if (found := pattern.search(text[: 4 * WINDOW])) is not None:
            parts = found.groupdict()
            year = parts.get("year")
            month, day = (_date_part(parts.get(name)) for name in ("month", "day"))
            if year and not year.isdecimal():
                year = "".join(str(_DIGIT[c]) for c in year)
            if (month or 1) <= 12 and (day or 1) <= 31 and 0 not in (month, day):
                return (year or "-") + (f"-{month:02}" if month else "") + (f"-{day:02}" if day else "")
    return None


def _date_part(text: str | None) -> int | None:
    if not text:
        return None
    if text.isdecimal():
        return int(text)
    value = _MONTHS.get(text.lower()) or chinese_value(text)
    return None if value is None else int(value)


# --- units ------------------------------------------------------------------------------------------

SCALE = "scale"
"""The dimension of million: it measures nothing, and who is asked for millions leaves it out."""
_TABLE: dict[str, tuple[str, ...]] = {
    "length": (
        "mm 0.001 millimeter millimetre 毫米",
        "cm 0.01 centimeter centimetre 厘米 公分",
        "m 1 meter metre 米",
        "km 1000 kilometer kilometre 公里 千米",
        "inch 0.0254 英寸",
        "foot 0.3048 feet ft 英尺",
        "yard 0.9144 码",
        "mile 1609.344 英里",
    ),
    "mass": (
        "mg 0.001 milligram 毫克",
        "g 1 gram 克",
        "kg 1000 kilogram kilo 千克 公斤",
        "ton 1000000 tonne 吨",
        "pound 453.59237 lb 磅",
        "ounce 28.349523125 oz 盎司",
        "jin 500 斤",
    ),
    "time": (
        "second 1 sec 秒 秒钟",
        "minute 60 min 分钟",
        "hour 3600 hr 小时 个小时",
        "day 86400 天",
        "week 604800 周 星期 个星期",
    ),
    "volume": ("ml 0.001 milliliter millilitre 毫升", "l 1 liter litre 升"),
    "dollar": ("cent 0.01 美分", "dollar 1 usd 美元"),
    SCALE: ("thousand 1000", "million 1000000", "billion 1000000000", "trillion 1000000000000"),
    "yuan": ("jiao 0.1 角", "yuan 1 rmb 元 块 块钱"),
}
UNITS: dict[str, tuple[str, Fraction]] = {}
"""By unit: what it measures, and how many of that dimension's base unit it is."""
_SPELLED: dict[str, str] = {}
for _dimension, _entries in _TABLE.items():
    for _name, _factor, *_others in map(str.split, _entries):
        UNITS[_name] = (_dimension, Fraction(_factor))
        _SPELLED.update(dict.fromkeys((_name, *_others), _name))
_LONGEST_FIRST = sorted(_SPELLED, key=len, reverse=True)
_UNIT = re.compile(
    rf"\s*-?(?:({'|'.join(s for s in _LONGEST_FIRST if s.isascii())})(?:e?s)?(?![A-Za-z²³^/])"
    rf"|({'|'.join(s for s in _LONGEST_FIRST if not s.isascii())})(?![²³/方每]))",
    re.IGNORECASE,
)


def unit_of(behind: str) -> str | None:
    """The unit that a number's following text begins with; None if it has none, or one not in ``UNITS``."""
    found = _UNIT.match(behind[:WINDOW])
    return None if found is None else _spelled(found)


_FURTHER = re.compile(r"\s*(?:and\s|零|又)?\s*(\d{1,9}(?:\.\d{1,9})?)")


def in_one_unit(behind: str) -> tuple[Fraction, int]:
    """What the smaller units behind a number add to it, and where they end: " hours 30 minutes" is another
    half, 元5角 too."""
    behind = behind[:WINDOW]
    added, end = Fraction(0), 0
    if (found := _UNIT.match(behind)) is None:
        return added, end
    dimension, whole = UNITS[_spelled(found)]
    smallest = whole
    while (number := _FURTHER.match(behind, found.end())) and (found := _UNIT.match(behind, number.end())):
        measured, factor = UNITS[_spelled(found)]
        if measured != dimension or factor >= smallest:
            break
        added, end, smallest = added + Fraction(number[1]) * factor / whole, found.end(), factor
    return added, end


def _spelled(unit: re.Match[str]) -> str:
    return _SPELLED[(unit[1] or unit[2]).lower()]
