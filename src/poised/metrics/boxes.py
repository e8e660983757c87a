"""How well boxes find labelled people: greedy one-to-one matching by score."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.boxes.nms import iou

Floats = NDArray[np.floating[Any]]


def matched(found_xyxy: Floats, truth_xyxy: Floats, threshold: float = 0.5) -> int:
    """How many of the true boxes (T, 4) are found: the found boxes (F, 4), best first, each take
    the free true box they overlap most, where the IoU is at least the threshold.
    """
    overlap = iou(found_xyxy, truth_xyxy)
    count = 0
    for row in range(len(overlap)):
        best = int(overlap[row].argmax()) if len(truth_xyxy) else 0
        if len(truth_xyxy) and overlap[row, best] >= threshold:
            overlap[:, best] = -1
            count += 1
    return count
