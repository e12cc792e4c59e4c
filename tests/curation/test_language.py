"""Language: the two that matter, short texts, and the labelled sentences of 75 languages."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from hydata.curation import language
from hydata.curation.language import detect
from hydata.schema import Conversation, Message, conversations_frame

LANGID = Path(__file__).parents[3] / "shared" / "data" / "labelled" / "langid" / "lingua_sentences.jsonl"

# The 20 languages with most speakers that the set has.
LARGEST = ["en", "zh", "hi", "es", "ar", "fr", "bn", "pt", "ru", "ur"]
LARGEST += ["id", "de", "ja", "mr", "vi", "te", "tr", "ta", "ko", "it"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write a short poem about the sea in autumn.", "en"),
        ("请写一首关于秋天的诗。", "zh"),
        ("機器學習", "zh"),
        ("好", "zh"),
        ("写一首关于Slashdot的诗", "zh"),
        ("日本語で短い詩を書いてください。", "ja"),
        ("한국어로 짧은 시를 써 주세요.", "ko"),
        ("Schreibe ein kurzes Gedicht über den Herbst.", "de"),
        ("你哋喺邊度呀？我哋喺度食緊飯。", "zh"),
        ("", None),
        ("ok", None),
        ("123 + 456 = ?", None),
        (None, None),
    ],
)
def test_language_of_a_text(text: str | None, expected: str | None) -> None:
    found = detect(pl.Series([text], dtype=pl.String))
    assert found.schema == language.FOUND
    assert found["language"].item() == expected
    assert [value is None for value in found.row(0)] == [expected is None] * 4


@pytest.mark.parametrize(
    ("text", "languages"),
    [
        (
            "Summarise the following passage in one sentence.\n\n"
            "北京大学是中国近现代第一所国立大学，成立于一八九八年。",
            ["zh", "en"],
        ),
        ("今天天气很好。 The weather is very nice today, so we went out for a long walk.", ["en", "zh"]),
        ("Привет, как у вас дела сегодня? I am doing fine today, thank you for asking.", ["en", "ru"]),
        ("用 Python 写一个函数，返回列表里的最大值。", ["zh"]),
        ("Explain what the word 茶 means to someone who has never seen it.", ["en"]),
    ],
)
def test_parts_in_several_languages(text: str, languages: list[str]) -> None:
    found = detect(pl.Series([text]))
    assert found["languages"].item().to_list() == languages
    share = found["share"].item()
    assert share == 1.0 if len(languages) == 1 else 0.5 <= share < 1


def test_any_text_gets_a_row_whatever_is_in_it() -> None:
    texts = pl.Series(
        ["a\nb\x00c\r\n" * 10, "\u2028\u0085\x0b", "\U0010ffff" * 20, "x" * 1_000_000, "العربية"]
    )
    found = detect(texts)
    assert found.height == len(texts)
    assert found["confidence"].drop_nulls().is_between(0, 1).all()
    assert detect(texts.head(0)).is_empty()


def test_threads_agree() -> None:
    texts = pl.Series(["The cat sat on the mat.", "猫坐在垫子上。"] * 200)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(detect, [texts] * 8))
    assert all(result.equals(results[0]) for result in results)


def test_every_record_gets_one_judgement() -> None:
    conversations = conversations_frame(
        [
            Conversation(
                "dataset", (Message("user", "What is a tide?"), Message("assistant", "潮汐是海水的涨落。"))
            ),
            Conversation("generate", (Message("user", "什么是潮汐？"),)),
        ]
    )
    for batch in (conversations, conversations.head(0)):
        output = asyncio.run(language.STAGE.run(batch, language.LanguageSettings(), None))
        assert output.rows.schema == language.STAGE.columns
        assert output.rows["record_id"].to_list() == batch["record_id"].to_list()
    rows = asyncio.run(language.STAGE.run(conversations, language.LanguageSettings(), None)).rows
    assert rows["instruction_language"].to_list() == ["en", "zh"]
    assert rows["response_language"].to_list() == ["zh", None]


@pytest.mark.skipif(not LANGID.is_file(), reason="shared data is not on this machine")
def test_accuracy_on_labelled_sentences() -> None:
    rows = pl.DataFrame([json.loads(line) for line in LANGID.read_text("utf-8").splitlines()])
    found = pl.concat([rows, detect(rows["text"])], how="horizontal")
    right = found.group_by("lang").agg((pl.col("language") == pl.col("lang")).mean().alias("right"))
    accuracy = dict(right.iter_rows())
    assert accuracy["en"] >= 0.99
    assert accuracy["zh"] >= 0.99
    assert sum(accuracy[name] for name in LARGEST) / len(LARGEST) >= 0.97
