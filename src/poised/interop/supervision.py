"""Poses as `supervision`'s KeyPoints, which its annotators draw and its trackers follow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from poised.types import ImagePoses, Skeleton

if TYPE_CHECKING:
    from supervision import KeyPoints


def to_supervision(poses: ImagePoses, threshold: float = 0.5) -> KeyPoints:
    """One image's people; supervision 0.29 or later.

    xy and keypoint_confidence are the keypoints' and their scores, detection_confidence is each
    pose's score, class_id 0 everywhere. visible: a score above the threshold, as in our pictures.
    """
    from supervision import KeyPoints

    return KeyPoints(
        xy=poses.xy.copy(),  # ours are read-only
        class_id=np.zeros(len(poses), np.int_),
        keypoint_confidence=poses.keypoint_score.copy(),
        detection_confidence=poses.score.copy(),
        visible=poses.keypoint_score > threshold,
    )


def edges_of(skeleton: Skeleton) -> list[tuple[int, int]]:
    """The limbs as supervision's EdgeAnnotator takes them, which counts keypoints from 1."""
    return [(a + 1, b + 1) for a, b in skeleton.limbs]
