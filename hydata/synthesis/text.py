"""Plain text questions about instructions: what is asked, in which script, and what is wrong with it.

Small models wrap an instruction in labels, quotes, numbers and fences; ``clean_instruction`` takes them
off. What is left is checked by ``find_defect``; a defect's name becomes the reject's reason.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

MIN_TOKENS = 4
"""Fewer words (or Chinese characters) than this cannot say what is wanted ("什么是AI" has four)."""

SHINGLE = {"en": 6, "zh": 9}
"""So many tokens in a row in common with a prompt's own words mean that the prompt was echoed."""

_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+(?:['’][^\W_{_HAN}]+)*")
_LATIN = re.compile(r"[a-zà-öø-ÿ0-9]")


class Defect(NamedTuple):
    """Why a text cannot be used: the reject's reason and what was seen."""

    reason: str
    detail: str


def tokens(text: str) -> list[str]:
    """Lower-case words; each Chinese character is a token of its own."""
    return _TOKEN.findall(text.lower())


def script_language(text: str) -> str:
    """``"zh"`` if at least three in ten tokens are Chinese characters, else ``"en"``.

    Stands in where no language judge has spoken yet. Technical Chinese is full of Latin words, English
    hardly ever quotes this much Chinese.
    """
    found = tokens(text)
    han = sum(_is_han(token) for token in found)
    return "zh" if found and han >= 0.3 * len(found) else "en"


def in_language(text: str, language: str) -> bool:
    """Whether ``text`` is written in the script of ``language`` (en: Latin, zh: Chinese). Languages of
    one script are told apart later, by the language judge."""
    found = tokens(text)
    latin = sum(bool(_LATIN.match(token)) for token in found)
    if language == "zh":
        kana = sum("\u3040" <= c <= "\u30ff" for c in text)
        return script_language(text) == "zh" and kana == 0
    return latin >= 0.7 * len(found)


def _is_han(token: str) -> bool:
    return "\u3400" <= token[0] <= "\u9fff"


def overlap(first: Sequence[str], second: Sequence[str]) -> float:
    """F1 of the two bags of tokens, 0 to 1."""
    if not first or not second:
        return 0.0
    common = (Counter(first) & Counter(second)).total()
    return 2 * common / (len(first) + len(second))


def shingles(found: Sequence[str], size: int) -> set[tuple[str, ...]]:
    """All runs of ``size`` tokens."""
    return {tuple(found[i : i + size]) for i in range(len(found) - size + 1)}


_FENCE = re.compile(r"\A```[^\n`]*\n(.*?)\n?```\Z", re.DOTALL)
_PREAMBLE = re.compile(
    r"\A(?:sure|certainly|of course|okay|ok|great|here(?:'s|’s| is| are)|the (?:new|harder|rewritten))\b"
    r"[^\n:.?]{0,100}:\s+"
    r"|\A.{0,300}?\bhere(?:'s|’s| is) (?:the|a|my) (?:new|revised|rewritten|improved|harder)\b[^\n:.?]*:\s"
    r"|\A(?:好的|好|当然|以下是|下面是|这是|改写后的?)[^\n：:。？]{0,40}[：:]\s*",
    re.IGNORECASE | re.DOTALL,
)
_LABEL = re.compile(
    r"\A[*#\s]*(?:(?:new|next|follow-up|harder|rewritten|revised|clearer|exam|programming)\s+)?"
    r"(?:question|instruction|request|task|exercise|prompt|query|problem)(?:\s*#?\d+)?\s*\**\s*[:：][\s*]*"
    r"|\A[*#\s]*(?:新的?|改写后的?|变难后的?|更难的?|编程|写作)?(?:问题|要求|指令|任务|题目|请求|提问|问|题)"
    r"\s*[0-9一二三]{0,2}\s*\**\s*[：:]\s*\**\s*",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\A(?:[（(]?\d{1,2}(?:[.)]\s+|[）、])|[-*•]\s+)")
_NEXT_ITEM = re.compile(r"\n\s*(?:[（(]?[2２](?:[.)]\s|[）、])|[-*•]\s)")
_OWN_ANSWER = re.compile(
    r"\n+[*#\s]*"
    r"(?:(?:sample |possible |expected )?(?:answer|solution|response)|(?:参考)?答案|解答|回答|答|解)"
    r"\s*\**\s*[:：].*\Z",
    re.IGNORECASE | re.DOTALL,
)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "「": "」", "『": "』", "《": "》", "`": "`", "**": "**"}


def clean_instruction(text: str) -> str:
    """The instruction without what models wrap around it.

    Takes off fences, quotes, "Question:" labels, "Here is ...:" openings and numbers; of a numbered
    list only the first item is kept, and an answer the model added after the question is cut off.
    """
    text = text.strip()
    for _ in range(8):
        before = text
        if fenced := _FENCE.match(text):
            text = fenced[1]
        text = _PREAMBLE.sub("", text)
        text = _LABEL.sub("", text)
        if numbered := _NUMBER.match(text):
            text = _NEXT_ITEM.split(text[numbered.end() :])[0]
        text = _OWN_ANSWER.sub("", text)
        for opening, closing in _QUOTES.items():
            inner = text[len(opening) : -len(closing)]
            if text.startswith(opening) and text.endswith(closing) and closing not in inner:
                text = inner
        text = text.strip()
        if text == before:
            break
    return text


_POINTS_AT_SOURCE = re.compile(
    r"\b(?:the|this|that|these|those)\s+"
    r"(?:(?:above|given|provided|following|previous|preceding|original|quoted)\s+)*"
    r"(?:text|passage|article|web\s?page|document|excerpt|extract|paragraph|(?:code )?snippet|code block"
    r"|transcript|pages)\b"
    r"|\b(?:the|this)\s+(?:above|given|provided|following)\s+(?:\w+\s+){0,2}"
    r"(?:code|function|method|question|answer|information|context|page|story|conversation|exchange|list)\b"
    r"|\b(?:code|text|passage|question|answer|information|description)\s+(?:above|below)\b"
    r"|\b(?:mentioned|described|listed|stated|shown|discussed)\s+(?:above|below|here)\b"
    r"|\bthis\s+(?:code|page|chapter|section|function|program)\b|\bin the (?:code|page|chapter)\b",
    re.IGNORECASE,
)
_POINTS_AT_SOURCE_ZH = re.compile(
    r"上文|上述|上面(?:的|这)|以上(?:内容|文字|文本|代码|信息|材料|问答|段落)|下文|下列文字|(?<![论语散作课])文中"
    r"|(?:本|该|此|这篇|这个|那篇)(?:文章|文|网页|页面|文档|段落|章节)|网页(?:中|里|内容)|文章(?:中|里)|原文"
    r"|(?:这|该|此)(?:段|部分|一段)(?!时间|时期|日子|经历|关系|历史|路|旅|距离)(?:文字|文本|话|内容|代码|材料|对话)?"
    r"|给定的?(?:文本|代码|材料)|材料(?:中|里)"
)
_OWN_MATERIAL = 150
"""Characters of a paragraph after which an instruction is taken to bring its text along."""


def refers_to_source(text: str) -> str | None:
    """The words that point at a text the reader does not have ("in the passage"), or None.

    An instruction that brings material of its own, a fence or a long further paragraph, may point at it.
    """
    found = _POINTS_AT_SOURCE.search(text) or _POINTS_AT_SOURCE_ZH.search(text)
    if found is None or "```" in text:
        return None
    others = [p for p in re.split(r"\n+", text) if found[0] not in p]
    return None if any(len(p) >= _OWN_MATERIAL for p in others) else found[0]


_VERBS = (
    "write|explain|describe|compare|list|create|design|give|find|calculate|compute|discuss|summari[sz]e|translate"
    "|implement|develop|analy[sz]e|identify|provide|name|suggest|show|prove|solve|make|define|outline|draft|rewrite"
    "|imagine|tell|state|determine|evaluate|classify|plan|build|convert|generate|use|consider|prepare|propose"
    "|argue|choose"
)
_VERBS_ZH = (
    "写|编写|解释|比较|列举|列出|设计|分析|说明|描述|计算|证明|翻译|总结|概括|改写|给出|简述|介绍|谈谈"
    "|阐述|假设"
)
_ASKS = re.compile(
    r"[?？]|\b(?:please|can you|could you|i (?:want|need|would like)|help me)\b"
    r"|(?:\A|[.!;:\n]\s*)(?:who|what(?! an? )|when|where|which|why|how)\b"
    rf"|(?:\A|[.!;:,\n]\s*|\bthen\s+)(?:{_VERBS})\b"
    r"|请|如何|怎么|怎样|什么|为何|哪|多少|几|吗|呢|谁|是否|能否|试|求|帮我"
    rf"|(?:\A|[，。；：\n])(?:{_VERBS_ZH})",
    re.IGNORECASE,
)
_ANSWERS = re.compile(
    r"\A(?:sure|certainly|of course|yes,|no,|the answer is|to (?:solve|answer) this|step 1|as an ai)\b"
    r"|\A(?:当然|好的|答[案：:]|解[：:]|首先|作为一[个名](?:AI|人工智能))"
    r"|\b(?:the|final) answer is\b|答案[是为]",
    re.IGNORECASE,
)


def asks(text: str) -> bool:
    """Whether the text requests anything at all: a question, an imperative, a wish."""
    return _ASKS.search(text) is not None


def answers(text: str) -> bool:
    """Whether the text reads as an answer instead of a request."""
    return _ANSWERS.search(text) is not None or not asks(text)


def find_defect(text: str, language: str, own_words: str) -> Defect | None:
    """What every new instruction is checked for, whichever step made it; ``own_words`` are the prompt's."""
    found = tokens(text)
    if not found:
        return Defect("empty", text)
    if leaks(text, own_words):
        return Defect("leaks_prompt", text)
    if not in_language(text, language):
        return Defect("wrong_language", f"wanted {language}: {text}")
    if len(found) < MIN_TOKENS:
        return Defect("too_short", text)
    if pointer := refers_to_source(text):
        return Defect("refers_to_source", f"{pointer!r} in: {text}")
    return None


_TAG = re.compile(r"</?\w+>")
_SENTENCE_END = re.compile(r"[.!?。！？：:\n]+")


def leaks(text: str, own_words: str) -> bool:
    """Whether the text repeats a run of the prompt's own words, a whole sentence of them, or its tags."""
    if any(tag in text for tag in _TAG.findall(own_words)):
        return True
    found = tokens(text)
    size = SHINGLE[script_language(own_words)]
    if not shingles(found, size).isdisjoint(shingles(tokens(own_words), size)):
        return True
    said = {tuple(tokens(sentence)) for sentence in _SENTENCE_END.split(text)}
    own = {tuple(tokens(sentence)) for sentence in _SENTENCE_END.split(own_words)}
    return any(len(sentence) >= 3 for sentence in said & own)
