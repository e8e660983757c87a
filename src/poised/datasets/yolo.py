"""YOLO's labels of poses, as Ultralytics documents them and Roboflow and others export them.

`data.yaml` (or the one YAML file of the folder that has it) says `kpt_shape`, [K, 2] or [K, 3], and
where each part's images lie: a folder, a list of them, or a text file of names; `kpt_names`, where
it is there, names the keypoints, `flip_idx` their mirrored order. Beside each folder `images` is
one `labels`, with a text file an image, a line a person: class, cx, cy, w, h of the box, then
x, y [, v] of each keypoint, all but v as fractions of the image's width and height. v is 0
unlabelled, 1 hidden, 2 seen; without it what lies at (0, 0), or below 0, is unlabelled. An image
without a label file has nobody. A fraction times the side is a pixel here, as where COCO was
converted into this form.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from poised.datasets.categories import skeleton_named
from poised.datasets.person import DatasetError, Person
from poised.images import SUFFIXES, image_size
from poised.reading import read_yaml, short
from poised.types import Skeleton

BOX = 5  # numbers of a line before the keypoints: the class and the box
FAR = 2.0  # sides of the image: a joint may lie outside of it, but what is beyond are pixels
log = logging.getLogger(__name__)


def read_yolo(root: Path, split: str) -> list[Person]:
    """Everybody in the label files of a part, in the order of its images' names.

    split: train, val, test, as data.yaml has them. Raises FileNotFoundError, or DatasetError that
    names file, line and field.
    """
    path = description(root)
    values = _read(path)
    joints, numbers = _shape(values, path)
    people = []
    images = _images(path, values, split)
    for number, image in enumerate(images, start=1):
        labels = _label_file(image)
        rows = _rows(labels, joints, numbers) if labels.is_file() else []
        if rows:
            size = image_size(image)
            if isinstance(size, str):
                raise DatasetError(f"{image}: {size}; its labels are fractions of its size")
            people += [_person(image, number, np.array(row), size, numbers) for row in rows]
    if not people:
        log.warning("%s: nobody in the labels of the %d images of %s", path, len(images), split)
    return people


def names_of_yolo(root: Path, split: str) -> str | None:
    """data.yaml, where it names the keypoints."""
    path = description(root)
    return str(path) if "kpt_names" in _read(path) else None


def mind_the_flip(root: Path, skeleton: Skeleton) -> None:
    """Say it where a skeleton mirrors others than `flip_idx` does, of a file without names."""
    path = description(root)
    values = _read(path)
    order, ours = values.get("flip_idx"), skeleton.flip_order.tolist()
    if "kpt_names" not in values and order not in (None, ours):
        log.warning(
            "%s: flip_idx is %s, the skeleton %s mirrors %s: one of them is wrong, or the order of "
            "its keypoints is",
            *(path, order, skeleton.name, ours),
        )


def skeleton_of_yolo(path: Path) -> Skeleton:
    """That of a data.yaml with `kpt_names`; its pairs are `flip_idx`'s, where it is there."""
    values = _read(path)
    joints, _ = _shape(values, path)
    names = values.get("kpt_names")
    if isinstance(names, dict):  # by class: one list serves all
        lists = [each for each in names.values() if isinstance(each, list)]
        names = lists[0] if lists else list(names.values())
        if any(each != names for each in lists):
            raise DatasetError(f"{path}: kpt_names are unlike from class to class")
    if not isinstance(names, list) or len(names) != joints:
        raise DatasetError(f"{path}: kpt_names is {str(names)[:60]}, not {joints} names")
    return skeleton_named(list(map(str, names)), _pairs(values, joints, path), str(path))


def description(root: Path) -> Path:
    """The YAML file that describes the data set; FileNotFoundError where there is none."""
    found = [root / "data.yaml", *sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]
    for path in found:
        if path.is_file() and "kpt_shape" in path.read_text("utf-8", "replace"):
            return path
    raise FileNotFoundError(f"{root}: no data.yaml with kpt_shape, as YOLO's pose labels have")


def _read(path: Path) -> dict[str, Any]:
    values = read_yaml(path, DatasetError)
    if not isinstance(values, dict):
        raise DatasetError(f"{path}: not a mapping of fields")
    return values


