"""The rules on labelled data: mojibake, clean text of other languages, defects of Alpaca."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import polars as pl

from hydata.curation import files
from hydata.curation.files import ROWS
from hydata.curation.rules_alone import RulesAloneSettings, judge_rows

FLAGS = {
    ("noinput_placeholder",): ("instruction_placeholders",),
    ("na_output",): ("response_placeholders",),
    ("url_only_input",): ("instruction_url_only_input",),
    ("url_only_input", "url_in_input"): ("instruction_urls",),
    ("attachment_input",): ("instruction_missing_media",),
    ("merged_instruction",): ("response_role_markers",),
    ("maybe_truncated", "odd_ending"): ("response_ends_in_mid_sentence", "response_ends_dangling"),
    ("refusal",): ("response_refusals",),
}
"""Flags of the set -> the measures that speak of the same."""


DISAGREEMENTS = """The disagreements, read one by one:

- Placeholders: the measures also find `<noinput>` between quotes or backticks or before more text, and "No
  input" between two answers that were run together (6 of 8, the measures are right); one text quotes the rule
  "output <noinput>" and is found twice (the flag is right).
- Missing media: `![Figure](…)`, `[Image]`, `[Figure of a city]`, "this photo" with a link to it (6 of 8, the
  measure is right);
  "in the image of God" and a painting that is named (the flag is right).
- Role markers: a conversation was asked for, and is written as one (the flag is right; a policy that wants
  such tasks must not drop them).
- Endings: the flags mean texts that end in hashtags (5), songs (3), a list, a quiz, a résumé, an address, a
  space of no width, all of them whole (13 of 13, the measures are right). The measures alone find "-8.2% in
  20", which is cut, and a storyboard, which is not. Both find a résumé and a comma after Python 2's `print`,
  and are wrong.
- Refusals: neither is right; both are apologies that were asked for.
- `asks_for_image` has no measure: designing a logo in words is a task like any other."""


def section(data: Path) -> str:
    """The section of the rules, in Markdown."""
    labelled = data / "labelled"
    return "\n\n".join(
        (
            "## rules",
            "`hydata judge rules`: 82 measures of form, `passed` and `reasons` by the built-in policy.",
            _mojibake(labelled / "garbled"),
            _clean(labelled / "langid" / "lingua_sentences.jsonl"),
            _defects(labelled / "instructions_defects"),
        )
    )


def _judged(texts: list[str]) -> pl.DataFrame:
    rows = pl.DataFrame({"text": texts}).match_to_schema(ROWS, missing_columns="insert")
    return judge_rows(rows, RulesAloneSettings())


def _scores(found: Iterable[bool], labelled: Iterable[bool]) -> str:
    """Cells: flagged, labelled, both, precision, recall, F1."""
    pairs = list(zip(found, labelled, strict=True))
    flagged, wanted, both = sum(f for f, _ in pairs), sum(w for _, w in pairs), sum(f and w for f, w in pairs)
    precision = f"{both / flagged:.3f}" if flagged else "–"
    recall = f"{both / wanted:.3f}" if wanted else "–"
    f1 = f"{2 * both / (flagged + wanted):.3f}" if flagged + wanted else "–"
    return f"{flagged} | {wanted} | {both} | {precision} | {recall} | {f1}"


_HEAD = "flagged | labelled | both | precision | recall | F1 |"
_RULE = "---:|---:|---:|---:|---:|---:|"


def _mojibake(folder: Path) -> str:
    cases = [
        (name, case)
        for name in ("in-the-wild", "synthetic", "negative")
        for case in json.loads((folder / f"ftfy_{name}.json").read_text("utf-8"))
    ]
    found = _judged([case["original"] for _, case in cases])
    strict = [case["original"] != case.get("fixed-encoding", case["fixed"]) for _, case in cases]
    hopeless = ["hopeless" in case["label"] for _, case in cases]
    garbled = [a or b for a, b in zip(strict, hopeless, strict=True)]
    measured = (found["mojibake"] > 0).to_list()
    dropped = found["reasons"].list.contains("garbled").to_list()
    clean = [not bad for bad in garbled]
    touched = sum(ok and not passed for ok, passed in zip(clean, found["passed"], strict=True))
    return f"""### Mojibake

