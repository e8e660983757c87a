"""What a run's files must be: its manifest, the lines of its parts; damaged ones are told by it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from poised.reading import is_strict, short
from poised.results import FILE_NAMES
from poised.types import Skeleton, SkeletonError

SHARD = re.compile(r"([1-9]\d{0,8})/([1-9]\d{0,8})")
MOST, MOST_PARTS = 1 << 40, 1 << 22  # images and parts of a run

Line = dict[str, Any]


@dataclass
class Totals:
    """What came of images: how many were used, with how many people; left out as unsure, set aside
    as unreadable, and not drawn."""

    images: int = 0
    people: int = 0
    left_out: int = 0
    set_aside: int = 0
    undrawn: int = 0

    def count(self, line: Line) -> None:
        """Add an image's line."""
        if "set_aside" in line:
            self.set_aside += 1
            return
        self.images += 1
        self.people += len(line["people"])
        self.left_out += line["left_out"]
        self.undrawn += "undrawn" in line


def faults(notes: Any) -> str:
    """What in a manifest cannot be; "" where nothing is wrong."""
    asked, done = (notes.get(k, notes) for k in ("asked", "done")) if _is(notes, dict) else ([], [])
    if not _is(asked, dict) or done is notes:
        return "no asked, or no done"
    whole = ("images", "part")
    if not all(_is(asked.get(name), int) and 0 <= asked[name] < MOST for name in whole):
        return "asked.images or asked.part is no number of images"
    shard = asked.get("shard", 0)
    many = asked["part"] < 1 or asked["images"] // asked["part"] > MOST_PARTS
    if many or asked.get("format") not in tuple(FILE_NAMES):
        return "asked.part or asked.format"
    if shard is not None and not (_is(shard, str) and SHARD.fullmatch(shard)):
        return "asked.shard is no i/n"
    names = set(Totals.__dataclass_fields__)
    if done is not None and not (_is(done, dict) and set(done) == names):
        return f"done has not {', '.join(sorted(names))}"
    if done is not None and not all(_is(count, int) and count >= 0 for count in done.values()):
        return "done is no counts"
    try:
        Skeleton.from_dict(asked.get("skeleton", {}), "asked.skeleton")
    except (SkeletonError, TypeError) as error:
        return short(error)
    return ""


def check_line(line: Any, joints: int, number: int) -> None:
    """Raise ValueError where an image's line of a part is none."""
    try:
        if not _is(line["file_name"], str):
            raise ValueError("file_name")
        if _is(line.get("set_aside"), str):
            return
        for one in line["people"]:
            numbers = [*one["bbox"], one["box_score"], one["score"], *one["keypoints"]]
            if len(numbers) != 6 + 3 * joints or not math.isfinite(sum(numbers)):
                raise ValueError(f"{len(numbers)} numbers of somebody, or one that is none")
        if not _is(line["left_out"], int) or not is_strict(line):
            raise ValueError("left_out, or a number that is none")
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError) as error:
        raise ValueError(f"line {number} is no image's: {short(repr(error))}") from error


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
