"""Educational value: proxies, since no set with human labels is at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from shared.page import table
from shared.scores import HEAD, measured, read, row, speed, trained

from hydata.curation import education

Texts = dict[str, list[str]]


def section(data: Path) -> str:
    """How well teaching text is told from chat, tweets and web pages."""
    teaches = {"en": _teaching_en(data), "zh": _teaching_zh(data)}
    others = {"en": _others_en(data), "zh": _others_zh(data)}
    lines, trained_lines, scorers = [], [], {}
    for language in ("en", "zh"):
        for name, good in teaches[language].items():
            for other, rest in others[language].items():
                truth = np.array([True] * len(good) + [False] * len(rest))
                lines.append(row(f"{name} / {other}", measured(truth, _scores(good + rest))))
        good = [text for texts in teaches[language].values() for text in texts[:500]]
        rest = [text for texts in others[language].values() for text in texts[:500]]
        positive = [True] * len(good) + [False] * len(rest)
        card, scorer = trained("education", good + rest, positive, language)
        scorers[language] = (scorer, rest)
        found = measured(np.array(positive), _scores(good + rest))
        trained_lines.append(row(f"{language}, heuristic", found))
        trained_lines.append(row(f"{language}, trained, 5 folds", card.metrics))
    return "\n\n".join(
        [
            "## Education",
            "**No set with human labels of educational value is at hand, so these are proxies**: exercises "
            "with solutions, encyclopaedia and exam questions against chat, tweets, posts and web text. They "
            "show that the genre is told, not that a better lesson scores higher. The lists of signs were "
            "written before these figures were first seen and not changed after. Positive is the first of "
            "each pair:",
            table(HEAD, lines),
            "Up to 500 rows of each, by the heuristic and by scorers trained on just this (which learn the "
            "sources with the genre, so that their figure flatters):",
            table(HEAD, trained_lines),
            "Missed: bare questions (C-Eval's) have no signs of explaining, and web text of a sober tone "
            "(C4) has many. The score at 0.5 is no verdict; conditions on it should only drop what is at "
            "the lower end.",
            speed(education.score, scorers),
        ]
    )


def _scores(texts: list[str]) -> np.ndarray:
    return education.score(pl.Series("text", texts, dtype=pl.String)).cast(pl.Float64).fill_null(0).to_numpy()


def _paragraphs(path: Path) -> list[str]:
    return [line for line in path.read_text("utf-8").split("\n") if len(line) > 100]


def _teaching_en(data: Path) -> Texts:
    return {
        "MATH problems with solutions": [
            f"{r['problem']}\n\n{r['solution']}" for r in read(data / "benchmarks/math_test_first1500.jsonl")
        ],
        "Wikipedia (wikitext-2)": _paragraphs(data / "encyclopedic/wikitext2_test.txt"),
    }


def _others_en(data: Path) -> Texts:
    tweets = read(data / "labelled/toxicity/davidson_en.jsonl")
    return {
        "tweets (Davidson, neither)": [r["tweet"] for r in tweets if r["class"] == "2"],
        "chat (chatterbot)": _chat(data, "en"),
        "web text (C4)": [r["text"] for r in read(data / "encyclopedic/llamafactory_c4_demo.jsonl")],
    }


def _teaching_zh(data: Path) -> Texts:
    exams = read(data / "benchmarks/ceval_dev_val.jsonl")
    return {
        "C-Eval questions": [r["question"] for r in exams],
        "C-Eval questions with explanations": [
            f"{r['question']}\n{r['explanation']}" for r in exams if r.get("explanation")
        ],
    }


def _others_zh(data: Path) -> Texts:
    return {
        "posts (COLD)": [r["TEXT"] for r in read(data / "labelled/toxicity/cold_zh_test.jsonl")],
        "chat (chatterbot)": _chat(data, "zh"),
    }


def _chat(data: Path, language: str) -> list[str]:
    rows = read(data / "web_qa/chatterbot_corpus_en_zh.jsonl")
    return ["\n".join(r["turns"]) for r in rows if r["lang"] == language]
