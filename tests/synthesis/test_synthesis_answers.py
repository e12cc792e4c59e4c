import json
from pathlib import Path

import pytest

from hydata.synthesis.answers import Form, answer_form, asks_percent, extract_answer, read_reference
from hydata.synthesis.equivalence import classes

SOLUTIONS = Path("/work/shared/data/labelled/multi_solution/gsm8k_test_7_solutions.jsonl")


def extracted(text: str, form: Form, percent: bool = False) -> str | None:
    found = extract_answer(text, form, percent)
    return None if found is None else found.text


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ("How many apples are left if Tom eats 3 of 12?", "number"),
        ("What is $2^{10}$?", "number"),
        ("A shirt costs 40 dollars after 20% off. What was the price before?", "number"),
        ("小明有12个苹果，吃了3个，还剩多少个？", "number"),
        ("计算 15×24 的结果。", "number"),
        ("Which is a mammal?\nA. shark\nB. dolphin\nC. tuna", "choice"),
        ("下列哪个是哺乳动物？A、鲨鱼 B、海豚 C、金枪鱼", "choice"),
        ("True or false: whales are fish.", "truth"),
        ("判断对错：鲸鱼是鱼类。", "truth"),
        ("On what date did he land?", "date"),
        ("他是哪一年出生的？", "date"),
        ("What does this program print?\nprint(2 ** 5)", "any"),
        ("这段程序的输出是什么？", "any"),
        ("How much should one exercise?", None),
        ("Write a poem about the sea.", None),
        ("请介绍一下灯塔的历史。", None),
        ("Explain why vitamin A: a fat-soluble one, matters.", None),
    ],
)
def test_objective_questions_are_known_by_what_they_ask(question: str, form: str | None) -> None:
    assert answer_form(question) == form


@pytest.mark.parametrize(
    ("text", "form", "answer"),
    [
        ("So 3 + 4 = 7. The answer is 7 apples.", "number", "7"),
        ("Thus \\boxed{1{,}250}.", "number", "1250"),
        ("We get $\\boxed{\\dfrac{1}{2}}$, or 0.5.", "number", "0.5"),
        ("It is 0.50.", "number", "0.5"),
        ("First \\boxed{3}, no: \\boxed{(3, 4)}", "number", "(3, 4)"),
        ("a = 3\n#### 1,234.50", "number", "1234.5"),
        ("Final answer: -12", "number", "-12"),
        ("The total is 5 + 6 = 11 dollars, so the answer is 5 + 6 = 11.", "number", "11"),
        ("一共是 3×4=12 个。答案是12个。", "number", "12"),
        ("答：还剩9个苹果。", "number", "9"),
        ("I do not know.", "number", None),
        ("1/0", "number", None),
        ("The answer is (B) because dolphins breathe air.", "choice", "B"),
        ("故选C。", "choice", "C"),
        ("B. dolphin", "choice", "B"),
        ("正确答案是：**D**", "choice", "D"),
        ("A dolphin is a mammal.", "choice", None),
        ("The answer is False.", "truth", "false"),
        ("True. Whales breathe air.", "truth", "true"),
        ("这个说法是错误的，所以答案是：错误。", "truth", "false"),
        ("不正确，鲸鱼是哺乳动物。", "truth", "false"),
        ("", "number", None),
        # what stands behind a mark and cannot be read is no reason to take another number
        ("5 and 6 make 11. The answer is eleven.", "number", None),
        ("<think>The answer is 5.</think>The answer is 6.", "number", "6"),
        ("```output\n3.0\n```\nThree trucks will carry 80 stones.", "number", "3"),
        ("It is 3 + 1/2, so \\boxed{3\\frac{1}{2}}.", "number", "3.5"),
        ("The answer is $\\frac{x+2}{7}$.", "number", "\\frac{x+2}{7}"),
        ("The answer is $180 + $300 = $480.", "number", "480"),
        ("答案是三分之二。", "number", "2/3"),
        ("答案：约3.5万人", "number", "35000"),
        ("因此，正确答案是十二个。", "number", "12"),
        ("答案是百分之四十。", "number", "0.4"),
        ("增长了，最终答案是1亿2000万元。", "number", "120000000"),
        ("He was born on May 1, 2023.", "date", "2023-05-01"),
        ("答案是2023年5月1日。", "date", "2023-05-01"),
        ("它建于二〇二三年五月。", "date", "2023-05"),
        ("The answer is 1969.", "date", "1969"),
        ("Thus the answer is **Paris**.", "any", "paris"),
        ("After some thought:\nParis", "any", "paris"),
        ("I do not know who it was.\nI hope this helps!", "any", None),
        ("答案是北京。", "any", "北京"),
        ("选项是(C)。", "any", "C"),
    ],
)
def test_final_answers_are_found_and_normalised(text: str, form: Form, answer: str | None) -> None:
    assert extracted(text, form) == answer


def test_percent_depends_on_what_was_asked() -> None:
    assert asks_percent("What percentage passed?")
    assert extracted("The answer is 50%.", "number", percent=True) == "50"
    assert extracted("The answer is 50%.", "number") == extracted("It is 1/2.", "number") == "0.5"
    both = "The answer is 25%. The answer (as a fraction) is 1/4."
    assert extracted(both, "number", percent=True) == "25"


HOSTILE = [
    "\\boxed{" * 140_000,
    "{" * 1_000_000,
    "the answer is " * 70_000,
    "answer (" * 120_000,
    "1," * 500_000,
    "9" * 1_000_000,
    "1 / " * 250_000,
    "三" * 1_000_000,
    "\\frac{" * 160_000,
    "1万" * 300_000,
    "A. " * 300_000,
    "\n" * 1_000_000,
    "$" * 1_000_000,
    "what is " * 120_000,
    "= " * 500_000,
    "\ufffd\x00\x1b[31m" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_megabyte_of_anything_is_read_in_bounded_time(text: str) -> None:
    answer_form(text)  # what is quadratic here would take hours
    for form in ("number", "any"):
        extract_answer(text, form)
        extract_answer(f"The answer is {text}", form)
        extract_answer(f"\\boxed{{{text}}}", form)
    extract_answer(text, "date")


@pytest.mark.skipif(not SOLUTIONS.exists(), reason="the labelled sets are not on this machine")
def test_extraction_agrees_with_the_correctness_labels_of_gsm8k() -> None:
    agree = total = 0
    for line in SOLUTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        percent = asks_percent(row["question"])
        form = answer_form(row["question"]) or "any"
        gold = read_reference(row["gold"], form, percent)
        found = [extract_answer(solution["text"], form, percent) for solution in row["solutions"]]
        right, *said = classes([gold, *found])
        for solution, c in zip(row["solutions"], said, strict=True):
            agree += (c == right) == solution["is_correct"]
            total += 1
    # The rest are right answers labelled wrong: docs/decisions/0010-agreement.md lists them.
    assert agree / total >= 0.995


@pytest.mark.parametrize(
    ("text", "letter"), [("选B。", "B"), ("所以答案选 C", "C"), ("本题选择B选项。", "B"), ("答案应选D", "D")]
)
def test_how_chinese_writers_choose(text: str, letter: str) -> None:
    found = extract_answer(text, "choice")
    assert found is not None
    assert found.text == letter
