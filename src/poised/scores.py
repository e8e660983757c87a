"""How alike two poses are (OKS), how good one is, and which of several to keep."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

PoseNms = Literal["none", "hard", "soft"]  # by OKS
Floats = NDArray[np.floating[Any]]


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


def pose_scores(box_score: Floats, keypoint_score: Floats, threshold: float = 0.2) -> NDArray[Any]:
    """Box score x the mean of the keypoint scores above the threshold; (P,). None above gives 0."""
    counted = keypoint_score > threshold
    total = (keypoint_score * counted).sum(-1)
    return np.asarray(box_score * total / np.maximum(counted.sum(-1), 1), dtype=np.float32)


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
