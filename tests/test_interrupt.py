"""Signals that another thread takes: heard once, and a second one ends whatever is stuck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from served import until

if not hasattr(signal, "pthread_sigmask"):
    pytest.skip("POSIX signals", allow_module_level=True)

BEGIN = """
import sys, threading
from poised.interrupt import heard, taken_aside

def ready():
    print("ready", flush=True)

"""
STUCK = """
with heard(), taken_aside():
    ready()
    open(sys.argv[1]).read()  # a pipe to which nobody writes
"""
HEARD = """
with heard() as stopped, taken_aside():
    ready()
    while stopped() is None:
        threading.Event().wait(0.01)
ready()
sys.stdin.read()
"""
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


def begun(script: str, *words: str) -> subprocess.Popen[str]:
    """A process that is ready for signals."""
    command = [sys.executable, "-c", BEGIN + script, *words]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@BOTH
def test_a_second_one_ends_what_is_stuck(tmp_path: Path, number: signal.Signals) -> None:
    os.mkfifo(tmp_path / "pipe")
    with begun(STUCK, str(tmp_path / "pipe")) as process:

        def ended() -> bool:
            process.send_signal(number)
            return process.poll() is not None

        until(ended)
        assert process.communicate() == ("", "")
    assert process.returncode == 128 + number


@BOTH
def test_two_at_once_are_one_and_later_ones_are_as_ever(number: signal.Signals) -> None:
    """`timeout` sends two: to its child, and to its group."""
    with begun(HEARD) as process:
        process.send_signal(number)
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"  # heard, and gone on
        process.send_signal(number)
        err = process.communicate()[1]
    usual = {signal.SIGINT: "KeyboardInterrupt", signal.SIGTERM: ""}
    assert err.splitlines()[-1:] == [usual[number]][: bool(usual[number])]
    assert process.returncode == -number
