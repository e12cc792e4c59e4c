"""Toxicity: Davidson's tweets and COLD's posts."""

from __future__ import annotations

from pathlib import Path

import polars as pl
from shared.page import table
from shared.scores import HEAD, of_scores, read, row, speed, trained

from hydata.curation import toxicity

SHOWN = (0.3, 0.5, 0.7, 0.9)


def section(data: Path) -> str:
    """The heuristic on the halves it was not tuned on, trained scorers by cross-validation, false alarms."""
    tweets = read(data / "labelled/toxicity/davidson_en.jsonl")
    posts = read(data / "labelled/toxicity/cold_zh_test.jsonl")
    sets = {
        "en (Davidson)": ([r["tweet"] for r in tweets], [r["class"] != "2" for r in tweets]),
        "zh (COLD)": ([r["TEXT"] for r in posts], [r["label"] == "1" for r in posts]),
    }
    lines, scorers = [], {}
    halves = {"the other half": slice(1, None, 2), "the half tuned on": slice(0, None, 2)}
    for name, (texts, positive) in sets.items():
        language = name[:2]
        card, scorer = trained("toxicity", texts, positive, language)
        scorers[name] = (scorer, texts)
        for half, part in halves.items():
            found = of_scores(toxicity.score, texts[part], positive[part])
            lines.append(row(f"{name}, heuristic, {half}", found))
        lines.append(row(f"{name}, trained, 5 folds", card.metrics))
    silent = toxicity.score(pl.Series([r["TEXT"] for r in posts if r["label"] == "1"])) == 0
    return "\n\n".join(
        [
            "## Toxicity",
            "`labelled/toxicity`: 2,100 tweets (Davidson et al. 2017; hate speech and offensive language are "
            "positive, neither is negative; 700 each) and 2,662 posts and comments (COLD's test set, Deng et "
            "al. 2022; label 1 is positive). Aim: better than always saying the more frequent class, by a "
            "wide margin. The heuristic's weights were set by looking at the even rows; *the other half* "
            "are the odd ones. Trained scorers are measured by cross-validation, each row by a model that "
            "has not seen its text.",
            table(HEAD, lines),
            _classes(tweets, posts),
            _alarms(data),
            "Missed: in Chinese, contempt for regions, women and foreigners that is said without a bad word "
            f"({silent.mean():.0%} of COLD's positives hold none of the phrases); in English, slurs in new "
            "spellings and allusions. False alarms: words that are quoted, sung, or meant fondly, and "
            "animals, tools and names that are spelt like slurs. Both sets are short posts; that a scorer "
            "trained on tweets judges essays is not shown.",
            speed(toxicity.score, scorers),
        ]
    )


def _classes(tweets: list[dict[str, str]], posts: list[dict[str, str]]) -> str:
    names = {"0": "hate speech", "1": "offensive", "2": "neither"}
    fine = {"0": "other, harmless", "1": "attacks individuals", "2": "attacks groups", "3": "against bias"}
    lines = []
    for rows, key, text, told in (
        (tweets, "class", "tweet", names),
        (posts, "fine-grained-label", "TEXT", fine),
    ):
        for value, name in told.items():
            texts = pl.Series([r[text] for r in rows if r[key] == value], dtype=pl.String)
            scores = toxicity.score(texts).fill_null(0)
            lines.append([name, f"{len(texts):,}", *(f"{(scores >= least).mean():.3f}" for least in SHOWN)])
    return "Share of each class that the heuristic scores so high at least:\n\n" + table(
        ["class", "rows", *map(str, SHOWN)], lines
    )


def _alarms(data: Path) -> str:
    defects = data / "labelled/instructions_defects"
    lines = []
    for name, file in (
        ("en", "alpaca_raw_rows_3252-9407_labelled.jsonl"),
        ("zh", "alpaca_zh_translation_rows_3252-6382.jsonl"),
    ):
        for column in ("instruction", "output"):
            scores = toxicity.score(pl.Series([r[column] for r in read(defects / file)], dtype=pl.String))
            counts = ((scores >= least).sum() for least in SHOWN)
            lines.append([f"{name} {column}s", f"{len(scores):,}", *(f"{n:,}" for n in counts)])
    return "On Alpaca's rows, hardly any of which is toxic, that many are scored so high:\n\n" + table(
        ["rows", "all", *map(str, SHOWN)], lines
    )
