"""Contamination: rephrased and translated benchmark items, copies with words changed, honest texts, speed."""

from __future__ import annotations

import ast
import json
import random
import re
import sysconfig
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from shared.page import table

from hydata.curation.contamination.index import build
from hydata.curation.contamination.items import Benchmark, read_benchmark
from hydata.curation.contamination.judge import AloneSettings, checker, judge_rows

BY_HAND = Path(__file__).with_name("contamination_zh.jsonl")
"""Paraphrases and translations of 30 items of CMATH, drawn at random, written for this measurement."""
SAME = Path(__file__).with_name("contamination_same.jsonl")
"""Which exercises of MBPP and CodeAlpaca are an item of HumanEval in fact, and which near ones are not: all
pairs that any of six ways to compare ranked near, read one by one (the first 500 characters) before the
judge of functions was tuned. The same: the item's function is asked for, in Python, so that its solution
solves it."""
CHINESE = ("alignbench_zh_v1.1", "ceval_dev_val", "cmath_zh_test", "cmmlu_dev_and_40_per_subject")
ENGLISH = ("gsm8k_test", "math_test_first1500", "mbpp", "ifeval_input_data")
LEAST = 0.95
"""The precision at which similarity alone is measured."""
EDITS = (0.02, 0.05, 0.1)
SIZES = ((8, 8), (10, 10), (13, 13), (16, 16), (20, 20))
TRANSLATED = 400
"""Problems that e5 is asked about at the most."""

Rows = Sequence[str]


def section(data: Path) -> str:
    """Paraphrases, translations, copies, honest texts, speed."""
    return "\n\n".join(
        [
            "## Contamination",
            "The judge as it is by default: contaminated above an overlap of 0.5 or a paraphrase of 0.6. "
            "[What was chosen and why](decisions/0017-contamination.md).",
            _paraphrases(data),
            _copies(data),
            _honest(data),
        ]
    )


# --- in other words ------------------------------------------------------------------------------------


def _paraphrases(data: Path) -> str:
    gsm, code = (
        _texts(data, "labelled/contamination/rephrase_gsm8k.jsonl"),
        _texts(data, "labelled/contamination/humaneval_python.jsonl"),
    )
    written = _read(BY_HAND)
    own = [row["item"] for row in written]
    exam = _benchmarks(data, "gsm8k_test")
    human, cmath = _benchmarks(data, "HumanEval"), _benchmarks(data, "cmath_zh_test")
    train = [_asked(row) for row in _read(data / "benchmarks/gsm8k_train_first3500.jsonl")]
    others = [row["problem"] for row in _read(data / "benchmarks/math_test_first1500.jsonl")]
    exercises = _exercises(data)
    dolly, zh = _alpaca(data / "instructions/dolly_3k_alpagasus.json"), _chinese(data)
    both = cmath.model_copy(update={"encoder": "bundled"})
    sampled = random.Random(2).sample(train, TRANSLATED)
    lines = [
        _line("GSM8K, 660", exam, gsm, [str(2 * i) for i in range(660)], train, [*others, *dolly]),
        _line(
            "HumanEval, 82 (9 of them empty)",
            human,
            code,
            [f"HumanEval/{2 * i}" for i in range(82)],
            list(exercises.values()),
            [*others, *dolly],
        ),
        _line("CMATH in other Chinese words, 30 by hand", cmath, [r["zh"] for r in written], own, None, zh),
        _line(
            "CMATH in English, 30 by hand, `encoder = bundled`",
            both,
            [r["en"] for r in written],
            own,
            sampled,
            dolly[:TRANSLATED],
        ),
    ]
    head = [
        "set",
        "n-grams",
        f"similarity alone, precision {LEAST} (hard)",
        "**all, default**",
        "precision, hard",
        "precision, easy",
        "taken of the hard, the easy",
    ]
    return "\n\n".join(
        [
            "### In other words",
            "Recall of rephrased items, the right item named; the aim is 0.85 at a precision of 0.95. "
            "Hard: the first 3,500 training problems of GSM8K; MBPP with its code and CodeAlpaca for "
            "HumanEval; for CMATH in Chinese every second item of the set against the others; for the "
            f"translations {TRANSLATED} training problems of GSM8K. Easy: MATH problems and Dolly, Chinese "
            "Alpaca and BELLE, Dolly. Texts as they are (`Question: ... Answer: ...`; whole functions).",
            table(head, lines),
            _leaked(data, [*gsm, *code]),
            "Missed of GSM8K: rephrasings that lose or work out numbers (a decade for 10 years), and those "
            "whose words are nearly all others; of HumanEval those whose examples have other shapes and "
            "short ones whose words are others. A translation without two numbers in it is not found, nor by "
            "`encoder = static` any.",
            _functions(human, code, exercises, _dressed(data)),
        ]
    )


