"""A wish to stop, by SIGTERM or Ctrl-C, heard between two steps of work and not amid one."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PASSED = 600.0  # seconds
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
def heard_aside(one: float = ONE) -> Iterator[Callable[[], int | None]]:
    """As `heard`, by another thread, whatever this one is stuck in; a second signal ends all.

    That is for work of which all that is worth keeping is on the disk. one: seconds in which
    several signals count as one. On Windows it is `heard`.

    To be opened before OpenVINO, which gives the thread that loads it a stack for signals that can
    be too small: here they are blocked, and in threads that are begun within.
    """
    if not hasattr(signal, "pthread_sigmask"):
        with heard() as stopped:
            yield stopped
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    told: list[tuple[int, float]] = []  # the first, and when it came

    def watch() -> None:
        while number := receiver.recv(1)[0]:
            if number not in SIGNALS:
                continue
            if not told:
                told.append((number, time.monotonic()))
            elif time.monotonic() - told[0][1] > one:
                _leave(number)

    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    # a handler of no effect: Python then writes the number, whichever thread the system has told
    before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    written = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()  # before the signals are blocked here: it inherits what is
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield lambda: told[0][0] if told else None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.set_wakeup_fd(written)
        for number, handler in before.items():
            signal.signal(number, handler)
        sender.send(b"\0")
        watcher.join()
        receiver.close()
        sender.close()


def _leave(number: int) -> None:
    """By the shell's exit code; a terminal whose cursor a progress bar has hidden gets it back."""
    with suppress(OSError):
        if os.isatty(2):
            os.write(2, b"\x1b[?25h\n")
    os._exit(128 + number)


def left_to_the_parent(_: int) -> None:
    """For a worker process: Ctrl-C reaches it too, but when to end is its parent's to say.

    So does a SIGTERM that is sent to all of a group or job, as `timeout`, systemd and Slurm do: the
    first is passed over for PASSED seconds, in which the parent sees to its workers' end; its own,
    where the system tells whose one is, and a second end the worker. A thread waits for them, as a
    handler would not run while the worker is stuck in what is not Python.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])

    def wait() -> None:
        informed = getattr(signal, "sigwaitinfo", None)  # not on macOS
        if informed is None:
            signal.sigwait([signal.SIGTERM])
        if informed is None or informed([signal.SIGTERM]).si_pid != os.getppid():
            timer = threading.Timer(PASSED, end)
            timer.daemon = True  # or a worker that is done would wait for it
            timer.start()
            signal.sigwait([signal.SIGTERM])
        end()

    def end() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def pass_over_children() -> None:
    """Of children that end nothing is heard; to be called when a DataLoader has begun its workers.

    torch sets a handler with the first, which raises for a worker's end in whatever the main thread
    is at, in the handling of another error too; and a signal that Python handles can end a process
    that has loaded OpenVINO (see heard_aside). Without it the loader sees for itself within 5 s.
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
