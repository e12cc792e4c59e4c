"""The critic's evaluation on what humans said: with critics whose figures are known, and with a real model.

    python benchmarks/critic.py --data DIR --out FILE                     # the stubs and SmolLM2 on 20 pairs
    python benchmarks/critic.py --data DIR --models FILE --critic NAME --sample 1000 --out FILE

DIR holds the files of the public sets that ``SETS`` names. They are converted to the neutral form of
``hydata critic evaluate`` in a folder of their own, which the commands below then read.

The stubs: one knows all labels, one always takes the first answer, one likes length. What the harness has to
find for them follows from the labels and lengths alone and stands beside what it found.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from shared.page import machine, table

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests" / "synthesis"))  # the stubs are those of the tests

from critics import STEPS, Critics  # noqa: E402

from hydata.models import load_models, open_models  # noqa: E402
from hydata.models.config import RoleEntry  # noqa: E402
from hydata.recipe import load_context  # noqa: E402
from hydata.resources import default_recipe  # noqa: E402
from hydata.schema import hash128  # noqa: E402
from hydata.synthesis.critic.evaluate import Report, evaluate  # noqa: E402
from hydata.synthesis.critic.labelled import Labelled, Pair, read_labelled  # noqa: E402

Row = dict[str, Any]


def llmbar(row: Row) -> Row:
    return _pair(row["input"], row["output_1"], row["output_2"], row["label"])


def pandalm(row: Row) -> Row:
    """What two of three annotators say; a tie where all differ."""
    votes = [row[f"annotator{n}"] for n in (1, 2, 3)]
    most = max(set(votes), key=votes.count)
    asked = "\n\n".join(part for part in (row["instruction"], row["input"]) if part)
    answers = (str(row[f"response{n}"]) for n in (1, 2))  # one of them is JSON's true
    return _pair(asked, *answers, most if votes.count(most) > 1 else 0)


def hhh(row: Row) -> Row:
    """The chosen answer stands first in the file: here a hash decides."""
    answers = (row["chosen"], row["rejected"])
    turned = int(hash128(row["prompt"], *answers), 16) % 2 == 1
    family = {"family": "safety"} if row["source"] == "harmless" else {}
    return _pair(row["prompt"], *(reversed(answers) if turned else answers), 2 if turned else 1) | family


SETS = {
    "llmbar_and_processed_pairs": llmbar,
    "pandalm_testset_999_3annotators": pandalm,
    "hhh_221_chosen_rejected": hhh,
}


def _pair(instruction: str, a: str, b: str, label: int) -> Row:
    preferred = ("tie", "a", "b")[label]
    return {"instruction": instruction, "response_a": a, "response_b": b, "preferred": preferred}


def convert(data: Path, folder: Path) -> Iterator[Path]:
    """The sets in the neutral form; rows with an empty instruction are left out."""
    for name, read in SETS.items():
        rows = [read(json.loads(line)) for line in (data / f"{name}.jsonl").read_text("utf-8").splitlines()]
        target = folder / f"{name}.jsonl"
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["instruction"].strip())
        target.write_text("".join(lines), "utf-8")
        yield target


# --- the stubs -------------------------------------------------------------------------------------------


def known(rows: Sequence[Labelled]) -> tuple[list[Labelled], dict[str, int]]:
    """The pairs whose answers are in no other pair, and points by which humans' verdicts come out."""
    pairs = [row for row in rows if isinstance(row, Pair)]
    texts = [answer.strip() for row in pairs for answer in row.answers]
    alone = {text for text in texts if texts.count(text) == 1 and text}
    kept = [row for row in pairs if alone >= {answer.strip() for answer in row.answers}]
    points = {}
    for row in kept:
        for side, answer in enumerate(row.answers):
            points[answer.strip()] = 3 if row.verdict == 0 else 4 if side == (row.verdict + 1) // 2 else 2
    return list(kept), points


async def stub_reports(rows: Sequence[Labelled], points: dict[str, int]) -> dict[str, Report]:
    made = {}
    async with Critics(points) as server:
        for name in ("knows", "first", "longer"):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "models.toml"
                file.write_text(server.models())
                config = load_models(file)
                config = config.model_copy(update={"roles": {"critic": RoleEntry(models={name: 1})}})
                recipe = default_recipe(())
                settings = recipe.critique.model_copy(update={"characters": 100_000})
                async with open_models(config, Path(folder) / "journal.sqlite") as models:
                    made[name], _ = await evaluate(rows, name, settings, load_context(recipe, models))
    return made


