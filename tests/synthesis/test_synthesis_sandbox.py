import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from hydata.errors import ConfigError
from hydata.synthesis import sandbox


def boxed() -> bool:
    """Whether there are namespaces here, by other means than the sandbox: where it wrongly finds none, the
    tests must fail and not be left out."""
    command = ["unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork", "true"]
    return shutil.which("unshare") is not None and not subprocess.run(command, check=False).returncode


needs_box = pytest.mark.skipif(not boxed(), reason="no namespaces on this machine")
ADD = "def add(a, b):\n    return a + b"


def passes(code: str, *tests: str) -> bool:
    return sandbox.passes(f"Here it is:\n```python\n{code}\n```\nDone.", tests or ("assert True",))


def test_tests_and_code_are_found() -> None:
    assert sandbox.tests_of(None, "Pass these:\nassert add(1, 2) == 3\nassert add(0, 0) == 0") == (
        "assert add(1, 2) == 3",
        "assert add(0, 0) == 0",
    )
    assert sandbox.tests_of("The answer is 3.", "Add numbers.") == ()
    assert sandbox.code_of("```python\na = 1\n```\nbetter:\n```python\na = 2\n```") == "a = 2"
    assert sandbox.code_of("no code") is None


def test_without_tools_it_refuses_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.check.cache_clear()
    monkeypatch.setattr(sandbox, "_tool", lambda name: None)
    with pytest.raises(ConfigError, match="unshare"):
        sandbox.check()
    with pytest.raises(ConfigError, match="run_code"):
        passes(ADD)
    sandbox.check.cache_clear()


@needs_box
def test_only_code_that_passes_all_tests_passes() -> None:
    assert passes(ADD, "assert add(1, 2) == 3", "assert add('a', 'b') == 'ab'")
    assert passes("import json, math, re, collections", "assert math.pi > 3")
    assert not passes(ADD, "assert add(1, 2) == 3", "assert add(1, 2) == 4")
    assert not passes("def add(a, b:", "assert True")
    assert not passes("import sys\nsys.exit(0)", "assert False")
    assert not passes("import os\nos._exit(0)", "assert False")
    assert not passes("'''", "assert True")
    assert not sandbox.passes("no code at all", ("assert True",))
    assert passes("print('x' * 1000)\nprint('答案')")


@needs_box
def test_it_writes_in_its_folder_and_nowhere_else(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    tmp_path.chmod(0o777)
    assert passes("open('/work/a', 'w').write('x')", "assert open('a').read() == 'x'")
    assert not passes(f"open({str(outside)!r}, 'w').write('x')")
    for path in ("/usr/x", "/program.py", "/tmp/x", "/etc/x", "/dev/shm/x"):
        assert not passes(f"open({path!r}, 'w').write('x')"), path
    assert not outside.exists()
    assert not passes("open('big', 'wb').write(b'x' * (64 << 20))")
    assert not passes("print('x' * (64 << 20))")


@needs_box
def test_it_sees_no_secret_and_no_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HYDATA_SECRET", "s3cret")
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    secret.chmod(0o644)
    assert passes("import os", "assert not [k for k in os.environ if k not in ('LC_CTYPE', 'PWD')]")
    assert passes("import os", f"assert not os.path.exists({str(secret)!r})")
    assert passes("import os", "assert not os.path.exists('/proc') or not os.listdir('/proc')")
    assert passes("import os", "assert os.listdir('/work') == []", "assert os.getuid() in (0, 65534)")
    assert not passes(f"import os, signal\nos.kill({os.getpid()}, signal.SIGTERM)")
    assert not passes("import os\nos.setuid(0)\nos.chroot('/')\n")
    assert not passes("import os\nos.mkdir('m')\nos.chown('m', 1, 1)")


@needs_box
def test_it_has_no_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not passes(f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)")
        assert not passes("import socket\nsocket.create_connection(('1.1.1.1', 53), 2)")
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()


@needs_box
def test_hogs_are_stopped_and_leave_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 2)
    assert not passes("while True: pass")
    assert not passes("x = bytearray(2 << 30)")
    assert not passes("x = []\nwhile True: x.append(bytearray(1 << 20))")
    assert not passes("import os\nwhile True: os.fork()")
    assert not passes("import time\ntime.sleep(100)")
    # A daemon in a session of its own goes with the namespace when the first process ends.
    assert passes("import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(100)")
    assert not _running()
    sleeper = threading.Thread(target=passes, args=("import time\ntime.sleep(100)",))
    sleeper.start()
    end = time.monotonic() + 30
    while not _running():  # it would have been seen
        assert time.monotonic() < end
    sleeper.join()
    assert not _running()


def _running() -> list[Path]:
    """The host's processes that are programs in the box."""
    return [p for p in Path("/proc").glob("[0-9]*/cmdline") if b"/program.py" in _read(p)]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


@needs_box
def test_it_works_from_a_thread() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(passes(ADD, "assert add(1, 1) == 2")))
    thread.start()
    thread.join()
    assert found == [True]
