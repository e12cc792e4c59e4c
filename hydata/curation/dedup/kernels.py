"""The compiled kernels: everything that looks at each character, shingle or pair.

Plain loops for numba, as ``hydata.compiled`` says. numba widens 32-bit arithmetic to 64 bits, and
64-bit arithmetic with a plain number to a signed or a floating-point one: hence the casts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hydata.compiled import decoded, kernel, mixed, taken
from hydata.curation.characters import CHARACTER, SPACE, WORD
from hydata.curation.dedup.characters import CLASS_SHIFT, EXPANDS, POINT

UInt8Array = npt.NDArray[np.uint8]
UInt32Array = npt.NDArray[np.uint32]
UInt64Array = npt.NDArray[np.uint64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

SHINGLE_WORDS = 5
ASCII = 0x80
BUCKETED = 4096
"""Shingles that are sorted into buckets at the most: texts could be made whose hashes all fall into one."""

_U32, _U64 = np.uint32, np.uint64
_PRIME = _U64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: multiplying by it loses nothing
_PRIME_2 = _U64(0xD6E8FEB86659FD93)
_SEED, _SEED_2 = _U64(0x243F6A8885A308D3), _U64(0x13198A2E03707344)  # of pi
_LEAVES = _U64(pow(int(_PRIME), SHINGLE_WORDS, 2**64))
_POINT, _JOINS_BIT, _KIND = _U32(POINT), _U32(31), _U32(CLASS_SHIFT)


@kernel
def premixed(value: Any) -> Any:
    """MurmurHash3's 32-bit finaliser, which datasketch applies before its permutations."""
    value = _U32(value ^ (value >> _U32(16)))
    value = _U32(value * _U32(0x85EBCA6B))
    value = _U32(value ^ (value >> _U32(13)))
    value = _U32(value * _U32(0xC2B2AE35))
    return _U32(value ^ (value >> _U32(16)))


@kernel
def add_word(state: Any, count: Any, word: Any, out: Any, made: Any) -> Any:
    """Take in one more word of a text: ``state`` is the window's polynomial, the two hashes of all words and
    the last words in a ring. Writes a shingle once there are enough words; how many there are now."""
    value = mixed(word)
    place = 3 + count % SHINGLE_WORDS
    window = state[0] * _PRIME + value
    if count >= SHINGLE_WORDS:
        window -= state[place] * _LEAVES
    state[0], state[place] = window, value
    state[1] = taken(state[1], value)
    state[2] = (state[2] ^ value) * _PRIME_2 + (state[2] >> _U64(29))
    if count + 1 >= SHINGLE_WORDS:
        out[made] = _U32(mixed(window) >> _U64(32))
        return made + 1
    return made


@kernel
def read_texts(
    data: UInt8Array,
    offsets: Int64Array,
    entries: UInt32Array,
    expansions: UInt32Array,
    text_hashes: UInt64Array,
    word_hashes: UInt64Array,
    lengths: Int64Array,
    joins: BoolArray,
    values: UInt32Array,
    ends: Int64Array,
) -> None:
    """Texts, as UTF-8 and offsets, to the hash of their normal form, the two hashes of their words (of their
    shingle, if they have but one), their lengths in characters, whether one of these ``joins``, and their
    shingles: ascending, each once, end to end in ``values``, those of text i up to ``ends[i]``."""
    state = np.zeros(3 + SHINGLE_WORDS, np.uint64)
    spare = np.empty(3 * BUCKETED + 1, np.uint32)
    made = np.int64(0)
    for i in range(len(offsets) - 1):
        at, end = offsets[i], offsets[i + 1]
        state[:] = 0
        state[1], state[2] = _SEED, _SEED_2
        text, word = _SEED, _SEED
        begun = made
        count = characters = np.int64(0)
        in_word = waiting = started = False
        found = False
        while at < end:
            if data[at] < ASCII and entries[data[at]] >> _KIND == WORD:  # most of most texts
                begin = at
                while at < end and data[at] < ASCII and entries[data[at]] >> _KIND == WORD:
                    word = taken(word, _U64(entries[data[at]] & _POINT))
                    at += 1
                characters += at - begin
                in_word = True
                continue
            point, at = decoded(data, at, end)
            characters += 1
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
                value = _U64(entry & _POINT)
                if kind == WORD:
                    word = taken(word, value)
                    in_word = True
                else:
                    if in_word:
                        if waiting:
                            text = taken(text, _U64(32))
                        text = taken(text, word)
                        waiting, started = False, True
                        made = add_word(state, count, word, values, made)
                        count += 1
                        word, in_word = _SEED, False
                    if kind == SPACE:
                        waiting = started
                    else:
                        if waiting:
                            text = taken(text, _U64(32))
                        text = taken(text, value)
                        waiting, started = False, True
                        if kind == CHARACTER:
                            made = add_word(state, count, taken(_SEED, value), values, made)
                            count += 1
                place += 1
                if place >= stop:
                    break
                entry = expansions[place]
        if in_word:
            if waiting:
                text = taken(text, _U64(32))
            text = taken(text, word)
            made = add_word(state, count, word, values, made)
            count += 1
        text = mixed(text)
        if count < SHINGLE_WORDS:  # the whole text is its shingle; without a word, its characters are
            state[0] = (state[0] if count else text) + _U64(count + 1) * _PRIME_2
            values[made] = _U32(mixed(state[0]) >> _U64(32))
            made += 1
        made = begun + unique_in_place(values[begun:made], spare)
        if made == begun + 1:  # 32 bits alone must not tell two such texts apart
            state[1], state[2] = state[0], state[0] ^ _SEED_2
        text_hashes[i] = text
        word_hashes[i, 0], word_hashes[i, 1] = mixed(state[1]), mixed(state[2])
        lengths[i] = characters
        joins[i] = found
        ends[i] = made