Aim: F1 of at least 0.95 on ftfy's cases, no negative touched. A case is garbled if ftfy's test expects
another text before quotes, width and HTML are put right; one case that its author calls hopeless, and ftfy
leaves as it is, counts as garbled in the second and third row.

| of {len(cases)} cases | {_HEAD}
|---|{_RULE}
| `mojibake` > 0, the hopeless case a negative | {_scores(measured, strict)} |
| `mojibake` > 0 | {_scores(measured, garbled)} |
| dropped as `garbled` | {_scores(dropped, garbled)} |

Of {sum(clean)} negatives {touched} {"is" if touched == 1 else "are"} dropped, for any reason."""


def _clean(path: Path) -> str:
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    found = _judged([row["text"] for row in rows]).with_columns(
        language=pl.Series([row["lang"] for row in rows])
    )
    garbled = found.filter(pl.col("mojibake") > 0)
    dropped = found.filter(~pl.col("passed"))
    by_language = ", ".join(
        f"{language} {count}"
        for language, count in garbled["language"]
        .value_counts()
        .sort("count", "language", descending=True)
        .rows()
    )
    others = dropped.filter(pl.col("mojibake") == 0)
    reasons = others["reasons"].explode().value_counts().rows()
    told = ", ".join(f"{reason} {count}" for reason, count in reasons)
    return f"""### Clean text of {found["language"].n_unique()} languages

Of {found.height:,} sentences of the web {dropped.height} are dropped ({dropped.height / found.height:.2%}).
{garbled.height} hold mojibake ({by_language}); read one by one, all of them do: the set is not as clean as
its name (Romanian with `ďż˝`, the bytes of U+FFFD, French with C1 controls for apostrophes, Finnish with
`Ã¤`). False positives of `mojibake`: 0. The other {others.height}: {told or "none"}. What was seen to be
missed: a Croatian sentence with `izmeÄ‘u`, in which ftfy sees one sign and nothing that it could repair."""


def _defects(folder: Path) -> str:
    path = folder / "alpaca_raw_rows_3252-9407_labelled.jsonl"
    labels = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]
    found, chinese = (
        judge_rows(pl.concat(piece.rows() for piece in files.pieces([file], None)), RulesAloneSettings())
        for file in (path, *folder.glob("alpaca_zh_*.jsonl"))
    )
    lines = []
    for flags, measures in FLAGS.items():
        holds = found.select(
            pl.any_horizontal((pl.col(m).cast(pl.Int64) > 0).fill_null(False) for m in measures)
        )
        labelled = [not set(flags).isdisjoint(row["rule_flags"]) for row in labels]
        lines.append(
            f"| {', '.join(flags)} | {', '.join(measures)} | {_scores(holds.to_series(), labelled)} |"
        )
    kept = []
    for rater in ("claude", "helpful"):
        good = pl.Series([row[f"alpagasus_{rater}_kept"] for row in labels])
        kept.append(
            f"{rater}: {good.filter(found['passed']).mean():.1%} of what passes, "
            f"{good.filter(~found['passed']).mean():.1%} of what is dropped"
        )
    table = "\n".join(lines)
    return f"""### Defects of Alpaca

{found.height:,} English rows with `rule_flags`, regular expressions of the set's makers, not of humans.

| flag | measure | {_HEAD}
|---|---|{_RULE}
{table}

{DISAGREEMENTS}

Rated at least 4.5 by a model (AlpaGasus, a weak check) were, by {"; ".join(kept)}. The policy lets
{found["passed"].mean():.1%} of the English rows pass, and {chinese["passed"].mean():.1%} of
{chinese.height:,} of their Chinese translations, of which {(chinese["mojibake"] > 0).sum()} count as
garbled."""


if __name__ == "__main__":
    import sys

    print(section(Path(sys.argv[1])))
