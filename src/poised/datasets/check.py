"""What is wrong with a data set: each fault with its file and record; and a sheet to look at."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.datasets.person import Person
from poised.draw import draw_poses
from poised.images import ImageError, image_size, read_image
from poised.scores import oks
from poised.types import Boxes, ImagePoses, Skeleton

OUTSIDE = 2.0  # pixels over the image's edge that pass as rounding
TWINS = 0.99  # OKS over which two people of one image are one, labelled twice
WIDE = 0.15  # of a box side: sides that lie nearer to each other say nothing about left and right
TILE = 192  # pixels a side of a sheet's picture


@dataclass(frozen=True)
class Fault:
    """record: the person's place in the file's order, from 0."""

    image: Path
    record: int
    kind: str
    detail: str

    def __str__(self) -> str:
        return f"{self.image}: record {self.record}: {self.kind}: {self.detail}"


def check_people(
    people: Sequence[Person], skeleton: Skeleton, *, boxed: bool = True
) -> list[Fault]:
    """Every fault of every person, in the file's order.

    missing image, broken image, not a number, box outside (only of annotated boxes: `boxed`), joint
    outside, no size, left and right (shoulders against hips: may be a twisted body), twice.
    """
    sizes: dict[Path, tuple[int, int] | str] = {}
    faults: list[Fault] = []
    by_image: dict[Path, list[int]] = {}
    for record, person in enumerate(people):
        if person.image not in sizes:
            sizes[person.image] = image_size(person.image, whole=True)
        by_image.setdefault(person.image, []).append(record)
        faults += [
            Fault(person.image, record, kind, detail)
            for kind, detail in _faults(person, sizes[person.image], skeleton)
            if boxed or kind != "box outside"
        ]
    for records in by_image.values():
        faults += _twins(people, records, skeleton)
    return sorted(faults, key=lambda fault: fault.record)


def _faults(
    person: Person, size: tuple[int, int] | str, skeleton: Skeleton
) -> Iterator[tuple[str, str]]:
    x, y, width, height = person.xywh
    lost = np.flatnonzero(~np.isfinite(person.xy).all(1) & person.visible)
    if len(lost) or not np.isfinite(person.xywh).all():
        joints = ", ".join(skeleton.keypoints[k] for k in lost)
        yield "not a number", f"box {person.xywh.tolist()}; joints {joints or 'none'}"
        return
    if width <= 0 or height <= 0:
        yield "no size", f"box {person.xywh.tolist()}"
    elif max(width, height) <= 1:
        yield "no size", f"box {person.xywh.tolist()}: are these fractions of the image?"
    if isinstance(size, str):
        yield size, str(person.image)
    else:
        edge = np.array(size, np.float64)
        over = max(-x, -y, x + width - edge[0], y + height - edge[1])
        if over > OUTSIDE:
            yield "box outside", f"by {over:.0f} px of an image of {size[0]}x{size[1]}"
        beyond = np.maximum(-person.xy, person.xy - (edge - 1)).max(1)
        for k in np.flatnonzero((beyond > OUTSIDE) & person.visible):
            yield "joint outside", f"{skeleton.keypoints[k]} by {beyond[k]:.0f} px"
    names = _crossed(person, skeleton)
    if names:
        yield "left and right", f"{' and '.join(names)} are the other way round than the rest"


def _crossed(person: Person, skeleton: Skeleton) -> list[str]:
    """The shoulders or the hips, where both lie well apart and say opposite things."""
    spans = {}
    for left, right in skeleton.pairs:
        name = skeleton.keypoints[left].removeprefix("left_")
        if name in ("shoulder", "hip") and person.visible[[left, right]].all():
            spans[name] = (person.xy[left, 0] - person.xy[right, 0]) / max(1.0, *person.xywh[2:])
    if len(spans) < 2 or min(map(abs, spans.values())) < WIDE:
        return []
    return list(spans) if spans["shoulder"] * spans["hip"] < 0 else []


def _twins(people: Sequence[Person], records: list[int], skeleton: Skeleton) -> Iterator[Fault]:
    labelled = [
        r
        for r in records
        if people[r].visible.any()
        and not people[r].ignored
        and np.isfinite(people[r].xy[people[r].visible]).all()
    ]
    if len(labelled) < 2:
        return
    xy = np.nan_to_num(np.stack([people[r].xy for r in labelled]))
    visible = np.stack([people[r].visible for r in labelled])
    area = np.stack([people[r].xywh[2:].prod() for r in labelled])
    alike = oks(xy, xy, area, area, skeleton.sigmas, visible)
    for i, j in np.argwhere(np.triu(alike > TWINS, 1)):
        if (visible[i] == visible[j]).all():
            image = people[labelled[j]].image
            yield Fault(image, labelled[j], "twice", f"the same person as record {labelled[i]}")


def twice_seen(people: Sequence[Person], others: Sequence[Person], part: str) -> list[Fault]:
    """The images of people that are images of the others too, by file or by the same bytes.

    Whoever is trained on one of them and tested on the other is tested on what was learnt. Named
    with the first person of each image; part: what the others are called.
    """
    there = {_digest(path): path for path in sorted({person.image for person in others})}
    faults, seen = [], set()
    for record, person in enumerate(people):
        if person.image not in seen and (twin := there.get(_digest(person.image))):
            faults.append(Fault(person.image, record, "in both parts", f"{twin} of {part}"))
        seen.add(person.image)
    return faults


def _digest(path: Path) -> str:
    """Of a file's bytes; where there is no file, its name."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(path)


def contact_sheet(
    people: Sequence[Person], skeleton: Skeleton, columns: int = 6
) -> NDArray[np.uint8]:
    """Each person, cut out and drawn, on a sheet (H, W, 3) RGB; grey where an image is broken."""
    tiles = [_tile(person, skeleton) for person in people]
    blank = np.full((TILE, TILE, 3), 128, np.uint8)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    return np.asarray(np.vstack(rows), dtype=np.uint8)


def _tile(person: Person, skeleton: Skeleton) -> NDArray[np.uint8]:
    grey = np.full((TILE, TILE, 3), 128, np.uint8)
    if not np.isfinite(person.xywh).all():
        return grey
    try:
        image = read_image(person.image)
    except (ImageError, OSError):
        return grey
    x, y, width, height = person.xywh
    gain = TILE / max(width, height, 1.0)
    shift = np.array([TILE / 2, TILE / 2]) - gain * np.array([x + width / 2, y + height / 2])
    matrix = np.array([[gain, 0, shift[0]], [0, gain, shift[1]]])
    tile = np.asarray(cv2.warpAffine(image, matrix, (TILE, TILE)), dtype=np.uint8)
    drawn = ImagePoses(
        person.image.name,
        (TILE, TILE),
        skeleton,
        Boxes(np.array([[0, 0, TILE, TILE]], np.float32), np.ones(1, np.float32)),
        np.nan_to_num(person.xy * gain + shift)[None].astype(np.float32),
        (person.visible & np.isfinite(person.xy).all(1))[None].astype(np.float32),
        np.ones(1, np.float32),
    )
    return draw_poses(tile, drawn, 0.5)
