"""A file that may bring its parser down, read in a process that may die.

MATLAB's files by scipy, and other people's models by OpenVINO: a damaged one can end the whole
program by a signal, without an error. What was read comes back as JSON: nothing that a file could
make run.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

MEMORY = 4 << 30  # bytes of addresses that the process may have: a small file may unpack to any
ANSWER = 256 << 20  # bytes of JSON that it may give: as values they take some times the room
OF_OTHERS = (1, 2, 9, 15)  # signals by which a process is ended from without: HUP, INT, KILL, TERM
WINDOWS_FATAL = 1 << 31  # codes beyond are its signals
ALONE = {"OPENBLAS_NUM_THREADS": "1"}  # whose threads would have addresses, each its own


def in_a_process(
    read: Callable[..., Any],
    path: Path,
    *rest: str | bool,
    wrong: type[ValueError],
    memory: int = MEMORY,
) -> Any:
    """What read(path, *rest), a function of a module, gives of values that JSON has, and NaN.

    Raises `wrong`, which names the path, where it raises a ValueError, wants more memory than so
    many bytes of addresses, or the process dies.
    """
    done = _started(read, path, rest, memory)
    if done.returncode != 0:
        raise wrong(came_down(path, done.returncode))
    answer = json.loads(done.stdout)
    if "wrong" in answer:
        raise wrong(f"{path}: {answer['wrong']}")
    return answer["value"]


def fatal(read: Callable[[Path], Any], path: Path, memory: int) -> int:
    """The code with which read(path) brings its process down, or 0, whatever else comes of it.

    Where no such process can be had, as in a frozen application, whose executable is no Python, or
    somebody else ends it, 0.
    """
    if getattr(sys, "frozen", False) or not sys.executable:
        return 0
    try:
        code = _started(read, path, (), memory).returncode
    except OSError:
        return 0
    own = code < 0 and -code not in OF_OTHERS
    return code if own or code > WINDOWS_FATAL else 0


def came_down(path: Path, code: int) -> str:
    """What is said of a file whose reader ended so."""
    how = f"signal {-code}" if code < 0 else f"code {code}"
    return f"{path}: its reader came down with it ({how}): damaged, or made to do that"


def _started(
    read: Callable[..., Any], path: Path, rest: Sequence[str | bool], memory: int
) -> subprocess.CompletedProcess[bytes]:
    asked = json.dumps([memory, read.__module__, read.__name__, str(path), *rest])
    # -P: no module of the folder where this is started; the rest of the path is this process's
    return subprocess.run(
        [sys.executable, "-P", "-m", "poised.in_a_process", asked],
        env=os.environ | ALONE | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )


def main(asked: str) -> None:
    """Write {"value": ...} or {"wrong": why} to the standard output, as JSON."""
    memory, module, name, path, *rest = json.loads(asked)
    if hasattr(signal, "pthread_sigmask"):  # the parent may have blocked some, for itself
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = memory if most == resource.RLIM_INFINITY else min(memory, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = {"value": getattr(import_module(module), name)(Path(path), *rest)}
        text = json.dumps(answer)
        if len(text) > ANSWER:
            raise MemoryError
    except MemoryError:
        text = json.dumps({"wrong": f"unpacks to more than there is room for ({memory >> 30} GB)"})
    except Exception as error:  # parsers raise whatever they meet
        wrong = str(error) if isinstance(error, ValueError) else repr(error)
        text = json.dumps({"wrong": wrong})
    sys.stdout.write(text)


if __name__ == "__main__":
    main(sys.argv[1])
