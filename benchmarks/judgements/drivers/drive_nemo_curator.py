"""NeMo Curator: its stage that scores documents, over its heuristic filters, without an executor."""

import pandas as pd
from driver import LANGUAGES, SET, run
from nemo_curator.stages.text.filters import Score
from nemo_curator.stages.text.filters.heuristic import repetition, string
from nemo_curator.tasks import DocumentBatch


def filters(language: str) -> dict[str, object]:
    """Column -> filter. Common: those whose measure hydata has too."""
    told = {"lang": language}
    common = {
        "words": string.WordCountFilter(**told),
        "mean_word_length": string.MeanWordLengthFilter(**told),
        "words_with_letters": string.WordsWithoutAlphabetsFilter(**told),
        "bullets": string.BulletsFilter(),
        "ellipsis": string.EllipsisFilter(),
        "punctuation": string.PunctuationFilter(),
        "repeated_lines": repetition.RepeatedLinesFilter(),
        "repeated_lines_characters": repetition.RepeatedLinesByCharFilter(),
        "repeated_paragraphs": repetition.RepeatedParagraphsFilter(),
        "repeated_paragraphs_characters": repetition.RepeatedParagraphsByCharFilter(),
        **{f"top_{n}_gram": repetition.RepeatingTopNGramsFilter(n, **told) for n in (2, 3, 4)},
        **{f"dup_{n}_gram": repetition.RepeatingDuplicateNGramsFilter(n, **told) for n in range(5, 11)},
    }
    if language == "en":  # divides by zero at the words of white space that jieba gives
        common["symbols_to_words"] = string.SymbolsToWordsFilter(**told)
    if SET == "common":
        return common
    return common | {
        "not_alphanumeric": string.NonAlphaNumericFilter(),
        "numbers": string.NumbersFilter(),
        "urls": string.UrlsFilter(),
        "white_space": string.WhiteSpaceFilter(),
        "parentheses": string.ParenthesesFilter(),
        "longest_word": string.LongWordFilter(**told),
        "boilerplate": string.BoilerPlateStringFilter(),
        "common_english_words": string.CommonEnglishWordsFilter(),
    }


FILTERS = {language: filters(language) for language in LANGUAGES}
STAGES = {language: Score(list(made.values()), list(made)) for language, made in FILTERS.items()}


def judge(texts: list[str], language: str) -> pd.DataFrame:
    batch = DocumentBatch(dataset_name="benchmark", data=pd.DataFrame({"text": texts}))
    return STAGES[language].process(batch).to_pandas()


def values(texts: list[str], language: str) -> dict[str, list[float]]:
    scored = judge(texts, language)
    return {name: scored[name].to_list() for name in FILTERS[language]}


if __name__ == "__main__":
    run(judge, values, "nemo-curator", "jieba", "pandas")
