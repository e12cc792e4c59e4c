"""How an evolved instruction failed the one it came from: what evolve and generalise drop, and why.

An evolution is kept only if it is another request, asks for at least as much, is about the same thing
and can be answered by someone who sees nothing else (the eliminations of Evol-Instruct, Xu et al. 2023,
arXiv 2304.12244, section 3.2, and what small models get wrong beside them). All checks are on words, none
asks a model: they are run on every draft. What they miss, the gate behind the step may still find.

What is measured of each reason on hand-made cases in both languages stands in
``tests/synthesis/test_synthesis_failures.py``.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from itertools import pairwise

import polars as pl

from hydata.curation.measure import count_matches
from hydata.synthesis.text import Defect, answers, tokens

BREADTH = "breadth"
"""The ``style`` of an operator that asks for another request of the same field: what is about the same thing
there is a failure everywhere else, and the numbers and code of the parent are not the child's."""

SHRUNK = 0.8
"""An evolution with less than this part of its parent's tokens has lost something."""

NEW_TOKENS = 3
"""With fewer tokens that the parent has not, an evolution is a copy."""

KEPT = 0.2
"""An evolution that keeps less than this part of its parent's longer words is about something else."""

QUESTIONS = 4
"""With so many questions, and over two more than its parent, an evolution is a list of questions."""

_ENDS_QUESTION = re.compile(r"[?？]+")

_GLOSS = re.compile(
    r"^\W*(?:explanation|rationale|reasoning|note|changes?(?: made)?|why this|what (?:i )?changed"
    r"|constraints? added)\b[^\n]{0,40}?[:：]"
    r"|\b(?:this|the) (?:new |harder |revised |rewritten |evolved |modified )?"
    r"(?:version|rewrite|rewriting|request|question|prompt|instruction)\s+"
    r"(?:is (?:now )?(?:harder|clearer|more \w+)|adds?|now (?:asks|requires)"
    r"|requires the (?:solver|reader|assistant)|increases|makes (?:it|the))\b"
    r"|\bI(?:'ve| have)? (?:added|rewr\w+|made (?:it|the (?:request|question))|changed|included)\b[^.?!\n]*"
    r"\b(?:constraint|condition|requirement|request|question|prompt|instruction|clear|hard|harder|difficult)"
    r"|^\W*(?:说明|解释|注|注释|备注|改写说明|修改说明|改动|变化|理由|改写思路|增加的?(?:限制|条件))[：:]"
    r"|(?:改写|修改|变难|调整)(?:后的?|之后的?)?(?:版本|要求|问题|指令|题目)?(?:增加|加入|添加|更加|变得|的难点)"
    r"|我(?:增加|加入|添加|改写|修改)了",
    re.IGNORECASE | re.MULTILINE,
)
"""The model's remarks about its own rewriting."""

_META = re.compile(
    r"\b(?:given|original|old|initial|previous|rewritten|evolved|harder|clearer|simpler) "
    r"(?:request|prompt|instruction)s?\b|#\s?(?:given|rewritten|created) prompt"
    r"|(?:原始?|原来的|给定的?|改写后的?|变难后的?|更难的)(?:要求|指令|题目|提示词|请求)",
    re.IGNORECASE,
)
"""Words that only make sense to someone who has seen the prompt."""

_REPLIES = re.compile(
    r"\A[\s*]*(?:yes|no|the answer|answer|it (?:is|was|takes|would)|it's|there (?:is|are|were)|because"
    r"|therefore|thus|so,|to (?:solve|answer|find|calculate|do)|first(?:ly)?,|here (?:is|are)"
    r"|you (?:can|should|could|need to)|a (?:good|possible|common)|one (?:way|reason|possible))\b"
    r"|\A[\s*]*(?:是的|不是|不会|答案|答|解|因为|由于|所以|因此|首先|根据|这是因为|可以通过|一般来说|通常来说"
    r"|原因(?:是|在于|有))",
    re.IGNORECASE,
)
"""How an answer begins that follows the last question mark."""

_ADVISES = re.compile(
    r"\A\s*To [a-z]+ [^,.?!\n]{2,80}, (?:you|we|one|simply|it)\b|\A\s*(?:In (?:reality|fact)|Let me)\b"
    r"|\byou (?:can|could|should) (?:simply|also|use|find|try|make|start|replace|begin)\b|\bcan be used to\b"
    r"|你可以(?:先|用|使用|通过|尝试)|(?:可以|应该)通过",
)
"""How an answer speaks that nowhere sounds like one at its beginning; a question may speak so as well."""

_SUM = re.compile(r"\d\s*[-+*/×÷x]\s*\d[\d\s.+*/×÷x-]*=\s*\d")

