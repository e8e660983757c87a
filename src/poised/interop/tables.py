"""Poses as tables of pandas or polars: one row a person, or one a keypoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poised.types import ImagePoses, Skeleton, of_images

if TYPE_CHECKING:
    import pandas
    import polars

Columns = dict[str, NDArray[Any] | list[str]]
BOX = ("box_x", "box_y", "box_width", "box_height")


def to_pandas(poses: ImagePoses | Sequence[ImagePoses], *, long: bool = False) -> pandas.DataFrame:
    """A pandas table; see `columns`."""
    import pandas

    return pandas.DataFrame(columns(poses, long=long))


def to_polars(poses: ImagePoses | Sequence[ImagePoses], *, long: bool = False) -> polars.DataFrame:
    """A polars table; see `columns`."""
    import polars

    return polars.DataFrame(columns(poses, long=long))


def columns(poses: ImagePoses | Sequence[ImagePoses], *, long: bool = False) -> Columns:
    """The columns of everybody in the images, in their order.

    A row a person: file_name, person (its place in the image, from 1), box_x, box_y, box_width,
    box_height, box_score, score, then <keypoint>_x, _y, _score, as in poses.csv. long: a row a
    keypoint: file_name, person, keypoint, x, y, score. Numbers are float32, pixels, not rounded.
    Raises ValueError where images have unlike skeletons, or where there are none.
    """
    several = of_images(poses)
    skeleton = _one_skeleton(several)
    names = [one.file_name for one in several for _ in range(len(one))]
    numbers = np.concatenate([np.arange(1, len(one) + 1) for one in several])
    xy = np.concatenate([one.xy for one in several])  # (P, K, 2), as all below, of all images
    each = np.concatenate([one.keypoint_score for one in several])
    if long:
        count = len(skeleton)
        return {
            "file_name": [name for name in names for _ in range(count)],
            "person": np.repeat(numbers, count),
            "keypoint": list(skeleton.keypoints) * len(names),
            "x": xy[..., 0].ravel(),
            "y": xy[..., 1].ravel(),
            "score": each.ravel(),
        }
    boxes = np.concatenate([one.boxes.xywh for one in several])
    table: Columns = {"file_name": names, "person": numbers}
    table |= {name: boxes[:, side] for side, name in enumerate(BOX)}
    table["box_score"] = np.concatenate([one.boxes.score for one in several])
    table["score"] = np.concatenate([one.score for one in several])
    for k, name in enumerate(skeleton.keypoints):
        table |= {f"{name}_x": xy[:, k, 0], f"{name}_y": xy[:, k, 1], f"{name}_score": each[:, k]}
    return table


def _one_skeleton(poses: Sequence[ImagePoses]) -> Skeleton:
    if not poses:
        raise ValueError("no images: a table's columns are named by their skeleton")
    names = {one.skeleton.keypoints for one in poses}
    if len(names) > 1:
        raise ValueError(f"the images have {len(names)} skeletons; make a table of each")
    return poses[0].skeleton
