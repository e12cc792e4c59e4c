"""Offline batches: requests left to files instead of being sent, and their results read into the journal.

An ``Outbox`` stands where the servers would. Each request that the journal does not answer becomes a line of
a JSONL file in OpenAI's batch format, which ``vllm run-batch`` and the batch services of others read, and
the journal is told to expect its reply. The line's ``custom_id`` is the journal's key, so results may come
back in any order, in parts, more than once, from several places. ``read_results`` takes what is a reply to
something expected and accounts for every other line.

A reply is journalled as if a server had given it, and the next run goes on from there. What depends on it
is asked for then: a JSON reply that was cut off or did not parse leads to a further request, as would the
next vote of a label, so a stage may take several rounds of writing and reading.

    {"custom_id": KEY, "method": "POST", "url": "/v1/chat/completions", "body": {...}}
    {"custom_id": KEY, "response": {"status_code": 200, "body": {...}}, "error": null}
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from hydata.errors import ConfigError, WarehouseError
from hydata.models.journal import Entry, Journal
from hydata.models.protocol import (
    NEVER,
    Content,
    Request,
    encode_reply,
    loads,
    read_completion,
    refusal,
    request_body,
    server_words,
)
from hydata.models.usage import Ledger

URL = "/v1/chat/completions"
MAX_REQUESTS = 50_000
MAX_BYTES = 200_000_000
"""What OpenAI takes in one file, requests and bytes; it also wants one model a file, as vLLM serves one."""
PIECE = 1024
LONGEST = 16 << 20
"""Bytes of a line of results, at the most: a hundred times a reply that fills the longest context."""
PLACES = 5
KEY = re.compile(r"[0-9a-f]{32}")


# --- writing -------------------------------------------------------------------------------------------


@dataclass(eq=False)
class BatchFile:
    """A file of requests to the model that its server knows as ``served``; ``aside`` is where it grows."""

    path: Path
    aside: Path
    served: str
    out: IO[bytes]
    requests: int = 0
    size: int = 0


class Outbox:
    """Takes requests and writes them to ``path``, and when that is full or they are for another model, to
    files with ``-2``, ``-3`` ... in their names. To be used as a context: the files appear when its body is
    through, or not at all.

    Only requests of ``step`` are written (None: of any); ``steps`` counts all that were taken. ``only_new``
    leaves out what the journal expects from an earlier batch; ``again`` counts those, whether they were
    left out or written once more.
    """

    def __init__(
        self, path: Path, step: str | None = None, only_new: bool = False, max_requests: int = MAX_REQUESTS
    ) -> None:
        self.files: list[BatchFile] = []
        self.steps: Counter[str] = Counter()
        self.again = 0
        self._path = path
        self._step = step
        self._only_new = only_new
        self._max_requests = max_requests
        self._seen: set[bytes] = set()
        self._waiting: dict[str, Request] = {}
        self._growing: dict[tuple[str, str], BatchFile] = {}
        self._open = ExitStack()
        self._journal: Path | None = None
        self._registered: list[bytes] = []

    @property
    def requests(self) -> int:
        """How many were written."""
        return sum(file.requests for file in self.files)

    def __enter__(self) -> Self:
        """
        Raises:
            ConfigError: there are such files already, whose requests may be under way somewhere.
        """
        numbered = re.compile(re.escape(self._path.stem) + r"(-[0-9]+)?" + re.escape(self._path.suffix))
        there = sorted(file for file in self._path.parent.glob("*") if numbered.fullmatch(file.name))
        if there:
            raise ConfigError(
                f"{there[0]} is there already: have its requests answered and read the results, then remove "
                "it; or name another file"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._open.close()
            if error is None:
                for file in self.files:
                    file.aside.replace(file.path)
        finally:
            for file in self.files:
                file.aside.unlink(missing_ok=True)
            # Nobody will answer what was never written; a journal that has failed cannot be told so.
            failed = error is not None and not isinstance(error, WarehouseError)
            if failed and self._journal is not None:
                with closing(Journal(self._journal)) as journal:
                    journal.forget(name.hex() for name in self._registered)

    def put(self, request: Request, journal: Journal) -> None:
        """Take a request for one sample; one that was taken before is left as it is.

        Raises:
            WarehouseError: the journal cannot be written.
            OSError: the file cannot be written.
        """
        (key,) = request.keys.values()
        name = bytes.fromhex(key)
        if name in self._seen:
            return
        self._seen.add(name)
        step = request.purpose.partition("/")[0]
        self.steps[step] += 1
        if self._step not in (None, step):
            return
        self._waiting[key] = request
        if len(self._waiting) == PIECE:
            self.flush(journal)

    def flush(self, journal: Journal) -> None:
        """Write what was taken, once the journal expects it.

        Raises:
            As ``put``.
        """
        waiting, self._waiting = self._waiting, {}
        known = journal.expected(list(waiting))
        self.again += len(known)
        if self._only_new:
            waiting = {key: request for key, request in waiting.items() if key not in known}
        self._journal = journal.path
        self._registered += [bytes.fromhex(key) for key in waiting if key not in known]
        journal.expect((key, r.purpose, r.model.identity) for key, r in waiting.items())
        for key, request in waiting.items():
            head = f'{{"custom_id":"{key}","method":"POST","url":"{URL}","body":'.encode()
            line = b"".join((head, request_body(request), b"}\n"))
            file = self._file(request, len(line))
            file.out.write(line)
            file.requests += 1
            file.size += len(line)

    def _file(self, request: Request, size: int) -> BatchFile:
        """The file that a line of so many bytes for this model belongs to."""
        model = request.model
        file = self._growing.get((model.identity, model.served))
        if file is None or file.requests == self._max_requests or file.size + size > MAX_BYTES:
            number = f"-{len(self.files) + 1}" if self.files else ""
            path = self._path.with_stem(self._path.stem + number)
            aside = path.with_name(f"{path.name}.tmp-{os.getpid()}")
            path.parent.mkdir(parents=True, exist_ok=True)
            file = BatchFile(path, aside, model.served, self._open.enter_context(aside.open("wb")))
            self._growing[model.identity, model.served] = file
            self.files.append(file)
        return file


# --- reading -------------------------------------------------------------------------------------------


@dataclass
class Problem:
    """Lines that gave no reply for the same reason: how many, where the first ones are (file:line), and what
    was said of the first, if anything was."""

    lines: int = 0
    places: list[str] = field(default_factory=list)
    words: str = ""


@dataclass
class Results:
    """What came of result files. ``added`` replies are new in the journal, ``already`` were there,
    ``given_up`` stand there as refused for good. ``problems``, by what was wrong, account for the other
    lines; ``failed`` of them were requests of ours that failed: they stay pending. ``ledger`` counts the
    tokens of what was added."""

    added: int = 0
    already: int = 0
    given_up: int = 0
    failed: int = 0
    problems: dict[str, Problem] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)

    def note(self, what: str, place: str, words: str = "") -> None:
        """Account for a line that gave no reply."""
        problem = self.problems.setdefault(what, Problem(words=words))
        problem.lines += 1
        if len(problem.places) < PLACES:
            problem.places.append(place)


@dataclass(frozen=True, slots=True)
class Answer:
    """A line of results: the ``content`` that answers the request ``key``, or None and why: ``failure`` in a
    word or two, the server's ``words``, and ``reason`` if that request will never be answered."""

    place: str
    key: str
    content: Content | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    failure: str = ""
    words: str = ""
    reason: str | None = None


