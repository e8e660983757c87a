"""One labelled person of one image: what every data set is read into."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poised.reading import LARGEST

ENLARGE = 0.25  # of the joints' box, on each side, where a data set has no boxes


class DatasetError(ValueError):
    """An annotation file that cannot be used: names the file, the record and the field."""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """A person as annotated; pixels, (0, 0) is the centre of the top-left one.

    image:       the file. image_id: the data set's number of it.
    xywh:        (4,) box; xy: (K, 2); visible: (K,) labelled, so that xy means something.
    occluded:    (K,) labelled, though hidden.
    area:        square pixels, for OKS; None where the data set has none.
    head_size:   pixels, for PCKh; None where the data set has none.
    ignored:     a crowd region, or a person without keypoints: neither trained on nor missed.
    crowd_index: of the image, CrowdPose's.
    """

    image: Path
    xywh: NDArray[np.float64]
    xy: NDArray[np.float64]
    visible: NDArray[np.bool_]
    occluded: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    image_id: int = 0
    area: float | None = None
    head_size: float | None = None
    ignored: bool = False
    crowd_index: float | None = None

    def __post_init__(self) -> None:
        if not len(self.occluded):
            object.__setattr__(self, "occluded", np.zeros(len(self.visible), np.bool_))
        if (
            self.xywh.shape != (4,)
            or self.xy.shape != (len(self.visible), 2)
            or self.occluded.shape != self.visible.shape
        ):
            raise ValueError(
                f"Person of {self.image}: box {self.xywh.shape}, xy {self.xy.shape}, visible "
                f"{self.visible.shape} and occluded {self.occluded.shape} do not fit (4,), (K, 2), "
                "(K,), (K,)"
            )
        for array in (self.xywh, self.xy, self.visible, self.occluded):
            array.flags.writeable = False


def joints_box(xy: NDArray[np.float64], visible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(4,) x, y, width, height of the visible joints (K, 2), enlarged, by 8 px at least, a side."""
    low, high = xy[visible].min(0), xy[visible].max(0)
    margin = np.maximum(ENLARGE * (high - low), 8)
    return np.concatenate([low - margin, high - low + 2 * margin])


def anybody_labelled(people: Sequence[Person]) -> bool:
    """Whether there is somebody among them to score or to learn from."""
    return any(person.visible.any() and not person.ignored for person in people)


def check_numbers(people: Sequence[Person], root: Path) -> None:
    """Raise DatasetError that names the first with a number that cannot be of an image's pixels."""
    for record, person in enumerate(people):
        sizes = [person.area or 0.0, person.head_size or 0.0]
        numbers = np.concatenate([person.xywh, person.xy[person.visible].ravel(), sizes])
        if not (np.abs(numbers) < LARGEST).all():  # NaN too
            raise DatasetError(
                f"{root}: person {record} ({person.image.name}): box {person.xywh.tolist()}, or a "
                "joint of it, is no finite number of pixels"
            )


def check_split(split: str, known: tuple[str, ...], root: Path) -> None:
    """Raise DatasetError unless the split is known."""
    if split not in known:
        raise DatasetError(f"{root}: no part {split!r}; known: {', '.join(known)}")


def cut_part(part: str) -> tuple[str, int | None]:
    """A part's name, and how many it is cut to: "val2017[:50]" -> "val2017", 50; else None.

    Of a data set in COCO's form its first images with an annotation, of others its first people.
    """
    name, bracket, count = part.partition("[:")
    if not bracket:
        return part, None
    if not (count.endswith("]") and count[:-1].isdecimal()):
        raise DatasetError(f"{part}: a slice is written as {name}[:50]")
    return name, int(count[:-1])


def fingerprint(people: Sequence[Person]) -> str:
    """The SHA-256 of people's labels: images' names, boxes, joints and which are seen."""
    digest = hashlib.sha256()
    for person in people:
        digest.update(person.image.name.encode("utf-8", "surrogateescape") + b"\0")
        for numbers in (person.xywh, person.xy, person.visible):
            digest.update(np.ascontiguousarray(numbers).tobytes())
    return digest.hexdigest()
