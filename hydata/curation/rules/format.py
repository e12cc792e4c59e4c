"""Format: the conversation's own structure, what leaked into it from prompts, pages and trainers, and whether
an answer has the form that was asked for: JSON, code that parses, a language, a number of items.
"""

from __future__ import annotations

import ast
import json
import re
import threading
import warnings
from collections.abc import Mapping
from functools import cache
from itertools import islice, pairwise

import polars as pl

from hydata.curation.language import detect
from hydata.curation.measure import count_phrases, counted, has_anchor, measure, on_candidates, phrases
from hydata.curation.turns import ROLES, turns_of

_CONTROL_TOKENS = r"<\|(?:startoftext|extra_0|extra_4|extra_5|eos)\|>"
_ROLE_ORDER = r"^s?(?:ua(?:t+a)*)*(?:ua(?:t+a)*|u(?:at+)*)$"

_PARSED = 50_000
"""Characters of code or JSON that are parsed; what is longer is not judged."""
_BLOCKS = 50
"""Blocks of code of one answer that are parsed."""
_DEEP = 100
"""Open brackets in a row from which on nothing is parsed: CPython's parsers recurse."""
_BRACKETED = re.compile(r"[\[{].*[\]}]", re.S)
_FENCED = re.compile(r"^[ \t]*```[ \t]*(\w*)[^\n]*\n(.*?)^[ \t]*```", re.M | re.S)
_SURE = 0.6
"""Confidence of the language of an answer from which on it is another than was asked for."""
_TELLING = 4
"""Words of the shortest answer whose language is told."""


def _may_hold_tokens(messages: pl.Series) -> pl.Series:
    """Whether a message has one beside its content, or calls a tool."""
    turns = turns_of(messages)
    may = (turns["tool_calls"].list.len() > 0).fill_null(False)
    may |= ~turns["role"].is_in(list(ROLES)).fill_null(True)
    for field in ("reasoning", "tool_call_id"):
        if (texts := turns[field]).null_count() < len(texts):
            may |= texts.str.contains("<|", literal=True).fill_null(False)
    return pl.Series(turns.per_row(may) > 0)


def _count_tokens(messages: pl.Series, tools: pl.Series) -> pl.Series:
    turn = pl.element()
    calls = turn.struct.field("tool_calls").list.eval(
        pl.concat_str(
            *(pl.element().struct.field(part) for part in ("id", "name", "arguments")),
            separator="\n",
            ignore_nulls=True,
        )
    )
    parts = pl.concat_str(
        *(turn.struct.field(part) for part in ("role", "content", "reasoning", "tool_call_id")),
        calls.list.join("\n", ignore_nulls=True),
        separator="\n",
        ignore_nulls=True,
    )
    turns = pl.col("messages").list.eval(parts).list.join("\n")
    text = pl.concat_str(turns, "tools", separator="\n", ignore_nulls=True)
    frame = pl.DataFrame({"messages": messages, "tools": tools})
    return frame.select(text.str.count_matches(_CONTROL_TOKENS)).to_series()


@measure(pl.UInt32)
def control_tokens(text: pl.Expr) -> pl.Expr:
    """Control tokens of the Hunyuan-Large trainer, anywhere in a record: its contents, reasoning, tool
    calls and tool definitions, of any role.

    The trainer finds what to compute the loss on by these tokens, so one inside a text moves the mask.
    """
    there = pl.col("messages").map_batches(_may_hold_tokens, return_dtype=pl.Boolean)
    found = on_candidates(
        there | has_anchor(text, "html") | pl.col("tools").str.contains("<|", literal=True).fill_null(False),
        _count_tokens,
        pl.col("messages"),
        pl.col("tools"),
    )
    return pl.when(pl.col("messages").is_not_null()).then(found)


def _empty_turns(messages: pl.Series) -> pl.Series:
    turns = turns_of(messages)
    empty = (
        turns["role"].is_in(["user", "assistant"])
        & (turns["content"].str.strip_chars_start().str.len_bytes().fill_null(0) == 0)
        & (turns["tool_calls"].list.len().fill_null(0) == 0)
    )
    found = pl.Series(turns.per_row(empty), dtype=pl.UInt32)
    return found if turns.there.all() else found.set(~pl.Series(turns.there), None)