_SLOTS = re.compile(
    r"\[[A-Z][A-Z_ /'-]{2,40}\]"
    r"|\[(?:\w+ )?(?:name|topic|subject|title|city|country|date|number|product|specific \w+)\]"
    r"|<[a-z]+(?:_[a-z]+)+>|\{[a-z_]+(?:name|topic|subject|value|number)\}|_{4,}"
    r"|(?<![a-zA-Z])[Xx]{2,}(?![a-zA-Z])|某某|×{2,}|[〇○]{2,}"
    r"|[【\[（(](?:具体)?(?:主题|名称|名字|城市|地点|时间|数字|数量|产品|内容)[】\]）)]"
)
"""Gaps left to be filled in, beside those that the rules know."""

_UNSEEN = re.compile(
    r"\b(?:as (?:we|you) (?:discussed|mentioned)"
    r"|(?:our|your) (?:previous|last|earlier) (?:conversation|answer|chat|reply)"
    r"|(?:the|this) (?:following|given|attached|enclosed|provided) "
    r"(?:table|data ?set|data|chart|graph|figure|image|diagram|file|report|spreadsheet)"
    r"|(?:table|data|chart|graph|figure|diagram) (?:above|below)|(?:see|in|use|using) (?:table|figure) \d)\b"
    r"|(?:上次|之前|刚才)(?:的)?(?:对话|聊天|回答|讨论)|(?:下|上|附)(?:面的?)?(?:表|图)(?:格|所示|中|里)?(?![书片面层])"
    r"|(?:如下|以下|所给的?|给出的)(?:表格|数据|图表|图片|文件|报告|清单)",
    re.IGNORECASE,
)
"""Material that is spoken of as if it were there; it may be, in a text with some of its own."""

_MATERIAL = re.compile(r"```|\n\s*\|.*\||\n.*(?:\t|,.*,).*\n|\n.{80,}|[:：]\s*\S.{60,}", re.DOTALL)

