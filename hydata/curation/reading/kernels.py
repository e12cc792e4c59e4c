"""The compiled pass: texts, as the UTF-8 that Arrow holds, to counts.

``read_texts`` looks at each character once and writes the counts of ``COUNTS``, one column of ``counts`` a
text. Words are hashed in lower case; what is counted over words (n-grams, loops, what was copied) is counted
over their hashes. Everything is linear in the text: 20 rounds over its words at the most for n-grams, 64 for
loops. See ``hydata.compiled`` for what kernels are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hydata.compiled import decoded, kernel, step, taken
from hydata.curation.characters import CHARACTER, OTHER, SPACE, WORD
from hydata.curation.reading.characters import (
    ANCHOR,
    BASE64,
    BULLET,
    CLOSER,
    CLOSES,
    CONTROL,
    CYRILLIC,
    LATIN,
    LATIN_1,
    LETTER,
    LOWER,
    NUMBER,
    OPENS,
    RADICAL,
    RARE,
    SCRIPT,
    SCRIPT_SHIFT,
    SUSPECT,
    SYMBOL,
    TERMINAL,
    TONE,
    UNASSIGNED,
    UPPER,
)

UInt8Array = npt.NDArray[np.uint8]
UInt32Array = npt.NDArray[np.uint32]
UInt64Array = npt.NDArray[np.uint64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

COUNTS = (
    "characters",
    "words",
    "cjk",  # words of one Chinese or Japanese character
    "word_characters",
    "inked",  # characters that are not white space
    "letter_words",
    "symbols",
    "controls",
    "unassigned",
    "replacements",
    "han_faults",  # radicals alone, Latin-1 letters between two Chinese characters
    "rare_han",
    "pinyin_words",
    "scripts",  # a bit a script
    "script_changes",  # words of another script than the word before
    "mixed_script_words",
    "suspects",  # pairs that mojibake is made of
    "suspect_at",  # the byte where the first of them stands
    "base64_characters",
    "longest_run",  # of one letter or digit
    "braces",
    "hashes",
    "ellipses",
    "sentences",
    "newlines",
    "lines",  # not empty
    "terminal_lines",
    "ellipsis_lines",
    "bullet_lines",
    "short_lines",
    "line_characters",
    "worded_lines",  # with a letter or digit
    "worded_line_characters",
    "paragraphs",
    "paragraph_characters",
    "list_items",
    "fences",
    "open_brackets",
    "open_quotes",
    "open_maths",
    "open_json",
    "open_table",
    "open_item",
    "end",  # END_*: what the text ends with
    "ends_in_ellipsis",
    "duplicate_lines",
    "duplicate_line_characters",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    "distinct_words",
    "top_2gram",  # characters of the most frequent n-gram times its count
    "top_3gram",
    "top_4gram",
    "duplicate_5gram",  # characters in n-grams that occurred before
    "duplicate_6gram",
    "duplicate_7gram",
    "duplicate_8gram",
    "duplicate_9gram",
    "duplicate_10gram",
    "loop_words",  # at the end, in a unit that is repeated at least three times
)
"""Rows of ``counts``."""
PAIR_COUNTS = ("grams", "copied_grams", "asked_grams", "echoed_grams", "same_words")
"""Of a text and its source: 5-grams of the text, those that stand in the source; of the source, those that
stand in the text; whether both have the same words."""

END_NOTHING, END_SENTENCE, END_WORD, END_OTHER = 0, 1, 2, 3
SHORT_LINE = 30
"""Characters of a short line (FineWeb); a Chinese or Japanese one counts for two."""
BASE64_RUN = 40
GRAM_WORDS = 5
LONGEST_LOOP = 64
LOOP_WORDS = 12
"""Words of the shortest loop: "no, no, no" is none."""
ANCHOR_SLOTS = 2048
ANCHOR_BITS = 1 << 14
"""Bits of the sieve before the table of anchors, one in thirty of which is set: 2 KiB, which stay in the
processor's first cache, and nine words of ten need no more."""
PLAIN_SHIFT = 25
"""Where the lower case stands beside the marks of an ASCII letter or digit."""
SEED = np.uint64(0x243F6A8885A308D3)  # of pi
LINE_START = np.uint64(0x13198A2E03707344)
"""What stands before the first word of a line, as the hash of a word."""

