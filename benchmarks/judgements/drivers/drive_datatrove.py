"""datatrove: its four filters of web text, called on documents as its pipeline calls them."""

from collections.abc import Callable

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.filters.gopher_repetition_filter import (
    find_all_duplicate,
    find_duplicates,
    find_top_duplicate,
    get_n_grams,
)
from datatrove.utils.text import split_into_words
from datatrove.utils.typeshelper import Languages
from driver import LANGUAGES, SET, run

SPACES = "grt"
"""A language whose words it splits at white space."""
NAMES = dict(zip(LANGUAGES, (Languages.english, Languages.mandarin_chinese), strict=True))
if SET == "words at white space":
    NAMES = dict.fromkeys(LANGUAGES, SPACES)
NEVER = float("inf")
TOP, DUPLICATE = (2, 3, 4), range(5, 11)
QUALITY = {
    "min_doc_words": 50,
    "max_doc_words": 100_000,
    "min_avg_word_length": 3,
    "max_avg_word_length": 10,
    "max_symbol_word_ratio": 0.1,
    "max_bullet_lines_ratio": 0.9,
    "max_ellipsis_lines_ratio": 0.3,
    "max_non_alpha_words_ratio": 0.8,
    "min_stop_words": 2,
}
"""Its own limits; the last but one is a least share."""
NO_LIMITS = {
    "min_doc_words": -1,
    "max_doc_words": NEVER,
    "min_avg_word_length": -1,
    "max_avg_word_length": NEVER,
    "max_symbol_word_ratio": NEVER,
    "max_bullet_lines_ratio": NEVER,
    "max_ellipsis_lines_ratio": NEVER,
    "max_non_alpha_words_ratio": -1,
    "min_stop_words": -1,
}
FINEWEB = {
    "line_punct_thr": 0.12,
    "short_line_thr": 0.67,
    "char_duplicates_ratio": 0.01,
    "new_line_ratio": 0.3,
}
FINEWEB_NO_LIMITS = {name: -1 if name == "line_punct_thr" else NEVER for name in FINEWEB}


def filters(language: str) -> list[Callable[[Document], object]]:
    """The four; for the whole set with limits that nothing passes, so that each goes to its end."""
    told = {"language": NAMES[language]}
    if SET == "as documented":
        made = (GopherQualityFilter, GopherRepetitionFilter, C4QualityFilter, FineWebQualityFilter)
        return [one(**told).filter for one in made]
    return [
        GopherQualityFilter(**NO_LIMITS, **told).filter,
        GopherRepetitionFilter(
            NEVER,
            NEVER,
            NEVER,
            NEVER,
            tuple((n, NEVER) for n in TOP),
            tuple((n, NEVER) for n in DUPLICATE),
            **told,
        ).filter,
        C4QualityFilter(filter_lorem_ipsum=False, filter_curly_bracket=False, **told).filter,
        FineWebQualityFilter(**FINEWEB_NO_LIMITS, **told).filter,
    ]


FILTERS = {language: filters(language) for language in LANGUAGES}


def judge(texts: list[str], language: str) -> None:
    for text in texts:
        document = Document(text=text, id="")
        for one in FILTERS[language]:
            one(document)
            document.text = text  # the C4 filter cleans it


def values(texts: list[str], language: str) -> dict[str, list[float]]:
    """Its measures of repetition, and whether each limit of the others alone drops the text (1) or not."""
    columns: dict[str, list[float]] = {}
    told = {"language": NAMES[language]}
    nothing = dict.fromkeys(QUALITY)
    alone = {
        name: GopherQualityFilter(**{**nothing, name: limit}, **told).filter
        for name, limit in QUALITY.items()
    }
    length = {name: QUALITY[name] for name in ("min_avg_word_length", "max_avg_word_length")}
    alone["mean_word_length"] = GopherQualityFilter(**{**nothing, **length}, **told).filter
    for name, limit in FINEWEB.items():
        alone[name] = FineWebQualityFilter(**{**FINEWEB_NO_LIMITS, name: limit}, **told).filter
    for text in texts:
        repetition = GopherRepetitionFilter()
        words = split_into_words(text, NAMES[language])
        paragraphs = find_duplicates(repetition.paragraph_exp.split(text.strip()))
        lines = find_duplicates(repetition._line_splitter.split(text))
        row = {
            "dup_para_frac": paragraphs[0] / len(repetition.paragraph_exp.split(text.strip())),
            "dup_para_char_frac": paragraphs[1] / len(text),
            "dup_line_frac": lines[0] / len(repetition._line_splitter.split(text)),
            "dup_line_char_frac": lines[1] / len(text),
        }
        for n in TOP:
            grams = get_n_grams(words, n)
            row[f"top_{n}_gram"] = find_top_duplicate(grams) / len(text) if grams else 0
        for n in DUPLICATE:
            row[f"dup_{n}_gram"] = find_all_duplicate(words, n) / len(text)
        for name, one in alone.items():
            row[f"drops_{name}"] = one(Document(text=text, id="")) is not True
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


if __name__ == "__main__":
    run(judge, values, "datatrove", "spacy", "jieba")