def _line(
    name: str, settings: AloneSettings, texts: Rows, own: Rows, hard: Rows | None, easy: Rows
) -> list[str]:
    found = _judged(settings, texts).with_columns(own=pl.Series(own))
    right = (pl.col("item") == pl.col("own")) & pl.col("contaminated")
    taken = int(found.select(right.sum()).item())
    of_hard = _halves(settings) if hard is None else _judged(settings, hard)
    of_easy = _judged(settings, easy)
    alone = _similarity_alone(found, of_hard)
    wrong = [int(other["contaminated"].sum()) for other in (of_hard, of_easy)]
    return [
        name,
        f"{found.select(((pl.col('overlap') > settings.overlap) & right).mean()).item():.2f}",
        f"{alone:.2f}",
        f"**{taken / len(texts):.2f}**",
        *(f"{taken / max(1, taken + count):.3f}" for count in wrong),
        f"{wrong[0]} of {of_hard.height:,}, {wrong[1]} of {of_easy.height:,}",
    ]


def _similarity_alone(found: pl.DataFrame, others: pl.DataFrame) -> float:
    """The best recall of a threshold on similarity at which precision is ``LEAST``."""
    scores = pl.concat(
        [
            found.select(pl.col("similarity").fill_null(0.0), own=pl.lit(1)),
            others.select(pl.col("similarity").fill_null(0.0), own=pl.lit(0)),
        ]
    ).sort("similarity", descending=True)
    counted = scores.with_columns(taken=pl.col("own").cum_sum(), rank=pl.int_range(1, pl.len() + 1))
    good = counted.filter(pl.col("taken") / pl.col("rank") >= LEAST)
    return float(good["taken"].max() or 0) / found.height  # type: ignore[arg-type]


def _functions(human: AloneSettings, code: Rows, exercises: dict[str, str], dressed: Rows) -> str:
    """Rephrased functions in several forms; what is taken of other code, the same exercises told apart."""
    own = {f"HumanEval/{2 * i}": text for i, text in enumerate(code) if text.strip()}
    docstring = re.compile(r'""".*?"""|\'\'\'.*?\'\'\'', re.DOTALL)
    asked = [text[: max(m.end() for m in docstring.finditer(text))] for text in own.values()]
    examples = re.compile(r'(?:>>>|For example|Examples?:?|e\.g\.|Illustrations).*?("""|\'\'\')', re.DOTALL)
    replied = [f"{a}\n\nHere it is:\n\n```python\n{t}\n```" for a, t in zip(asked, own.values(), strict=True)]
    forms = {
        "whole": list(own.values()),
        "asked for, and the whole as a reply": replied,
        "signature and docstring alone": asked,
        "without the examples": [examples.sub(r"\1", text) for text in own.values()],
    }
    lines, recalled = [], 0
    for name, texts in forms.items():
        judged = _judged(human, texts).with_columns(own=pl.Series(list(own)))
        taken = ((judged["item"] == judged["own"]) & judged["contaminated"]).to_list()
        recalled = recalled or sum(taken)  # of the whole functions
        shares = [sum(some) / len(some) for some in (taken, taken[::2], taken[1::2])]
        lines.append([name, *(f"{share:.2f}" for share in shares)])
    found = _judged(human, list(exercises.values())).with_columns(id=pl.Series(list(exercises)))
    labels = {(row["text"], row["item"]): row["same"] for row in _read(SAME)}
    hits = found.filter("contaminated").select("id", "item").rows()
    same = sum(bool(labels.get(hit)) for hit in hits)
    unread = sum(hit not in labels for hit in hits)
    (benchmark,) = human.benchmarks.values()
    rows = [json.dumps(row) for row in _read(benchmark.file)]
    documented = _documented()
    return "\n\n".join(
        [
            f"Rephrased functions of HumanEval, the {len(own)} that hold a text, and every second of them "
            "(the weights were chosen with all of them in view, so no half is unseen):",
            table(["form", "found", "even", "odd"], lines),
            f"Of the {len(hits)} that are taken of MBPP and CodeAlpaca {same} are the same exercise by the "
            f"labels in `benchmarks/judges/{SAME.name}` ({unread} not labelled, counted as others): "
            f"precision {recalled / (recalled + len(hits)):.3f} as it is, "
            f"{(recalled + same) / (recalled + len(hits)):.3f} with these counted as found. "
            "These have no examples, and examples are what tells most. Where others have them too: of the "
            f"{len(dressed)} of MBPP written as HumanEval is, the tests as examples in a docstring, "
            f"{int(_judged(human, dressed)['contaminated'].sum())} are taken; of the "
            f"{len(documented):,} documented functions of Python's standard library "
            f"{int(_judged(human, documented)['contaminated'].sum())}; of HumanEval's own "
            f"{_taken_for_another(human, rows)} of {len(rows)}, each against all others, most of them pairs "
            "that ask for nearly the same (substrings or prefixes, two or three that sum to zero).",
        ]
    )


