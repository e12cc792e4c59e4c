"""What the stand-in model writes: prose from the prompt's own words, and instances of a JSON schema.

Not meant to be sense, but to look like text to everything downstream: in the prompt's language, of
several finished sentences, different enough from reply to reply that duplicates are not found where
there are none. Asked for a number it ends in "The answer is N.", mostly the same N for one question,
so that voting over samples has something to agree on.
"""

from __future__ import annotations

import random
import re
from typing import Any

from hydata.schema import hash128

HAN = re.compile(r"[\u4e00-\u9fff]+")
WORD = re.compile(r"[A-Za-z][a-z]{4,}")
NUMERIC = re.compile(
    r"how (many|much|far|long|old)|calculate|compute|numeric|(as|is) a number"
    r"|多少|几(个|次|天|页)|计算|求出|数值",
    re.IGNORECASE,
)
WANTS_REQUEST = re.compile(
    r"\b(write|ask|set|order|describe)\b[^.\n]*\b(question|request|task|exercise|problem|puzzle|message|order|bug"
    r"|scene|sum|calculation|explanation|begins)s?\b[^\n]*$"
    r"|[写提出编布置描述][^。\n]*(问题?|要求|任务|题|求助|问话|提问|长文|场景|请求|开场白|句话|故障|要办的事)[^\n]*$",
    re.IGNORECASE,
)
QUESTION_KEYS = re.compile(r"instruction|question|query|problem|task", re.IGNORECASE)

# The sentences' frames; {} takes words of the prompt. Many and unlike, so that shingles rarely coincide.
FRAMES: dict[str, tuple[str, ...]] = {
    "en": (
        "In practice, {} and {} depend on each other more than {} suggests.",
        "A good way to begin is to look at {} before turning to {}.",
        "Most people who work with {} soon notice that {} matters as well.",
        "When {} changes, the effect on {} can be seen within {}.",
        "There are two reasons for this: {} comes first, and {} limits {}.",
        "Consider an example in which {} is fixed while {} varies.",
        "The relation between {} and {} is easier to see once {} is set aside.",
        "Without {}, neither {} nor {} would work as described.",
        "It helps to write down what is known about {} and then compare it with {}.",
        "This also explains why {} was placed next to {} in the first place.",
        "One should be careful here, because {} is often mistaken for {}.",
        "Taken together, {} and {} give a fuller picture of {}.",
        "Seen from the side of {}, the role of {} becomes rather small.",
        "After that, check whether {} still agrees with {}.",
    ),
    "zh": (
        "在实际情况中，{}与{}之间的联系比{}更为紧密。",
        "我们可以先观察{}，然后再讨论{}。",
        "熟悉{}的人很快会发现{}同样重要。",
        "当{}发生变化时，{}也会受到影响。",
        "原因有两个：首先是{}，其次{}限制了{}。",
        "举例来说，如果保持{}不变，只改变{}，结果就很清楚。",
        "如果没有{}，那么{}和{}都无法成立。",
        "建议把关于{}的已知内容写下来，再与{}进行比较。",
        "这也说明了为什么{}会和{}放在一起。",
        "需要注意的是，{}常常被误认为{}。",
        "综合来看，{}和{}让我们更全面地理解{}。",
        "从{}的角度看，{}的作用其实比较小。",
    ),
}
QUESTIONS: dict[str, tuple[str, ...]] = {
    "en": (
        "How does {} influence {}, and what part does {} play in it?",
        "Explain, with an example, why {} cannot be understood without {}.",
        "What would change about {} if {} were replaced by {}?",
        "Compare {} with {} and say which of them matters more for {}.",
        "Describe step by step how {} leads to {}.",
    ),
    "zh": (
        "{}是如何影响{}的？请结合{}说明。",
        "请举例解释为什么离开{}就无法理解{}。",
        "如果用{}代替{}，{}会发生什么变化？",
        "请比较{}与{}，并说明哪一个对{}更重要。",
        "请一步一步地描述{}怎样导致{}。",
    ),
}
ANSWER = {"en": "The answer is {}.", "zh": "答案是{}。"}
FILLER = {
    "en": (
        "structure",
        "method",
        "result",
        "order",
        "measure",
        "reason",
        "change",
        "source",
        "purpose",
        "limit",
    ),
    "zh": ("结构", "方法", "结果", "顺序", "原因", "变化", "来源", "目的", "条件", "过程"),
}


def tokens(text: str) -> int:
    """An estimate: one token a Chinese character, one for four characters of anything else."""
    han = sum(len(run) for run in HAN.findall(text))
    return han + (len(text) - han + 3) // 4


