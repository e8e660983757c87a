"""What kind each keypoint's error is, after Ronchi and Perona, arXiv 1707.05388, §3.1.

With ks the keypoint similarity exp(-d^2 / (2 area (2 sigma)^2)):
good       ks of the person's own keypoint at least 0.85
jitter     from 0.5 to 0.85: near it
inversion  below, but 0.5 to the person's keypoint of the other side
swap       none of these, but 0.5 to this keypoint, or its other side, of somebody else there
miss       none of all, or no prediction at all
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poised.metrics.matching import Matched

KINDS = ("good", "jitter", "inversion", "swap", "miss")
GOOD, NEAR = 0.85, 0.5


def error_kinds(matched: Matched) -> NDArray[np.int64]:
    """(P, K) places in KINDS; -1 where the keypoint is not labelled."""
    skeleton, truth, labelled = matched.skeleton, matched.truth, matched.labelled
    order, sigmas, area = skeleton.flip_order, skeleton.sigmas, matched.area
    own = _similarity(matched.xy, truth, labelled, area, sigmas)
    other_side = _similarity(matched.xy, truth[:, order], labelled[:, order], area, sigmas)
    other_side[:, order == np.arange(len(order))] = 0  # a nose has no other side
    somebody = np.zeros_like(own)
    places: dict[int, list[int]] = {}
    for index, person in enumerate(matched.people):
        places.setdefault(person.image_id, []).append(index)
    for here in places.values():
        for index in here:
            for i in here:
                if i == index:
                    continue
                for sides in (np.arange(len(order)), order):
                    near = _similarity(
                        matched.xy[index],
                        truth[i][sides],
                        labelled[i][sides],
                        matched.area[index],
                        sigmas,
                    )
                    somebody[index] = np.maximum(somebody[index], near)
    kinds = np.select(
        [own >= GOOD, own >= NEAR, other_side >= NEAR, somebody >= NEAR], [0, 1, 2, 3], 4
    )
    return np.where(labelled, kinds, -1)


def _similarity(
    xy: NDArray[np.float64],
    truth: NDArray[np.float64],
    labelled: NDArray[np.bool_],
    area: NDArray[np.float64],
    sigmas: NDArray[np.float32],
) -> NDArray[np.float64]:
    """(..., K) ks of keypoints (..., K, 2); 0 where there is no prediction or no label."""
    squared = ((xy - truth) ** 2).sum(-1)
    tolerance = (2 * sigmas.astype(np.float64)) ** 2
    likeness = np.exp(-squared / (2 * np.asarray(area)[..., None] * tolerance))
    return np.asarray(np.where(labelled, np.nan_to_num(likeness), 0.0))
