"""`poised`, in parts of three images, disturbed at the n-th thing that it does in its folder.

disturbed.py KIND MOMENT ARGUMENTS...   KIND: KILL, TERM and INT, which are signals; FULL: from then
on nothing can be written. MOMENT counts, from 1, files that are opened, half written, renamed or
removed, and folders that are made; at the end it is said how many there were.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import poised.folder_run
import poised.interrupt
from poised.cli import app

COUNTED = ("open", "half written", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
kind, moment, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
out = arguments[arguments.index("--out") + 1]
done = 0
heard_aside = poised.interrupt.heard_aside


def told() -> int | None:
    """The signal that `poised` has heard."""
    return None


@contextmanager
def listened(one: float) -> Iterator[Callable[[], int | None]]:
    """`heard_aside`, of which this process knows."""
    global told
    with heard_aside(one) as told:
        yield told


def disturb(event: str, details: tuple[Any, ...]) -> None:
    global done
    if event not in COUNTED or out not in str(details[0]):
        return
    done += 1
    if kind == "FULL" and done >= moment:
        writes = event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("half written", "os.mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif done == moment:
        os.kill(os.getpid(), signal.Signals[f"SIG{kind}"])
        while told() is None:
            pass


def write_halves(path: Path, data: bytes) -> None:
    """`Path.write_bytes` that can be disturbed within."""
    with path.open("wb") as file:
        file.write(data[: len(data) // 2])
        file.flush()
        disturb("half written", (path,))
        file.write(data[len(data) // 2 :])


if __name__ == "__main__":
    poised.folder_run.PART = 3
    Path.write_bytes = write_halves  # type: ignore[method-assign,assignment]
    poised.interrupt.heard_aside = listened
    sys.addaudithook(disturb)
    sys.argv[1:] = arguments
    try:
        app()
    finally:
        print(f"{done} things done", file=sys.stderr)
