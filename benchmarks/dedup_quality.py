"""What hydata's duplicates find and whether it is right: planted pairs, and a set that another tool judged.

    python benchmarks/dedup_quality.py --out FILE
    python benchmarks/dedup_quality.py --pairs 50 --edge 200     # a quick look

Pairs of known similarity are planted among other documents, English-like and Chinese
(``duplicates/corpus.py``). What is true is worked out from the texts as they are written to the file, by a
few lines of plain Python that share nothing with hydata. All is drawn from a seed; the figures are the same
on every machine.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
from duplicates import corpus
from duplicates.corpus import Corpus, IntArray, jaccard
from numba import njit
from scipy import sparse
from shared.page import machine, table

from hydata.curation.dedup.alone import judge_pieces
from hydata.curation.dedup.minhash import banding, find_probability
from hydata.curation.files import pieces

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
LEVELS = corpus.LEVELS
LANGUAGES = {"en": 0.0, "zh": 1.0}
"""And the probability with which a document of it is Chinese."""
EDGE = 0.02
"""Pairs at a threshold are those from it to so much above."""
RECALL_BAR, PRECISION_BAR = 0.998, 1.0
LABELLED = Path("shared/data/labelled/duplicates/gpteacher_toolformer_survival_by_similarity.jsonl")
LABELS = (0.9, 0.8, 0.7, 0.6)

_CJK = r"[\u3005\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"
_WORD = re.compile(rf"{_CJK}|(?:(?!{_CJK})[^\W_])+")


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--originals", type=int, default=4_000, help="documents alone, of each language")
    parser.add_argument("--pairs", type=int, default=400, help="of each level and language")
    parser.add_argument("--edge", type=int, default=3_000, help="just above each threshold, of each language")
    parser.add_argument("--labelled", type=Path, default=Path(__file__).resolve().parents[2] / LABELLED)
    told = parser.parse_args()
    page = ["# What is found of duplicates", machine()]
    page += planted_sections(told.originals, told.pairs, told.edge)
    page += labelled_sections(told.labelled) if told.labelled.exists() else []
    text = "\n\n".join(page) + "\n"
    print(text)
    if told.out:
        told.out.write_text(text, "utf-8")


# --- the truth -----------------------------------------------------------------------------------------


def shingles(text: str) -> set[tuple[str, ...]]:
    """The different runs of 5 words, in plain Python; of a shorter text the one run of all its words."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).lower())
    return {tuple(words[at : at + corpus.SHINGLE]) for at in range(max(1, len(words) - corpus.SHINGLE + 1))}


def similarity(one: str, two: str) -> float:
    """Exact Jaccard similarity of two texts."""
    return jaccard(shingles(one), shingles(two))


def judged(texts: Sequence[str], threshold: float) -> list[int | None]:
    """What hydata says of each text: the number of the kept one that it is a duplicate of; None: kept."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.parquet"
        pl.DataFrame({"text": texts}).write_parquet(path)
        return judge_pieces(pieces([path], None), threshold, Path(folder))["duplicate_of"].to_list()


# --- planted pairs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two documents, by number. ``level``: the similarity that was aimed at; ``true``: what it became."""

    one: int
    two: int
    language: str
    level: float
    true: float


