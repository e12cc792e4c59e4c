"""Responses: manners by label, references, personas, and what becomes of answers that were cut off."""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from seedlings import QUESTIONS, instruction

from hydata.errors import ConfigError
from hydata.models import open_models
from hydata.policy import Policy, Section
from hydata.prompts import load_prompts
from hydata.schema import DEFAULT_SYSTEM_PROMPT, Conversation, Message, Output, Reference, conversations_frame
from hydata.stage import Context
from hydata.synthesis import respond
from hydata.synthesis.continuation import begun_again, join, to_last_word
from hydata.synthesis.manners import find_leak
from hydata.synthesis.respond import RespondSettings
from hydata.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))
from servers import completion, pointing, serving  # noqa: E402

PROMPTS = load_prompts(ROOT / "prompts")
TAXONOMY = load_taxonomy(ROOT / "taxonomy")


def scripted(
    tmp_path: Path, frame: pl.DataFrame, settings: RespondSettings, *answers: object
) -> tuple[Output, list[dict]]:
    """The stage against a server that gives these answers in turn, and the requests it got."""

    async def main() -> tuple[Output, list[dict]]:
        async with serving(*answers) as script:
            config = pointing(script.url, concurrency=1)
            async with open_models(config, tmp_path / "journal.sqlite") as models:
                context = Context(1, PROMPTS, TAXONOMY, Policy(final=Section()), models, {})
                respond.STAGE.check(settings, context)
                assert all(respond.STAGE.uses(settings, context))
                return await respond.STAGE.run(frame, settings, context), script.bodies

    return asyncio.run(main())


def one(text: str = QUESTIONS[0], **fields: object) -> pl.DataFrame:
    return conversations_frame([instruction(text, **fields)])


def answers(out: Output) -> list[str]:
    return [messages[-1]["content"] for messages in out.rows["messages"].to_list()]


# --- cut off ---------------------------------------------------------------------------------------------


def test_no_answer_that_was_cut_off_is_kept(run, instructions) -> None:
    out = run(respond.STAGE, instructions, RespondSettings(max_tokens=5, samples=3))
    assert out.rows.height == 0
    assert Counter(out.rejects["reason"]) == {"truncated": 3 * instructions.height}
    assert set(out.rejects["record_id"]) == set(instructions["record_id"])


def test_some_are_continued_to_their_end_and_the_others_rejected(run, instructions) -> None:
    settings = RespondSettings(max_tokens=22, samples=4)
    alone = run(respond.STAGE, instructions, settings)
    out = run(respond.STAGE, instructions, settings.model_copy(update={"continue_truncated": 2}))
    assert set(out.rows["finish_reason"]) == {"stop"}
    assert out.rows.height > alone.rows.height
    assert out.rows.height + out.rejects.height == 4 * instructions.height
    whole = alone.rows["record_id"]
    assert out.rows.filter(pl.col("record_id").is_in(whole.implode())).equals(alone.rows)


def test_a_continued_answer_is_joined_at_its_last_whole_word(tmp_path: Path) -> None:
    out, bodies = scripted(
        tmp_path,
        one(),
        RespondSettings(continue_truncated=2),
        completion("A mirror throws the li", "length", reasoning="Think of Alexandria."),
        completion("light far out, and sai", "length", reasoning="They want me to go on."),
        completion("out, and sailors see it."),
    )
    assert answers(out) == ["A mirror throws the light far out, and sailors see it."]
    row = out.rows.row(0, named=True)
    assert row["finish_reason"] == "stop"
    assert row["messages"][-1]["reasoning"] == "Think of Alexandria."
    assert [m["role"] for m in row["messages"]] == ["system", "user", "assistant"]
    assert [m["role"] for m in bodies[2]["messages"]] == ["system", "user", "assistant", "user"]
    assert bodies[1]["messages"][2]["content"] == "A mirror throws the "
    assert bodies[2]["messages"][2]["content"] == "A mirror throws the light far out, and "
    assert "cut off" in bodies[1]["messages"][3]["content"]


def test_chinese_is_continued_by_the_chinese_prompt_without_a_space(tmp_path: Path) -> None:
    out, bodies = scripted(
        tmp_path,
        one(QUESTIONS[4]),
        RespondSettings(continue_truncated=1),
        completion("灯塔用火光提醒船只\ufffd", "length"),
        completion("提醒船只避开暗礁。"),
    )
    assert answers(out) == ["灯塔用火光提醒船只避开暗礁。"]
    assert "截断" in bodies[1]["messages"][3]["content"]


