"""How reliable each model is, estimated without gold answers, and the vote weighted by it.

The one-coin form of Dawid and Skene (1979, Applied Statistics 28, 20-28): a model gives the true answer of
any question with one probability, its reliability, else one of the other answers, all alike. Expectation
maximisation from the plain shares: given the reliabilities, every answer of a question has a posterior
probability (naive Bayes over the votes); given the posteriors, a model's reliability is the mean posterior
of what it voted for, with one vote for and one against put to it (Laplace). It ends when no reliability
moves by more than ``TOLERANCE``, or after ``ROUNDS``.

It presumes that models err independently. Models of one family that make the same mistakes count as more
evidence than they are; and where most models are bad in the same way, the good one is the outlier.
"""

from __future__ import annotations

import polars as pl

ROUNDS = 100
TOLERANCE = 1e-6
REFERENCE = "reference"
"""The name under which reference answers vote beside the models."""
UNKNOWN = "unknown"
"""Votes of no known model count as those of one."""


def weigh(votes: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Estimate reliabilities and posteriors of ``votes``: ``question``, ``class``, ``model``, one row a vote.

    Returns:
        ``model`` and ``reliability`` (0 to 1); and ``question``, ``class``, ``posterior``, which sums to 1
        over the classes of a question. Both sorted, and independent of the order of the votes.
    """
    counts = (
        votes.select("question", "class", model=pl.col("model").fill_null(UNKNOWN))
        .group_by("question", "class", "model")
        .agg(n=pl.len())
        .sort("question", "class", "model")
    )
    # One answer more than was given is possible, or nobody could be wrong where all agree.
    others = pl.col("class").n_unique().over("question").cast(pl.Float64).alias("others")
    counts = counts.with_columns(others)
    posterior = counts.group_by("question", "class", maintain_order=True).agg(score=pl.col("n").sum())
    posterior = posterior.with_columns(posterior=pl.col("score") / pl.col("score").sum().over("question"))
    reliability = pl.DataFrame(schema={"model": counts.schema["model"], "reliability": pl.Float64})
    for _ in range(ROUNDS):
        before = reliability
        reliability = (
            counts.join(posterior, on=["question", "class"], maintain_order="left")
            .group_by("model", maintain_order=True)
            .agg(
                reliability=((pl.col("n") * pl.col("posterior")).sum() + 1) / (pl.col("n").sum() + 2),
            )
            .sort("model")
        )
        odds = pl.col("reliability") / (1 - pl.col("reliability")) * pl.col("others")
        posterior = (
            counts.join(reliability, on="model", maintain_order="left")
            .group_by("question", "class", maintain_order=True)
            .agg(score=(pl.col("n") * odds.log()).sum())
            .with_columns(score=(pl.col("score") - pl.col("score").max().over("question")).exp())
            .with_columns(posterior=pl.col("score") / pl.col("score").sum().over("question"))
        )
        moved = before["reliability"] - reliability["reliability"] if before.height else None
        if moved is not None and bool((moved.abs() <= TOLERANCE).all()):
            break
    return reliability, posterior.select("question", "class", "posterior")
