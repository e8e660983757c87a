"""What kind each keypoint's error is, after Ronchi and Perona, arXiv 1707.05388, §3.1.

With ks the keypoint similarity exp(-d^2 / (2 area (2 sigma)^2)), d the distance:
good       ks of the person's own keypoint at least 0.85
jitter     from 0.5 to 0.85: near it
inversion  below, but 0.5 to the person's keypoint of the other side
swap       none of these, but 0.5 to this keypoint, or its other side, of somebody else there
miss       none of all
unfound    nobody's prediction is this person's, whatever the keypoint

Where a data set is measured by PCK, good is what PCK counts as right, and within twice its limit
stands for 0.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poised.metrics.matching import Matched

KINDS = ("good", "jitter", "inversion", "swap", "miss", "unfound")


def error_kinds(matched: Matched) -> NDArray[np.int64]:
    """(P, K) places in KINDS; -1 where the keypoint is not labelled."""
    xy, truth, labelled, unit = matched.xy, matched.truth, matched.labelled, matched.unit
    order = matched.skeleton.flip_order
    own = _apart(xy, truth, labelled) / unit
    other_side = _apart(xy, truth[:, order], labelled[:, order]) / unit
    other_side[:, order == np.arange(len(order))] = np.inf  # a nose has no other side
    somebody = np.full_like(own, np.inf)
    image = np.array([person.image_id for person in matched.people])
    for number in np.unique(image):
        here = np.flatnonzero(image == number)
        nearest = np.full((len(here), len(here), len(order)), np.inf)  # each one's from each other
        for sides in (np.arange(len(order)), order):
            there = truth[here][:, sides], labelled[here][:, sides]
            nearest = np.minimum(nearest, _apart(xy[here, None], there[0], there[1]))
        nearest[np.arange(len(here)), np.arange(len(here))] = np.inf
        somebody[here] = nearest.min(1) / unit[here]
    good, near = matched.good, matched.near
    kinds = np.select([own <= good, own <= near, other_side <= near, somebody <= near], range(4), 4)
    kinds[~matched.found] = KINDS.index("unfound")
    return np.where(labelled, kinds, -1)


def _apart(
    xy: NDArray[np.float64], truth: NDArray[np.float64], labelled: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """(..., K) pixels between keypoints (..., K, 2); infinite without prediction or label."""
    apart = np.linalg.norm(xy - truth, axis=-1)
    return np.asarray(np.where(labelled, np.nan_to_num(apart, nan=np.inf), np.inf))
