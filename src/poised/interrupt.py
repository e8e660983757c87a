"""A wish to stop, by SIGTERM or Ctrl-C, heard between two steps of work and not amid one."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Work that was stopped by a signal, all of it kept; the message is for the user."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number  # as a shell gives it


@contextmanager
def heard(then: Any = None) -> Iterator[Callable[[], int | None]]:
    """Within the block, the first of SIGNALS only notes its number, which the yielded call tells.

    A second one does what it always did, or what the handler `then` does. In another thread than
    the main one nothing is heard, as Python calls handlers in that alone.
    """
    told: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        told.append(number)
        take(before if then is None else dict.fromkeys(SIGNALS, then))

    def take(handlers: dict[signal.Signals, Any]) -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    take(dict.fromkeys(SIGNALS, note))
    try:
        yield lambda: told[0] if told else None
    finally:
        take(before)


@contextmanager
def taken_aside() -> Iterator[None]:
    """Within the block another thread takes SIGNALS; this one runs their handlers all the same.

    To be opened before OpenVINO, which gives the thread that loads it a stack for signals that can
    be too small; threads that are begun within take none. Python runs a handler's Python in the
    main thread, whichever thread the system has told.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    over = threading.Event()
    taker = threading.Thread(target=over.wait, daemon=True)
    taker.start()  # before the signals are blocked here: it inherits what is
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        over.set()
        taker.join()


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
