"""An image under way: read, its people found, their keypoints filled in batch by batch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.boxes.files import whole_image
from poised.estimate import Estimator, Image
from poised.images import NAMELESS, ImageError, ImageSource, read_image
from poised.model_fields import BadAnswer, ModelError
from poised.one_shot import FINDS_ITS_OWN, OneShot
from poised.types import Boxes

Find = Callable[[Image], Boxes]  # who looks for people
SIDE = 256  # pixels of the noise by which a broken model is told from a strange image


@dataclass(frozen=True)
class Failure:
    """An image that could not be used, and why, which does not name it once more."""

    file_name: str
    reason: str


@dataclass(eq=False)
class UnderWay:
    """An image of P people in boxes; detected: found here, not given.

    matrices: (P, 2, 3), image -> crop; xy (P, K, 2), score (P, K), quality (P,): see `Estimated`.
    wrong: why the keypoints cannot be had, "" where they can.
    """

    name: str
    image: Image
    boxes: Boxes
    detected: bool
    matrices: NDArray[np.float64]
    xy: NDArray[np.floating[Any]]
    score: NDArray[np.float32]
    quality: NDArray[np.float32]
    wrong: str = ""


def named(
    sources: Iterable[ImageSource], boxes: Iterable[Boxes] | None
) -> Iterator[tuple[str, ImageSource, Boxes | None]]:
    """Each source with what it is called in results, and with its boxes."""
    given = iter(boxes) if boxes is not None else None
    for number, source in enumerate(sources):
        name = str(source) if isinstance(source, Path | str) else f"image {number}"
        here = next(given, None) if given is not None else None
        if given is not None and here is None:
            raise ValueError(f"no boxes for {name}: give as many Boxes as images")
        yield name, source, here


def one_at_a_time(find: Find) -> Find:
    """For several threads, of which the function need know nothing."""
    lock = threading.Lock()

    def found(image: Image) -> Boxes:
        with lock:
            return find(image)

    return found


def read_and_begin(
    estimator: Estimator | OneShot, find: Find, source: tuple[str, ImageSource, Boxes | None]
) -> UnderWay | Failure:
    """Read an image, `named`, and `begin` it."""
    name, where, given = source
    try:
        image = read_image(where)
    except ImageError as error:
        return Failure(name, str(error).removeprefix(f"{name}: ").removeprefix(f"{NAMELESS}: "))
    return begin(estimator, find, name, image, given)


def _noise() -> Image:
    """What every sound network has an answer to: where it has one, the fault is another image's."""
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def _told(error: BadAnswer) -> str:
    """Why an image is set aside; whose folder the model lies in is nobody's business."""
    file, _, what = str(error).rpartition(": ")
    return f"{Path(file).name} has no answer to it: {what}"


def begin(
    estimator: Estimator | OneShot, find: Find, name: str, image: Image, given: Boxes | None
) -> UnderWay | Failure:
    """Find who is in an image, unless boxes are given; a `OneShot` estimates them, too.

    Raises BadAnswer of a network that is broken.
    """
    try:
        return _begun(estimator, find, name, image, given)
    except BadAnswer as error:
        _begun(estimator, find, name, _noise(), None)
        return Failure(name, _told(error))


def _begun(
    estimator: Estimator | OneShot, find: Find, name: str, image: Image, given: Boxes | None
) -> UnderWay:
    if isinstance(estimator, OneShot):
        if given is not None:
            raise ModelError(f"{estimator.session.path}: {FINDS_ITS_OWN}")
        boxes, points, each = estimator.find(image)
        nothing, sure = estimator.matrices(boxes.xywh), np.ones(len(boxes), np.float32)
        return UnderWay(name, image, boxes, True, nothing, points, each, sure)
    boxes = find(image) if given is None else given
    matrices = estimator.matrices(boxes.xywh)
    score = np.zeros((len(boxes), len(estimator.skeleton)), np.float32)
    xy, quality = np.zeros((*score.shape, 2), np.float32), np.zeros(len(boxes), np.float32)
    return UnderWay(name, image, boxes, given is None, matrices, xy, score, quality)


def count_people(entry: UnderWay | Failure) -> int:
    """How many are to be estimated."""
    return 0 if isinstance(entry, Failure) else len(entry.boxes)


def estimate(estimator: Estimator, people: list[tuple[UnderWay, int]]) -> None:
    """Fill in the keypoints of a batch of people, each an image and a number in it.

    Where one has none, the others get theirs. Raises BadAnswer of a network that is broken.
    """
    try:
        found = estimator.estimate(
            [entry.image for entry, _ in people],
            np.stack([entry.matrices[person] for entry, person in people]),
            np.stack([entry.boxes.xywh[person] for entry, person in people]),
        )
    except BadAnswer as error:
        if len(people) > 1:
            for one in people:
                estimate(estimator, [one])
            return
        noise = _noise()
        box = whole_image(noise).xywh
        estimator.estimate([noise], estimator.matrices(box), box)
        people[0][0].wrong = _told(error)
        return
    for row, (entry, person) in enumerate(people):
        entry.xy[person], entry.score[person] = found.xy[row], found.score[row]
        entry.quality[person] = found.quality[row]
