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
_HAN_TEXT = re.compile(rf"[{_HAN}]")
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
    r"(?:question|instruction|request|task|exercise|prompt|query|problem|puzzle|user)(?:\s*#?\d+)?\s*\**\s*"
    r"[:：][\s*]*"
    r"|\A[*#\s]*(?:新的?|改写后的?|变难后的?|更难的?|编程|写作)?(?:问题|要求|指令|任务|题目|请求|提问|问|题|用户)"
    r"\s*[0-9一二三]{0,2}\s*\**\s*[：:]\s*\**\s*",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\A(?:[（(]?\d{1,2}(?:[.)]\s+|[）、])|[-*•]\s+)")
_NEXT_ITEM = re.compile(r"\n\s*(?:[（(]?[2２](?:[.)]\s|[）、])|[-*•]\s)")
_OWN_ANSWER = re.compile(
    r"\n+[*#\s]*"
    r"(?:(?:sample |possible |expected )?(?:answer|solution|response)|assistant"
    r"|(?:参考)?答案|解答|回答|答|解|助手)"
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


_TEXTS = (
    "text|passage|article|web\\s?page|website|document|excerpt|extract|paragraph|(?:code )?snippet|code block"
    "|transcript|pages|essay|report|study|dialogue|dialog|conversation|exchange|interview|blog post"
    "|sentences?"
)
_PIECES = (
    rf"{_TEXTS}|statements?|information|data|context|story|poem|quote|quotation|table|figure|image"
    "|picture|diagram|chart|graph|options?|code|scenario|review|headline|email|letter|facts|phrase|idiom|page|question"
    "|answer|instructions?|notes?|recipe|details|method|painting|situation|problem|equation|dataset"
)
_POINTS_AT_SOURCE = re.compile(
    rf"\b(?:the|this|that|these|those)\s+(?:(?:original|quoted|short|whole|entire)\s+)*(?:{_TEXTS})\b"
    r"(?! (?:of|messages?|editors?|files?|books?|objects?|fields?|generation|processing)\b)"
    rf"|\b(?:the|this|these|those)\s+(?:above|given|provided|supplied|attached|previous|preceding)\s+"
    rf"(?:\w+\s+){{0,2}}(?:{_PIECES})\b"
    r"|\b(?:the|this|these|those)\s+(?:above|following|aforementioned)\b(?:\s+\w+)?"
    rf"|\b(?:function|list|words|example|{_PIECES})\s+(?:above|below)\b"
    r"|\b(?:mentioned|described|listed|stated|shown|discussed|provided|given)\s+(?:above|below|here|earlier)\b"
    r"|\bthis\s+(?:code|page|chapter|section|function|program|quote|poem|story|joke|headline|review|table|statement|dataset)\b"
    r"|\bin the (?:code|page|chapter|book|novel|story|poem|play|table|picture|image|video|letter|speech)\b"
    r"(?!,? (?:of|by|about|called|titled|named|on|to|for|where|that|who|[\"“'‘]|(?-i:[A-Z])))"
    r"|\b(?:according to|does|did|do|is|was|has|why|how) the (?:author|narrator|speaker|writer)\b(?! of\b)"
    r"|\bthe (?:author|narrator|speaker|writer)(?:'s|’s)\b",
    re.IGNORECASE,
)
_TEXTS_ZH = (
    "文本|文字|文章|短文|段落|句子|内容|材料|资料|对话|代码|程序|信息|问答|新闻|报道|故事|诗歌|诗句|段话|句话"
    "|案例|数据|列表|表格|图片|网页|页面|文档|章节|陈述|短语|题目"
)
_POINTS_AT_SOURCE_ZH = re.compile(
    r"根据文章|结合(?:上述)?材料|文章作者|"
    rf"上文(?!化|学|明|字)|前文|上述|前述|如上所述|(?:以上|上面|下面|以下|下列)(?:的|这|那|几|两|三|一|[个段句篇首则])*(?:{_TEXTS_ZH})"
    rf"|上面(?:的|这|那|提|说|写|给)|(?<![以如上])下文|(?<![论语散作课征中英范原正下])文中|[书诗题剧片]中(?=的|作者|人物|提到|主人公|所)"
    r"|(?:(?<![文样版课剧书基根])本|该|此|这篇|这个|那篇)(?:文章|文(?![化学明字件物人])|网页|页面|文档|段落|章节)"
    r"|网页(?:中|里|内容)|文章(?:中|里)|原文|如[图表]|[上下][图表](?![书案示像现达格演面])"
    rf"|(?:这|该|此)(?:一?[段句篇首则份幅张组条]|部分|些)(?:{_TEXTS_ZH}|文(?![化学明物人])|诗|词|话|图|表|新闻)"
    rf"|(?:给定|(?:给出|提供|输入)的|所给|所提供)的?(?:一?[段句篇首则组]|几个|两个|三个|一个)?(?:{_TEXTS_ZH})|材料(?:中|里)"
    r"|(?<![0-9０-９%％字岁元度米斤个人年级成克分层])(?:以下|下列)(?=[\u4e00-\u9fff])"
    r"|(?:\A|[，。；！？\s将把对请为从用给出释析])下面[的这几两]|(?:改正|更改|重写|编辑|改写|重组|将|把)句子"
    r"|作者(?:认为|为什么|为何|在[这此文书]|是(?:如何|怎[样么])|的(?:观点|意图|态度|看法))"
)
_QUOTED = re.compile(r"“([^”]+)”|\"([^\"]+)\"|「([^」]+)」|‘([^’]+)’|《([^》]+)》|(?<!\w)'([^\n]+?)'(?!\w)")
_POINTER_ZH = re.compile(r"\A[这那该此本]一?[段句篇首则份幅张组条个些]?")
_COLON = re.compile(r"[^.?!。？！\n]{0,80}[:：]")
_SHORT = re.compile(r"sentence|phrase|quot|statement|idiom|word|句|话|短语|陈述", re.IGNORECASE)
_LONG = re.compile(
    rf"{_TEXTS}|文本|文字|文章|短文|段落|材料|资料|对话|新闻|报道|故事|网页|文档", re.IGNORECASE
)
_FORWARD = re.compile(r"following|below|以下|下[面列]|这|this", re.IGNORECASE)
_SEPARATOR = re.compile(r"[:：\n?？。!！]|\.\s|\s[-–—]\s|(?=[\[{“\"])")
_OWN_QUOTE, _OWN_LINES, _OWN_PARAGRAPH = 8, 4, 150
"""Tokens of a quotation, tokens of lines that ask for nothing, and characters of any line, from which an
instruction is taken to bring the text along that it points at. A title is a shorter quotation."""


def refers_to_source(text: str) -> str | None:
    """The words that point at a text the reader does not have ("in the passage"), or None.

    What the instruction itself has introduced ("Write a function ... this function") may be pointed at, and
    anything if it brings material: a fence, a quotation, what stands after a colon, a further line.
    """
    for pattern in (_POINTS_AT_SOURCE, _POINTS_AT_SOURCE_ZH):
        for found in pattern.finditer(text):
            if not _introduced(text[: found.start()], found[0]) and not _brings_material(text, found):
                return found[0]
    return None


def _introduced(before: str, pointer: str) -> bool:
    """Whether ``before`` speaks of the thing already: "a function" before "this function", 文章 before
    这篇文章."""
    if _HAN_TEXT.search(pointer):
        return (noun := _POINTER_ZH.sub("", pointer)) != pointer and noun in before
    noun = re.escape(pointer.split()[-1])
    return (
        re.search(rf"\b(?:an?|one|another|my|our|your)\s+(?:[\w-]+\s+){{0,4}}{noun}\b", before, re.I)
        is not None
    )


def _brings_material(text: str, pointer: re.Match[str]) -> bool:
    """Whether the text pointed at is there: fenced, quoted, on a line of its own, or next to the pointer."""
    if "```" in text:
        return True
    enough = 3 if _SHORT.search(pointer[0]) else _OWN_QUOTE
    if any(len(tokens("".join(groups))) >= enough for groups in _QUOTED.findall(text)):
        return True
    others = [line for line in text.split("\n") if pointer[0] not in line]
    if any(len(line) >= _OWN_PARAGRAPH for line in others):
        return True
    if sum(len(tokens(line)) for line in others if not asks(line)) >= _OWN_LINES:
        return True
    rest = _SEPARATOR.split(text[pointer.end() :], maxsplit=1)
    if len(rest) == 1 or not tokens(rest[1]):
        return False
    # "Which of the following ...? A, b and c." has what "Sum up the following text. Use 50 words." has not.
    # Only after a text is a question no part of it ("Answer from the following article: who ...?").
    question = rest[1].rstrip()[-1:] in ("?", "？")
    if question and _LONG.search(pointer[0]):
        return False
    if _COLON.match(text, pointer.end()):
        return True
    return _FORWARD.search(pointer[0]) is not None and (question or not asks(rest[1]))


_VERBS = (
    "write|explain|describe|compare|list|create|design|give|find|calculate|compute|discuss|summari[sz]e|translate"
    "|implement|develop|analy[sz]e|identify|provide|name|suggest|show|prove|solve|make|define|outline|draft|rewrite"
    "|imagine|tell|state|determine|evaluate|classify|plan|build|convert|generate|use|consider|prepare|propose"
    "|argue|choose|play|act|pretend|stay|speak|greet|help|sort|read|correct|recommend|check|translate"
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


def find_defect(text: str, language: str, own_words: str, standalone: bool = True) -> Defect | None:
    """What every new instruction is checked for, whichever step made it; ``own_words`` are the prompt's.
    Only a ``standalone`` one must not point at a text."""
    found = tokens(text)
    if not found:
        return Defect("empty", text)
    if leaks(text, own_words):
        return Defect("leaks_prompt", text)
    if not in_language(text, language):
        return Defect("wrong_language", f"wanted {language}: {text}")
    if len(found) < MIN_TOKENS:
        return Defect("too_short", text)
    if standalone and (pointer := refers_to_source(text)):
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
