"""Boxes -> affine matrices -> crops, and points between the frames.

(0, 0) is the centre of the top-left pixel; x before y; sizes are (width, height), arrays
(height, width). Three kinds of crop:

classic   the papers', as in HRNet's public code: the box centre x + w/2, y + h/2 goes to
          (W/2, H/2), and heatmap pixel h stands at crop pixel h x stride. Published figures rest
          on it; it shifts by half a pixel when mirrored.
mmpose    the same frame, cut by the installed OpenCV through three float32 points: pixel for pixel
          what MMPose's and rtmlib's networks are fed.
unbiased  ours: a box covers the pixels x ... x + w - 1, its centre x + (w - 1)/2, y + (h - 1)/2
          goes to ((W - 1)/2, (H - 1)/2), and heatmap pixel h covers `stride` crop pixels, so its
          centre is at (h + 0.5) x stride - 0.5. Mirroring is exact.
"""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

CropKind = Literal["classic", "mmpose", "unbiased"]
Floats = NDArray[np.floating[Any]]
WIDEST = 2**15 - 1  # pixels of a side: from there on OpenCV's fixed-point maps end


def crop_matrices(
    xywh: Floats,
    size: tuple[int, int],
    *,
    padding: float = 1.25,
    rotation: ArrayLike = 0.0,
    kind: CropKind = "unbiased",
) -> NDArray[np.float64]:
    """Image -> crop matrices (N, 2, 3) of boxes (N, 4).

    The box grows to the crop's shape (the short side grows), then by `padding`. size: (width,
    height) of the crop. rotation: degrees, a number or (N,); it maps image (dx, dy) to
    (cos dx + sin dy, -sin dx + cos dy), y down.
    """
    boxes = np.asarray(xywh, np.float64).reshape(-1, 4)
    edge = middle_edge(kind)
    centre = boxes[:, :2] + (boxes[:, 2:] - edge) / 2
    wanted = np.maximum(boxes[:, 2], boxes[:, 3] * size[0] / size[1]) * padding
    gain = size[0] / wanted
    angle = np.deg2rad(np.broadcast_to(np.asarray(rotation, np.float64), gain.shape))
    cos, sin = np.cos(angle) * gain, np.sin(angle) * gain
    linear = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], axis=1)  # (N, 2, 2)
    middle = (np.array(size, np.float64) - edge) / 2
    shift = middle - np.einsum("nij,nj->ni", linear, centre)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def middle_edge(kind: CropKind) -> int:
    """A map of W pixels has its middle at (W - this) / 2: 1 where pixels have extent."""
    return 1 if kind == "unbiased" else 0


def invert(matrices: Floats) -> NDArray[np.float64]:
    """The inverse affine maps, (N, 2, 3): crop -> image of image -> crop."""
    linear = np.linalg.inv(np.asarray(matrices, np.float64)[:, :, :2])
    shift = -np.einsum("nij,nj->ni", linear, matrices[:, :, 2])
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def crop_areas(matrices: Floats, size: tuple[int, int]) -> NDArray[np.float64]:
    """(N,) square image pixels that crops of a size show: the boxes' areas as they are grown."""
    scaled = np.abs(np.linalg.det(np.asarray(matrices, np.float64)[:, :, :2]))
    return np.asarray(size[0] * size[1] / scaled)


def apply(matrices: Floats, xy: Floats) -> NDArray[np.float64]:
    """Points (N, K, 2) through the matrices (N, 2, 3), each person's through their own."""
    moved: NDArray[np.float64] = np.einsum("nij,nkj->nki", matrices[:, :, :2], xy)
    return moved + matrices[:, None, :, 2]


def cut(
    image: NDArray[np.uint8],
    matrix: Floats,
    size: tuple[int, int],
    kind: CropKind = "unbiased",
    inside: Floats | None = None,
) -> NDArray[np.uint8]:
    """Cut one crop (height, width, 3) by its matrix (2, 3): bilinear, black beyond the image.

    A classic crop is cut at 1/32 pixel, as by OpenCV 4, on which the papers' figures rest; OpenCV
    5 is more exact, so that its own `warpAffine` gives other pixels. (An image of WIDEST or more
    gets these.)
    inside: a box (4,) x, y, width, height in the image; what lies outside of it is black, too.
    """
    matrix = np.array(matrix, np.float64)
    if inside is not None:
        limits = np.array(image.shape[1::-1])
        low = np.rint(inside[:2]).astype(int).clip(0, limits - 1)
        high = np.rint(inside[:2] + inside[2:]).astype(int).clip(low + 1, limits)
        image = image[low[1] : high[1], low[0] : high[0]]
        matrix[:, 2] += matrix[:, :2] @ low
    if kind == "classic" and max(image.shape[:2]) < WIDEST:
        return np.asarray(cv2.remap(image, *_fixed_point(matrix, size), cv2.INTER_LINEAR), np.uint8)
    if kind == "mmpose":
        matrix = _by_three_points(matrix, size)
    return np.asarray(cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR), np.uint8)


