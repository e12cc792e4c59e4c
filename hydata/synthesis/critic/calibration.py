"""Calibration: cut-offs from a critic's scores to tiers, found where its tiers agree best with humans.

A critic's letters need not mean what a reader's do: one gives "A" to nearly everything, another never. Its
mean aspect score (1 to 4, higher is better) is turned into a tier by three cut-offs of its own: tier 1 from
the first on, 2 from the second, 3 from the third, else 4. All 455 triples of points between the means that
five scores can have are tried; the best has the least total *distance* from the humans: of a pair, verdicts
are -1, 0, 1 (better, tie, worse by tier), of a graded answer tiers are 1 to 4, and a distance is the absolute
difference. Of equal ones the nearest to the even cut-offs (3.5, 2.5, 1.5) is taken, so that labels which say
nothing move nothing.

A family with few labels uses the cut-offs of all labels, which stand under ``general``. One file holds any
number of critics, known by model identity and by the hash of the prompts they were asked with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, model_validator

from hydata.errors import ConfigError
from hydata.schema import canonical_json, hash128
from hydata.settings import explain
from hydata.stage import Settings

GENERAL = "general"
EVEN = (3.5, 2.5, 1.5)
GRID = tuple(round(1.1 + 0.2 * i, 1) for i in range(15))
"""Between the means that five scores from 1 to 4 can have."""

ENOUGH = 30
"""Labels that a family needs for cut-offs of its own: with fewer, three free cut-offs fit the noise."""

Cutoffs = tuple[float, float, float]


class Family(Settings):
    """The cut-offs of a family and the labels, of pairs and of grades, they were found on."""

    cutoffs: Cutoffs
    labels: int = Field(ge=0)

    @model_validator(mode="after")
    def _descending(self) -> Family:
        if not self.cutoffs[0] > self.cutoffs[1] > self.cutoffs[2]:
            raise ValueError(f"cutoffs {list(self.cutoffs)} must descend: for tier 1, 2, 3")
        return self


class Critic(Settings):
    """What was found for one critic: a model's ``identity`` and the hash of the ``prompts`` of critique.
    ``agreement`` with the humans is for people to read."""

    identity: str
    prompts: str
    families: Mapping[str, Family]
    agreement: Mapping[str, Mapping[str, float | int | None]] = {}

    @model_validator(mode="after")
    def _general(self) -> Critic:
        if GENERAL not in self.families:
            raise ValueError(f"families needs {GENERAL!r}, for those with cut-offs of their own are not all")
        return self

    def tier(self, family: str, score: float) -> int:
        """The tier of a mean aspect score."""
        return tier_of(score, self.families.get(family, self.families[GENERAL]).cutoffs)


class Calibration(Settings):
    """A calibration file."""

    critics: tuple[Critic, ...] = ()

    def critic(self, identity: str) -> Critic | None:
        """The critic that is the model of this identity; None if it was not calibrated."""
        return next((c for c in self.critics if c.identity == identity), None)

    def hash(self) -> str:
        """The identity of what changes tiers: not of the figures for people."""
        rows = [c.model_dump(mode="json", exclude={"agreement"}) for c in self.critics]
        return hash128(canonical_json(rows))

    def with_critic(self, critic: Critic) -> Calibration:
        """The same with ``critic`` new or anew."""
        others = tuple(c for c in self.critics if c.identity != critic.identity)
        return Calibration(critics=(*others, critic))


def load_calibration(path: Path) -> Calibration:
    """The calibration in ``path``.

    Raises:
        ConfigError: it is missing or wrong.
    """
    remedy = "`hydata critic evaluate` writes one"
    try:
        return Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: no calibration there ({error.strerror}); {remedy}") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {explain(error)}; {remedy}") from error


def tier_of(score: float, cutoffs: Cutoffs) -> int:
    """1 (best) to 4. A score that rounding left just below a cut-off reaches it."""
    return 1 + sum(score < cutoff - 1e-9 for cutoff in cutoffs)


@dataclass(frozen=True)
class Label:
    """What humans and critic said: of a pair the two mean scores and the humans' ``verdict``, -1 for the
    first, 0 for a tie, 1 for the second; of a graded answer its score twice and the tier as ``verdict``."""

    family: str
    group: str
    first: float
    second: float
    verdict: int
    graded: bool = False


def fit(labels: Sequence[Label]) -> Mapping[str, Family]:
    """The cut-offs of every family with at least ``ENOUGH`` labels, and of all together."""
    own = {f: [label for label in labels if label.family == f] for f in sorted({x.family for x in labels})}
    families = {
        f: Family(cutoffs=best(some), labels=len(some)) for f, some in own.items() if len(some) >= ENOUGH
    }
    return families | {GENERAL: Family(cutoffs=best(labels), labels=len(labels))}


def best(labels: Sequence[Label]) -> Cutoffs:
    """The cut-offs with the least distance from the humans."""
    triples = np.array(sorted(combinations(GRID, 3)))[:, ::-1]
    total = np.zeros(len(triples))
    for graded in (False, True):
        some = [label for label in labels if label.graded == graded]
        wanted = np.array([label.verdict for label in some])
        first = _tiers(np.array([label.first for label in some]), triples)
        second = _tiers(np.array([label.second for label in some]), triples)
        given = first if graded else np.sign(first - second)
        total += np.abs(given - wanted).sum(axis=1)
    away = np.abs(triples - np.array(EVEN)).sum(axis=1)
    a, b, c = (round(float(x), 1) for x in triples[np.lexsort((away.round(6), total))[0]])
    return a, b, c


def _tiers(scores: npt.NDArray[np.float64], triples: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The tiers of all scores by all triples, of shape (triples, scores)."""
    below: npt.NDArray[np.int64] = (scores.reshape(1, 1, -1) < triples[:, :, None] - 1e-9).sum(axis=1)
    return below + 1
