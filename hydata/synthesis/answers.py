r"""Final answers: whether a question has one that can be compared, and what a text gives as it.

A question is *objective* when its own words ask for one of these (``answer_form``):

- a choice: it lists at least two lettered options;
- a truth value: it says true or false, yes or no, 对错, 是否正确;
- a date: it asks on what day or in what year;
- a number: it asks for a quantity or a result, and has a digit, a number word or a formula in it;
- a text: it asks what a program prints, or for one word.

``extract_answer`` looks for the answer where writers put it: in a box, in the JSON that a text ends with,
after "the answer is" or 答案是, in the output that a program printed, on a line of its own, and for numbers
at last the text's final number. What stands behind the mark and cannot be read is a failed extraction, not
an invitation to take another number of the text: ``None``, and such a text has no vote. Neither has one that
only says what the answer is not. What is found is normalised (thousands separators, decimals, fractions,
percent, 三分之二, 3.5万, 七个, 3 × 10^8, units, currency), so that equal plain answers are equal; formulas
become LaTeX (``2**10`` too), to be compared by ``equivalence``.

Prose and formulas are read differently: ``\boxed{5!}`` is a factorial and "it is 5!" is joy, 5-10 is a
difference here and a range there. Of a sentence the answer is the number it begins with, unless that is a
part of a term or of a list.

Texts are hostile: only the last ``TAIL`` characters are searched, and no expression here is worse than
linear in them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from hydata.synthesis.notation import (
    announced,
    decimal,
    in_digits,
    in_one_unit,
    is_vague,
    iso_date,
    unit_of,
    worked_out,
)

Form = Literal["choice", "truth", "number", "date", "text", "any"]
"""What is asked for; ``any`` reads what there is, for questions whose words do not tell."""
Kind = Literal["choice", "truth", "number", "math", "date", "text"]

TAIL = 64_000
"""Characters from the end of a text that are searched for its answer."""
LEAD = 50
"""Behind a mark the answer begins within so many characters (as in math-verify's patterns); else prose."""
WORD = 40
"""Characters around a number or a box that can change what it is."""
SHORT = 80
"""The longest answer that is a text: more is prose."""
LONG = 2_000
"""A box or a line with more characters is no final answer."""
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
    r"|\bwhat (?:is|are|does)\b[^?]{0,40}(?:\d\s*[-+*/^×÷!]|\$|equal)"
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

_BE = (
    r"(?:(?:is|are)(?:n['’]t)?|(?:can?|could|should|would|wo|will|must)(?:n['’]t| ?not)? (?:be|equal)"
    r"|equals?|comes? (?:out )?to|turns out to be)\b"
)
_MARKED = re.compile(
    r"(?:(?<![A-Za-z])(?:final |correct |right )?(?:answers?|ans\.?)[\"'”*]{0,3}"
    rf"(?: to [^.:\n]{{1,60}}| \([^()\n]{{1,30}}\))?\s*(?:{_BE}|[:=])"
    r"|^A:|####|<answer>"
    r"|^[#*\s]{1,9}(?:the )?(?:(?:final )?answer|(?:最终|参考)?答案)\**[ \t]*$"
    r"|\b(?:correct|right) (?:option|choice)\s*(?:is|:)"
    r"|\b(?:statement|proposition|assertion) is(?=\s+(?:not )?(?:true|false|(?:in)?correct|wrong)\b)"
    r"|(?:说法|命题|陈述|判断)是?(?=不?(?:正确|对)|错误|错的)"
    r"|【(?:最终|正确|参考)?答案】"
    r"|(?:最终|正确|最后的?)?(?:答案|结果|选项|得数)\**\s*(?:是|为|应为|应该是|应?选|等于|[:：]"
    r"|(?:并|绝|肯定)?不(?:可能|应该?|会|一定)?(?:[是为选]|等于)|[并绝]非)"
    r"|答案\s*(?=[(（]?[A-H](?![A-Za-z]))"
    r"|正确的(?:说法|一项)?[是为]"
    r"|故选|应选|(?:因此|所以|综上(?:所述)?|故)[，,]?\s*选|(?:本题|我)选择?|^选择?(?=[\s(（]*[A-H])|^答[:：])"
    r"[\s:：]*",
    re.IGNORECASE | re.MULTILINE,
)
_NOT_MARK = re.compile(r"n['’]t|not\b|[不非]", re.IGNORECASE)
_NOT = re.compile(
    r"[\s*]*(?:(?:(?:[a-z]{2,12}ly|just|also) )?(?:not|neither)\b|并?不(?:是|等于)|并非|≠)", re.IGNORECASE
)
_BUT = re.compile(
    r"\bbut(?: rather)?\b|\brather\b(?! than)|[,;]\s*(?:it|that)(?:['’]s| is)\b|而是|应该?[是为]",
    re.IGNORECASE,
)
_RETRACTED = re.compile(r"\b(?:wait|correction|oops)\b|等等|等一下|更正|不对|算错|有误", re.IGNORECASE)
_SUPPOSED = re.compile(r"\b(?:would|could) (?:be|equal)\b", re.IGNORECASE)
"""Beside other marks, one of a case that is only supposed."""
_REVISED = re.compile(r"\b(?:should|must) (?:actually )?be\b|应该?[是为]", re.IGNORECASE)
"""Behind a retraction, this is a mark as well."""
_RESULT = re.compile(
    r"\bwhich (?:is|equals|gives|makes)\b|,\s*so(?=[\s*$€£]*-?\d)|[，,]\s*(?:即|也就是)", re.IGNORECASE
)
"""Behind it stands what the term before it comes to."""
_PLAIN_START = re.compile(
    r"[\s*$¥€£]*-?\d[\d.,/]*(?!\s*(?:[-+*/×÷^和与加减乘除]|(?:times|plus|minus)\b))(?![\d.,/])"
)
_SEVERAL = re.compile(
    r"[\s*]*(?:both\s+)?[(（]?[A-H][)）]?\s*(?:and|or|和|与|或)\s*[(（]?[A-H](?![A-Za-z])", re.IGNORECASE
)
_CLAUSE_END = re.compile(r"\n|。|；|</|\.(?=\s|\Z)|!(?=\s|\Z)(?!\s*[-=+*/×÷≈)])")
_INLINE_MATH = re.compile(
    r"\s*\**(?:\$\$?(?=\S)(.+?)(?<=\S)\$\$?(?!\d)|\\\((.+?)\\\)|\\\[(.+?)\\\])", re.DOTALL
)
_LAST_MATH = re.compile(
    r"(?:\$\$?([^$]{1,400})\$\$?|\\\(([^$]{1,400}?)\\\)|\\\[([^$]{1,400}?)\\\])[^\d$\\]{0,80}\Z"
)
"""The formula that a text ends with, and words without numbers behind it."""
_AND = re.compile(r"\s*(?:,?\s?\b(?:and|or)\b|[,，、和或])\s*", re.IGNORECASE)
_OUTPUT = re.compile(r"```output[ \t]*\n(.*?)(?:\n?```|\Z)", re.DOTALL)
_THOUGHT = "</think>"
_ALONE = re.compile(r"[(（*]*([A-H])(?:[)）*.．、:：]|\Z)")
_CHOSEN = re.compile(
    r"(?<![A-Za-z])[(（]?([A-H])[)）]?(?:选?项)?\s*"
    r"(?:is (?:the )?(?:correct|right|answer)|是?正确|是答案|符合题意|当选)"
)
_FIRST_WORD = re.compile(r"[\s,.!，。！、:：]")
_MARKS = 8
"""So many boxes or marks are tried, from the last one back."""
_OBJECT = re.compile(r"\{[^{}]*\}\Z")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_AND_BOX = re.compile(
    r"[\s$\\()]{0,9}(?:,?\s?(?:and|or)|[,，、和或与])[\s$\\()]{0,9}(?:[A-Za-z](?:_\d)?\s?=\s?)?",
    re.IGNORECASE,
)


def extract_answer(text: str, form: Form, percent: bool = False) -> Answer | None:
    """The normalised final answer of ``text``, or None.

    ``percent``: the question asks for a percentage, so that "50%" and "50" are the same; otherwise
    "50%" is one half.
    """
    text = text.rpartition(_THOUGHT)[2].strip()
    opening = _spelled(text[:SHORT].partition("\n")[0].strip())
    text = _spelled(text[-TAIL:])
    boxed, end = _boxed(text)
    retracted = max((found.start() for found in _RETRACTED.finditer(text, end)), default=None)
    marks = list(_MARKED.finditer(text, end))
    if retracted is not None:
        marks = sorted([*marks, *_REVISED.finditer(text, retracted)], key=lambda mark: mark.start())
    if boxed is not None:  # and later a mark, but only to correct it
        marks = [mark for mark in marks if retracted is not None and mark.start() > retracted]
    elif (said := _json(text)) is not None:
        return _marked(said, form, percent)
    firm = [mark for mark in marks if not _SUPPOSED.search(mark[0])]
    marks = (firm or marks)[-_MARKS:]
    read = [
        _marked(text[mark.end() :], form, percent, _NOT_MARK.search(mark[0]) is not None) for mark in marks
    ]
    found = [answer for answer in read if answer is not None]
    if found:
        # "25%. The answer as a fraction is 1/4": the one in the form that was asked for.
        asked = [
            a for m, a in zip(marks, read, strict=True) if a and re.match(r"[^\n.]{0,20}%", text[m.end() :])
        ]
        return (asked if percent and asked else found)[-1]
    if boxed is not None:
        return _read(boxed, form, percent)
    if marks and form not in ("choice", "truth"):
        return None
    if form in ("number", "any", "text") and (printed := _OUTPUT.findall(text)):
        lines = printed[-1].strip().splitlines()
        return _read(lines[-1] if form == "number" else printed[-1], form, percent) if lines else None
    return _unmarked(text, opening, form, percent)


def _marked(rest: str, form: Form, percent: bool, negated: bool = False) -> Answer | None:
    """The answer that stands behind a mark; ``negated`` if the mark says what is not the answer."""
    rest = rest[: 4 * SHORT]
    clause = _CLAUSE_END.split(rest, maxsplit=1)[0]
    if form == "truth":
        return _truth(f"not {clause}" if negated else clause)
    if negated or _NOT.match(clause):
        if (but := _BUT.search(clause)) is None or _NOT.match(clause, but.end()):
            return None
        return _marked(clause[but.end() :], form, percent)
    if form == "choice" and _SEVERAL.match(clause):
        return None
    if form == "number" and (result := _RESULT.search(clause)) and not _PLAIN_START.match(clause):
        return _marked(clause[result.end() :], form, percent)
    if math := _INLINE_MATH.match(rest):
        parts = [_inside(math)]
        while (also := _AND.match(rest, math.end())) and (math := _INLINE_MATH.match(rest, also.end())):
            parts.append(_inside(math))
        return _read(", ".join(parts), form, percent)
    if form == "number" and not re.search(r"[\d零〇一二两三四五六七八九十百半]", clause[:LEAD]):
        return None
    return _read(clause.rstrip("!！ "), form, percent, prose=True)


def _inside(math: re.Match[str]) -> str:
    """A formula without its dollars."""
    return str(next(part for part in math.groups() if part is not None))


def _json(text: str) -> str | None:
    """The answer in the JSON object that a text ends with."""
    if (found := _OBJECT.search(text.rstrip("`\n"))) is None:
        return None
    try:
        read = json.loads(found[0], parse_int=str, parse_float=str)
    except ValueError:
        return None
    for name, value in read.items():
        if re.fullmatch(r"(?:final[ _]?)?answer|(?:最终)?答案", name, re.IGNORECASE):
            return str(value) if isinstance(value, (str, bool)) else None
    return None


def read_reference(text: str, form: Form, percent: bool = False) -> Answer | None:
    """The answer of a reference: what a whole short text says, else what ``extract_answer`` finds in it."""
    text = _spelled(text.strip())
    if len(text) > 2 * SHORT or "\n" in text or _MARKED.search(text) or "\\boxed" in text:
        return extract_answer(text, form, percent)
    if math := _INLINE_MATH.fullmatch(text):
        text = _inside(math)
    return _read(text, form, percent)


def _unmarked(text: str, opening: str, form: Form, percent: bool) -> Answer | None:
    """Without a mark a text's last number counts, and of other forms only a whole line or the first word."""
    last = text[text.rfind("\n") + 1 :].strip()
    if form == "number":
        if (math := _LAST_MATH.search(text[-6 * SHORT :])) and not _is_denied(math):
            formula = re.split(r"=|≈|\\approx\b", _inside(math))[-1]
            if re.search(r"\d", formula):
                return _read(formula, form, percent)
        return _last_number(_CHECKED.sub("", announced(_plain(text))), percent)
    if form == "date":
        dates = [date for date in map(_date, (last, opening)) if date]
        return dates[0] if dates else None
    if form in ("any", "text"):
        # "Paris" under a page of reasoning is an answer, "I hope this helps!" is not.
        found = _read(last.rstrip("!！"), form, percent) if len(last) <= SHORT else None
        alone = last == text or (found is not None and (found.kind != "text" or len(found.text.split()) < 4))
        return found if alone else None
    for line in (last, opening):
        if form == "choice" and (letter := _ALONE.match(line)):
            return Answer("choice", letter[1])
        if form == "truth" and (answer := _truth(_FIRST_WORD.split(line, maxsplit=1)[0])) is not None:
            return answer
    chosen = set(_CHOSEN.findall(text)) if form == "choice" else set()
    return Answer("choice", chosen.pop()) if len(chosen) == 1 else None


def _last_number(plain: str, percent: bool) -> Answer | None:
    """The last number that is not denied: of "7, not 12" the 7, of "it is not 12" and "12 is wrong" none."""
    numbers = list(_NUMBER.finditer(plain))
    for i, number in reversed(list(enumerate(numbers))):
        if i and number.end() <= numbers[i - 1].end() + in_one_unit(plain[numbers[i - 1].end() :])[1]:
            continue  # the 30 of 5 hours 30 minutes
        start = max(0, number.start() - SHORT)
        before, behind = plain[start : number.start()], plain[number.end() :][:SHORT]
        if _ASIDE.search(before) or _UNIT_POWER.search(before):
            continue
        if _is_denied(number):
            return None
        if _TERM_BEFORE.search(before) or _TERM_BEHIND.match(behind):  # 2^10, 2√3, 3:4
            left, right = re.split(r"[\s，。]", before)[-1], re.split(r"[\s，。]", behind)[0]
            return _formula(f"{left}{number[0]}{right}".strip(".,!:"), percent)
        return _number(number, percent)
    return None


def _is_denied(found: re.Match[str]) -> bool:
    """Whether the words around say that this is not the answer."""
    before = found.string[max(0, found.start() - WORD) : found.start()]
    behind = found.string[found.end() :][:WORD]
    return (_ASIDE.search(before) or _DENIED.search(before) or _DENIES.match(behind)) is not None


def _boxed(text: str) -> tuple[str | None, int]:
    """What stands in the last complete ``\\boxed{...}`` that is not empty, with what "or" joins to it, and
    where it ends; braces may nest."""
    last: str | None = None
    end = begin = 0
    for match in reversed(list(_BOX.finditer(text))[-_MARKS:]):
        depth = 1
        for i in range(match.end(), len(text)):
            depth += {"{": 1, "}": -1}.get(text[i], 0)
            if depth == 0:
                inside = text[match.end() : i]
                if last is None and inside.strip():
                    last, end, begin = inside, i + 1, match.start()
                elif last is not None and _AND_BOX.fullmatch(text[i + 1 : begin][:WORD]):
                    last, begin = f"{inside}, {last}", match.start()
                elif last is not None:
                    return last, end
                break
    return last, end


# --- reading it -------------------------------------------------------------------------------------

_NUMBER = re.compile(
    r"(?:(?<![A-Za-z0-9.)])(?P<sign>[-−]))?(?:(?P<whole>\d{1,60})\s+(?=\d{1,9}\s*/\s*\d))?"
    r"(?P<over>(?:\d{1,3}(?:[,，]\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:\s*(?:[×x*·]|\\times|\\cdot)\s*10\s*\^\s*(?:\{\s*(?P<ten>[-−]?\d{1,2})\s*\}|(?P<tens>[-−]?\d{1,2})(?!\d))"
    r"|(?:e(?=[-+])|E)(?P<e>[-+]?\d{1,2})(?!\d))?"
    r"(?:\s*/\s*(?P<under>\d+(?:\.\d+)?))?(?P<percent>\s*(?:[%％]|per ?cent\b|pct\b))?"
)
_TERM_BEFORE = re.compile(
    r"(?:[±√<>≤≥^]|\^[{(]|\\pm|sqrt[({]|\d[eE]|(?<![A-Z][a-z]{3} \d)(?<=\d):)\s*[-−]?\Z"
)
_UNIT_POWER = re.compile(r"(?<![A-Za-z\\])(?:[A-Za-z]{2,}|m)\s*\^\s*\{?\Z")
_TERM_BEHIND = re.compile(r"\s*(?:[\^√π]|\\(?:sqrt|pi|cdot|times|div|pm)\b)|[²³]|!(?=\s*[-=+*/×÷])|:\d")
"""What makes a number a part of something else. A "!" may end the sentence."""
_SUM_BEHIND = re.compile(r"\s*[-+*/×÷·]\s*(?:\d|[A-Za-z](?![A-Za-z])|[(√\\])")
_TOLD = re.compile(r"[^，,]{0,50}(?:共有?|[总合]计|剩[下余]?|平均|等于)[了约]?\s*(?=-?\d)")
_COLON = re.compile(r"(\d+(?:\s?:\s?\d+)+)(?:\s?([ap])\.?m\b)?", re.IGNORECASE)
_RANGE = re.compile(r"\s*(?:[-–~～—]|to\b|到|至)\s?(?=\d)")
_ORS = re.compile(r"\s*(?:,?\s?\band\b|,?\s?\bor\b|[、和或])\s*(?=[-−]?\d)")
_BRACKETED = re.compile(r"[\s*]*([(\[](?=[^()\[\]]*[)\]])[^()\[\]]*\d[^()\[\]]*,[^()\[\]]*[)\]])")
_EQUATION = re.compile(r"(?<![A-Za-z])[A-Za-z]\s*=\s*([-−]?\d+(?:[./]\d+)?)(?!\s*[-+*/^×÷]|[A-Za-z])")
_CHECKED = re.compile(
    r"(?<=[A-Za-z一-龥%]) ?[(（][^()（）=]{0,40}\d\s?[-+*/×÷]\s?\d[^()（）=]{0,40}[)）][.!。\s]{0,3}\Z"
)
"""How a number came about, behind its sentence: $21 in total (3 × 7)."""
_RUN = re.compile(
    r"(?:[^\w\s,;，；]|[\d\s]|(?<![A-Za-z])(?:[A-Za-z]|sqrt|pi|sin|cos|tan|log|ln)(?![A-Za-z])|\\[A-Za-z]+|π)*"
)
"""The signs, numbers and letters that a formula in prose is made of."""
_REASON = re.compile(
    r"[^A-Za-z一-龥]{0,9}(?:(?:about|approximately|around|roughly|only|大?约)\s*)?-?\d[^=\n]{0,60}?"
    r"(?=[\s,，(（]\s?(?:\b(?:because|since|as|if|given)\b|因为|由于|其中))"
)
"""A number that a text begins with, up to why it is the answer: what follows explains."""
_ASIDE = re.compile(
    r"(?:(?:[,，、(（]\s*(?:and |而)?|\d )(?:not|不是|而?非)|\b(?:rather than|instead of)|而(?:不是|非))"
    r"\s*[^\s\w]{0,2}\Z",
    re.IGNORECASE,
)
_INSTEAD = re.compile(r"[,，] ?(?:(?:and |而)?(?:not\b|不是|非)|rather than\b|instead of\b)", re.IGNORECASE)
_DENIED = re.compile(
    r"(?:\bnot|n['’]t|不(?:可能)?[是为]|不等于|并非|≠|\\neq?)(?: be| equal(?: to)?)?\s*[^\s\w]{0,2}\Z",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"[^.,\n。，]{0,12}?(?:\bis(?:n['’]t| not) (?:the|correct|right)\b|\bis (?:wrong|incorrect)\b"
    r"|不是(?:正确)?答案|不对|不正确|是错)"
)
_POWER = re.compile(
    r"(?<=[\d)])(?:\*\*| \*\* )(?=-?\d|\([-+*/\d. ]{1,20}\))|(?<=(?<![A-Za-z*])[a-z])\*\*(?=\d)"
)
"""``2**10`` and x**2; the stars of **5** have no number on both sides."""
_PLAIN_FORMS = {ord("−"): "-"} | {0xFEE0 + c: chr(c) for c in range(0x30, 0x7B) if chr(c).isalnum()}
_PLAIN_FORMS |= {ord(c): " " + unicodedata.normalize("NFKC", c).replace("⁄", "/") for c in "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"}
_MINUS = re.compile(
    r"(?<!\d )\b(?:negative|minus) (?=[\d$])|负(?=\d)|(?:\A|(?<=[\s:：])(?<!\d ))–(?=\d)", re.IGNORECASE
)
_TO_THE = re.compile(
    r"(?<![\d.])(\d{1,30}(?:\.\d{1,30})?)的(?:(\d{1,9})次[方幂]|(平方)(?![米分厘千公])|立方(?![米分厘千公]))"
)
_UNICODE = {
    "√": r"\sqrt ",
    "π": r"\pi ",
    "±": r"\pm ",
    "×": r"\times ",
    "·": r"\cdot ",
    "÷": "/",
    "≤": r"\leq ",
    "≥": r"\geq ",
    "≠": r"\neq ",
    "∞": r"\infty ",
    "²": "^{2}",
    "³": "^{3}",
}
_CHOICE = re.compile(r"(?<![A-Za-z])[(（\[*]*([A-H])[)）\]*]*(?![A-Za-z'’])")
_CHOICES = re.compile(r"\s*[(（]?[A-H](?:[)）]?\s?(?:[、,，&和与]\s?|and )?[(（]?[A-H])+[)）]?[\s.。]*")
_TRUE = re.compile(r"\b(?:true|yes|correct|right)\b|(?<![不])(?:正确|是的|对)|\A是\Z", re.IGNORECASE)
_FALSE = re.compile(
    r"\b(?:false|no|incorrect|not (?:true|correct|right|yes)|wrong)\b|错误|不正确|不对|不是|错|\A否\Z",
    re.IGNORECASE,
)
_NOT_FALSE = re.compile(
    r"(?:\bnot|不是)\s*(?:false|wrong|incorrect|错)|\bno (?:doubt|question)\b(?!.{0,40}\b(?:not|false|wrong))"
    r"|没有?错|无误",
    re.IGNORECASE,
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
_OPERATORS = re.compile(r"[\\^_()\[\]=+*<>{}≤≥≠±√π∞×÷]|(?<=[\w)])!|(?<=[\dA-Za-z])\s*[-−]\s*(?=[\dA-Za-z])")
_ASSIGNED = re.compile(
    r"\A\s*(?:\\?[A-Za-z]{1,8}(?:_\w)?(?:\(\w\))?|[\d\s.,+\-*/×÷()$!^{}]+)\s*(?:=|≈|\\approx)\s*(?=\S)(?!.*[A-Za-z])"
)


def _read(text: str, form: Form, percent: bool, prose: bool = False) -> Answer | None:
    """The answer that ``text`` consists of, or that it begins with, if it is ``prose``."""
    if len(text) > LONG:
        return None
    if form == "choice":
        text = _WRAPPED.sub(r"\1", text)
        if _CHOICES.fullmatch(text):
            return Answer("choice", "".join(sorted(set(re.findall("[A-H]", text)))))
        found = _CHOICE.findall(text)
        return Answer("choice", found[0]) if found and (prose or len(set(found)) == 1) else None
    if form == "truth":
        return _truth(text)
    if form == "date":
        return _date(text) or _year(text)
    if form in ("any", "text"):
        return _read_any(_INSTEAD.split(text, maxsplit=1)[0] if prose else text, percent)
    plain = in_digits(_plain(text))
    if prose:
        return _read_prose(plain, percent)
    while assigned := _ASSIGNED.match(plain):
        plain = plain[assigned.end() :]
    numbers = list(_NUMBER.finditer(plain))
    if _COLON.fullmatch(plain):
        return _colon(plain)
    if numbers and plain[: numbers[0].start()].strip() == "":
        end = numbers[0].end() + in_one_unit(plain[numbers[0].end() :])[1]
        numbers = [number for number in numbers[:1] if numbers[-1].end() <= end] or numbers
    if len(numbers) != 1 or _OPERATORS.search(plain) or _is_term(numbers[0]):
        return _formula(text, percent)
    return _number(numbers[0], percent)


def _read_prose(plain: str, percent: bool) -> Answer | None:
    """The number, range, list or formula that a sentence begins with."""
    if reasoned := _REASON.match(plain):
        plain = reasoned[0]
    if bracketed := _BRACKETED.match(plain):  # (3, 4), [0, 5)
        return _formula(bracketed[1], percent)
    if len(values := _EQUATION.findall(plain)) > 1 and plain.count("=") == len(values):  # x = 5 and y = 3
        return Answer("math", ", ".join(values))
    if told := _TOLD.match(plain):  # 3天一共有7个
        plain = plain[told.end() :]
    # "x = 3 + 4 = 7 apples" gives its result, "7 apples in 2 boxes" its first number.
    if "=" in plain and _NUMBER.search(plain.rpartition("=")[2]):
        plain = plain.rpartition("=")[2]
    while assigned := _ASSIGNED.match(plain):
        plain = plain[assigned.end() :]
    if (number := _NUMBER.search(plain)) is None:
        return None
    before, behind = plain[: number.start()], plain[number.end() :]
    if (to := _RANGE.match(behind)) or (re.search(r"\bbetween\s*\Z", before) and (to := _ORS.match(behind))):
        upper = _NUMBER.match(behind, to.end())
        ends = [_number(n, percent) for n in (number, upper) if n]
        return Answer("text", " to ".join(end.text for end in ends if end))
    if _COLON.match(plain, number.start()):
        return _colon(plain[number.start() :])
    listed = [number]
    while (also := _ORS.match(plain, listed[-1].end())) and (following := _NUMBER.match(plain, also.end())):
        listed.append(following)
    if len(listed) > 1:
        values = [_number(n, percent) for n in listed]
        return values[0] if len(set(values)) == 1 else Answer("math", ", ".join(n[0].strip() for n in listed))
    if (
        _is_term(number)
        or _TERM_BEHIND.match(behind)
        or _SUM_BEHIND.match(behind)
        or _TERM_BEFORE.search(before)
    ):
        start = re.split(r"(?<=[A-Za-z]{2}) |[一-龥]", before)[-1]  # "about √2", 大约√2
        run = _RUN.match(f"{start}{plain[number.start() :]}")
        return _formula(run[0] if run else plain, percent)
    return _number(number, percent)


def _colon(plain: str) -> Answer | None:
    """A ratio or a time of day, as text: no rule says that 3:30 is 3.5."""
    if (found := _COLON.match(plain)) is None:
        return None
    half = f" {found[2].lower()}m" if found[2] else ""
    return Answer("text", re.sub(r"\s", "", found[1]) + half)


def _read_any(text: str, percent: bool) -> Answer | None:
    """The answer by its own looks."""
    text = text.strip().rstrip(".。！")
    plain = _plain(text)
    if re.fullmatch(r"选?[(（\[*]*[A-H][)）\]*]*", plain):
        return Answer("choice", re.sub(r"[^A-H]", "", plain))
    if re.fullmatch(r"true|false|yes|no|不?对|错|不?正确|错误|是的?|否|不是", plain, re.IGNORECASE):
        return _truth(plain)
    if (date := _date(plain)) is not None:
        return date
    chinese = in_digits(plain)
    if _COLON.fullmatch(chinese):
        return _colon(chinese)
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
    text = re.sub("[√π±×·÷≤≥≠∞²³]", lambda sign: _UNICODE[sign[0]], text)
    text = re.sub(
        r"\\sqrt +(\d+)|(?<![\\A-Za-z])sqrt\(([^()]{1,80})\)", lambda m: f"\\sqrt{{{m[1] or m[2]}}}", text
    )
    # LaTeX takes one digit for an exponent; who writes 2^10 does not.
    text = re.sub(r"\^ ?(?:(-?\d{2,60}|-\d)|\(([^()]{1,80})\))", lambda m: f"^{{{m[1] or m[2]}}}", text)
    text = re.sub(r"\s+", " ", text).strip(" $.。*")
    text = re.sub(r"\A\{([^{}]*)\}\Z", r"\1", text)
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
    if _NOT_FALSE.search(text):
        return Answer("truth", "true")
    if _FALSE.search(text):
        return Answer("truth", "false")
    return Answer("truth", "true") if _TRUE.search(text) else None


def _plain(text: str) -> str:
    """LaTeX wrappers off, simple and mixed fractions as ``a/b``, 万, 亿 and 分之 worked out."""
    text = _SPACED.sub("", _THOUSANDS.sub("", text))
    text = _WRAPPED.sub(r" \1 ", text)
    text = _FRACTION.sub(lambda m: f"{m[1] and m[1] + ' '}{m[2] or m[4]}/{m[3] or m[5]}", text)
    return _MINUS.sub("-", worked_out(_NOISE.sub("", text))).strip()


def _spelled(text: str) -> str:
    """Ｂ as B, ½ as 1/2, ``2**10`` and 2的10次方 as ``2^10``."""
    text = _POWER.sub("^", text.translate(_PLAIN_FORMS))
    return _TO_THE.sub(lambda m: f"{m[1]}^{m[2] or (2 if m[3] else 3)}", text)


def _number(found: re.Match[str], percent: bool) -> Answer | None:
    """A number as its shortest exact text: "1,200.50" is "1200.5", "0.5" and "1/2" are "0.5"."""
    over, under = (re.sub(r"[,，\s]", "", found[name] or "") for name in ("over", "under"))
    if is_vague(found.string[found.end() :]):
        return None
    if len(over) > DIGITS or len(under) > DIGITS:
        return Answer("text", f"{found['sign'] or ''}{over}/{under}")
    try:
        value = Fraction(over) / Fraction(under or "1") + int(found["whole"] or 0)
    except ZeroDivisionError:
        return None
    value *= Fraction(10) ** int((found["ten"] or found["tens"] or found["e"] or "0").replace("−", "-"))
    if found["percent"] and not percent:
        value /= 100
    behind = found.string[found.end() :][:SHORT]
    value += in_one_unit(behind)[0]
    return Answer("number", decimal(-value if found["sign"] else value), unit_of(behind))


def _date(text: str) -> Answer | None:
    iso = iso_date(text)
    return None if iso is None else Answer("date", iso)


def _year(text: str) -> Answer | None:
    years = re.findall(r"(?<!\d)\d{4}(?!\d)", text[: 4 * SHORT])
    return Answer("date", years[0]) if years else None