_I = {name: row for row, name in enumerate(COUNTS)}
_TOP, _DUPLICATE = _I["top_2gram"], _I["duplicate_5gram"]
_LINES, _PARAGRAPHS = _I["duplicate_lines"], _I["duplicate_paragraphs"]
_DISTINCT, _LOOP, _CJK = _I["distinct_words"], _I["loop_words"], _I["cjk"]
_U64 = np.uint64
_PRIME = _U64(0x9E3779B97F4A7C15)
_NEWLINE, _FFFD = 10, 0xFFFD
ANCHOR_SHIFT = _U64(64 - 11)
_SIEVE_SHIFT = _U64(64 - 14)


@kernel
def sift(sieve: UInt64Array, key: Any) -> None:
    """Let a key through."""
    bit = key >> _SIEVE_SHIFT
    sieve[np.int64(bit >> _U64(6))] |= _U64(1) << (bit & _U64(63))


@step
def sifted(sieve: UInt64Array, key: Any) -> Any:
    """Whether a key is let through."""
    bit = key >> _SIEVE_SHIFT
    return (sieve[bit >> _U64(6)] >> (bit & _U64(63))) & _U64(1) != _U64(0)


@step
def anchored(keys: UInt64Array, key: Any) -> Any:
    """The slot of a key in the table of anchors; a free one if it is none."""
    slot = np.int64(key >> ANCHOR_SHIFT)
    while keys[slot] != _U64(0) and keys[slot] != key:
        slot = (slot + 1) & (ANCHOR_SLOTS - 1)
    return slot


@kernel
def hash_words(points: UInt32Array, starts: Int64Array, hashes: UInt64Array) -> None:
    """Words, as lower-case code points, to what ``read_text`` makes of them."""
    for i in range(len(starts) - 1):
        value = SEED
        for k in range(starts[i], starts[i + 1]):
            value = taken(value, _U64(points[k]))
        hashes[i] = value


@step
def put(out: Any, row: Any, values: Any) -> Any:
    """Write values, no more than the 30 that numba takes in a tuple, from a row on; the row after them."""
    for k in range(len(values)):
        out[row + k] = values[k]
    return row + len(values)


@step
def item_end(data: UInt8Array, at: Any, end: Any) -> Any:
    """Where the marker of a list item at the beginning of a line ends; -1 where there is none. A marker is a
    bullet and a space, or up to three digits and one of . ) : 、 ． ）."""
    if at >= end:
        return -1
    if data[at] == 0x2D or data[at] == 0x2A or data[at] == 0x2B:  # - * +
        if at + 1 == end:
            return end
        return at + 2 if data[at + 1] == 0x20 else -1
    if at + 3 <= end and data[at] == 0xE2 and data[at + 1] == 0x80 and data[at + 2] == 0xA2:  # a round bullet
        return at + 3
    place = at
    while place < end and place - at < 3 and 0x30 <= data[place] <= 0x39:
        place += 1
    if place == at or place >= end:
        return -1
    if data[place] == 0x29:
        return place + 1
    if data[place] == 0x2E or data[place] == 0x3A:  # not 3.5 and 12:30
        return -1 if place + 1 < end and 0x30 <= data[place + 1] <= 0x39 else place + 1
    if place + 3 <= end:
        if data[place] == 0xE3 and data[place + 1] == 0x80 and data[place + 2] == 0x81:
            return place + 3
        if data[place] == 0xEF and data[place + 1] == 0xBC and data[place + 2] in (0x8E, 0x89):
            return place + 3
    return -1


