"""vLLM servers kept by hydata, with a stand-in for vLLM's package: real processes, signals and sockets."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import ask

from hydata.errors import ConfigError, EndpointDownError
from hydata.models import VllmEndpoint, load_models, one_model, open_models, vllm

FAKE = Path(__file__).parent / "fake_vllm"
UP = "from hydata.cli import main; main()"
PATIENCE = 30


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)


class Fake:
    """An endpoint whose server is the stand-in, and what the stand-in has noted of itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "tiny"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        self.port = free_port()
        self.said: list[str] = []

    def endpoint(self, **settings: object) -> VllmEndpoint:
        env = {"PYTHONPATH": str(FAKE), "FAKE_VLLM": str(self.folder)}
        given = {"model": str(self.model), "python": sys.executable, "port": self.port, "env": env}
        return VllmEndpoint(engine="vllm", backoff=0.01, **{**given, **settings})

    def serve(self, **settings: object):
        return vllm.serve("big", self.endpoint(**settings), self.folder / "log" / "big.log", self.said.append)

    def flag(self, name: str) -> Path:
        return self.folder / name

    def starts(self) -> list[dict]:
        file = self.folder / "starts"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def pids(self) -> list[int]:
        return [pid for start in self.starts() for pid in start["pids"]]

    def models_file(self) -> Path:
        path = self.folder / "models.toml"
        env = {"PYTHONPATH": str(FAKE), "FAKE_VLLM": str(self.folder)}
        path.write_text(
            f'[endpoints.big]\nengine = "vllm"\nmodel = "tiny"\nport = {self.port}\n'
            f'python = "{sys.executable}"\n[endpoints.big.env]\n'
            + "".join(f'{name} = "{value}"\n' for name, value in env.items())
        )
        return path


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setattr(vllm, "POLL", 0.02)
    monkeypatch.setattr(vllm, "LONGEST_WAIT", 0.05)
    monkeypatch.setattr(vllm, "GRACE", 1.0)
    return Fake(tmp_path)


async def restarted(server: vllm.Server, former: int | None) -> None:
    """Wait until the server's first process is another one."""
    async with asyncio.timeout(PATIENCE):
        while server.pid in (None, former):
            await asyncio.sleep(0.02)


def test_a_server_is_started_with_the_settings_and_ends_with_all_its_processes(fake):
    fake.flag("stubborn").touch()

    async def main():
        async with fake.serve(context=512, tensor_parallel=2, prefix_caching=False) as server:
            await server.ready()
            started = fake.starts()[0]
            assert server.pid == started["pids"][0]
            assert all(alive(pid) for pid in started["pids"])
            return server.url, started["arguments"]

    url, arguments = asyncio.run(main())
    assert url == f"http://127.0.0.1:{fake.port}/v1"
    assert arguments == [
        *("--model", str(fake.model), "--served-model-name", "tiny", "--host", "127.0.0.1"),
        *("--port", str(fake.port), "--max-model-len", "512", "--tensor-parallel-size", "2"),
        *("--data-parallel-size", "1", "--no-enable-prefix-caching", "--disable-uvicorn-access-log"),
    ]
    assert not any(map(alive, fake.pids()))
    assert "starting vLLM" in fake.said[0]
    assert "healthy after" in fake.said[1]


def test_calls_go_through_it_and_are_journalled_under_its_content_and_version(fake, tmp_path):
    async def main():
        async with open_models(one_model(fake.endpoint(), "tiny"), tmp_path / "j") as models:
            replies = await models.samples(models.route("responder", "x"), ask(), 3)
            return models.stats.sent, [reply.text for reply in replies], replies[0].model

    sent, texts, model = asyncio.run(main())
    assert (sent, texts) == (1, ["A lake is still water."] * 3)
    assert model == vllm.identity(fake.endpoint())
    assert model.startswith("tiny@")
    assert model.endswith(" (vllm 9.9)")
    assert not any(map(alive, fake.pids()))


def test_a_server_that_ends_while_it_starts_shows_its_log(fake):
    fake.flag("crash").touch()

    async def main():
        async with fake.serve():
            pass

    with pytest.raises(ConfigError, match=r"exit code 1(?s:.)*big\.log(?s:.)*not enough memory"):
        asyncio.run(main())
    assert not any(map(alive, fake.pids()))


def test_a_gguf_file_that_vllm_does_not_read_is_said_so(fake, tmp_path):
    fake.flag("crash").touch()
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")

    async def main():
        async with fake.serve(model=str(tmp_path / "tiny.gguf")):
            pass

    with pytest.raises(ConfigError, match=r"vllm-gguf-plugin.*convert\.py(?s:.)*not enough memory"):
        asyncio.run(main())


