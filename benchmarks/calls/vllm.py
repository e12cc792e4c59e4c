"""The same prompts to one vLLM server, by vLLM's own benchmark client and by hydata, in turns.

Both ask greedily for at most ``MAX_TOKENS`` and are judged by the tokens that the server counted. Every run's
prompts differ from any other's in the mark at their beginning alone, so the work is the same and none
finds another's prefix in the server's cache.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

from calls.workload import prompt

REQUESTS, IN_FLIGHT, MAX_TOKENS = 192, 32, 64
CONTEXT = 1024
STARTUP_SECONDS = 900
APART = 2**15
"""Between the first items of two runs: after so many ``workload.prompt`` repeats itself, but for the mark."""
BENCH = """
import argparse
from vllm.benchmarks.serve import add_cli_args, main
parser = argparse.ArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""
"""What ``vllm bench serve`` runs; the command itself loads more than there is on a machine without a GPU."""


@dataclass(frozen=True)
class Output:
    """What a client got of the server in one run."""

    tokens: int
    seconds: float

    @property
    def speed(self) -> float:
        """Output tokens a second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Round:
    """vLLM's own client and hydata, on the same server one after the other."""

    bench: Output
    hydata: Output


@dataclass(frozen=True)
class Server:
    """``url`` ends before ``/v1``; ``tokenizer`` is the model's folder or name."""

    url: str
    model: str
    tokenizer: str
    version: str


@contextmanager
def server(target: str, python: Path) -> Iterator[Server]:
    """The vLLM server at the URL ``target``, or one that serves the folder ``target`` for the time being.

    Raises:
        RuntimeError: it does not come up; with the end of its log.
    """
    if target.startswith("http"):
        yield _described(target.rstrip("/").removesuffix("/v1"))
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        str(python),
        "-m",
        "vllm.entrypoints.openai.api_server",
        "--model",
        target,
        "--host",
        "127.0.0.1",
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--max-model-len", str(CONTEXT)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1"},
        )
        try:
            url = f"http://127.0.0.1:{port}"
            deadline = time.monotonic() + STARTUP_SECONDS
            while not _healthy(url):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    said = log.read().decode("utf-8", "replace")[-2000:]
                    raise RuntimeError(f"vLLM does not serve {target} (exit code {process.poll()}):\n{said}")
                time.sleep(1)
            yield _described(url)
        finally:
            process.terminate()
            process.wait(60)


def compare(served: Server, python: Path, folder: Path, rounds: int) -> list[Round]:
    """``rounds`` times vLLM's client, then hydata, after an uncounted warm-up. What the client needs beside
    vLLM is installed under ``folder``."""
    extra = _pandas(python, folder / "vllm-bench")
    _bench(served, python, extra, 0, IN_FLIGHT)
    return [
        Round(
            bench=_bench(served, python, extra, (2 * place + 1) * APART, REQUESTS),
            hydata=_hydata(served, (2 * place + 2) * APART, REQUESTS),
        )
        for place in range(rounds)
    ]


def _pandas(python: Path, folder: Path) -> Path:
    """The folder with pandas for ``python``: the client reads prompts with it, and vLLM does not bring it
    along. Not in vLLM's own environment, whose packages it might change."""
    if not folder.exists():
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        _checked([*pip, "--target", str(folder), "pandas", "python-dateutil", "six", "tzdata"])
    return folder


def _bench(served: Server, python: Path, extra: Path, first: int, requests: int) -> Output:
    with tempfile.TemporaryDirectory() as folder:
        prompts = Path(folder) / "prompts.jsonl"
        rows = (json.dumps({"prompt": prompt(item)}) for item in range(first, first + requests))
        prompts.write_text("\n".join(rows), "utf-8")
        asked = {
            "--backend": "openai-chat",
            "--base-url": served.url,
            "--endpoint": "/v1/chat/completions",
            "--model": served.model,
            "--tokenizer": served.tokenizer,
            "--dataset-name": "custom",
            "--dataset-path": str(prompts),
            "--custom-output-len": str(MAX_TOKENS),
            "--num-prompts": str(requests),
            "--max-concurrency": str(IN_FLIGHT),
            "--temperature": "0",
            "--result-dir": folder,
            "--result-filename": "result.json",
        }
        flags = ["--disable-shuffle", "--skip-chat-template", "--disable-tqdm", "--save-result"]
        arguments = [word for pair in asked.items() for word in pair]
        _checked([str(python), "-c", BENCH, *arguments, *flags], PYTHONPATH=str(extra))
        result = json.loads((Path(folder) / "result.json").read_text("utf-8"))
    if result["completed"] != requests:
        raise RuntimeError(f"vLLM's benchmark client completed {result['completed']} of {requests} requests")
    return Output(result["total_output_tokens"], result["duration"])


def _hydata(served: Server, first: int, requests: int) -> Output:
    driver = Path(__file__).resolve().parent / "drivers" / "drive_tokens.py"
    with tempfile.TemporaryDirectory() as folder:
        asked = [
            f"{served.url}/v1",
            str(requests),
            str(IN_FLIGHT),
            folder,
            served.model,
            str(first),
            str(MAX_TOKENS),
        ]
        said = _checked([sys.executable, str(driver), *asked])
    result = json.loads(said.rstrip().rsplit("\n", 1)[-1])
    if result["complete"] != requests:
        raise RuntimeError(f"hydata completed {result['complete']} of {requests} requests")
    return Output(result["tokens"], result["seconds"])


def _checked(command: list[str], **env: str) -> str:
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env}
    )
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode} of {command[0]}:\n{done.stdout[-2000:]}")
    return done.stdout


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _described(url: str) -> Server:
    with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as answer:
        model = json.load(answer)["data"][0]
    with urllib.request.urlopen(f"{url}/version", timeout=30) as answer:
        version = json.load(answer)["version"]
    return Server(url, model["id"], model["root"], version)
