"""The output of networks that find boxes and poses in one go, of YOLO-pose's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
SIZES = (17, 21, 26, 133)  # keypoints that a skeleton of the package has


def column_axis(shape: Sequence[int | None], keypoints: Sequence[int] = SIZES) -> int | None:
    """Which axis of an output (N, 5 + 3 K, M) or (N, M, 5 + 3 K) has the columns; None: neither.

    keypoints: the K there may be.
    """
    columns = {5 + 3 * count for count in keypoints}
    return next((axis for axis in (1, 2) if len(shape) == 3 and shape[axis] in columns), None)


def decode_yolo_pose(rows: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """The rows (M, 5 + 3 K) of one image: M boxes, each with a pose, all in input pixels.

    A row is the box's middle, width and height, its score, then x, y and score of each keypoint.
    Returns boxes (M, 4) x1 y1 x2 y2, scores (M,), keypoints (M, K, 2) and their scores (M, K).
    """
    middle, half = rows[:, :2], rows[:, 2:4] / 2
    joints = rows[:, 5:].reshape(len(rows), (rows.shape[1] - 5) // 3, 3)
    xyxy = np.concatenate([middle - half, middle + half], axis=1)
    return xyxy, rows[:, 4], joints[..., :2], joints[..., 2]