def of_shrunk(matrix: Floats, times: int) -> NDArray[np.float64]:
    """An image -> crop matrix (2, 3) as that of the image with sides `times` times as short.

    Its pixel x covers `times` of the image's, so that its centre is at (x + 0.5) * times - 0.5.
    """
    shrunk = np.array(matrix, np.float64)
    shrunk[:, 2] += shrunk[:, :2].sum(1) * (times - 1) / 2
    shrunk[:, :2] *= times
    return shrunk


def _by_three_points(matrix: Floats, size: tuple[int, int]) -> NDArray[np.float64]:
    """The matrix (2, 3), a turn and a scale, through float32 points: the middle, one half a width
    above it, and one as far to the left of that.
    """
    middle = np.array(size, np.float64) / 2
    crop = np.array([middle, middle - [0, middle[0]], middle - middle[0]])
    exact = apply(invert(matrix[None]), crop[None])[0]
    # a box's float32 numbers often lie halfway between two: no rounding error may choose
    image = (np.rint(exact * 2**30) / 2**30).astype(np.float32)
    down = image[0] - image[1]
    image[2] = image[1] + np.array([-down[1], down[0]], np.float32)
    return np.asarray(cv2.getAffineTransform(image, crop.astype(np.float32)), np.float64)


def _fixed_point(
    matrix: Floats, size: tuple[int, int]
) -> tuple[NDArray[np.int16], NDArray[np.uint16]]:
    """Where each crop pixel lies in the image: whole pixels (h, w, 2), and 32 y + x in 1/32 pixel.

    Steps along x and y are rounded to 1/1024 pixel each, then their sum to 1/32.
    """
    width, height = size
    back = invert(np.asarray(matrix)[None])[0] * 1024
    along_x = np.rint(back[:, :1] * np.arange(width))  # (2, w)
    along_y = np.rint(back[:, 1:2] * np.arange(height) + back[:, 2:]) + 16  # (2, h)
    whole, part = np.empty((height, width, 2), np.int16), np.zeros((height, width), np.uint16)
    for axis, places in enumerate((1, 32)):
        x, y = (a[axis].clip(-(2**30), 2**30 - 1).astype(np.int32) for a in (along_x, along_y))
        at = y[:, None] + x  # (h, w); int32 and in place, for a third of a crop's time is here
        at >>= 5
        part += (at & 31).astype(np.uint16) * np.uint16(places)
        at >>= 5
        whole[..., axis] = at.clip(-(2**15), 2**15 - 1, out=at)
    return whole, part


def grown(xywh: Floats, factor: float) -> NDArray[np.float64]:
    """Boxes (..., 4) whose sides are `factor` times as long, about the same middle."""
    boxes = np.array(xywh, np.float64)
    boxes[..., :2] -= boxes[..., 2:] * (factor - 1) / 2
    boxes[..., 2:] *= factor
    return boxes


def heatmap_to_crop(xy: Floats, stride: float, kind: CropKind) -> NDArray[np.float64]:
    """Heatmap pixels -> crop pixels."""
    points = np.asarray(xy, np.float64)
    return (points + 0.5) * stride - 0.5 if kind == "unbiased" else points * stride


def crop_to_heatmap(xy: Floats, stride: float, kind: CropKind) -> NDArray[np.float64]:
    """Crop pixels -> heatmap pixels."""
    points = np.asarray(xy, np.float64)
    return (points + 0.5) / stride - 0.5 if kind == "unbiased" else points / stride


def clean_boxes(xywh: Floats, image_wh: Floats) -> NDArray[np.float64]:
    """Annotated boxes (N, 4) clipped to their images (N, 2) as HRNet's COCO reader does it.

    A whole box comes back one pixel smaller; a box beyond its image comes back as NaN.
    """
    boxes = np.asarray(xywh, np.float64)
    low = np.maximum(0, boxes[:, :2])
    high = np.minimum(np.asarray(image_wh) - 1, low + np.maximum(0, boxes[:, 2:] - 1))
    cleaned = np.concatenate([low, high - low], axis=1)
    cleaned[(high < low).any(axis=1)] = np.nan
    return cleaned
