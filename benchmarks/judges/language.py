"""Language: identification on sentences of 75 languages, and on text as sets and the web have it."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl
from shared.page import table
from shared.scores import cpu_seconds

from hydata.curation import language
from hydata.curation.language import detect
from hydata.curation.threads import apart

LARGEST = ("en", "zh", "hi", "es", "ar", "fr", "bn", "pt", "ru", "ur")
LARGEST += ("id", "de", "ja", "mr", "vi", "te", "tr", "ta", "ko", "it")
"""The 20 languages with most speakers (first and second language) of those in the set."""
UNKNOWN = ("lg", "mi", "sn", "st", "tn", "ts", "xh", "zu")
"""Those of the set that lid.176 was not trained on."""
SPEED_ROWS = 30_000
PIECES = 20


def section(data: Path) -> str:
    """Accuracy, precision and recall by language; other text; parts; speed."""
    rows = pl.read_ndjson(data / "labelled/langid/lingua_sentences.jsonl")
    found = rows.hstack(detect(rows["text"])).with_columns(
        pl.col("language").replace("no", "nb"), right=pl.col("language").replace("no", "nb") == pl.col("lang")
    )
    return "\n\n".join(
        [
            "## Language",
            "`labelled/langid`: 2,250 sentences, 30 of each of 75 languages, 10 to 255 characters. They are "
            "lingua's own test sentences; its accuracy on them (0.967, at 800 texts a second) is that of a "
            "home game.",
            _groups(found),
            _by_language(found),
            _misses(found),
            _other_text(data),
            _parts(data),
            _speed(data),
        ]
    )


def _groups(found: pl.DataFrame) -> str:
    groups: dict[str, tuple[pl.Expr, str]] = {
        "en": (pl.col("lang") == "en", "0.99"),
        "zh": (pl.col("lang") == "zh", "0.99"),
        f"the 20 largest ({' '.join(LARGEST)})": (pl.col("lang").is_in(LARGEST), "0.97"),
        "the 67 that the model knows": (~pl.col("lang").is_in(UNKNOWN), ""),
        "all 75": (pl.lit(True), ""),
    }
    lines = []
    for name, (those, aim) in groups.items():
        part = found.filter(those)
        sure = part.filter(pl.col("confidence") >= 0.5)
        lines.append(
            [
                name,
                f"{part.height:,}",
                f"{part['right'].mean():.4f}",
                aim,
                f"{sure['right'].mean():.4f}",
                f"{sure.height / part.height:.3f}",
            ]
        )
    head = ["languages", "sentences", "accuracy", "aim", "accuracy where confidence >= 0.5", "share of these"]
    return table(head, lines)


def _by_language(found: pl.DataFrame) -> str:
    lines = []
    for name in LARGEST:
        is_it, says_it = found["lang"] == name, found["language"] == name
        both = (is_it & says_it).sum()
        precision, recall = both / says_it.sum(), both / is_it.sum()
        f1 = 2 * precision * recall / (precision + recall)
        sure = says_it & (found["confidence"] >= 0.5)
        lines.append(
            [
                name,
                f"{precision:.3f}",
                f"{recall:.3f}",
                f"{f1:.3f}",
                f"{(is_it & sure).sum() / sure.sum():.3f}",
            ]
        )
    return "Precision is among all 75 languages:\n\n" + table(
        ["language", "precision", "recall", "F1", "precision where confidence >= 0.5"], lines
    )


def _misses(found: pl.DataFrame) -> str:
    wrong = (
        found.filter(~pl.col("right"))
        .group_by("lang", "language")
        .len()
        .sort("len", "lang", "language", descending=[True, False, False])
    )
    most = ", ".join(f"{lang} as {told} {n}" for lang, told, n in wrong.head(12).rows())
    return (
        f"Missed most often: {most}. Languages that the model does not know ({', '.join(UNKNOWN)}) come out "
        "as another one, mostly with a low confidence; Bosnian, Croatian and Serbian, and Malay and "
        "Indonesian, are hardly told apart. A policy that drops what is not surely of a wanted language is "
        "safe from most of it."
    )


def _other_text(data: Path) -> str:
    defects = data / "labelled/instructions_defects"
    sets: dict[str, tuple[str, pl.Series]] = {
        "instructions, en (Alpaca)": (
            "en",
            _column(defects / "alpaca_raw_rows_3252-9407_labelled.jsonl", "instruction"),
        ),
        "answers, en": ("en", _column(defects / "alpaca_raw_rows_3252-9407_labelled.jsonl", "output")),
        "instructions, zh": (
            "zh",
            _column(defects / "alpaca_zh_translation_rows_3252-6382.jsonl", "instruction"),
        ),
        "answers, zh": ("zh", _column(defects / "alpaca_zh_translation_rows_3252-6382.jsonl", "output")),
        "tweets, en (Davidson)": ("en", _column(data / "labelled/toxicity/davidson_en.jsonl", "tweet")),
        "posts, zh (COLD)": ("zh", _column(data / "labelled/toxicity/cold_zh_test.jsonl", "TEXT")),
        "web Q&A, zh (medical)": ("zh", _column(data / "web_qa/zh_medical_qa.jsonl", None)),
    }
    lines = []
    for name, (expected, texts) in sets.items():
        found = detect(texts)
        sure = found.filter(pl.col("confidence") >= 0.5)
        lines.append(
            [
                name,
                f"{found.height:,}",
                f"{(found['language'] == expected).fill_null(False).mean():.4f}",
                f"{found['language'].null_count():,}",
                f"{(sure['language'] == expected).mean():.4f}",
            ]
        )
    return (
        "Other text, each set taken to be all of its language (answers hold numbers, code and translations, "
        "tweets a few other languages, so the figure is a lower bound):\n\n"
        + table(["text", "rows", "in its language", "no language", "where confidence >= 0.5"], lines)
    )


def _column(path: Path, name: str | None) -> pl.Series:
    rows = pl.read_ndjson(path, infer_schema_length=None)
    name = name or next(
        c for c, kind in rows.schema.items() if kind == pl.String and rows[c].str.len_chars().mean() > 8
    )
    return rows[name].drop_nulls().filter(rows[name].drop_nulls() != "").rename("text")


def _parts(data: Path) -> str:
    defects = data / "labelled/instructions_defects"
    en = _column(defects / "alpaca_raw_rows_3252-9407_labelled.jsonl", "output")
    zh = _column(defects / "alpaca_zh_translation_rows_3252-6382.jsonl", "output")
    en = en.filter(en.str.count_matches(r"\b[a-z]+\b") >= 12)[:1_000]
    zh = zh.filter((zh.str.count_matches(r"\p{Han}") >= 20) & ~zh.str.contains("[A-Za-z]"))[:1_000]
    count = min(len(en), len(zh))
    en, zh = en[:count].str.slice(0, 300), zh[:count].str.slice(0, 100)
    lines = []
    for name, texts, expected in (
        ("an English passage before a Chinese one", en + "\n\n" + zh, ["en", "zh"]),
        ("a Chinese passage before an English one", zh + "\n\n" + en, ["en", "zh"]),
        ("English alone", en, ["en"]),
        ("Chinese alone", zh, ["zh"]),
    ):
        found = detect(texts)["languages"].list.sort()
        right = sum(parts is not None and parts.to_list() == expected for parts in found)
        lines.append([name, f"{count:,}", f"{right / count:.4f}"])
    return (
        "Text put together from two of these sets, and the sets alone; right if exactly these languages are "
        "named:\n\n" + table(["text", "rows", "right"], lines)
    )


def _speed(data: Path) -> str:
    defects = data / "labelled/instructions_defects"
    lines = []
    for name, path in (
        ("en", defects / "alpaca_raw_rows_3252-9407_labelled.jsonl"),
        ("zh", defects / "alpaca_zh_translation_rows_3252-6382.jsonl"),
    ):
        texts = _column(path, "output").str.slice(0, 100)
        texts = pl.concat([texts] * (SPEED_ROWS // len(texts) + 1))[:SPEED_ROWS]
        plain = texts.str.replace_all("\n", " ", literal=True).to_list()
        model = language._model()
        bare, ours = cpu_seconds(lambda m=model, p=plain: m.predict(p), lambda t=texts: detect(t))
        lines.append(
            [
                name,
                *(f"{SPEED_ROWS / s:,.0f}" for s in (bare, ours)),
                f"{bare / ours:.2f}",
                *(f"{_by_processes(texts, n):,.0f}" for n in (1, 2)),
            ]
        )
    return (
        "Speed on answers cut to 100 characters, by processor time of the best of nine runs, beside a bare "
        "`predict` of the list by the same model; then rows a second of the clock by one process and by two, "
        "starting them included (fastText keeps the interpreter to itself, so threads make it no faster). "
        "Where four words of five are Chinese characters, fastText is not asked:\n\n"
        + table(
            [
                "text",
                "bare, rows/s/core",
                "judge, rows/s/core",
                "ratio",
                "1 process, rows/s",
                "2 processes, rows/s",
            ],
            lines,
        )
    )


def _by_processes(texts: pl.Series, count: int) -> float:
    started = time.perf_counter()
    found = sum(frame.height for frame in apart(detect, [texts] * PIECES, count))
    return found / (time.perf_counter() - started)
