"""Final answers: whether a question has one that can be compared, and what a text gives as it.

A question is *objective* when its own words ask for one of three things (``answer_form``):

- a choice: it lists at least two lettered options;
- a truth value: it says true or false, yes or no, 对错, 是否正确;
- a number: it asks for a quantity or a result, and has a digit, a number word or a formula in it.

``extract_answer`` looks for the answer where writers put it: in a box, after "the answer is" or 答案是, on a
line of its own, and for numbers at last the text's final number. ``None`` means not found; such
a text has no vote. Answers are normalised (thousands separators, decimals, fractions, percent, units,
currency), so that equal ones are equal strings.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

Form = Literal["choice", "truth", "number"]

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
    r"|多少|[共有是要需]几|第几|几[个只元天人年本次岁倍分条名张棵辆米千]|计算|求[^职助证]|等于",
    re.IGNORECASE | re.DOTALL,
)
_HAS_NUMBER = re.compile(
    r"\d|\$|\\|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|half|twice|third|quarter"
    r"|double)\b|[一二三四五六七八九十百千两半][个只元天人年本次岁倍分条名张棵辆米千位件支]",
    re.IGNORECASE,
)


def answer_form(question: str) -> Form | None:
    """What kind of final answer ``question`` asks for; None if it is not objective."""
    letters = {match.upper() for match in _OPTION.findall(question)}
    if {"A", "B"} <= letters:
        return "choice"
    if _TRUTH.search(question):
        return "truth"
    if _QUANTITY.search(question) and _HAS_NUMBER.search(question):
        return "number"
    return None


_MARKED = re.compile(
    r"(?:\b(?:final |correct |right )?answer(?: to [^.:\n]{1,60})?\s*(?:is|:|=)|^A:|####"
    r"|\b(?:correct|right) (?:option|choice)\s*(?:is|:)"
    r"|(?:最终|正确|最后的?)?(?:答案|结果|选项)\s*(?:是|为|应为|应该是|[:：])|故选|应选|因此选|所以选|^答[:：])\s*",
    re.IGNORECASE | re.MULTILINE,
)
_CLAUSE_END = re.compile(r"\n|。|；|[.!](?=\s|\Z)")
_NUMBER = re.compile(
    r"[-−]?(?:\d{1,3}(?:[,，]\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:\s*/\s*\d+(?:\.\d+)?)?(?:\s*[%％])?|[-−]?\.\d+"
)
_CHOICE = re.compile(r"(?<![A-Za-z])[(（\[*]*([A-H])[)）\]*]*(?![A-Za-z'’])")
_ALONE = re.compile(r"[(（*]*([A-H])(?:[)）*.．、:：]|\Z)")
_FIRST_WORD = re.compile(r"[\s,.!，。！、:：]")
_TRUE = re.compile(r"\b(?:true|yes|correct|right)\b|(?<![不])(?:正确|是的|对)", re.IGNORECASE)
_FALSE = re.compile(
    r"\b(?:false|no|incorrect|not correct|not true|wrong)\b|错误|不正确|不对|不是|错", re.IGNORECASE
)
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox)\{([^{}]*)\}")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]+)\}\s*\{([^{}]+)\}|(\d)(\d))")
_NOISE = re.compile(r"\\(?:left|right|,|;|!|quad|displaystyle|\$)|\$|\\(?=%)|\\[()\[\]]|[￥¥€£]|\*\*")


def extract_answer(text: str, form: Form, percent: bool = False) -> str | None:
    """The normalised final answer of ``text``, or None.

    ``percent``: the question asks for a percentage, so that "50%" and "50" are the same; otherwise
    "50%" is one half.
    """
    if (boxed := _boxed(text)) is not None:
        return _read(boxed, form, percent)
    for match in reversed(list(_MARKED.finditer(text))):
        clause = _CLAUSE_END.split(text[match.end() :].lstrip(), maxsplit=1)[0]
        if (answer := _read(clause, form, percent, first=True)) is not None:
            return answer
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return None
    if form == "number":
        numbers = _NUMBER.findall(_plain(text))
        return _number(numbers[-1], percent) if numbers else None
    # Without a mark, a letter or a yes counts only where a whole line or the opening word is one.
    for line in (lines[-1].strip(), lines[0].strip()):
        if form == "choice" and (letter := _ALONE.match(line)):
            return letter[1]
        if form == "truth" and (answer := _truth(_FIRST_WORD.split(line, maxsplit=1)[0])) is not None:
            return answer
    return None


def asks_percent(question: str) -> bool:
    """Whether the answer is expected in percent."""
    return re.search(r"percent|%|百分", question, re.IGNORECASE) is not None


def _boxed(text: str) -> str | None:
    """What stands in the last complete ``\\boxed{...}``; braces may nest."""
    for match in reversed(list(re.finditer(r"\\boxed\s*\{", text))):
        depth = 1
        for i in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            if depth == 0:
                return text[match.end() : i]
    return None


def _read(text: str, form: Form, percent: bool, first: bool = False) -> str | None:
    """The answer that ``text`` consists of, or (``first``) begins with."""
    if form == "choice":
        found = _CHOICE.findall(_LATEX.sub(r"\1", text))
        return str(found[0]) if found and (first or len(set(found)) == 1) else None
    if form == "truth":
        return _truth(text)
    plain = _plain(text)
    numbers = _NUMBER.findall(plain)
    if not first and _is_formula(plain):
        return re.sub(r"\s+", "", plain).lower() or None
    # "= 3 + 4 = 7 apples" gives its result, "7 apples in 2 boxes" its first number.
    if first and "=" in plain:
        numbers = _NUMBER.findall(plain.rpartition("=")[2]) or numbers
    return _number(numbers[0], percent) if numbers else None


def _is_formula(plain: str) -> bool:
    """Whether a boxed answer is more than one number with a unit."""
    return len(_NUMBER.findall(plain)) != 1 or re.search(r"[\\^_()\[\]=+*<>{}]", plain) is not None


def _truth(text: str) -> str | None:
    if _FALSE.search(text):
        return "false"
    return "true" if _TRUE.search(text) else None


def _plain(text: str) -> str:
    """LaTeX wrappers off, simple fractions as ``a/b``."""
    text = _LATEX.sub(r"\1", text)
    text = _FRACTION.sub(lambda m: f"{m[1] or m[3]}/{m[2] or m[4]}", text)
    return _NOISE.sub("", text).replace("{,}", ",").strip()


def _number(found: str, percent: bool) -> str | None:
    """A number as the shortest exact text: "1,200.50" is "2401/2", "0.5" and "1/2" are "1/2"."""
    text = re.sub(r"[,，\s]", "", found).replace("−", "-")
    of_hundred = text.endswith(("%", "％"))
    over, _, under = text.rstrip("%％").partition("/")
    try:
        value = Fraction(over) / Fraction(under or "1")
    except (ValueError, ZeroDivisionError):
        return None
    return str(value / 100 if of_hundred and not percent else value)