@kernel
def unique_in_place(values: UInt32Array, spare: UInt32Array) -> int:
    """Sort, and move the different values to the front; how many they are."""
    count = len(values)
    if 8 < count <= BUCKETED:
        sort_bucketed(values, spare)
    else:
        values.sort()
    kept = 1
    for k in range(1, count):
        if values[k] != values[kept - 1]:
            values[kept] = values[k]
            kept += 1
    return kept


@kernel
def sort_bucketed(values: UInt32Array, spare: UInt32Array) -> None:
    """Sort up to ``BUCKETED`` values that are spread evenly, as hashes are: into about as many buckets by
    their highest bits, then by insertion. A sixth of the time of numba's own sort."""
    bits = 3
    while (1 << bits) < len(values):
        bits += 1
    shift = _U32(32 - bits)
    places = spare[: (1 << bits) + 1]
    moved = spare[len(places) : len(places) + len(values)]
    places[:] = 0
    for value in values:
        places[(value >> shift) + 1] += _U32(1)
    for bucket in range(1, len(places)):
        places[bucket] += places[bucket - 1]
    for value in values:
        bucket = value >> shift
        moved[places[bucket]] = value
        places[bucket] += _U32(1)
    values[0] = moved[0]
    for k in range(1, len(values)):
        value = moved[k]
        at = k - 1
        while at >= 0 and values[at] > value:
            values[at + 1] = values[at]
            at -= 1
        values[at + 1] = value


@kernel
def key_bands(signature: UInt32Array, rows: int, keys: UInt32Array) -> None:
    """A key for each band, of ``rows`` values each, of a signature."""
    for band in range(len(keys)):
        key = _U64(band)
        for k in range(band * rows, (band + 1) * rows):
            key = mixed(key + _U64(signature[k]))
        keys[band] = _U32(key >> _U64(32))


@kernel
def key_signatures(signatures: UInt32Array, rows: int, keys: UInt32Array) -> None:
    """Signatures to band keys."""
    for i in range(len(signatures)):
        key_bands(signatures[i], rows, keys[i])


@kernel
def sign(
    values: UInt32Array,
    ends: Int64Array,
    multipliers: UInt32Array,
    addends: UInt32Array,
    rows: int,
    keys: UInt32Array,
    signatures: UInt32Array,
) -> None:
    """Shingle sets to MinHash signatures and, of every ``rows`` of their values, to band keys. The signatures
    are kept if there is room for them."""
    count = len(multipliers)
    signature = np.empty(count, np.uint32)
    begin = np.int64(0)
    for i in range(len(ends)):
        signature[:] = _U32(0xFFFFFFFF)
        for at in range(begin, ends[i]):
            value = premixed(values[at])
            for k in range(count):
                permuted = _U32(_U32(multipliers[k] * value) + addends[k])
                signature[k] = min(signature[k], permuted)
        begin = ends[i]
        if keys.shape[1]:
            key_bands(signature, rows, keys[i])
        if len(signatures):
            signatures[i] = signature