def _shape(values: dict[str, Any], path: Path) -> tuple[int, int]:
    """kpt_shape: how many keypoints, and numbers each."""
    shape = values.get("kpt_shape")
    whole = isinstance(shape, list) and len(shape) == 2 and all(isinstance(n, int) for n in shape)
    if not whole or not isinstance(shape, list) or shape[0] < 1 or shape[1] not in (2, 3):
        raise DatasetError(f"{path}: kpt_shape is {shape}, not [keypoints, 2 or 3]")
    return shape[0], shape[1]


def _pairs(values: dict[str, Any], joints: int, path: Path) -> list[tuple[int, int]] | None:
    """flip_idx as pairs of what it exchanges; None where it is absent."""
    order = values.get("flip_idx")
    if order is None:
        return None
    whole = isinstance(order, list) and all(isinstance(n, int) for n in order)
    if not whole or sorted(order) != [*range(joints)]:
        raise DatasetError(f"{path}: flip_idx is {order}, not an order of 0 to {joints - 1}")
    if any(order[order[k]] != k for k in range(joints)):
        raise DatasetError(f"{path}: flip_idx {order} mirrored twice is not as it was")
    return [(k, other) for k, other in enumerate(order) if k < other]


def _images(path: Path, values: dict[str, Any], split: str) -> list[Path]:
    """A part's images, sorted; each folder is looked for from `path`'s and data.yaml's place."""
    parts = values.get(split)
    if parts is None:
        known = [name for name in ("train", "val", "test") if values.get(name)]
        raise DatasetError(f"{path}: no part {split!r}; known: {', '.join(known) or 'none'}")
    images: list[Path] = []
    for part in parts if isinstance(parts, list) else [parts]:
        name = str(part)
        tries = [path.parent / str(values.get("path") or "") / name, path.parent / name]
        tries.append(path.parent / name.removeprefix("../"))  # Roboflow's, a folder too far up
        found = [place for place in tries if place.exists()]
        if not found:
            raise FileNotFoundError(f"{path}: {split} is {name}, but there is no {tries[0]}")
        if found[0].is_dir():
            images += [p for p in found[0].rglob("*") if p.suffix.lower() in SUFFIXES]
        else:
            lines = found[0].read_text("utf-8").split("\n")
            images += [found[0].parent / line.strip() for line in lines if line.strip()]
    return sorted(images)


def _label_file(image: Path) -> Path:
    """The last folder `images` of its path is `labels`."""
    parts = list(image.parent.parts)
    if "images" in parts:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return Path(*parts) / f"{image.stem}.txt"


def _rows(path: Path, joints: int, numbers: int) -> list[list[float]]:
    """A label file's lines as numbers; DatasetError names the first that does not fit."""
    rows = []
    wanted = BOX + joints * numbers
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}:"
        try:
            row = [float(word) for word in line.split()]
        except ValueError as error:
            raise DatasetError(f"{where} {short(error)}") from error
        if len(row) != wanted:
            raise DatasetError(
                f"{where} {len(row)} numbers, expected {wanted}: class, box, {joints} keypoints of "
                f"{numbers}"
            )
        _check_fractions(row, numbers, where)
        rows.append(row)
    return rows


def _check_fractions(row: Sequence[float], numbers: int, where: str) -> None:
    """Raise DatasetError for what is not finite, and for pixels, which are above FAR."""
    for place, value in enumerate(row):
        if not math.isfinite(value):
            raise DatasetError(f"{where} {value} is no finite number")
        if place == 0 or abs(value) <= FAR:
            continue
        if place < BOX:
            name = ("cx", "cy", "w", "h")[place - 1]
        else:
            joint, axis = divmod(place - BOX, numbers)
            name = f"keypoint {joint + 1}'s {'xyv'[axis]}"
        raise DatasetError(f"{where} {name} is {value:g}, not a fraction of the image's side")


def _person(image: Path, number: int, row: Any, size: tuple[int, int], numbers: int) -> Person:
    side = np.array(size, np.float64)
    middle, wh = row[1:3] * side, row[3:5] * side
    points = row[BOX:].reshape(-1, numbers)
    xy = points[:, :2] * side
    if numbers == 3:
        visible, occluded = points[:, 2] > 0, points[:, 2] == 1
    else:
        visible = (points >= 0).all(1) & (points > 0).any(1)
        occluded = np.zeros(len(points), np.bool_)
    return Person(
        image,
        np.concatenate([middle - wh / 2, wh]),
        xy,
        visible,
        occluded,
        image_id=number,
        ignored=not visible.any(),
    )