def vector(text: str, dimensions: int = 32) -> list[float]:
    """The sum of a vector for each word, Chinese characters each a word."""
    total = [0.0] * dimensions
    for word in re.findall(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+", text.lower()):
        drawn = random.Random(word)
        total = [number + drawn.gauss(0, 1) for number in total]
    return total if any(total) else [1.0] * dimensions


def cut(text: str, room: int) -> tuple[str, bool]:
    """At most ``room`` tokens of ``text``, and whether that is all of it."""
    if tokens(text) <= room:
        return text, True
    end = min(len(text), room * 4)
    while tokens(text[:end]) > room:
        end -= max(1, (tokens(text[:end]) - room) // 2)
    return text[:end], False


class Writer:
    """Writes from ``prompt``; ``seed`` decides everything else."""

    def __init__(self, prompt: str, seed: str) -> None:
        self._random = random.Random(seed)
        han = HAN.findall(prompt)
        latin = WORD.findall(prompt)
        self._language = "zh" if sum(map(len, han)) >= max(1, len(latin)) else "en"
        if self._language == "zh":
            words = {
                run[i : i + size]
                for run in han
                for size in (2, 3, 4)
                for i in range(0, len(run) - size + 1, size)
            }
        else:
            words = {word.lower() for word in latin}
        # Sorted: the order of a set of strings differs from process to process.
        self._words = sorted(words) if len(words) >= 12 else sorted(words | set(FILLER[self._language]))
        self._wants_request = WANTS_REQUEST.search(prompt.rstrip()) is not None
        self._numeric = int(hash128(prompt)[:4], 16) % 97 + 2 if NUMERIC.search(prompt) else None

    def prose(self, room: int) -> str:
        """Three to nine sentences, as many as fit into ``room`` tokens; one question or request if that is
        what the prompt's last line wants written."""
        if self._wants_request:
            return self._sentence(QUESTIONS)
        last = [ANSWER[self._language].format(self._number())] if self._numeric is not None else []
        sentences: list[str] = []
        frames = FRAMES[self._language]
        for frame in self._random.sample(frames, self._random.randint(3, 9)):
            longer = [*sentences, self._filled(frame)]
            if sentences and tokens(self._join([*longer, *last])) > room:
                break
            sentences = longer
        return self._join([*sentences, *last])

    def instance(self, schema: dict[str, Any]) -> object:
        """A value that ``schema`` (JSON Schema as pydantic writes it) accepts.

        Raises:
            ValueError: the schema asks for something the stand-in cannot make.
        """
        return self._value(schema, schema.get("$defs", {}), "")

    def _value(self, schema: dict[str, Any], defs: dict[str, Any], name: str) -> object:
        if "$ref" in schema:
            return self._value(defs[schema["$ref"].rpartition("/")[2]], defs, name)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        for union in ("anyOf", "oneOf", "allOf"):
            if union in schema:
                return self._value(self._random.choice(schema[union]), defs, name)
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, defs)
        if kind == "array":
            return self._array(schema, defs, name)
        if kind == "string":
            return self._string(schema, name)
        if kind in ("integer", "number"):
            return self._number_within(schema, kind)
        if kind == "boolean":
            return self._random.random() < 0.5
        if kind == "null":
            return None
        raise ValueError(f"no value for the schema {schema!r}")

    def _object(self, schema: dict[str, Any], defs: dict[str, Any]) -> dict[str, object]:
        properties = schema.get("properties", {})
        made = {key: self._value(part, defs, key) for key, part in properties.items()}
        extra = schema.get("additionalProperties")
        if not properties and isinstance(extra, dict):
            made = {word: self._value(extra, defs, word) for word in self._some(2)}
        return made

    def _array(self, schema: dict[str, Any], defs: dict[str, Any], name: str) -> list[object]:
        fixed = [self._value(part, defs, name) for part in schema.get("prefixItems", ())]
        low = max(len(fixed), schema.get("minItems", 0))
        high = min(schema.get("maxItems", max(low, 3)), max(low, 4))
        size = self._random.randint(max(low, min(1, high)), high)
        items = fixed
        for _ in range(20 * size):
            if len(items) >= size or "items" not in schema:
                break
            item = self._value(schema["items"], defs, name)
            if not (schema.get("uniqueItems") and item in items):
                items.append(item)
        if len(items) < low:
            raise ValueError(f"not {low} different items for {name!r}")
        return items

    def _string(self, schema: dict[str, Any], name: str) -> str:
        if "pattern" in schema or "format" in schema:
            raise ValueError(f"no string for the pattern or format of {name!r}")
        low, high = schema.get("minLength", 0), schema.get("maxLength", 400)
        text = self._sentence(QUESTIONS if QUESTION_KEYS.search(name) else FRAMES)
        if self._numeric is not None and "answer" in name.lower():
            text = str(self._number())
        while len(text) < low:
            text = self._join([text, self._sentence(FRAMES)])
        if len(text) <= high:
            return text
        words = " ".join(self._some(3))
        return (words if low <= len(words) <= high else text)[:high]

    def _number_within(self, schema: dict[str, Any], kind: str) -> float:
        step = schema.get("multipleOf", 1 if kind == "integer" else 0.01)
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 100))
        first = int(low // step) + (low % step > 0 or "exclusiveMinimum" in schema)
        last = int(high // step) - (high % step == 0 and "exclusiveMaximum" in schema)
        value: float = self._random.randint(first, last) * step
        return round(value, 6) if kind == "number" else int(value)

    def _number(self) -> int:
        """The prompt's own number; for three samples in ten another one nearby."""
        return (self._numeric or 0) + self._random.choice((0, 0, 0, 0, 0, 0, 0, 1, 2, 10))

    def _sentence(self, frames: dict[str, tuple[str, ...]]) -> str:
        return self._filled(self._random.choice(frames[self._language]))

    def _filled(self, frame: str) -> str:
        made = frame.format(*self._some(frame.count("{}")))
        return made[:1].upper() + made[1:]

    def _some(self, count: int) -> list[str]:
        """``count`` words, or in English pairs of words, which makes sentences less alike."""
        if self._language == "zh" or self._random.random() < 0.4:
            return self._random.sample(self._words, count)
        words = self._random.sample(self._words, min(count * 2, len(self._words)))
        return [f"{a} {b}" for a, b in zip(words[:count], reversed(words), strict=False)]

    def _join(self, sentences: list[str]) -> str:
        return ("" if self._language == "zh" else " ").join(sentences)
