"""Agreement on questions with known answers: extraction, votes, reliability, speed.

    python benchmarks/agreement.py --data DIR --out FILE

Reads GSM8K with 7 solutions of different models and MATH with 8 samples, both with correctness labels. The
rules of extraction were written with both files in sight; every disagreement with a label is listed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from shared import page as shared
from shared.page import machine

from hydata.synthesis.agreement_alone import JUDGED, judge_rows
from hydata.synthesis.answers import Answer, asks_percent, extract_answer, read_reference
from hydata.synthesis.equivalence import classes
from hydata.synthesis.reliability import weigh
from hydata.synthesis.votes import form_of, is_decided, tally


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    return shared.table(head, [[str(cell) for cell in row] for row in rows])


FILES = {
    "GSM8K x 7": ("gsm8k_test_7_solutions.jsonl", "solutions", "is_correct"),
    "MATH x 8": ("math_100x8_with_correctness_and_rm.jsonl", "samples", "correct"),
}
COVERAGE = 0.8


@dataclass(frozen=True)
class Sample:
    text: str
    model: str
    said: str
    """What the file's own reader took for the answer."""
    right: bool
    answer: Answer | None
    c: int | None


@dataclass(frozen=True)
class Question:
    question: str
    gold: str
    gold_class: int | None
    samples: tuple[Sample, ...]


def load(path: Path, key: str, label: str) -> list[Question]:
    """The questions, extracted and in classes; the gold answer takes no part in the votes."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        form = form_of(row["question"], None) or "any"
        percent = asks_percent(row["question"])
        gold = read_reference(row["gold"], form, percent)
        answers = [extract_answer(s["text"], form, percent) for s in row[key]]
        right, *places = classes([gold, *answers])
        samples = [
            Sample(s["text"], s.get("model", "one model"), s["pred"], s[label], answer, c)
            for s, answer, c in zip(row[key], answers, places, strict=True)
        ]
        found.append(Question(row["question"], row["gold"], right, tuple(samples)))
    return found


def same_text(said: str, gold: str) -> bool:
    """Whether the file's own reading is its own gold, figure for figure."""
    return said.replace(",", "").strip() == gold.replace(",", "").replace("{}", "").strip() != ""


def expected(leaders: Sequence[bool]) -> float:
    """The accuracy of a vote whose ties are broken by lot."""
    return sum(leaders) / len(leaders) if leaders else 0.0


def by_string(q: Question) -> float:
    counts = Counter(s.said for s in q.samples if s.said)
    gold = {s.said for s in q.samples if s.c is not None and s.c == q.gold_class}
    leaders = [text for text, n in counts.items() if n == max(counts.values())]
    return expected([text in gold for text in leaders])


def by_class(q: Question) -> float:
    counts = Counter(s.c for s in q.samples if s.c is not None)
    return expected([c == q.gold_class for c, n in counts.items() if n == max(counts.values())])


def selective(scored: Sequence[tuple[float, float]], coverage: float) -> float:
    """The accuracy of the part of the questions with the largest shares; at the boundary, of equal shares,
    the mean. ``scored`` are pairs of share and accuracy."""
    room = coverage * len(scored)
    total = taken = 0.0
    for share in sorted({share for share, _ in scored}, reverse=True):
        group = [right for s, right in scored if s == share]
        part = min(len(group), room - taken)
        total, taken = total + part * sum(group) / len(group), taken + part
    return total / room


def judged(questions: Sequence[Question], weighted: bool) -> pl.DataFrame:
    """What ``hydata judge agreement`` says of them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "in.jsonl")
        rows = (
            {"question": q.question, "samples": [{"text": s.text, "model": s.model} for s in q.samples]}
            for q in questions
        )
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        found = judge_rows(file, weighted=weighted)
    assert found.schema == JUDGED
    return found


def accuracy(questions: Sequence[Question], found: pl.DataFrame) -> list[tuple[float, float]]:
    """Share and accuracy of each row; an answer is right if it is that of a sample in the gold's class."""
    pairs = []
    for q, (answer, share) in zip(questions, found.select("answer", "share").iter_rows(), strict=True):
        gold = {s.answer.text for s in q.samples if s.answer and s.c == q.gold_class}
        pairs.append((share or 0.0, float(answer in gold)))
    return pairs


def labels(name: str, questions: Sequence[Question]) -> tuple[list[object], list[list[object]]]:
    """Agreement with the labels, and what disagrees."""
    wrong, own = [], 0
    for q in questions:
        for s in q.samples:
            right = s.c is not None and s.c == q.gold_class
            if right != s.right:
                contradicts = same_text(s.said, q.gold) != s.right
                own += contradicts
                end = s.text[-70:].replace("\n", " ").replace("|", "/")
                read = s.answer.text if s.answer else "nothing"
                why = (
                    "contradicts its own gold"
                    if contradicts
                    else f"of {s.said!r}, misread"
                    if s.said
                    else "of nothing"
                )
                wrong.append([name, s.model, q.gold, read, str(s.right).lower(), why, f"`...{end}`"])
    n = sum(len(q.samples) for q in questions)
    unread = sum(s.answer is None for q in questions for s in q.samples)
    share = f"{1 - len(wrong) / n:.2%}"
    return [name, n, unread, len(wrong), share, own, f"{1 - (len(wrong) - own) / n:.2%}"], wrong


