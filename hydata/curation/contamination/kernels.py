"""The compiled kernels: texts to words, and words to the benchmark's units that they repeat.

Plain loops for numba, as in ``hydata.curation.dedup.kernels``, whose characters and hashes they share.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hydata.compiled import decoded, kernel, mixed, taken
from hydata.curation.characters import CHARACTER, WORD
from hydata.curation.dedup.characters import CLASS_SHIFT, EXPANDS, POINT
from hydata.curation.dedup.kernels import (
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    UInt8Array,
    UInt32Array,
    UInt64Array,
)

_U32, _U64 = np.uint32, np.uint64
_PRIME = _U64(0x9E3779B97F4A7C15)
_SEED = _U64(0x243F6A8885A308D3)
_POINT, _KIND, _JOINS_BIT = _U32(POINT), _U32(CLASS_SHIFT), _U32(31)
_ONE = _U64(1)


@kernel
def read_words(
    data: UInt8Array,
    offsets: Int64Array,
    entries: UInt32Array,
    expansions: UInt32Array,
    joins: BoolArray,
    words: UInt64Array,
    ends: Int64Array,
) -> None:
    """Texts, as UTF-8 and offsets, to the hashes of their words in order, those of text i up to ``ends[i]``.
    The lowest bit of a hash says whether the word is a character of its own (Chinese, Japanese)."""
    made = np.int64(0)
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        word, in_word, found = _SEED, False, False
        while at < end:
            point, at = decoded(data, at, end)
            entry = entries[point]
            found |= (entry >> _JOINS_BIT) != 0
            entry &= _U32(0x7FFFFFFF)
            place = stop = np.int64(0)
            if entry >> _KIND == EXPANDS:
                place = np.int64(entry & _POINT) + 1
                stop = place + np.int64(expansions[place - 1])
                entry = expansions[place]
            while True:
                kind = entry >> _KIND
                if kind == WORD:
                    word = taken(word, _U64(entry & _POINT))
                    in_word = True
                else:
                    if in_word:
                        words[made] = mixed(word) & ~_ONE
                        made += 1
                        word, in_word = _SEED, False
                    if kind == CHARACTER:
                        words[made] = mixed(taken(_SEED, _U64(entry & _POINT))) | _ONE
                        made += 1
                place += 1
                if place >= stop:
                    break
                entry = expansions[place]
        if in_word:
            words[made] = mixed(word) & ~_ONE
            made += 1
        ends[i] = made
        joins[i] = found


@kernel
def read_grams(words: UInt64Array, ends: Int64Array, n: int, grams: UInt64Array) -> None:
    """The hash of the n words from each word on, 0 where the text ends before that."""
    leaves = _ONE
    for _ in range(n):
        leaves *= _PRIME
    begin = np.int64(0)
    for i in range(len(ends)):
        window = _U64(0)
        for at in range(begin, ends[i]):
            grams[at] = 0
            window = window * _PRIME + words[at]
            if at - begin >= n:
                window -= words[at - n] * leaves
            if at - begin >= n - 1:
                grams[at - n + 1] = max(mixed(window), _ONE)
        begin = ends[i]


@kernel
def fill_table(keys: UInt64Array, slots: Int32Array) -> None:
    """An open hash table of ``keys``, all different: the place in ``keys``, -1 where a slot is free."""
    mask = len(slots) - 1
    slots[:] = -1
    for k in range(len(keys)):
        slot = np.int64(keys[k] & _U64(mask))
        while slots[slot] >= 0:
            slot = (slot + 1) & mask
        slots[slot] = k


@kernel
def gram_of(window: Any, slots: Any, keys: Any) -> Any:
    """The gram with this rolling hash, -1 if there is none."""
    key = max(mixed(window), _ONE)
    mask = len(slots) - 1
    slot = np.int64(key & _U64(mask))
    while slots[slot] >= 0 and keys[slots[slot]] != key:
        slot = (slot + 1) & mask
    return slots[slot]


@kernel
def find_runs(
    words: UInt64Array,
    ends: Int64Array,
    n: int,
    keys: UInt64Array,
    slots: Int32Array,
    owners: Int32Array,
    owners_end: Int64Array,
    places: Int32Array,
    units_end: Int64Array,
    units_words: Int64Array,
    unit: Int32Array,
    overlap: Float32Array,
    span: Int32Array,
) -> None:
    """For each text the unit that it repeats most of, -1 if it shares no n-gram with any.

    ``owners`` are the units that have a gram, those of gram g up to ``owners_end[g]``; ``places`` the grams
    from each word of a unit on, -1 for what does not count, up to ``units_end``; ``units_words`` how many
    words the grams that count cover. ``overlap`` is the share of these that the text's grams cover;
    ``span`` the words of the longest run of the text all of whose grams are the unit's.
    """
    units = len(units_end)
    seen = np.full(len(keys), -1, np.int32)
    met = np.full(units, -1, np.int32)
    hits = np.zeros(units, np.int32)
    last = np.zeros(units, np.int64)
    run = np.zeros(units, np.int32)
    longest = np.zeros(units, np.int32)
    touched = np.empty(units, np.int32)
    leaves = _ONE
    for _ in range(n):
        leaves *= _PRIME
    begin = np.int64(0)
    for i in range(len(ends)):
        count = np.int64(0)
        window = _U64(0)
        for at in range(begin, ends[i]):
            window = window * _PRIME + words[at]
            if at - begin >= n:
                window -= words[at - n] * leaves
            if at - begin < n - 1:
                continue
            gram = gram_of(window, slots, keys)
            if gram < 0:
                continue
            fresh = seen[gram] != i
            seen[gram] = i
            for o in range(owners_end[gram - 1] if gram else 0, owners_end[gram]):
                one = owners[o]
                if met[one] != i:
                    met[one], hits[one], longest[one], last[one] = i, 0, 0, -2
                    touched[count] = one
                    count += 1
                run[one] = run[one] + 1 if last[one] == at - 1 else 1
                last[one] = at
                longest[one] = max(longest[one], run[one])
                hits[one] += fresh
        begin = ends[i]
        unit[i], overlap[i], span[i] = -1, 0, 0
        for k in range(count):
            one = touched[k]
            most = min(units_words[one], np.int64(hits[one]) * n) / units_words[one]
            if most < overlap[i]:
                continue
            covered, until = 0, 0
            for place in range(units_end[one - 1] if one else 0, units_end[one]):
                gram = places[place]
                if gram >= 0 and seen[gram] == i:
                    covered += place + n - (until if until > place else place)
                    until = place + n
            share = np.float32(covered / units_words[one])
            words_long = longest[one] + n - 1
            if share > overlap[i] or (share == overlap[i] and words_long > span[i]):
                unit[i], overlap[i], span[i] = one, share, words_long


@kernel
def find_whole(
    words: UInt64Array,
    ends: Int64Array,
    m: int,
    keys: UInt64Array,
    slots: Int32Array,
    owners: Int32Array,
    owners_end: Int64Array,
    offsets: Int64Array,
    units_begin: Int64Array,
    units_end: Int64Array,
    units_words: UInt64Array,
    unit: Int32Array,
    span: Int32Array,
) -> None:
    """For each text the longest unit all of whose words stand in it, one after the other, -1 if none does.

    A unit is looked for by one of its m-grams, which begins ``offsets[unit]`` words after its start.
    """
    leaves = _ONE
    for _ in range(m):
        leaves *= _PRIME
    begin = np.int64(0)
    for i in range(len(ends)):
        unit[i], span[i] = -1, 0
        window = _U64(0)
        for at in range(begin, ends[i]):
            window = window * _PRIME + words[at]
            if at - begin >= m:
                window -= words[at - m] * leaves
            if at - begin < m - 1:
                continue
            gram = gram_of(window, slots, keys)
            if gram < 0:
                continue
            for o in range(owners_end[gram - 1] if gram else 0, owners_end[gram]):
                one = owners[o]
                size = units_end[one] - units_begin[one]
                start = at - m + 1 - offsets[one]
                if size <= span[i] or start < begin or start + size > ends[i]:
                    continue
                same = True
                for k in range(size):
                    if words[start + k] != units_words[units_begin[one] + k]:
                        same = False
                        break
                if same:
                    unit[i], span[i] = one, size
        begin = ends[i]


@kernel
def read_whole(words: UInt64Array, ends: Int64Array, hashes: UInt64Array) -> None:
    """The hash of all words of each text."""
    begin = np.int64(0)
    for i in range(len(ends)):
        state = _SEED
        for at in range(begin, ends[i]):
            state = taken(state, words[at])
        hashes[i] = mixed(state)
        begin = ends[i]
