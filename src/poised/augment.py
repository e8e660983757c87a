"""Augmentation of one person's crop: everything geometric is one matrix, so one warp does it."""

from __future__ import annotations

import math
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.crops import CropKind, crop_matrices
from poised.types import Skeleton

Floats = NDArray[np.floating[Any]]
HALF_BODY_MARGIN = 1.5  # of the half's joints' box, as in HRNet's training
Spread = Literal["log-uniform", "uniform", "normal"]


def augmented_matrix(
    xywh: Floats,
    size: tuple[int, int],
    rng: np.random.Generator,
    *,
    flip: float,
    rotate: float,
    scale: tuple[float, float],
    shift: float,
    rotated: float = 0.6,
    spread: Spread = "log-uniform",
    padding: float = 1.25,
    kind: CropKind = "unbiased",
) -> tuple[NDArray[np.float64], bool]:
    """A random image -> crop matrix (2, 3) of one box (4,), and whether it mirrors.

    flip: the chance of a mirror. rotated: the chance of a rotation. scale: the box grows by a
    factor in this range. shift: the box moves by at most this fraction of its longer side, either
    way. spread: how the factor and the angle lie in their ranges:

    log-uniform  the factor's logarithm evenly, the angle evenly within `rotate` degrees: ours.
    uniform      both evenly.
    normal       as in Simple Baseline's and HRNet's code: the factor about the range's middle with
                 half the range for its deviation, cut at the range; the angle with `rotate` for
                 its deviation, cut at twice that.
    """
    box = np.asarray(xywh, np.float64)
    factor = _factor(scale, spread, rng)
    angle = _angle(rotate, spread, rng) if rng.random() < rotated else 0.0
    moved = box.copy()
    moved[:2] += rng.uniform(-shift, shift, 2) * box[2:].max()
    matrix = crop_matrices(moved[None], size, padding=padding * factor, rotation=angle, kind=kind)[
        0
    ]
    mirrored = bool(rng.random() < flip)
    return (mirror_matrix(matrix, size[0]) if mirrored else matrix), mirrored


def _factor(scale: tuple[float, float], spread: Spread, rng: np.random.Generator) -> float:
    low, high = scale
    if spread == "normal":
        return float(np.clip(rng.normal((low + high) / 2, (high - low) / 2), low, high))
    if spread == "uniform":
        return rng.uniform(low, high)
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _angle(rotate: float, spread: Spread, rng: np.random.Generator) -> float:
    if spread == "normal":
        return float(np.clip(rng.normal(0, rotate), -2 * rotate, 2 * rotate))
    return rng.uniform(-rotate, rotate)


def mirror_matrix(matrix: Floats, width: int) -> NDArray[np.float64]:
    """The same crop mirrored: x' = width - 1 - x."""
    mirrored = np.array(matrix, np.float64)
    mirrored[0] *= -1
    mirrored[0, 2] += width - 1
    return mirrored


def flip_points(
    xy: Floats, visible: NDArray[np.bool_], width: int, flip_order: NDArray[np.intp]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Keypoints (..., K, 2) of the mirrored image: x' = width - 1 - x, left and right exchanged.

    Invisible keypoints are set to 0, as HRNet does it.
    """
    mirrored = np.array(xy)
    mirrored[..., 0] = width - 1 - mirrored[..., 0]
    mirrored, visible = mirrored[..., flip_order, :], visible[..., flip_order]
    return mirrored * visible[..., None], visible


def half_body_box(
    xy: Floats, visible: NDArray[np.bool_], skeleton: Skeleton, rng: np.random.Generator
) -> NDArray[np.float64] | None:
    """The box (4,) of a person's upper or lower half; None where neither has three joints.

    It is grown as HRNet's, and needs no padding. Ours: its middle is that of the joints' box, not
    their mean; either half is as likely (HRNet's upper one: 0.69); any number of labelled joints
    will do (HRNet: more than eight).
    """
    lower = np.zeros(len(skeleton), np.bool_)
    lower[list(skeleton.groups.get("lower", ()))] = True
    halves = [visible & ~lower, visible & lower]
    if rng.random() < 0.5:
        halves.reverse()
    for half in halves:
        if half.sum() >= 3:
            low, high = xy[half].min(0), xy[half].max(0)
            side = np.maximum((high - low) * HALF_BODY_MARGIN, 2.0)
            return np.concatenate([(low + high - side) / 2, side])
    return None


def jitter_sides(xywh: Floats, most: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A box (4,) whose every side has moved by at most `most` of its width or height."""
    low, high = rng.uniform(-most, most, (2, 2)) * xywh[2:]
    return np.concatenate([xywh[:2] + low, xywh[2:] + high - low])


def jitter_colour(
    crop: NDArray[np.uint8], strength: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Brightness, contrast and the three channels, each by up to `strength`; grey now and then."""
    gain = 1 + rng.uniform(-strength, strength) + rng.uniform(-strength, strength, 3) / 3
    offset = rng.uniform(-strength, strength) * 60
    if rng.random() < strength / 2:
        crop = np.repeat(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    if not strength:
        return crop
    table = np.clip(np.arange(256)[:, None] * gain + offset, 0, 255).astype(np.uint8)  # (256, 3)
    return np.asarray(cv2.LUT(np.ascontiguousarray(crop), table[None]), dtype=np.uint8)


def hide_a_part(
    crop: NDArray[np.uint8], other: NDArray[np.uint8], rng: np.random.Generator
) -> None:
    """Lay a piece of another picture (h, w, 3) over the crop (H, W, 3), in place: what occludes.

    The piece has 0.15 to 0.45 of the crop's width and height, and its own place in each.
    """
    limits = np.minimum(crop.shape[:2], other.shape[:2])
    size = np.minimum(rng.uniform(0.15, 0.45, 2) * crop.shape[:2], limits).astype(int)
    to_y, to_x = rng.integers(0, np.array(crop.shape[:2]) - size + 1)
    from_y, from_x = rng.integers(0, np.array(other.shape[:2]) - size + 1)
    height, width = size
    piece = other[from_y : from_y + height, from_x : from_x + width]
    crop[to_y : to_y + height, to_x : to_x + width] = piece
