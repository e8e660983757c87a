"""Keypoints -> heatmaps and back, vectorised over people and joints.

Heatmaps are (N, K, height, width) float32; points are in heatmap pixels, x before y, (0, 0) the
centre of the top-left pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.crops import CropKind, middle_edge

Decoder = Literal["argmax", "quarter", "second", "gaussian", "unbiased"]
Floats = NDArray[np.floating[Any]]
Maps = NDArray[np.float32]
BLUR_SIGMA = 2.0  # heatmap pixels, of the Gaussian filter before decoding
FLOOR = 1e-10  # under the logarithm of the unbiased decoder


def encode_gaussian(
    xy: Floats, visible: NDArray[np.bool_], size: tuple[int, int], sigma: float
) -> Maps:
    """One Gaussian a keypoint, centred where the keypoint is, not on a pixel: our target.

    xy: (N, K, 2) heatmap pixels; visible: (N, K), an invisible keypoint gets an empty map; size:
    (width, height) of a map; sigma: heatmap pixels. Returns (N, K, height, width), the peak is 1
    where xy lies on a pixel's centre.
    """
    return _product(*gaussian_profiles(xy, visible, size, sigma))


def gaussian_profiles(
    xy: Floats, visible: NDArray[np.bool_], size: tuple[int, int], sigma: float
) -> tuple[Floats, Floats]:
    """`encode_gaussian`'s maps as (N, K, width) and (N, K, height), whose products they are."""
    x, y = (
        np.exp(-((np.arange(length) - xy[..., axis, None]) ** 2) / (2 * sigma**2))
        * visible[..., None]
        for axis, length in enumerate(size)
    )
    return x, y


def encode_classic(
    crop_xy: Floats,
    visible: NDArray[np.bool_],
    size: tuple[int, int],
    sigma: float,
    stride: float = 4,
) -> tuple[Maps, NDArray[np.float32]]:
    """The papers' target, as in HRNet's training: a Gaussian on the nearest pixel, cut at 3 sigma.

    crop_xy: (N, K, 2) crop pixels. The centre is int(x / stride + 0.5), truncated towards zero.
    Returns maps (N, K, height, width) and weights (N, K): 0 where invisible or where the square of
    3 sigma misses the map, by the reference's own bounds (one pixel too generous at the low side).
    """
    x, y, weights = classic_profiles(crop_xy, visible, size, sigma, stride)
    return _product(x, y), weights


def classic_profiles(
    crop_xy: Floats,
    visible: NDArray[np.bool_],
    size: tuple[int, int],
    sigma: float,
    stride: float = 4,
) -> tuple[Floats, Floats, NDArray[np.float32]]:
    """`encode_classic`'s maps as (N, K, width) and (N, K, height), and its weights (N, K)."""
    width, height = size
    centre = np.trunc(np.asarray(crop_xy, np.float64) / stride + 0.5)  # (N, K, 2)
    reach = int(sigma * 3)
    out = (centre - reach >= (width, height)).any(-1) | (centre + reach + 1 < 0).any(-1)
    weight = visible.astype(bool) & ~out
    axes = []
    for axis, length in enumerate(size):
        away = np.arange(length) - centre[..., axis, None]  # (N, K, length)
        drawn = (np.abs(away) <= reach) & weight[..., None]
        axes.append(np.exp(-(away**2) / (2 * sigma**2)) * drawn)
    return axes[0], axes[1], weight.astype(np.float32)


def _product(x: Floats, y: Floats) -> Maps:
    """(..., width) and (..., height) -> (..., height, width): a 2-D Gaussian is that of two."""
    return (y[..., :, None] * x[..., None, :]).astype(np.float32)


