"""What the API answers: the shapes that OpenAPI shows, and poses in them."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from poised.crops import heatmap_to_crop, invert
from poised.estimate import Estimator
from poised.predict import Predicted, Predictor
from poised.results import pose_records
from poised.types import ImagePoses


class Heatmaps(BaseModel):
    """One person's maps, of each joint where it may be."""

    joints: int = Field(description="K, the number of maps")
    width: int
    height: int = Field(description="of one map, in cells")
    to_image: list[list[float]] = Field(
        description="[[a, b, c], [d, e, f]]: cell (x, y) stands at image pixel "
        "(a x + b y + c, d x + e y + f)"
    )
    png: str = Field(
        description="base64 of a grey PNG, the K maps under one another, each scaled to 0 ... 255 "
        "by its own maximum"
    )


class Person(BaseModel):
    bbox: list[float] = Field(description="x, y, width, height in image pixels")
    box_score: float
    score: float
    keypoints: list[list[float]] = Field(
        description="[x, y, score] of each joint, in the model's order; (0, 0) is the centre of "
        "the top left pixel"
    )
    heatmaps: Heatmaps | None = Field(None, description="where it was asked for")


class Image(BaseModel):
    file_name: str = Field(description="as it was sent, without control characters")
    width: int = Field(description="of the image turned upright by its EXIF orientation")
    height: int
    people: list[Person]


class Poses(BaseModel):
    model: str
    seconds: float = Field(description="from the whole upload to the answer")
    images: list[Image]


class SkeletonOf(BaseModel):
    name: str
    keypoints: list[str]
    limbs: list[list[int]] = Field(description="pairs of joints that a line joins")
    pairs: list[list[int]] = Field(description="[left, right] joints, the person's own sides")


class Model(BaseModel):
    name: str
    description: str
    input: list[int] = Field(description="width, height")
    megabytes: float
    threshold: float = Field(description="joints of a higher score are sure")
    skeleton: SkeletonOf


class Models(BaseModel):
    models: list[Model]
    default: str


class Health(BaseModel):
    status: str


class Failed(BaseModel):
    error: str = Field(description="what is wrong, where, and what to do")
    status: int


def image_answer(name: str, poses: ImagePoses) -> dict[str, Any]:
    """An `Image` of everybody's pose."""
    people = []
    for record in pose_records(poses, 0):
        numbers = record["keypoints"]
        triples = [numbers[at : at + 3] for at in range(0, len(numbers), 3)]
        plain = {key: record[key] for key in ("bbox", "box_score", "score")}
        people.append(plain | {"keypoints": triples})
    width, height = poses.size
    return {"file_name": name, "width": width, "height": height, "people": people}


def has_heatmaps(predictor: Predictor) -> bool:
    """Whether `heatmap_answers` can be had of its model."""
    estimator = predictor.estimator
    return isinstance(estimator, Estimator) and estimator.family == "heatmaps"


def heatmap_answers(predictor: Predictor, found: Predicted) -> list[dict[str, Any]]:
    """A `Heatmaps` of each person, whose crops go through the network once more for it."""
    estimator, boxes = predictor.estimator, found.poses.boxes.xywh
    assert isinstance(estimator, Estimator)
    answers: list[dict[str, Any]] = []
    for at in range(0, len(boxes), predictor.batch):
        some = boxes[at : at + predictor.batch]
        matrices = estimator.matrices(some)
        every = estimator.heatmaps([found.image] * len(some), matrices, some)
        back = map_matrices(estimator, matrices)
        for maps, matrix in zip(every, back, strict=True):
            joints, height, width = maps.shape
            row = {"joints": joints, "width": width, "height": height}
            answers.append({**row, "to_image": matrix.round(4).tolist(), "png": _png(maps)})
    return answers


def map_matrices(estimator: Estimator, matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Heatmap -> image matrices (N, 2, 3) of the crops with image -> crop matrices (N, 2, 3)."""
    back = invert(matrices)
    stride, kind = estimator.notes["stride"], estimator.notes["crop"]
    corner, right = heatmap_to_crop(np.array([[0.0, 0.0], [1.0, 0.0]]), stride, kind)
    back[:, :, 2] += back[:, :, :2] @ corner
    back[:, :, :2] *= right[0] - corner[0]
    return back


def _png(maps: NDArray[np.float32]) -> str:
    """Maps (K, h, w) as `Heatmaps.png`."""
    most = maps.max(axis=(1, 2), keepdims=True).clip(1e-9)
    grey = np.round(255 * (maps / most).clip(0, 1)).astype(np.uint8)
    _, png = cv2.imencode(".png", grey.reshape(-1, maps.shape[2]))
    return base64.b64encode(png.tobytes()).decode()
