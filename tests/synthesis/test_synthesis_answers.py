import json
from pathlib import Path

import pytest

from hydata.synthesis.answers import answer_form, asks_percent, extract_answer

SOLUTIONS = Path("/work/shared/data/labelled/multi_solution/gsm8k_test_7_solutions.jsonl")


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
        ("We get $\\boxed{\\dfrac{1}{2}}$, or 0.5.", "number", "1/2"),
        ("It is 0.50.", "number", "1/2"),
        ("First \\boxed{3}, no: \\boxed{(3, 4)}", "number", "(3,4)"),
        ("a = 3\n#### 1,234.50", "number", "2469/2"),
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
    ],
)
def test_final_answers_are_found_and_normalised(text: str, form: str, answer: str | None) -> None:
    assert extract_answer(text, form) == answer


def test_percent_depends_on_what_was_asked() -> None:
    assert asks_percent("What percentage passed?")
    assert extract_answer("The answer is 50%.", "number", percent=True) == "50"
    assert extract_answer("The answer is 50%.", "number") == extract_answer("It is 1/2.", "number") == "1/2"


@pytest.mark.skipif(not SOLUTIONS.exists(), reason="the labelled sets are not on this machine")
def test_extraction_agrees_with_the_correctness_labels_of_gsm8k() -> None:
    agree = total = 0
    for line in SOLUTIONS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        percent = asks_percent(row["question"])
        gold = extract_answer(row["gold"], "number", percent)
        for solution in row["solutions"]:
            right = extract_answer(solution["text"], "number", percent) == gold
            agree += right == solution["is_correct"]
            total += 1
    # Most of the rest are right answers labelled wrong (numbers in words, answers cut by their own reader).
    assert agree / total > 0.99