@kernel
def bucket_pairs(
    ordered: UInt64Array, pairs: UInt64Array, all_pairs: int, predecessors: int, crowded: BoolArray
) -> int:
    """Pairs inside runs of equal keys, ``earlier << 32 | later``; ``ordered`` is ``key << 32 | row``,
    ascending. Of a run of more than ``all_pairs`` rows each is paired with the first and its ``predecessors``
    only, and is ``crowded``. Returns how many pairs there are; they are written if there is room for all."""
    made = 0
    begin = 0
    low = _U64(0xFFFFFFFF)
    while begin < len(ordered):
        end = begin + 1
        key = ordered[begin] >> _U64(32)
        while end < len(ordered) and ordered[end] >> _U64(32) == key:
            end += 1
        reach = end - begin
        if reach > all_pairs:
            reach = predecessors
            for at in range(begin, end):
                crowded[ordered[at] & low] = True
        for later in range(begin + 1, end):
            first = max(begin, later - reach)
            if len(pairs):
                row = ordered[later] & low
                for earlier in range(first, later):
                    pairs[made + earlier - first] = (ordered[earlier] & low) << _U64(32) | row
                if first > begin:
                    pairs[made + later - first] = (ordered[begin] & low) << _U64(32) | row
            made += later - first + (1 if first > begin else 0)
        begin = end
    return made


@kernel
def take_sets(values: UInt32Array, begins: Int64Array, ends: Int64Array, taken_values: UInt32Array) -> None:
    """Some sets, end to end."""
    made = 0
    for i in range(len(begins)):
        for at in range(begins[i], ends[i]):
            taken_values[made] = values[at]
            made += 1


@kernel
def count_shared(
    values: UInt32Array,
    begins: Int64Array,
    ends: Int64Array,
    pairs: UInt64Array,
    threshold: float,
    shared: Int32Array,
) -> None:
    """For each pair of sets how many shingles they share, or -1 if their Jaccard similarity is under
    ``threshold``; given up as soon as that is sure."""
    for p in range(len(pairs)):
        one, two = np.int64(pairs[p] >> _U64(32)), np.int64(pairs[p] & _U64(0xFFFFFFFF))
        i, i_end, j, j_end = begins[one], ends[one], begins[two], ends[two]
        total = (i_end - i) + (j_end - j)
        # s / (total - s) >= t where s >= t / (1 + t) * total
        needed = np.int64(np.ceil(threshold / (1.0 + threshold) * total - 1e-6))
        shared[p] = -1
        if (
            total == 2
        ):  # one shingle each: were these equal, and not their hashes alone, so would the texts be
            continue
        same = np.int64(0)
        while i < i_end and j < j_end:
            if same + min(i_end - i, j_end - j) < needed:
                break
            a, b = values[i], values[j]
            same += a == b
            i += a <= b
            j += b <= a
        if same >= needed and same / (total - same) >= threshold:
            shared[p] = same


@kernel
def count_values(
    values: UInt32Array, begins: Int64Array, ends: Int64Array, shift: int, counts: UInt32Array
) -> None:
    """In how many of the sets each value is, counted together with the few others that are equal to it but
    for the lowest ``shift`` bits."""
    for i in range(len(begins)):
        for at in range(begins[i], ends[i]):
            counts[values[at] >> _U32(shift)] += _U32(1)


@kernel
def rarest(
    values: UInt32Array,
    begins: Int64Array,
    ends: Int64Array,
    lengths: Int64Array,
    shift: int,
    counts: UInt32Array,
    number: int,
    leads: UInt64Array,
    found: Int64Array,
    entries: UInt64Array,
) -> None:
    """``value << 32 | set`` for the rarest values of each set, as many as ``lengths`` says, by ``counts`` and
    then by value. Left out are those that no other set has. Sets are numbered from ``number``; ``found`` is
    how many entries each has, ``leads`` the count and the value of its first, 0 if there is none."""
    made = 0
    for i in range(len(begins)):
        size = ends[i] - begins[i]
        ordered = np.empty(size, np.uint64)
        for k in range(size):
            value = values[begins[i] + k]
            ordered[k] = _U64(counts[value >> _U32(shift)]) << _U64(32) | _U64(value)
        ordered.sort()
        leads[i], before = 0, made
        for k in range(lengths[i]):
            if ordered[k] >> _U64(32) > _U64(1):
                if made == before:
                    leads[i] = ordered[k]
                entries[made] = ordered[k] << _U64(32) | _U64(number + i)
                made += 1
        found[i] = made - before