def decode(
    maps: Maps, method: Decoder = "unbiased", sigma: float = BLUR_SIGMA
) -> tuple[Maps, NDArray[np.float32]]:
    """Each map's keypoint: xy (N, K, 2) heatmap pixels and score (N, K), the map's maximum.

    sigma: heatmap pixels, of the filter of the last two; the target's own is best.

    argmax    the highest pixel; the first in row order of equal ones; (0, 0) where none is > 0.
    quarter   argmax moved by 0.25 towards the higher neighbour on each axis, as the public code of
              the hourglass, Simple Baseline and HRNet.
    second    argmax moved by 0.25 straight towards the second highest pixel of the whole map, where
              that is > 0 (CSANet §4.1, EFAFNet §IV-A).
    gaussian  the maps blurred first, then second (CPN §4.1); the score is the unblurred maximum.
    unbiased  DARK (arXiv 1910.06278, §3.2): blurred, then one Newton step on the logarithm.
    """
    flat, index, score = _argmax(maps)
    if method == "argmax":
        return _to_xy(index, score, maps.shape[-1]), score
    if method == "quarter":
        return _quarter(flat, index, score, maps.shape), score
    if method == "second":
        return _second(flat, index, score, maps.shape[-1]), score
    blurred = blur(np.maximum(maps, 0), sigma)  # a background below 0 would drown a small peak
    flat, index, peak = _argmax(blurred)
    if method == "gaussian":
        return _second(flat, index, peak, maps.shape[-1]), score
    return _newton(flat, index, peak, maps.shape), score


def _argmax(maps: Maps) -> tuple[Maps, NDArray[np.intp], NDArray[np.float32]]:
    """The maps as rows (N K, h w), the place of each first maximum, and its value (N, K)."""
    people, keypoints, height, width = maps.shape
    flat = maps.reshape(people * keypoints, height * width)
    index = flat.argmax(axis=1)
    return flat, index, flat[np.arange(len(flat)), index].reshape(people, keypoints)


def _to_xy(index: NDArray[np.intp], score: NDArray[np.float32], width: int) -> Maps:
    """Places in a flat map as x, y; (0, 0) where the maximum is not positive."""
    y, x = np.divmod(index, width)
    xy = np.stack([x, y], axis=-1).astype(np.float32).reshape(*score.shape, 2)
    return xy * (score > 0)[..., None]


def _quarter(
    flat: Maps, index: NDArray[np.intp], score: NDArray[np.float32], shape: tuple[int, ...]
) -> Maps:
    """The quarter offset, where 1 < x < width - 1 and 1 < y < height - 1: both axes or none."""
    height, width = shape[-2:]
    xy = _to_xy(index, score, width)
    x, y = xy[..., 0].ravel(), xy[..., 1].ravel()
    inner = np.flatnonzero((x > 1) & (x < width - 1) & (y > 1) & (y < height - 1))
    at = index[inner]
    offset = np.zeros((len(flat), 2), np.float32)
    offset[inner, 0] = np.sign(flat[inner, at + 1] - flat[inner, at - 1])
    offset[inner, 1] = np.sign(flat[inner, at + width] - flat[inner, at - width])
    return xy + np.float32(0.25) * offset.reshape(xy.shape)


def _second(flat: Maps, index: NDArray[np.intp], score: NDArray[np.float32], width: int) -> Maps:
    """A quarter pixel on the straight line to the highest of the other pixels, where positive."""
    rows = np.arange(len(flat))
    others = flat.copy()
    others[rows, index] = -np.inf
    next_index = others.argmax(axis=1)
    next_score = others[rows, next_index].reshape(score.shape)
    xy = _to_xy(index, score, width)
    away = (_to_xy(next_index, next_score, width) - xy) * (next_score > 0)[..., None]
    length = np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), 1)
    return np.asarray(xy + np.float32(0.25) * away / length, np.float32)


