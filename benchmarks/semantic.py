"""Semantic duplicates: what encoders tell apart, and what it takes to find the pairs.

    python benchmarks/semantic.py --out FILE
    python benchmarks/semantic.py --vectors 60000 --only pairs        # usearch is measured where it is
    installed

Encoders are asked for two sets whose pairs are known: questions of GSM8K and what somebody made of them in
other words, and instructions of Alpaca with their translations into Chinese (../shared/data; left out where
it is absent). Pairs are looked for among vectors of the static encoder, blurred so that there are enough.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from shared.page import machine, table

from hydata.curation.semantic import neighbours
from hydata.curation.semantic.encoders import Encoder, bundled, of_length_1, static
from hydata.curation.semantic.judge import MEASURED

Array = npt.NDArray[np.float32]
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
REPHRASED = SHARED / "labelled" / "contamination" / "rephrase_gsm8k.jsonl"
QUESTIONS = SHARED / "benchmarks" / "gsm8k_test.jsonl"
ALPACA = SHARED / "instructions" / "alpaca_raw_rows_0-3252_{}.json"
TRANSLATED = 400
"""So far do the rows of the two files stand in one order."""
PRECISION = 0.95
LEAST = 0.9
NEAREST = 32
"""Neighbours that an index is asked for, since it cannot be asked for all from a threshold on."""


def main() -> None:
    shape = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=shape)
    parser.add_argument("--out", type=Path, help="also write the page to this file")
    parser.add_argument("--vectors", type=int, default=200_000, help="among which pairs are looked for")
    parser.add_argument("--only", choices=("encoders", "pairs"))
    told = parser.parse_args()
    page = ["# Semantic duplicates", machine()]
    if told.only != "pairs":
        page += ["## Encoders", encoders()] if REPHRASED.exists() else [f"{REPHRASED}: absent; no encoders"]
    if told.only != "encoders":
        page += [f"## Pairs among {told.vectors:,} vectors of 256 numbers", pairs(told.vectors)]
    text = "\n\n".join(page) + "\n"
    print(text)
    if told.out:
        told.out.write_text(text, "utf-8")


def encoders() -> str:
    """A row for each encoder and set."""
    questions = [json.loads(line) for line in QUESTIONS.open()]
    rephrased = [json.loads(line)["text"].removeprefix("Question: ") for line in REPHRASED.open()]
    texts, golds = zip(*(text.split("\nAnswer: \n#### ") for text in rephrased), strict=True)
    golds = [gold.strip().replace(",", "") for gold in golds]
    answers = [question["answer"].rpartition("#### ")[2].replace(",", "") for question in questions]
    fits = np.array([[answer == gold for answer in answers] for gold in golds])
    english, chinese = (_alpaca(language) for language in ("en", "zh"))
    sets = {
        "GSM8K, rephrased": ([question["question"] for question in questions], list(texts), fits),
        "Alpaca, translated": (english, chinese, np.eye(TRANSLATED, dtype=bool)),
    }
    rows = []
    for name, encoder in {"static": static(), "bundled": bundled()}.items():
        for title, (left, right, may_pair) in sets.items():
            begin = time.perf_counter()
            one, two = _vectors(encoder, left), _vectors(encoder, right)
            speed = (len(left) + len(right)) / (time.perf_counter() - begin)
            cosines = two @ one.T
            # which question was rephrased is not said: the most similar of those with the same answer
            best = np.where(may_pair, cosines, -1).argmax(axis=1)
            measured = MEASURED[name]
            rows.append([name, title, f"{speed:,.0f}", *_figures(cosines, best)])
            if title.startswith("Alpaca") and measured.margin:
                both = np.concatenate([one, two]).astype(np.float16)
                numbers = np.arange(len(both))
                found = neighbours.across(
                    both, numbers[: len(one)], numbers[len(one) :], measured.across, measured.margin
                )
                right_ones = int((found.two - len(one) == found.one).sum())
                recall, precision = right_ones / len(two), right_ones / max(1, len(found.one))
                rows.append(
                    [name, f"by the margin {measured.margin}", "", "", f"{recall:.3f}", f"at {precision:.3f}"]
                )
    return table(["encoder", "set", "texts/s", "first hit", "recall", "at precision"], rows)


def _alpaca(language: str) -> list[str]:
    rows = json.loads(Path(str(ALPACA).format(language)).read_text("utf-8"))[:TRANSLATED]
    return [f"{row['instruction']} {row['input']}".strip() for row in rows]


def _vectors(encoder: Encoder, texts: list[str]) -> Array:
    return encoder.encode(texts).vectors


def _figures(cosines: Array, best: npt.NDArray[np.int64]) -> list[str]:
    """First hits, the most recall at ``PRECISION``, and with which threshold."""
    right = cosines[np.arange(len(best)), best]
    others = cosines.copy()
    others[np.arange(len(best)), best] = -1
    wrong = np.sort(others.ravel())
    recall, threshold = 0.0, 1.0
    for least in np.unique(right):
        hits = int((right >= least).sum())
        false = len(wrong) - int(np.searchsorted(wrong, least))
        if hits / (hits + false) >= PRECISION and hits / len(best) > recall:
            recall, threshold = hits / len(best), float(least)
    first = float((right > others.max(axis=1)).mean())
    return [f"{first:.3f}", f"{recall:.3f}", f"{PRECISION} (cosine {threshold:.3f})"]


def pairs(count: int) -> str:
    """Ways to find all pairs from ``LEAST`` on."""
    rng = np.random.default_rng(1)
    base = of_length_1(rng.standard_normal((count // 2, 256)).astype(np.float32))
    # a template for every 50, so that some parts are crowded as in real sets
    base = of_length_1(base + 1.2 * base[rng.integers(0, len(base) // 50, len(base))])
    near = of_length_1(base + 0.025 * rng.standard_normal(base.shape).astype(np.float32))
    vectors = np.concatenate([base, near]).astype(np.float16)
    least = np.full(len(vectors), LEAST, np.float32)
    asked = rng.permutation(len(vectors))[:2_000]
    whole = vectors.astype(np.float32)
    found = np.argwhere(whole[asked] @ whole.T >= LEAST)
    truth = {(min(a, b), max(a, b)) for a, b in zip(asked[found[:, 0]], found[:, 1], strict=True) if a != b}

    ways: dict[str, Callable[[], set[tuple[int, int]]]] = {
        "hydata: cells of faiss, joined": lambda: _joined(vectors, least),
        "faiss: inverted file, range search": lambda: _faiss_ranges(whole),
        f"faiss: HNSW, {NEAREST} nearest": lambda: _faiss_hnsw(whole),
    }
    if importlib.util.find_spec("usearch"):
        ways[f"usearch: HNSW, {NEAREST} nearest"] = lambda: _usearch(whole)
    rows = []
    for name, way in ways.items():
        begin, cpu = time.perf_counter(), time.process_time()
        made = way()
        seconds, busy = time.perf_counter() - begin, time.process_time() - cpu
        rows.append([name, f"{seconds:.1f}", f"{busy:.1f}", f"{len(truth & made) / len(truth):.4f}"])
    return table(["way", "seconds", "CPU s", f"recall of pairs from {LEAST} on"], rows)


def _joined(vectors: npt.NDArray[np.float16], least: Array) -> set[tuple[int, int]]:
    found = neighbours.similar_pairs(vectors, least)
    return set(zip(found.one.tolist(), found.two.tolist(), strict=True))


def _pairs(left: npt.NDArray[np.int64], right: npt.NDArray[np.int64]) -> set[tuple[int, int]]:
    low, high = np.minimum(left, right), np.maximum(left, right)
    apart = low != high
    return set(zip(low[apart].tolist(), high[apart].tolist(), strict=True))


def _faiss_ranges(vectors: Array) -> set[tuple[int, int]]:
    import faiss

    cells = int(neighbours.CELLS_A_ROOT * len(vectors) ** 0.5)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    index = faiss.IndexIVFFlat(flat, vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.niter, index.cp.max_points_per_centroid = neighbours.ROUNDS, neighbours.POINTS_A_CELL
    index.nprobe = neighbours.PROBES
    index.train(vectors[: cells * neighbours.POINTS_A_CELL])
    index.add(vectors)
    limits, _, found = index.range_search(vectors, LEAST)
    return _pairs(np.repeat(np.arange(len(vectors)), np.diff(limits.astype(np.int64))), found)


def _faiss_hnsw(vectors: Array) -> set[tuple[int, int]]:
    import faiss

    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = index.hnsw.efSearch = 64
    index.add(vectors)
    cosines, found = index.search(vectors, NEAREST)
    return _from_nearest(cosines >= LEAST, found)


def _usearch(vectors: Array) -> set[tuple[int, int]]:
    from usearch.index import Index

    index = Index(ndim=vectors.shape[1], metric="ip", connectivity=16, expansion_add=64, expansion_search=64)
    index.add(np.arange(len(vectors)), vectors)
    found = index.search(vectors, NEAREST)
    return _from_nearest(1 - found.distances >= LEAST, found.keys.astype(np.int64))


def _from_nearest(near: npt.NDArray[np.bool_], found: npt.NDArray[np.int64]) -> set[tuple[int, int]]:
    row, place = np.nonzero(near)
    return _pairs(row, found[row, place])


if __name__ == "__main__":
    main()
