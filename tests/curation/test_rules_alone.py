"""The rules on files: passed and reasons by a policy, thresholds from the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from hydata.cli import app
from hydata.curation import rules
from hydata.curation.files import ROWS
from hydata.curation.rules_alone import ALONE, RulesAloneSettings, judge_rows
from hydata.schema import JUDGEMENT_KEY

LABELLED = Path(__file__).parents[3] / "shared" / "data" / "labelled"


def judged(tmp_path: Path, rows: list[dict[str, object]], *settings: str) -> pl.DataFrame:
    path, out = tmp_path / "in.jsonl", tmp_path / "out.parquet"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    command = ["judge", "rules", str(path), "-o", str(out)]
    for setting in settings:
        command += ["--set", setting]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return pl.read_parquet(out)


def of_texts(texts: list[str]) -> pl.DataFrame:
    rows = pl.DataFrame({"text": texts}).match_to_schema(ROWS, missing_columns="insert")
    return judge_rows(rows, RulesAloneSettings())


def test_each_row_is_judged_by_the_section_of_what_it_is(tmp_path: Path) -> None:
    texts = judged(
        tmp_path,
        [
            {"text": "It rains and"},
            {"text": "Sorry, I cannot help..."},
            {"text": "cafÃ© 中文"},
            {"text": None},
        ],
    )
    assert texts.columns[0] == "row"
    assert texts["passed"].to_list() == [True, True, False, None]
    assert texts["reasons"].to_list() == [[], [], ["garbled"], None]
    assert texts["response_refusals"].to_list() == [0, 2, 0, None]
    assert texts["instruction_words"].null_count() == 4
    pairs = judged(
        tmp_path,
        [
            {"instruction": "What falls from the sky?", "output": "It rains and"},
            {"instruction": "天上下什么？", "output": "抱歉，我无法回答……"},
            {"instruction": "Why?"},
            {"instruction": "为什么天会下雨呢？"},
            {"instruction": None, "output": None},
        ],
    )
    assert pairs["reasons"].to_list() == [["dangling"], ["ellipsis", "refusal"], ["too_short"], [], None]
    assert pairs["passed"].to_list() == [False, False, False, True, None]


def test_a_threshold_is_another_and_the_measures_stay(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"text": "voilÃ\xa0 le cafÃ©"}, {"text": "<b>x</b> <i>y</i>"}]
    plain = judged(tmp_path, rows)
    other = judged(tmp_path, rows, "garbled=5", "html_remains=10")
    assert plain["reasons"].to_list() == [["garbled"], ["html_remains"]]
    assert other["reasons"].to_list() == [[], []]
    assert other.drop("passed", "reasons").equals(plain.drop("passed", "reasons"))


@pytest.mark.parametrize(
    ("instruction", "output", "reasons"),
    [
        ("Give tips.", "Cook at home. Then set some money aside every month so that you", ["unfinished"]),
        ("介绍长城。", "长城很长。它的修筑历史可以追溯到两千多年以前的西周时期的", ["unfinished"]),
        ("推荐一本书。", "我推荐你读一读《百年孤独》和《霍乱时期的爱情", ["open_quote"]),
        ("Solve it.", "We get $$x = 4", ["open_maths"]),
        ("列出好处。", "1. 改善睡眠。\n2. 缓解压力。\n3.", ["open_list"]),
        ("Make a table.", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | fo", ["open_table"]),
        ("Write Python.", "```python\ndef f(a)\n    return a\n```", ["invalid_python"]),
        ("List five ways to make tea.", "1. Boil it.\n2. Cool it.", ["too_few_items"]),
        ("说说电影。", "作为一个人工智能助手，我没有看过电影。", ["as_an_ai"]),
        ("怎么样？", "如上图所示，销量上升了。", ["answer_on_media"]),
        ("介绍北京。", "bei jing shi zhong guo de shou du, ye hen da.", ["pinyin_soup"]),
        (
            "Describe it.",
            "The town is old. " + "It is a good place to live. " * 8,
            ["repeated_10grams", "loop"],
        ),
        ("Name two parks.", "Yosemite National Park and Yellowstone National Park.", []),
        ("What is a schema?", "A JSON schema describes what a JSON document may hold.", []),
        ("什么是链接？", "超链接可以从一个网页跳到另一个网页。", []),
        ("Fix it: She don't like to go to the old mill.", "She doesn't like to go to the old mill.", []),
        ("描述一棵树。", "￥%&*（）+？@#￥%&*", ["only_marks"]),
        ("Add seven and two.", "7 + 2 = 9", []),
    ],
)
def test_the_built_in_policy_on_answers(
    instruction: str, output: str, reasons: list[str], tmp_path: Path
) -> None:
    found = judged(tmp_path, [{"instruction": instruction, "output": output}])
    assert found["reasons"].to_list() == [reasons]
    assert found["passed"].to_list() == [not reasons]


@pytest.mark.parametrize(
    ("text", "reasons"),
    [
        ("The tide rises. Then all of the water falls again because the moon and", ["unfinished"]),
        ("长城很长。它的修筑历史可以追溯到两千多年以前的西周时期的", ["unfinished"]),
        ("The value is \\[ x^2 + 1", ["open_maths"]),
        ("As an AI language model, I have no tea.", []),
        ("很抱歉，我无法回答这个问题。", []),
        ("亻尔女子，我可以帮忄尔，氵西望有用。", ["broken_han"]),
        ("He said (as ever: too late. The rest is history.", []),
        ('The pot was 27" wide, and so on...', []),
    ],
)
def test_the_built_in_policy_on_texts(text: str, reasons: list[str]) -> None:
    assert of_texts([text])["reasons"].to_list() == [reasons]


def test_a_conversation_that_begins_with_the_assistant_does_not_pass(tmp_path: Path) -> None:
    turns = [{"role": "assistant", "content": "Good morning."}, {"role": "user", "content": "Good morning."}]
    assert "role_order" in judged(tmp_path, [{"messages": turns}])["reasons"].item()


def test_another_policy_decides(tmp_path: Path) -> None:
    policy = tmp_path / "mine.toml"
    policy.write_text(
        "[final]\n[gates.critique]\n[gates.evolve]\n[gates.texts.drop]\n"
        'long = { measure = "rules.response_words", above = 2 }\n'
        'not_for_rules = { measure = "duplicates.keep", equals = false }\n',
        "utf-8",
    )
    found = judged(tmp_path, [{"text": "one two three"}, {"text": "一"}], f"policy={policy}")
    assert found["reasons"].to_list() == [["long"], []]


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("nothing=1", "no condition 'nothing'.*garbled.*refusal"),
        ("garbled=many", "garbled=many.*valid number"),
        ("policy=absent.toml", "absent.toml: no such file"),
    ],
)
def test_a_wrong_threshold_is_named(setting: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"text": "Tea."}\n')
    done = CliRunner().invoke(
        app, ["judge", "rules", str(path), "-o", str(tmp_path / "out.parquet"), "--set", setting]
    )
    assert done.exit_code != 0
    assert re.search(told, str(done.output) + str(done.exception), re.S)
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('a = { measure = "rules.nothing", above = 1 }', "rules.nothing is no measure.*response_words"),
        ('a = { measure = "rules.turns", equals = "x" }', "rules.turns cannot be compared so"),
    ],
)
def test_a_wrong_policy_is_named(line: str, told: str, tmp_path: Path) -> None:
    policy = tmp_path / "mine.toml"
    policy.write_text(f"[final]\n[gates.critique]\n[gates.evolve]\n[gates.texts.drop]\n{line}\n", "utf-8")
    with pytest.raises(Exception, match=told):
        RulesAloneSettings(policy=policy)


def test_columns_are_the_measures_of_the_warehouse() -> None:
    assert list(ALONE.columns) == [
        *(name for name in rules.COLUMNS if name not in JUDGEMENT_KEY),
        "passed",
        "reasons",
    ]


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
def test_mojibake_of_ftfy_is_dropped_and_nothing_else() -> None:
    cases = [
        case
        for name in ("in-the-wild", "synthetic", "negative")
        for case in json.loads((LABELLED / "garbled" / f"ftfy_{name}.json").read_text("utf-8"))
    ]
    found = of_texts([case["original"] for case in cases])
    for case, measured, reasons in zip(cases, found["mojibake"], found["reasons"], strict=True):
        bad = case["original"] != case.get("fixed-encoding", case["fixed"]) or "hopeless" in case["label"]
        assert (measured > 0) == bad == ("garbled" in reasons), case["label"]
        assert bad or len(reasons) == 0, (case["label"], reasons.to_list())


@pytest.mark.skipif(not LABELLED.is_dir(), reason="shared data is not on this machine")
def test_clean_text_of_75_languages_passes() -> None:
    lines = (LABELLED / "langid" / "lingua_sentences.jsonl").read_text("utf-8").splitlines()
    found = of_texts([json.loads(line)["text"] for line in lines])
    dropped = found.filter(~pl.col("passed"))
    # Thirteen are mojibake, read one by one; one repeats itself.
    assert dropped.height == 14
    assert (dropped["mojibake"] > 0).sum() == 13
