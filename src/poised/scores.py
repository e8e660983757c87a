"""How alike two poses are (OKS), how good one is, and which of several to keep."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PoseNms = Literal["none", "hard", "soft"]  # by OKS
Floats = NDArray[np.floating[Any]]
COCO_SHARE = 0.53  # of a box, that COCO's people fill in the mean


def oks(
    xy_a: Floats,
    xy_b: Floats,
    area_a: Floats,
    area_b: Floats,
    sigmas: Floats,
    labelled: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """Object keypoint similarity of every pose with every other, (A, B) in [0, 1].

    xy_a: (A, K, 2), xy_b: (B, K, 2) pixels; areas (A,), (B,) in square pixels, of which each pair
    takes the mean (HRNet's NMS; COCO's evaluator takes the truth's: give it twice); sigmas: (K,);
    labelled: (B, K), the keypoints that count. Nothing labelled gives 0.
    """
    squared = ((xy_a[:, None].astype(np.float64) - xy_b[None]) ** 2).sum(-1)  # (A, B, K)
    tolerance = (2 * np.asarray(sigmas, np.float64)) ** 2
    area = (np.asarray(area_a)[:, None] + np.asarray(area_b)[None]) / 2 + np.spacing(1)
    likeness = np.exp(-squared / tolerance / area[..., None] / 2)
    if labelled is None:
        return np.asarray(likeness.mean(-1))
    count = labelled.sum(-1)
    return np.asarray((likeness * labelled[None]).sum(-1) / np.maximum(count, 1)[None])


def mean_above(keypoint_score: Floats, threshold: float) -> NDArray[np.float32]:
    """The mean of each pose's keypoint scores (P, K) above the threshold, (P,); 0 where none is."""
    counted = keypoint_score > threshold
    total = (keypoint_score * counted).sum(-1)
    return np.asarray(total / np.maximum(counted.sum(-1), 1), dtype=np.float32)


def chances_near(chances: Floats, xy: Floats, reach: Floats) -> NDArray[np.float32]:
    """The chance that each joint is within `reach` of where it is said to be, (P, K) in [0, 1].

    chances: (P, K, h, w), of each pixel to hold the joint; xy: (P, K, 2) and reach: (P,) heatmap
    pixels. The disc is taken as the square of its area, its border's pixels by their share.
    """
    half = (math.sqrt(math.pi) / 2 * reach)[:, None, None]
    x, y = (np.abs(away) for away in _away(chances, xy))
    near = _within(chances, (half + 0.5 - x).clip(0, 1), (half + 0.5 - y).clip(0, 1))
    return near.clip(0, 1)  # rounding may leave a little more


def expected_oks(chances: Floats, xy: Floats, sides: Floats, sigmas: Floats) -> NDArray[np.float32]:
    """The OKS that the maps themselves expect of the poses, (P,).

    chances, xy: as in `chances_near`; sides: (P, 2) of the boxes, heatmap pixels, of whose area a
    person is taken to fill COCO_SHARE; sigmas: (K,). Each joint's expected similarity is added, and
    divided by how many joints are expected and one more: where hardly one is, a pose is no good.
    """
    area = COCO_SHARE * sides.prod(1)
    tolerance = 2 * np.asarray(sigmas) * np.sqrt(area)[:, None]  # (P, K)
    x, y = (np.exp(-0.5 * (away / tolerance[..., None]) ** 2) for away in _away(chances, xy))
    there = chances.sum((2, 3))
    return np.asarray(_within(chances, x, y).sum(1) / (there.sum(1) + 1), np.float32)


def _away(maps: Floats, xy: Floats) -> tuple[NDArray[Any], NDArray[Any]]:
    """How far columns (P, K, w) and rows (P, K, h) of maps lie from the points xy (P, K, 2)."""
    height, width = maps.shape[2:]
    return np.arange(width) - xy[..., :1], np.arange(height) - xy[..., 1:]


def _within(maps: Floats, x: Floats, y: Floats) -> NDArray[np.float32]:
    """The sum of each map, its columns weighted by x (P, K, w) and its rows by y (P, K, h)."""
    rows = maps @ x.astype(np.float32)[..., None]  # (P, K, h, 1)
    return np.asarray((rows[..., 0] * y).sum(-1), np.float32)


def oks_nms(
    xy: Floats,
    area: Floats,
    score: Floats,
    sigmas: Floats,
    threshold: float,
    kind: Literal["hard", "soft"] = "hard",
    most: int = 20,
) -> NDArray[np.intp]:
    """Which of the poses (P, K, 2) to keep, in order of selection.

    hard: the best is kept, those with OKS > threshold to it dropped, and so on. soft: their
    scores are multiplied by exp(-OKS^2 / threshold) instead, and the best `most` are kept.
    """
    likeness = oks(xy, xy, area, area, sigmas)
    order = np.argsort(score, kind="stable")[::-1]
    left = np.asarray(score, np.float64)[order]
    kept: list[int] = []
    while len(order) and (kind == "hard" or len(kept) < most):
        best, order, left = order[0], order[1:], left[1:]
        kept.append(int(best))
        alike = likeness[best, order]
        if kind == "hard":
            order, left = order[alike <= threshold], left[alike <= threshold]
        else:
            left = left * np.exp(-(alike**2) / threshold)
            again = np.argsort(left, kind="stable")[::-1]
            order, left = order[again], left[again]
    return np.array(kept, np.intp)
