"""How much of an article's main text each extractor finds, and how much else it lets through.

    python benchmarks/web_text.py DATA [--repeat N]

DATA is the folder with ``labelled/web_gold`` (not part of this project). Two measures, after the two
kinds of gold label that exist:

* token F1 against the full main text, averaged over pages. Tokens are words, or single characters in
  scripts that write no spaces, compared as multisets (order is not judged);
* for pages with labelled segments only: the share of wanted segments found, and of unwanted ones let in.

Extractors that are not installed are left out of the table.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lxml.html

from hydata.seeds.io import decode_html

Extractor = Callable[[str], str]

# One token: a Han, kana or Thai character, else a run of word characters.
TOKEN = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff]+")


@dataclass(frozen=True)
class Page:
    """One page: its source, its HTML, and either the whole main text or segments of it."""

    group: str
    html: str
    text: str | None
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]


def load(data: Path) -> list[Page]:
    folder = data / "labelled" / "web_gold"
    pages = []
    for line in (folder / "manifest.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        gold = row["gold"]
        text = gold.get("articleBody") or gold.get("content") or gold.get("text")
        if text is None and (expected := gold.get("expected_html")):
            text = "\n".join(lxml.html.fromstring(expected).itertext())
        pages.append(
            Page(
                group=row["source"].removeprefix("github:"),
                html=decode_html((folder / row["file"]).read_bytes()),
                text=text,
                wanted=tuple(gold.get("with", ())),
                unwanted=tuple(gold.get("without", ())),
            )
        )
    return pages


def token_f1(text: str, gold: str) -> float:
    found, wanted = Counter(TOKEN.findall(text.lower())), Counter(TOKEN.findall(gold.lower()))
    common = (found & wanted).total()
    return 2 * common / (found.total() + wanted.total()) if common else 0.0


def extractors() -> dict[str, Extractor]:
    table: dict[str, Extractor] = {}
    try:
        import trafilatura
    except ImportError:
        pass
    else:

        def run(html: str, **options: bool) -> str:
            return trafilatura.extract(html, **options) or ""

        plain = {"include_comments": False}
        for name, options in {
            "trafilatura": plain,
            "trafilatura, fast": {**plain, "fast": True},
            "trafilatura, precision": {**plain, "favor_precision": True},
            "trafilatura, recall": {**plain, "favor_recall": True},
            "trafilatura, with comments": {},
            "trafilatura, no tables": {**plain, "include_tables": False},
            "trafilatura, formatting": {**plain, "include_formatting": True},
        }.items():
            table[name] = partial(run, **options)
    try:
        from resiliparse.extract.html2text import extract_plain_text
    except ImportError:
        pass
    else:
        table["resiliparse, main content"] = partial(
            extract_plain_text, main_content=True, alt_texts=False, comments=False, post_meta=False
        )
        table["resiliparse, everything"] = partial(extract_plain_text, main_content=False)
    try:
        from hydata.seeds.web import main_text
    except ImportError:
        pass
    else:
        table["hydata.seeds.web"] = main_text
    return table


def measure(
    pages: list[Page], extract: Extractor, repeat: int
) -> tuple[dict[str, float], float, float, float]:
    """Mean F1 by group of pages, segment recall, segment noise, milliseconds a page."""
    f1 = defaultdict(list)
    wanted, unwanted = [0, 0], [0, 0]
    start = time.perf_counter()
    texts = [[extract(page.html) for page in pages] for _ in range(repeat)][-1]
    milliseconds = (time.perf_counter() - start) * 1000 / repeat / len(pages)
    for page, text in zip(pages, texts, strict=True):
        if page.text is not None:
            f1[page.group].append(token_f1(text, page.text))
        flat = " ".join(text.split())
        for counts, segments in ((wanted, page.wanted), (unwanted, page.unwanted)):
            counts[0] += sum(" ".join(s.split()) in flat for s in segments)
            counts[1] += len(segments)
    groups = {group: sum(values) / len(values) for group, values in f1.items()}
    return groups, wanted[0] / wanted[1], unwanted[0] / unwanted[1], milliseconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--repeat", type=int, default=1, help="time over so many passes")
    arguments = parser.parse_args()
    pages = load(arguments.data)
    groups = list(dict.fromkeys(p.group for p in pages if p.text is not None))
    counts = Counter(p.group for p in pages if p.text is not None)
    print("F1 by source of the gold text:", ", ".join(f"{g} ({counts[g]} pages)" for g in groups))
    header = [g.split("/")[1][:14] for g in groups] + ["wanted", "unwanted", "ms/page"]
    print(f"{'':28}" + "".join(f"{h:>16}" for h in header))
    for name, extract in extractors().items():
        f1, wanted, unwanted, milliseconds = measure(pages, extract, arguments.repeat)
        cells = [f"{f1[g]:.3f}" for g in groups] + [f"{wanted:.3f}", f"{unwanted:.3f}", f"{milliseconds:.1f}"]
        print(f"{name:28}" + "".join(f"{c:>16}" for c in cells), flush=True)


if __name__ == "__main__":
    main()
