"""Balance: as many records of each label as its target share allows, no more than there are.

Symbols, all counts in records: label l has ``n`` records and the target share ``s`` (shares are made to
sum to 1 over the groups that have records). For a mix of ``size`` records,

    quota(l) = min(n, level * s * size)        with 1 <= level <= max_over

This is water-filling. A label that is short of records gives all it has; what it leaves over raises the
``level`` of all others together, so they keep their proportions, until the mix is full or the level is
``max_over``: no label gets more than ``max_over`` times its target. Without a ``size``, the largest that can
be filled is taken, the largest root of

    sum over l of min(n, max_over * s * size) = size

so with ``max_over = 1`` the scarcest label decides, and with a large ``max_over`` everything is kept. Quotas
are rounded by largest remainders. Inside a label the best scores are kept, equal scores in the order of a
seeded hash of the record's id, so that the choice depends neither on the order of the rows nor on chance.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from hydata.errors import ConfigError
from hydata.schema import hash128

FloatArray = npt.NDArray[np.float64]


def balance(
    records: pl.DataFrame, shares: Mapping[str, float], size: int | None, max_over: float, seed: int
) -> pl.DataFrame:
    """``record_id``, ``keep`` and ``weight`` (Float64) for each row of ``records``, in its order.

    ``records`` has ``record_id`` (32 hex digits), ``label`` (null: unlabelled, a group of its own) and
    ``score`` (higher is better, null is worst). ``shares`` count in proportion to each other. A group they
    do not name, such as the unlabelled, has its natural share as target: it is neither favoured nor lost.
    Share 0 keeps nothing.

    ``weight`` of a kept record is its label's target share over the share it got, so that weighted sums
    follow the target exactly; it is 1 on average over the kept, and 0 for a record not kept.

    Raises ConfigError if a share is negative or ``max_over`` below 1.
    """
    _check(shares, max_over)
    groups = records.group_by("label").agg(n=pl.len()).sort("label", nulls_last=True)
    counts = groups["n"].to_numpy().astype(np.float64)
    target = _targets(groups["label"].to_list(), counts, shares)
    wanted = _largest_size(counts, target, max_over) if size is None else float(size)
    quotas = _round(_fill(counts, target, wanted, max_over), counts)

    kept = quotas.sum()
    weights = np.divide(target * kept, quotas, out=np.zeros(len(quotas)), where=quotas > 0)
    reached = target[quotas > 0].sum()
    plan = groups.select("label", quota=pl.Series(quotas), group_weight=pl.Series(weights / (reached or 1.0)))
    return (
        records.with_columns(tie=_ties(records["record_id"], seed))
        .with_row_index("row")
        .join(plan, on="label", how="left", nulls_equal=True)
        .sort("score", "tie", "record_id", descending=[True, False, False], nulls_last=True)
        .with_columns(keep=pl.int_range(pl.len()).over("label") < pl.col("quota"))
        .sort("row")
        .select("record_id", "keep", weight=pl.when("keep").then("group_weight").otherwise(0.0))
    )


def _ties(ids: pl.Series, seed: int) -> pl.Series:
    """A seeded hash of each id, the same on every machine: the id's first 64 bits, which are a hash already,
    and the seed's, mixed by the finaliser of SplitMix64 (Steele et al. 2014)."""
    mixed = ids.str.slice(0, 16).str.to_integer(base=16, dtype=pl.UInt64).to_numpy()
    mixed = mixed ^ np.uint64(int(hash128(seed)[:16], 16))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)  # modulo 2**64, as it should be
    return pl.Series(mixed ^ (mixed >> np.uint64(31)))


def _check(shares: Mapping[str, float], max_over: float) -> None:
    for label, share in shares.items():
        if not share >= 0:
            raise ConfigError(f"target share of {label!r} is {share}: a share is a number from 0 to 1")
    if not max_over >= 1:
        raise ConfigError(f"max_over is {max_over}: it is a factor of at least 1")


def _targets(labels: list[str | None], counts: FloatArray, shares: Mapping[str, float]) -> FloatArray:
    """Target share of each group, summing to 1 (all 0 if no group may keep anything)."""
    given = [None if label is None else shares.get(label) for label in labels]
    named = np.array([share is not None for share in given], dtype=bool)
    asked = np.array([share or 0.0 for share in given])
    target = np.where(named, 0.0, counts) / max(counts.sum(), 1.0)
    if asked.sum() > 0:
        target += asked / asked.sum() * (1.0 - target.sum())
    normed: FloatArray = target / (target.sum() or 1.0)
    return normed


def _largest_size(counts: FloatArray, target: FloatArray, max_over: float) -> float:
    """The largest ``size`` with ``sum(min(n, max_over * s * size)) = size``.

    The sum is the least of the lines "the k scarcest groups give all they have, the others max_over x
    their target", so size is the least of ``n of those k / (1 - max_over * s of the others)``.
    """
    if not target.any():
        return 0.0
    order = np.argsort(np.divide(counts, target, out=np.full(len(counts), np.inf), where=target > 0))
    given = np.cumsum((counts * (target > 0))[order])
    needed = 1.0 - max_over * (1.0 - np.cumsum(target[order]))
    return float((given[needed > 1e-9] / needed[needed > 1e-9]).min())


def _fill(counts: FloatArray, target: FloatArray, size: float, max_over: float) -> FloatArray:
    """Each group's quota in records: the level raised until the mix is full or ``max_over`` is reached."""
    full = counts <= 0
    level = 1.0
    while True:  # each round fills a group, or is the last
        open_share = target[~full].sum()
        if open_share <= 0:
            break
        level = min(max_over, max(0.0, size - counts[full].sum()) / (open_share * size)) if size else 0.0
        newly = ~full & (counts < level * target * size)
        if not newly.any():
            break
        full |= newly
    return np.minimum(counts, np.where(full, counts, level * target * size))


def _round(quotas: FloatArray, counts: FloatArray) -> npt.NDArray[np.int64]:
    """Whole records by largest remainders, no more than there are; the first group wins a tie."""
    whole = np.floor(quotas + 1e-9)
    missing = round(float(quotas.sum() - whole.sum()))
    remainders = np.where(whole < counts, quotas - whole, -1.0)
    whole[np.argsort(-remainders, kind="stable")[:missing]] += 1
    return np.minimum(whole, counts).astype(np.int64)
