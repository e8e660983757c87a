"""Leeds Sports Pose (Johnson and Everingham, BMVC 2010), in its official layout.

`joints.mat` holds `joints` (3, 14, 2000): x, y, 1 = occluded, though labelled all the same. The
images are `images/im0001.jpg` and so on; 1 to 1000 train, 1001 to 2000 test. Coordinates are
taken as they are, as the field does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from poised.datasets.matlab import numbers_of
from poised.datasets.person import DatasetError, Person, check_split, joints_box

TRAIN = 1000  # images, the first


def read_lsp(root: Path, split: str) -> list[Person]:
    """One person an image, the box that of the joints enlarged by 25% a side.

    LSP annotates neither boxes nor centres and scales, and a test is to find the joints: papers
    test on the whole image, as their recipes do (`boxes: image`).

    split: "train" or "test". Raises FileNotFoundError or DatasetError naming the file.
    """
    check_split(split, ("train", "test"), root)
    path = root / "joints.mat"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: LSP's folder holds joints.mat and images/")
    joints = numbers_of(path, "joints")
    if joints.ndim != 3 or joints.shape[:2] != (3, 14):
        raise DatasetError(f"{path}: joints has shape {joints.shape}, expected (3, 14, N)")
    people = []
    for index, (x, y, hidden) in enumerate(joints.transpose(2, 0, 1)):
        if (index < TRAIN) != (split == "train"):
            continue
        xy, labelled = np.stack([x, y], -1).astype(np.float64), np.ones(14, np.bool_)
        people.append(
            Person(
                root / "images" / f"im{index + 1:04d}.jpg",
                joints_box(xy, labelled),
                xy,
                labelled,
                occluded=hidden > 0,
                image_id=index + 1,
            )
        )
    return people
