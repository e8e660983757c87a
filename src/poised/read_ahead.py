"""Images read in a thread of their own, a few ahead of the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poised.images import ImageError, ImageSource, read_image
from poised.types import Boxes

READ_AHEAD = 8  # images waiting, decoded
# name, pixels or the reason why not, boxes
_Read = tuple[str, NDArray[np.uint8] | None, str, Boxes | None]


def read_ahead(sources: Iterable[ImageSource], boxes: Iterable[Boxes] | None) -> Iterator[_Read]:
    """Read images in a thread, a bounded number ahead of the network."""
    ready: queue.Queue[_Read | BaseException | Literal["end"]] = queue.Queue(READ_AHEAD)
    stopped = threading.Event()

    def put(item: _Read | BaseException | Literal["end"]) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
                return
            except queue.Full:
                continue

    def read() -> None:
        try:
            given = iter(boxes) if boxes is not None else None
            for number, source in enumerate(sources):
                if stopped.is_set():
                    return
                name = str(source) if isinstance(source, Path | str) else f"image {number}"
                here = next(given, None) if given is not None else None
                if given is not None and here is None:
                    raise ValueError(f"no boxes for {name}: give as many Boxes as images")
                try:
                    put((name, read_image(source), "", here))
                except ImageError as error:
                    put((name, None, str(error), here))
            put("end")
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            item = ready.get()
            if item == "end":
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()
