"""What the judges of text are worth, on sets with known answers: writes docs/judges.md.

    python benchmarks/judges.py --data ../shared/data                    # all judges, the whole page
    python benchmarks/judges.py --data ../shared/data --only language    # one section, printed

A section is a file ``judges/<name>.py`` with one function ``section(data: Path) -> str``: Markdown that opens
with a heading of the second level. They stand on the page in the order of ``FIRST``, further ones after
these by name; a file whose name begins with ``_`` is none. Sections are loaded by their path, since this
script has the folder's name, and find what they share by ``from shared.page import table``.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path

from shared.page import machine

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "judges.md"
FIRST = ("rules", "language", "toxicity", "quality", "education", "privacy", "contamination")
OPENING = """# What the judges of text are worth

Every judge against labels that others made, in English and Chinese. Nothing was tuned on what is reported,
unless a section says so. The sets stay outside of this project; one command measures everything again:

    .venv/bin/python benchmarks/judges.py --data DATA"""

Section = Callable[[Path], str]


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--data", type=Path, required=True, help="the folder with labelled/")
    parser.add_argument("--out", type=Path, help=f"the page to write; of all judges: {PAGE}")
    parser.add_argument("--only", metavar="NAME", action="append", help="a section; can be given again")
    told = parser.parse_args()
    found = sections()
    if unknown := set(told.only or ()) - set(found):
        parser.error(f"--only {', '.join(sorted(unknown))}: sections are {', '.join(found)}")
    if not (told.data / "labelled").is_dir():
        parser.error(f"--data {told.data}: there is no folder labelled/ in it")
    page = [OPENING, machine()]
    for name in told.only or found:
        started = time.monotonic()
        page.append(found[name]()(told.data).strip())
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    text = "\n\n".join(page) + "\n"
    out = told.out or (None if told.only else PAGE)
    if out is None:
        print(text)
    else:
        out.write_text(text, "utf-8")
        print(out)


def sections() -> dict[str, Callable[[], Section]]:
    """By name and in the page's order, what loads the function of each section."""
    paths = {path.stem: path for path in (HERE / "judges").glob("[!_]*.py")}
    names = [name for name in FIRST if name in paths] + sorted(set(paths) - set(FIRST))
    return {name: lambda path=paths[name]: _load(path) for name in names}


def _load(path: Path) -> Section:
    spec = importlib.util.spec_from_file_location(f"judges_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module.section


if __name__ == "__main__":
    main()
