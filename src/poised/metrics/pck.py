"""PCK: the share of keypoints within a fraction of a reference length (Yang and Ramanan, 2013)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def pck(
    xy: Floats, truth: Floats, visible: NDArray[np.bool_], length: Floats, fraction: float = 0.2
) -> NDArray[np.float64]:
    """Each joint's share (K,) in percent of visible keypoints within `fraction` x `length`.

    xy, truth: (P, K, 2) pixels; visible: (P, K); length: (P,) pixels. A distance equal to the
    limit is correct. A joint that is never visible gives NaN.
    """
    distance = np.linalg.norm(np.asarray(xy, np.float64) - truth, axis=-1)
    right = (distance <= fraction * length[:, None]) & visible
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * right.sum(0) / visible.sum(0))


def torso_length(
    truth: Floats, visible: NDArray[np.bool_], shoulder: int, hip: int
) -> NDArray[np.float64]:
    """(P,) the distance of a shoulder and the opposite hip where both are visible, else 0.4 x the
    longer side of the visible joints' box. truth: (P, K, 2) pixels; visible: (P, K).
    """
    torso = np.linalg.norm(truth[:, shoulder] - truth[:, hip], axis=-1)
    low = np.where(visible[..., None], truth, np.inf).min(1)
    high = np.where(visible[..., None], truth, -np.inf).max(1)
    both = visible[:, shoulder] & visible[:, hip]
    return np.asarray(np.where(both, torso, 0.4 * (high - low).max(-1)))