def _newton(
    flat: Maps, index: NDArray[np.intp], score: NDArray[np.float32], shape: tuple[int, ...]
) -> Maps:
    """x - H^-1 g of the log map, where the peak has two neighbours a side and H is definite."""
    height, width = shape[-2:]
    xy = _to_xy(index, score, width)
    x, y = xy[..., 0].ravel(), xy[..., 1].ravel()
    inner = (x > 1) & (x < width - 2) & (y > 1) & (y < height - 2) & (score.ravel() > 0)
    who = np.flatnonzero(inner)
    at = index[who]

    def log(dx: int, dy: int) -> NDArray[np.float64]:
        return np.log(np.maximum(flat[who, at + dy * width + dx], FLOOR).astype(np.float64))

    middle = log(0, 0)
    gx, gy = (log(1, 0) - log(-1, 0)) / 2, (log(0, 1) - log(0, -1)) / 2
    hxx = (log(2, 0) - 2 * middle + log(-2, 0)) / 4
    hyy = (log(0, 2) - 2 * middle + log(0, -2)) / 4
    hxy = (log(1, 1) - log(-1, 1) - log(1, -1) + log(-1, -1)) / 4
    determinant = hxx * hyy - hxy**2
    good = (determinant > 1e-12) & (hxx < 0)
    safe = np.where(good, determinant, 1.0)
    step = np.stack([(hxy * gy - hyy * gx) / safe, (hxy * gx - hxx * gy) / safe], axis=-1)
    step[~good] = 0
    moved = xy.reshape(-1, 2)
    moved[who] += np.clip(step, -1, 1).astype(np.float32)
    return moved.reshape(xy.shape)


def blur(maps: Maps, sigma: float) -> Maps:
    """Every map through a Gaussian filter, its maximum kept as it was; 0 beyond the edges."""
    height, width = maps.shape[-2:]
    reach = math.ceil(4 * sigma) + 1  # as far as OpenCV's kernel goes
    column = np.zeros((maps.size // (height * width), height + reach, width), np.float32)
    column[:, :height] = maps.reshape(-1, height, width)
    filtered = cv2.GaussianBlur(  # the maps above each other, in one call
        column.reshape(-1, width), (0, 0), sigma, borderType=cv2.BORDER_CONSTANT
    )
    blurred = filtered.reshape(column.shape)[:, :height].reshape(maps.shape)
    top = np.maximum(blurred.max(axis=(2, 3), keepdims=True), FLOOR)
    return np.asarray(blurred * (maps.max(axis=(2, 3), keepdims=True) / top), dtype=np.float32)


def flip_back(maps: Maps, flip_order: NDArray[np.intp]) -> Maps:
    """The maps of a mirrored image as maps of the image: mirrored, left and right exchanged."""
    return np.ascontiguousarray(maps[:, flip_order, :, ::-1])


def merge_flip(maps: Maps, mirrored: Maps, flip_order: NDArray[np.intp], shift: bool) -> Maps:
    """The mean of the maps of an image and of its mirror image (both as the network gave them).

    shift: move the flipped-back maps right by one pixel, column 0 keeping its own: the papers'
    remedy for a crop that mirroring shifts. Not for the unbiased crop.
    """
    back = flip_back(mirrored, flip_order)
    if shift:
        back[..., 1:] = back[..., :-1].copy()
    return (maps + back) * np.float32(0.5)


def merge_scales(pyramid: Sequence[Maps], scales: Sequence[float], kind: CropKind) -> Maps:
    """The mean of the maps (N, K, h, w) of one person at several scales, in the frame of scale 1.

    A person is `scale` times as large in its crop; the middle stays. Bilinear; what lies outside
    a magnified map counts as 0. kind: of the crop, which says where the middle is.
    """
    edge = middle_edge(kind)
    total = np.zeros_like(pyramid[0])
    for maps, scale in zip(pyramid, scales, strict=True):
        if scale == 1:
            total += maps
            continue
        rows, columns = (_zoom(side, scale, (side - edge) / 2) for side in maps.shape[-2:])
        total += rows @ maps @ columns.T
    return total / np.float32(len(pyramid))


def _zoom(side: int, scale: float, middle: float) -> NDArray[np.float32]:
    """(side, side) that takes values at middle + scale (u - middle), linearly, to every u."""
    at = middle + scale * (np.arange(side) - middle)
    weights = np.maximum(0, 1 - np.abs(at[:, None] - np.arange(side)))
    return np.asarray(weights, np.float32)