@step
def read_text(
    data: UInt8Array,
    begin: Any,
    stop: Any,
    marks: UInt32Array,
    lower: UInt32Array,
    plain: UInt32Array,
    encodings: UInt32Array,
    sieve: UInt64Array,
    keys: UInt64Array,
    values: UInt64Array,
    words: UInt64Array,
    sizes: Int32Array,
    lines: UInt64Array,
    widths: Int32Array,
    paragraphs: UInt64Array,
    heights: Int32Array,
    out: Any,
) -> Any:
    """Counts of one text into ``out``; its words into ``words`` and ``sizes`` (characters), its lines with a
    letter or digit and its paragraphs likewise. How many of each there are, and its anchors."""
    characters = count = cjk = word_characters = inked = letter_words = np.int64(0)
    symbols = controls = unassigned = replacements = han_faults = rare_han = pinyin = np.int64(0)
    scripts = script_changes = mixed_script = suspects = suspect_at = np.int64(0)
    base64_characters = base64_run = base64_flags = np.int64(0)
    longest_run = run = np.int64(0)
    braces = hashes = ellipses = sentences = newlines = np.int64(0)
    line_count = terminal_lines = ellipsis_lines = bullet_lines = short_lines = np.int64(0)
    line_characters = worded_characters = np.int64(0)
    paragraph_characters = np.int64(0)
    items = fences = np.int64(0)
    opened = straight = curly = corner = white_corner = angle = np.int64(0)
    dollars = parens = squares = environments = np.int64(0)
    depth = json = np.int64(0)  # json: 0 nothing yet, 1 a bracket, 2 it is JSON, 3 it is not
    in_string = False
    tripled, low = False, np.int64(0)  # """ has come; „ that are open
    row_closed = open_table = open_item = False
    groups, further = _U64(0), _U64(0)  # of anchors, the first 64 and the rest

    in_word = False
    word, size, word_flags, word_script, word_at = SEED, np.int64(0), np.int64(0), np.int64(0), begin
    last_script = letter_script = np.int64(0)  # of the last word; of the character before, if a letter
    syllable_stop = np.int64(-2)  # where the last word like "hao3" ends
    han = _U64(0)  # the hash of the character before, if it is Chinese or Japanese
    leads = np.int64(0)
    before = before_2 = np.int64(0)  # the code points before
    latin_between = False  # a Chinese character, then Latin-1 letters

    line, line_words, line_others, wide = SEED, np.int64(0), np.int64(0), np.int64(0)
    line_at = line_stop = begin
    line_started, inked_until = np.int64(-1), np.int64(0)
    line_last = np.int64(0)  # code point
    ending, dots, pending = np.int64(END_NOTHING), np.int64(0), False  # closing quotes and brackets aside
    ends_in_ellipsis = line_worded = False
    paragraph, paragraph_size = SEED, np.int64(0)
    line_total = paragraph_total = np.int64(0)

    at = begin
    final = False
    while not final:
        if at < stop:
            # An index that has no sign need not be looked at for one, as Python's negative ones are.
            char = np.int64(data[_U64(at)])
            mark = np.int64(plain[_U64(char)])
            if mark:  # most of most texts
                start, first = at, char
                if line_started < 0:
                    line_started, line_at = characters, at
                if mark & LETTER and letter_script == CYRILLIC:
                    mixed_script += 1
                if not in_word:
                    in_word, word, size, word_flags = True, SEED, np.int64(0), np.int64(0)
                    word_script, word_at = np.int64(0), at
                flags = np.int64(0)
                previous = before
                while True:
                    flags |= mark
                    word = taken(word, _U64(mark >> PLAIN_SHIFT))
                    run = run + 1 if char == before else np.int64(1)
                    longest_run = max(longest_run, run)
                    previous, before = before, char
                    at += 1
                    if at >= stop:
                        break
                    char = np.int64(data[_U64(at)])
                    following = np.int64(plain[_U64(char)])
                    if not following:
                        break
                    mark = following
                before_2 = previous
                length = at - start
                characters += length
                inked += length
                size += length
                word_flags |= flags
                base64_run += length
                base64_flags |= flags
                if flags & LETTER:
                    scripts |= 1 << LATIN
                    if word_script == 0:
                        word_script = np.int64(LATIN)
                letter_script = np.int64(LATIN) if mark & LETTER else np.int64(0)
                leads = np.int64(0)
                han = _U64(0)
                line_stop, line_last, inked_until = at, before, characters
                ending, dots, pending = np.int64(END_WORD), np.int64(0), False
                line_worded = True
                latin_between = False
                if json == 1:
                    json = np.int64(2 if first < 0x3A else 3)  # a number, or prose in brackets
                elif json == 0:
                    json = np.int64(3)
                if at >= stop or char != 0x20:
                    continue
                place, point = at, np.int64(0x20)
                at += 1
            else:
                place = at
                point, at = decoded(data, at, stop)
            mark = np.int64(marks[point])
            characters += 1
        else:
            final = True
            place = at
            point, mark = np.int64(_NEWLINE), np.int64(SPACE)
        kind = mark & 3

        if mark & SUSPECT:
            encoding = np.int64(encodings[point])
            if leads & (encoding >> 16) or 0x80 <= point < 0xA0:
                suspects += 1
                if suspects == 1:
                    suspect_at = place - begin
            leads = encoding & 0xFFFF
        else:
            if point == 0x20 and (before == 0xC3 or before == 0x413):
                suspects += 1
                if suspects == 1:
                    suspect_at = place - begin
            leads = np.int64(0)
        if not mark & BASE64:
            if (
                base64_run >= BASE64_RUN
                and base64_flags & UPPER
                and base64_flags & LOWER
                and base64_flags & NUMBER
            ):
                base64_characters += base64_run
            base64_run = base64_flags = np.int64(0)
        elif kind == OTHER:
            base64_run += 1
        script = (mark >> SCRIPT_SHIFT) & SCRIPT
        if script:
            scripts |= 1 << script

        if kind == WORD:
            inked += 1
            if line_started < 0:
                line_started, line_at = characters - 1, place
            if not in_word:
                in_word, word, size, word_flags = True, SEED, np.int64(0), np.int64(0)
                word_script, word_at = np.int64(0), place
            word = taken(word, _U64(lower[point]))
            size += 1
            word_flags |= mark
            if mark & LETTER:
                if (letter_script == LATIN and script == CYRILLIC) or (
                    letter_script == CYRILLIC and script == LATIN
                ):
                    mixed_script += 1
                letter_script = script
                if word_script == 0:
                    word_script = script
            else:
                letter_script = np.int64(0)
            if point == before:
                run += 1
            else:
                run = np.int64(1)
            longest_run = max(longest_run, run)
            latin_between = bool(mark & LATIN_1 and (latin_between or han != _U64(0)))
            if mark & UNASSIGNED:
                unassigned += 1
            han = _U64(0)
            before_2, before = before, point
            line_stop, line_last, inked_until = at, point, characters
            ending, dots, pending = np.int64(END_WORD), np.int64(0), False
            line_worded = True
            if json < 2:
                json = np.int64(3)
            continue

        if in_word:  # it is complete
            in_word = False
            words[count] = word
            sizes[count] = size
            count += 1
            word_characters += size
            if word_flags & LETTER:
                letter_words += 1
            numbered = bool(
                0x31 <= data[place - 1] <= 0x35
                and 2 <= size <= 7
                and place - word_at == size
                and word_flags & LOWER != 0
                and word_flags & UPPER == 0
                and not 0x30 <= data[place - 2] <= 0x39
            )
            if word_flags & TONE or (
                numbered and word_at - syllable_stop == 1 and data[syllable_stop] == 0x20
            ):
                pinyin += 1
            if numbered:
                syllable_stop = place
            if sifted(sieve, word):
                slot = anchored(keys, word)
                groups, further = groups | values[slot, 0], further | values[slot, 1]
            pair = taken(words[count - 2] if line_words else LINE_START, word)
            if sifted(sieve, pair):
                slot = anchored(keys, pair)
                groups, further = groups | values[slot, 0], further | values[slot, 1]
            line = taken(line, word)
            line_words += 1
            if word_script:
                if last_script and last_script != word_script:
                    script_changes += 1
                last_script = word_script
            if word_at > begin and data[word_at - 1] == 0x5C:  # a backslash
                if (
                    size == 5
                    and data[word_at] == 0x62
                    and data[word_at + 1] == 0x65
                    and data[word_at + 2] == 0x67
                ):
                    environments += 1
                elif (
                    size == 3
                    and data[word_at] == 0x65
                    and data[word_at + 1] == 0x6E
                    and data[word_at + 2] == 0x64
                ):
                    environments -= 1
        if kind == SPACE:
            if pending:
                sentences += 1
                pending = False
            if point == _NEWLINE:
                if not final:
                    newlines += 1
                if line_started >= 0:  # the line is complete
                    length = inked_until - line_started
                    line_count += 1
                    line_characters += length
                    ends_in_ellipsis = bool(dots >= 3)
                    if ends_in_ellipsis:
                        ellipsis_lines += 1
                    elif ending == END_SENTENCE or line_last in (0x22, 0x201D, 0x300D, 0x300F):
                        terminal_lines += 1
                    if length + wide <= SHORT_LINE:
                        short_lines += 1
                    opening = np.int64(data[line_at])
                    if opening >= 0x80:
                        opening, _ = decoded(data, line_at, stop)
                    if np.int64(marks[opening]) & BULLET:
                        bullet_lines += 1
                    marker = item_end(data, line_at, line_stop)
                    open_item = bool(marker >= line_stop and items > 0)
                    if marker >= 0:
                        items += 1
                    if opening == 0x7C:  # a row of a table
                        open_table = row_closed and line_last != 0x7C
                        row_closed = row_closed or (line_last == 0x7C and line_stop - line_at > 1)
                    else:
                        open_table = row_closed = False
                    fence = opening == 0x60 or opening == 0x7E
                    if (
                        fence
                        and line_stop - line_at >= 3
                        and data[line_at + 1] == data[line_at + 2] == opening
                    ):
                        fences += 1
                    if line_worded:
                        lines[line_total], widths[line_total] = line, length
                        line_total += 1
                        worded_characters += length
                    paragraph = taken(paragraph, line)
                    paragraph_size += length
                    paragraph_characters += length
                elif paragraph_size:
                    paragraphs[paragraph_total], heights[paragraph_total] = paragraph, paragraph_size
                    paragraph_total += 1
                    paragraph, paragraph_size = SEED, np.int64(0)
                line, line_words, line_others, wide = SEED, np.int64(0), np.int64(0), np.int64(0)
                line_started, line_worded, dots = np.int64(-1), False, np.int64(0)
        else:
            inked += 1
            if line_started < 0:
                line_started, line_at = characters - 1, place
            if mark & UNASSIGNED:
                unassigned += 1
            if kind == CHARACTER:
                value = taken(SEED, _U64(point))
                words[count] = value
                sizes[count] = 1
                count += 1
                cjk += 1
                word_characters += 1
                letter_words += 1
                if sifted(sieve, value):
                    slot = anchored(keys, value)
                    groups, further = groups | values[slot, 0], further | values[slot, 1]
                if han or not line_words:
                    pair = taken(han, _U64(point)) if han else taken(LINE_START, value)
                    if sifted(sieve, pair):
                        slot = anchored(keys, pair)
                        groups, further = groups | values[slot, 0], further | values[slot, 1]
                line = taken(line, value)
                line_words += 1
                wide += 1
                if last_script and last_script != script:
                    script_changes += 1
                last_script = script
                if point == before:
                    run += 1
                else:
                    run = np.int64(1)
                longest_run = max(longest_run, run)
                if mark & RARE:
                    rare_han += 1
                if mark & SYMBOL:
                    symbols += 1
                if mark & RADICAL or latin_between:
                    han_faults += 1
                han = value
                ending, dots, pending = np.int64(END_WORD), np.int64(0), False
                line_worded = True
                if json < 2:
                    json = np.int64(3)
            else:
                line = taken(line, _U64(point))
                line_others += 1
                if mark & SYMBOL:
                    symbols += 1
                if mark & CONTROL:
                    controls += 1
                if mark & RADICAL:
                    han_faults += 1
                if point == _FFFD:
                    replacements += 1
                if mark & ANCHOR:
                    pair = taken(SEED, _U64(point))
                    if sifted(sieve, pair):
                        slot = anchored(keys, pair)
                        groups, further = groups | values[slot, 0], further | values[slot, 1]
                if json < 2:
                    if json == 0:
                        json = np.int64(1 if point == 0x7B or point == 0x5B else 3)
                    else:
                        json = np.int64(2 if point in (0x22, 0x7B, 0x5B, 0x2D, 0x7D, 0x5D) else 3)
                if point == 0x22:
                    # Behind a digit nothing is opened: 27" are inches.
                    tripled = (
                        tripled or before == before_2 == 0x22
                    )  # in code a digit may be the string's last
                    if before != 0x5C and (in_string or tripled or not 0x30 <= before <= 0x39):
                        straight += 1
                        in_string = not in_string
                elif mark & OPENS:
                    face = before in (0x3A, 0x3B, 0x3D) or (
                        before in (0x27, 0x2D) and before_2 in (0x3A, 0x3B, 0x3D)
                    )
                    quoted = before in (0x22, 0x27, 0x60) and at < stop and data[at] == before
                    if not face and not quoted and not (before == 0x5C and point == 0x7B):
                        opened += 1
                    if before == 0x5C and before_2 != 0x5C:
                        if point == 0x28:
                            parens += 1
                        elif point == 0x5B:
                            squares += 1
                    if point == 0x7B:
                        braces += 1
                    if point < 0x80 and point != 0x28 and not in_string:
                        depth += 1
                elif mark & CLOSES:
                    numbered_item = (
                        point in (0x29, 0xFF09)
                        and line_others == 1
                        and 1 <= line_words <= 3
                        and characters - 1 - line_started <= 3
                    )
                    quoted = before in (0x22, 0x27, 0x60) and at < stop and data[at] == before
                    if not numbered_item and not quoted and not (before == 0x5C and point == 0x7D):
                        opened -= 1
                    if before == 0x5C and before_2 != 0x5C:
                        if point == 0x29:
                            parens -= 1
                        elif point == 0x5D:
                            squares -= 1
                    if point == 0x7D:
                        braces += 1
                    if point < 0x80 and point != 0x29 and not in_string:
                        depth -= 1
                elif point == 0x24:
                    if before == 0x24:  # not of pa$$word
                        inside = before_2 < 0x80 and marks[before_2] & BASE64 and before_2 != 0
                        if dollars % 2 or not (
                            inside and at < stop and data[at] < 0x80 and marks[data[at]] & BASE64
                        ):
                            dollars += 1
                        point = np.int64(0)  # a third one begins anew
                elif point == 0x23:
                    hashes += 1
                elif point == 0x201E:
                    low += 1
                elif point == 0x201C and low:  # German: „so“
                    low -= 1
                elif point == 0x201C:
                    if not (curly and line_started == characters - 1):  # speech goes on in a new paragraph
                        curly += 1
                elif point == 0x201D:
                    curly -= 1
                elif point == 0x300C:
                    corner += 1
                elif point == 0x300D:
                    corner -= 1
                elif point == 0x300E:
                    white_corner += 1
                elif point == 0x300F:
                    white_corner -= 1
                elif point == 0x300A:
                    angle += 1
                elif point == 0x300B:
                    angle -= 1
                if mark & TERMINAL:
                    if point == 0x2E or point == 0x3002:
                        dots += 1
                        if dots == 3:
                            ellipses += 1
                    elif point == 0x2026:
                        if dots < 3:
                            ellipses += 1
                        dots = np.int64(3)
                    else:
                        dots = np.int64(0)
                    if point in (0x3002, 0xFF01, 0xFF1F):
                        if ending != END_SENTENCE:
                            sentences += 1
                        pending = False
                    else:
                        pending = ending != END_NOTHING
                    ending = np.int64(END_SENTENCE)
                elif not mark & CLOSER:
                    ending, dots, pending = np.int64(END_OTHER), np.int64(0), False
                han = _U64(0)
            line_stop, line_last, inked_until = at, point, characters
        letter_script = np.int64(0)
        latin_between = False
        if kind == SPACE:
            han = _U64(0)
        before_2, before = before, point
    if paragraph_size:
        paragraphs[paragraph_total], heights[paragraph_total] = paragraph, paragraph_size
        paragraph_total += 1
    row = np.int64(0)
    row = put(
        out,
        row,
        (
            characters,
            count,
            cjk,
            word_characters,
            inked,
            letter_words,
            symbols,
            controls,
            unassigned,
            replacements,
            han_faults,
            rare_han,
            pinyin,
            scripts,
            script_changes,
        ),
    )
    row = put(
        out,
        row,
        (
            mixed_script,
            suspects,
            suspect_at,
            base64_characters,
            longest_run,
            braces,
            hashes,
            ellipses,
            sentences,
            newlines,
            line_count,
            terminal_lines,
            ellipsis_lines,
            bullet_lines,
            short_lines,
        ),
    )
    row = put(
        out,
        row,
        (
            line_characters,
            line_total,
            worded_characters,
            paragraph_total,
            paragraph_characters,
            items,
            fences,
            max(opened, np.int64(0)),
            np.int64(straight % 2 or curly > 0 or corner > 0 or white_corner > 0 or angle > 0),
            np.int64(dollars % 2 or parens > 0 or squares > 0 or environments > 0),
            np.int64(json == 2 and depth > 0),
            np.int64(open_table),
            np.int64(open_item),
            ending,
            np.int64(ends_in_ellipsis),
        ),
    )
    return count, line_total, paragraph_total, groups, further


