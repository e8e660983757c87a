"""A person's surroundings with annotated and predicted poses, told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.draw import COLOURS, OUTLINE, draw_poses
from poised.images import ImageError, read_image
from poised.types import Boxes, ImagePoses, Skeleton

SIDE, FAR = 320, 1e4  # pixels of a picture; where a line that leaves it may end
MARGIN = 1.25  # of the picture, to the box it shows
WHITE, RED, GREY = (255, 255, 255), (255, 40, 40), (128, 128, 128)  # RGB
LEGEND = (
    "White lines and rings are the annotation, coloured lines and dots the prediction; blue is the "
    "person's own left, orange the right. A red line leads from a wrong joint to its place."
)
Floats = NDArray[np.floating[Any]]
NOT_ASTRAY = np.zeros((0, 2, 2))
Poses = tuple[NDArray[np.float64], NDArray[np.bool_]]  # (N, K, 2) image pixels; (N, K) to be drawn


def nobody(skeleton: Skeleton) -> Poses:
    """No pose."""
    return np.zeros((0, len(skeleton), 2)), np.zeros((0, len(skeleton)), np.bool_)


def draw(
    image: Path,
    xywh: Floats,
    skeleton: Skeleton,
    truth: Poses,
    predicted: Poses,
    strays: Floats = NOT_ASTRAY,
) -> NDArray[np.uint8]:
    """What is about a box, (SIDE, SIDE, 3) BGR; grey where the image cannot be read.

    strays: (N, 2, 2) where wrong joints are, and where they belong.
    """
    x, y, width, height = (float(value) for value in xywh)
    gain = SIDE / (MARGIN * max(width, height, 1.0))
    shift = SIDE / 2 - gain * np.array([x + width / 2, y + height / 2])
    try:
        matrix = np.array([[gain, 0, shift[0]], [0, gain, shift[1]]])
        kind = cv2.INTER_AREA if gain < 1 else cv2.INTER_LINEAR
        canvas = cv2.warpAffine(
            read_image(image), matrix, (SIDE, SIDE), flags=kind, borderValue=GREY
        )
    except (ImageError, OSError):
        canvas = np.full((SIDE, SIDE, 3), GREY, np.uint8)

    def placed(xy: Floats) -> NDArray[np.float64]:
        return np.asarray(np.clip(np.nan_to_num(xy * gain + shift), -FAR, FAR))

    for xy, shown in zip(placed(truth[0]), truth[1], strict=True):
        _draw_truth(canvas, xy.round().astype(int), shown, skeleton)
    canvas = _draw_predicted(
        np.asarray(canvas, np.uint8), placed(predicted[0]), predicted[1], skeleton
    )
    for ends in placed(strays).round().astype(int):
        cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), RED, 1, cv2.LINE_AA)
    return np.asarray(cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), np.uint8)


def _draw_truth(
    canvas: Any, xy: NDArray[np.int64], shown: NDArray[np.bool_], skeleton: Skeleton
) -> None:
    """White limbs under rings in their side's colour, dark at the edges."""
    limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
    for colour, thick in ((OUTLINE, 4), (WHITE, 2)):
        for a, b in limbs:
            cv2.line(canvas, xy[a].tolist(), xy[b].tolist(), colour, thick, cv2.LINE_AA)
    for k in np.flatnonzero(shown):
        for colour, thick in ((OUTLINE, 6), (WHITE, 4), (COLOURS[skeleton.side(int(k))], 2)):
            cv2.circle(canvas, xy[k].tolist(), 5, colour, thick, cv2.LINE_AA)


def _draw_predicted(
    canvas: NDArray[np.uint8],
    xy: NDArray[np.float64],
    shown: NDArray[np.bool_],
    skeleton: Skeleton,
) -> NDArray[np.uint8]:
    """As `predict` draws them."""
    count = len(xy)
    box = np.tile(np.array([0, 0, SIDE / 2, SIDE / 2], np.float32), (count, 1))
    ones = np.ones(count, np.float32)
    poses = ImagePoses(
        "",
        (SIDE, SIDE),
        skeleton,
        Boxes(box, ones),
        xy.astype(np.float32),
        shown.astype(np.float32),
        ones,
    )
    return draw_poses(canvas, poses, 0.5)
