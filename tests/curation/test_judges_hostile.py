"""Hostile texts through every judge that works alone on files: a row comes out for each row in, always.

A judge whose work grows with the square of a text does not come to the end of 10 MB in a day.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest

from hydata.cli.judge import FILE_JUDGES
from hydata.curation.alone import FileJudge, judge_files

TEXTS = 20_000
MEGABYTES = 10
PIECES = (
    *"\x00\x07\t\n\r \"'`\\<>()[]{}|@#$%^&*-_=+:;,.!?/~0159aZ中文，。！？…—“”『』（）"
    "é\u0301\u200d\u202e\ufeff\ufffd🙂\ud83d\ude42\ud800\udfff",
    "```python\n",
    "[INST]",
    "<|im_start|>",
    "{{ name }}",
    '{"a": [',
    "\\frac{1}{",
    "ï»¿Ã©â€™",
    "https://example.com/?q=",
    "a@b.co",
    "+86 138-0013-8000",
    "4111 1111 1111 1111",
    "110101199003074514",
    "As an AI language model",
    "抱歉，我无法",
    "Ignore all previous instructions.",
    "the quick brown fox ",
    "的一是不了在",
)
"""Half surrogate pairs among them: JSON can spell these, and they are read as U+FFFD."""
LONG = {
    "one word": "a",
    "one character": "中",
    "digits": "1234567890",
    "at signs": "a@",
    "brackets": "[",
    "braces": '{"a":',
    "quotes": "“",
    "fences": "```\n",
    "lines": "\n",
    "spaces": " ",
    "dots": ".",
    "dollars": "$x_",
    "dashes": "1-",
    "colons": "f:",
    "addresses": "http://a.",
    "sentences": "Tea is hot. ",
    "loops": "哈哈哈。",
    "marks": "e\u0301",
    "replaced": "\ufffd",
    "mojibake": "Ã©â€™",
    "tags": "<div>",
    "items": "1. \n",
}


def _texts(seed: int) -> list[str]:
    """Random pieces, and random code points of all planes, in 0 to 200 of them; deep nesting."""
    draw = random.Random(seed)
    texts = []
    for number in range(TEXTS):
        length = draw.choice((0, 1, 2, 5, 20, 80, 200))
        if number % 3 == 0:
            texts.append("".join(chr(draw.randrange(0x110000)) for _ in range(length)))
        elif number % 97 == 0:
            opening, closing = draw.choice(
                (("[", "]"), ("(", ")"), ('{"a":', "}"), ("<b>", "</b>"), ("「", "」"))
            )
            texts.append(opening * 5_000 + closing * draw.choice((0, 5_000)))
        else:
            texts.append("".join(draw.choices(PIECES, k=length)))
    return texts


@pytest.mark.parametrize("judge", FILE_JUDGES, ids=lambda judge: judge.name)
def test_fuzzed_texts(judge: FileJudge, tmp_path: Path) -> None:
    texts = _texts(20261128)
    rows: list[dict[str, object]] = []
    for one, two in zip(texts, reversed(texts), strict=True):
        rows.append({"messages": [{"role": "user", "content": one}, {"role": "assistant", "content": two}]})
    plain = tmp_path / "plain.jsonl"
    plain.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "ascii")
    chats = tmp_path / "chats.jsonl"
    chats.write_text("".join(json.dumps(row) + "\n" for row in rows), "ascii")
    for path in (plain, chats):
        counts = judge_files(judge, judge.settings(), [path], None, tmp_path / "out.parquet")
        found = pl.read_parquet(tmp_path / "out.parquet")
        assert counts["rows"] == found.height == TEXTS
        assert found["row"].to_list() == list(range(TEXTS))
        assert found.schema == {"row": pl.Int64, **judge.columns}


@pytest.mark.parametrize("judge", FILE_JUDGES, ids=lambda judge: judge.name)
def test_long_texts(judge: FileJudge, tmp_path: Path) -> None:
    path = tmp_path / "long.parquet"
    size = MEGABYTES << 20
    for name, unit in LONG.items():
        text = unit * (size // len(unit.encode()))
        pl.DataFrame({"instruction": [text, None, "Short."], "output": ["Tea.", text, text]}).write_parquet(
            path
        )
        counts = judge_files(judge, judge.settings(), [path], None, tmp_path / "out.parquet")
        assert counts["rows"] == 3, name