def test_on_a_cpu_no_prompt_is_read_in_pieces(fake, monkeypatch):
    monkeypatch.setattr(vllm, "_installed_version", lambda _: ("vllm", "9.9+cpu"))
    assert "--no-enable-chunked-prefill" in vllm._command(fake.endpoint())
    assert vllm._command(fake.endpoint())[-1] == "8192"
    assert vllm._command(fake.endpoint(args=("--max-num-batched-tokens=64",)))[-1].endswith("=64")
    monkeypatch.setattr(vllm, "_installed_version", lambda _: ("vllm", "9.9"))
    assert "--no-enable-chunked-prefill" not in vllm._command(fake.endpoint())


def test_a_server_that_does_not_get_healthy_in_time_is_stopped(fake):
    fake.flag("silent").touch()

    async def main():
        async with fake.serve(startup=0.5):
            pass

    with pytest.raises(ConfigError, match=r"not healthy after 0.5 s(?s:.)*the engine starts"):
        asyncio.run(main())
    assert not any(map(alive, fake.pids()))


def test_a_killed_server_is_started_again_while_calls_wait(fake):
    async def main():
        async with fake.serve() as server:
            first = server.pid
            os.kill(first, signal.SIGKILL)
            await restarted(server, first)
            await server.ready()
            former, latter = fake.starts()
            assert server.pid == latter["pids"][0]
            assert not any(map(alive, former["pids"]))  # the engine would have been left behind

    asyncio.run(main())
    assert any("ended by SIGKILL" in line and "starting it again in" in line for line in fake.said)
    assert not any(map(alive, fake.pids()))


def test_requests_under_way_when_it_is_killed_are_answered_by_the_next(fake, tmp_path):
    async def main():
        async with open_models(one_model(fake.endpoint(concurrency=4), "tiny"), tmp_path / "j") as models:
            model = models.route("responder", "x")
            await models.complete(model, ask())
            calls = [asyncio.create_task(models.complete(model, ask(f"{i}?"))) for i in range(400)]
            await asyncio.sleep(0.05)
            os.kill(fake.starts()[0]["pids"][0], signal.SIGKILL)
            replies = await asyncio.gather(*calls)
            assert len(fake.starts()) == 2
            return len(replies)

    assert asyncio.run(main()) == 400


def test_a_server_that_hangs_is_killed_and_started_again(fake, monkeypatch):
    monkeypatch.setattr(vllm, "CHECK", 0.2)

    async def main():
        async with fake.serve() as server:
            first = server.pid
            fake.flag("silent").touch()
            while len(fake.said) < 3:
                await asyncio.sleep(0.02)
            fake.flag("silent").unlink()
            await restarted(server, first)

    asyncio.run(main())
    assert "hangs" in fake.said[2]
    assert not any(map(alive, fake.pids()))


def test_a_server_that_keeps_dying_is_given_up_and_calls_are_told(fake, monkeypatch):
    monkeypatch.setattr(vllm, "RESTARTS", 2)

    async def main():
        async with fake.serve() as server:
            fake.flag("crash").touch()
            os.kill(server.pid, signal.SIGKILL)
            lost = await asyncio.wait_for(server.lost(), PATIENCE)
            with pytest.raises(EndpointDownError, match=r"given up after 2 restarts(?s:.)*not enough memory"):
                await server.ready()
            return lost

    assert "exit code 1" in asyncio.run(main())
    assert len(fake.starts()) == 3
    assert not any(map(alive, fake.pids()))


