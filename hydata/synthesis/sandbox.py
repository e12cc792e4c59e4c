"""Runs a model's Python code against tests, in a box made of Linux namespaces.

The code is hostile. It runs with a network, process, mount, IPC and host-name namespace of its own
(``unshare``): no network, no process of the host to see or signal, and as its root a small file system in
memory, in which the interpreter and the system's libraries are read-only and only ``/work`` can be written.
So there is no home, no project and no ``/proc`` in which the environment of hydata could be read; its own
is empty. It has no privileges, and limits on time, memory, processes, files and output. When its time is
up, or its first process ends, the kernel kills everything in the process namespace, fork bombs and daemons
included.

An answer passes if the program made of it and the tests runs to its end, where it says a number drawn for
this run; leaving early with exit code 0 does not pass. Code that looks for the tests in its own file to fake
that is beyond this, as it is beyond every harness that runs tests in the process they test.

Only the standard library can be imported. Where the namespaces cannot be had, ``check`` says so and nothing
is run.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from hydata.errors import ConfigError

SECONDS = 10
"""Of the clock and of each process's processor time, for one answer with all its tests."""
MEMORY_MB = 256
PROCESSES = 16
FILE_MB = 8
"""All files together, and separately what is printed."""
SOURCE = 100_000
"""The longest code that is run, in characters."""
_CODE = re.compile(r"```(?:python3?|py)?[ \t]*\n(.*?)\n?```", re.DOTALL | re.IGNORECASE)
_ASSERT = re.compile(r"^[ \t]*(assert\b[^\n]{1,2000})$", re.MULTILINE)

# Runs inside the namespaces before anything hostile does. Arguments: the root, what is shown of the host,
# "--", the command. The program comes on standard input.
_BOX = f"""
set -e
root=$1; shift
mount --make-rprivate /
mount -t tmpfs -o size={FILE_MB}m,nr_inodes=4096,mode=755,nosuid,nodev box "$root"
while [ "$1" != -- ]; do
  mkdir -p "$root$1"
  mount --bind "$1" "$root$1"
  mount -o remount,bind,ro,nosuid,nodev "$root$1"
  shift
done
shift
for link in bin lib lib32 lib64 sbin; do
  if [ -L "/$link" ]; then cp -P "/$link" "$root/$link"; fi
done
mkdir -p "$root/work" "$root/dev"
chmod 1777 "$root/work"
touch "$root/dev/null"
mount --bind /dev/null "$root/dev/null"
cat > "$root/program.py"
exec chroot "$root" "$@"
"""
_LIMITS = (
    f"--cpu={SECONDS}",
    f"--as={MEMORY_MB << 20}",
    f"--fsize={FILE_MB << 20}",
    f"--nproc={PROCESSES}",
    "--nofile=64",
    "--core=0",
)


def tests_of(*texts: str | None) -> tuple[str, ...]:
    """The ``assert`` lines of the first of ``texts`` that has some."""
    for text in texts:
        if text is not None and (tests := _ASSERT.findall(text[:SOURCE])):
            return tuple(tests)
    return ()


def code_of(text: str) -> str | None:
    """The last fenced block of Python in an answer."""
    blocks = _CODE.findall(text[-SOURCE:])
    return blocks[-1] if blocks else None


def passes(text: str, tests: tuple[str, ...]) -> bool:
    """Whether the code of an answer passes all ``tests``; False where there is none.

    Raises:
        ConfigError: there is no sandbox here.
    """
    check()
    code = code_of(text)
    return code is not None and _run(code, tests)


@cache
def check() -> None:
    """Make sure, once a process, that code can be run in the box, and only there.

    Raises:
        ConfigError: it cannot.
    """
    missing = [name for name in ("unshare", "setpriv", "prlimit", "chroot", "mount") if _tool(name) is None]
    if missing:
        cause = f"{', '.join(missing)} not found (util-linux, coreutils)"
    elif not _run("ready = 1", ("assert ready",)):
        cause = "the kernel grants no namespaces to this user or container"
    else:
        return
    raise ConfigError(
        f"agreement.run_code = true: no sandbox on this machine: {cause}; code of models is not run without "
        "one: set it to false, or run where `unshare --map-root-user --net --mount --pid --fork true` works"
    )


def _tool(name: str) -> str | None:
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


def _shown() -> list[str]:
    """The host's folders that are visible inside: the system's programs, libraries, and the interpreter."""
    folders = [Path("/usr"), *(Path("/", name) for name in ("bin", "lib", "lib32", "lib64", "sbin"))]
    base = Path(sys.base_prefix).resolve()
    if not base.is_relative_to("/usr"):
        folders.append(base)
    return [str(folder) for folder in folders if folder.is_dir() and not folder.is_symlink()]


def _run(code: str, tests: tuple[str, ...]) -> bool:
    done = secrets.token_hex(16)
    program = "\n".join([code, "", *tests, f"print('\\n{done}', flush=True)"])
    root = os.geteuid() == 0
    interpreter = os.path.realpath(Path(sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"))
    with tempfile.TemporaryDirectory(prefix="hydata-box-") as folder, tempfile.TemporaryFile() as printed:
        command = [
            *(str(_tool("unshare")), "--net", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
            *(() if root else ("--map-root-user",)),
            *("/bin/sh", "-c", _BOX, "box", folder, *_shown(), "--"),
            *("/usr/bin/setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
            *(("--reuid=65534", "--regid=65534", "--clear-groups") if root else ()),
            *("/usr/bin/prlimit", *_LIMITS),
            *("/usr/bin/env", "-i", "-C", "/work", interpreter, "-I", "-S", "-B", "/program.py"),
        ]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=printed,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            start_new_session=True,
        )
        try:
            process.communicate(program.encode("utf-8", "replace"), timeout=SECONDS)
        except subprocess.TimeoutExpired:
            pass
        except BrokenPipeError:  # the box could not be made
            pass
        finally:
            # unshare takes the first process of the namespace along, and that all others.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - 256))
        return process.returncode == 0 and printed.read().decode("utf-8", "replace").split()[-1:] == [done]
