"""Non-maximum suppression of boxes: hard, and soft (Bodla et al., arXiv 1704.04503)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poised.types import Boxes

NmsKind = Literal["none", "hard", "soft-linear", "soft-gaussian"]
Floats = NDArray[np.floating[Any]]


def iou(a: Floats, b: Floats, *, plus_one: bool = False) -> NDArray[np.float64]:
    """Intersection over union of boxes x1 y1 x2 y2, (A, 4) with (B, 4): (A, B).

    plus_one: a side is x2 - x1 + 1, as in the public code of the papers.
    """
    edge = 1 if plus_one else 0
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = (high - low + edge).clip(0).prod(-1)
    area_a = (first[:, 2:] - first[:, :2] + edge).prod(-1)
    area_b = (second[:, 2:] - second[:, :2] + edge).prod(-1)
    union = area_a[:, None] + area_b[None] - overlap
    return np.asarray(overlap / np.maximum(union, 1e-12))


def nms(
    xyxy: Floats, score: Floats, threshold: float, *, plus_one: bool = False
) -> NDArray[np.intp]:
    """Indices of the boxes (N, 4) to keep, best first; an overlap of just the threshold is kept."""
    order = np.argsort(score, kind="stable")[::-1]
    overlap = iou(xyxy, xyxy, plus_one=plus_one)
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[overlap[best, order] <= threshold]
    return np.array(kept, np.intp)


def soft_nms(
    xyxy: Floats,
    score: Floats,
    kind: Literal["linear", "gaussian"] = "linear",
    *,
    overlap: float = 0.3,
    sigma: float = 0.5,
    least: float = 0.001,
    plus_one: bool = False,
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Indices of the boxes (N, 4) and their lowered scores, in order of selection.

    linear: a score is multiplied by 1 - IoU where the IoU with a chosen box is over `overlap`;
    gaussian: by exp(-IoU^2 / sigma) always. Scores under `least` are dropped.
    """
    likeness = iou(xyxy, xyxy, plus_one=plus_one)
    now = np.asarray(score, np.float64).copy()
    left = np.arange(len(now))
    kept: list[int] = []
    while len(left):
        best = left[np.argmax(now[left])]
        kept.append(int(best))
        left = left[left != best]
        alike = likeness[best, left]
        if kind == "linear":
            now[left] *= np.where(alike > overlap, 1 - alike, 1.0)
        else:
            now[left] *= np.exp(-(alike**2) / sigma)
        left = left[now[left] >= least]
    chosen = np.array(kept, np.intp)
    return chosen, now[chosen]


def suppress(boxes: Boxes, kind: NmsKind, threshold: float) -> Boxes:
    """A box file's boxes as a paper's NMS leaves them.

    threshold: the overlap of "hard" and "soft-linear", the sigma of "soft-gaussian".
    """
    if kind == "none" or not len(boxes):
        return boxes
    if kind == "hard":
        kept = nms(boxes.xyxy, boxes.score, threshold)
        return Boxes(boxes.xywh[kept], boxes.score[kept])
    chosen, score = soft_nms(
        boxes.xyxy,
        boxes.score,
        "linear" if kind == "soft-linear" else "gaussian",
        overlap=threshold,
        sigma=threshold,
    )
    return Boxes(boxes.xywh[chosen], score.astype(np.float32))