def _taken_for_another(settings: AloneSettings, rows: Rows) -> int:
    """How many items are taken, each compared with a benchmark of all others."""
    taken = 0
    with tempfile.TemporaryDirectory() as folder:
        for place, row in enumerate(rows):
            file = Path(folder) / f"{place}.jsonl"
            file.write_text("\n".join((*rows[:place], *rows[place + 1 :])), "utf-8")
            others = settings.model_copy(update={"benchmarks": {"others": Benchmark(file=file)}})
            item = json.loads(row)
            judged = _judged(others, [item["prompt"] + item["canonical_solution"]])
            taken += int(judged["contaminated"].sum())
    return taken


def _documented() -> list[str]:
    """The functions of the standard library that have a docstring and are of an exercise's size."""
    found = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if {"site-packages", "test", "tests", "idlelib", "lib2to3"} & set(path.parts):
            continue
        source = path.read_text("utf-8", errors="replace")
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(source)
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
                text = ast.get_source_segment(source, node, padded=True) or ""
                found.append(textwrap.dedent(text))
    return [text for text in found if 80 <= len(text) <= 3000]


def _dressed(data: Path) -> list[str]:
    """MBPP in HumanEval's form."""
    found = []
    for row in _read(data / "benchmarks/mbpp.jsonl"):
        code = row["code"].replace("\r\n", "\n").replace("\t", "    ")
        asserts = [test.removeprefix("assert").strip() for test in row["test_list"]]
        name = re.match(r"\(?(\w+)", asserts[0])
        examples = "".join(f"    >>> {test.replace('==', chr(10) + '    ', 1)}\n" for test in asserts)
        docstring = f'\n    """{row["text"]}\n{examples}    """'
        head = re.compile(rf"^(def {re.escape(name[1] if name else '')} ?\([^\n]*:)[^\n]*$", re.MULTILINE)
        found.append(head.sub(lambda match, doc=docstring: match[1] + doc, code, count=1))
    return found


def _exercises(data: Path) -> dict[str, str]:
    """Exercises that are not HumanEval's, by id: MBPP with its code, CodeAlpaca."""
    mbpp = _read(data / "benchmarks/mbpp.jsonl")
    alpaca = _alpaca(data / "instructions/code_alpaca_2k.json")
    return {f"mbpp/{row['task_id']}": f"{row['text']}\n{row['code']}" for row in mbpp} | {
        f"code_alpaca/{place}": text for place, text in enumerate(alpaca)
    }


