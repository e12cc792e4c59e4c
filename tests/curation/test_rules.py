"""Rules: every measure on hand-made cases in English and Chinese, and conservation of rows."""

import asyncio
import json
import random
from pathlib import Path

import polars as pl
import pytest

from hydata.curation import rules
from hydata.schema import JUDGEMENT_KEY, Conversation, Message, ToolCall, conversations_frame

LABELLED = Path(__file__).parents[3] / "shared" / "data" / "labelled"


def frame(*conversations: tuple[str, str | None]) -> pl.DataFrame:
    """One conversation for each (instruction, response)."""
    return conversations_frame(
        Conversation(
            "dataset",
            (Message("user", asked), *(() if answer is None else (Message("assistant", answer),))),
            uri="test",
            position=position,
        )
        for position, (asked, answer) in enumerate(conversations)
    )


def of_response(measure: str, response: str) -> object:
    return rules.measures(frame(("Say something.", response)))[f"response_{measure}"].item()


def of_instruction(measure: str, instruction: str) -> object:
    return rules.measures(frame((instruction, None)))[f"instruction_{measure}"].item()


def of_text(measure: str, text: str) -> object:
    return rules.measures(frame((text, None)))[measure].item()


def of_messages(measure: str, *messages: Message, tools: str | None = None) -> object:
    return rules.measures(conversations_frame([Conversation("dataset", messages, tools=tools)]))[
        measure
    ].item()


PROSE = "The tide goes out twice a day. "