def planted(originals: int, pairs: int, edge: int) -> tuple[list[str], list[Pair]]:
    """Texts, shuffled, and the pairs among them: ``pairs`` of each level, ``edge`` of each threshold aimed
    at the middle of what counts as its edge."""
    rng = np.random.default_rng(11)
    documents: list[IntArray] = []
    form: list[int] = []
    kinds: list[tuple[str, float]] = []
    levels = [(level, pairs) for level in LEVELS] + [(t + EDGE / 2, edge) for t in THRESHOLDS]
    for language, chinese in LANGUAGES.items():
        for level in [level for level, count in levels for _ in range(count)]:
            base = corpus.document(rng, chinese)
            documents += [base, base if level == 1.0 else corpus.varied(rng, base, level)]
            form += [0, int(rng.integers(1, 4))]
            kinds.append((language, level))
    for chinese in LANGUAGES.values():
        documents += [corpus.document(rng, chinese) for _ in range(originals)]
    form += [0] * (len(documents) - len(form))
    order = rng.permutation(len(documents))
    shuffled = Corpus(
        np.concatenate([documents[i] for i in order]),
        np.concatenate(([0], np.cumsum([len(documents[i]) for i in order]))),
        np.full(len(order), -1),
        np.array(form)[order],
    )
    texts = corpus.texts(shuffled, 0, len(shuffled)).to_list()
    place = np.argsort(order).tolist()
    found = []
    for number, (language, level) in enumerate(kinds):
        one, two = place[2 * number], place[2 * number + 1]
        found.append(Pair(one, two, language, level, similarity(texts[one], texts[two])))
    return texts, found


def planted_sections(originals: int, pairs: int, edge: int) -> list[str]:
    """Recall by level, recall at the thresholds themselves, precision."""
    texts, all_pairs = planted(originals, pairs, edge)
    leaders = {threshold: judged(texts, threshold) for threshold in THRESHOLDS}

    def found(pair: Pair, threshold: float) -> bool:
        leader = leaders[threshold]
        return leader[pair.one] == pair.two or leader[pair.two] == pair.one

    by_level = []
    for language in LANGUAGES:
        for level in LEVELS:
            those = [p for p in all_pairs if p.language == language and p.level == level]
            row = [
                language,
                "exact" if level == 1.0 else f"{level}",
                f"{np.mean([p.true for p in those]):.3f}",
            ]
            for threshold in THRESHOLDS:
                near = [found(p, threshold) for p in those if p.true >= threshold]
                row.append(f"{np.mean(near):.4f} of {len(near):,}" if near else "none is so near")
            by_level.append(row)

    at_edge, precision = [], []
    for threshold in THRESHOLDS:
        bands, rows = banding(threshold)
        for language in LANGUAGES:
            near = [p for p in all_pairs if p.language == language and 0 <= p.true - threshold <= EDGE]
            recall = float(np.mean([found(p, threshold) for p in near]))
            expected = np.mean([find_probability(p.true, bands, rows) for p in near])
            missed = sum(not found(p, threshold) for p in near)
            at_edge.append(
                [
                    f"{threshold}",
                    language,
                    f"{len(near):,}",
                    f"{missed:,}",
                    f"{recall:.4f}",
                    f"{expected:.4f}",
                    "met" if recall >= RECALL_BAR else "not met",
                ]
            )
        removed = [(row, leader) for row, leader in enumerate(leaders[threshold]) if leader is not None]
        true = [similarity(texts[row], texts[leader]) for row, leader in removed]
        right = sum(s >= threshold for s in true)
        under = sum(found(p, threshold) for p in all_pairs if p.true < threshold)
        share = right / len(removed)
        precision.append(
            [
                f"{threshold}",
                f"{len(removed):,}",
                f"{right:,}",
                f"{share:.4f}",
                f"{min(true):.4f}",
                f"{under}",
                "met" if share >= PRECISION_BAR else "not met",
            ]
        )
    return [
        f"## Planted pairs: {len(texts):,} texts, {len(all_pairs):,} pairs",
        "Recall of the pairs whose exact similarity is at least the threshold, by the level they were "
        "planted at (*mean* is what came of it):",
        table(["language", "level", "mean", *map(str, THRESHOLDS)], by_level),
        f"Pairs from a threshold to {EDGE} above it, where MinHash is at its weakest. *Expected* is what the "
        f"bands give at these very similarities; the bar is {RECALL_BAR}:",
        table(["threshold", "language", "pairs", "missed", "recall", "expected", "bar"], at_edge),
        "Every removed text against its `duplicate_of`, by plain Python. *Under* are planted pairs under the "
        f"threshold that were found all the same; the bar is {PRECISION_BAR}:",
        table(["threshold", "removed", "right", "precision", "least similar", "under", "bar"], precision),
    ]


