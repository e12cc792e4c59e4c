"""What compiled kernels share: how they are compiled, how they hash, and how they read what Arrow holds.

A kernel is a plain loop for numba, without numba's own threads: it releases the interpreter's lock, so that
the caller's threads run kernels side by side, and nothing is left behind that a fork could hang on. Compiled
code is kept on disk beside the file of its kernel and is made anew when *that* file changes: after a change
here, or of a constant that a kernel imports, touch the files of the kernels that use it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

POINTS = 0x110000
"""Code points of Unicode."""
_U64 = np.uint64
_BARE: Any = {"nogil": True, "_nrt": False}
_PRIME = _U64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: multiplying by it loses nothing


def kernel(function: Any) -> Any:
    """Compiled at the first call and kept on disk, where there is a place for that."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # neither beside this file nor in the home folder, in a container perhaps
        return njit(nogil=True)(function)


def step(function: Any) -> Any:
    """As ``kernel``, for what kernels call and what allocates nothing: without numba's runtime, which counts
    references to each array of a call. That took half the time of a kernel that calls one for each word."""
    try:
        return njit(cache=True, **_BARE)(function)
    except RuntimeError:
        return njit(**_BARE)(function)


@kernel
def mixed(value: Any) -> Any:
    """MurmurHash3's 64-bit finaliser: every bit of the input reaches every bit of the output."""
    value = value ^ (value >> _U64(33))
    value = value * _U64(0xFF51AFD7ED558CCD)
    value = value ^ (value >> _U64(33))
    value = value * _U64(0xC4CEB9FE1A85EC53)
    return value ^ (value >> _U64(33))


@kernel
def taken(state: Any, value: Any) -> Any:
    """A running 64-bit hash that has taken in one more value."""
    return (((state << _U64(23)) | (state >> _U64(41))) ^ value) * _PRIME


@step
def decoded(data: Any, at: Any, end: Any) -> Any:
    """The code point at ``at``, and where the next one begins. A byte that is no UTF-8 is one of its own."""
    first = np.int64(data[_U64(at)])
    if first < 0x80:
        return first, at + 1
    if first < 0xC0 or first >= 0xF8:
        return 0xFFFD, at + 1
    length = 2 if first < 0xE0 else (3 if first < 0xF0 else 4)
    if at + length > end:
        return 0xFFFD, end
    point = ((first & (0x7F >> length)) << 6) | (np.int64(data[_U64(at + 1)]) & 0x3F)
    if length > 2:
        point = (point << 6) | (np.int64(data[_U64(at + 2)]) & 0x3F)
        if length > 3:
            point = (point << 6) | (np.int64(data[_U64(at + 3)]) & 0x3F)
    return (point if point < POINTS else 0xFFFD), at + length


def utf8(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of an Arrow array of strings and the offsets of its texts; copied only where the array has
    nulls, or is not of 64-bit offsets."""
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    if not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    _, places, held = texts.buffers()
    data, offsets = np.empty(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    if len(texts) and held is not None:
        data = np.frombuffer(held, np.uint8)
        offsets = np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    # Some of Arrow's arrays can be written to; a kernel is compiled for each kind.
    data.flags.writeable = offsets.flags.writeable = False
    return data, offsets