@pytest.mark.parametrize(
    ("measure", "response", "expected"),
    [
        ("characters", "你好 world", 8),
        ("words", "你好, brave new world", 5),
        ("tokens_estimated", "你好吗", 2),
        ("tokens_estimated", "twelve chars", 3),
        ("ends_dangling", "We need bread, butter and", True),
        ("ends_dangling", "The steps are as follows:", True),
        ("ends_dangling", "我们需要面包、黄油以及", True),
        ("ends_dangling", "他说，", True),
        ("ends_dangling", "We are done.", False),
        ("ends_dangling", "我们做完了。", False),
        ("ends_dangling", "int main() { return 0; }", False),
        ("ends_in_mid_sentence", PROSE + "After that the beach is left to the birds", True),
        ("ends_in_mid_sentence", PROSE + "After that the beach is left to the birds.", False),
        ("ends_in_mid_sentence", PROSE + "After that the beach is left to the #birds", False),
        ("ends_in_mid_sentence", PROSE + "\n- the birds that eat whatever the sea has left", False),
        ("ends_in_mid_sentence", "A Short History of the Birds of the North Sea", False),
        ("ends_in_mid_sentence", "潮水每天退两次。退潮以后海滩就留给了各种各样的", True),
        ("ends_in_mid_sentence", "潮水每天退两次。退潮以后海滩就留给了各种各样的鸟。", False),
        ("ends_in_ellipsis", "and so on...", True),
        ("ends_in_ellipsis", "等等……", True),
        ("ends_in_ellipsis", "Wait... what?", False),
        ("open_fence", "```python\nprint(1)\n", True),
        ("open_fence", "```python\nprint(1)\n```", False),
        ("unclosed_brackets", "f(g(x", 2),
        ("unclosed_brackets", "the interval [0, 1) is half open", 0),
        ("unclosed_brackets", "1) one\n2) two (see above", 1),
        ("unclosed_brackets", "（未完", 1),
        ("unclosed_quotes", 'He said "no and left.', True),
        ("unclosed_quotes", 'x = ""', False),
        ("unclosed_quotes", "他说：“不行。", True),
        ("unclosed_quotes", "他说：“不行。”", False),
        ("duplicate_line_fraction", "one\ntwo\none\none", 0.5),
        ("duplicate_line_fraction", "{\n}\n{\n}\nend", 0.0),
        ("duplicate_line_fraction", "好\n坏\n好\n坏", 0.5),
        ("duplicate_paragraph_fraction", "one\n\ntwo\n\n\none\n\nfour", 0.25),
        ("top_2gram_fraction", "no repetition in here at all", 0.0),
        ("top_2gram_fraction", "ab cd ef gh ab cd", 4 * 2 / 12),
        ("top_3gram_fraction", "a b c x a b c y a b c", 9 / 11),
        ("top_4gram_fraction", "", 0.0),
        ("top_2gram_fraction", "机器学习很好机器学习很难", 8 / 12),
        ("top_2gram_fraction", "机器学习是人工智能", 0.0),
        ("symbol_fraction", "a+b=", 0.5),
        ("letter_word_fraction", "1 2 three 4th", 0.5),
        ("role_markers", "Sure.\n### Instruction:\nWrite", 1),
        ("role_markers", "<|im_start|>user hello<|im_end|>", 2),
        ("role_markers", "ok\nHuman: next\nAssistant: yes", 2),
        ("role_markers", "print(3)\n# Output: 3", 0),
        ("role_markers", "好的。\n用户：继续", 1),
        ("template_holes", "Dear {{ name }}, [INSERT DATE]", 2),
        ("template_holes", "尊敬的[您的姓名]，（在此插入日期）", 2),
        ("template_holes", "x[0] and {1, 2}", 0),
        ("refusals", "I'm sorry, but I cannot help with that.", 2),
        ("refusals", "I'm sorry to hear that. Try restarting it.", 0),
        ("refusals", "很抱歉，这个我做不到。", 1),
        ("refusals", "抱歉让你久等了，答案是四。", 0),
        ("ai_disclaimers", "As an AI language model, I like tea.", 2),
        ("ai_disclaimers", "作为一个人工智能语言模型，我喜欢茶。", 1),
        ("ai_disclaimers", "An AI language model predicts words.", 0),
        ("placeholders", "No output.", 1),
        ("placeholders", "无", 1),
        ("placeholders", "There is no input to the function.", 0),
        ("urls", "See https://example.com/a and www.example.org.", 2),
    ],
)
def test_measure_of_a_response(measure: str, response: str, expected: object) -> None:
    assert of_response(measure, response) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("measure", "instruction", "expected"),
    [
        ("placeholders", "Write a letter.\nNo input", 1),
        ("placeholders", "写一封信。\n无输入", 1),
        ("missing_media", "Describe the attached photo.", 1),
        ("missing_media", "描述下面的图片。", 1),
        ("missing_media", "[image of a lake]", 1),
        ("missing_media", "Design a logo for a bakery.", 0),
        ("url_only_input", "Summarise this article.\nhttps://example.com/article", True),
        ("url_only_input", "Summarise https://example.com/article in one line.", False),
        ("urls", "无", 0),
    ],
)
def test_measure_of_an_instruction(measure: str, instruction: str, expected: object) -> None:
    assert of_instruction(measure, instruction) == expected


@pytest.mark.parametrize(
    ("measure", "text", "expected"),
    [
        ("replacement_characters", "a\ufffdb", 1),
        ("control_characters", "a\x1ab\x80\tc\r\n", 2),
        ("private_use_characters", "\ue000", 1),
        ("mojibake", "voilÃ\xa0 le cafÃ©", 2),
        ("mojibake", "a â€“ b", 1),
        ("mojibake", "鐨勫 锟斤拷", 2),
        ("mojibake", "voilà le café, naïve Übergröße, São Paulo", 0),
        ("mojibake", "你好，世界。日本語もね", 0),
        ("mojibake", "Быстрая лисица", 0),
        ("mixed_script_words", "рaypal", 1),
        ("mixed_script_words", "5 μm, Δx", 0),
        ("scripts", "hello 你好 привет", 3),
        ("html_remains", "<div>a &amp; b</div>", 3),
        ("html_remains", "if a < b and c > d", 0),
    ],
)
def test_measure_of_a_whole_text(measure: str, text: str, expected: object) -> None:
    assert of_text(measure, text) == expected


