from pathlib import Path

import polars as pl

from hydata.synthesis.agreement import AGREEMENT
from hydata.synthesis.weigh import WEIGHTED, WeighSettings, run


def agreement(rows: list[tuple[str, str, str, int | None, bool | None]]) -> pl.DataFrame:
    columns = ("question_id", "model", "answer", "class", "reference")
    frame = pl.DataFrame(rows, schema={n: AGREEMENT[n] for n in columns}, orient="row")
    ids = pl.Series([f"{q}-{m}-{i}" for i, (q, m, *_) in enumerate(rows)])
    frame = frame.with_columns(record_id=ids)
    return pl.concat([pl.DataFrame(schema=AGREEMENT), frame], how="diagonal").select(AGREEMENT.names())


def weighed(path: Path, *frames: pl.DataFrame, **settings: float) -> pl.DataFrame:
    shards = []
    for i, frame in enumerate(frames):
        shards.append(path / f"{i}.parquet")
        frame.write_parquet(shards[-1])
    (found,) = run({"agreement": shards}, WeighSettings(**settings), None)
    return found


def votes(question: int, good: str, bad: str) -> list[tuple[str, str, str, int | None, bool | None]]:
    """The good model alone against two bad ones in every third question; else one of them agrees."""
    q = f"q{question}"
    if question % 3:
        return [
            (q, "a", good, 0, None),
            (q, "b", good if question % 2 else bad, 0 if question % 2 else 1, None),
            (q, "c", bad + "1" if question % 2 else good, 1 if question % 2 else 0, None),
        ]
    return [(q, "a", good, 1, None), (q, "b", bad, 0, None), (q, "c", bad, 0, None)]


def test_every_record_has_a_row_and_the_shards_do_not_matter(tmp_path: Path) -> None:
    rows = [row for i in range(60) for row in votes(i, "1", "2")] + [("open", "a", None, None, None)]
    frame = agreement(rows)
    whole = weighed(tmp_path, frame)
    assert whole.schema == WEIGHTED
    assert sorted(whole["record_id"]) == sorted(frame["record_id"])
    assert weighed(tmp_path, frame[100:], frame[:100]).equals(whole)
    best = whole.select("reliability", model=pl.col("record_id").str.split("-").list.get(1)).unique()
    assert best.sort("reliability")["model"].last() == "a"
    opened = whole.filter(pl.col("record_id").str.starts_with("open"))
    assert opened["abstained"].to_list() == [True]
    assert opened["majority"].to_list() == [None]
    assert whole["share"].drop_nulls().is_between(0, 1).all()
    assert weighed(tmp_path, frame, min_share=1.0)["abstained"].all()


def test_a_reference_votes_even_where_nobody_agrees_with_it(tmp_path: Path) -> None:
    rows = [(f"q{i}", m, "1", 0, True) for i in range(40) for m in "ab"]
    rows += [("x", "a", "5", 0, False), ("y", "a", "5", 0, True), ("y", "b", "6", 1, False)]
    found = weighed(tmp_path, agreement(rows)).sort("record_id")
    y = found.filter(pl.col("record_id").str.starts_with("y"))
    assert y["majority"].to_list() == [True, False]
    x = found.filter(pl.col("record_id").str.starts_with("x"))
    assert x["majority"].to_list() != [True]