FIRST = completion("It stands by the sea and", "length")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([completion("more and mo", "length")], "1 continuations"),
        ([completion("")], "not continued, empty"),
        (
            [completion("Your answer was cut off at the end of your last message.")],
            "spoke of the interruption",
        ),
        ([(400, {"error": {"message": "prompt is too long"}}, {})], "not continued, context_too_long"),
    ],
)
def test_what_cannot_be_continued_is_rejected(tmp_path: Path, more: list, said: str) -> None:
    out, bodies = scripted(tmp_path, one(), RespondSettings(continue_truncated=1), FIRST, *more)
    assert out.rows.height == 0
    assert out.rejects["reason"].to_list() == ["truncated"]
    assert said in out.rejects["detail"][0]
    assert len(bodies) == 2


@pytest.mark.parametrize(
    ("kept", "part", "joined"),
    [
        ("The light ", "was strong.", "The light was strong."),
        ("The light ", " was strong.", "The light was strong."),
        ("It said that ", "It said that all is well.", "It said that all is well."),
        ("1. Oil\n2. ", "2. Wood\n3. Peat", "1. Oil\n2. Wood\n3. Peat"),
        ("He is ", "is all right", "He is is all right"),  # two characters meet by chance
        ("def f(x):\n    ", "    return x", "def f(x):\n    return x"),
        ("def f(x):\n", "    return x", "def f(x):\n    return x"),
        ("Oil.\n", "\n\nWood.", "Oil.\n\nWood."),
        ("灯塔在海", "边。", "灯塔在海边。"),
        ("他们说灯塔在海边，", "灯塔在海边，夜里发光。", "他们说灯塔在海边，夜里发光。"),
        ("The light ", "Sure, here is the rest:\n\nwas strong.", "The light was strong."),
        ("The light ", "...was strong.", "The light was strong."),
        ("10 000 ", "000 people", "10 000 000 people"),
    ],
)
def test_parts_are_joined_without_seam_or_repetition(kept: str, part: str, joined: str) -> None:
    assert join(kept, part) == joined


def test_the_last_word_is_taken_back_where_there_are_words() -> None:
    assert to_last_word("The light was stro") == "The light was "
    assert to_last_word("x = 1\n    retu") == "x = 1\n    "
    assert to_last_word("灯塔在海") == "灯塔在海"
    assert to_last_word("灯塔 light\ufffd\ufffd") == "灯塔 "
    assert to_last_word("unbroken") == "unbroken"
    assert to_last_word("see " + "a" * 50) == "see " + "a" * 50


def test_an_answer_begun_again_is_no_continuation() -> None:
    kept = "The lighthouse of Alexandria was built on the island of Pharos "
    assert begun_again(kept, "The lighthouse of Alexandria was built on the sand near the harbour.")
    assert not begun_again(kept, kept + "by Sostratus.")
    assert not begun_again(kept, "by Sostratus.")


# --- manners ---------------------------------------------------------------------------------------------


def labelled(**labels: str | None) -> pl.DataFrame:
    return one().with_columns(**{k: pl.lit(v, pl.String) for k, v in labels.items()})


BY_LABEL = RespondSettings(
    manner="brief",
    manners=(
        {"when": {"task": "mathematical_reasoning", "language": ["en", "zh"]}, "manner": "step_by_step"},
        {"when": {"task": ["mathematical_reasoning", "coding"]}, "manner": "direct"},
    ),
)


