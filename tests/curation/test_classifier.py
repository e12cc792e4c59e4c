"""The label classifier: reproducible, honest about too little data, one row per record and dimension."""

import asyncio
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from hydata.curation import classifier
from hydata.curation.classifier import TrainSettings, classify, train
from hydata.errors import WarehouseError
from hydata.schema import Conversation, Message, conversations_frame, judgements_frame

TOPICS = {
    "cooking": ["Give me a recipe for soup number {}", "怎样做第{}道菜，用什么食材？"],
    "code": ["Write a Python function that sorts list {}", "用 Python 写第{}个排序函数"],
}


def write(folder: Path, count: int = 40) -> tuple[pl.DataFrame, list[Path], list[Path]]:
    """Conversations of two topics and the labels a model gave them, as one shard each."""
    asked = [
        (topic, phrase.format(i))
        for i in range(count // 4)
        for topic, both in TOPICS.items()
        for phrase in both
    ]
    conversations = conversations_frame(
        Conversation("dataset", (Message("user", text),), uri="test", position=i)
        for i, (_, text) in enumerate(asked)
    )
    ids = conversations["record_id"]
    base = judgements_frame(ids, "labeller", "1").with_columns(confidence=pl.lit(1.0, pl.Float32))
    labels = pl.concat(
        [
            base.with_columns(dimension=pl.lit("domain"), label=pl.Series([topic for topic, _ in asked])),
            base.with_columns(dimension=pl.lit("task"), label=pl.lit("writing")),
            base.head(3).with_columns(
                dimension=pl.lit("difficulty"), label=pl.Series(["hard", "easy", "hard"])
            ),
            base.with_columns(judge=pl.lit("other"), dimension=pl.lit("domain"), label=pl.lit("nonsense")),
        ]
    ).select(classifier.COLUMNS.names())
    conversations.write_parquet(folder / "conversations.parquet")
    labels.write_parquet(folder / "labels.parquet")
    return conversations, [folder / "labels.parquet"], [folder / "conversations.parquet"]


def test_learns_and_is_honest_where_there_is_too_little(tmp_path: Path) -> None:
    conversations, labels, shards = write(tmp_path)
    found = classify(conversations, train(labels, shards, TrainSettings(), tmp_path))
    assert found.height == 3 * conversations.height
    domain = found.filter(pl.col("dimension") == "domain")
    assert set(domain["label"]) == {"cooking", "code"}
    taught = pl.read_parquet(labels[0]).filter(judge="labeller", dimension="domain")
    assert (
        domain.join(taught, on="record_id").select(pl.col("label") == pl.col("label_right")).to_series().all()
    )
    task, difficulty = (found.filter(pl.col("dimension") == name) for name in ("task", "difficulty"))
    assert (set(task["label"]), set(task["confidence"])) == ({"writing"}, {1.0})
    assert set(difficulty["label"]) == {"hard"}
    assert difficulty["confidence"][0] == pytest.approx(2 / 3)


def test_the_same_labels_make_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    _, labels, shards = write(tmp_path)
    first = train(labels, shards, TrainSettings(), tmp_path / "one")
    shuffled = pl.read_parquet(labels[0]).sample(fraction=1, shuffle=True, seed=1)
    shuffled.head(50).write_parquet(tmp_path / "a.parquet")
    shuffled.slice(50).write_parquet(tmp_path / "b.parquet")
    again = train([tmp_path / "a.parquet", tmp_path / "b.parquet"], shards, TrainSettings(), tmp_path / "two")
    assert first.name == again.name
    assert first.read_bytes() == again.read_bytes()
    other = train(labels, shards, TrainSettings(epochs=5), tmp_path / "one")
    assert other.name != first.name
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted([first.name, other.name])


def test_training_and_loading_are_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    conversations, labels, shards = write(tmp_path)
    classify(conversations, train(labels, shards, TrainSettings(seed=2), tmp_path))
    assert capfd.readouterr() == ("", "")


def test_without_labels_every_record_is_rejected_with_the_reason(tmp_path: Path) -> None:
    conversations, _, shards = write(tmp_path)
    artefact = train([], shards, TrainSettings(), tmp_path)
    assert classify(conversations, artefact).is_empty()
    context = SimpleNamespace(artefacts={"labels": artefact})
    output = asyncio.run(classifier.STAGE.run(conversations, classifier.ClassifySettings(), context))
    assert output.rows.schema == classifier.COLUMNS
    assert set(output.rejects["record_id"]) == set(conversations["record_id"])
    assert set(output.rejects["reason"]) == {"no_labels_to_learn_from"}


def test_the_stage_judges_every_record_in_every_dimension(tmp_path: Path) -> None:
    conversations, labels, shards = write(tmp_path)
    artefact = train(labels, shards, TrainSettings(), tmp_path)
    context = SimpleNamespace(artefacts={"labels": artefact})
    strange = conversations_frame(
        [
            Conversation("generate", (Message("user", text),))
            for text in ("", "?!", "__label__code a\nb\x00", "\U0010ffff")
        ]
    )
    for batch in (pl.concat([conversations, strange]), conversations.head(0)):
        output = asyncio.run(classifier.STAGE.run(batch, classifier.ClassifySettings(), context))
        assert output.rows.schema == classifier.STAGE.columns
        assert output.rejects.is_empty()
        counts = output.rows.group_by("record_id").len()
        assert set(counts["record_id"]) == set(batch["record_id"])
        assert set(counts["len"]) <= {3}
    assert tuple(classifier.STAGE.uses(classifier.ClassifySettings(), context)) == (artefact.stem,)
    with pytest.raises(WarehouseError, match="train"):
        asyncio.run(
            classifier.STAGE.run(strange, classifier.ClassifySettings(), SimpleNamespace(artefacts={}))
        )
