"""The report of an evaluation as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from hydata.synthesis.critic.calibration import Critic
from hydata.synthesis.critic.evaluate import Agreement, Report

_EXPLAINED = """\
Accuracy: of the pairs that humans decided, a critic's tie counting one half. Exact, kappa: over all pairs
with the outcomes a, b and tie. Calibrated: cut-offs found on other instructions (five folds). Compared: both
answers shown together, and a win only if it holds in both orders."""


def page(report: Report, critic: Critic) -> str:
    """Everything of the report and the cut-offs."""
    bias = report.bias
    parts = [
        f"# Critic {report.critic}",
        f"`{report.model}`: {report.pairs:,} pairs and {report.graded:,} graded answers, "
        f"{report.calls:,} calls, "
        f"{report.prompt_tokens:,} tokens read and {report.completion_tokens:,} written, "
        f"{sum(report.failures.values()):,} failures"
        + "".join(f"; {reason} {count:,}" for reason, count in report.failures.items())
        + ".",
    ]
    if report.pairs:
        parts += ["## Agreement on pairs", _agreement(report.agreement), _EXPLAINED]
    if report.graded:
        parts += ["## Agreement on graded answers", _agreement(report.grades)]
    parts += [
        "## Biases",
        _table(
            ("probe", "of", "rate"),
            [
                ("order: the first shown wins both times", f"{bias.compared:,} pairs", _number(bias.first)),
                ("order: the second shown wins both times", f"{bias.compared:,} pairs", _number(bias.second)),
                ("order: the same verdict both times", f"{bias.compared:,} pairs", _number(bias.consistent)),
                ("padding: gains a tier", f"{bias.padded:,} answers", _number(bias.gained)),
                ("padding: loses a tier", f"{bias.padded:,} answers", _number(bias.lost)),
                ("padding: gain of the mean score", f"{bias.padded:,} answers", _number(bias.score_gain)),
                *(
                    (f"length: errors for the longer less for the shorter, by {method}", "", _number(rate))
                    for method, rate in bias.length.items()
                ),
            ],
        ),
        "## Cut-offs of the mean score",
        _table(
            ("family", "labels", "A from", "B from", "C from"),
            [
                (family, f"{found.labels:,}", *(f"{cutoff:.1f}" for cutoff in found.cutoffs))
                for family, found in sorted(critic.families.items())
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _agreement(by_method: Mapping[str, Agreement]) -> str:
    head = ("by", "rows", "accuracy", "exact", "kappa", "rank correlation", "ties")
    return _table(
        head,
        [
            (method, f"{a.rows:,}", *map(_number, (a.accuracy, a.exact, a.kappa, a.spearman, a.ties)))
            for method, a in by_method.items()
        ],
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))
