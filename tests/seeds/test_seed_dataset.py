"""Instruction sets and preference pairs in the shapes the field uses."""

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from hydata.schema import Conversation, Preference, Reject, conversations_frame
from hydata.seeds import SeedSettings, Source, read


def turns(conversation: Conversation) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in conversation.messages]


CASES: list[tuple[dict[str, object], list[tuple[str, str]]]] = [
    ({"instruction": "Add.", "input": "1 1", "output": "2"}, [("user", "Add.\n1 1"), ("assistant", "2")]),
    (
        {"instruction": "Add 1 1.", "input": "", "output": "  2\n"},
        [("user", "Add 1 1."), ("assistant", "  2\n")],
    ),
    ({"instruction": "Say hi.", "input": "", "output": ""}, [("user", "Say hi.")]),
    ({"instruction": "Say hi."}, [("user", "Say hi.")]),
    (
        {"instruction": "Who?", "context": "Ada.", "response": "Ada"},
        [("user", "Who?\nAda."), ("assistant", "Ada")],
    ),
    (
        {"instruction": "And?", "output": "C", "system": "Be brief.", "history": [["A?", "A"]]},
        [("system", "Be brief."), ("user", "A?"), ("assistant", "A"), ("user", "And?"), ("assistant", "C")],
    ),
    ({"prompt": "1+1?", "completion": "2"}, [("user", "1+1?"), ("assistant", "2")]),
    ({"question": "1+1?", "std_answer": "2"}, [("user", "1+1?"), ("assistant", "2")]),
    (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                {"role": "assistant", "content": "Yo"},
            ]
        },
        [("user", "Hi"), ("assistant", "Yo")],
    ),
    (
        {"system": "S", "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]},
        [("system", "S"), ("user", "Hi"), ("assistant", "Yo")],
    ),
]


@pytest.mark.parametrize(("record", "expected"), CASES)
def test_shapes(reading, record: dict[str, object], expected: list[tuple[str, str]]) -> None:
    (item,) = reading("set.json", json.dumps([record]))
    assert turns(item) == expected
    assert (item.step, item.uri, item.position) == ("dataset", "set.json", 0)


def test_shapes_may_be_mixed_in_a_file(reading) -> None:
    items = reading("set.jsonl", "\n".join(json.dumps(record) for record, _ in CASES))
    assert [turns(i) for i in items] == [expected for _, expected in CASES]
    assert len({i.record_id for i in items}) == len(CASES)
    assert conversations_frame(items).height == len(CASES)


def test_instances_become_one_conversation_each(reading) -> None:
    record = {
        "instruction": "Name a synonym.",
        "instances": [{"input": "big", "output": "large"}, {"input": "", "output": "so"}],
    }
    items = reading("seed.jsonl", json.dumps(record))
    assert [turns(i)[0][1] for i in items] == ["Name a synonym.\nbig", "Name a synonym."]


def test_tool_calls_of_both_styles(reading) -> None:
    arguments = {"city": "巴黎"}
    sharegpt = {
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": json.dumps({"name": "weather", "arguments": arguments})},
            {"from": "observation", "value": '{"t": 9}'},
            {"from": "gpt", "value": "9 degrees."},
        ],
        "tools": '[{"name": "weather"}]',
    }
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": json.dumps(arguments)},
    }
    openai = {
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": '{"t": 9}'},
            {"role": "assistant", "content": "9 degrees.", "reasoning_content": "It is 9."},
        ],
        "tools": [{"name": "weather"}],
    }
    first, second = reading("tools.json", json.dumps([sharegpt, openai]))
    for item in (first, second):
        assert [m.role for m in item.messages] == ["user", "assistant", "tool", "assistant"]
        assert item.messages[1].tool_calls[0].name == "weather"
        assert json.loads(item.messages[1].tool_calls[0].arguments) == arguments
        assert json.loads(item.tools) == [{"name": "weather"}]
    assert second.messages[1].tool_calls[0].id == second.messages[2].tool_call_id == "c1"
    assert second.messages[3].reasoning == "It is 9."