@measure(pl.UInt32)
def empty_turns(text: pl.Expr) -> pl.Expr:
    """User and assistant messages without text and without a tool call."""
    return pl.col("messages").map_batches(_empty_turns, return_dtype=pl.UInt32)


@measure(pl.Boolean)
def role_order_broken(text: pl.Expr) -> pl.Expr:
    """Not: at most one system message, then user and assistant in turn, tool results after the
    assistant's call."""
    return ~pl.col("roles").str.contains(_ROLE_ORDER)


@measure(pl.UInt32, "instruction", "response")
def role_markers(text: pl.Expr) -> pl.Expr:
    """Markers of other chat and prompt formats: "### Instruction:", "<|im_start|>", "Human:"."""
    return count_phrases(text, "role_markers")


@measure(pl.UInt32, "instruction", "response")
def template_holes(text: pl.Expr) -> pl.Expr:
    """Holes of a template that nobody filled: "{{ name }}", "[INSERT ...]", （在此插入...）."""
    about = count_phrases(pl.col("instruction"), "about_templates") > 0
    return pl.when(about.fill_null(False)).then(0).otherwise(count_phrases(text, "template_holes"))


@measure(pl.UInt32)
def html_remains(text: pl.Expr) -> pl.Expr:
    """Tags of layout and character entities; none where the instruction speaks of HTML, a page, or code of
    one (``phrases/about_html.txt``), for the answer has them rightly."""
    about = count_phrases(pl.col("instruction"), "about_html") > 0
    return pl.when(about.fill_null(False)).then(0).otherwise(count_phrases(text, "html"))


def _asks(name: str) -> pl.Expr:
    """Whether the instruction may have what the list of phrases looks for, and is answered."""
    return has_anchor(pl.col("instruction"), name) & pl.col("response").is_not_null()


def _depth(text: str) -> int:
    """The deepest nesting of brackets, quotes aside."""
    depth = deepest = 0
    for sign in re.findall(r"[(\[{)\]}]", text):
        depth = depth + 1 if sign in "([{" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


def _blocks(text: str) -> list[tuple[str, str]]:
    """Language and content of the first fenced blocks."""
    return [(found[1], found[2]) for found in islice(_FENCED.finditer(text), _BLOCKS)]


def _parses(text: str) -> bool:
    if _depth(text) > _DEEP:
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_json(text: str) -> bool:
    """The text, a block in it, or what is between its first bracket and its last."""
    bare = _BRACKETED.search(text)
    candidates = (text, *(block for _, block in _blocks(text)), bare[0] if bare else "")
    return any(_parses(candidate) for candidate in candidates if candidate.strip())


def _no_json(instructions: pl.Series, responses: pl.Series) -> pl.Series:
    asked = [re.compile(phrase, re.I | re.M) for phrase in phrases("asks_json")]
    return pl.Series(
        [
            not _is_json(response)
            if len(response) <= _PARSED
            and any(phrase.search(instruction[:_PARSED]) for phrase in asked)
            and not any(language and "json" not in language.lower() for language, _ in _blocks(response))
            else None
            for instruction, response in zip(instructions, responses, strict=True)
        ],
        dtype=pl.Boolean,
    )


@measure(pl.Boolean, "response")
def invalid_json(text: pl.Expr) -> pl.Expr:
    """JSON is asked for, and neither the answer nor any block of it is JSON. Null: it is not asked for, or
    the answer is longer than 50,000 characters."""
    return on_candidates(
        _asks("asks_json"), _no_json, pl.col("instruction"), text, dtype=pl.Boolean, default=None
    )


def _is_python(code: str) -> bool:
    lines = code.expandtabs().split("\n")
    if any(line.lstrip().startswith((">>>", "In [")) for line in lines):
        return True
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    code = "\n".join(line[margin:] for line in lines)
    if len(code) > _PARSED or _depth(code) > _DEEP:
        return True
    try:
        # An odd escape is a warning, whose filters belong to the process.
        with _warnings_are_off, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _count_invalid_python(texts: pl.Series) -> pl.Series:
    return pl.Series(
        [
            sum(
                not _is_python(code)
                for language, code in _blocks(text)
                if language.lower() in ("python", "py", "python3")
            )
            for text in texts
        ],
        dtype=pl.UInt32,
    )


