"""A wish to stop, by SIGTERM or Ctrl-C, heard between two steps of work and not amid one."""

from __future__ import annotations

import _thread
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
ONE = 0.5  # seconds in which several count as one: `timeout` sends two


class Interrupted(Exception):
    """Work that was stopped by a signal, all of it kept; the message is for the user."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # as a shell gives it


@contextmanager
def heard() -> Iterator[Callable[[], int | None]]:
    """Within the block, the first of SIGNALS only notes its number, which the yielded call tells.

    A second one does what it always did. In another thread than the main one nothing is heard, as
    Python calls handlers in that alone.
    """
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield lambda: told[0] if told else None
    finally:
        restore()


@contextmanager
def taken_aside() -> Iterator[None]:
    """Within the block another thread takes SIGNALS. The first one's handler runs in this thread.

    A second one ends the process at once, whatever this thread is stuck in: for work of which all
    that is worth keeping is on the disk. As the first process of a container, too, which ignores
    what has no handler.

    To be opened before OpenVINO, which gives the thread that loads it a stack for signals that can
    be too small; threads that are begun within take none.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    over = threading.Event()

    def take() -> None:
        first = math.inf
        while True:
            number = signal.sigwait(SIGNALS)
            if over.is_set():
                return
            if first == math.inf:
                first = time.monotonic()
                _thread.interrupt_main(signal.Signals(number))
            elif time.monotonic() - first > ONE:
                os._exit(128 + number)

    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    taker = threading.Thread(target=take, daemon=True)
    taker.start()
    try:
        yield
    finally:
        over.set()
        assert taker.ident is not None  # it runs
        signal.pthread_kill(taker.ident, SIGNALS[0])
        taker.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def left_to_the_parent(_: int) -> None:
    """For a worker process: Ctrl-C reaches it too, but when to end is its parent's to say.

    So does a SIGTERM that is sent to all of a group or job, as `timeout`, systemd and Slurm do: the
    first is passed over, a second ends the worker. A thread waits for them, as a handler would not
    run while the worker is stuck in what is not Python.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def wait() -> None:
        for _ in range(2):
            signal.sigwait([signal.SIGTERM])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def pass_over_children() -> None:
    """Of children that end nothing is heard; to be called when a DataLoader has begun its workers.

    torch sets a handler with the first, which raises for a worker's end in whatever the main thread
    is at, in the handling of another error too; and a signal that Python handles can end a process
    that has loaded OpenVINO (see taken_aside). Without it the loader sees for itself within 5 s.
    """
    if hasattr(signal, "SIGCHLD") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


@contextmanager
def childrens_signal_kept() -> Iterator[None]:
    """Put SIGCHLD's handler back at the end, whatever was set within."""
    number = getattr(signal, "SIGCHLD", None)  # not on Windows
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(number)
    try:
        yield
    finally:
        signal.signal(number, before)