async def read_results(paths: Iterable[Path], journal: Journal, give_up: bool = False) -> Results:
    """Put the replies in result files into the journal. A line that is none is counted, whatever it holds.

    Failed requests stay pending. ``give_up`` takes those that a server refused for good (too long, a bad
    request, content) as answered so: each becomes a reject of its stage.

    Raises:
        WarehouseError: the journal cannot be written; what was added stays.
        OSError: a file cannot be read.
    """
    results = Results()
    answers: list[Answer] = []
    size = 0
    for path in paths:
        with path.open("rb") as f:
            for number, line in _lines(f):
                place = f"{path.name}:{number}"
                try:
                    answers.append(_read(place, line))
                except ValueError as error:
                    results.note(str(error), place)
                size += len(line)
                if len(answers) == PIECE or size > LONGEST:
                    await _add(answers, journal, results, give_up)
                    answers, size = [], 0
    await _add(answers, journal, results, give_up)
    return results


def _lines(f: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """The lines that hold something with their numbers, each up to ``LONGEST`` bytes and its end."""
    number = 0
    while line := f.readline(LONGEST + 1):
        number += 1
        end = line
        while len(line) > LONGEST and not end.endswith(b"\n") and (end := f.readline(LONGEST)):
            pass  # the rest of it
        if line.strip():
            yield number, line


def _read(place: str, line: bytes) -> Answer:
    """Raises ValueError, in a few words, if the line is no result of a batch."""
    if len(line) > LONGEST:
        raise ValueError(f"longer than {LONGEST >> 20} MiB")
    try:
        result = loads(line)
    except ValueError:
        raise ValueError("not JSON" if line.endswith(b"\n") else "cut off") from None
    if not isinstance(result, dict) or not isinstance(result.get("custom_id"), str):
        raise ValueError("no result of a batch")
    response, key = result.get("response"), result["custom_id"]
    if not isinstance(response, dict):
        return Answer(place, key, failure="no response", words=_words(result.get("error")))
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and not result.get("error"):
        try:
            (content, *_), prompt, completion = read_completion(body)
        except ValueError:
            return Answer(place, key, failure="no chat completion", words=_words(body))
        return Answer(place, key, content, prompt, completion)
    words = _words(result.get("error") or body)
    if not isinstance(status, int) or not 100 <= status < 600:
        return Answer(place, key, failure="no response", words=words)
    return Answer(place, key, failure=f"HTTP {status}", words=words, reason=refusal(status, words))


def _words(said: Any) -> str:
    """What a server said of a failure: OpenAI has an error's message in the response's body or beside the
    response, vLLM the whole envelope or a plain text beside it."""
    words = server_words(json.dumps({"error": said} if isinstance(said, str) else said).encode())
    return words.encode("utf-8", "replace").decode()  # half a surrogate pair fits in no file


async def _add(answers: Sequence[Answer], journal: Journal, results: Results, give_up: bool) -> None:
    known = [answer.key for answer in answers if KEY.fullmatch(answer.key)]
    stored = set(await journal.find_many(known))
    expected = journal.expected(known)
    entries: dict[str, Entry] = {}
    for answer in answers:
        key, content = answer.key, answer.content
        if key in stored or key in entries:
            results.already += 1
            continue
        if key not in expected:
            results.note("of no batch of this warehouse", answer.place)
            continue
        if content is None and give_up and answer.reason is not None:
            content = answer.words, None, NEVER + answer.reason
            results.given_up += 1
        elif content is None:
            results.failed += 1
            results.note(answer.failure, answer.place, answer.words)
            continue
        else:
            results.added += 1
        purpose, model = expected[key]
        entries[key] = Entry(
            key=key,
            purpose=purpose,
            model=model,
            reply=encode_reply(*content),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            seconds=0.0,
        )
        counters = results.ledger.of(purpose, model)
        counters.replies += answer.content is not None
        counters.refused += answer.content is None
        counters.prompt_tokens += answer.prompt_tokens
        counters.completion_tokens += answer.completion_tokens
    await asyncio.gather(*(journal.add(entry) for entry in entries.values()))