PAIR = [("user", "Hi"), ("assistant", "good")], [("user", "Hi"), ("assistant", "bad")]


@pytest.mark.parametrize(
    "record",
    [
        {
            "conversations": [{"from": "human", "value": "Hi"}],
            "chosen": {"from": "gpt", "value": "good"},
            "rejected": {"from": "gpt", "value": "bad"},
        },
        {"prompt": "Hi", "chosen": "good", "rejected": "bad"},
        {"instruction": "Hi", "input": "", "chosen": "good", "rejected": "bad"},
        {"chosen": "\n\nHuman: Hi\n\nAssistant: good", "rejected": "\n\nHuman: Hi\n\nAssistant: bad"},
        {
            "prompt": "Hi",
            "chosen": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "good"}],
            "rejected": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "bad"}],
        },
        {
            "prompt": [{"role": "user", "content": "Hi"}],
            "chosen": [{"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
    ],
)
def test_preference_pairs(reading, record: dict[str, object]) -> None:
    (item,) = reading("dpo.json", json.dumps([record]))
    assert isinstance(item, Preference)
    assert (turns(item.chosen), turns(item.rejected)) == PAIR
    assert item.source == "dpo.json"


def test_margin_and_equal_pairs(reading) -> None:
    rows = [
        {"prompt": "Hi", "chosen": "a", "rejected": "b", "score_chosen": 8.5, "score_rejected": 3},
        {"prompt": "Hi", "chosen": "a", "rejected": "a"},
    ]
    pair, reject = reading("dpo.json", json.dumps(rows))
    assert pair.margin == 5.5
    assert (reject.reason, reject.position) == ("equal_pair", 1)


def node(
    text: str, role: str, rank: int | None = None, replies: tuple[object, ...] = (), **extra: object
) -> dict[str, object]:
    return {"text": text, "role": role, "rank": rank, "replies": list(replies), **extra}


TREE = {
    "message_tree_id": "t",
    "prompt": node(
        "Q",
        "prompter",
        None,
        (
            node("second", "assistant", 1, (node("more?", "prompter", 0, (node("more", "assistant", 0),)),)),
            node("best", "assistant", 0, (node("thanks", "prompter"),)),
            node("gone", "assistant", -1, deleted=True),
        ),
    ),
}


def test_trees_give_the_best_ranked_path_or_all(reading) -> None:
    (best,) = reading("oasst.jsonl", json.dumps(TREE))
    assert turns(best) == [("user", "Q"), ("assistant", "best")]
    every = reading("oasst.jsonl", json.dumps(TREE), all_tree_paths=True)
    assert [len(i.messages) for i in every] == [2, 4]
    assert "gone" not in str(every)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"instruction": "", "output": "x"}, "empty_record"),
        ({"instruction": " ", "input": None, "output": ""}, "empty_record"),
        ({"messages": []}, "empty_record"),
        ({"messages": ["x"]}, "broken_record"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown_role"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}, "not_text"),
        (
            {"conversations": [{"from": "human", "value": "x"}, {"from": "function_call", "value": "{"}]},
            "broken_tool_call",
        ),
        ({"prompt": "Hi", "chosen": "", "rejected": "b"}, "empty_record"),
        ({"instruction": "x", "instances": ["y"]}, "broken_record"),
    ],
)
def test_broken_records(reading, record: dict[str, object], reason: str) -> None:
    good = {"instruction": "Hi", "output": "Yo"}
    first, item, last = reading("set.json", json.dumps([good, record, good]))
    assert isinstance(item, Reject)
    assert (item.reason, item.position) == (reason, 1)
    assert turns(first) == turns(last)


GOOD = '{"instruction": "Hi", "output": "Yo"}'


