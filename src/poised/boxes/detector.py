"""Person detectors as ONNX files: our own, and three public kinds, told by their outputs.

own     `scores` (N, M), `boxes` (N, M, 4) x1 y1 x2 y2 input pixels; RGB, its metadata's mean/std
RTMDet  `dets` (N, n, 5) x1 y1 x2 y2 score, `labels` (N, n), 0 = person; BGR, mean/std
YOLOX   one output (N, n, 85): x y w h objectness 80 classes on the grids of strides 8, 16, 32,
        not decoded; BGR 0-255
YOLO's poses (yolo_pose.py), of which the boxes alone are taken
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poised.boxes.letterbox import letterbox
from poised.boxes.nms import nms
from poised.boxes.yolo_pose import column_axis, decode_yolo_pose
from poised.runtime import Engine, ModelError, Session
from poised.types import Boxes

Image = NDArray[np.uint8]
Kind = Literal["own", "rtmdet", "yolox", "yolo-pose"]
FREE_SIDE = 640  # of the square input, where the file leaves it open
PAD = 114.0  # grey level beyond the image, for the foreign kinds
FOREIGN_THRESHOLD = 0.3
FOREIGN_NMS = 0.6
RTMDET_MEAN = (123.675, 116.28, 103.53)  # RGB
RTMDET_STD = (58.395, 57.12, 57.375)
LEAST_SIDE = 2.0  # pixels of the image; smaller boxes are dropped


class Detector:
    """Finds people: `detect(images) -> [Boxes]`.

    threshold: the least score; None takes the model's own.
    """

    def __init__(
        self,
        name_or_path: str | Path = "person",
        engine: Engine = "auto",
        threads: int | None = None,
        threshold: float | None = None,
    ) -> None:
        if threshold is not None and not 0 <= threshold <= 1:  # NaN too
            raise ModelError(f"a detector's threshold is {threshold}, must lie between 0 and 1")
        self.session = Session(name_or_path, engine, threads)
        if len(self.session.input_shape) != 4:
            raise ModelError(
                f"{self.session.path}: its input is {list(self.session.input_shape)}, expected "
                "images (N, 3, H, W)"
            )
        self.kind = _kind(self.session)
        notes = self.session.metadata
        own = self.kind == "own"
        self.threshold = (
            notes.get("threshold", FOREIGN_THRESHOLD) if threshold is None else threshold
        )
        self.overlap = notes.get("nms", FOREIGN_NMS)
        height, width = self.session.input_shape[2:]
        self.size: tuple[int, int] = (width or FREE_SIDE, height or FREE_SIDE)
        self.mean, self.std = (0.0,) * 3, (1.0,) * 3
        if self.kind == "rtmdet":
            self.mean, self.std = RTMDET_MEAN, RTMDET_STD
        if self.kind == "yolo-pose":
            self.std = (255.0,) * 3
        if own:
            self.size = tuple(notes["input_wh"])
            self.mean, self.std = tuple(notes["mean"]), tuple(notes["std"])
        self.pad = self.mean if own else (PAD,) * 3

    def detect(self, images: Sequence[Image]) -> list[Boxes]:
        """The people in each RGB image (H, W, 3), best first, boxes clipped to the image."""
        return [self.find(image) for image in images]

    def streamed(self) -> Detector:
        """The same for a caller on every core; see `Session.streamed`."""
        twin = copy.copy(self)
        twin.session = self.session.streamed()
        return twin

    def __call__(self, image: Image) -> Boxes:
        """`find`, as a `Predictor` calls who looks for boxes."""
        return self.find(image)

    def find(self, image: Image) -> Boxes:
        """`detect` for one image."""
        tensor, gain, corner = self._letterbox(image)
        outputs = self.session.run(tensor)
        if self.kind == "own":
            xyxy, score = outputs["boxes"][0], outputs["scores"][0]
        elif self.kind == "rtmdet":
            dets, labels = outputs["dets"][0], outputs["labels"][0]
            self._check_alike(dets, labels, 5)
            xyxy, score = dets[labels == 0, :4], dets[labels == 0, 4]
        elif self.kind == "yolo-pose":
            (rows,) = outputs.values()
            by_row = rows[0] if column_axis(rows.shape) == 2 else rows[0].T
            xyxy, score, _, _ = decode_yolo_pose(by_row)
        else:
            xyxy, score = decode_yolox(next(iter(outputs.values()))[0], self.size)
        self._check_alike(xyxy, score, 4)
        likely = score >= self.threshold
        xyxy = to_image(xyxy[likely], gain, corner, image)
        kept = chosen(xyxy, score[likely], self.overlap)
        return Boxes.from_xyxy(xyxy[kept], score[likely][kept])

    def _check_alike(self, boxes: NDArray[Any], each: NDArray[Any], columns: int) -> None:
        """Raise ModelError unless there are boxes of so many columns, and a number for each."""
        if boxes.ndim != 2 or boxes.shape[1] < columns or each.shape != boxes.shape[:1]:
            raise ModelError(
                f"{self.session.path}: gives boxes of the shape {list(boxes.shape)}, and scores or "
                f"labels of {list(each.shape)}"
            )

    def _letterbox(self, image: Image) -> tuple[NDArray[np.float32], float, NDArray[np.float64]]:
        """The image as the network wants it; see `letterbox`."""
        own, pose = self.kind == "own", self.kind == "yolo-pose"
        return letterbox(
            image,
            self.size,
            mean=self.mean,
            std=self.std,
            pad=self.pad,
            bgr=not own and not pose,  # they were trained on BGR
            centred=pose,
            area=own,
        )


def to_image(
    xyxy: NDArray[Any], gain: float, corner: NDArray[np.float64], image: Image
) -> NDArray[np.float64]:
    """Boxes (N, 4) of a letterboxed input in image pixels, clipped to the image (H, W, 3)."""
    height, width = image.shape[:2]
    moved = (xyxy.astype(np.float64) - np.tile(corner, 2)) / gain
    return np.clip(moved, 0, [width, height, width, height])


def chosen(xyxy: NDArray[np.float64], score: NDArray[Any], overlap: float) -> NDArray[np.intp]:
    """Which of the boxes (N, 4) are kept, best first: large enough, and none over a better one."""
    large = np.flatnonzero((xyxy[:, 2:] - xyxy[:, :2] >= LEAST_SIDE).all(axis=1))
    return large[nms(xyxy[large], score[large], overlap)]


def decode_yolox(
    rows: NDArray[np.float32], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """YOLOX's raw rows (n, 85) as boxes (n, 4) x1 y1 x2 y2 input pixels and person scores (n,).

    x, y are added to the cell and multiplied by the stride; w, h are exp(w), exp(h) strides;
    a score is objectness x class.
    """
    cells, strides = [], []
    for stride in (8, 16, 32):
        rows_y, rows_x = np.mgrid[: size[1] // stride, : size[0] // stride]
        cells.append(np.stack([rows_x, rows_y], -1).reshape(-1, 2))
        strides.append(np.full((cells[-1].shape[0], 1), stride))
    stride_column = np.concatenate(strides)
    centre = (rows[:, :2] + np.concatenate(cells)) * stride_column
    half = np.exp(rows[:, 2:4]) * stride_column / 2
    return np.concatenate([centre - half, centre + half], axis=1), rows[:, 4] * rows[:, 5]


def _kind(session: Session) -> Kind:
    outputs = session.output_shapes
    if session.metadata.get("kind") == "detector":
        return "own"
    if {"dets", "labels"} <= set(outputs):
        return "rtmdet"
    shapes = list(outputs.values())
    if len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][2] == 85:
        return "yolox"
    if len(shapes) == 1 and column_axis(shapes[0]) and session.input_shape[1] == 3:
        return "yolo-pose"
    what = ", ".join(f"{name}{list(shape)}" for name, shape in outputs.items())
    raise ModelError(
        f"{session.path}: not a person detector that is known here. It gives {what}; expected "
        "ours (scores, boxes), RTMDet's (dets, labels), YOLOX's (one output of 85 columns) or "
        "YOLO-pose's (one of 5 + 3 K)"
    )
