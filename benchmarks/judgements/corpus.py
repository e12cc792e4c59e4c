"""Records that look like what a rule judge meets, made of the sentences of any folder of texts.

Half are English, half Chinese, of about 105 words (a Chinese word counted as 1.6 characters). More than half
are prose of one to three paragraphs; the rest are lines, bullets, loops, repeated lines, symbols, and lines
that no page should have. Every sentence has another word or number in one place, so that no two records are
alike. Seeded: the same folders and seed give the same records. Nothing of the texts is kept in this project.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

WORDS, SPREAD, LEAST = 105, 30, 20
CHARACTERS_A_WORD = 1.6
"""Of Chinese: what segmenters make of prose."""
SHARD = 50_000
LONG_SHARD = 100_000
MOST_SENTENCES = 60_000
LANGUAGES = ("en", "zh")

_HAN = re.compile(r"[\u3400-\u9fff]")
_SENTENCE = {
    "en": re.compile(r"[A-Z][^.!?\n]{20,240}[.!?]"),
    "zh": re.compile(r"[\u3400-\u9fff][^。！？\n]{6,90}[。！？]"),
}
_BAD = {
    "en": (
        "Please enable JavaScript to view this page",
        "We use cookies, see our privacy policy and terms of use",
        "function () { return document.body; }",
        "<div class='note'>&nbsp;Read more</div>",
        "lorem ipsum dolor sit amet",
        "Home | About | Contact",
        "https://example.com/a/b?c=1",
        "caf\u00c3\u00a9 \ufffd\ufffd",
        "Click here to read more ...",
    ),
    "zh": (
        "请启用 JavaScript 后再浏览本页",
        "本站使用 Cookie，请阅读隐私政策和使用条款",
        "if (window) { show(); }",
        "<p>&nbsp;展开全文</p>",
        "首页 | 关于我们 | 联系方式",
        "https://example.com/zh?id=7",
        "\u00e4\u00b8\u00ad\u00e6\u2013\u2021 \ufffd",
        "点击查看更多……",
    ),
}
_SYMBOLS = ("### ", "★ ", "→ ", "| ", "*** ", "# # # ", "😀 ", "§ ", "= = = ", "… ")
_BULLETS = ("- ", "• ", "* ", "· ")
_MARKS = {"en": ("", "...", "!", ":"), "zh": ("", "……", "！", "：")}


@dataclass(frozen=True)
class Source:
    """``sentences`` of one language and the words that stand in for others."""

    language: str
    sentences: Sequence[str]
    words: Sequence[str]

    def one(self, rng: random.Random) -> str:
        """A sentence with one of its words exchanged, or a number."""
        sentence = rng.choice(self.sentences)
        word = rng.choice(self.words) if rng.random() < 0.8 else str(rng.randrange(10_000))
        if self.language == "zh":
            at = rng.randrange(len(sentence) - 2)
            return f"{sentence[:at]}{word}{sentence[at + 2 :]}"
        parts = sentence.split(" ")
        parts[rng.randrange(len(parts))] = word
        return " ".join(parts)

    def length(self, text: str) -> float:
        """In words."""
        return len(text) / CHARACTERS_A_WORD if self.language == "zh" else text.count(" ") + 1

    def enough(self, rng: random.Random) -> list[str]:
        """Sentences that together have about the words of a record."""
        left = max(LEAST, rng.gauss(WORDS, SPREAD))
        taken = []
        while left > 0:
            sentence = self.one(rng)
            length = self.length(sentence)
            if taken and length > 2 * left:
                break
            taken.append(sentence)
            left -= length
        return taken


def _prose(source: Source, rng: random.Random) -> str:
    gap = "" if source.language == "zh" else " "
    sentences = source.enough(rng)
    at = sorted(rng.randrange(len(sentences) + 1) for _ in range(rng.choice((0, 0, 0, 1, 2))))
    parts = [sentences[begin:end] for begin, end in zip([0, *at], [*at, len(sentences)], strict=True)]
    return "\n\n".join(gap.join(part) for part in parts if part)


def _lines(source: Source, rng: random.Random) -> str:
    return "\n".join(source.enough(rng))


def _bullets(source: Source, rng: random.Random) -> str:
    mark = rng.choice((*_BULLETS, ""))
    lines = source.enough(rng)
    listed = [f"{mark or f'{i}. '}{line}" for i, line in enumerate(lines[1:], 1)]
    return "\n".join([lines[0], *listed] if rng.random() < 0.7 else listed or lines)


def _loop(source: Source, rng: random.Random) -> str:
    gap = rng.choice(("", "\n")) if source.language == "zh" else rng.choice((" ", "\n"))
    sentences = source.enough(rng)
    keep = max(1, len(sentences) // rng.randint(2, 6))
    return gap.join((sentences[:keep] * 12)[: max(len(sentences), 3)])


def _repeated_lines(source: Source, rng: random.Random) -> str:
    lines = source.enough(rng)
    again = rng.choices(lines, k=max(1, len(lines) // 3))
    mixed = lines + again
    rng.shuffle(mixed)
    return "\n".join(mixed[: len(lines) + 1])


def _symbols(source: Source, rng: random.Random) -> str:
    marks = rng.choices(_SYMBOLS, k=3)
    return "\n".join(f"{rng.choice(marks)}{line}" for line in source.enough(rng))


def _bad_lines(source: Source, rng: random.Random) -> str:
    ends = _MARKS[source.language]
    lines = [line[:-1] + rng.choice(ends) for line in source.enough(rng)]
    for _ in range(rng.randint(1, 3)):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(_BAD[source.language]))
    return "\n".join(lines)


SHAPES: dict[Callable[[Source, random.Random], str], float] = {
    _prose: 0.56,
    _lines: 0.13,
    _bullets: 0.12,
    _loop: 0.05,
    _repeated_lines: 0.05,
    _symbols: 0.04,
    _bad_lines: 0.05,
}


def write(folder: Path, count: int, texts: Sequence[Path], seed: int = 1) -> list[Path]:
    """Parquet files of 50,000 records of one language, columns ``id`` and ``text``, named by the language,
    unless they are there.

    Raises:
        FileNotFoundError: ``texts`` hold too little of a language.
    """
    each = count // len(LANGUAGES)
    paths = [
        folder / f"{language}-{at:07d}.parquet" for language in LANGUAGES for at in range(0, each, SHARD)
    ]
    if all(path.exists() for path in paths):
        return paths
    folder.mkdir(parents=True, exist_ok=True)
    sources = {source.language: source for source in read(texts, seed)}
    shapes, weights = list(SHAPES), list(SHAPES.values())
    for path in paths:
        language, _, at = path.stem.partition("-")
        rng = random.Random(f"{seed} {path.stem}")
        rows = min(SHARD, each - int(at))
        made = [shape(sources[language], rng) for shape in rng.choices(shapes, weights, k=rows)]
        frame = pl.DataFrame({"id": range(int(at), int(at) + rows), "text": made})
        frame.write_parquet(path, compression="zstd")
    return paths


def write_long(folder: Path, count: int, base: Sequence[Path]) -> list[Path]:
    """Parquet files of 100,000 records, both languages in turn: those of ``base`` as often as it takes, with
    a number of their own before them, unless they are there. One file's rows are in memory at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = [
        pl.concat(pl.read_parquet(path) for path in base if path.stem.startswith(language))["text"]
        for language in LANGUAGES
    ]
    paths = []
    for begin in range(0, count, LONG_SHARD):
        rows = min(LONG_SHARD, count - begin)
        path = folder / f"{begin:08d}-{rows}.parquet"
        paths.append(path)
        if path.exists():
            continue
        each = [
            half.gather(pl.int_range(begin // 2, (begin + rows + 1) // 2, eager=True) % len(half))
            for half in halves
        ]
        mixed = pl.DataFrame(dict(zip(LANGUAGES, each, strict=True))).select(pl.concat_list(LANGUAGES))
        numbered = mixed.explode("en").head(rows).with_row_index("id", begin)
        numbered.select("id", text=pl.concat_str("id", "en", separator=" ")).write_parquet(path)
    return paths


def read(texts: Sequence[Path], seed: int) -> Iterator[Source]:
    """The sentences of all ``.txt``, ``.json`` and ``.jsonl`` files under ``texts``, 60,000 a language at the
    most."""
    found: dict[str, dict[str, None]] = {language: {} for language in LANGUAGES}
    files = sorted(
        p for folder in texts for p in folder.rglob("*") if p.suffix in (".txt", ".json", ".jsonl")
    )
    for path in files:
        for text in _strings(path):
            language = "zh" if len(_HAN.findall(text[:400])) * 4 > len(text[:400]) else "en"
            found[language].update(dict.fromkeys(_SENTENCE[language].findall(text)))
    for language, sentences in found.items():
        if len(sentences) < 1_000:
            told = ", ".join(map(str, texts)) or "no folder"
            raise FileNotFoundError(f"{told}: {len(sentences)} {language} sentences; name folders with more")
        rng = random.Random(seed)
        chosen = list(sentences)
        rng.shuffle(chosen)
        chosen = chosen[:MOST_SENTENCES]
        if language == "zh":
            words = [sentence[at : at + 2] for sentence in chosen[:5_000] for at in (1, 4)]
        else:
            words = [word for sentence in chosen[:5_000] for word in sentence.rstrip(".!?").split()]
        yield Source(language, chosen, words)


def _strings(path: Path) -> Iterator[str]:
    """Paragraphs of a text file, strings of JSON."""
    text = path.read_text("utf-8", "replace")
    if path.suffix == ".txt":
        for paragraph in re.split(r"\n\s*\n", text):
            yield re.sub(r"(?<![\u3400-\u9fff])\s*\n\s*", " ", paragraph)
        return
    for whole in text.splitlines() if path.suffix == ".jsonl" else [text]:
        try:
            stack = [json.loads(whole)]
        except ValueError:  # a broken line of a test set
            continue
        while stack:
            value = stack.pop()
            if isinstance(value, str):
                yield value
            elif isinstance(value, dict):
                stack += value.values()
            elif isinstance(value, list):
                stack += value
