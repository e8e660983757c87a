"""Signals that another thread takes: heard once, and a second one ends whatever is stuck."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from waiting import until

from poised.in_a_process import in_a_process
from poised.interrupt import heard_aside, left_to_the_parent

if not hasattr(signal, "pthread_sigmask"):
    pytest.skip("POSIX signals", allow_module_level=True)

BEGIN = """
import sys, threading
import numpy  # whose threads take signals, too
from poised.interrupt import heard_aside

def ready():
    print("ready", flush=True)

"""
STUCK = """
with heard_aside():
    ready()
    open(sys.argv[1]).read()  # a pipe to which nobody writes
"""
HEARD = """
with heard_aside() as stopped:
    ready()
    while stopped() is None:
        threading.Event().wait(0.01)
ready()
sys.stdin.read()
"""
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def blocked_here(_: Path) -> list[int]:
    """Signals that do not reach the process that reads."""
    return sorted(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_a_process_that_reads_can_be_ended(tmp_path: Path) -> None:
    """It takes the signals that its parent has blocked for itself."""
    with heard_aside() as stopped:
        assert blocked_here(tmp_path) == [signal.SIGINT, signal.SIGTERM]
        assert in_a_process(blocked_here, tmp_path, wrong=ValueError) == []
        os.kill(os.getpid(), signal.SIGTERM)
        until(stopped)
    assert stopped() == signal.SIGTERM
    assert blocked_here(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def worker(ready: Any) -> None:
    left_to_the_parent(0)
    ready.set()
    threading.Event().wait()


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="who sends it is not told here")
def test_a_reader_passes_over_anothers_signal_and_ends_at_its_parents() -> None:
    """As multiprocessing ends its children, and then waits for them without end."""
    own = multiprocessing.get_context("spawn")
    ready = own.Event()
    process = own.Process(target=worker, args=(ready,), daemon=True)
    process.start()
    assert ready.wait(60)
    subprocess.run(["kill", "-TERM", str(process.pid)], check=True)
    process.terminate()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


def begun(script: str, threads: str, *words: str) -> subprocess.Popen[str]:
    """A process that is ready for signals."""
    command = [sys.executable, "-c", BEGIN + script, *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True,
        env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("threads", ["1", "4"])
@BOTH
def test_a_second_one_ends_what_is_stuck(
    tmp_path: Path, number: signal.Signals, threads: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with begun(STUCK, threads, str(tmp_path / "pipe")) as process:

        def ended() -> bool:
            process.send_signal(number)
            return process.poll() is not None

        until(ended)
        assert process.communicate() == ("", "")
    assert process.returncode == 128 + number


@pytest.mark.parametrize("threads", ["1", "4"])
@BOTH
def test_two_at_once_are_one_and_later_ones_are_as_ever(
    number: signal.Signals, threads: str
) -> None:
    """`timeout` sends two: to its child, and to its group."""
    with begun(HEARD, threads) as process:
        process.send_signal(number)
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"  # heard, and gone on
        process.send_signal(number)
        err = process.communicate()[1]
    usual = {signal.SIGINT: ["KeyboardInterrupt"], signal.SIGTERM: []}
    assert err.splitlines()[-1:] == usual[number]
    assert process.returncode == -number
