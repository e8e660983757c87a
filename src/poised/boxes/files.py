"""Boxes from a file, and the whole image as one box."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.reading import are_numbers, is_number, read_json
from poised.types import Boxes

SMALLEST = 1e-6  # of a box's width and height


class BoxFileError(ValueError):
    """A box file that cannot be used: names the file, the record and the field."""


def check_box_file(path: Path) -> None:
    """Raise BoxFileError where an evaluation's boxes name no file."""
    if not path.is_file():
        raise BoxFileError(f"{path}: no such box file; or give truth, detector or image")


def read_boxes(
    path: Path, names: Mapping[int, str] = MappingProxyType({}), category: int | None = None
) -> dict[str, Boxes]:
    """Boxes by file name from a JSON list of {"file_name", "bbox": [x, y, w, h], "score"}.

    Pixels, (x, y) the top left corner; `score` is 1 where it is absent; a `box_score`, as saved
    poses have it, goes before it; other keys are ignored.
    names: file names by image id, for a detector's COCO results file, which has an `image_id`
    instead; category: of which only the boxes of that `category_id` count. Raises BoxFileError.
    """
    records = read_json(path, BoxFileError, "box file")
    if not isinstance(records, list):
        raise BoxFileError(f"{path}: expected a list of boxes, got {type(records).__name__}")
    found: dict[str, list[tuple[list[float], float]]] = {}
    for index, record in enumerate(records):
        where = f"{path}: record {index}"
        if not isinstance(record, dict):
            raise BoxFileError(f"{where}: expected an object with file_name and bbox")
        if category is not None and record.get("category_id", category) != category:
            continue
        number = record.get("image_id")
        name = record.get("file_name", names.get(number) if isinstance(number, int) else None)
        if not isinstance(name, str):
            raise BoxFileError(
                f"{where}: needs a file_name"
                + (f", or an image_id of the data set, not {number!r}" if names else "")
            )
        box = record.get("bbox")
        score: Any = record.get("box_score", record.get("score", 1.0))
        if not are_numbers(box) or len(box) != 4:
            raise BoxFileError(f"{where}: bbox is {box!r}, expected [x, y, width, height]")
        if min(box[2:]) < SMALLEST:
            raise BoxFileError(f"{where}: bbox is {box!r}, width and height must be positive")
        if not is_number(score):
            raise BoxFileError(f"{where}: score is {score!r}, expected a number")
        found.setdefault(name, []).append((box, score))
    return {
        name: Boxes(np.array([b for b, _ in rows]), np.array([s for _, s in rows]))
        for name, rows in found.items()
    }


def boxes_of(boxes: dict[str, Boxes], paths: Iterable[Path], source: Path) -> dict[Path, Boxes]:
    """Each image's boxes, found by its path's ending; an image without any gets none.

    Raises BoxFileError where the file names an image that is not among the paths, or one name
    fits several of them.
    """
    matched = {path: Boxes.empty() for path in paths}
    called: dict[str, list[Path]] = {}
    for path in matched:
        called.setdefault(path.name, []).append(path)
    for name, rows in boxes.items():
        parts = Path(name).parts
        near = called.get(Path(name).name, [])
        fitting = [path for path in near if path.parts[-len(parts) :] == parts]
        if not fitting:
            raise BoxFileError(
                f"{source}: file_name {name!r} is none of the {len(matched)} images given"
            )
        if len(fitting) > 1:
            raise BoxFileError(
                f"{source}: file_name {name!r} fits {fitting[0]} and {fitting[1]}; "
                "give more of its path"
            )
        matched[fitting[0]] = rows
    return matched


def whole_image(image: NDArray[np.uint8]) -> Boxes:
    """One box, the image (H, W, 3) itself."""
    height, width = image.shape[:2]
    return Boxes(np.array([[0, 0, width, height]], np.float32), np.ones(1, np.float32))
