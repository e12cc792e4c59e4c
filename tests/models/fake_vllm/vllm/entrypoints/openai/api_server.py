"""A server that looks like vLLM's from outside: its arguments, endpoints and child processes.

The folder that the variable FAKE_VLLM names steers it while it runs: a file `crash` there makes it end while
it starts, `silent` makes /health never answer, `stubborn` makes its worker ignore SIGTERM; with `impostor`
it serves another model than it is told. Where VLLM_API_KEY is set it wants that key. It writes what it was
started with, and the pids of all its processes, one start a line, to `starts`.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(os.environ["FAKE_VLLM"])
WORKER = """
import os, signal, sys, time
if sys.argv[1:] == ["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""
ENGINE = f"""
import os, subprocess, sys, time
worker = [sys.executable, "-c", {WORKER!r}, *sys.argv[1:]]
worker = subprocess.Popen(worker, start_new_session=True, stdout=subprocess.PIPE, text=True)
# In one write: print with PYTHONUNBUFFERED makes several, and the last may find the reader gone.
os.write(1, f"{{os.getpid()}} {{worker.stdout.readline()}}".encode())
time.sleep(600)
"""


def start_engine() -> list[int]:
    """A child with a child of its own, which no signal to the group reaches; both pids."""
    how = ["stubborn"] if (FOLDER / "stubborn").exists() else []
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, *how], stdout=subprocess.PIPE, text=True)
    return [int(pid) for pid in engine.stdout.readline().split()]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    served: argparse.Namespace

    def do_GET(self) -> None:
        if (FOLDER / "silent").exists():
            time.sleep(600)
        if self.path.startswith("/v1/") and not self.may():
            return
        name = "other" if (FOLDER / "impostor").exists() else self.served.served_model_name
        bodies = {
            "/health": {},
            "/version": {"version": "9.9"},
            "/v1/models": {"data": [{"id": name, "max_model_len": self.served.max_model_len}]},
        }
        self.answer(bodies[self.path])

    def may(self) -> bool:
        key = os.environ.get("VLLM_API_KEY")
        if key is None or self.headers["Authorization"] == f"Bearer {key}":
            return True
        self.send_error(401)
        return False

    def do_POST(self) -> None:
        if not self.may():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = "A lake is still water."
        if "response_format" in body:
            schema = body["response_format"]["json_schema"]["schema"]["properties"]
            text = json.dumps({name: kind.get("enum", ["blue"])[0] for name, kind in schema.items()})
        message = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        n = body.get("n", 1)
        usage = {"prompt_tokens": 8, "completion_tokens": 6 * n}
        self.answer({"choices": [{"index": i, **message} for i in range(n)], "usage": usage})

    def answer(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("--model", "--served-model-name", "--host", "--tokenizer", "--revision"):
        parser.add_argument(flag)
    for flag in ("--port", "--max-model-len", "--tensor-parallel-size", "--data-parallel-size"):
        parser.add_argument(flag, type=int)
    for flag in ("--enable-prefix-caching", "--no-enable-prefix-caching", "--disable-uvicorn-access-log"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--enforce-eager", action="store_true")
    Handler.served = parser.parse_args()
    pids = [os.getpid(), *start_engine()]
    with (FOLDER / "starts").open("a") as file:
        file.write(json.dumps({"pids": pids, "arguments": sys.argv[1:]}) + "\n")
    print("the engine starts", flush=True)
    if (FOLDER / "crash").exists():
        sys.exit("RuntimeError: not enough memory for the weights")
    ThreadingHTTPServer((Handler.served.host, Handler.served.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
