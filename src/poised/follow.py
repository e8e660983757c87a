"""Poses of everybody in a video, frame by frame: detected now and then, carried in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from poised.boxes.files import whole_image
from poised.boxes.nms import iou
from poised.images import ImageError
from poised.one_shot import OneShot
from poised.smooth import OneEuro, centred
from poised.track import KEEP, Tracker
from poised.types import Boxes, ImagePoses
from poised.under_way import Find
from poised.video import Clip, Frame

if TYPE_CHECKING:
    from poised.predict import Predictor

Smooth = Literal["none", "live", "offline"]
SMOOTH: tuple[Smooth, ...] = ("none", "live", "offline")
DETECT_EVERY = 3  # frames; docs/video.md says how chosen
GROWN = (0.15, 0.1)  # of the joints' width and height, on each side: nearest to boxes of COCO
FOUND_AGAIN = 0.3  # IoU over which a detected box is that of somebody carried
DOUBT = 0.5  # what a carried box's score is multiplied by when the detector does not see it
REACH = 0.3  # seconds before and after a frame, of the offline smoothing


@dataclass(frozen=True, eq=False)
class FramePoses:
    """A frame's people. index: from 0; time: seconds, the frame's own stamp; ids: (P,), from 1.

    image: (H, W, 3) RGB, upright; poses: P people in its pixels. wrong: why a network had no answer
    to the frame, which shows nobody then; else "".
    """

    index: int
    time: float
    image: NDArray[np.uint8]
    poses: ImagePoses
    ids: NDArray[np.int64]
    wrong: str = ""


def follow(
    predictor: Predictor,
    source: str | Path | Clip,
    *,
    detect_every: int = DETECT_EVERY,
    smooth: Smooth | None = None,
    keep: float = KEEP,
) -> Iterator[FramePoses]:
    """See `Predictor.video`."""
    if detect_every < 1:
        raise ValueError(f"detect_every is {detect_every}, must be at least 1")
    if smooth is not None and smooth not in SMOOTH:
        raise ValueError(f"smooth is {smooth!r}, must be one of {', '.join(SMOOTH)}")
    tracker = Tracker(predictor.threshold, keep)
    with ExitStack() as stack:
        clip = source if isinstance(source, Clip) else stack.enter_context(Clip(source))
        if smooth is None:
            smooth = "live" if clip.live else "offline"
        people = _people(predictor, clip.name, clip, tracker, detect_every)
        if smooth == "live":
            people = _as_they_come(people)
        elif smooth == "offline":
            people = _from_both_sides(people)
        yield from people


def _people(
    predictor: Predictor, name: str, frames: Iterable[Frame], tracker: Tracker, every: int
) -> Iterator[FramePoses]:
    """Detect in every so many frames, else take the boxes that the last frame's poses lead to."""
    finds_each = isinstance(predictor.estimator, OneShot) or predictor.find_boxes is whole_image
    last: FramePoses | None = None
    for turn, frame in enumerate(frames):
        carried = Boxes.empty()
        if last is not None:
            shift = tracker.shift(last.ids, frame.time - last.time)
            carried = carry(last.poses, shift, predictor.threshold)
        find: Find = partial(_look, predictor.find_boxes if turn % every == 0 else None, carried)
        try:
            poses = predictor.people(name, frame.image, None if finds_each else find).poses
            wrong = ""
        except ImageError as error:
            poses, wrong = _nobody(predictor, name, frame), str(error).removeprefix(f"{name}: ")
        ids = tracker.step(poses, frame.time)
        last = FramePoses(frame.index, frame.time, frame.image, poses, ids, wrong)
        yield last


def _look(find: Find | None, carried: Boxes, image: NDArray[np.uint8]) -> Boxes:
    """The carried boxes, and those of a detector, if it is asked."""
    return carried if find is None else joined(find(image), carried)


def _nobody(predictor: Predictor, name: str, frame: Frame) -> ImagePoses:
    size, keypoints = (frame.image.shape[1], frame.image.shape[0]), len(predictor.skeleton)
    none = np.zeros((0, keypoints, 3), np.float32)
    parts = (none[..., :2], none[..., 2], none[:, 0, 2])
    return ImagePoses(name, size, predictor.skeleton, Boxes.empty(), *parts)


def carry(poses: ImagePoses, shift: NDArray[np.floating[Any]], threshold: float) -> Boxes:
    """The boxes for the next frame: around the sure keypoints, grown, moved, within the image.

    shift: (P, 2) pixels, by how much the people are expected to have moved. A box whose person has
    fewer than two such keypoints stays where it is, but for that.
    """
    sure = (poses.keypoint_score > threshold)[..., None]
    low = np.where(sure, poses.xy, np.inf).min(1)  # (P, 2)
    high = np.where(sure, poses.xy, -np.inf).max(1)
    side = high - low
    grown = np.concatenate([low - side * GROWN, high + side * GROWN], axis=1)
    seen = (side > 0).all(1)
    xyxy = np.where(seen[:, None], grown, poses.boxes.xyxy)
    xyxy = np.clip(xyxy + np.tile(shift, 2), 0, np.tile(poses.size, 2))
    there = (xyxy[:, 2:] - xyxy[:, :2] > 1).all(1)
    return Boxes.from_xyxy(xyxy[there], poses.boxes.score[there])


def joined(found: Boxes, carried: Boxes) -> Boxes:
    """What the detector finds, and whom it does not see but whose poses were followed so far.

    Their score falls each time, so that who is not seen again and again drops below the least.
    """
    if not len(carried):
        return found
    overlap = iou(carried.xyxy, found.xyxy).max(1, initial=0)
    missed = overlap < FOUND_AGAIN
    return Boxes(
        np.concatenate([found.xywh, carried.xywh[missed]]),
        np.concatenate([found.score, carried.score[missed] * DOUBT]),
    )


def _as_they_come(frames: Iterable[FramePoses]) -> Iterator[FramePoses]:
    """Keypoints by the One-Euro filter."""
    smoother = OneEuro()
    for frame in frames:
        size = np.sqrt(frame.poses.boxes.xywh[:, 2:].prod(1))
        xy = smoother.step(frame.ids, frame.poses.xy, size, frame.time).astype(np.float32)
        yield replace(frame, poses=replace(frame.poses, xy=xy))


def _from_both_sides(frames: Iterable[FramePoses]) -> Iterator[FramePoses]:
    """Keypoints by `centred`; a frame waits until REACH after it is known, no more are kept."""
    known: deque[FramePoses] = deque()
    due = 0  # the place of the next frame to give
    for frame in frames:
        known.append(frame)
        while known[due].time + REACH <= frame.time:
            yield _refined(known, due)
            due += 1
            while known[0].time + REACH <= known[due].time:
                known.popleft()
                due -= 1
    for place in range(due, len(known)):
        yield _refined(known, place)


def _refined(known: deque[FramePoses], place: int) -> FramePoses:
    """That frame, each person's keypoints fitted to all that is known of the same id."""
    frame = known[place]
    xy = frame.poses.xy.copy()
    for person, i in enumerate(frame.ids):
        same = [(f, int(np.flatnonzero(f.ids == i)[0])) for f in known if i in f.ids]
        times = np.array([f.time for f, _ in same])
        places = np.stack([f.poses.xy[n] for f, n in same])
        scores = np.stack([f.poses.keypoint_score[n] for f, n in same])
        xy[person] = centred(times, places, scores, frame.time, REACH)
    return replace(frame, poses=replace(frame.poses, xy=xy))
