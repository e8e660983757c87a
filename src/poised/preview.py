"""Pictures shown as they come: in a window where OpenCV has one, else in the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.color import Color
from rich.console import Console
from rich.live import Live
from rich.segment import Segment, Segments
from rich.style import Style

EVERY = 0.1  # seconds between two pictures in the terminal
TITLE = "poised"


@contextmanager
def preview() -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """`with preview() as show: show(image)`, RGB (H, W, 3); ValueError where nothing can show."""
    if has_window():
        yield _show_in_window
        cv2.destroyAllWindows()
        return
    if not sys.stderr.isatty():
        raise ValueError("--preview needs a terminal, or an OpenCV with windows; leave it out")
    console, due = Console(stderr=True), 0.0
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(image: NDArray[np.uint8]) -> None:
            nonlocal due
            if time.monotonic() < due:
                return
            live.update(half_blocks(image, console.width, console.height - 1), refresh=True)
            due = time.monotonic() + EVERY

        yield show


def has_window() -> bool:
    """Whether this OpenCV can open one: the headless build, which poised brings, cannot."""
    lines = cv2.getBuildInformation().splitlines()
    return any(line.split() == ["GUI:", "NONE"] for line in lines) is False


def half_blocks(image: NDArray[np.uint8], columns: int, rows: int) -> Segments:
    """An image within so many characters, each of which is two pixels, one above the other."""
    height, width = image.shape[:2]
    gain = min(columns / width, 2 * rows / height)
    size = max(1, int(width * gain)), max(2, int(height * gain) // 2 * 2)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    cells = []
    for above, below in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
        for a, b in zip(above, below, strict=True):
            cells.append(Segment("▀", Style(color=Color.from_rgb(*a), bgcolor=Color.from_rgb(*b))))
        cells.append(Segment.line())
    return Segments(cells)


def _show_in_window(image: NDArray[np.uint8]) -> None:
    cv2.imshow(TITLE, np.ascontiguousarray(image[..., ::-1]))  # OpenCV's order is BGR
    cv2.waitKey(1)
