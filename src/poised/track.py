"""Who is who from frame to frame: people are matched by keypoints and boxes, all at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.boxes.nms import iou
from poised.scores import oks
from poised.types import ImagePoses

try:
    from scipy.optimize import linear_sum_assignment
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "video needs scipy: pip install 'poised[video]'", name="scipy"
    ) from error

KEEP = 1.0  # seconds that somebody unseen is remembered
WIDER = 4.0  # than COCO's tolerance of annotators is that of motion from frame to frame
LEAST = 0.1  # likeness, the mean of OKS and IoU, under which two are not one person
SETTLING = 0.3  # seconds in which a velocity follows a new one to 63%
Floats = NDArray[np.floating[Any]]


class Tracker:
    """Ids of one video's people, from 1: `ids = tracker.step(poses, time)` for each frame in turn.

    Of all ways to pair those known with those found, the one of the largest sum of likeness is
    taken (the Hungarian method). Somebody who is hidden is looked for where their last velocity
    leads, for `keep` seconds; after that, who comes back is somebody new.

    threshold: of keypoint scores; those above it count in the OKS.
    """

    def __init__(self, threshold: float, keep: float = KEEP) -> None:
        if not 0 <= keep < math.inf:  # NaN too
            raise ValueError(f"keep is {keep}, must be a number of seconds, 0 or more")
        self.threshold, self.keep, self.last = threshold, keep, 0
        self.ids = np.zeros(0, np.int64)  # (N,) of the people known
        self.xy: Floats = np.zeros((0, 0, 2))  # (N, K, 2) image pixels, where last seen
        self.xyxy: Floats = np.zeros((0, 4))  # (N, 4) their boxes there
        self.velocity: Floats = np.zeros((0, 2))  # (N, 2) pixels a second
        self.seen: Floats = np.zeros(0)  # (N,) seconds

    def step(self, poses: ImagePoses, time: float) -> NDArray[np.int64]:
        """The ids (P,) of a frame's people; times, in seconds, must not fall."""
        self._forget(time)
        known, found = self._matched(poses, time)
        ids = np.zeros(len(poses), np.int64)
        ids[found] = self.ids[known]
        new = np.setdiff1d(np.arange(len(poses)), found)
        ids[new] = self.last + 1 + np.arange(len(new))
        self.last += len(new)

        xyxy = poses.boxes.xyxy.astype(np.float64)
        velocity = np.zeros((len(poses), 2))
        gone = np.maximum(time - self.seen[known], 1e-6)[:, None]
        moved = (middles(xyxy[found]) - middles(self.xyxy[known])) / gone
        follow = 1 - np.exp(-gone / SETTLING)
        velocity[found] = self.velocity[known] * (1 - follow) + moved * follow

        hidden = np.setdiff1d(np.arange(len(self.ids)), known)
        self.ids = np.concatenate([self.ids[hidden], ids])
        self.xy = np.concatenate([self.xy[hidden].reshape(-1, *poses.xy.shape[1:]), poses.xy])
        self.xyxy = np.concatenate([self.xyxy[hidden], xyxy])
        self.velocity = np.concatenate([self.velocity[hidden], velocity])
        self.seen = np.concatenate([self.seen[hidden], np.full(len(poses), time)])
        return ids

    def shift(self, ids: NDArray[np.int64], seconds: float) -> Floats:
        """How far (P, 2), in pixels, the people of the last step's ids will have gone by then."""
        return self.velocity[len(self.velocity) - len(ids) :] * seconds

    def _forget(self, time: float) -> None:
        kept = time - self.seen <= self.keep
        self.ids, self.xy, self.xyxy = self.ids[kept], self.xy[kept], self.xyxy[kept]
        self.velocity, self.seen = self.velocity[kept], self.seen[kept]

    def _matched(self, poses: ImagePoses, time: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Places among those known, and of the same people among the poses."""
        if not len(self.ids) or not len(poses):
            return np.zeros(0, np.intp), np.zeros(0, np.intp)
        shift = self.velocity * (time - self.seen)[:, None]
        xyxy = self.xyxy + np.tile(shift, 2)
        size = poses.boxes.xywh[:, 2:].prod(1)
        sure = poses.keypoint_score > self.threshold
        by_joints = oks(
            self.xy + shift[:, None],
            poses.xy,
            areas(xyxy),
            size,
            WIDER * poses.skeleton.sigmas,
            sure,
        )
        likeness = (by_joints + iou(xyxy, poses.boxes.xyxy)) / 2
        likeness[likeness < LEAST] = 0  # so that no likely pair is given up for unlikely ones
        known, found = linear_sum_assignment(likeness, maximize=True)
        alike = likeness[known, found] > 0
        return known[alike], found[alike]


def middles(xyxy: Floats) -> Floats:
    """The middles (N, 2) of boxes (N, 4)."""
    return (xyxy[:, :2] + xyxy[:, 2:]) / 2


def areas(xyxy: Floats) -> Floats:
    """The areas (N,) of boxes (N, 4)."""
    return np.asarray((xyxy[:, 2:] - xyxy[:, :2]).prod(1))
