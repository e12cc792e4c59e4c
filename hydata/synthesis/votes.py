"""The vote of several answers to one objective question.

Self-consistency (Wang et al. 2023, arXiv 2203.11171, section 2): each answer that could be extracted is one
vote for its equivalence class; a failed extraction never votes. A reference answer takes part as one voter
more. Nothing here depends on the order of the answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from hydata.synthesis.answers import Answer, Form, answer_form, read_reference
from hydata.synthesis.equivalence import classes

REFERENCE_WORDS = 3
"""A reference of so few words, or twice as many Chinese characters, can be compared whatever was asked."""


@dataclass(frozen=True)
class Tally:
    """``classes`` is the class of each answer, 0 the largest; ``sizes`` their votes, descending;
    ``answers`` names each class by its most frequent answer."""

    classes: tuple[int | None, ...]
    sizes: tuple[int, ...]
    answers: tuple[str, ...]

    @property
    def votes(self) -> int:
        return sum(self.sizes)

    @property
    def share(self) -> float | None:
        """The largest class's part of the votes; None without any."""
        return self.sizes[0] / self.votes if self.sizes else None

    def abstains(self, min_votes: int, min_share: float) -> bool:
        """Whether there is no verdict: too few votes, a tie, or too small a share."""
        tie = len(self.sizes) > 1 and self.sizes[0] == self.sizes[1]
        return tie or self.votes < max(1, min_votes) or (self.share or 0.0) < min_share


def tally(answers: Sequence[Answer | None]) -> Tally:
    """Count the answers by class."""
    found = classes(answers)
    sizes = Counter(c for c in found if c is not None)
    written: dict[int, Counter[str]] = {c: Counter() for c in sizes}
    for answer, c in zip(answers, found, strict=True):
        if answer is not None and c is not None:
            written[c][answer.text] += 1
    names = (min(written[c], key=lambda text: (-written[c][text], len(text), text)) for c in sorted(written))
    return Tally(tuple(found), tuple(sizes[c] for c in sorted(sizes)), tuple(names))


def is_decided(sizes: Sequence[int], confidence: float) -> bool:
    """Whether the largest class is the most probable answer with at least ``confidence``.

    The Beta stopping rule of adaptive consistency (Aggarwal et al. 2023, arXiv 2305.11860, section 3): of the
    ``a`` and ``b`` votes of the two largest classes, P(p > 1/2) for p ~ Beta(a + 1, b + 1), which for whole
    numbers is the part of 2^(a + b + 1) tosses with at most ``a`` heads: 3 to 0 is 0.94, 4 to 1 is 0.89.
    """
    first, second = (*sizes, 0, 0)[:2]
    tosses = first + second + 1
    probability = sum(comb(tosses, heads) for heads in range(first + 1)) / 2**tosses
    return bool(probability >= confidence)


def form_of(question: str, reference: str | None) -> Form | None:
    """What final answer is asked for, by the question's words or by what its reference answer is; None if
    the question is not objective."""
    form = answer_form(question)
    if form is not None or reference is None:
        return form
    found = read_reference(reference, "any")
    if found is None:
        return None
    short = len(found.text.split()) <= REFERENCE_WORDS and (
        found.text.isascii() or len(found.text) <= 2 * REFERENCE_WORDS
    )
    return "any" if found.kind != "text" or short else None
