"""The way of the data, walked: images -> boxes -> keypoints (estimate.py) -> poses."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from poised.at_once import in_batches, in_order, workers
from poised.boxes.detector import Detector
from poised.boxes.files import whole_image
from poised.crops import crop_areas
from poised.estimate import USUALLY_COUNTED, Estimator, Image
from poised.foreign_models import NONE, Fields
from poised.images import ImageError, ImageSource
from poised.one_shot import FINDS_ITS_OWN, OneShot, finds_boxes, one_shot
from poised.protocol import AS_MEANT, Protocol
from poised.runtime import Engine, ModelError, Session
from poised.scores import PoseNms, oks_nms
from poised.types import Boxes, ImagePoses
from poised.under_way import Failure as Failure
from poised.under_way import (
    Find,
    UnderWay,
    begin,
    count_people,
    estimate,
    named,
    one_at_a_time,
    read_and_begin,
)

if TYPE_CHECKING:
    from poised.follow import FramePoses, Smooth
    from poised.video import Clip

BATCH, BATCH_OF_TORCH = 4, 32  # people a network call; docs/performance.md says how chosen
FEW = 2  # images a core: with fewer, cores would idle at the end
SURE = 0.5  # a chance over which a keypoint is more likely right than not
SAME_PERSON = 0.7  # OKS over which two poses of detected boxes are one person's
MIN_SCORE, MIN_JOINTS = 0.15, 3  # of a detected person; docs/false_people.md says how chosen


@dataclass(frozen=True)
class Predicted:
    """One image's poses, with its pixels, so that it can be drawn without reading it again.

    left_out: how many more were found, under the least pose score or number of sure joints.
    """

    image: Image
    poses: ImagePoses
    left_out: int = 0


class Predictor:
    """Poses of everybody in images. Build one with `Predictor.load()`; it can be used for ever.

    From several threads too, and by another process that gets it pickled. Spawn those, or fork them
    before a model is loaded: engines' threads do not outlive a fork, and what was dropped before it
    can bring the child down.

    flip: average with the mirrored crop, about half the speed. threshold: keypoints of a higher
    score are sure; None: SURE, of chances, or else 0.2. min_score, min_joints: of each person in
    the results, the least pose score and number of sure keypoints; None takes MIN_SCORE and
    MIN_JOINTS for people whom the detector found, given boxes and whole images are all answered.
    batch: people a network call; None: BATCH, by torch BATCH_OF_TORCH. padding: how much boxes
    grow; None takes the model's own, which is for a detector's tight boxes. Of several models the
    heatmaps are averaged; see `Estimator`.
    find_boxes: a `Detector` or a function of one's own, which is called for one image at a time;
    None for a model that finds them itself (`OneShot`; it takes no flip either).
    foreign: how other people's model is fed, over what its YAML says; see `foreign_models.FIELDS`.

    Of two poses alike (OKS > SAME_PERSON) the better is kept, unless their boxes were given.
    """

    def __init__(
        self,
        sessions: Session | Sequence[Session],
        find_boxes: Find | None,
        *,
        flip: bool = True,
        batch: int | None = None,
        threshold: float | None = None,
        min_score: float | None = None,
        min_joints: int | None = None,
        padding: float | None = None,
        protocol: Protocol = AS_MEANT,
        foreign: Fields = NONE,
    ) -> None:
        whole = one_shot(sessions, foreign, protocol)
        if whole is not None and (find_boxes is not None or padding is not None):
            raise ModelError(f"{whole.session.path}: {FINDS_ITS_OWN}")
        self.estimator: Estimator | OneShot = whole or Estimator(
            sessions, flip=flip, padding=padding, protocol=protocol, foreign=foreign
        )
        self.skeleton = self.estimator.skeleton
        self.find_boxes = find_boxes or (whole_image if whole is None else whole.boxes)
        if batch is None:
            batch = BATCH_OF_TORCH if self.estimator.session.engine == "torch" else BATCH
        if batch < 1:
            raise ModelError(f"batch is {batch}, must be at least 1")
        for name, value in (("threshold", threshold), ("min_score", min_score)):
            if value is not None and not 0 <= value <= 1:  # NaN too
                raise ModelError(f"{name} is {value}, must lie between 0 and 1")
        if min_joints is not None and not 0 <= min_joints <= len(self.skeleton):
            most = len(self.skeleton)
            raise ModelError(
                f"min_joints is {min_joints}, must lie between 0 and the {most} there are"
            )
        usual = SURE if self.estimator.chances else USUALLY_COUNTED
        self.threshold = usual if threshold is None else threshold
        self.batch, self.min_score, self.min_joints = batch, min_score, min_joints

    @property
    def protocol(self) -> Protocol:
        """How its figures are made."""
        return self.estimator.protocol

    @classmethod
    def load(
        cls,
        model: str | Path | Sequence[str | Path] = "coco17",
        *,
        detector: str | Path | None = "person",
        engine: Engine = "auto",
        threads: int | None = None,
        flip: bool = True,
        batch: int | None = None,
        threshold: float | None = None,
        min_score: float | None = None,
        min_joints: int | None = None,
        padding: float | None = None,
        protocol: Protocol = AS_MEANT,
        foreign: Fields = NONE,
    ) -> Predictor:
        """A predictor of a bundled model, of an ONNX file of ours or another's, or of several.

        detector: a bundled one, an ONNX file, or None: the whole image is one person's box. A
        model that finds boxes itself needs none, and takes no other than the usual.
        """
        models = [model] if isinstance(model, str | Path) else model
        sessions = [Session(one, engine, threads) for one in models]
        find: Find | None = None
        if detector is None:
            find = whole_image
        elif detector != "person" or not finds_boxes(sessions, foreign):
            find = Detector(detector, engine, threads)
        return cls(
            sessions,
            find,
            flip=flip,
            batch=batch,
            threshold=threshold,
            min_score=min_score,
            min_joints=min_joints,
            padding=padding,
            protocol=protocol,
            foreign=foreign,
        )

    @overload  # a str is a path here, though typing calls it a sequence of str
    def predict(  # type: ignore[overload-overlap]
        self, images: ImageSource, boxes: Boxes | None = None
    ) -> ImagePoses: ...

    @overload
    def predict(
        self, images: Sequence[ImageSource], boxes: Sequence[Boxes] | None = None
    ) -> list[ImagePoses]: ...

    def predict(
        self,
        images: ImageSource | Sequence[ImageSource],
        boxes: Boxes | Sequence[Boxes] | None = None,
    ) -> ImagePoses | list[ImagePoses]:
        """Everybody in an image, or in each of a list: paths, bytes, PIL images, RGB (H, W, 3).

        boxes: where the people are, instead of the detector: one Boxes an image. Raises
        ImageError for an image that cannot be used.
        """
        alone = isinstance(images, str | bytes | bytearray | memoryview | np.ndarray)
        single = alone or hasattr(images, "read") or not isinstance(images, Iterable)
        sources: Sequence[ImageSource] = [images] if single else images  # type: ignore[assignment,list-item]
        given: Sequence[Boxes] | None = [boxes] if isinstance(boxes, Boxes) else boxes
        if given is not None and not all(isinstance(one, Boxes) for one in given):
            raise ValueError("boxes: expected a Boxes for each image")
        if given is not None and len(given) != len(sources):
            raise ValueError(f"{len(given)} Boxes for {len(sources)} images")
        results = []
        for result in self.stream(sources, given):
            if isinstance(result, Failure):
                raise ImageError(f"{result.file_name}: {result.reason}")
            results.append(result.poses)
        return results[0] if single else results

    def stream(
        self,
        sources: Iterable[ImageSource],
        boxes: Iterable[Boxes] | None = None,
        apart: int | None = None,
    ) -> Generator[Predicted | Failure, None, None]:
        """Results in the order of the sources, as they are ready; a bad image is a Failure.

        Each core reads and searches an image, or has a batch of people of several images; of few
        images each has all cores in turn. What is under way is bounded, whatever the number of
        sources: some images and a batch a core. apart: after each so many images a batch begins, so
        that the people of those share none with others, on whom their last digits can depend.
        """
        estimator, find = self._for(sources)
        count = estimator.session.callers
        with workers(count) as pool:
            begin_one = partial(read_and_begin, estimator, find)
            entries = in_order(pool, begin_one, named(sources, boxes), 2 * count)
            if isinstance(estimator, Estimator):
                fill = partial(estimate, estimator)
                entries = in_batches(
                    pool, fill, entries, count_people, self.batch, 2 * count, apart
                )
            for entry in entries:
                yield self._finish(entry)

    def _for(self, sources: Iterable[ImageSource]) -> tuple[Estimator | OneShot, Find]:
        """What estimates and finds, compiled for one caller after another or for many at once."""
        estimator, find = self.estimator, self.find_boxes
        if isinstance(sources, Sized) and len(sources) < FEW * estimator.session.at_once:
            return estimator, find
        if isinstance(find, Detector):
            return estimator.streamed(), find.streamed()
        return estimator.streamed(), one_at_a_time(find)

    def video(
        self,
        source: str | Path | Clip,
        *,
        detect_every: int = 3,
        smooth: Smooth | None = None,
        keep: float = 1.0,
    ) -> Iterator[FramePoses]:
        """Everybody in a video, frame by frame: its index, time, image, poses, and ids that stay.

        source: a file, "camera:0", an address such as rtsp://host/path, or a `video.Clip`.
        detect_every: frames; in between, boxes are carried by the poses. smooth: "live" (One-Euro),
        "offline" (looks ahead), "none"; None: live for a live source, else offline. keep: seconds
        that somebody hidden keeps an id. Needs `poised[video]`. Raises VideoError.
        """
        from poised.follow import follow

        return follow(self, source, detect_every=detect_every, smooth=smooth, keep=keep)

    def people(self, name: str, image: Image, find: Find | None = None) -> Predicted:
        """Everybody in one RGB image (H, W, 3). find: who looks for them in place of the detector.

        Raises ImageError where a network has no answer to it.
        """
        entry = begin(self.estimator, find or self.find_boxes, name, image, None)
        if isinstance(entry, UnderWay) and isinstance(self.estimator, Estimator):
            people = [(entry, person) for person in range(len(entry.boxes))]
            for at in range(0, len(people), self.batch):
                estimate(self.estimator, people[at : at + self.batch])
        finished = self._finish(entry)
        if isinstance(finished, Failure):
            raise ImageError(f"{name}: {finished.reason}")
        return finished

    def pose_nms(self, detected: bool) -> tuple[PoseNms, float]:
        """Kind and threshold for boxes that were found here, or given: those are all answered."""
        return self.protocol.pose_nms or ("hard" if detected else "none", SAME_PERSON)

    def _finish(self, entry: UnderWay | Failure) -> Predicted | Failure:
        if isinstance(entry, Failure):
            return entry
        if entry.wrong:
            return Failure(entry.name, entry.wrong)
        boxes, xy, each = entry.boxes, entry.xy, entry.score
        score = boxes.score * entry.quality if self.protocol.rescore else boxes.score
        kind, limit = self.pose_nms(entry.detected)
        if kind != "none":
            area = boxes.xywh[:, 2] * boxes.xywh[:, 3]
            if self.protocol.public:
                area = crop_areas(entry.matrices, self.estimator.size)
            # in the boxes' order, so that a given box's pose is still known by its place
            kept = np.sort(oks_nms(xy, area, score, self.skeleton.sigmas, limit, kind))
            boxes = Boxes(boxes.xywh[kept], boxes.score[kept])
            xy, each, score = xy[kept], each[kept], score[kept]
        size = (entry.image.shape[1], entry.image.shape[0])
        poses = ImagePoses(entry.name, size, self.skeleton, boxes, xy, each, score)
        sure = self._sure(poses, entry.detected and self.find_boxes is not whole_image)
        return Predicted(entry.image, poses.take(sure), int((~sure).sum()))

    def _sure(self, poses: ImagePoses, detected: bool) -> NDArray[np.bool_]:
        """(P,) who has the least score and number of sure keypoints."""
        usual = (MIN_SCORE, min(MIN_JOINTS, len(self.skeleton))) if detected else (0.0, 0)
        score = usual[0] if self.min_score is None else self.min_score
        joints = usual[1] if self.min_joints is None else self.min_joints
        counted = (poses.keypoint_score > self.threshold).sum(1)
        return np.asarray((poses.score >= score) & (counted >= joints))
