"""Balance: quotas by hand, and what must hold for any records."""

import random

import polars as pl
import pytest

from hydata.curation.balance import balance
from hydata.errors import ConfigError
from hydata.schema import hash128

SCHEMA = {"record_id": pl.String, "label": pl.String, "score": pl.Float64}


def records(**counts: int) -> pl.DataFrame:
    """That many records a label, scored 0, 1, 2, ...; ``none`` is the unlabelled group."""
    rows = [
        (hash128(label, i), None if label == "none" else label, float(i))
        for label, count in counts.items()
        for i in range(count)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def kept(
    frame: pl.DataFrame, shares: dict[str, float], size: int | None, max_over: float
) -> dict[str | None, int]:
    result = balance(frame, shares, size, max_over, seed=0)
    assert result["record_id"].equals(frame["record_id"])
    assert result.schema == {"record_id": pl.String, "keep": pl.Boolean, "weight": pl.Float64}
    return dict(frame.join(result, on="record_id").group_by("label").agg(pl.col("keep").sum()).iter_rows())


@pytest.mark.parametrize(
    ("counts", "shares", "size", "max_over", "expected"),
    [
        # Plenty of all: exactly the shares.
        ({"a": 100, "b": 100}, {"a": 0.7, "b": 0.3}, 50, 2.0, {"a": 35, "b": 15}),
        # b is short by 10, a and c share what it leaves 3 to 1.
        (
            {"a": 100, "b": 10, "c": 100},
            {"a": 0.6, "b": 0.2, "c": 0.2},
            100,
            2.0,
            {"a": 68, "b": 10, "c": 22},
        ),
        # The same with a bound: nobody gets more than 1.1 times the target.
        (
            {"a": 100, "b": 10, "c": 100},
            {"a": 0.6, "b": 0.2, "c": 0.2},
            100,
            1.1,
            {"a": 66, "b": 10, "c": 22},
        ),
        # Without a size and without excess the scarcest label decides.
        ({"a": 100, "b": 10}, {"a": 0.8, "b": 0.2}, None, 1.0, {"a": 40, "b": 10}),
        # b gives 10 of 10 / (1 - 1.1 x 0.8) = 83.3 records; a 1.1 x 0.8 of them.
        ({"a": 100, "b": 10}, {"a": 0.8, "b": 0.2}, None, 1.1, {"a": 73, "b": 10}),
        ({"a": 100, "b": 10}, {"a": 0.8, "b": 0.2}, None, 9.0, {"a": 100, "b": 10}),
        # An absent label's share goes to those present; shares need not sum to 1.
        ({"a": 9, "b": 9}, {"a": 1, "b": 1, "c": 8}, 10, 1.0, {"a": 5, "b": 5}),
        # Groups without a share keep their natural one.
        ({"a": 60, "none": 20, "z": 20}, {"a": 1.0}, 50, 1.0, {"a": 30, None: 10, "z": 10}),
        ({"none": 7}, {"a": 1.0}, None, 1.0, {None: 7}),
        # Share 0 keeps nothing; asking for more than there is keeps what there is.
        ({"a": 5, "b": 5}, {"a": 0.0, "b": 1.0}, None, 1.0, {"a": 0, "b": 5}),
        ({"a": 5}, {"a": 0.0}, None, 1.0, {"a": 0}),
        ({"a": 3, "b": 3}, {"a": 0.5, "b": 0.5}, 1000, 1.0, {"a": 3, "b": 3}),
        ({}, {"a": 1.0}, None, 2.0, {}),
    ],
)
def test_quotas(
    counts: dict[str, int],
    shares: dict[str, float],
    size: int | None,
    max_over: float,
    expected: dict[str | None, int],
) -> None:
    assert kept(records(**counts), shares, size, max_over) == expected


def test_the_best_are_kept_and_ties_do_not_depend_on_order() -> None:
    frame = records(a=10).with_columns(score=pl.Series([None, 5.0, *[1.0] * 8]))
    first = balance(frame, {"a": 1.0}, 4, 1.0, seed=3)
    chosen = set(first.filter("keep")["record_id"])
    assert frame["record_id"][1] in chosen
    assert frame["record_id"][0] not in chosen
    shuffled = balance(frame.reverse(), {"a": 1.0}, 4, 1.0, seed=3)
    assert set(shuffled.filter("keep")["record_id"]) == chosen
    others = [set(balance(frame, {"a": 1.0}, 4, 1.0, seed=s).filter("keep")["record_id"]) for s in range(5)]
    assert any(other != chosen for other in others)
    # the same on every machine and under every version
    assert [i for i, keep in enumerate(first["keep"]) if keep] == [1, 6, 7, 9]


def test_weights_restore_the_target_and_average_one() -> None:
    frame = records(a=100, b=10, none=40)
    result = frame.join(balance(frame, {"a": 0.5, "b": 0.5}, None, 2.0, seed=0), on="record_id").filter(
        "keep"
    )
    assert result["weight"].mean() == pytest.approx(1.0)
    sums = dict(result.group_by("label").agg(pl.col("weight").sum()).iter_rows())
    assert sums["a"] == pytest.approx(sums["b"])


def test_what_holds_for_any_records() -> None:
    rng = random.Random(5)
    for _ in range(100):
        counts = {label: rng.choice([0, 1, 5, 60]) for label in ("a", "b", "c", "none")}
        shares = {label: rng.random() for label in ("a", "b", "c", "d")}
        frame, max_over = records(**counts), rng.choice([1.0, 1.5, 4.0])
        size = rng.choice([None, 1, 10, 500])
        result = balance(frame, shares, size, max_over, seed=1)
        assert result.height == frame.height
        total = result["keep"].sum()
        assert total <= min(frame.height, size or frame.height)
        assert (result.filter(~pl.col("keep"))["weight"] == 0).all()
        if total:
            assert result.filter("keep")["weight"].mean() == pytest.approx(1.0)
        if max_over == 4.0 and size:
            assert total <= size


@pytest.mark.parametrize(
    ("shares", "max_over"), [({"a": -0.1}, 1.0), ({"a": 1.0}, 0.5), ({"a": float("nan")}, 1.0)]
)
def test_impossible_settings_are_named(shares: dict[str, float], max_over: float) -> None:
    with pytest.raises(ConfigError):
        balance(records(a=1), shares, None, max_over, seed=0)