def votes(name: str, questions: Sequence[Question]) -> list[list[object]]:
    n = len(questions)
    plain, weighted = judged(questions, False), judged(questions, True)
    best: dict[str, list[bool]] = {}
    for q in questions:
        for s in q.samples:
            best.setdefault(s.model, []).append(s.right)
    alone = max(best, key=lambda m: sum(best[m]) / len(best[m]))
    tied = [
        (
            max(Counter(s.c for s in q.samples if s.c is not None).values(), default=0)
            / max(1, sum(s.c is not None for s in q.samples)),
            by_class(q),
        )
        for q in questions
    ]
    rows: list[list[object]] = [
        [name, f"the best model alone ({alone})", f"{sum(best[alone]) / len(best[alone]):.1%}", ""],
        [name, "majority of strings", f"{sum(map(by_string, questions)) / n:.1%}", ""],
        [
            name,
            "majority of classes, ties by lot",
            f"{sum(map(by_class, questions)) / n:.1%}",
            f"{selective(tied, COVERAGE):.1%}",
        ],
    ]
    for what, found in (("`judge agreement`", plain), ("`judge agreement --weighted`", weighted)):
        pairs = accuracy(questions, found)
        mean = sum(right for _, right in pairs) / n
        rows.append([name, what, f"{mean:.1%}", f"{selective(pairs, COVERAGE):.1%}"])
    return rows


def reliabilities(questions: Sequence[Question]) -> list[list[object]]:
    cast = [(i, s.c, s.model) for i, q in enumerate(questions) for s in q.samples if s.c is not None]
    frame = pl.DataFrame(cast, schema=["question", "class", "model"], orient="row")
    estimated, _ = weigh(frame)
    truth: dict[str, list[bool]] = {}
    for q in questions:
        for s in q.samples:
            truth.setdefault(s.model, []).append(s.c is not None and s.c == q.gold_class)
    return [[m, f"{r:.2f}", f"{sum(truth[m]) / len(truth[m]):.2f}"] for m, r in estimated.iter_rows()]


def stopping(questions: Sequence[Question]) -> list[list[object]]:
    """What rounds of MATH's eight samples would have saved and cost."""
    rows: list[list[object]] = []
    for rounds in ((8,), (3, 2, 2), (3, 5), (2, 2, 2, 2)):
        used, right = 0, 0.0
        for q in questions:
            asked = 0
            for size in rounds:
                asked += size
                if is_decided(tally([s.answer for s in q.samples[:asked]]).sizes, 0.9):
                    break
            used += asked
            right += by_class(Question(q.question, q.gold, q.gold_class, q.samples[:asked]))
        rows.append([str(list(rounds)), f"{used / len(questions):.2f}", f"{right / len(questions):.1%}"])
    return rows


def speed(name: str, questions: Sequence[Question]) -> list[object]:
    started = time.process_time()
    texts = [(s.text, form_of(q.question, None) or "any") for q in questions for s in q.samples]
    for text, form in texts:
        extract_answer(text, form)
    extracted = time.process_time()
    for q in questions:
        classes([s.answer for s in q.samples])
    counted = time.process_time()
    n = len(texts)
    return [name, n, f"{n / (extracted - started):,.0f}", f"{n / (counted - extracted):,.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the two files")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    told = parser.parse_args()
    sets = {name: load(told.data / file, key, label) for name, (file, key, label) in FILES.items()}
    counted = [labels(name, questions) for name, questions in sets.items()]
    n, unread, wrong, own = (sum(int(str(row[i])) for row, _ in counted) for i in (1, 2, 3, 5))
    both = ["both", n, unread, wrong, f"{1 - wrong / n:.2%}", own, f"{1 - (wrong - own) / n:.2%}"]
    page = "\n\n".join(
        [
            "# Agreement",
            machine(),
            "## Extraction and equivalence against the labels",
            table(
                [
                    "set",
                    "samples",
                    "not read",
                    "disagree",
                    "agreement",
                    "contradict their own gold",
                    "without these",
                ],
                [*(row for row, _ in counted), both],
            ),
            "## Votes",
            table(
                ["set", "vote", "accuracy", "at 80% coverage"],
                [r for s, q in sets.items() for r in votes(s, q)],
            ),
            "## Reliability, estimated without gold",
            table(["model", "estimated", "measured"], reliabilities(sets["GSM8K x 7"])),
            "## Rounds until decided, on MATH",
            table(["rounds", "samples a question", "accuracy"], stopping(sets["MATH x 8"])),
            "## Speed, of one core, formulas already compared aside",
            table(
                ["set", "samples", "extracted a second", "counted a second"],
                [speed(s, q) for s, q in sets.items()],
            ),
            "## Every disagreement with a label",
            table(
                ["set", "model", "gold", "read", "label", "the label is", "end of the text"],
                [w for _, ws in counted for w in ws],
            ),
        ]
    )
    print(page)
    if told.out:
        told.out.write_text(page + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
