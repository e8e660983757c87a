"""Leeds Sports Pose Extended (Johnson and Everingham, CVPR 2011), in its official layout.

`joints.mat` holds `joints` (14, 3, N): x, y, 1 = visible; an invisible joint's coordinates mean
nothing. The images are `images/im00001.jpg` and so on. MATLAB's first pixel is (1, 1), and LSPET's
coordinates are taken as they are, as the field does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from poised.datasets.matlab import numbers_of
from poised.datasets.person import DatasetError, Person, check_split, joints_box

LEAST_JOINTS = 4  # fewer give no box worth cutting
HELD_OUT = 500  # images at the end, never trained on


def read_lspet(root: Path, split: str) -> list[Person]:
    """Every person with at least four visible joints, in the file's order.

    LSPET has no official test part: "test" is the last 500 images, "train" all others, "all" both.
    The box is the visible joints' box enlarged by 25% a side. Raises FileNotFoundError or
    DatasetError naming the file.
    """
    check_split(split, ("train", "test", "all"), root)
    path = root / "joints.mat"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: LSPET's folder holds joints.mat and images/")
    joints = numbers_of(path, "joints")
    if joints.ndim != 3 or joints.shape[:2] != (14, 3):
        raise DatasetError(f"{path}: joints has shape {joints.shape}, expected (14, 3, N)")
    first_test = joints.shape[2] - HELD_OUT
    people = []
    for index, (x, y, seen) in enumerate(joints.transpose(2, 1, 0)):
        visible = seen > 0
        part = "test" if index >= first_test else "train"
        if visible.sum() < LEAST_JOINTS or split not in (part, "all"):
            continue
        xy = np.stack([x, y], axis=-1).astype(np.float64)
        image = root / "images" / f"im{index + 1:05d}.jpg"
        people.append(Person(image, joints_box(xy, visible), xy, visible, image_id=index + 1))
    return people
