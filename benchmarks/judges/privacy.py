"""Privacy: kinds on labelled sets; what is taken for personal data where there is none; cost."""

from __future__ import annotations

import importlib.util
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from shared.page import table

from hydata.privacy import Found, PrivacySettings, find, masked

Gold = tuple[int, int, str]

TYPES = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IP_ADDRESS": "ip",
    "US_SSN": "id_card",
    "US_DRIVER_LICENSE": "id_card",
    "CREDIT_CARD": "bank_card",
    "IBAN_CODE": "iban",
    "STREET_ADDRESS": "address",
    "PERSON": "name",
}
FIELDS = {
    "emailAddress": "email",
    "phoneNumbers": "phone",
    "idCardNumbers": "id_card",
    "location": "address",
    "name": "name",
    "doctor": "name",
}
SETS = ("presidio_synth_v2_en", "multipriv_en", "multipriv_zh")
CLEAN = (
    "gsm8k_test",
    "math500",
    "HumanEval",
    "mbpp",
    "ceval_dev_val",
    "cmmlu_dev_and_40_per_subject",
    "cmath_zh_test",
)


def section(data: Path) -> str:
    """Recall and precision by set and kind; hits on benchmarks by kind; microseconds."""
    settings = PrivacySettings(names=importlib.util.find_spec("rjieba") is not None)
    lines = [row for name in SETS for row in _measured(data / f"labelled/pii/{name}.jsonl", settings)]
    return "\n\n".join(
        [
            "## Privacy",
            "`labelled/pii`: 750 English sentences with spans (Presidio's generator), 500 English and "
            "488 Chinese "
            "paragraphs about invented people, whose fields are looked for in them. A value is found if "
            "a span of its "
            "kind touches it, `whole` if spans cover all of it; a span that touches no value of its kind "
            "is false. The "
            "aim for structured kinds is recall and precision of 0.95; addresses and names are unstructured.",
            table(["set", "kind", "values", "recall", "whole", "false", "precision"], lines),
            "- E-mails counted as false in `multipriv_en` are addresses that the paragraph spells unlike "
            "the field "
            "(a space left out); the others missed there hold a space. Bank cards in `multipriv_zh` are "
            "no field of "
            "it, and real ones by their look: they are left out of the table.\n"
            "- Identity numbers there rarely check; the word before them finds them. A bare number that "
            "does not "
            "check is none.\n"
            "- Addresses that are missed have a street without a word for it (`6420 Via Baron`, `Piroska "
            "u. 97.`), or "
            "are parts (a flat, a postal code) that the set marks by themselves.\n"
            "- Names are off by default: Chinese ones by jieba's tagger and common surnames, English "
            "ones by a title "
            'or phrase before them. They need `pip install "hydata[names]"`.',
            _clean(data, PrivacySettings()),
            _speed(data),
        ]
    )


def _gold(path: Path) -> Iterator[tuple[str, list[Gold]]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "full_text" in row:
            spans = [(s["start_position"], s["end_position"], s["entity_type"]) for s in row["spans"]]
            yield row["full_text"], [(a, b, TYPES[kind]) for a, b, kind in spans if kind in TYPES]
        else:
            text = row["naturalParagraph"]
            yield (
                text,
                [
                    (*match.span(), kind)
                    for field, kind in FIELDS.items()
                    for match in re.finditer(re.escape(str(row[field])), text)
                ],
            )


def _measured(path: Path, settings: PrivacySettings) -> list[list[str]]:
    values, hits, whole, false = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for text, gold in _gold(path):
        found = find(text, settings)
        for start, end, kind in gold:
            touching = [f for f in found if f.kind == kind and f.start < end and start < f.end]
            values[kind] += 1
            hits[kind] += bool(touching)
            covered = sum(min(end, f.end) - max(start, f.start) for f in touching)
            whole[kind] += covered == end - start
        false.update(f.kind for f in found if not _right(f, gold))
    return [
        [
            path.stem,
            kind,
            f"{values[kind]:,}",
            f"{hits[kind] / values[kind]:.3f}",
            f"{whole[kind] / values[kind]:.3f}",
            f"{false[kind]:,}",
            f"{hits[kind] / (hits[kind] + false[kind]):.3f}" if hits[kind] + false[kind] else "",
        ]
        for kind in sorted(values)
        if kind != "name" or settings.names
    ]


def _right(found: Found, gold: list[Gold]) -> bool:
    return any(kind == found.kind and found.start < end and start < found.end for start, end, kind in gold)


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for part in value.values() for text in _strings(part))
    elif isinstance(value, list):
        yield from (text for part in value for text in _strings(part))


def _texts(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [text for line in lines if line.strip() for text in _strings(json.loads(line))]


def _clean(data: Path, settings: PrivacySettings) -> str:
    lines = []
    for name in CLEAN:
        texts = _texts(data / f"benchmarks/{name}.jsonl")
        found = Counter(f.kind for text in texts for f in find(text, settings))
        characters = sum(map(len, texts))
        said = ", ".join(f"{kind} {n}" for kind, n in sorted(found.items())) or "nothing"
        lines.append([name, f"{len(texts):,}", f"{characters:,}", said])
    return (
        "Where there is next to no personal data (all texts of the rows, in characters):\n\n"
        + table(["set", "texts", "characters", "found"], lines)
        + "\n\nThe hits in MBPP and CMMLU are addresses and numbers that the tasks themselves make up."
    )


def _speed(data: Path) -> str:
    """A request of 2,000 characters, with nothing in it and with a phone number and an address of e-mail."""
    prose = "\n\n".join(_texts(data / "benchmarks/mt_bench_reference_gpt4.jsonl"))
    texts = [prose[i : i + 2000] for i in range(0, len(prose) - 2000, 2000)]
    clean = [text for text in texts if not find(text, PrivacySettings())]
    full = [f"{text} Call +1 415 555 2671 or write to a.b@example.org." for text in clean]
    took = {}
    for name, some in (("clean", clean), ("with two values", full)):
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            for text in some:
                masked([text], PrivacySettings())
            best = min(best, time.perf_counter() - started)
        took[name] = best / len(some) * 1e6
    said = ", ".join(f"{name} {micros:,.0f} µs" for name, micros in took.items())
    return f"Cost of masking a request of 2,000 characters (one core, the best of five rounds): {said}."