def test_a_server_dies_with_its_keeper_and_is_started_again(fake):
    async def main():
        async with fake.serve() as server:
            first = server.pid
            keeper = int(Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(keeper, signal.SIGKILL)
            await restarted(server, first)
            assert not alive(first)

    asyncio.run(main())
    assert any("its keeper, which was killed" in line for line in fake.said)


def test_a_server_that_is_there_already_is_used_and_left_alone(fake):
    async def main():
        async with fake.serve() as owner:
            async with fake.serve() as guest:
                await guest.ready()
                assert (guest.url, guest.pid) == (owner.url, None)
            assert alive(owner.pid)
            assert len(fake.starts()) == 1

    asyncio.run(main())


def test_two_that_begin_together_start_one_server(fake):
    async def use(both: asyncio.Barrier):
        async with fake.serve() as server:
            await both.wait()
            return server.pid

    async def main():
        both = asyncio.Barrier(2)
        return await asyncio.gather(use(both), use(both))

    pids = asyncio.run(main())
    assert None in pids
    assert len(fake.starts()) == 1


def test_a_port_with_another_model_or_version_is_the_users_error(fake, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")

    async def main():
        async with fake.serve(), fake.serve(model=str(other)):
            pass

    with pytest.raises(ConfigError, match=r"port \d+ is taken by a server of tiny, not of other; stop it"):
        asyncio.run(main())
    monkeypatch.setattr(vllm, "_served_version", lambda *_: asyncio.sleep(0, "9.8"))

    async def older():
        async with fake.serve(), fake.serve():
            pass

    with pytest.raises(ConfigError, match=r"taken by vLLM 9\.8, and `python` has 9\.9"):
        asyncio.run(older())


def test_what_must_not_stand_in_args_or_env_is_refused(fake):
    async def main(**settings):
        async with fake.serve(**settings):
            pass

    with pytest.raises(ConfigError, match=r"--api-key would show the key.*VLLM_API_KEY"):
        asyncio.run(main(args=("--api-key=sk-123",)))
    with pytest.raises(ConfigError, match=r"args: --port is set by `port`"):
        asyncio.run(main(args=("--port", "1")))
    with pytest.raises(ConfigError, match=r"env\.HF_TOKEN: no secret") as caught:
        asyncio.run(main(env={"HF_TOKEN": "hf_123"}))
    assert "hf_123" not in str(caught.value)


def test_a_missing_interpreter_or_vllm_is_said_with_the_remedy(fake, tmp_path):
    with pytest.raises(ConfigError, match="No such file or directory; `make vllm`"):
        vllm.identity(fake.endpoint(python=tmp_path / "no-python"))
    with pytest.raises(ConfigError, match="there is no vLLM in its environment; `make vllm`"):
        vllm.identity(fake.endpoint(env={}))


def test_the_identity_tells_apart_what_answers_differently_and_nothing_else(fake, tmp_path):
    template = tmp_path / "template.jinja"
    template.write_text("{{ messages }}")
    plain = vllm.identity(fake.endpoint())
    (fake.model / "README.md").write_text("Read me.")
    same = (
        fake.endpoint(args=("--enforce-eager", "--max-num-seqs", "8"), context=512, tensor_parallel=2),
        fake.endpoint(concurrency=3, port=1, host="::1"),
    )
    assert {vllm.identity(endpoint) for endpoint in same} == {plain}
    different = (
        fake.endpoint(args=("--dtype", "float32")),
        fake.endpoint(args=("--dtype=bfloat16",)),
        fake.endpoint(args=("--chat-template", str(template))),
        fake.endpoint(tokenizer="other/tokenizer"),
        fake.endpoint(model="org/tiny"),
        fake.endpoint(model="org/tiny", revision="v2"),
    )
    seen = {plain, *map(vllm.identity, different)}
    template.write_text("{{ messages[0] }}")
    seen.add(vllm.identity(different[2]))
    (fake.model / "chat_template.jinja").write_text("{{ messages }}")
    seen.add(vllm.identity(fake.endpoint()))
    assert len(seen) == 9


def test_a_weights_file_too_large_to_read_is_known_by_its_pieces(fake, monkeypatch):
    monkeypatch.setattr("hydata.models.content.WHOLE", 2**20)
    weights = fake.model / "model.safetensors"
    weights.write_bytes(bytes(3 * 2**20))
    seen = {vllm.identity(fake.endpoint())}
    for place in (0, 3 * 2**20 - 1):
        with weights.open("r+b") as file:
            file.seek(place)
            file.write(b"\1")
        os.utime(weights, ns=(place, place))
        seen.add(vllm.identity(fake.endpoint()))
    assert len(seen) == 3


# --- the command, whose parent may end in any way -----------------------------------------------------------


@contextmanager
def models_up(fake: Fake):
    command = [sys.executable, "-W", "error", "-c", UP, "models", "up", "--models", str(fake.models_file())]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=fake.folder
    )
    try:
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        assert str(fake.starts()[0]["pids"][0]) in line
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_models_up_ends_its_servers_at_a_signal(fake, number, code):
    with models_up(fake) as process:
        process.send_signal(number)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert not any(map(alive, fake.pids()))


def test_nothing_is_left_when_the_parent_is_killed_and_the_next_starts_anew(fake):
    with models_up(fake) as process:
        process.kill()
    wait_until(lambda: not any(map(alive, fake.pids())), "all processes gone")

    async def main():
        async with fake.serve() as server:
            return server.pid

    assert asyncio.run(main()) == fake.starts()[1]["pids"][0]


def test_models_up_says_why_a_server_is_not_there(fake):
    fake.flag("crash").touch()
    command = [sys.executable, "-c", UP, "models", "up", "--models", str(fake.models_file())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=fake.folder)
    assert done.returncode == 2
    assert "not enough memory for the weights" in done.stderr
    assert "Traceback" not in done.stderr


def test_models_check_reports_each_endpoint_and_fails_with_the_worst(fake):
    models = fake.models_file()
    standin = '[endpoints.plain]\nengine = "standin"\n'
    models.write_text(models.read_text() + standin)
    command = [sys.executable, "-W", "error", "-c", UP, "models", "check", "--models", str(models)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=fake.folder)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["big", "vllm", "tiny", "8,192", "yes", "yes"] in [row[:6] for row in rows]
    assert ["plain", "standin", "plain", "8,192", "yes", "yes"] in [row[:6] for row in rows]
    assert not any(map(alive, fake.pids()))

    fake.flag("crash").touch()
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=fake.folder)
    assert done.returncode == 2
    assert "not enough memory for the weights" in done.stderr
    assert "big: vLLM ended with exit code 1; see" in done.stdout
    assert "plain" in done.stdout


