"""Personal data: CPU time a record beside other tools, and how it grows with a hostile text.

    python benchmarks/privacy.py --envs DIR --data DIR --out FILE

DIR of ``--data`` is that of the shared data (``instructions``, ``labelled/pii``). Every contestant
reads the same texts in one process on one core, one after the other. What counts is the CPU time of the
reading (user and system, the best of several passes). Clean texts are those in which hydata finds nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from shared.environments import environment
from shared.page import machine, table

from hydata.privacy import FindSettings, find

HERE = Path(__file__).resolve().parent
MIB = 2**20
RECORDS = 4_000
"""Of a set of clean texts."""
SETTINGS = FindSettings()


@dataclass(frozen=True)
class Contestant:
    """``driver``: its script; ``packages``: what pip installs; ``share`` of the texts that it reads."""

    name: str
    driver: str
    packages: tuple[str, ...] = ()
    share: float = 1


CONTESTANTS = (
    Contestant("hydata", "drive_hydata.py"),
    Contestant(
        "presidio-analyzer", "drive_presidio.py", ("presidio-analyzer==2.2.366", "phonenumbers"), 0.25
    ),
    Contestant("datatrove", "drive_datatrove.py", ("datatrove[io,processing]==0.10.1",), 0.25),
)
HOSTILE = {
    "one word": "a",
    "digits": "1234567890",
    "dashes": "1-",
    "digits and spaces": "1 ",
    "brackets": "(1",
    "at signs": "a@",
    "dots": "1.1.",
    "colons": "ab:",
    "links": "http://a.",
    "keys": "key=",
    "passwords": "pwd=",
    "passwords of one digit": "pwd=1",
    "street words": "12 Aa ",
    "houses": "路1号",
    "full width": "１ ",
    "one character": "中",
    "cards, each before another": "4111111111111111 ",
    "sums, each like a card": "4112 ",
    "a value each: addresses": "a@b.co ",
    "a value each: telephones": "call 1234567 ",
    "a value each: IP": "11.2.3.4 ",
}
"""Units that are repeated; those with a value each make a list of hundreds of thousands."""


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--envs", type=Path, required=True, help="where environments are, or will be built")
    parser.add_argument("--data", type=Path, required=True, help="the shared data")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--repeat", type=int, default=3, help="passes, of which the best counts")
    parser.add_argument("--sizes", default="1,10", help="MiB of hostile texts, two, separated by a comma")
    told = parser.parse_args()
    page = [f"# Personal data, {date.today().day} {date.today():%B %Y}", machine()]
    page.append(speed(told.data, told.envs.resolve(), told.repeat))
    page.append(growth(*map(float, told.sizes.split(","))))
    page.append(f"Load {os.getloadavg()[0]:.1f} when it ended.")
    print("\n\n".join(page))
    if told.out:
        told.out.write_text("\n\n".join(page) + "\n", "utf-8")


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


def _records(path: Path) -> list[str]:
    text = path.read_text("utf-8")
    rows = json.loads(text) if path.suffix == ".json" else map(json.loads, text.splitlines())
    return ["\n\n".join(_strings(row)) for row in rows]


def texts(data: Path) -> dict[str, list[str]]:
    """The sets that every contestant reads."""
    usual = {
        language: _records(data / f"instructions/alpaca_raw_rows_0-3252_{language}.json")
        + _records(data / f"instructions/llamafactory_alpaca_{language}_demo.json")
        + _records(data / f"instructions/llamafactory_dpo_{language}_demo.json")
        for language in ("en", "zh")
    }
    return {
        **{f"instructions, {language}": some for language, some in usual.items()},
        **{
            f"of them clean, {language}": [text for text in some if not find(text, SETTINGS)][:RECORDS]
            for language, some in usual.items()
        },
        **{
            f"2,000 clean characters, {language}": [
                text
                for place in range(0, sum(map(len, some)) - 2000, 2000)
                if not find(text := "\n\n".join(some)[place : place + 2000], SETTINGS)
            ]
            for language, some in usual.items()
        },
        **{
            f"full of values, {language}": [
                json.loads(line)["naturalParagraph"]
                for line in (data / f"labelled/pii/multipriv_{language}.jsonl")
                .read_text("utf-8")
                .splitlines()
            ]
            for language in usual
        },
    }


def speed(data: Path, envs: Path, repeat: int) -> str:
    """Microseconds a record of each contestant, and how many times the judge's that is."""
    sets = texts(data)
    told: dict[str, dict[str, tuple[float, float]]] = {}
    versions = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        file.write_text(json.dumps(sets), "utf-8")
        for one in CONTESTANTS:
            python = environment(one.name, one.packages, envs)
            paths = str(HERE.parent) if not one.packages else ""
            done = subprocess.run(
                [str(python), str(HERE / "personal" / one.driver), str(file), str(repeat), str(one.share)],
                env={**os.environ, "PYTHONPATH": paths, "POLARS_MAX_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                print(f"{one.name}: {done.stderr[-500:]}", file=sys.stderr)
                continue
            said = json.loads(done.stdout.splitlines()[-1])
            versions.append(said["versions"])
            told.update({f"{one.name}, {what}": found for what, found in said["told"].items()})
    judge = next(iter(told.values()))
    rows = [
        [
            title,
            f"{len(some):,}",
            f"{sum(map(len, some)) / len(some):,.0f}",
            f"{judge[title][1]:.2f}",
            f"{1 / judge[title][0]:,.0f}",
            *(f"{by[title][0] * 1e6:,.1f} ({by[title][0] / judge[title][0]:.1f})" for by in told.values()),
        ]
        for title, some in sets.items()
    ]
    head = ["texts", "records", "characters", "values", "judged a second", *(f"{name}, µs" for name in told)]
    return (
        "## A record\n\n"
        + table(head, rows)
        + "\n\nCPU microseconds a record, one core, the best of several passes; in brackets, how many times "
        + f"the judge's. Characters and values are the mean of a record. Versions: {'; '.join(versions)}."
    )


def growth(small: float, large: float) -> str:
    """CPU seconds of a hostile text of each size."""
    rows = []
    find("", SETTINGS)
    for name, unit in HOSTILE.items():
        took = []
        for size in (small, large):
            text = unit * (round(size * MIB) // len(unit.encode()))
            before = time.process_time()
            found = len(find(text, SETTINGS))
            took.append(time.process_time() - before)
        rows.append(
            [name, f"`{unit}`", *(f"{s:.2f}" for s in took), f"{took[1] / took[0]:.1f}", f"{found:,}"]
        )
    head = ["text", "of", f"{small:g} MiB", f"{large:g} MiB", "times", "values"]
    return "## Hostile texts\n\nCPU seconds of one text, one pass.\n\n" + table(head, rows)


if __name__ == "__main__":
    main()