@pytest.mark.parametrize(
    "messages",
    [
        (Message("system", "<|eos|>"), Message("user", "a")),
        (Message("user", "a <|startoftext|> b"),),
        (Message("user", "a"), Message("assistant", "b", reasoning="<|extra_0|>")),
        (Message("user", "a"), Message("assistant", "", tool_calls=(ToolCall("f", '{"x": "<|extra_4|>"}'),))),
        (Message("user", "a"), Message("assistant", ""), Message("tool", "<|extra_5|>", tool_call_id="1")),
    ],
)
def test_control_tokens_are_found_in_every_part_of_a_message(messages: tuple[Message, ...]) -> None:
    assert of_messages("control_tokens", *messages) == 1


def test_control_tokens_are_found_in_tool_definitions_and_not_elsewhere() -> None:
    assert of_messages("control_tokens", Message("user", "a"), tools='["<|eos|>"]') == 1
    assert of_messages("control_tokens", Message("user", "<|extra_1|> <eos> <|im_end|>")) == 0


@pytest.mark.parametrize(
    ("roles", "broken"),
    [
        ("user", False),
        ("system user assistant", False),
        ("user assistant user", False),
        ("user assistant tool assistant", False),
        ("user assistant tool tool", False),
        ("assistant user", True),
        ("user user", True),
        ("user assistant assistant", True),
        ("user system assistant", True),
        ("system", True),
        ("user tool", True),
    ],
)
def test_role_order(roles: str, broken: bool) -> None:
    assert of_messages("role_order_broken", *(Message(role, "x") for role in roles.split())) is broken


def test_turns_and_empty_turns() -> None:
    call = Message("assistant", "", tool_calls=(ToolCall("f", "{}"),))
    assert of_messages("empty_turns", Message("user", " \n"), call) == 1
    assert of_messages("turns", Message("system", "s"), Message("user", "u"), call) == 2


def test_finish_reason_length() -> None:
    cut = Conversation("respond", (Message("user", "a"), Message("assistant", "b")), finish_reason="length")
    done = Conversation("respond", (Message("user", "a"), Message("assistant", "c")), finish_reason="stop")
    unknown = Conversation("dataset", (Message("user", "a"),))
    found = rules.measures(conversations_frame([cut, done, unknown]))["finish_length"]
    assert found.to_list() == [True, False, False]


def test_an_answer_that_copies_its_question() -> None:
    question = "Name the seven colours that the rainbow shows from outside to inside"
    found = rules.measures(
        frame(
            (question, question.upper()), (question, "Red, then six more."), ("问题是什么呢", "问题是什么呢")
        )
    )
    assert found["response_copied_fraction"].to_list() == [1.0, 0.0, 1.0]


def test_every_measure_is_documented_typed_and_null_without_a_response() -> None:
    judged = rules.measures(frame(("Only an instruction.", None)))
    assert len(judged.columns) - 1 == len(rules.COLUMNS) - len(JUDGEMENT_KEY) > 25
    for name, dtype in judged.schema.items():
        assert dtype == rules.COLUMNS[name], name
        if name != "record_id":
            assert (judged[name].item() is None) == name.startswith("response_"), name
    for family in rules.MEASURES.values():
        assert family
        assert all(rule.doc for rule in family)


def test_conservation_and_schema() -> None:
    conversations = frame(*[(f"instruction {i}", f"answer {i}" if i % 2 else None) for i in range(20)])
    for batch in (conversations, conversations.head(0)):
        output = asyncio.run(rules.STAGE.run(batch, rules.RulesSettings(), None))
        assert output.rows.schema == rules.STAGE.columns
        assert output.rows["record_id"].to_list() == batch["record_id"].to_list()
        assert output.rows["judge"].unique().to_list() in (["rules"], [])
        assert output.rejects.is_empty()


