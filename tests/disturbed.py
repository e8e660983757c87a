"""`poised`, in parts of three images, disturbed at the n-th thing that it does in its folder.

disturbed.py KIND MOMENT ARGUMENTS...   KIND: KILL, TERM and INT, which are signals; FULL: from then
on nothing can be written. MOMENT counts files that are opened, renamed, removed, and folders that
are made, from 1; at the end it is said how many there were.
"""

import errno
import os
import signal
import sys
from typing import Any

import poised.folder_run
from poised.cli import app

COUNTED = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
kind, moment, arguments = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
out = arguments[arguments.index("--out") + 1]
done = 0


def disturb(event: str, details: tuple[Any, ...]) -> None:
    global done
    if event not in COUNTED or out not in str(details[0]):
        return
    done += 1
    if kind == "FULL" and done >= moment:
        if event == "os.mkdir" or (event == "open" and details[2] & (os.O_WRONLY | os.O_RDWR)):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    elif done == moment:
        number = signal.Signals[f"SIG{kind}"]
        before = signal.getsignal(number)
        os.kill(os.getpid(), number)
        while signal.getsignal(number) is before:  # until it was heard
            pass


if __name__ == "__main__":
    poised.folder_run.PART = 3
    sys.addaudithook(disturb)
    sys.argv[1:] = arguments
    try:
        app()
    finally:
        print(f"{done} things done", file=sys.stderr)
