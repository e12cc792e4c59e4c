"""Embeddings on the wire: ``POST /embeddings``, texts in, one vector each out.

A request is a batch of texts and has a reply for each, which the journal keeps as base64 of its numbers
(Float32, little-endian), as OpenAI, vLLM and llama.cpp send them when they are asked for ``encoding_format:
base64``; lists of numbers from servers that do not know it are taken as well.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import orjson

from hydata.errors import TransientModelError
from hydata.models.config import Sampling
from hydata.models.protocol import (
    BYTES_A_TOKEN,
    EMBEDDINGS,
    MANY,
    Form,
    Model,
    Reply,
    Request,
    excerpt,
    loads,
)
from hydata.schema import framed

__all__ = ["decode", "prepare", "read_embeddings", "written"]

_NUMBER = np.dtype("<f4")


def prepare(model: Model) -> Form:
    """The form of embedding requests to a model."""
    return Form(
        sampling=Sampling(max_tokens=1),  # nothing is written, and so little is set aside of a budget
        body_head=b'{"model":' + json.dumps(model.served).encode() + b',"input":',
        body_tail=b',"encoding_format":"base64"}',
        key_head=framed("embedding 1", model.identity),
        key_tail=b"",
        key_end=b"",
        path=EMBEDDINGS,
    )


def written(texts: Sequence[str]) -> bytes:
    """Texts as JSON; lone surrogates, which no server takes, are replaced."""
    try:
        return orjson.dumps(list(texts))
    except TypeError:
        return orjson.dumps(
            [text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace") for text in texts]
        )


def read_embeddings(request: Request, data: bytes, seconds: float) -> list[Reply]:
    """The server's body of a 200 as a reply to each text of ``request``, as ``protocol.read_replies``.

    Raises:
        TransientModelError: these are not embeddings, one for each text.
    """
    try:
        body = loads(data)
        rows = sorted(body["data"], key=lambda row: row.get("index") or 0)
        if any("index" in row for row in rows) and [row["index"] for row in rows] != list(range(len(rows))):
            raise ValueError("indices that are not 0, 1, 2 and so on")
        vectors = [_vector(row["embedding"]) for row in rows]
        tokens = int((body.get("usage") or {}).get("prompt_tokens") or 0)
        if len(vectors) != len(request.keys):
            raise ValueError(f"{len(vectors)} vectors for {len(request.keys)} texts")
        if not all(vector.size and np.isfinite(vector).all() for vector in vectors) or not 0 <= tokens < MANY:
            raise ValueError("a number that is none")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise TransientModelError(
            f"{request.model.name}: not embeddings ({error}): {excerpt(data)}"
        ) from error
    tokens = tokens or len(request.messages) // BYTES_A_TOKEN
    return [
        Reply(
            text=base64.b64encode(vector.tobytes()).decode(),
            reasoning=None,
            finish_reason="stop",
            model=request.model.identity,
            request_hash=key,
            sampling=request.form.sampling,
            prompt_tokens=0 if place else tokens,
            completion_tokens=0,
            seconds=seconds,
            cached=False,
        )
        for place, (key, vector) in enumerate(zip(request.keys.values(), vectors, strict=True))
    ]


def _vector(embedding: object) -> npt.NDArray[np.float32]:
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), _NUMBER)
    vector = np.array(embedding, _NUMBER)
    if vector.ndim != 1:
        raise ValueError("a vector that is none")
    return vector


def decode(text: str) -> npt.NDArray[np.float32]:
    """The vector of a reply's text."""
    return np.frombuffer(base64.b64decode(text), _NUMBER)