@step
def slot_of(table: UInt64Array, shift: Any, key: Any) -> Any:
    """The slot of a key in a table, where it is or may be put; no key is 0. Keys end in a multiplication by
    ``_PRIME``, so that their highest bits are the best."""
    slot = np.int64((key * _PRIME) >> shift)
    while table[slot] != _U64(0) and table[slot] != key:
        slot = (slot + 1) & (len(table) - 1)
    return slot


@step
def room(count: Any) -> Any:
    """The bits of a table for so many keys: at least half of its slots stay free."""
    bits = 6
    while 1 << bits < 2 * count:
        bits += 1
    return bits


@step
def count_duplicates(
    hashes: UInt64Array, lengths: Int32Array, count: Any, table: UInt64Array, out: Any, row: Any
) -> None:
    """How many of the values occurred before, and how long these are together."""
    if count < 2:
        return
    bits = room(count)
    table, shift = table[: 1 << bits], _U64(64 - bits)
    table[:] = _U64(0)
    for k in range(count):
        key = hashes[k] | _U64(1)
        slot = slot_of(table, shift, key)
        if table[slot] == key:
            out[row] += 1
            out[row + 1] += lengths[k]
        table[slot] = key


@step
def count_repeats(
    words: UInt64Array,
    sizes: Int32Array,
    count: Any,
    twice: bool,
    table: UInt64Array,
    seen: Int32Array,
    grams: UInt64Array,
    places: Int32Array,
    slots: Int32Array,
    ends: Int64Array,
    out: Any,
) -> None:
    """Distinct words, the most frequent 2- to 4-grams, and characters in 5- to 10-grams that occurred before
    (of words ``twice`` as long where two make about one), by the greedy walk of Rae et al. (2021).

    An n-gram can only occur again where the shorter ones in it do: only these ``places`` are looked at, which
    soon are none."""
    for k in range(count):
        grams[k] = words[k]
        places[k] = k
        ends[k + 1] = ends[k] + sizes[k]
    left = np.int64(count)
    stride = 2 if twice else 1
    n = np.int64(0)
    while n < 10 * stride:
        longer = stride if n >= 2 else 1
        if n:
            kept = np.int64(0)
            for j in range(left - longer):
                k = places[j]
                value = taken(grams[j], words[k + n])
                if longer == 2:
                    value = taken(value, words[k + n + 1])
                grams[kept], places[kept] = value, k
                kept += np.int64(places[j + longer] == k + longer)
            left = kept
        n += longer
        bits = room(left)
        small, shift = table[: 1 << bits], _U64(64 - bits)
        small[:] = _U64(0)
        distinct = np.int32(0)
        for j in range(left):
            key = grams[j] | _U64(1)
            slot = slot_of(small, shift, key)
            again = np.int32(small[slot] == key)
            seen[slot] = seen[slot] * again + 1
            small[slot] = key
            distinct += 1 - again
            slots[j] = slot
        if n == 1:
            out[_DISTINCT] = distinct
        if distinct == left:
            return
        kept = np.int64(0)
        for j in range(left):
            grams[kept], places[kept], slots[kept] = grams[j], places[j], slots[j]
            kept += np.int64(seen[slots[j]] > 1)
        left = kept
        if n % stride:
            continue
        if 2 <= n // stride <= 4:
            times = longest = np.int64(0)
            for j in range(left):
                length = ends[places[j] + n] - ends[places[j]]
                if seen[slots[j]] > times or (seen[slots[j]] == times and length > longest):
                    times, longest = np.int64(seen[slots[j]]), length
            out[_TOP + n // stride - 2] = min(times * longest, ends[count])
        elif n // stride >= 5:
            covered = free = np.int64(0)
            for j in range(left):
                k = places[j]
                if k < free:
                    continue
                if seen[slots[j]] < 0:
                    covered += ends[k + n] - ends[k]
                    free = k + n
                else:
                    seen[slots[j]] = -1
            out[_DUPLICATE + n // stride - 5] = covered


@step
def tail_loop(words: UInt64Array, count: Any) -> Any:
    """Words at the end that repeat a unit of up to 64 words at least three times; 0 where none do."""
    longest = np.int64(0)
    for period in range(1, min(LONGEST_LOOP, count // 3) + 1):
        same = np.int64(0)
        while same + period < count and words[count - 1 - same] == words[count - 1 - same - period]:
            same += 1
        if same >= 2 * period and same + period >= LOOP_WORDS and same + period > longest:
            longest = same + period
            if longest == count:
                break
    return longest


@step
def gram(words: UInt64Array, at: Any) -> Any:
    """The hash of the 5-gram that begins there."""
    value = _U64(GRAM_WORDS)
    for k in range(at, at + GRAM_WORDS):
        value = (value ^ words[k]) * _PRIME
        value ^= value >> _U64(32)
    return value | _U64(1)


@step
def count_shared(
    words: UInt64Array,
    count: Any,
    source: UInt64Array,
    source_count: Any,
    table: UInt64Array,
    seen: Int32Array,
    out: Any,
) -> None:
    """``PAIR_COUNTS`` of a text and its source."""
    same = count == source_count and count > 0
    k = 0
    while same and k < count:
        same = words[k] == source[k]
        k += 1
    out[4] = 1 if same else 0
    grams, asked = max(count - GRAM_WORDS + 1, 0), max(source_count - GRAM_WORDS + 1, 0)
    out[0], out[2] = grams, asked
    if not grams or not asked:
        return
    bits = room(asked)
    table, shift = table[: 1 << bits], _U64(64 - bits)
    table[:] = _U64(0)
    for k in range(asked):
        key = gram(source, k)
        slot = slot_of(table, shift, key)
        if table[slot] != key:
            table[slot] = key
            seen[slot] = 0
        seen[slot] += 1
    for k in range(grams):
        key = gram(words, k)
        slot = slot_of(table, shift, key)
        if table[slot] == key:
            out[1] += 1
            if seen[slot] > 0:
                out[3] += seen[slot]
                seen[slot] = 0


@kernel
def read_texts(
    data: UInt8Array,
    offsets: Int64Array,
    there: BoolArray,
    source_data: UInt8Array,
    source_offsets: Int64Array,
    source_there: BoolArray,
    marks: UInt32Array,
    lower: UInt32Array,
    encodings: UInt32Array,
    sieve: UInt64Array,
    keys: UInt64Array,
    values: UInt64Array,
    counts: UInt32Array,
    anchors: UInt64Array,
    source_counts: UInt32Array,
    source_anchors: UInt64Array,
    pairs: UInt32Array,
) -> None:
    """Texts and what each answers, UTF-8 and offsets, to ``COUNTS`` and anchors of both and ``PAIR_COUNTS``:
    a column a text, all 0 for one that is not ``there``. They come zeroed."""
    rows = len(offsets) - 1
    most = np.int64(0)
    for i in range(rows):
        most = max(most, offsets[i + 1] - offsets[i], source_offsets[i + 1] - source_offsets[i])
    most = (most + 1) // 2 + 1  # a word, a line or a paragraph has a character, and something between
    words, source = np.empty(most, np.uint64), np.empty(most, np.uint64)
    lines, paragraphs = np.empty(most, np.uint64), np.empty(most, np.uint64)
    sizes, widths, heights = np.empty(most, np.int32), np.empty(most, np.int32), np.empty(most, np.int32)
    plain = np.zeros(256, np.uint32)  # of a byte that is a letter or digit
    for point in range(0x80):
        if marks[point] & 3 == WORD:
            plain[point] = marks[point] | lower[point] << PLAIN_SHIFT
    # Tables grow with the texts: few have as many words as their bytes allow.
    table, seen = np.empty(1024, np.uint64), np.empty(1024, np.int32)
    grams, ends = np.empty(513, np.uint64), np.zeros(513, np.int64)
    places, slots = np.empty(513, np.int32), np.empty(513, np.int32)
    for i in range(rows):
        source_count = np.int64(0)
        for asked in range(2):
            if asked == 0:
                if not source_there[i]:
                    continue
                bytes_, begin, stop = source_data, source_offsets[i], source_offsets[i + 1]
                out, into = source_counts[:, i], source
            else:
                if not there[i]:
                    continue
                bytes_, begin, stop = data, offsets[i], offsets[i + 1]
                out, into = counts[:, i], words
            count, line_total, paragraph_total, groups, further = read_text(
                bytes_,
                begin,
                stop,
                marks,
                lower,
                plain,
                encodings,
                sieve,
                keys,
                values,
                into,
                sizes,
                lines,
                widths,
                paragraphs,
                heights,
                out,
            )
            size = 1 << room(max(count, line_total, paragraph_total, source_count))
            if size > len(table):
                table, seen = np.empty(size, np.uint64), np.empty(size, np.int32)
                grams, ends = np.empty(size // 2 + 1, np.uint64), np.zeros(size // 2 + 1, np.int64)
                places, slots = np.empty(size // 2 + 1, np.int32), np.empty(size // 2 + 1, np.int32)
            count_duplicates(lines, widths, line_total, table, out, _LINES)
            count_duplicates(paragraphs, heights, paragraph_total, table, out, _PARAGRAPHS)
            twice = 2 * out[_CJK] > count
            count_repeats(into, sizes, count, twice, table, seen, grams, places, slots, ends, out)
            out[_LOOP] = tail_loop(into, count)
            if asked == 0:
                source_anchors[0, i], source_anchors[1, i] = groups, further
                source_count = count
            else:
                anchors[0, i], anchors[1, i] = groups, further
                if source_there[i]:
                    count_shared(words, count, source, source_count, table, seen, pairs[:, i])
