"""PCK: the share of keypoints within a fraction of a reference length (Yang and Ramanan, 2013).

PCKh takes MPII's head size for the length. A distance equal to the limit is correct. Figures are
percent; a joint that is never labelled gives NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]

NOT_IN_PCKH = ("pelvis", "thorax")  # MPII's published tables leave them out of the mean
# The published tables' columns: the plain mean of two joints. The head is the neck and the head's
# top where both are labelled (LSP's evaluators), else the top alone (MPII's).
GROUPS: dict[str, tuple[str, ...]] = {
    "Head": ("neck", "head_top"),
    "Shoulder": ("left_shoulder", "right_shoulder"),
    "Elbow": ("left_elbow", "right_elbow"),
    "Wrist": ("left_wrist", "right_wrist"),
    "Hip": ("left_hip", "right_hip"),
    "Knee": ("left_knee", "right_knee"),
    "Ankle": ("left_ankle", "right_ankle"),
}
FLIC_TOTAL = ("Elbow", "Wrist")  # groups: the mean of both is the Total of FLIC's tables


def distances(
    xy: Floats, truth: Floats, labelled: NDArray[np.bool_], length: Floats
) -> NDArray[np.float64]:
    """(P, K) distances in units of each person's length; NaN where not labelled.

    xy, truth: (P, K, 2) pixels, NaN where nothing was predicted, which is a miss: `inf`; labelled:
    (P, K); length: (P,) pixels, positive.
    """
    apart = np.linalg.norm(np.asarray(xy, np.float64) - truth, axis=-1) / length[:, None]
    return np.where(labelled, np.nan_to_num(apart, nan=np.inf), np.nan)


def pck(apart: Floats, fractions: float | Sequence[float]) -> NDArray[np.float64]:
    """Each joint's PCK, (K,), or (T, K) at T fractions; apart: `distances`."""
    limits = np.asarray(fractions, np.float64)
    ordered = np.sort(apart, axis=0)  # NaN last
    counted = (~np.isnan(apart)).sum(0)
    right = np.stack(
        [np.searchsorted(column, limits, side="right") for column in ordered.T], axis=-1
    )
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * right / counted)


def area_under_curve(apart: Floats, largest: float, steps: int = 100) -> NDArray[np.float64]:
    """(K,) the mean PCK over fractions from 0 to `largest`: MPII's AUC."""
    return np.asarray(pck(apart, np.linspace(0, largest, steps + 1).tolist()).mean(0))


def labelled_mean(
    each: Floats, apart: Floats, keypoints: Sequence[str], left_out: Sequence[str] = ()
) -> float:
    """The mean over joints, each weighted by how often it is labelled; some left out."""
    count = (~np.isnan(apart)).sum(0) * ~np.isin(keypoints, left_out)
    return float((np.where(count > 0, each, 0) * count).sum() / count.sum())


def grouped(each: Floats, keypoints: Sequence[str]) -> dict[str, float]:
    """The published tables' columns, of the joints (K,) that the skeleton has."""
    place = {name: index for index, name in enumerate(keypoints)}
    groups = GROUPS if "neck" in place else GROUPS | {"Head": ("head_top",)}
    return {
        group: float(np.mean([each[place[name]] for name in names]))
        for group, names in groups.items()
        if all(name in place for name in names)
    }


def torso_length(
    truth: Floats, visible: NDArray[np.bool_], shoulder: int, hip: int
) -> NDArray[np.float64]:
    """(P,) the distance of a shoulder and the opposite hip where both are visible and apart, else
    0.4 x the longer side of the visible joints' box. truth: (P, K, 2) pixels; visible: (P, K).
    """
    torso = np.linalg.norm(truth[:, shoulder] - truth[:, hip], axis=-1)
    both = visible[:, shoulder] & visible[:, hip] & (torso > 0)
    return np.asarray(np.where(both, torso, 0.4 * person_size(truth, visible)))


def person_size(truth: Floats, visible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(P,) the longer side of the visible joints' box, 1 px at least.

    Yang and Ramanan's PCK has max(height, width) of a person for its length. truth: (P, K, 2)
    pixels; visible: (P, K).
    """
    low = np.where(visible[..., None], truth, np.inf).min(1)
    high = np.where(visible[..., None], truth, -np.inf).max(1)
    return np.asarray(np.maximum((high - low).max(-1), 1.0))
