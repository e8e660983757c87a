"""Poses as a data set of YOLO's pose labels, to correct or to train on.

The form is what `datasets/yolo.py` reads: fractions of the image's sides, v 2 for a keypoint that
is there and 0 for one that is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from poised.files import folder_written_whole, link_or_copy, numbered, write_text
from poised.interop.saved import image_file
from poised.types import ImagePoses, Skeleton, of_images

DIGITS = 6  # of a fraction: a thousandth of a pixel of an image 1000 pixels wide


def write_yolo(
    poses: ImagePoses | Sequence[ImagePoses],
    out: Path | str,
    threshold: float = 0.5,
    images: Path | None = None,
    part: str = "train",
) -> int:
    """Write data.yaml, images/PART and labels/PART into a new folder; how many people there are.

    Keypoints of a score above the threshold are labelled, if they lie in the image: YOLO's readers
    refuse a file with others. Boxes are cut at the image's sides, and who has none left, or no
    keypoint, is left out. Images are linked where the disk can, else copied, numbered where two
    have one name. images: as of `read_saved`. Raises ValueError where there are no poses, OSError
    where the folder is there or an image is not.
    """
    several, out = of_images(poses), Path(out)
    if not several:
        raise ValueError("nobody to write: there are no poses")
    if out.exists():
        raise FileExistsError(f"{out} is there already; give a new folder")
    people = 0
    names = numbered((Path(one.file_name).stem for one in several), ".txt")
    with folder_written_whole(out) as partial:
        for one, name in zip(several, names, strict=True):
            source = image_file(one, images)
            target = partial / "images" / part / f"{Path(name).stem}{source.suffix}"
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source, target)
            lines = label_lines(one, threshold)
            label = partial / "labels" / part / name
            label.parent.mkdir(parents=True, exist_ok=True)
            write_text(label, "".join(f"{line}\n" for line in lines))
            people += len(lines)
        write_text(partial / "data.yaml", _description(several[0].skeleton, part))
    return people


def label_lines(poses: ImagePoses, threshold: float) -> list[str]:
    """A line a person: class 0, the box's middle and size, then x, y, v of each keypoint."""
    side = np.array(poses.size, np.float64)
    low, high = poses.boxes.xyxy[:, :2] / side, poses.boxes.xyxy[:, 2:] / side
    low, high = low.clip(0, 1), high.clip(0, 1)
    xy = poses.xy / side
    seen = (poses.keypoint_score > threshold) & ((xy >= 0) & (xy <= 1)).all(2)
    points = np.where(seen[..., None], xy, 0)
    kept = np.flatnonzero((high > low).all(1) & seen.any(1))
    return [
        _line(np.concatenate([(low[p] + high[p]) / 2, high[p] - low[p]]), points[p], seen[p])
        for p in kept
    ]


def _line(box: NDArray[np.float64], xy: NDArray[np.float64], seen: NDArray[np.bool_]) -> str:
    words = ["0", *(f"{v:.{DIGITS}f}" for v in box)]
    for (x, y), here in zip(xy, seen, strict=True):
        words += [f"{x:.{DIGITS}f}", f"{y:.{DIGITS}f}", str(2 * int(here))]
    return " ".join(words)


def _description(skeleton: Skeleton, part: str) -> str:
    names = list(skeleton.keypoints)
    fields: dict[str, Any] = {part: f"images/{part}", "names": {0: "person"}}  # from this file on
    fields |= {"kpt_shape": [len(names), 3], "flip_idx": skeleton.flip_order.tolist()}
    return yaml.safe_dump(fields | {"kpt_names": {0: names}}, sort_keys=False)
