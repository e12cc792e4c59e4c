"""Arguments of tool calls: searched for what their JSON spells, and JSON with the same digits after."""

import json
import random

import polars as pl
import pytest

from hydata.curation.files import ROWS
from hydata.curation.privacy import judge_rows
from hydata.privacy import FindSettings, PrivacySettings, find_in_arguments, masked_messages
from hydata.schema import Message, ToolCall

ALL = PrivacySettings()


def shown(arguments: str, content: str = "") -> str:
    """The arguments as a model is shown them; the judge on files shows the same."""
    calls = ({"id": "1", "name": "call", "arguments": arguments},)
    turns = [{"role": "assistant", "content": content, "tool_calls": calls}]
    rows = pl.DataFrame({"messages": [turns]}, schema={"messages": ROWS["messages"]})
    judged = judge_rows(pl.concat([pl.DataFrame(schema=ROWS), rows], how="diagonal"), FindSettings())
    message = Message("assistant", content, tool_calls=(ToolCall("call", arguments, "1"),))
    (masked,) = masked_messages((message,), ALL)
    masked_arguments = masked.tool_calls[0].arguments
    text = "\n\n".join(part for part in (content, arguments) if part)
    anonymized = "\n\n".join(part for part in (masked.content, masked_arguments) if part)
    assert judged["anonymized"].to_list() == [anonymized]
    for span in judged["spans"][0].to_list():
        text = text[: span["start"]] + "#" * (span["end"] - span["start"]) + text[span["end"] :]
    assert ("#" in text) == (anonymized != content + "\n\n" * bool(content) + arguments)
    return masked_arguments


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"b": "Write to\njohn@b.com"}, {"b": "Write to\n[EMAIL_1]"}),
        ({"b": "my number:\n13812345678"}, {"b": "my number:\n[PHONE_1]"}),
        ({"b": "from\t84.17.46.53"}, {"b": "from\t[IP_1]"}),
        ({"b": "card:\n4111 1111 1111 1111"}, {"b": "card:\n[BANK_CARD_1]"}),
        ({"电话": "13812345678", "密码": "hunter2xyz"}, {"电话": "[PHONE_1]", "密码": "[KEY_1]"}),
        ({"b": "地址：北京市海淀区中关村大街27号"}, {"b": "地址：[ADDRESS_1]"}),
        ({"b": '😀 "john@b.com" \\ '}, {"b": '😀 "[EMAIL_1]" \\ '}),
        (
            {"a": [{"phone": [13812345678, 1]}, "13812345678"]},
            {"a": [{"phone": ["[PHONE_1]", 1]}, "[PHONE_1]"]},
        ),
        ({"john@b.com": True, "password": None}, {"[EMAIL_1]": True, "password": None}),
        ({"body": json.dumps({"to": "john@b.com"})}, {"body": '{"to": "[EMAIL_1]"}'}),
    ],
)
def test_what_json_spells_is_masked(given: object, expected: object, ascii_only: bool) -> None:
    assert json.loads(shown(json.dumps(given, ensure_ascii=ascii_only))) == expected


def test_all_else_stays_as_it_is_written() -> None:
    rest = '"n": 1.10,"n" :123456789012345678901234567, "x": NaN, "e":"\\u4e2d\\/"'
    assert shown(f'{{{rest}, "to":"john@b.com"}}') == f'{{{rest}, "to":"[EMAIL_1]"}}'
    assert shown(f"{{{rest}}}") == f"{{{rest}}}"


def test_a_value_has_one_placeholder_however_it_is_spelt() -> None:
    address = "北京市海淀区中关村大街27号"
    assert shown(json.dumps({"to": f"{address} john@b.com"}), f"ann@b.com 地址：{address}") == (
        '{"to": "[ADDRESS_1] [EMAIL_2]"}'
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dial 13812345678", "dial [PHONE_1]"),
        ("138 1234 5678", "[PHONE_1]"),
        (
            '{"to": "at\\njohn@b.com", "number": "\\n13812345678',
            '{"to": "at\\[EMAIL_1]", "number": "\\n[PHONE_1]',
        ),
        ("[" * 5_000 + '"\\n13812345678"' + "]" * 5_000, "[" * 5_000 + '"\\n[PHONE_1]"' + "]" * 5_000),
    ],
)
def test_what_no_reader_takes_is_masked_as_well(given: str, expected: str) -> None:
    assert shown(given) == expected


def test_many_values_take_time_in_proportion() -> None:
    given = json.dumps([{"to": f"a{n}@b.com", "phone": 13812345678} for n in range(30_000)])
    assert len(find_in_arguments(given, FindSettings())) == 60_000


def test_fuzzed_json_stays_json_and_is_masked_once() -> None:
    draw = random.Random(3)
    bits = [
        *("john@b.com", "13812345678", "84.17.46.53", "4111111111111111", "地址：北京市海淀区中关村大街27号"),
        *(
            "password: hunter2xyz",
            "12 Main Street, ",
            "New York 10001",
            "[EMAIL_1]",
            "\n",
            '"',
            "\\",
            "电话",
            "\ud800",
            "😀",
        ),
        *("phone", " ", "sk-", "-----BEGIN RSA PRIVATE KEY-----", "-----END RSA PRIVATE KEY-----", "key"),
    ]

    def value(depth: int) -> object:
        kind = draw.randrange(6 if depth else 3)
        if kind < 2:
            return "".join(draw.choices(bits, k=draw.randrange(6)))
        if kind == 2:
            return draw.choice((13812345678, 4111111111111111, -1.5, True, None, 110101199003074514))
        if kind == 3:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        return {str(value(0)): value(depth - 1) for _ in range(draw.randrange(4))}

    for number in range(3_000):
        given = json.dumps(value(3), ensure_ascii=number % 2 == 0, indent=draw.choice((None, 1)))
        (masked,) = masked_messages((Message("assistant", "", tool_calls=(ToolCall("f", given),)),), ALL)
        once = masked.tool_calls[0].arguments
        json.loads(once)
        assert not find_in_arguments(once, FindSettings())
        for start, end, _ in find_in_arguments(given, FindSettings()):
            assert 0 <= start < end <= len(given)
