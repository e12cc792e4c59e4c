"""What hydata and each peer both measure: their columns, and the limit at which a text is dropped."""

from __future__ import annotations

from dataclasses import dataclass

INFINITE = float("inf")


@dataclass(frozen=True)
class Pair:
    """``peer`` and ``ours`` are columns of the two; a text is dropped below ``least`` or above ``most`` of
    ours. ``rest``: the peer measures one minus it. ``decided``: the peer says only whether it drops (1)
    or not. ``languages``: where the two mean the same."""

    peer: str
    ours: str
    least: float = -INFINITE
    most: float = INFINITE
    rest: bool = False
    decided: bool = False
    languages: tuple[str, ...] = ("en", "zh")


TOP = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}

_GRAMS = (
    *(Pair(f"top_{n}_gram", f"top_{n}gram_fraction", most=limit) for n, limit in TOP.items()),
    *(Pair(f"dup_{n}_gram", f"duplicate_{n}gram_fraction", most=limit) for n, limit in DUPLICATE.items()),
)

COMMON: dict[str, tuple[Pair, ...]] = {
    "datatrove": (
        Pair("dup_line_frac", "duplicate_line_fraction", most=0.3),
        Pair("dup_line_char_frac", "duplicate_line_character_fraction", most=0.2),
        Pair("dup_para_frac", "duplicate_paragraph_fraction", most=0.3),
        Pair("dup_para_char_frac", "duplicate_paragraph_character_fraction", most=0.2),
        *_GRAMS,
        Pair("drops_min_doc_words", "words", least=50, decided=True, languages=("en",)),
        Pair("drops_mean_word_length", "mean_word_length", 3, 10, decided=True, languages=("en",)),
        Pair("drops_max_symbol_word_ratio", "symbol_word_ratio", most=0.1, decided=True),
        Pair("drops_max_bullet_lines_ratio", "bullet_line_fraction", most=0.9, decided=True),
        Pair("drops_max_ellipsis_lines_ratio", "ellipsis_line_fraction", most=0.3, decided=True),
        Pair("drops_max_non_alpha_words_ratio", "letter_word_fraction", least=0.8, decided=True),
        Pair("drops_min_stop_words", "stop_words", least=2, decided=True, languages=("en",)),
        Pair("drops_line_punct_thr", "terminal_line_fraction", least=0.12, decided=True),
        Pair("drops_short_line_thr", "short_line_fraction", most=0.67, decided=True),
        Pair("drops_new_line_ratio", "newline_word_ratio", most=0.3, decided=True),
    ),
    "nemo-curator": (
        Pair("words", "words", least=50, languages=("en",)),
        Pair("mean_word_length", "mean_word_length", 3, 10, languages=("en",)),
        Pair("symbols_to_words", "symbol_word_ratio", most=0.1, languages=("en",)),
        Pair("words_with_letters", "letter_word_fraction", least=0.8),
        Pair("bullets", "bullet_line_fraction", most=0.9),
        Pair("ellipsis", "ellipsis_line_fraction", most=0.3),
        Pair("punctuation", "terminal_line_fraction", least=0.15, rest=True),
        Pair("repeated_lines", "duplicate_line_fraction", most=0.3, rest=True),
        Pair("repeated_lines_characters", "duplicate_line_character_fraction", most=0.2, rest=True),
        Pair("repeated_paragraphs", "duplicate_paragraph_fraction", most=0.3, rest=True),
        Pair("repeated_paragraphs_characters", "duplicate_paragraph_character_fraction", most=0.2, rest=True),
        *_GRAMS,
    ),
    "data-juicer": (
        Pair("text_len", "characters", least=300),
        Pair("num_words", "words", least=50, languages=("en",)),
        Pair("word_rep_ratio", "duplicate_10gram_fraction", most=0.1, languages=("en",)),
    ),
}