def stub_page(rows: Sequence[Labelled]) -> str:
    """What was found of each stub beside what must be found."""
    kept, points = known(rows)
    pairs = [row for row in kept if isinstance(row, Pair)]
    reports = asyncio.run(stub_reports(kept, points))
    decided = [row for row in pairs if row.verdict]

    def credit(a: int, b: int, verdict: int) -> float:
        return 0.5 if a == b else float((b > a) == (verdict > 0))

    lengths = [(len(row.response_a.strip()), len(row.response_b.strip()), row.verdict) for row in decided]
    step = [(*(sum(n >= s for s in STEPS) for n in (a, b)), verdict) for a, b, verdict in lengths]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    ties = mean([row.verdict == 0 for row in pairs])
    expected = [
        ("knows", "accuracy by tier", reports["knows"].agreement["tier"].accuracy, 1.0),
        ("knows", "kappa by tier", reports["knows"].agreement["tier"].kappa, 1.0),
        ("knows", "rank correlation by score", reports["knows"].agreement["score"].spearman, 1.0),
        ("knows", "accuracy compared", reports["knows"].agreement["compared"].accuracy, 1.0),
        ("knows", "order: first both times", reports["knows"].bias.first, 0.0),
        ("first", "order: first both times", reports["first"].bias.first, 1.0),
        ("first", "order: same verdict", reports["first"].bias.consistent, 0.0),
        ("first", "accuracy compared", reports["first"].agreement["compared"].accuracy, 0.5),
        ("first", "exact by tier: humans' ties", reports["first"].agreement["tier"].exact, ties),
        ("first", "kappa by tier", reports["first"].agreement["tier"].kappa, 0.0),
        ("first", "padding: gains a tier", reports["first"].bias.gained, 0.0),
        (
            "longer",
            "accuracy compared: humans like the longer",
            reports["longer"].agreement["compared"].accuracy,
            mean([credit(*row) for row in lengths]),
        ),
        (
            "longer",
            "accuracy by tier: the same by steps of length",
            reports["longer"].agreement["tier"].accuracy,
            mean([credit(*row) for row in step]),
        ),
        ("longer", "length bias compared", reports["longer"].bias.length["compared"], 1.0),
        (
            "longer",
            "padding: gains a tier, all below the last step",
            reports["longer"].bias.gained,
            mean([len(answer.strip()) < STEPS[-1] for row in pairs for answer in row.answers]),
        ),
    ]
    lines = [
        (
            stub,
            what,
            "" if got is None else f"{got:.6f}",
            f"{want:.6f}",
            "yes" if got is not None and abs(got - want) < 1e-9 else "NO",
        )
        for stub, what, got, want in expected
    ]
    return (
        f"{len(pairs):,} pairs whose answers stand in no other pair, {len(decided):,} of them decided.\n\n"
        + table(("stub", "figure", "found", "must be", "equal"), lines)
    )


# --- a real model ----------------------------------------------------------------------------------------


def real_page(files: Sequence[Path], told: argparse.Namespace, folder: Path) -> str:
    """``hydata critic evaluate`` as a user runs it, on a sample."""
    options = ["--critic", told.critic, "-o", str(folder / "report"), "--sample", str(told.sample)]
    if told.models:
        options += ["--models", str(told.models)]
    command = [sys.executable, "-m", "hydata.cli", "critic", "evaluate", *map(str, files), *options]
    started = time.monotonic()
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    took = time.monotonic() - started
    text = (folder / "report" / "report.md").read_text("utf-8")
    shown = text.replace("\n## ", "\n### ").replace("# Critic", "### Critic", 1)
    said = f"`hydata critic evaluate ... --critic {told.critic} --sample {told.sample}`"
    return f"{said}, {took / 60:.1f} minutes.\n\n{shown}"


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--models", type=Path, help="default: SmolLM2-135M in the process")
    parser.add_argument("--critic", default="smol")
    parser.add_argument("--sample", type=int, default=20)
    parser.add_argument("--work", type=Path, help="keep the journal here, for a run that goes on")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    told = parser.parse_args()
    if told.models:
        told.models = told.models.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (told.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        files = list(convert(told.data.resolve(), folder))
        rows = read_labelled(files)
        page = [
            "# The critic and humans",
            f"`python benchmarks/critic.py --sample {told.sample}`. {machine()}",
        ]
        page += ["## Critics with known answers", stub_page(rows)]
        print("\n\n".join(page), flush=True)
        page += ["## A real model", real_page(files, told, folder)]
        print(f"\n{page[-1]}")
    if told.out:
        told.out.write_text("\n\n".join(page).rstrip() + "\n", "utf-8")


if __name__ == "__main__":
    main()
