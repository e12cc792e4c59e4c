"""Model calls beside other tools: CPU, speed and memory, against a stub server and against vLLM.

    python benchmarks/model_calls.py --envs DIR --out FILE       # all of it but vLLM
    python benchmarks/model_calls.py --only hydata,curator --scenario instant --requests 2000
    python benchmarks/model_calls.py --scenario vllm --vllm .venv-vllm/smollm2-135m-instruct

Scenarios:

instant     the stub answers at once: what a request costs the client
realistic   answers take seconds and a tenth of the attempts fails: how busy a client keeps the server
memory      hydata with ten times the requests
vllm        the same prompts by hydata and by vLLM's own benchmark client, in turns (after ``make vllm``)

To be run by the Python of hydata's own environment, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from calls.contestants import CONTESTANTS, Contestant, interpreter
from calls.measure import cores
from calls.scenarios import SCENARIOS, Options
from shared.environments import InstallError
from shared.page import machine


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--envs", type=Path, help="where the contestants' environments are, or will be built")
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--only", help="contestants, separated by commas")
    parser.add_argument("--scenario", help="scenarios, separated by commas")
    parser.add_argument("--requests", type=int, default=20_000, help="the most requests of a run")
    parser.add_argument("--repeat", type=int, default=3, help="repetitions of the scenarios instant and vllm")
    parser.add_argument("--limit", type=float, default=300, help="seconds until a run is stopped")
    parser.add_argument("--floors", action="store_true", help="bare clients too, where nothing fails")
    parser.add_argument("--vllm", help="a model's folder to serve, or the URL of a vLLM server")
    parser.add_argument("--vllm-python", type=Path, default=Path(".venv-vllm/bin/python"))
    told = parser.parse_args()
    usual = [c.name for c in CONTESTANTS if told.floors or not c.floor]
    names = _chosen(parser, "--only", told.only, usual, [c.name for c in CONTESTANTS])
    usual = ["instant", "realistic", "memory", *(["vllm"] if told.vllm else [])]
    scenarios = _chosen(parser, "--scenario", told.scenario, usual, list(SCENARIOS))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (told.envs or Path(temporary)).resolve()
        options = Options(folder, told.requests, told.repeat, told.limit, told.vllm, told.vllm_python)
        compared = scenarios != ["vllm"]  # which is between hydata and vLLM's own client
        ready, missing = install([c for c in CONTESTANTS if c.name in names and compared], folder)
        page = [f"{machine()} The stub has a core to itself, a contestant {len(cores()[0])}.", *missing]
        print("\n\n".join(page), flush=True)
        for name in scenarios:
            page.append(SCENARIOS[name](ready, options))
            print(f"\n{page[-1]}", flush=True)
            if told.out:
                told.out.write_text("\n\n".join(page) + "\n", "utf-8")


def install(contestants: Sequence[Contestant], folder: Path) -> tuple[dict[Contestant, Path], list[str]]:
    """The contestants that are installed, with their interpreters, and why the others are not."""
    ready = {}
    missing = []
    for contestant in contestants:
        try:
            ready[contestant] = interpreter(contestant, folder)
        except InstallError as error:
            missing.append(f"{contestant.name} does not install here: {error}")
    return ready, missing


def _chosen(
    parser: argparse.ArgumentParser, flag: str, told: str | None, usual: list[str], known: list[str]
) -> list[str]:
    names = told.split(",") if told else usual
    if unknown := set(names) - set(known):
        parser.error(f"{flag}: there is no {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return names


if __name__ == "__main__":
    main()
