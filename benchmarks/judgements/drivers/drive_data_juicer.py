"""Data-Juicer: a data set that its operators process one after the other, or the statistics of these alone on
batches, with the context that lets them share words."""

import inspect
import json
from pathlib import Path

import pyarrow as pa
from data_juicer.core.data import NestedDataset
from data_juicer.ops.base_op import Filter
from data_juicer.ops.filter import (
    AlphanumericFilter,
    AverageLineLengthFilter,
    CharacterRepetitionFilter,
    MaximumLineLengthFilter,
    SpecialCharactersFilter,
    StopWordsFilter,
    TextLengthFilter,
    WordRepetitionFilter,
    WordsNumFilter,
)
from data_juicer.utils.constant import Fields
from driver import LANGUAGES, RECORDS, SET, run

STOP = {"en": ["the", "be", "to", "of", "and", "that", "have", "with"], "zh": list("的了是在和有也不")}
folder = Path("words")
folder.mkdir()
(folder / "stopwords.json").write_text(json.dumps(STOP, ensure_ascii=False), "utf-8")


def operators(language: str) -> list[Filter]:
    made = [
        TextLengthFilter(),
        AverageLineLengthFilter(),
        MaximumLineLengthFilter(),
        WordsNumFilter(lang=language),
        WordRepetitionFilter(lang=language),
        StopWordsFilter(lang=language, stopwords_dir=str(folder)),
        AlphanumericFilter(),
        SpecialCharactersFilter(),
    ]
    if SET == "whole":  # runs of 10 characters: no measure of hydata's
        made.append(CharacterRepetitionFilter())
    return made


def unlimited(language: str) -> list[Filter]:
    """The same, none of which drops anything: whoever comes later has all records to measure. One process."""
    made = operators(language)
    for one in made:
        for limit in {"min_len", "min_num", "min_ratio"} & vars(one).keys():
            setattr(one, limit, 0)
        for limit in {"max_len", "max_num", "max_ratio"} & vars(one).keys():
            setattr(one, limit, float("inf"))
        one.num_proc = 1
    return made


def _shares(operator: Filter) -> bool:
    """Whether it takes part in the context: by its method for batches, or the one that its base calls."""
    own = type(operator)
    batched = own.compute_stats_batched is not Filter.compute_stats_batched
    method = operator.compute_stats_batched if batched else operator.compute_stats_single
    return "context" in inspect.signature(method).parameters


OPERATORS = {
    language: [(one, {"context": True} if _shares(one) else {}) for one in operators(language)]
    for language in LANGUAGES
}


def judge(texts: list[str], language: str) -> dict[str, list[object]]:
    samples = {"text": texts, Fields.stats: [{} for _ in texts], Fields.context: [{} for _ in texts]}
    for one, told in OPERATORS[language]:
        samples = one.compute_stats_batched(samples, **told)
    return samples


def values(texts: list[str], language: str) -> dict[str, list[float]]:
    stats = judge(texts, language)[Fields.stats]
    return {name: [row[name] for row in stats] for name in stats[0]}


def process(data: NestedDataset, language: str) -> NestedDataset:
    return data.process(unlimited(language))


if __name__ == "__main__":
    if SET == "its data set":
        run(
            process,
            values,
            "py-data-juicer",
            rows=RECORDS,
            given=lambda batch: NestedDataset(pa.table({"text": batch})),
        )
    else:
        run(judge, values, "py-data-juicer")