# --- the labelled set ----------------------------------------------------------------------------------

Row = dict[str, str]
Matrix = npt.NDArray[np.float32]

VIEWS: dict[str, Callable[[Row], str]] = {
    "whole row": lambda row: f"{row['instruction']}\n{row['input']}\n{row['response']}",
    "response": lambda row: row["response"],
}


def labelled_sections(path: Path) -> list[str]:
    """Who survives by the label and by hydata, what the label may have compared, and cases to look at."""
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    stays = {t: np.array([line["survives"][f"similarity-{t}"] for line in lines]) for t in LABELS}
    texts = {view: [of(line) for line in lines] for view, of in VIEWS.items()}
    table_rows, cases = [], []
    for view, found in texts.items():
        for threshold in LABELS:
            leaders = judged(found, threshold)
            ours, theirs = np.array([leader is not None for leader in leaders]), ~stays[threshold]
            both = int((ours & theirs).sum())
            right = sum(
                similarity(found[row], found[leader]) >= threshold
                for row, leader in enumerate(leaders)
                if leader is not None
            )
            table_rows.append(
                [
                    view,
                    f"{threshold}",
                    f"{(~theirs).sum():,}",
                    f"{(~ours).sum():,}",
                    f"{(ours == theirs).mean():.3f}",
                    f"{both / max(1, ours.sum()):.3f}",
                    f"{both / theirs.sum():.3f}",
                    f"{right / max(1, ours.sum()):.4f}",
                ]
            )
            if (view, threshold) == ("whole row", 0.8):
                cases = _cases(lines, found, leaders, stays[threshold])
    return [
        f"## {path.stem}: {len(lines):,} rows",
        "A label says which rows survive at four similarities, not what was compared. *Precision* and "
        "*recall* are those of hydata's removals measured by the label's; *verified* is the share of "
        "hydata's removals that plain Python finds within the threshold of their `duplicate_of`.",
        table(
            [
                "compared",
                "threshold",
                "label keeps",
                "hydata keeps",
                "agree",
                "precision",
                "recall",
                "verified",
            ],
            table_rows,
        ),
        _notion(texts, stays),
        *cases,
    ]


def _notion(texts: dict[str, list[str]], stays: dict[float, npt.NDArray[np.bool_]]) -> str:
    """Several measures, and how well each tells the label's removed rows from its survivors."""
    rows = []
    for view, found in texts.items():
        for name, measure in MEASURES.items():
            matrix = measure(found)
            np.fill_diagonal(matrix, -1)
            cells = []
            for threshold, stay in stays.items():
                least = threshold - 1e-6  # the matrices are of single precision
                to_survivor, to_any = matrix[:, stay].max(axis=1) >= least, matrix.max(axis=1) >= least
                shares = (to_survivor[~stay].mean(), to_any[~stay].mean(), to_survivor[stay].mean())
                cells.append(" / ".join(f"{share:.2f}" for share in shares))
            rows.append([view, name, *cells])
    return "\n\n".join(
        [
            "What the label's similarity may be. Of each measure: the share of removed rows with a survivor "
            "within the threshold, with any row within it, and the share of survivors with another survivor "
            "within it. A label of that measure has 1.00 in the middle and 0.00 at the end. ROUGE-L of the "
            "responses comes nearest by far: its survivors keep the distance. Rows seem to be compared with "
            "removed ones as well, and about a sixth of what is gone at 0.9 went for another reason.",
            table(["compared", "measure", *map(str, stays)], rows),
        ]
    )


def _counted(found: list[Counter[object]]) -> sparse.csr_matrix:
    number: dict[object, int] = {}
    at = [
        (row, number.setdefault(part, len(number)), n)
        for row, counter in enumerate(found)
        for part, n in counter.items()
    ]
    rows, columns, values = np.array(at).T
    return sparse.csr_matrix((values.astype(np.float32), (rows, columns)), (len(found), len(number)))


def _jaccards(sets: list[Counter[object]]) -> Matrix:
    counts = _counted(sets)
    shared = (counts @ counts.T).toarray()
    sizes = shared.diagonal()
    return shared / np.maximum(sizes[:, None] + sizes[None] - shared, 1)