def _halves(settings: AloneSettings) -> pl.DataFrame:
    """Every second question of the one benchmark, judged against the others."""
    (benchmark,) = settings.benchmarks.values()
    questions = [item.questions[0] for item in read_benchmark("all", benchmark).items]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "half.jsonl"
        file.write_text("".join(json.dumps({"question": q}) + "\n" for q in questions[1::2]))
        half = settings.model_copy(update={"benchmarks": {"half": Benchmark(file=file)}})
        return _judged(half, questions[::2])


def _leaked(data: Path, texts: Rows) -> str:
    """Both labelled sets together, against all English benchmarks at once."""
    found = _judged(_benchmarks(data), texts)
    sets = found["benchmark"].is_in(["gsm8k_test", "HumanEval"]) & found["contaminated"]
    return (
        f"Both labelled sets together, against all {len(_benchmarks(data).benchmarks)} benchmarks at once: "
        f"{int(found['contaminated'].sum())} of {found.height} found ({found['contaminated'].mean():.2f}), "
        f"of {int(sets.sum())} in the set they are from."
    )


# --- copies --------------------------------------------------------------------------------------------


def _copies(data: Path) -> str:
    """Which n: copies with some words changed, against honest texts."""
    read = [read_benchmark(name, b) for name, b in _benchmarks(data).benchmarks.items()]
    rng = random.Random(0)
    questions = {
        "en": [i.questions[0] for b in read if b.name in ENGLISH for i in b.items],
        "zh": [
            i.questions[0] for b in read if b.name in CHINESE for i in b.items if len(i.questions[0]) >= 20
        ],
    }
    edited = {
        "en": [[_changed(q.split(), share, rng, " ") for q in questions["en"]] for share in EDITS],
        "zh": [[_changed(list(q), share, rng, "") for q in questions["zh"]] for share in EDITS],
    }
    filler = {"en": _alpaca(data / "instructions/dolly_3k_alpagasus.json"), "zh": _chinese(data)}
    inside = {
        kind: [f"{rng.choice(filler[kind])}\n{q}\n{rng.choice(filler[kind])}" for q in own]
        for kind, own in questions.items()
    }
    honest = {
        "en": _alpaca(data / "instructions/alpaca_raw_rows_0-3252_en.json"),
        "zh": [*_chinese(data), *_medical(data)],
    }
    lines = []
    for words, characters in SIZES:
        found = build(read, words, characters).find
        for kind, n in (("en", words), ("zh", characters)):

            def share(texts: Rows, least: float, find: Callable = found) -> float:  # type: ignore[type-arg]
                series = pl.Series(texts, dtype=pl.String)
                return float((find(series, series).overlap > least).mean())

            counts = [share(honest[kind], least) * len(honest[kind]) for least in (0, 0.5)]
            lines.append(
                [
                    kind,
                    f"**{n}**" if n == 13 else str(n),
                    f"{share(inside[kind], 0.5):.3f}",
                    *(f"{share(texts, 0.5):.2f}" for texts in edited[kind]),
                    " / ".join(f"{count:.0f}" for count in counts),
                ]
            )
    lines.sort(key=lambda line: line[0])
    head = [
        "",
        "n",
        "whole, inside a document",
        *(f"{share:.0%} changed" for share in EDITS),
        "honest: any / above 0.5",
    ]
    return "\n\n".join(
        [
            "### Copies",
            f"{len(questions['en']):,} English questions (words) and {len(questions['zh']):,} Chinese ones "
            "(characters), each word or character replaced by another at random with the given "
            f"probability; found: an overlap above 0.5. Honest: {len(honest['en']):,} and "
            f"{len(honest['zh']):,} instructions with answers, how many share any n-gram with a benchmark, "
            "and how many are taken.",
            table(head, lines),
        ]
    )


def _changed(parts: list[str], share: float, rng: random.Random, joint: str) -> str:
    others = parts if joint else list("甲乙丙丁戊己庚辛")
    return joint.join(rng.choice(others) if rng.random() < share else part for part in parts)


# --- honest texts, speed -------------------------------------------------------------------------------


