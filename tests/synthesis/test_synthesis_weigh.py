from collections import Counter
from pathlib import Path
from random import Random

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


def votes(question: int, random: Random) -> list[tuple[str, str, str, int | None, bool | None]]:
    """Model a is right nine times in ten, b, c and d four times, and all else is chance."""
    said = {
        m: 7 if random.random() < p else random.randint(10, 30)
        for m, p in zip("abcd", (0.9, 0.4, 0.4, 0.4), strict=True)
    }
    sizes = Counter(said.values())
    rank = sorted(sizes, key=lambda n: (-sizes[n], n))
    return [(f"q{question}", m, str(n), rank.index(n), None) for m, n in said.items()]


def test_every_record_has_a_row_and_the_shards_do_not_matter(tmp_path: Path) -> None:
    random = Random(4)
    rows = [row for i in range(60) for row in votes(i, random)] + [("open", "a", None, None, None)]
    frame = agreement(rows)
    whole = weighed(tmp_path, frame)
    assert whole.schema == WEIGHTED
    assert sorted(whole["record_id"]) == sorted(frame["record_id"])
    assert weighed(tmp_path, frame[101:], frame[:101]).equals(whole)
    best = whole.select("reliability", model=pl.col("record_id").str.split("-").list.get(1)).unique()
    assert best.sort("reliability")["model"].last() == "a"
    opened = whole.filter(pl.col("record_id").str.starts_with("open"))
    assert opened["abstained"].to_list() == [True]
    assert opened["majority"].to_list() == [None]
    assert whole["share"].drop_nulls().is_between(0, 1).all()
    stricter = weighed(tmp_path, frame, min_share=0.99)
    assert stricter["abstained"].sum() > whole["abstained"].sum()


def test_a_reference_votes_even_where_nobody_agrees_with_it(tmp_path: Path) -> None:
    rows = [(f"q{i}", m, "1", 0, True) for i in range(40) for m in "ab"]
    rows += [("x", "a", "5", 0, False), ("y", "a", "5", 0, True), ("y", "b", "6", 1, False)]
    found = weighed(tmp_path, agreement(rows)).sort("record_id")
    y = found.filter(pl.col("record_id").str.starts_with("y"))
    assert y["majority"].to_list() == [True, False]
    x = found.filter(pl.col("record_id").str.starts_with("x"))
    assert x["majority"].to_list() != [True]
