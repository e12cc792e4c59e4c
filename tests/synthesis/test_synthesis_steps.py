"""What each step promises beyond what all of them do."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError
from seedlings import document, instruction

from hydata.errors import BudgetError, ConfigError
from hydata.models import Budget, StandinEndpoint, one_model, open_models
from hydata.policy import Policy, Section
from hydata.schema import (
    DEFAULT_SYSTEM_PROMPT,
    Conversation,
    Message,
    Reference,
    Span,
    conversations_frame,
    documents_frame,
)
from hydata.stage import Context
from hydata.synthesis import critique, evolve, generate, label, respond, self_instruct
from hydata.synthesis.answers import extract_answer
from hydata.synthesis.drafts import fraction, pick, sample
from hydata.synthesis.votes import is_decided, tally
from hydata.taxonomy import load_taxonomy

ROOT = Path(__file__).parents[2]


def reasons(out) -> Counter:
    return Counter(out.rejects["reason"])


def test_choices_depend_on_their_parts_alone_and_are_even() -> None:
    assert fraction("a", 1) == fraction("a", 1) != fraction("a", 2)
    counts = Counter(pick("abc", i) for i in range(3000))
    assert all(900 < n < 1100 for n in counts.values())


def test_a_larger_sample_contains_the_smaller_one() -> None:
    ids = [str(i) for i in range(1000)]
    assert 250 < len(sample(ids, 0.3, None, "s")) < 350
    assert sample(ids, 0.3, 50, "s") < sample(ids, 0.3, 100, "s") < sample(reversed(ids), 0.6, None, "s")


def test_a_generated_instruction_knows_its_seed_prompt_and_call(run) -> None:
    out = run(generate.STAGE, documents_frame([document(i) for i in range(6)]), generate.GenerateSettings())
    row = out.rows.row(0, named=True)
    assert [m["role"] for m in row["messages"]] == ["system", "user"]
    assert row["messages"][0]["content"] == DEFAULT_SYSTEM_PROMPT
    assert row["step"] == "generate"
    assert row["parent_ids"] == []
    assert row["licence"] == "CC0-1.0"
    assert row["prompt_id"].startswith("generate/web_")
    assert json.loads(row["sampling"]) == {"max_tokens": 192, "seed": 1, "temperature": 0.7, "top_p": 0.95}
    assert row["model"]
    assert row["request_hash"]
    assert row["finish_reason"] == "stop"


def test_generate_uses_the_prompts_of_kind_and_language(run, documents) -> None:
    rows = run(generate.STAGE, documents, generate.GenerateSettings(per_document=2)).rows
    of = dict(zip(documents["document_id"], documents.select("kind", "language").rows(), strict=True))
    for id, prompt in zip(rows["document_ids"].list.first(), rows["prompt_id"], strict=True):
        kind, language = of[id]
        assert prompt.startswith(f"generate/{kind}_")
        assert f".{language}@" in prompt


def test_generate_says_why_a_document_gave_nothing(run) -> None:
    documents = [document(i) for i in range(8)] + [document(9, text="Ein Leuchtturm.", language="de")]
    out = run(generate.STAGE, documents_frame(documents), generate.GenerateSettings(max_documents=9))
    assert reasons(out)["no_prompt"] == 1
    few = run(generate.STAGE, documents_frame(documents), generate.GenerateSettings(max_documents=3))
    assert reasons(few)["not_sampled"] == 6
    short = run(generate.STAGE, documents_frame(documents[:4]), generate.GenerateSettings(max_tokens=4))
    assert reasons(short) == {"truncated": 4}


def test_the_seed_changes_the_choices(run, documents) -> None:
    settings = generate.GenerateSettings()
    first, second = (run(generate.STAGE, documents, settings, seed=seed).rows for seed in (1, 2))
    assert set(first["prompt_id"]) & set(second["prompt_id"])
    assert set(first["record_id"]).isdisjoint(second["record_id"])


def test_an_excerpt_is_a_window_between_breaks() -> None:
    paragraphs = "\n\n".join(f"Paragraph {i} has a sentence. And it has another one." for i in range(200))
    assert generate.excerpt(paragraphs, 100_000, 0.5) == paragraphs
    for place in (0.0, 0.31, 0.77, 0.9999):
        window = generate.excerpt(paragraphs, 500, place)
        assert 150 <= len(window) <= 500
        assert window.startswith("Paragraph")
        assert window.endswith("another one.")
        assert window in paragraphs
    chinese = "这是一个很长的句子，讲的是灯塔。" * 100
    window = generate.excerpt(chinese, 100, 0.5)
    assert window.startswith("这是")
    assert len(generate.excerpt("x" * 5000, 100, 0.5)) == 100


@pytest.mark.parametrize(
    ("evolved", "reason"),
    [
        ("How do lighthouses warn ships of rocks at night?", "copied"),
        ("How do lighthouses warn ships?", "shrank"),
        ("Name two birds of prey.", "shrank"),
        ("Lighthouses warn ships of rocks at night by a strong light that turns.", "answered"),
        ("Sure, lighthouses use light. How do lighthouses warn ships of rocks at night by day?", "answered"),
        ("Which spices are used in Indian cooking, and where do they come from?", "drifted"),
        ("How do lighthouses warn ships of rocks at night, and what did they do in thick fog?", None),
    ],
)
def test_failed_evolutions_are_told_apart(evolved: str, reason: str | None) -> None:
    failure = evolve.find_failure("How do lighthouses warn ships of rocks at night?", evolved)
    assert (failure and failure.reason) == reason


@pytest.mark.parametrize(
    ("evolved", "reason"),
    [
        ("请说明灯塔在古代航海中的作用。", "copied"),
        ("请说明灯塔在古代航海中的作用，并比较它与现代卫星导航的优缺点。", None),
        ("请推荐三本适合小学生阅读的科普图书，并各写一句理由。", "drifted"),
    ],
)
def test_failed_evolutions_are_told_apart_in_chinese(evolved: str, reason: str | None) -> None:
    failure = evolve.find_failure("请说明灯塔在古代航海中的作用。", evolved)
    assert (failure and failure.reason) == reason


def test_an_evolution_has_its_parent_and_no_reference(run) -> None:
    parents = conversations_frame(
        instruction(
            f"How did lighthouse number {i} warn ships of rocks?",
            document_ids=("d",),
            reference=Reference("x"),
        )
        for i in range(12)
    )
    out = run(evolve.STAGE, parents, evolve.EvolveSettings(share=1, operators=("deepening",)))
    assert set(out.rows["parent_ids"].list.first()) <= set(parents["record_id"])
    assert out.rows["document_ids"].to_list() == [["d"]] * out.rows.height
    assert out.rows["reference"].null_count() == out.rows.height
    assert all(p.startswith("evolve/deepening.en@") for p in out.rows["prompt_id"])


def test_every_round_has_its_record_and_its_parent(run) -> None:
    parents = conversations_frame(
        instruction(
            f"How did {what} of old harbours {done} the crews of passing ships?", document_ids=(what,)
        )
        for what in ("lighthouses", "bells", "flags", "pilots", "fires", "towers")
        for done in (
            "warn",
            "guide",
            "help",
            "reach",
            "delay",
            "tempt",
            "confuse",
            "save",
            "please",
            "surprise",
        )
    )
    operators = ("deepening", "constraints", "reasoning")
    one = run(evolve.STAGE, parents, evolve.EvolveSettings(share=1, operators=operators))
    two = run(evolve.STAGE, parents, evolve.EvolveSettings(share=1, operators=operators, rounds=2))
    made = {row["record_id"]: row for row in two.rows.iter_rows(named=True)}
    assert set(one.rows["record_id"]) < set(made)  # a further round adds to what was made
    second = [row for row in made.values() if row["parent_ids"][0] in made]
    assert {row["record_id"] for row in second} == set(made) - set(one.rows["record_id"])
    assert len(second) > 3
    for row in second:
        first = made[row["parent_ids"][0]]
        assert first["parent_ids"][0] in set(parents["record_id"])
        assert row["document_ids"] == first["document_ids"]
        assert row["prompt_id"].split(".")[0] != first["prompt_id"].split(".")[0]
    # each line ends with its last round or with a reject of the record that could not be evolved further
    ended = set(two.rejects["record_id"])
    evolved = set(two.rows["parent_ids"].list.first())
    assert set(parents["record_id"]) <= ended | evolved
    assert set(one.rows["record_id"]) <= ended | evolved


def test_operators_are_for_labels_and_have_weights(run) -> None:
    questions = [f"How does sorting method number {i} order a list of words?" for i in range(40)]
    frame = conversations_frame(instruction(text) for text in questions)
    labels = {"domain": pl.lit("code"), "difficulty": pl.lit("simple"), "language": pl.lit("en")}
    coding = frame.with_columns(**labels, task=pl.lit("coding"))
    other = frame.with_columns(**labels, task=pl.lit("knowledge_qa"))

    def drawn(frame: pl.DataFrame, **settings: object) -> Counter:
        out = run(evolve.STAGE, frame, evolve.EvolveSettings(share=1, **settings))
        ids = [*out.rows["prompt_id"], *out.rejects["detail"].str.extract("^(evolve/[a-z_]+)")]
        return Counter(id.partition(".")[0].partition("/")[2] for id in ids if id)

    assert drawn(coding)["code_demands"] > 0
    assert drawn(other)["code_demands"] == drawn(frame)["code_demands"] == 0
    heavy = drawn(frame, operators=("clarity", "reasoning"), weights={"clarity": 9.0})
    assert heavy["clarity"] > 3 * heavy["reasoning"] > 0


def test_a_wrong_operator_is_named(run, instructions) -> None:
    for settings in ({"operators": ("clarityy",)}, {"weights": {"clarityy": 2.0}}):
        with pytest.raises(ConfigError, match=r"evolve\.(operators|weights).*clarityy.*breadth, clarity"):
            run(evolve.STAGE, instructions, evolve.EvolveSettings(**settings))


def test_evolve_leaves_what_is_no_single_request(run, answered) -> None:
    follow_up = Conversation(
        "dataset", (Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Why is it so?"))
    )
    frame = pl.concat([answered.head(1), conversations_frame([follow_up])])
    out = run(evolve.STAGE, frame, evolve.EvolveSettings(share=1))
    assert reasons(out) == {"not_an_instruction": 1, "multi_turn": 1}


def test_self_instruct_has_several_parents_and_joins_their_licences(run, instructions) -> None:
    mixed = instructions.with_columns(licence=pl.Series(["MIT", "CC0-1.0"] * (instructions.height // 2)))
    rows = run(self_instruct.STAGE, mixed, self_instruct.SelfInstructSettings(count=16)).rows
    licence = dict(zip(mixed["record_id"], mixed["licence"], strict=True))
    for row in rows.iter_rows(named=True):
        assert len(row["parent_ids"]) == 3
        assert row["licence"] == " AND ".join(sorted({licence[id] for id in row["parent_ids"]}))
        assert len(row["document_ids"]) == 3


def test_self_instruct_aims_at_what_is_rare(run) -> None:
    english = [
        instruction(f"How is lighthouse number {i} kept clean?", document_ids=(f"e{i}",)) for i in range(40)
    ]
    chinese = [instruction(f"第{i}座灯塔是怎样保持清洁的？", document_ids=(f"z{i}",)) for i in range(4)]
    frame = conversations_frame([*english, *chinese])
    out = run(self_instruct.STAGE, frame, self_instruct.SelfInstructSettings(count=30))
    prompts = Counter(
        (detail if reason not in ("not_sampled", "examples_only") else "").split("@")[0]
        for reason, detail in out.rejects.select("reason", "detail").rows()
    ) + Counter(id.split("@")[0] for id in out.rows["prompt_id"])
    assert prompts["self_instruct/new_task.zh"] > 20


def test_respond_asks_every_sample_and_inherits(run) -> None:
    reference = Reference("light", (Span("d", 0, 5),))
    asked = instruction(
        "How does a lighthouse warn ships?", document_ids=("d",), reference=reference, licence="MIT"
    )
    frame = conversations_frame([asked])
    rows = run(respond.STAGE, frame, respond.RespondSettings(samples=3)).rows
    assert rows["sample_index"].to_list() == [0, 1, 2]
    assert rows["parent_ids"].to_list() == [[asked.record_id]] * 3
    assert rows["reference"].to_list() == [frame["reference"][0]] * 3
    assert rows["licence"].unique().to_list() == ["MIT"]
    assert rows["request_hash"].n_unique() == 3
    assert [m["role"] for m in rows["messages"][0]] == ["system", "user", "assistant"]
    more = run(respond.STAGE, frame, respond.RespondSettings(samples=4)).rows
    assert more.head(3).equals(rows)


def _sampled(rows: pl.DataFrame) -> dict[str, list[int]]:
    grouped = rows.group_by(pl.col("parent_ids").list.first()).agg(pl.col("sample_index").sort())
    return dict(grouped.iter_rows())


def test_objective_questions_are_answered_in_whole_rounds_until_decided(run) -> None:
    questions = [f"How many is {i} + 4?" for i in range(12)] + ["Tell me about the sea."]
    frame = conversations_frame(instruction(text) for text in questions)
    settings = respond.RespondSettings(rounds=(3, 2, 2))
    rows = run(respond.STAGE, frame, settings).rows
    counts = {id: len(indices) for id, indices in _sampled(rows).items()}
    assert counts.pop(frame["record_id"][-1]) == 1  # not objective: samples, once by default
    assert set(counts.values()) <= {3, 5, 7}
    assert len(set(counts.values())) > 1
    assert all(indices == list(range(len(indices))) for indices in _sampled(rows).values())
    # Every row of it is one of the seven that plain sampling would have drawn.
    plain = run(respond.STAGE, frame, respond.RespondSettings(samples=7)).rows
    assert set(rows["record_id"]) < set(plain["record_id"])
    for id, count in counts.items():
        texts = (
            plain.filter(pl.col("parent_ids").list.first() == id).sort("sample_index")["messages"].list.last()
        )
        answers = [extract_answer(m["content"], "number") for m in texts]
        ends = [n for n in (3, 5) if is_decided(tally(answers[:n]).sizes, 0.9)]
        assert count == (ends[0] if ends else 7)


def test_rounds_are_the_same_in_any_order_and_after_an_interruption(run, tmp_path) -> None:
    frame = conversations_frame(instruction(f"How many is {i} + 4?") for i in range(12))
    settings = respond.RespondSettings(rounds=(3, 2, 2))

    async def answered(
        shuffled: pl.DataFrame, journal: str, tokens: int | None = None, **faults
    ) -> pl.DataFrame:
        config = one_model(StandinEndpoint(engine="standin", **faults), "m")
        async with open_models(config, tmp_path / journal, Budget(tokens=tokens)) as models:
            context = Context(1, None, load_taxonomy(ROOT / "taxonomy"), Policy(final=Section()), models, {})
            return (await respond.STAGE.run(shuffled, settings, context)).rows.sort("record_id")

    whole = asyncio.run(answered(frame, "a"))
    assert asyncio.run(answered(frame.sample(fraction=1, shuffle=True, seed=3), "b")).equals(whole)
    for budget in (300, 900):
        with pytest.raises(BudgetError):
            asyncio.run(answered(frame, "c", budget))
    assert asyncio.run(answered(frame, "c", fail_every=5)).equals(whole)


def test_a_vote_is_decided_by_the_beta_rule() -> None:
    assert [is_decided(s, 0.9) for s in ([3], [2, 1], [4, 1], [5], [2, 2, 1], [6, 1], [])] == [
        *(True, False, False, True, False, True, False)
    ]
    assert is_decided([2000], 0.99)


def test_respond_adds_a_system_prompt_only_where_there_is_none(run) -> None:
    own = Conversation("dataset", (Message("system", "You are a pirate."), Message("user", "Who are you?")))
    bare = Conversation("dataset", (Message("user", "Who are you?"),), uri="u")
    rows = run(respond.STAGE, conversations_frame([own, bare]), respond.RespondSettings()).rows
    systems = [messages[0]["content"] for messages in rows["messages"].to_list()]
    assert systems == ["You are a pirate.", DEFAULT_SYSTEM_PROMPT]


def test_critique_scores_within_its_scales(run, answered) -> None:
    rows = run(critique.STAGE, answered, critique.CritiqueSettings(repeats=2, temperature=0.5)).rows
    assert rows.height == 2 * answered.height
    assert rows.select("record_id", "judge", "version", "repeat").is_unique().all()
    for column in (*critique.ASPECTS, "tier"):
        assert set(rows[column]) <= {1, 2, 3, 4}
    assert set(rows["repeat"]) == {0, 1}


def test_critique_leaves_instructions_without_an_answer(run, instructions) -> None:
    out = run(critique.STAGE, instructions, critique.CritiqueSettings())
    assert reasons(out) == {"not_complete": instructions.height}


def test_repeats_without_chance_are_refused() -> None:
    with pytest.raises(ValidationError, match="temperature > 0"):
        critique.CritiqueSettings(repeats=2)
    with pytest.raises(ValidationError, match="temperature > 0"):
        label.LabelSettings(votes=3)


def test_labels_are_the_taxonomys_and_confidence_is_the_share_of_votes(run, instructions) -> None:
    rows = run(label.STAGE, instructions, label.LabelSettings(votes=3, temperature=0.8)).rows
    assert rows.height == 3 * instructions.height
    assert set(rows["dimension"]) == {"domain", "task", "difficulty"}
    assert set(rows["judge"]) == {"labeller"}
    assert {round(3 * c) for c in rows["confidence"]} <= {1, 2, 3}
    few = run(label.STAGE, instructions, label.LabelSettings(max_per_shard=2))
    assert few.rows["record_id"].n_unique() == 2
    assert reasons(few) == {"not_sampled": instructions.height - 2}