@pytest.mark.parametrize(
    ("broken", "reasons"),
    [
        ('{"instruction": Hi}', ["broken_json"]),
        ('{"instruction": "a", "output": "b",}', ["broken_json"]),
        ('"text", 5, null', ["not_an_object"] * 3),
        ("[" * 200_000 + "]" * 200_000, ["too_deep"]),
        ('{"instruction": "' + "x" * 5000 + '"}', ["line_too_long"]),
        ('{"instruction": "a\\ud800b\\u0000", "output": "b"}', []),
    ],
)
@pytest.mark.parametrize("indent", ["", "\n  "])
def test_arrays_are_read_past_broken_elements(reading, broken: str, reasons: list[str], indent: str) -> None:
    items = reading("set.json", f"[{GOOD},{indent}{broken},{indent}{GOOD}]", limits={"line_bytes": 4000})
    if broken.startswith("[["):
        assert next(i.reason for i in items if isinstance(i, Reject)) in ("too_deep", "line_too_long")
    else:
        assert [i.reason for i in items if isinstance(i, Reject)] == reasons
    assert turns(items[0]) == turns(items[-1]) == [("user", "Hi"), ("assistant", "Yo")]
    if not reasons:
        assert turns(items[1])[0][1] == "a\ufffdb"


def test_values_that_are_not_what_they_should_be(reading) -> None:
    deep = "[" * 400 + "]" * 400
    rows = [
        f'{{"instruction": {deep}, "output": "x"}}',
        f'{{"instruction": "Hi", "output": "x", "tools": {deep}}}',
        '{"instruction": 5, "output": {"text": "five"}}',
        '{"messages": [{"role": "na\\ud800me", "content": "x"}]}',
    ]
    items = reading("set.jsonl", "\n".join([*rows, GOOD]))
    assert [i.reason for i in items if isinstance(i, Reject)] == ["empty_record", "unknown_role"]
    assert turns(items[2]) == [("user", "5"), ("assistant", "five")]
    assert turns(items[-1]) == [("user", "Hi"), ("assistant", "Yo")]


def test_array_that_ends_too_early(reading) -> None:
    *good, reject = reading("set.json", f'[{GOOD}, {GOOD}, {{"instruction": "cu')
    assert len(good) == 2 + isinstance(good[-1], Reject)
    assert reject.reason == "broken_json"


def test_objects_without_an_array(reading) -> None:
    pretty = json.dumps(json.loads(GOOD), indent=2)
    assert len(reading("one.json", pretty)) == 1
    assert len(reading("many.json", pretty + "\n" + pretty + "]}\n" + pretty)) >= 3


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "gb18030"])
def test_packed_and_encoded(reading, pack, encoding: str) -> None:
    rows = "\n".join(
        json.dumps({"instruction": f"请说出第{n}个我们的名字是什么", "output": "好的"}, ensure_ascii=False)
        for n in range(9)
    )
    items = reading("set.jsonl.gz", pack(rows.encode(encoding)))
    assert turns(items[3])[0][1] == "请说出第3个我们的名字是什么"


def test_parquet(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"Q{n}"}, {"role": "assistant", "content": "A"}]}
        for n in range(2500)
    ]
    path = tmp_path / "set.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=700)
    items = list(read(Source(path, "set.parquet"), SeedSettings()))
    assert [i.position for i in items] == list(range(2500))
    assert turns(items[2400])[0] == ("user", "Q2400")


def test_a_long_array_streams(tmp_path: Path) -> None:
    peaks = []
    for size in (1, 4):  # memory must not grow with the file
        path = tmp_path / f"{size}.json"
        record = json.dumps({"instruction": "Say “hi”. " * 40, "output": "x" * 600}, ensure_ascii=False)
        path.write_text("[" + ",\n".join([record] * 2500 * size) + "]", encoding="utf-8")
        tracemalloc.start()
        assert sum(1 for _ in read(Source(path, path.name), SeedSettings())) == 2500 * size
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks
    assert peaks[1] < 24 << 20, peaks
