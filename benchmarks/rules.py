"""The rule set beside other tools: records a second and core, and whether they measure the same.

    python benchmarks/rules.py --envs DIR --data DIR --texts FOLDER... --out FILE
    python benchmarks/rules.py --only speed --contestants datatrove ...     # one section, one contestant
    python benchmarks/rules.py --only sizes --sizes 100000,1000000 ...

Every contestant judges the same records (``judgements/corpus.py``: sentences of the texts in FOLDERs, English
and Chinese, about 105 words each), in one process on one core, its texts in memory. What counts is the CPU
time of the judging (user and system, the best of several passes), which depends little on what else the
machine does; loading, reading and writing are left out. To be run by the Python of hydata's own environment.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl
from judgements import corpus
from judgements.agreement import agreement
from judgements.contestants import BARE, FASTTEXT, HYDATA, PEERS, TWO, Contestant
from shared.environments import InstallError, environment
from shared.page import machine, table
from shared.processes import Measured, measured

HERE = Path(__file__).resolve().parent
MIB = 2**20
RECORDS = 200_000
BOTH = 1_000_000
"""Records up to which the command runs on one core and on two; more only on two."""
SECTIONS = ("speed", "values", "sizes", "fasttext")
COMMAND = "import sys; sys.argv[0] = 'hydata'; from hydata.cli import main; main()"


@dataclass(frozen=True)
class Setup:
    """``repeat``: passes, of which the best counts; ``limit``: seconds until a run is stopped; ``share``: of
    the records that contestants are timed on."""

    envs: Path
    data: Path
    texts: tuple[Path, ...]
    repeat: int
    limit: float
    share: float
    contestants: tuple[str, ...]
    sizes: tuple[int, ...]

    def records(self) -> list[Path]:
        return corpus.write(self.data / "records", RECORDS, self.texts)


@dataclass(frozen=True)
class Run:
    """What a driver told: CPU ``seconds`` of each pass by language, the seconds that passed (``walls``), and
    its ``values``, if it measured all."""

    contestant: Contestant
    told: str
    records: int
    seconds: dict[str, list[float]]
    walls: dict[str, list[float]]
    versions: str
    values: pl.DataFrame | None

    def rate(self, *languages: str) -> float:
        """Records a CPU second, of the best passes; of both languages if none is named."""
        return self._rate(self.seconds, languages)

    def pace(self) -> float:
        """Records a second that passed."""
        return self._rate(self.walls, ())

    def _rate(self, seconds: dict[str, list[float]], languages: tuple[str, ...]) -> float:
        chosen = languages or tuple(seconds)
        return self.records / len(seconds) * len(chosen) / sum(min(seconds[name]) for name in chosen)


class RunError(Exception):
    """A contestant failed; the text is what it said last."""


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--envs", type=Path, help="where the contestants' environments are, or will be built")
    parser.add_argument("--data", type=Path, help="where the records are, or will be written")
    parser.add_argument(
        "--texts", type=Path, nargs="+", required=True, help="folders of English and Chinese text"
    )
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--contestants", default=",".join(p.name for p in PEERS), help="beside hydata")
    parser.add_argument("--sizes", default="100000,1000000,5000000", help="records, separated by commas")
    parser.add_argument("--repeat", type=int, default=3, help="passes, of which the best counts")
    parser.add_argument("--limit", type=float, default=900, help="seconds until a run is stopped")
    parser.add_argument("--share", type=float, default=1, help="of the records, for a quick look")
    told = parser.parse_args()
    if unknown := set(told.only.split(",")) - set(SECTIONS):
        parser.error(f"--only {', '.join(sorted(unknown))}: sections are {', '.join(SECTIONS)}")
    with tempfile.TemporaryDirectory() as temporary:
        setup = Setup(
            envs=(told.envs or Path(temporary)).resolve(),
            data=(told.data or Path(temporary)).resolve(),
            texts=tuple(told.texts),
            repeat=told.repeat,
            limit=told.limit,
            share=told.share,
            contestants=tuple(told.contestants.split(",")),
            sizes=tuple(sorted(map(int, told.sizes.split(",")))),
        )
        today = date.today()
        page = [f"# Rules, {today.day} {today:%B %Y}", machine()]
        print("\n\n".join(page), flush=True)
        runs: list[Run] = []
        made: dict[str, Callable[[], str]] = {
            "speed": lambda: speed(setup, runs),
            "values": lambda: agreement(
                {run.contestant.name: run.values for run in runs if run.values is not None}
            ),
            "sizes": lambda: sizes(setup),
            "fasttext": lambda: fasttext(setup),
        }
        for name in SECTIONS:
            if name in told.only.split(","):
                page.append(f"{made[name]()}\n\nLoad {os.getloadavg()[0]:.1f} when this section ended.")
                print(f"\n{page[-1]}", flush=True)
                if told.out:
                    told.out.write_text("\n\n".join(page) + "\n", "utf-8")


def speed(setup: Setup, runs: list[Run]) -> str:
    """A section of the page; what was run is added to ``runs``."""
    failed = []
    peers = [peer for peer in PEERS if peer.name in setup.contestants]
    for contestant in (HYDATA, *peers):
        for told in contestant.sets:
            try:
                runs.append(drive(setup, contestant, told))
            except (RunError, InstallError) as error:
                failed.append(f"{contestant.name}, {told}: {error}")
    ours = {run.told: run.rate() for run in runs if run.contestant is HYDATA}
    rows = []
    for run in runs:
        rate = run.rate()
        rows.append(
            [
                run.contestant.name,
                run.told,
                f"{run.records:,}",
                *(f"{run.rate(language):,.0f}" for language in corpus.LANGUAGES),
                f"{rate:,.0f}",
                f"{ours['whole'] / rate:.1f}" if "whole" in ours and run.contestant is not HYDATA else "",
            ]
        )
    head = ["contestant", "measures", "records", "en a second", "zh a second", "both a second"]
    head += ["hydata's whole set is faster by"]
    told = [f"- {peer.name}: {peer.note}" for peer in peers if peer.note]
    return "\n\n".join(
        [
            "## Records a second and core",
            table(head, rows),
            f"CPU seconds of the judging alone, one core, the best of {setup.repeat} passes; "
            "slow contestants get the first records of each language only. "
            f"Versions: {'; '.join(dict.fromkeys(run.versions for run in runs))}.",
            "\n".join(told),
            *failed,
        ]
    )


def drive(setup: Setup, contestant: Contestant, told: str) -> Run:
    """Run a driver, on one core unless it is told of two threads.

    Raises:
        InstallError: its environment cannot be built.
        RunError: it failed.
    """
    python = environment(contestant.name, contestant.packages, setup.envs, contestant.bare)
    records = int(contestant.records * setup.share)
    driver = HERE / "judgements" / "drivers" / contestant.driver
    print(f"{contestant.name}, {told}: {records:,} records", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "values.parquet"
        command = [python, driver, out, told, records, setup.repeat, *setup.records()]
        done = _run(command, setup.limit, 2 if told.endswith(TWO) else 1)
        answer = json.loads(done.log.rsplit("\n", 1)[-1])
        values = pl.read_parquet(out) if out.exists() else None
        return Run(contestant, told, records, answer["seconds"], answer["walls"], answer["versions"], values)


def _run(command: Sequence[object], limit: float, cores: int) -> Measured:
    used = sorted(os.sched_getaffinity(0))[-cores:]
    done = measured(lambda _: [str(part) for part in command], limit, used)
    if done.ended != "done":
        raise RunError(f"{done.ended}; it said last: {done.log[-300:]!r}")
    return done


def sizes(setup: Setup) -> str:
    """A section of the page: ``hydata judge rules`` on files of several sizes, on one and two cores."""
    files = corpus.write_long(setup.data / "long", max(setup.sizes), setup.records())
    rows = []
    cores = sorted({1, min(2, len(os.sched_getaffinity(0)))})
    for size in setup.sizes:
        given = files[: -(-size // corpus.LONG_SHARD)]
        for count in cores if size <= BOTH else cores[-1:]:
            runs = []
            for _ in range(setup.repeat if size <= 100_000 else 1):
                with tempfile.TemporaryDirectory(dir=setup.data) as folder:
                    out = Path(folder) / "found.parquet"
                    command = [sys.executable, "-c", COMMAND, "judge", "rules", *given, "-o", out]
                    runs.append((_run(command, setup.limit, count), out.stat().st_size))
            done, written = min(runs, key=lambda run: run[0].cpu)
            print(f"{size:,} records on {count}: {done.cpu:.1f} CPU s", file=sys.stderr, flush=True)
            rows.append(
                [
                    f"{size:,}",
                    f"{sum(path.stat().st_size for path in given) / MIB:,.0f}",
                    str(count),
                    f"{done.wall:.1f}",
                    f"{done.cpu:.1f}",
                    f"{size / done.cpu:,.0f}",
                    f"{done.cpu / size * 1e6:.1f}",
                    f"{done.peak_bytes / MIB:,.0f}",
                    f"{written / MIB:,.0f}",
                ]
            )
    for path in files:
        path.unlink()
    head = ["records", "MiB of Parquet", "cores", "seconds", "CPU s", "records a CPU second", "µs a record"]
    return "\n\n".join(
        [
            "## The whole command: `hydata judge rules`",
            table([*head, "peak MiB", "MiB written"], rows),
            "From the start of the process to its end: imports, reading Parquet, all measures, writing "
            "Parquet. Memory is the proportional set size of the process, sampled.",
        ]
    )


def fasttext(setup: Setup) -> str:
    """A section of the page: what is built on fastText beside bare fastText."""
    runs = {told: drive(setup, FASTTEXT, told) for told in FASTTEXT.sets}
    rows = [
        [
            told,
            *(f"{runs[told].rate(language):,.0f}" for language in corpus.LANGUAGES),
            f"{runs[told].rate():,.0f}",
            *(
                f"{runs[told].rate(language) / runs[bare].rate(language):.2f}"
                for language in corpus.LANGUAGES
            ),
            f"{runs[told].rate() / runs[bare].rate():.2f}",
            f"{runs[told + TWO].rate() / runs[told].rate():.2f}",
            f"{runs[told + TWO].pace() / runs[told].pace():.2f}",
        ]
        for judge, bare in BARE.items()
        for told in (bare, judge)
    ]
    head = [
        "",
        "en a second",
        "zh a second",
        "both a second",
        "en beside bare",
        "zh beside bare",
        "beside bare",
    ]
    return "\n\n".join(
        [
            "## Language and classifiers beside bare fastText",
            table([*head, "two threads: a CPU second", "two threads: a second"], rows),
            "Records a CPU second, one core. Bare is one call of `predict` for 16,384 lines that were made "
            "before the clock began; hydata begins with the texts. Two threads: as a multiple of one; that "
            "of the time that passed says something only where the machine does nothing else.",
        ]
    )


if __name__ == "__main__":
    main()
