"""A chat-completions server that costs next to nothing, so that a benchmark measures its client.

    python stub.py instant|realistic CORE     # prints its port and serves until its standard input ends

A bare asyncio protocol on uvloop, pinned to one core. ``instant`` answers at once; ``realistic`` takes its
time and fails a tenth of the attempts (``workload.attempt``). ``GET /stats`` says what was seen.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket
import struct
import sys
import time
from dataclasses import asdict
from typing import cast

import uvloop
from seen import Seen
from workload import DIGITS, ENDING, MARK, OVERLOAD, attempt

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)
CLOSE = re.compile(rb"\r\nconnection: *close", re.I)
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of zero seconds: closing sends RST."""

TEXT = (
    f"This answer belongs to {{mark}}. {'It says the same as any other one, at some length. ' * 17}{ENDING}"
)
MESSAGE = {"role": "assistant", "content": TEXT}
BODY = {
    "id": "chatcmpl-0",
    "object": "chat.completion",
    "created": 1,
    "model": "stub",
    "choices": [{"index": 0, "message": MESSAGE, "finish_reason": "stop", "logprobs": None}],
    "usage": {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300},
}
BEFORE, AFTER = json.dumps(BODY).encode().split(b"{mark}")
MODELS = {"object": "list", "data": [{"id": "stub", "object": "model", "owned_by": "stub"}]}
GARBAGE = b'{"choices": [{"index": 0, "message": {"role": "assist<html>upstream went away</html>'


def response(status: str, body: bytes, headers: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    )
    return head.encode() + body


def refusal(status: str, headers: str = "") -> bytes:
    return response(status, json.dumps({"error": {"message": "out of luck"}}).encode(), headers)


# All answers have the same length, so one head is everybody's: an answer is START, the item's number, END.
START = response("200 OK", BEFORE + MARK + b"0" * DIGITS + b"]" + AFTER)[: -DIGITS - 1 - len(AFTER)]
END = b"]" + AFTER
FAILURES = {
    "HTTP 500": refusal("500 Internal Server Error"),
    "HTTP 503": refusal("503 Service Unavailable", "Retry-After: 1\r\n"),
    "HTTP 429": refusal("429 Too Many Requests", "Retry-After: 1\r\n"),
    "garbage JSON": response("200 OK", GARBAGE),
}


class Stub:
    """The state that all connections share."""

    def __init__(self, realistic: bool) -> None:
        self.realistic = realistic
        self.seen = Seen()
        self._tries: dict[bytes, int] = {}
        self._answered: set[bytes] = set()
        self._serving = 0
        self._area = 0.0
        self._start = self._since = 0.0

    def arrived(self, key: bytes) -> int:
        """The number of this attempt at the item, from 0."""
        seen = self.seen
        now = time.perf_counter()
        if not seen.requests:
            self._start = self._since = now
        seen.requests += 1
        number = self._tries.get(key, 0)
        self._tries[key] = number + 1
        self._count(now, 1)
        if number == 0:
            seen.distinct += 1
            seen.fed, seen.occupied = now - self._start, self._area
        return number

    def left(self, key: bytes, fault: str | None) -> None:
        """The attempt has its outcome."""
        now = time.perf_counter()
        seen = self.seen
        self._count(now, -1)
        if fault is not None:
            seen.faults[fault] = seen.faults.get(fault, 0) + 1
        elif key in self._answered:
            seen.again += 1
        else:
            self._answered.add(key)
            seen.answered += 1
            if seen.answered % 100 == 0:
                seen.every_hundredth.append(now - self._start)

    def abandoned(self) -> None:
        """The client went away before its outcome."""
        self._count(time.perf_counter(), -1)
        self.seen.abandoned += 1

    def stats(self) -> bytes:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self.seen.cpu_seconds = usage.ru_utime + usage.ru_stime
        return json.dumps(asdict(self.seen)).encode()

    async def sample(self) -> None:
        """Note how many requests are being served, once a second from the first request on."""
        while True:
            await asyncio.sleep(1)
            if self.seen.requests:
                self.seen.serving_each_second.append(self._serving)

    def _count(self, now: float, change: int) -> None:
        self._area += self._serving * (now - self._since)
        self._since = now
        self._serving += change
        self.seen.peak_serving = max(self.seen.peak_serving, self._serving)


class Connection(asyncio.Protocol):
    """One connection: a request is read whole, then answered or failed."""

    __slots__ = ("_closing", "_rest", "_stub", "_timer", "_transport")
    _transport: asyncio.Transport

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._rest = b""
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of asyncio's
        seen = self._stub.seen
        seen.connections += 1
        seen.peak_connections = max(seen.peak_connections, seen.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stub.seen.connections -= 1
        if self._timer is not None:
            self._timer.cancel()
            self._stub.abandoned()

    def data_received(self, data: bytes) -> None:
        if self._rest:
            data = self._rest + data
        end = data.find(b"\r\n\r\n")
        length = LENGTH.search(data, 0, end) if end >= 0 else None
        size = end + 4 + (int(length[1]) if length else 0)
        if end < 0 or len(data) < size:
            self._rest = data
            return
        self._rest = data[size:]
        self._closing = CLOSE.search(data, 0, end) is not None
        if data.startswith(b"POST /v1/chat/completions"):
            self._chat(data)
        elif data.startswith(b"GET /stats"):
            self._send(response("200 OK", self._stub.stats()))
        elif data.startswith(b"GET /v1/models"):
            self._send(response("200 OK", json.dumps(MODELS).encode()))
        else:
            self._send(refusal("404 Not Found"))

    def _chat(self, data: bytes) -> None:
        place = data.find(MARK)
        if place < 0:
            self._stub.seen.unmarked += 1
            self._send(START + b"0" * DIGITS + END)
            return
        place += len(MARK)
        key = data[place : place + DIGITS]
        number = self._stub.arrived(key)
        fault, seconds = attempt(key, number) if self._stub.realistic else (None, 0.0)
        if not self._stub.realistic or fault in OVERLOAD:
            self._finish(key, fault)
        else:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._finish, key, fault)

    def _finish(self, key: bytes, fault: str | None) -> None:
        self._timer = None
        self._stub.left(key, fault)
        if fault is None:
            self._send(START + key + END)
        elif fault == "reset":
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self._transport.abort()
        elif fault == "truncated body":
            self._transport.write(START + key)
            self._transport.close()
        else:
            self._send(FAILURES[fault])

    def _send(self, data: bytes) -> None:
        self._transport.write(data)
        if self._closing:
            self._transport.close()


async def serve(realistic: bool) -> None:
    stub = Stub(realistic)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    sampling = asyncio.create_task(stub.sample())
    await loop.run_in_executor(None, sys.stdin.read)  # our parent holds the other end: we end when it does
    sampling.cancel()
    server.close()


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1] == "realistic"))