def _honest(data: Path) -> str:
    settings = _benchmarks(data)
    sets = {
        "Alpaca en": _alpaca(data / "instructions/alpaca_raw_rows_0-3252_en.json"),
        "Dolly": _alpaca(data / "instructions/dolly_3k_alpagasus.json"),
        "CodeAlpaca": _alpaca(data / "instructions/code_alpaca_2k.json"),
        "Alpaca zh": _alpaca(data / "instructions/alpaca_raw_rows_0-3252_zh.json"),
        "BELLE": _alpaca(data / "instructions/belle_open_source_1k.jsonl"),
        "web Q&A: Covid FAQ": _values(data / "web_qa/covid_faq.jsonl"),
        "web Q&A: zh medical": _values(data / "web_qa/zh_medical_qa.jsonl"),
    }
    lines = []
    measure = checker(settings.measured)
    for name, texts in sets.items():
        series = pl.Series(texts, dtype=pl.String)
        started = time.process_time()
        measure.index.find(series, series)
        copied = time.process_time() - started
        started = time.process_time()
        judged = _judged(settings, texts)
        both = time.process_time() - started
        lines.append(
            [
                name,
                f"{len(texts):,}",
                str(int((judged["overlap"] > settings.overlap).sum())),
                str(int((judged["paraphrase"] > settings.paraphrase).sum())),
                f"{judged['contaminated'].mean():.2%}",
                f"{len(texts) / copied:,.0f}",
                f"{len(texts) / both:,.0f}",
            ]
        )
    head = ["set", "rows", "overlap", "paraphrase", "taken", "texts / CPU s, n-grams", "texts / CPU s, all"]
    return "\n\n".join(
        [
            "### Honest texts, and speed",
            f"Against all {len(settings.benchmarks)} benchmarks at once "
            f"({sum(len(b.items) for b in measure.benchmarks):,} items); one thread. The instruction and "
            "the answer as one text.",
            table(head, lines),
            "Nearly all that is taken of the English sets is a benchmark's task in fact (a function that "
            "checks for Armstrong numbers, why the sky is blue), since instruction benchmarks ask what "
            "everybody asks; of Chinese Alpaca it is short requests about the subject of a short item.",
        ]
    )


# --- what is read --------------------------------------------------------------------------------------


def _benchmarks(data: Path, *names: str) -> AloneSettings:
    """Settings with these benchmarks, or all that are tests."""
    files = sorted((data / "benchmarks").glob("*.jsonl"))
    some = [
        f
        for f in files
        if "train" not in f.stem and "reference" not in f.stem and f.stem in (names or (f.stem,))
    ]
    return AloneSettings(benchmarks={file.stem: Benchmark(file=file) for file in some})


def _judged(settings: AloneSettings, texts: Rows) -> pl.DataFrame:
    rows = pl.DataFrame({"text": texts}, schema={"text": pl.String})
    return judge_rows(rows.with_columns(instruction=pl.lit(None, pl.String)), settings)


def _read(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8")
    return (
        json.loads(text)
        if text.startswith("[")
        else [json.loads(line) for line in text.split("\n") if line.strip()]
    )


def _texts(data: Path, file: str) -> list[str]:
    return [row["text"] for row in _read(data / file)]


def _asked(row: dict[str, str]) -> str:
    """As the rephrased questions are written."""
    return f"Question: {row['question']}\nAnswer: \n#### {row['answer'].rpartition('####')[2].strip()}"


def _alpaca(path: Path) -> list[str]:
    return [
        "\n".join(row.get(name) or "" for name in ("instruction", "input", "output")) for row in _read(path)
    ]


def _values(path: Path) -> list[str]:
    return ["\n".join(str(value) for value in row.values()) for row in _read(path)]


def _chinese(data: Path) -> list[str]:
    folder = data / "instructions"
    return [
        *_alpaca(folder / "alpaca_raw_rows_0-3252_zh.json"),
        *_alpaca(folder / "belle_open_source_1k.jsonl"),
    ]


def _medical(data: Path) -> list[str]:
    return [
        *_values(data / "instructions/huatuo_med_zh_2500.jsonl"),
        *_values(data / "web_qa/zh_medical_qa.jsonl"),
    ]
