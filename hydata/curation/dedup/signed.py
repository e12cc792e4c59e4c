"""What is known of many texts: all that later steps need of them, so that the texts themselves can go."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from hydata.curation.dedup import kernels
from hydata.curation.dedup.kernels import Int64Array, UInt32Array, UInt64Array
from hydata.curation.dedup.minhash import band_keys, banding
from hydata.curation.dedup.shingles import Texts, end_to_end, read_texts
from hydata.errors import WarehouseError

HELD_BYTES = 1 << 30
"""Of shingles in memory: those of 2.5 million texts of 100 words."""

Fetched = tuple[UInt32Array, Int64Array, Int64Array]
"""Shingle sets: set i is ``values[begins[i]:ends[i]]``."""


@dataclass(frozen=True)
class Signed:
    """Of n texts: ``text`` and ``words`` as in ``Texts``; ``length``; how to get their band
    ``keys``, UInt32[bands, n], which can go again when pairs have been proposed; and how to ``fetch`` the
    shingle sets of some, by their numbers, ascending or not."""

    text: UInt64Array
    words: UInt64Array
    length: Int64Array
    keys: Callable[[], UInt32Array]
    fetch: Callable[[Int64Array], Fetched]


def sign_texts(texts: pa.Array, threshold: float) -> tuple[Texts, UInt32Array]:
    """Texts (Arrow strings; null counts as empty), read and signed: what is known of them and their band
    keys."""
    read = read_texts(texts)
    return read, band_keys(read.sets, threshold)


class Store:
    """Shingle values of many texts, a part at a time: in memory as long as these are few, then in a file
    without a name in ``folder``, which goes with ``close`` or with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[UInt32Array] = []
        self._file: IO[bytes] | None = None
        self._begins = [0]

    def add(self, values: UInt32Array) -> None:
        """Keep one more part.

        Raises:
            WarehouseError: the folder has no room.
        """
        self._begins.append(self._begins[-1] + len(values))
        self._held.append(values)
        if self._file is not None or self._begins[-1] * values.itemsize > HELD_BYTES:
            try:
                self._file = self._file or tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 # see close
                while self._held:
                    self._file.write(self._held.pop(0).data)
                self._file.flush()  # a full disk is to be known here
            except OSError as error:
                raise WarehouseError(
                    f"{self._folder}: no room for {self._begins[-1] * values.itemsize:,} bytes of shingles "
                    f"so far ({error}); all take two thirds of the texts; make room or write to another disk"
                ) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, begins: Int64Array, ends: Int64Array) -> Fetched:
        """Some sets, by the places of their values; places in the order in which they were added are fast."""
        parts = np.array(self._begins)
        order = np.argsort(begins, kind="stable")
        found = np.concatenate(([0], np.cumsum((ends - begins)[order])))
        values = np.empty(found[-1], np.uint32)
        bounds = np.searchsorted(begins[order], parts)
        for number, (low, high) in enumerate(pairwise(bounds.tolist())):
            if low < high:
                chosen, first = order[low:high], parts[number]
                room = values[found[low] : found[high]]
                kernels.take_sets(self._part(number), begins[chosen] - first, ends[chosen] - first, room)
        new_begins, new_ends = np.empty_like(begins), np.empty_like(ends)
        new_begins[order], new_ends[order] = found[:-1], found[1:]
        return values, new_begins, new_ends

    def _part(self, number: int) -> UInt32Array:
        if self._file is None:
            return self._held[number]
        part = np.empty(self._begins[number + 1] - self._begins[number], np.uint32)
        self._file.seek(self._begins[number] * part.itemsize)
        if self._file.readinto(part.data) != part.nbytes:  # type: ignore[attr-defined] # a raw or buffered file
            raise WarehouseError(f"{self._folder}: what was written there for a while is gone; run again")
        return part


@contextmanager
def gathered(parts: Iterable[tuple[Texts, UInt32Array]], threshold: float, folder: Path) -> Iterator[Signed]:
    """What ``sign_texts`` gave, in order. Shingles of more than ``HELD_BYTES`` are kept in ``folder`` for the
    while.

    Raises:
        WarehouseError: the folder has no room.
    """
    with closing(Store(folder)) as store:
        yield _gathered(parts, threshold, store)


def _gathered(parts: Iterable[tuple[Texts, UInt32Array]], threshold: float, store: Store) -> Signed:
    sizes: list[Int64Array] = []
    text: list[UInt64Array] = []
    words: list[UInt64Array] = []
    length: list[Int64Array] = []
    keys: list[UInt32Array] = []
    for read, found in parts:
        store.add(read.sets.values)
        sizes.append(read.sets.sizes)
        text.append(read.text)
        words.append(read.words)
        length.append(read.length)
        keys.append(found)
    offsets = np.concatenate(([0], np.cumsum(end_to_end(sizes, np.empty(0, np.int64)))))
    bands = np.empty((banding(threshold)[0], len(offsets) - 1), np.uint32)
    end = bands.shape[1]
    while keys:
        part = keys.pop()
        bands[:, end - len(part) : end] = part.T
        end -= len(part)
    return Signed(
        text=end_to_end(text, np.empty(0, np.uint64)),
        words=end_to_end(words, np.empty((0, 2), np.uint64)),
        length=end_to_end(length, np.empty(0, np.int64)),
        keys=lambda: bands,
        fetch=lambda rows: store.take(offsets[rows], offsets[rows + 1]),
    )