def _cosines(bags: list[Counter[object]]) -> Matrix:
    counts = _counted(bags)
    products = (counts @ counts.T).toarray()
    lengths = np.maximum(np.sqrt(products.diagonal()), 1)
    return products / lengths[:, None] / lengths[None]


def _rouges(texts: list[str]) -> Matrix:
    """ROUGE-L: the words of the longest common subsequence, twice, of the words of both."""
    number: dict[str, int] = {}
    lists = [[number.setdefault(word, len(number)) for word in _latin_words(text)] for text in texts]
    offsets = np.concatenate(([0], np.cumsum([len(words) for words in lists])))
    matrix = np.zeros((len(texts), len(texts)), np.float32)
    _fill_rouges(np.array([word for words in lists for word in words]), offsets, matrix)
    return matrix


@njit
def _fill_rouges(words: IntArray, offsets: IntArray, matrix: Matrix) -> None:
    row = np.zeros(len(words) + 1, np.int64)
    for one in range(len(offsets) - 1):
        for two in range(one):
            a, b = words[offsets[one] : offsets[one + 1]], words[offsets[two] : offsets[two + 1]]
            total = len(a) + len(b)
            if 2 * min(len(a), len(b)) < LABELS[-1] * total or total == 0:  # under every threshold
                continue
            row[: len(b) + 1] = 0
            for word in a:
                diagonal = 0
                for at in range(len(b)):
                    above = row[at + 1]
                    row[at + 1] = diagonal + 1 if word == b[at] else max(above, row[at])
                    diagonal = above
            matrix[one, two] = matrix[two, one] = 2 * row[len(b)] / total


def _latin_words(text: str) -> list[str]:
    return re.findall("[a-z0-9]+", text.lower())


MEASURES: dict[str, Callable[[list[str]], Matrix]] = {
    "Jaccard, 5-word shingles": lambda texts: _jaccards([Counter(shingles(text)) for text in texts]),
    "Jaccard, words": lambda texts: _jaccards([Counter(set(_latin_words(text))) for text in texts]),
    "cosine of word counts": lambda texts: _cosines([Counter(_latin_words(text)) for text in texts]),
    "ROUGE-L": _rouges,
}


def _cases(
    lines: list[Row], texts: list[str], leaders: list[int | None], stays: npt.NDArray[np.bool_]
) -> list[str]:
    """Disagreements at 0.8 to look at: three of each sort, spread over the file."""
    sets = [shingles(text) for text in texts]
    survivors = np.flatnonzero(stays).tolist()

    def last_lines(row: int) -> str:
        line = lines[row]
        response = " ".join(line["response"].split())[:160]
        return f"{line['instruction'].splitlines()[-1]} | {line['input']} | {response}"

    def shown(title: str, pairs: list[tuple[int, int]]) -> str:
        chosen = pairs[:: max(1, len(pairs) // 3)][:3]
        items = [
            f"- {jaccard(sets[one], sets[two]):.2f} alike\n    - {last_lines(one)}\n    - {last_lines(two)}"
            for one, two in chosen
        ]
        return "\n".join([f"{title} ({len(pairs):,} rows), for example:\n", *items])

    only_ours = [(row, leader) for row, leader in enumerate(leaders) if leader is not None and stays[row]]
    only_label = [row for row, leader in enumerate(leaders) if leader is None and not stays[row]]
    only_label = only_label[:: max(1, len(only_label) // 90)]  # each is compared with all survivors
    nearest = [(row, max(survivors, key=lambda s: jaccard(sets[row], sets[s]))) for row in only_label]
    return [
        "At 0.8, whole rows. The first text is the removed one; of each the instruction's last line, the "
        "input and the beginning of the response.",
        shown("Removed by hydata, kept by the label", only_ours),
        shown("Kept by hydata, removed by the label; beside the nearest survivor. A sample", nearest),
    ]


if __name__ == "__main__":
    main()
