"""Quality of writing: answers that humans preferred, and an LLM's ratings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from shared.page import table
from shared.scores import HEAD, of_scores, read, row, speed, trained

from hydata.curation import quality
from hydata.curation.metrics import measured

Pairs = list[tuple[str, str]]


def section(data: Path) -> str:
    """How often the preferred answer scores higher; debris; a model's ratings; trained scorers."""
    ratings, scorers = _ratings(data)
    return "\n\n".join(
        [
            "## Quality",
            "Aims: the answer that humans prefer scores higher more often than not, and debris scores lower "
            "than what it was made of. The heuristic sees form alone. Its weights are from a fit to the even "
            "pairs of PandaLM and of the natural and processed subsets of LLMBar; reported are the odd "
            "pairs, and sets of which it saw nothing. *Longer* is how often the longer answer is the "
            "preferred one: what a judge would get that only counts characters.",
            _preferences(data),
            "Of pairs of natural answers it prefers the human's choice in about six cases of ten, not more "
            "often than length does. LLMBar's adversarial pairs were made so that the worse answer looks "
            "better, and it falls for most of them. What is right or helpful is not to be had from form; the "
            "critic judges that.",
            _debris(data),
            ratings,
            speed(quality.score, scorers),
        ]
    )


def _preferences(data: Path) -> str:
    lines = []
    for name, pairs in _pairs(data).items():
        sides = list(zip(*pairs, strict=True))
        scores = [quality.score(pl.Series(side, dtype=pl.String)).fill_null(0).to_numpy() for side in sides]
        lengths = [np.array([len(text) for text in side]) for side in sides]
        lines.append([name, f"{len(pairs):,}", *(f"{_wins(*both):.3f}" for both in (scores, lengths))])
    return table(["pairs", "number", "preferred one scores higher", "longer"], lines)


def _wins(better: np.ndarray, worse: np.ndarray) -> float:
    return float(((better > worse) + 0.5 * (better == worse)).mean())


def _pairs(data: Path) -> dict[str, Pairs]:
    """(preferred, other) by set; of those that weights were fitted to, the odd ones."""
    folder = data / "labelled/quality"
    found: dict[str, Pairs] = {}
    for r in read(folder / "llmbar_and_processed_pairs.jsonl"):
        pair = (r["output_1"], r["output_2"])
        adversarial = r["subset"].startswith("LLMBar/Adversarial")
        name = (
            "LLMBar, adversarial"
            if adversarial
            else r["subset"].replace("Processed/", "").replace("/Natural", ", natural")
        )
        found.setdefault(name, []).append(pair if r["label"] == 1 else pair[::-1])
    for r in read(folder / "pandalm_testset_999_3annotators.jsonl"):
        votes = [r[f"annotator{number}"] for number in (1, 2, 3)]
        pair = (str(r["response1"]), str(r["response2"]))
        if max(votes.count(1), votes.count(2)) >= 2:
            found.setdefault("PandaLM", []).append(pair if votes.count(1) >= 2 else pair[::-1])
    found = {name: pairs if "adversarial" in name else pairs[1::2] for name, pairs in found.items()}
    found["HHH"] = [(r["chosen"], r["rejected"]) for r in read(folder / "hhh_221_chosen_rejected.jsonl")]
    return found


def _debris(data: Path) -> str:
    """Good answers beside what became of them."""
    lines = []
    defects = data / "labelled/instructions_defects"
    for language, file in (
        ("en", "alpaca_raw_rows_3252-9407_labelled.jsonl"),
        ("zh", "alpaca_zh_translation_rows_3252-6382.jsonl"),
    ):
        least = 200 if language == "en" else 80
        good = [r["output"] for r in read(defects / file) if len(r["output"]) >= least][:1_000]
        for name, spoil in {
            "cut off at a third": lambda t: t[: len(t) // 3].rstrip(".。 "),
            "its first sentence five times": lambda t: (t.split("。" if "。" in t else ".")[0] + ". ") * 5,
            "words in any order": _shuffled,
            "capitals and exclamation": lambda t: t.upper().replace(".", "!!").replace("。", "！！"),
            "a third of its characters marks": lambda t: "".join(
                c if n % 3 else "#" for n, c in enumerate(t)
            ),
        }.items():
            both = good + [spoil(text) for text in good]
            metrics = of_scores(quality.score, both, [True] * len(good) + [False] * len(good))
            lines.append([language, name, f"{len(good):,}", f"{metrics.auc:.3f}"])
    return (
        "Alpaca's longer answers beside the same spoilt; AUC is how often a whole one scores above a spoilt "
        "one. Of words in any order it is the lost line ends and full stops that give them away:\n\n"
        + table(["language", "spoilt", "answers", "AUC"], lines)
    )


def _shuffled(text: str) -> str:
    parts = text.split() if text.isascii() else list(text)
    order = np.random.default_rng(len(parts)).permutation(len(parts))
    return (" " if text.isascii() else "").join(parts[i] for i in order)


def _ratings(data: Path) -> tuple[str, dict[str, object]]:
    rows = read(data / "labelled/instructions_defects/alpaca_raw_rows_3252-9407_labelled.jsonl")
    texts = [r["output"] for r in rows]
    lines, scorers = [], {}
    for name in ("alpagasus_helpful_kept", "alpagasus_claude_kept"):
        kept = [bool(r[name]) for r in rows]
        card, scorer = trained("quality", texts, kept, "en")
        scorers[f"en, {name}"] = (scorer, texts)
        lines.append(row(f"{name}, heuristic", of_scores(quality.score, texts, kept)))
        lines.append(row(f"{name}, length", measured(np.array(kept), _ranks([len(text) for text in texts]))))
        lines.append(row(f"{name}, trained, 5 folds", card.metrics))
    return (
        "AlpaGasus kept the rows that an LLM rated at least 4.5 of 5: weak labels, few are positive, and the "
        "two raters contradict each other (one keeps long answers, the other short ones). A trained scorer "
        "sees the answer alone, not what was asked. Nothing was tuned on them. AUC is what to look at: so "
        "few are positive that a calibrated score seldom comes to 0.5, and the heuristic is on no such "
        "scale:\n\n" + table(HEAD, lines),
        scorers,
    )


def _ranks(values: list[int]) -> np.ndarray:
    return pl.Series(values).rank().to_numpy() / (len(values) + 1)
