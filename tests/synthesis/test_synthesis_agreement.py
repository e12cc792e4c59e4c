import itertools

import polars as pl
import pytest

from hydata.errors import ConfigError
from hydata.schema import Conversation, Message, Reference, Span, conversations_frame
from hydata.synthesis import sandbox
from hydata.synthesis.agreement import STAGE, AgreementSettings


def measure(
    run,
    question: str,
    answers: list[str],
    cut: int = -1,
    reference: Reference | None = None,
    **settings: object,
) -> pl.DataFrame:
    frame = conversations_frame(
        Conversation(
            step="respond",
            messages=(Message("user", question), Message("assistant", text)),
            parent_ids=("q",),
            reference=reference,
            sample_index=i,
            finish_reason="length" if i == cut else "stop",
        )
        for i, text in enumerate(answers)
    )
    return run(STAGE, frame, AgreementSettings(**settings)).rows


def test_the_majority_is_by_normalised_answer(run) -> None:
    rows = measure(
        run,
        "How many are left of 2,000 after 800?",
        ["The answer is 1,200.", "\\boxed{1200}", "答案是1200个。", "So 12."],
    )
    assert rows["objective"].all()
    assert rows["answer"].to_list() == ["1200", "1200", "1200", "12"]
    assert rows["majority"].to_list() == [True, True, True, False]
    assert rows["share"].to_list() == [0.75] * 4
    assert rows["samples"].to_list() == rows["votes"].to_list() == [4] * 4
    assert not rows["abstained"].any()


def test_a_failed_extraction_has_no_vote(run) -> None:
    rows = measure(run, "小明有3个苹果，又买了4个，一共多少个？", ["答案是7。", "一共7个。", "我不知道。"])
    assert rows["votes"].to_list() == [2, 2, 2]
    assert rows["share"].to_list() == [1.0] * 3
    assert rows["majority"].to_list() == [True, True, False]


def test_a_truncated_text_has_no_vote(run) -> None:
    rows = measure(run, "How many is 3 + 4?", ["It is 7.", "It is 7.", "First, 3"], cut=2)
    assert rows["answer"].to_list() == ["7", "7", None]


def test_ties_and_single_votes_abstain(run) -> None:
    tie = measure(run, "How many is 3 + 4?", ["It is 7.", "It is 8."])
    assert tie["abstained"].all()
    assert tie["majority"].null_count() == 2
    single = measure(run, "How many is 3 + 4?", ["It is 7.", "Who knows."])
    assert single["abstained"].all()
    assert not measure(run, "How many is 3 + 4?", ["It is 7.", "Who knows."], min_votes=1)["abstained"].any()


def test_a_share_below_the_bound_abstains(run) -> None:
    answers = ["It is 7.", "It is 7.", "It is 8.", "It is 9."]
    assert not measure(run, "How many is 3 + 4?", answers)["abstained"].any()
    assert measure(run, "How many is 3 + 4?", answers, min_share=0.6)["abstained"].all()


def test_an_open_question_has_a_row_and_no_verdict(run) -> None:
    rows = measure(run, "Write a poem about 3 ducks.", ["Ducks, 3.", "Ducks, 3."])
    assert not rows["objective"].any()
    assert rows["abstained"].all()
    assert rows["answer"].null_count() == 2


def test_rows_of_a_dataset_are_groups_of_their_own(run) -> None:
    rows = run(
        STAGE,
        conversations_frame(
            Conversation(
                "dataset",
                (Message("user", "What is 3 + 4?"), Message("assistant", f"{i}")),
                uri="u",
                position=i,
            )
            for i in range(3)
        ),
        AgreementSettings(),
    ).rows
    assert rows["samples"].to_list() == [1, 1, 1]
    assert rows["abstained"].all()


def test_equivalent_answers_are_one_class_and_its_size_is_told(run) -> None:
    rows = measure(
        run, "What is $1/2 + x$?", ["\\boxed{x + 0.5}", "\\boxed{\\frac{1}{2}+x}", "\\boxed{x}", "?"]
    )
    assert rows["class"].to_list() == [0, 0, 1, None]
    assert rows["classes"].to_list() == [[2, 1]] * 4
    assert rows["majority"].to_list() == [True, True, False, False]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_order_of_answers_changes_nothing(run, order) -> None:
    answers = ["The answer is 7.", "\\boxed{7}", "It is 8.", "Who knows."]
    shuffled = [answers[i] for i in order]
    rows = measure(run, "How many is 3 + 4?", shuffled)
    assert dict(zip(shuffled, rows["class"], strict=True)) == dict(zip(answers, (0, 0, 1, None), strict=True))
    assert rows["share"].unique().to_list() == [pytest.approx(2 / 3)]


def test_the_reference_takes_part(run) -> None:
    reference = Reference("7 apples", (Span("d", 0, 8),))
    rows = measure(run, "How many is 3 + 4?", ["It is 7.", "It is 8."], reference=reference)
    assert rows["classes"].to_list() == [[2, 1]] * 2
    assert rows["majority"].to_list() == rows["reference"].to_list() == [True, False]
    named = Reference("Monet", ())
    rows = measure(run, "Who painted the lilies?", ["The answer is Monet.", "Renoir"], reference=named)
    assert rows["objective"].all()
    assert rows["majority"].to_list() == [True, False]
    long = Reference("It warns ships of rocks by light at night.", ())
    assert not measure(run, "What is it for?", ["Light.", "Light."], reference=long)["objective"].any()


TASK = "Write a function add.\nassert add(1, 2) == 3\nassert add(-1, 1) == 0"
CODE = [f"```python\ndef add(a, b):\n    return {body}\n```" for body in ("a + b", "a - b", "b + a")]


def test_code_is_run_only_where_the_recipe_allows_it(run) -> None:
    assert not measure(run, TASK, CODE)["objective"].any()
    try:
        sandbox.check()
    except ConfigError:
        with pytest.raises(ConfigError, match="run_code"):
            measure(run, TASK, CODE, run_code=True)
        return
    rows = measure(run, TASK, [*CODE, "I cannot."], run_code=True)
    assert rows["majority"].to_list() == [True, False, True, False]
    assert not rows["abstained"].any()
    assert rows["votes"].to_list() == [3] * 4
    assert measure(run, TASK, CODE[1:2], run_code=True)["majority"].to_list() == [False]
