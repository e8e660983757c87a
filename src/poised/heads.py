"""Outputs of public networks that are no plain heatmaps -> keypoints: SimCC's and MoveNet's.

Keypoints are in crop pixels, x before y, in the frame of the network's usual crop (crops.py):
SimCC's is `mmpose`, MoveNet's `unbiased`. People are N, keypoints K.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Single = NDArray[np.float32]
Outputs = Mapping[str, Single]
NEAR = 1.8  # cells, added to a distance by which MoveNet divides a map
CELL = 4  # crop pixels a side of a cell of MoveNet's maps


def decode_simcc(x: Floats, y: Floats, split: float) -> tuple[Single, Single]:
    """Each keypoint where its two vectors are highest: xy (N, K, 2) crop pixels, score (N, K).

    x: (N, K, W x split), y: (N, K, H x split), bin b standing for crop pixel b / split; of equal
    ones the first. The score is the mean of the two maxima, as the network gives them. Where it is
    not above 0 nothing was found, and the place is bin -1 of both, as in rtmlib.
    """
    score = (x.max(-1) + y.max(-1)) * np.float32(0.5)
    bins = np.stack([x.argmax(-1), y.argmax(-1)], axis=-1).astype(np.float32)
    bins[score <= 0] = -1
    return bins / np.float32(split), score.astype(np.float32)


def merge_simcc(
    outputs: Outputs, mirrored: Outputs, flip_order: NDArray[np.intp], split: float
) -> dict[str, Single]:
    """The mean of a crop's vectors x, y and of its mirror image's, both as the network gave them.

    Crop pixel p is pixel W - 1 - p of the mirror image, so that bin b meets bin
    (W - 1) x split - b; bins beyond the last pixel's have no counterpart and stay.
    """
    beyond = round(split) - 1
    x = outputs["x"].copy()
    back = mirrored["x"][:, flip_order, ::-1][..., beyond:]
    inside = x[..., : back.shape[-1]]
    inside += back
    inside *= np.float32(0.5)
    return {"x": x, "y": (outputs["y"] + mirrored["y"][:, flip_order]) * np.float32(0.5)}


def decode_movenet(
    heatmaps: Single, center: Single, regress: Single, offset: Single
) -> tuple[Single, Single]:
    """MoveNet's own decoding of its maps: xy (N, K, 2) crop pixels, score (N, K).

    heatmaps: (N, K, h, w); center: (N, 1, h, w); regress: (N, 2 K, h, w), dy and dx of each
    joint in cells from a person's centre; offset: (N, 2 K, h, w), dy and dx in cells from a
    joint's cell to the joint. The person's centre is the cell where `center`, divided by the
    distance to the middle + NEAR, is highest; each joint the cell where its heatmap, divided by
    the distance to where the centre's `regress` guesses it + NEAR, is; the score is the heatmap's
    there.
    """
    people, keypoints, height, width = heatmaps.shape
    everyone, everything = np.arange(people)[:, None], np.arange(keypoints)
    middle = np.array([[[height - 1, width - 1]]]) / 2
    cell = _highest(center / (_distances(middle, height, width) + NEAR))  # (N, 1, 2): y, x
    there = regress.reshape(people, keypoints, 2, height, width)[
        everyone, everything, :, cell[..., 0], cell[..., 1]
    ]
    guess = cell + there  # (N, K, 2)
    cell = _highest(heatmaps / (_distances(guess, height, width) + NEAR))
    at = (everyone, everything, cell[..., 0], cell[..., 1])
    fine = np.moveaxis(offset.reshape(people, keypoints, 2, height, width), 2, -1)[at]
    return ((cell + fine) * CELL - 0.5)[..., ::-1].astype(np.float32), heatmaps[at]


def _distances(yx: Floats, height: int, width: int) -> NDArray[np.float64]:
    """(N, K, h, w): how far each cell of a map lies from points (N, K, 2), y before x."""
    away_y = np.arange(height) - yx[..., :1]
    away_x = np.arange(width) - yx[..., 1:]
    return np.asarray(np.hypot(away_y[..., :, None], away_x[..., None, :]))


def _highest(maps: Floats) -> NDArray[np.intp]:
    """(N, K, 2): y and x of the highest cell of maps (N, K, h, w)."""
    flat = maps.reshape(*maps.shape[:2], -1).argmax(-1)
    return np.stack(np.divmod(flat, maps.shape[-1]), axis=-1)


def merge_movenet(
    outputs: Outputs, mirrored: Outputs, flip_order: NDArray[np.intp]
) -> dict[str, Single]:
    """The mean of a crop's maps and of its mirror image's, both as the network gave them.

    A cell's dx counts from its left edge in `offset` and from its middle in `regress`, so that the
    one becomes 1 - dx in the mirror, the other -dx.
    """
    back = {name: maps[..., ::-1] for name, maps in mirrored.items()}
    back["heatmaps"] = back["heatmaps"][:, flip_order]
    for name, whole in (("regress", 0), ("offset", 1)):
        people, channels, height, width = back[name].shape
        pairs = back[name].reshape(people, channels // 2, 2, height, width)[:, flip_order]
        pairs[:, :, 1] = whole - pairs[:, :, 1]
        back[name] = pairs.reshape(people, channels, height, width)
    return {name: (maps + back[name]) * np.float32(0.5) for name, maps in outputs.items()}


def decode_places(places: Single, size: tuple[int, int]) -> tuple[Single, Single]:
    """MoveNet's finished poses (N, 1, K, 3), y, x and score as shares: xy (N, K, 2), score (N, K).

    size: (width, height) of the crop, whose pixels the shares are of, from its top left edge.
    """
    xy = places[:, 0, :, 1::-1] * np.array(size, np.float32) - np.float32(0.5)
    return xy, places[:, 0, :, 2]