@kernel
def renumber(entries: UInt64Array, order: Int64Array) -> None:
    """Give each set of ``value << 32 | set`` the number of its place in ``order``."""
    places = np.empty(len(order), np.uint64)
    for place in range(len(order)):
        places[order[place]] = place
    for at in range(len(entries)):
        entries[at] = entries[at] >> _U64(32) << _U64(32) | places[entries[at] & _U64(0xFFFFFFFF)]


@kernel
def index_prefixes(entries: UInt64Array, free: Int64Array, places: Int64Array) -> None:
    """``entries``, ``value << 32 | set`` ascending, become ``steps to the first of this value << 32 | set``;
    ``places`` of the entries of each set come to stand side by side, from ``free[set]`` on."""
    value, begin = _U64(0), 0
    for at in range(len(entries)):
        if at == 0 or entries[at] >> _U64(32) != value:
            value, begin = entries[at] >> _U64(32), at
        one = entries[at] & _U64(0xFFFFFFFF)
        places[free[one]] = at
        free[one] += 1
        entries[at] = _U64(at - begin) << _U64(32) | one


@kernel
def join_prefixes(
    entries: UInt64Array,
    offsets: Int64Array,
    places: Int64Array,
    sizes: Int64Array,
    rows: Int64Array,
    threshold: float,
    all_pairs: int,
    predecessors: int,
    later: int,
    met: Int64Array,
    pairs: UInt64Array,
) -> tuple[int, int]:
    """Pairs of sets that share a value, ``lesser row << 32 | greater row``, each once: of sets in the order
    of size, those from ``later`` on with those before them, as long as there is surely room. Of a value of
    more than ``all_pairs`` sets each is paired with the first and its ``predecessors`` only. Returns the set
    to go on with and the number of pairs. ``met``: the last set that one was paired with."""
    low, made = _U64(0xFFFFFFFF), 0
    while later < len(rows):
        begin, end = offsets[later], offsets[later + 1]
        if made + min(later, (end - begin) * all_pairs) > len(pairs):
            break
        least = threshold * sizes[later] - 1e-6
        for place in places[begin:end]:
            first = place - np.int64(entries[place] >> _U64(32))
            crowd = first + all_pairs
            # An entry that is so many steps from its first has the same first.
            many = crowd < len(entries) and entries[crowd] >> _U64(32) == _U64(all_pairs)
            nearest = max(first, place - predecessors) if many else first
            for at in range(nearest - (nearest > first), place):
                earlier = np.int64(entries[at if at >= nearest else first] & low)
                if met[earlier] != later and sizes[earlier] >= least:
                    met[earlier] = later
                    one, two = rows[earlier], rows[later]
                    pairs[made] = _U64(min(one, two)) << _U64(32) | _U64(max(one, two))
                    made += 1
        later += 1
    return later, made


@kernel
def join_components(labels: Int64Array, ones: Int64Array, twos: Int64Array) -> None:
    """Union-find: ``labels``, at first each row's own number, become the least number of its component."""
    for p in range(len(ones)):
        one, two = ones[p], twos[p]
        while labels[one] != one:
            labels[one] = labels[labels[one]]
            one = labels[one]
        while labels[two] != two:
            labels[two] = labels[labels[two]]
            two = labels[two]
        if one < two:
            labels[two] = one
        elif two < one:
            labels[one] = two
    for row in range(len(labels)):
        labels[row] = labels[labels[row]]


@kernel
def lead(
    earlier: UInt64Array,
    later: UInt64Array,
    similarity: Float32Array,
    admitted: int,
    leader: Int64Array,
    best: Float32Array,
) -> None:
    """The leader pass over pairs in the order of their later row: a row that is paired with an earlier one
    that is kept is dropped, in favour of the most similar of these, the first if several are. The first
    ``admitted`` rows are never dropped."""
    for p in range(len(earlier)):
        one, two = np.int64(earlier[p]), np.int64(later[p])
        if leader[one] != one or two < admitted:
            continue
        if leader[two] == two or similarity[p] > best[two]:
            leader[two], best[two] = one, similarity[p]