def test_a_server_that_cannot_even_be_begun_ends_the_waiting(tmp_path):
    endpoint = VllmEndpoint(engine="vllm", model="m", python=tmp_path / "nope" / "python", port=free_port())

    async def main() -> None:
        async with vllm.serve("e", endpoint, tmp_path / "e.log"):
            raise AssertionError("there is nothing to serve with")

    with pytest.raises(ConfigError, match=r"No such file.*make vllm"):
        asyncio.run(asyncio.wait_for(main(), 60))


def test_a_server_that_wants_a_key_gets_the_one_of_the_environment(fake, tmp_path, monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "s3cret")

    async def main():
        async with open_models(one_model(fake.endpoint(), "tiny"), tmp_path / "j") as models:
            return (await models.complete(models.route("responder", "x"), ask())).text

    assert asyncio.run(main()) == "A lake is still water."
    assert "s3cret" not in json.dumps(fake.starts())


def test_a_server_that_comes_to_serve_another_model_is_not_taken_for_ours(fake):
    fake.flag("impostor").touch()

    async def main():
        async with fake.serve():
            raise AssertionError("this is another model")

    with pytest.raises(ConfigError, match=r"taken by a server of other, not of tiny"):
        asyncio.run(main())
    assert not any(map(alive, fake.pids()))


def test_a_guest_whose_host_has_gone_starts_a_server_of_its_own(fake, monkeypatch):
    monkeypatch.setattr(vllm, "GUEST", 0.05)

    async def main():
        owner = fake.serve()
        first = await owner.__aenter__()
        async with fake.serve() as guest:
            assert (guest.pid, len(fake.starts())) == (None, 1)
            former = first.pid
            await owner.__aexit__(None, None, None)
            await restarted(guest, former)
            await guest.ready()
            assert len(fake.starts()) == 2

    asyncio.run(main())
    assert any("is gone" in line for line in fake.said)
    assert not any(map(alive, fake.pids()))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"python": "/bin/true"}, "this is no Python"),
        ({"model": "/nowhere/tiny"}, "no such file or folder"),
        ({"args": ("--hf-token", "x")}, "export it as HF_TOKEN"),
        ({"args": ("--api-ke=x",)}, "export it as VLLM_API_KEY"),
        ({"env": {"TOKEN": "x"}}, "no secret stands in a models file"),
    ],
    ids=str,
)
def test_what_cannot_work_or_must_not_be_is_said_in_a_line(fake, settings, words):
    async def main():
        if "model" in settings:
            vllm.identity(fake.endpoint(**settings))
        async with fake.serve(**settings):
            raise AssertionError("there is nothing to serve with")

    with pytest.raises(ConfigError, match=words):
        asyncio.run(main())


def test_a_log_that_cannot_be_written_is_the_users_error(fake):
    (fake.folder / "log").write_text("a file, not a folder")

    async def main():
        async with fake.serve():
            raise AssertionError("it has no log")

    with pytest.raises(ConfigError, match="no log can be written"):
        asyncio.run(main())
    assert fake.starts() == []


def test_paths_of_a_server_are_meant_from_the_models_file(tmp_path):
    (tmp_path / "tok").mkdir()
    text = '[endpoints.e]\nengine = "vllm"\nmodel = "{}"\ntokenizer = "tok"\n'
    (tmp_path / "m.toml").write_text(text.format("."))
    endpoint = load_models(tmp_path / "m.toml").endpoints["e"]
    assert (endpoint.served_name, endpoint.tokenizer) == (tmp_path.name, str(tmp_path / "tok"))
    (tmp_path / "m.toml").write_text(text.format("Qwen/Qwen3-8B"))
    assert load_models(tmp_path / "m.toml").endpoints["e"].model == "Qwen/Qwen3-8B"
