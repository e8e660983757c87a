"""Poses that `poised predict` has saved, read again for another tool."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from poised.images import image_size
from poised.reading import are_numbers, is_number, read_json, read_json_lines, short
from poised.types import Boxes, ImagePoses, Skeleton

FIELDS = ("file_name", "bbox", "box_score", "score", "keypoints")


class SavedError(ValueError):
    """A file of results that cannot be used: names the file, the record and what is wrong."""


def read_saved(path: Path, images: Path | None = None) -> list[ImagePoses]:
    """Everybody of a poses.json or poses.jsonl, image by image, in the file's order.

    The skeleton is that of skeleton.json beside it, the sizes are read from the images themselves.
    images: the folder that a relative `file_name` starts from; None: the working folder. Images
    without people are not in such a file. Raises SavedError.
    """
    if not path.is_file():
        raise SavedError(f"{path}: no such file")
    skeleton = _skeleton(path)
    people: dict[str, list[Mapping[str, Any]]] = {}
    for number, record in enumerate(_records(path), start=1):
        _check(record, len(skeleton), f"{path}: record {number}")
        people.setdefault(record["file_name"], []).append(record)
    return [_image(name, records, skeleton, images, path) for name, records in people.items()]


def image_file(poses: ImagePoses, images: Path | None) -> Path:
    """Where an image lies, of which a relative `file_name` starts from a folder."""
    return (images or Path()) / poses.file_name


def _skeleton(path: Path) -> Skeleton:
    beside = path.with_name("skeleton.json")
    if not beside.is_file():
        raise SavedError(f"{path}: there is no {beside.name} beside it, which names the keypoints")
    values = read_json(beside, SavedError)
    if not isinstance(values, dict):
        raise SavedError(f"{beside}: not a mapping of fields")
    return Skeleton.from_dict(values, str(beside))


def _records(path: Path) -> Iterator[Any]:
    if path.suffix == ".jsonl":
        yield from read_json_lines(path, SavedError)
        return
    values = read_json(path, SavedError)
    if not isinstance(values, list):
        raise SavedError(f"{path}: not a list of people, as `poised predict` writes it")
    yield from values


def _check(record: Any, keypoints: int, where: str) -> None:
    """Raise SavedError for what is no record of a person in an image, with that many keypoints."""
    missing = [f for f in FIELDS if f not in record] if isinstance(record, dict) else FIELDS
    if missing:
        raise SavedError(f"{where}: no {', '.join(missing)}")
    if "frame" in record:
        raise SavedError(f"{where}: is of a video's frame; only images' poses can be converted")
    if not isinstance(record["file_name"], str):
        raise SavedError(f"{where}: file_name is {short(record['file_name'])}, expected text")
    for name, count in (("bbox", 4), ("keypoints", 3 * keypoints)):
        numbers = record[name]
        if not are_numbers(numbers):
            raise SavedError(f"{where}: {name} is {short(numbers)}, expected {count} numbers")
        if len(numbers) != count:
            raise SavedError(f"{where}: {len(numbers)} numbers of {name}, expected {count}")
    for name in ("box_score", "score"):
        if not is_number(record[name]):
            raise SavedError(f"{where}: {name} is {short(record[name])}, expected a number")


def _image(
    name: str,
    records: list[Mapping[str, Any]],
    skeleton: Skeleton,
    images: Path | None,
    path: Path,
) -> ImagePoses:
    file = (images or Path()) / name
    if not os.path.isfile(file):  # a Path would raise at a name that is too long
        raise SavedError(
            f"{path}: there is no {short(file)}; give the folder of the images (--images)"
        )
    size = image_size(file)
    if isinstance(size, str):
        raise SavedError(f"{path}: {file}: {size}")
    try:
        boxes = np.array([record["bbox"] for record in records], np.float32)
        box_score = np.array([record["box_score"] for record in records], np.float32)
        points = np.array([record["keypoints"] for record in records], np.float32)
        score = np.array([record["score"] for record in records], np.float32)
        points = points.reshape(len(records), len(skeleton), 3)
        found = Boxes(boxes, box_score)
        return ImagePoses(name, size, skeleton, found, points[..., :2], points[..., 2], score)
    except ValueError as error:
        raise SavedError(f"{path}: the people of {name}: {error}") from error