@measure(pl.UInt32, "response")
def invalid_python(text: pl.Expr) -> pl.Expr:
    """Blocks fenced as Python that do not parse and are no session of the interpreter, of the first 50
    blocks. Those longer than 50,000 characters, or nested deeper than 100 brackets, are not judged."""
    return on_candidates(counted(text, "fences") > 1, _count_invalid_python, text)


_warnings_are_off = threading.Lock()


@cache
def _languages() -> Mapping[str, str]:
    """Name, in lower case, to code."""
    found: dict[str, str] = {}
    for line in phrases("languages"):
        code, *names = line.split()
        found.update((name.lower(), code) for name in names)
    return found


@cache
def _asked_languages() -> list[re.Pattern[str]]:
    names = "|".join(sorted(map(re.escape, _languages()), key=len, reverse=True))
    return [re.compile(phrase.replace("LANGUAGE", names), re.I | re.M) for phrase in phrases("asks_language")]


def _asked_language(instruction: str) -> str | None:
    """The one language that is asked for; None where none is, or several."""
    names = {m[1].lower() for phrase in _asked_languages() for m in phrase.finditer(instruction[:_PARSED])}
    codes = {_languages()[name] for name in names}
    return codes.pop() if len(codes) == 1 else None


def _other_language(instructions: pl.Series, responses: pl.Series) -> pl.Series:
    asked = pl.Series([_asked_language(instruction) for instruction in instructions], dtype=pl.String)
    found = detect(pl.select(pl.when(asked.is_not_null()).then(responses)).to_series())
    return found.select(
        pl.when((pl.col("confidence") >= _SURE) & asked.is_not_null()).then(pl.col("language") != asked)
    ).to_series()


@measure(pl.Boolean, "response")
def other_language(text: pl.Expr) -> pl.Expr:
    """A language is asked for ("answer in French", 用英文回答), and the answer is surely in another. Null:
    none is asked for, or the answer's cannot be told."""
    return on_candidates(
        _asks("asks_language") & (counted(text, "words") >= _TELLING),
        _other_language,
        pl.col("instruction"),
        text,
        dtype=pl.Boolean,
        default=None,
    )


_NUMBERS = {
    **dict(
        zip(
            ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
            range(2, 11),
            strict=True,
        )
    ),
    **dict(zip("二三四五六七八九十", range(2, 11), strict=True)),
    **{f"十{name}": 10 + n for n, name in enumerate("一二三四五", 1)},
    "两": 2,
}


_ITEM = re.compile(r"^([ \t]*)(?:[-*+•][ \t]|(\d{1,3})(?:[.)](?!\d)|[、．）]))", re.M)
_ANOTHER = re.compile(rf"(?:\b(?:and|plus)\b|[,，、和及各])\s*(?:\d|{'|'.join(_NUMBERS)})", re.I)
"""A second number of things: "three names and two places"."""


def _items(text: str) -> int | None:
    """Items of the outermost list: the numbered ones, if it has some. None: there are several lists."""
    found = [(len(item[1].expandtabs(4)), item[2]) for item in _ITEM.finditer(text[:_PARSED])]
    least = min((indent for indent, _ in found), default=0)
    outer = [number for indent, number in found if indent == least]
    numbers = [int(number) for number in outer if number]
    if len(numbers) > 1 and set(numbers) != {1} and any(b <= a for a, b in pairwise(numbers)):
        return None
    return len(numbers or outer) or None


def _items_off(instructions: pl.Series, responses: pl.Series) -> pl.Series:
    asked = [re.compile(phrase, re.I) for phrase in phrases("asks_items")]
    off = []
    for instruction, response in zip(instructions, responses, strict=True):
        start = instruction[:_PARSED]
        match = next((m for phrase in asked if (m := phrase.search(start))), None)
        items = _items(response) if match and not _ANOTHER.search(start, match.end(1)) else None
        number = match[1].lower() if match else ""
        off.append(None if items is None else items - (_NUMBERS.get(number) or int(number)))
    return pl.Series(off, dtype=pl.Int32)


@measure(pl.Int32, "response")
def items_off(text: pl.Expr) -> pl.Expr:
    """Items of the answer's outermost list less those asked for ("list 5 ways", 列出三个). Null: no number is
    asked for or more than one, or the answer has no list or several."""
    return on_candidates(
        _asks("asks_items") & (counted(text, "list_items") > 1),
        _items_off,
        pl.col("instruction"),
        text,
        dtype=pl.Int32,
        default=None,
    )
