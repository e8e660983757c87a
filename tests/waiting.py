"""Waiting for another thread or process, without a guess how long it takes."""

from __future__ import annotations

import threading
from collections.abc import Callable


def until(true: Callable[[], object]) -> None:
    """Wait for another thread, half a minute at most."""
    tick = threading.Event()
    for _ in range(3000):
        if true():
            return
        tick.wait(0.01)
    raise AssertionError("waited half a minute in vain")
