"""Final answers: whether a question has one that can be compared, and what a text gives as it.

A question is *objective* when its own words ask for one of these (``answer_form``):

- a choice: it lists at least two lettered options;
- a truth value: it says true or false, yes or no, 对错, 是否正确;
- a date: it asks on what day or in what year;
- a number: it asks for a quantity or a result, and has a digit, a number word or a formula in it;
- a text: it asks what a program prints, or for one word.

``extract_answer`` looks for the answer where writers put it: in a box, after "the answer is" or 答案是, in
the output that a program printed, on a line of its own, and for numbers at last the text's final number.
What stands behind the mark and cannot be read is a failed extraction, not an invitation to take another
number of the text: ``None``, and such a text has no vote. What is found is normalised (thousands
separators, decimals, fractions, percent, 三分之二, 3.5万, units, currency), so that equal plain answers are
equal; formulas stay LaTeX, to be compared by ``equivalence``.

Texts are hostile: only the last ``TAIL`` characters are searched, and no expression here is worse than
linear in them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from hydata.synthesis.notation import decimal, in_digits, iso_date, unit_of, worked_out

Form = Literal["choice", "truth", "number", "date", "text", "any"]
"""What is asked for; ``any`` reads what there is, for questions whose words do not tell."""
Kind = Literal["choice", "truth", "number", "math", "date", "text"]

TAIL = 64_000
"""Characters from the end of a text that are searched for its answer."""
LEAD = 50
"""Behind a mark the answer begins within so many characters (as in math-verify's patterns); else prose."""
SHORT = 80
"""The longest answer that is a text: more is prose."""
DIGITS = 60
"""The longest number that is read as one; a longer one is compared as text."""


@dataclass(frozen=True, order=True)
class Answer:
    """A final answer, normalised. ``text`` is the plain number ("1200.5", "2/3"), the letter, the ISO date,
    the lower-case text, or the LaTeX of a formula; ``unit`` is a unit of ``UNITS``, if it had one."""

    kind: Kind
    text: str
    unit: str | None = None

    @property
    def value(self) -> Fraction:
        """The value of a number, in its unit."""
        return Fraction(self.text)


# --- what is asked for ------------------------------------------------------------------------------

_OPTION = re.compile(r"(?:\A|[\s(（,，;；?？。])([A-Ha-h])\s*[.)、．）:：]\s*(?=\S)")
_TRUTH = re.compile(
    r"\btrue or false\b|\bright or wrong\b|\byes or no\b|\bis (?:it|this|that) (?:true|correct)\b"
    r"|对还是错|是对是错|判断.{0,12}(?:对错|正误|真假)|是否正确|正确还是错误|对吗[?？]?\s*\Z",
    re.IGNORECASE,
)
_QUANTITIES = (
    "value|sum|number|total|amount|product|difference|quotient|remainder|average|mean|median|probability"
    "|percent|percentage|ratio|rate|area|perimeter|volume|length|distance|depth|height|weights?|capacity"
    "|temp(?:erature)?|speed|cost|price|profit|pension|change|grade|age|place|degrees|result"
)
_QUANTITY = re.compile(
    r"\bhow (?:many|much|long|far|old|fast|tall|big|heavy|deep|often)\b"
    r"|\b(?:calculate|compute|evaluate|simplify|solve for)\b"
    rf"|\bwhat(?:'s|’s)?\b[^?]{{0,100}}\b(?:{_QUANTITIES})\b"
    rf"|\b(?:find|determine|give)\b.{{0,60}}\b(?:{_QUANTITIES})\b"
    r"|\bwhat (?:is|are|does)\b[^?]{0,40}(?:\d\s*[-+*/^×÷]|\$|equal)"
    r"|\b(?:find|determine|express|convert|what)\b.{0,200}\$"
    r"|多少|百分之几|几分之几|[共有是要需]几|第几|几[个只元天人年本次岁倍分条名张棵辆米千]|计算|化简|求[^职助证]|等于",
    re.IGNORECASE | re.DOTALL,
)
_HAS_NUMBER = re.compile(
    r"\d|\$|\\|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|half|twice|third|quarter"
    r"|double)\b|[一二三四五六七八九十百千两半][个只元天人年本次岁倍分条名张棵辆米千位件支]",
    re.IGNORECASE,
)
_DATE_ASKED = re.compile(
    r"\b(?:on|in) (?:what|which) (?:date|day|month|year)\b|\bwhat (?:date|day|year)\b"
    r"|\bwhat (?:is|was) the date\b|\b(?:give|state) the (?:date|year)\b"
    r"|几月几[日号]|哪一?[天年日]|哪个日期|日期是(?:什么|多少)|何年何月|公元几",
    re.IGNORECASE,
)
_TEXT_ASKED = re.compile(
    r"\b(?:what|which) (?:does|will|would|is|are)\b[^?]{0,80}\b(?:print|printed|output|outputs)\b"
    r"|\b(?:in|with|as) (?:one|a single|exactly one) (?:word|name|phrase)\b|\bfinal answer only\b|\\boxed"
    r"|(?:输出|打印)(?:的)?(?:结果)?(?:是|为)?(?:什么|多少)|用一个词|只(?:需)?(?:回答|写出|给出)",
    re.IGNORECASE,
)


def answer_form(question: str) -> Form | None:
    """What kind of final answer ``question`` asks for; None if it is not objective."""
    question = _ends(question)
    letters = {match.upper() for match in _OPTION.findall(question)}
    if {"A", "B"} <= letters:
        return "choice"
    if _TRUTH.search(question):
        return "truth"
    if _DATE_ASKED.search(question):
        return "date"
    if _TEXT_ASKED.search(question):
        return "any"
    if _QUANTITY.search(question) and _HAS_NUMBER.search(question):
        return "number"
    return None


def asks_percent(question: str) -> bool:
    """Whether the answer is expected in percent."""
    return re.search(r"percent|%|百分", _ends(question), re.IGNORECASE) is not None


def _ends(text: str) -> str:
    """A long text without its middle."""
    return text if len(text) <= TAIL else f"{text[: TAIL // 2]}\n{text[-TAIL // 2 :]}"


# --- where it stands --------------------------------------------------------------------------------

_MARKED = re.compile(
    r"(?:\b(?:final |correct |right )?answer(?: to [^.:\n]{1,60}| \([^()\n]{1,30}\))?\s*(?:is|are|:|=)"
    r"|^A:|####"
    r"|\b(?:correct|right) (?:option|choice)\s*(?:is|:)"
    r"|(?:最终|正确|最后的?)?(?:答案|结果|选项)\s*(?:是|为|应为|应该是|应?选|[:：])|故选|应选|因此选|所以选|(?:本题|我)选择?|^选择?(?=[\s(（]*[A-HＡ-Ｈ])|^答[:：])"
    r"[\s:：]*",
    re.IGNORECASE | re.MULTILINE,
)
_CLAUSE_END = re.compile(r"\n|。|；|[.!](?=\s|\Z)")
_INLINE_MATH = re.compile(
    r"\s*\**(?:\$\$?(?=\S)(.+?)(?<=\S)\$\$?(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])", re.DOTALL
)
_OUTPUT = re.compile(r"```output[ \t]*\n(.*?)(?:\n?```|\Z)", re.DOTALL)
_THOUGHT = "</think>"
_ALONE = re.compile(r"[(（*]*([A-H])(?:[)）*.．、:：]|\Z)")
_FIRST_WORD = re.compile(r"[\s,.!，。！、:：]")
_MARKS = 8
"""So many boxes or marks are tried, from the last one back."""


def extract_answer(text: str, form: Form, percent: bool = False) -> Answer | None:
    """The normalised final answer of ``text``, or None.

    ``percent``: the question asks for a percentage, so that "50%" and "50" are the same; otherwise
    "50%" is one half.
    """
    text = text.rpartition(_THOUGHT)[2].strip()
    opening = text[:SHORT].partition("\n")[0].strip()
    text = text[-TAIL:]
    if (boxed := _boxed(text)) is not None:
        return _read(boxed, form, percent)
    marks = list(_MARKED.finditer(text))[-_MARKS:]
    read = [_marked(text[mark.end() :], form, percent) for mark in marks]
    found = [answer for answer in read if answer is not None]
    if found:
        # "25%. The answer as a fraction is 1/4": the one in the form that was asked for.
        asked = [
            a for m, a in zip(marks, read, strict=True) if a and re.match(r"[^\n.]{0,20}%", text[m.end() :])
        ]
        return (asked if percent and asked else found)[-1]
    if marks and form not in ("choice", "truth"):
        return None
    if form in ("number", "any", "text") and (printed := _OUTPUT.findall(text)):
        lines = printed[-1].strip().splitlines()
        return _read(lines[-1] if form == "number" else printed[-1], form, percent) if lines else None
    return _unmarked(text, opening, form, percent)


def _marked(rest: str, form: Form, percent: bool) -> Answer | None:
    """The answer that stands behind a mark."""
    if (math := _INLINE_MATH.match(rest[: 4 * SHORT])) is not None:
        return _read(next(part for part in math.groups() if part is not None), form, percent)
    clause = _CLAUSE_END.split(rest[: 4 * SHORT], maxsplit=1)[0]
    if form == "number" and not re.search(r"[\d零〇一二两三四五六七八九十百半]", clause[:LEAD]):
        return None
    return _read(clause, form, percent, first=True)


def read_reference(text: str, form: Form, percent: bool = False) -> Answer | None:
    """The answer of a reference: what a whole short text says, else what ``extract_answer`` finds in it."""
    text = text.strip()
    if len(text) > 2 * SHORT or "\n" in text or _MARKED.search(text) or "\\boxed" in text:
        return extract_answer(text, form, percent)
    if (math := _INLINE_MATH.fullmatch(text)) is not None:
        text = next(part for part in math.groups() if part is not None)
    return _read(text, form, percent)


def _unmarked(text: str, opening: str, form: Form, percent: bool) -> Answer | None:
    """Without a mark a text's last number counts, and of other forms only a whole line or the first word."""
    last = text[text.rfind("\n") + 1 :].strip()
    if form == "number":
        numbers = list(_NUMBER.finditer(_plain(text)))
        return _number(numbers[-1], percent) if numbers else None
    if form == "date":
        dates = [date for date in map(_date, (last, opening)) if date]
        return dates[0] if dates else None
    if form in ("any", "text"):
        # "Paris" under a page of reasoning is an answer, "I hope this helps!" is not.
        found = _read(last, form, percent) if len(last) <= SHORT else None
        alone = last == text or (found is not None and (found.kind != "text" or len(found.text.split()) < 4))
        return found if alone else None
    for line in (last, opening):
        if form == "choice" and (letter := _ALONE.match(line)):
            return Answer("choice", letter[1])
        if form == "truth" and (answer := _truth(_FIRST_WORD.split(line, maxsplit=1)[0])) is not None:
            return answer
    return None


def _boxed(text: str) -> str | None:
    """What stands in the last complete ``\\boxed{...}``; braces may nest."""
    for match in reversed(list(re.finditer(r"\\boxed\s*\{", text))[-_MARKS:]):
        depth = 1
        for i in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            if depth == 0:
                return text[match.end() : i]
    return None


# --- reading it -------------------------------------------------------------------------------------

_NUMBER = re.compile(
    r"(?<![\w.])?(?P<sign>[-−])?(?:(?P<whole>\d{1,60})\s+(?=\d{1,9}\s*/\s*\d))?"
    r"(?P<over>(?:\d{1,3}(?:[,，]\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:\s*/\s*(?P<under>\d+(?:\.\d+)?))?(?P<percent>\s*(?:[%％]|percent\b|pct\b))?"
)
_CHOICE = re.compile(r"(?<![A-Za-z])[(（\[*]*([A-H])[)）\]*]*(?![A-Za-z'’])")
_TRUE = re.compile(r"\b(?:true|yes|correct|right)\b|(?<![不])(?:正确|是的|对)|\A是\Z", re.IGNORECASE)
_FALSE = re.compile(
    r"\b(?:false|no|incorrect|not correct|not true|wrong)\b|错误|不正确|不对|不是|错|\A否\Z", re.IGNORECASE
)
_WRAPPED = re.compile(r"\\(?:text(?:bf|rm|it|normal)?|mathrm|mathbf|mbox|boxed) ?\{([^{}]{0,999})\}")
_FRACTION = re.compile(r"(\d{0,9}) ?\\[dtc]?frac ?(?:\{([^{}]{1,99})\} ?\{([^{}]{1,99})\}|(\d)(\d))")
_NOISE = re.compile(
    r"\\(?:left|right|,|;|!|quad|displaystyle|\$)|\\\s|\$|\\(?=%)|\\[()\[\]]|[￥¥€£]|\*\*|\^\\circ|\^\{\\circ\}|°"
)
_THOUSANDS = re.compile(r"(?<=\d)\{,\}(?=\d)|(?<=\d),\\!(?=\d)")
_SPACED = re.compile(r"(?<=\d) (?=\d{3}(?!\d)(?!\s*/))")
_DECIMAL_COMMA = re.compile(r"([-−]?(?:\d{1,30}(?=,\d\d\Z)|0)),(\d{1,30})")
_LIST = re.compile(r"\s*(?:,?\s*\band\b|,?\s*\bor\b|[,，、和或])\s*")
_OPERATORS = re.compile(r"[\\^_()\[\]=+*<>{}≤≥≠±√π∞]|(?<=[\dA-Za-z])\s*[-−]\s*(?=[\dA-Za-z])")
_ASSIGNED = re.compile(
    r"\A\s*(?:\\?[A-Za-z]{1,8}(?:_\w)?(?:\(\w\))?|[\d\s.,+\-*/×÷()$]+)\s*(?:=|≈|\\approx)\s*(?=\S)(?!.*[A-Za-z])"
)


def _read(text: str, form: Form, percent: bool, first: bool = False) -> Answer | None:
    """The answer that ``text`` consists of, or (``first``) begins with."""
    if form == "choice":
        found = _CHOICE.findall(_WRAPPED.sub(r"\1", text))
        return Answer("choice", found[0]) if found and (first or len(set(found)) == 1) else None
    if form == "truth":
        return _truth(text)
    if form == "date":
        return _date(text) or _year(text)
    if form in ("any", "text"):
        return _read_any(text, percent)
    plain = in_digits(_plain(text))
    # "x = 3 + 4 = 7 apples" gives its result, "7 apples in 2 boxes" its first number.
    if first and "=" in plain:
        plain = plain.rpartition("=")[2] if _NUMBER.search(plain.rpartition("=")[2]) else plain
    while assigned := _ASSIGNED.match(plain):
        plain = plain[assigned.end() :]
    numbers = list(_NUMBER.finditer(plain))
    if not first and (len(numbers) != 1 or _OPERATORS.search(plain) or _is_term(numbers[0])):
        return _formula(text, percent)
    if numbers and first and (_is_term(numbers[0]) or re.match(r"\s*[\\^]", plain[numbers[0].end() :])):
        return _formula(plain, percent)
    return _number(numbers[0], percent) if numbers else None


def _read_any(text: str, percent: bool) -> Answer | None:
    """The answer by its own looks."""
    text = text.strip().rstrip(".。!！")
    plain = _plain(text)
    if re.fullmatch(r"选?[(（\[*]*[A-H][)）\]*]*", plain):
        return Answer("choice", re.sub(r"[^A-H]", "", plain))
    if re.fullmatch(r"true|false|yes|no|不?对|错|不?正确|错误|是的?|否|不是", plain, re.IGNORECASE):
        return _truth(plain)
    if (date := _date(plain)) is not None:
        return date
    chinese = in_digits(plain)
    if comma := _DECIMAL_COMMA.fullmatch(chinese):
        chinese = f"{comma[1]}.{comma[2]}"
    numbers = list(_NUMBER.finditer(chinese))
    rest = _NUMBER.sub("", chinese, count=1) if numbers else ""
    if len(numbers) == 1 and re.fullmatch(r"\s*[^\W\d_]*\s*[^\W\d_]*[²³]?\s*", rest):
        return _formula(text, percent) if _is_term(numbers[0]) else _number(numbers[0], percent)
    if _OPERATORS.search(plain):
        return _formula(text, percent)
    parts = _LIST.split(chinese)
    if len(parts) > 1 and all(_NUMBER.fullmatch(part) for part in parts):
        return Answer("math", ", ".join(parts))
    words = (
        re.sub(r"\s+", " ", unicodedata.normalize("NFKC", plain))
        .strip(" \t\n.,;:!?\"'`*。，；：！？“”‘’")
        .lower()
    )
    words = re.sub(r"^(?:the|an?) (?=\w)", "", words)
    return Answer("text", words) if 0 < len(words) <= SHORT else None


def _formula(text: str, percent: bool) -> Answer | None:
    """A formula as LaTeX without spaces that mean nothing; a number if it is one after all."""
    text = re.sub(r"\\(?:!|displaystyle\b)", "", text)
    text = re.sub(
        r"\\(?:mathrm|text|rm)\s*\{\s*([A-Za-z])\s*\}", r" \1 ", text
    )  # math-verify trips over \mathrm{e}
    text = re.sub(r"\s+", " ", text).strip(" $.。*")
    while assigned := _ASSIGNED.match(text):
        text = text[assigned.end() :]
    if (number := _NUMBER.fullmatch(_plain(text))) is not None:
        return _number(number, percent)
    return Answer("math", text) if text else None


def _is_term(number: re.Match[str]) -> bool:
    """Whether a letter that is no unit stands at the number: 3x."""
    behind = number.string[number.end() :]
    return re.match(r"[A-Za-z]{1,2}(?![A-Za-z²³])", behind) is not None and unit_of(behind) is None


def _truth(text: str) -> Answer | None:
    text = text.strip()
    if _FALSE.search(text):
        return Answer("truth", "false")
    return Answer("truth", "true") if _TRUE.search(text) else None


def _plain(text: str) -> str:
    """LaTeX wrappers off, simple and mixed fractions as ``a/b``, 万, 亿 and 分之 worked out."""
    text = _SPACED.sub("", _THOUSANDS.sub("", text))
    text = _WRAPPED.sub(r" \1 ", text)
    text = _FRACTION.sub(lambda m: f"{m[1] and m[1] + ' '}{m[2] or m[4]}/{m[3] or m[5]}", text)
    return worked_out(_NOISE.sub("", text)).strip()


def _number(found: re.Match[str], percent: bool) -> Answer | None:
    """A number as its shortest exact text: "1,200.50" is "1200.5", "0.5" and "1/2" are "0.5"."""
    over, under = (re.sub(r"[,，\s]", "", found[name] or "") for name in ("over", "under"))
    if len(over) > DIGITS or len(under) > DIGITS:
        return Answer("text", f"{found['sign'] or ''}{over}/{under}")
    try:
        value = Fraction(over) / Fraction(under or "1") + int(found["whole"] or 0)
    except ZeroDivisionError:
        return None
    if found["percent"] and not percent:
        value /= 100
    return Answer("number", decimal(-value if found["sign"] else value), unit_of(found.string[found.end() :]))


def _date(text: str) -> Answer | None:
    iso = iso_date(text)
    return None if iso is None else Answer("date", iso)


def _year(text: str) -> Answer | None:
    years = re.findall(r"(?<!\d)\d{4}(?!\d)", text[: 4 * SHORT])
    return Answer("date", years[0]) if years else None