def test_a_row_is_measured_alike_alone_and_in_a_batch() -> None:
    conversations = random_conversations(200)
    together = rules.measures(conversations)
    alone = pl.concat([rules.measures(conversations.slice(i, 1)) for i in range(0, 200, 10)])
    assert together.gather_every(10).equals(alone)


def random_conversations(count: int) -> pl.DataFrame:
    """Random text of all planes, controls, pieces of markup and CJK; surrogates cannot be in a frame."""
    rng = random.Random(7)
    pieces = [
        "```",
        '"',
        "“",
        "(",
        "\n",
        "\n\n",
        " ",
        "的",
        "。",
        "{{",
        "<|eos|>",
        "https://",
        "Ã©",
        "\x00",
        "…",
    ]

    def text() -> str:
        letters = [
            rng.choice(pieces)
            if rng.random() < 0.3
            else chr(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
            for _ in range(rng.choice([0, 1, 5, 50, 300]))
        ]
        return "".join(letters)

    return frame(*[(text(), rng.choice([None, text()])) for _ in range(count)])


def test_random_unicode_is_measured_without_a_crash() -> None:
    judged = rules.measures(random_conversations(2_000))
    assert judged.height == 2_000
    fractions = [name for name in judged.columns if name.endswith("_fraction")]
    for name in fractions:
        assert judged[name].drop_nulls().is_between(0, 1).all(), name


def test_a_long_text_takes_time_in_proportion() -> None:
    judged = rules.measures(frame(("字" * 500_000, "word " * 200_000), ("((((" * 100_000, "<" * 400_000)))
    assert judged["response_top_2gram_fraction"][0] == 1.0


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
def test_mojibake_of_ftfy_is_found_and_its_negatives_left_alone() -> None:
    cases = [
        case
        for name in ("in-the-wild", "synthetic", "negative")
        for case in json.loads((LABELLED / "garbled" / f"ftfy_{name}.json").read_text("utf-8"))
    ]
    garbled = [
        case["original"] != case.get("fixed-encoding", case["fixed"]) or "hopeless" in case["label"]
        for case in cases
    ]
    found = rules.measures(frame(*[(case["original"], None) for case in cases]))
    flagged = (
        found["mojibake"] + found["replacement_characters"] + found["control_characters"] > 0
    ).to_list()
    assert [
        case["original"] for case, bad, flag in zip(cases, garbled, flagged, strict=True) if bad and not flag
    ] == []
    # A real control character; as mojibake it is not counted.
    wrong = [
        case["original"] for case, bad, flag in zip(cases, garbled, flagged, strict=True) if flag and not bad
    ]
    assert wrong == ["Here's a control character: \x1a"]


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
@pytest.mark.parametrize(
    ("flag", "measure", "precision"),
    [
        ("noinput_placeholder", "instruction_placeholders", 0.85),
        ("url_only_input", "instruction_url_only_input", 1.0),
        ("attachment_input", "instruction_missing_media", 0.35),
        ("na_output", "response_placeholders", 0.5),
        ("merged_instruction", "response_role_markers", 0.5),
    ],
)
def test_defects_of_alpaca_are_found(flag: str, measure: str, precision: float) -> None:
    lines = (LABELLED / "instructions_defects" / "alpaca_raw_rows_3252-9407_labelled.jsonl").read_text(
        "utf-8"
    )
    rows = [json.loads(line) for line in lines.splitlines()]
    found = rules.measures(
        frame(*[(f"{row['instruction']}\n{row['input']}".strip(), row["output"]) for row in rows])
    )
    flagged = (found[measure].cast(pl.Int64) > 0).to_list()
    labelled = [flag in row["rule_flags"] for row in rows]
    hits = sum(a and b for a, b in zip(flagged, labelled, strict=True))
    assert hits == sum(labelled)
    assert hits / sum(flagged) >= precision
