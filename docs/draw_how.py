"""Draw docs/images/how.jpg: a photograph with its box, the crop, a joint's heatmap, the pose.

python docs/draw_how.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.crops import cut, grown
from poised.draw import draw_poses
from poised.images import read_image, write_jpeg
from poised.predict import Predictor

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "data" / "samples" / "messi5.jpg"
OUT = ROOT / "docs" / "images" / "how.jpg"
JOINT = "left_knee"
HEIGHT, GAP = 300, 12  # pixels of a step's picture, and between two
ORANGE, WHITE = (255, 140, 0), 255

Image = NDArray[np.uint8]


def steps(image: Image) -> list[Image]:
    """The four pictures, by the code that predicts."""
    predictor = Predictor.load()
    poses = predictor.predict(image)
    best = poses.take(np.array([int(poses.score.argmax())]))
    estimator: Any = predictor.estimator
    boxes = best.boxes.xywh
    matrices = estimator.matrices(boxes)
    around = grown(boxes, estimator.notes["blacked"])[0]  # the rest is black, as it was learnt
    crop = cut(image, matrices[0], estimator.size, estimator.notes["crop"], around)
    maps = estimator.heatmaps([image], matrices, boxes)[0]
    heat = maps[best.skeleton.keypoints.index(JOINT)]
    return [with_box(image, boxes[0]), crop, warmed(crop, heat), draw_poses(image, best, 0.5)]


def with_box(image: Image, xywh: NDArray[np.float32]) -> Image:
    x, y, width, height = np.round(xywh).astype(int).tolist()
    return np.asarray(
        cv2.rectangle(image.copy(), (x, y), (x + width, y + height), ORANGE, 3), np.uint8
    )


def warmed(crop: Image, heat: NDArray[np.float32]) -> Image:
    """The crop, darker, and where the joint may be, bright."""
    size = (crop.shape[1], crop.shape[0])
    strength = cv2.resize(heat / heat.max(), size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    strength = strength[..., None]
    return np.asarray(0.5 * crop * (1 - strength) + strength * np.array(ORANGE), np.uint8)


def side_by_side(pictures: list[Image]) -> Image:
    """At one height, on white."""
    gap = np.full((HEIGHT, GAP, 3), WHITE, np.uint8)
    row: list[Any] = []
    for picture in pictures:
        width = round(picture.shape[1] * HEIGHT / picture.shape[0])
        row += [cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA), gap]
    return np.concatenate(row[:-1], axis=1)


if __name__ == "__main__":
    write_jpeg(OUT, side_by_side(steps(read_image(PICTURE))))