_CODE = re.compile(r"```[^\n`]*\n(.*?)```|`([^`\n]+)`", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d[\d,]*(?:\.\d+)?|(?<=[\u3400-\u9fff])\d[\d,]*(?:\.\d+)?")
_ITEM = re.compile(r"^\s*(?:\d{1,2}[.)、]|[(（]\d{1,2}[)）])\s+", re.MULTILINE)
_WORDS = {
    **{"zero": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7"},
    **{"eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "dozen": "12", "half": "0.5"},
    **{"hundred": "100", "thousand": "1000", "first": "1", "second": "2", "third": "3"},
}
_HAN_DIGITS = {digit: n for n, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
_HAN_NUMBER = re.compile("[零〇一二两三四五六七八九十百千万]+")


def find_failure(parent: str, evolved: str, style: str | None = None) -> Defect | None:
    """How an evolution of ``parent`` by an operator of ``style`` failed, or None.

    The reasons, in the order in which they are looked for: ``commented`` (says what it changed),
    ``leaks_prompt`` (speaks of the request it was made from), ``copied``, ``unanswerable`` (points at what
    the reader has not), ``answered`` (answers instead of asking, or asks and answers), ``lost_code``,
    ``shrank``, ``drifted``, ``lost_numbers``, ``placeholder``, ``many_questions``. What concerns a new
    instruction by itself (empty, too short, another language, the prompt's own words) is found by
    ``text.find_defect`` before.
    """
    for reason, found in _CHECKS:
        if style == BREADTH and reason in _OF_THE_SAME:
            continue
        if (seen := found(parent, evolved)) is not None:
            return Defect(reason, f"{seen} in: {evolved}" if seen else evolved)
    return None


def _matches_only_new(pattern: re.Pattern[str], parent: str, evolved: str) -> str | None:
    found = pattern.search(evolved)
    return repr(found[0]) if found and not pattern.search(parent) else None


def _copied(parent: str, evolved: str) -> str | None:
    old, new = tokens(parent), tokens(evolved)
    added = (Counter(new) - Counter(old)).total()
    return "" if added < NEW_TOKENS and len(new) >= SHRUNK * len(old) else None


def _shrank(parent: str, evolved: str) -> str | None:
    return "" if len(tokens(evolved)) < SHRUNK * len(tokens(parent)) else None


def _answered(parent: str, evolved: str) -> str | None:
    old, new = tokens(parent), tokens(evolved)
    if answers(evolved) and not answers(parent):
        # a few words of the parent are a part of it, not an answer
        return None if (Counter(new) - Counter(old)).total() < NEW_TOKENS else ""
    if (done := _SUM.search(evolved)) and not _SUM.search(parent):
        return repr(done[0])
    if (advised := _ADVISES.search(evolved)) and not (
        _ADVISES.search(parent) or "?" in evolved or "？" in evolved
    ):
        return repr(advised[0].strip())
    *before, last = _ENDS_QUESTION.split(evolved)
    replied = _REPLIES.search(last) if before else None
    return repr(replied[0].strip()) if replied and not re.search(r"[?？]", last) else None


def _drifted(parent: str, evolved: str) -> str | None:
    """Words are compared by their first five letters, so that "volcano" is kept in "volcanoes"; of Chinese
    it is pairs of characters, since single ones are shared by any two texts."""
    words = _stems(parent)
    if not words:
        return None
    kept = len(words & _stems(evolved)) / len(words)
    return f"{kept:.0%} of the words are left" if kept < KEPT else None


_COMMON_ENGLISH = """
about above after again also and another any are because been before being below between both but can could
create describe did does doing down during each example examples explain few find following for from further
give had has have having here how into its just list make more most name not now off once only other our out
over own please provide same she should show some such tell than that the their them then there these they
this those three through too two under until use using very was were what when where which while who why will
with would write you your
"""
_COMMON_CHINESE = """
一下 一个 一篇 一段 一首 什么 怎么 怎样 如何 为何 哪些 哪个 多少 帮我 帮忙
说明 解释 介绍 描述 分析 列出 写出 给出
"""
_COMMON = frozenset((_COMMON_ENGLISH + _COMMON_CHINESE).split())


def _stems(text: str) -> set[str]:
    found = tokens(text)
    latin = {t[:5] for t in found if t.isascii() and len(t) > 2 and t not in _COMMON}
    han = {a + b for a, b in pairwise(found) if not a.isascii() and not b.isascii()} - _COMMON
    return latin | han


def numbers(text: str, words: bool = False) -> set[str]:
    """The numbers of a text in digits (``"1,500"`` is ``"1500"``, ``"2.0"`` is ``"2"``), without those that
    number the items of a list; with ``words`` also those written out in English or Chinese."""
    text = _ITEM.sub("", text)
    found = {_plain(match[0]) for match in _NUMBER.finditer(text)}
    if words:
        found |= {_WORDS[token] for token in tokens(text) if token in _WORDS}
        found |= {str(_of_han(match[0])) for match in _HAN_NUMBER.finditer(text)}
    return found


def _plain(number: str) -> str:
    digits = number.replace(",", "").replace("−", "-").lstrip("-")
    whole, _, part = digits.partition(".")
    part = part.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{part}" if part else "")


def _of_han(text: str) -> int:
    if not set(text) & set(_HAN_UNITS):
        return int("".join(str(_HAN_DIGITS[c]) for c in text))
    total = section = digit = 0
    for c in text:
        if c in _HAN_DIGITS:
            digit = _HAN_DIGITS[c]
        elif c == "万":
            total, section, digit = (total + section + digit) * 10_000, 0, 0
        else:
            section, digit = section + (digit or 1) * _HAN_UNITS[c], 0
    return total + section + digit


def _lost_numbers(parent: str, evolved: str) -> str | None:
    lost = sorted(numbers(_CODE.sub(" ", parent)) - numbers(evolved, words=True))
    return f"{', '.join(lost)} not" if lost else None


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _lost_code(parent: str, evolved: str) -> str | None:
    whole = _squeezed(evolved)
    for fenced, inline in _CODE.findall(parent):
        code = fenced or inline
        lines = [line for line in map(_squeezed, code.splitlines()) if line]
        kept = sum(line in whole for line in lines)
        if kept < 0.8 * len(lines):  # a line or two may be changed: that can be what makes it harder
            return f"{' '.join(code.split())[:60]!r} not"
    return None


def _placeholder(parent: str, evolved: str) -> str | None:
    return _matches_only_new(_SLOTS, parent, evolved) or _more(parent, evolved, "template_holes")


def _unanswerable(parent: str, evolved: str) -> str | None:
    pointed = _matches_only_new(_UNSEEN, parent, evolved)
    if pointed and not _MATERIAL.search(evolved):
        return pointed
    return _more(parent, evolved, "missing_media")


def _more(parent: str, evolved: str, phrases: str) -> str | None:
    """Whether the evolution has more of the rules' ``phrases`` than its parent."""
    texts = pl.DataFrame({"text": [parent, evolved]})
    before, after = texts.select(count_matches(pl.col("text"), phrases)).to_series()
    return phrases if after > before else None


def _many_questions(parent: str, evolved: str) -> str | None:
    before, after = (len(_ENDS_QUESTION.findall(text)) for text in (parent, evolved))
    return f"{after} questions" if after >= QUESTIONS and after > before + 2 else None


_CHECKS = (
    ("commented", partial(_matches_only_new, _GLOSS)),
    ("leaks_prompt", partial(_matches_only_new, _META)),
    ("copied", _copied),
    ("unanswerable", _unanswerable),
    ("answered", _answered),
    ("lost_code", _lost_code),
    ("shrank", _shrank),
    ("drifted", _drifted),
    ("lost_numbers", _lost_numbers),
    ("placeholder", _placeholder),
    ("many_questions", _many_questions),
)
_OF_THE_SAME = {"shrank", "drifted", "lost_numbers", "lost_code"}
REASONS = tuple(reason for reason, _ in _CHECKS)