@pytest.mark.parametrize(
    ("task", "manner"), [("mathematical_reasoning", "step_by_step"), ("coding", "direct"), (None, "brief")]
)
def test_the_first_manner_that_fits_the_labels_is_taken(run, task: str | None, manner: str) -> None:
    row = run(respond.STAGE, labelled(task=task, language="en"), BY_LABEL).rows.row(0, named=True)
    assert row["prompt_id"].startswith(f"respond/{manner}.en@")
    assert row["messages"][1]["content"] == QUESTIONS[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"manner": "operatic"},
            r"recipe\.toml: respond\.manner: no manner 'operatic' in .*; there are brief, direct",
        ),
        ({"manners": ({"when": {"task": "cooking"}, "manner": "brief"},)}, "no label 'cooking'"),
        ({"manners": ({"when": {"mood": "good"}, "manner": "brief"},)}, "no dimension 'mood'"),
    ],
)
def test_a_wrong_manner_is_refused_before_any_call(tmp_path: Path, wrong: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        scripted(tmp_path, one(), RespondSettings(**wrong))


def test_every_manner_exists_in_both_languages() -> None:
    for step in ("respond", "continue", "system"):
        names = Counter(prompt.name for prompt in PROMPTS.find(step))
        assert set(names.values()) == {2}, step


def test_thoughts_are_stored_apart(tmp_path: Path) -> None:
    out, _ = scripted(
        tmp_path, one(), RespondSettings(manner="step_by_step"), completion("<think>Fire.</think>\nBy light.")
    )
    assert out.rows["messages"][0][-1]["content"] == "By light."
    assert out.rows["messages"][0][-1]["reasoning"] == "Fire."


# --- references ------------------------------------------------------------------------------------------

REFERENCE = Reference("By a fire before a {{ bronze }} mirror")


def test_a_reference_is_shown_only_when_wanted_and_as_plain_text(tmp_path: Path) -> None:
    frame = one(reference=REFERENCE)
    for settings, shown in (
        (RespondSettings(manner="step_by_step"), False),
        (RespondSettings(manner="step_by_step", use_reference=True), True),
        (RespondSettings(use_reference=True), True),
        (RespondSettings(manner="direct", use_reference=True), False),  # has no place for it
    ):
        out, bodies = scripted(tmp_path / str(settings), frame, settings, completion("A fire, seen far off."))
        asked = bodies[0]["messages"][-1]["content"]
        assert (REFERENCE.answer in asked) == shown
        assert ("<outcome>" in asked) == shown
        assert out.rows["messages"][0][1]["content"] == QUESTIONS[0]
    out, bodies = scripted(tmp_path / "none", one(), RespondSettings(use_reference=True))
    assert bodies[0]["messages"][-1]["content"] == QUESTIONS[0]
    assert out.rows["prompt_id"].to_list() == [None]


@pytest.mark.parametrize(
    "told",
    [
        "As the reference answer says, by fire.",
        "By fire <outcome>",
        "这与参考答案一致。",
        "It must be the result I was given.",
    ],
)
def test_an_answer_that_tells_of_the_reference_is_rejected(tmp_path: Path, told: str) -> None:
    settings = RespondSettings(use_reference=True)
    for answer in (completion(told), completion("By fire.", reasoning=told)):
        out, _ = scripted(tmp_path / str(answer), one(reference=REFERENCE), settings, answer)
        assert out.rejects["reason"].to_list() == ["leaks_reference"]
    unasked, _ = scripted(tmp_path / "u", one(reference=REFERENCE), RespondSettings(), completion(told))
    assert answers(unasked) == [told]


def test_words_of_the_question_are_no_leak() -> None:
    (prompt,) = PROMPTS.find("respond", "en", name="with_reference")
    assert find_leak("A model answer is short.", None, "What makes a model answer good?", prompt) is None
    assert find_leak("A model answer is short.", None, "What is good?", prompt) is not None


# --- personas --------------------------------------------------------------------------------------------


def test_a_share_is_answered_in_a_persona_all_samples_alike(run) -> None:
    frame = conversations_frame(instruction(f"How is lighthouse number {i} kept clean?") for i in range(60))
    rows = run(respond.STAGE, frame, RespondSettings(samples=2, personas=0.4)).rows
    systems = rows.select(
        parent=pl.col("parent_ids").list.first(), system=pl.col("messages").list.first().struct["content"]
    )
    assert systems.group_by("parent").agg(pl.col("system").n_unique())["system"].max() == 1
    personas = set(systems["system"]) - {DEFAULT_SYSTEM_PROMPT}
    known = {prompt.render()[0].content for prompt in PROMPTS.find("system", "en")}
    assert len(personas) >= 2
    assert personas <= known
    share = (systems["system"] != DEFAULT_SYSTEM_PROMPT).mean()
    assert 0.2 < share < 0.6


def test_a_system_message_of_its_own_is_never_replaced(run) -> None:
    own = Conversation("dataset", (Message("system", "You are a pirate."), Message("user", "Who are you?")))
    rows = run(respond.STAGE, conversations_frame([own]), RespondSettings(personas=1)).rows
    assert rows["messages"][0][0]["content"] == "You are a pirate."
