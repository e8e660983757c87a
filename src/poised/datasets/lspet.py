"""Leeds Sports Pose Extended (Johnson and Everingham, CVPR 2011), in its official layout.

`joints.mat` holds `joints` (14, 3, N): x, y, 1 = visible; an invisible joint's coordinates mean
nothing. The images are `images/im00001.jpg` and so on. MATLAB's first pixel is (1, 1), and LSPET's
coordinates are taken as they are, as the field does.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poised.datasets.person import Person, Split

LEAST_JOINTS = 4  # fewer give no box worth cutting
ENLARGE = 0.25  # of the joints' box, on each side
HELD_OUT = 500  # images at the end, never trained on


def read_lspet(root: Path, split: Split) -> list[Person]:
    """Every person with at least four visible joints, in the file's order.

    LSPET has no official test part: "test" is the last 500 images, "train" all others. The
    box is the visible joints' box enlarged by 25% a side. Raises FileNotFoundError or ValueError
    naming the file.
    """
    from scipy.io import loadmat  # only training and evaluation read MATLAB files

    path = root / "joints.mat"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: LSPET's folder holds joints.mat and images/")
    joints: NDArray[np.float64] = loadmat(path)["joints"]
    if joints.ndim != 3 or joints.shape[:2] != (14, 3):
        raise ValueError(f"{path}: joints has shape {joints.shape}, expected (14, 3, N)")
    first_test = joints.shape[2] - HELD_OUT
    people = []
    for index, (x, y, seen) in enumerate(joints.transpose(2, 1, 0)):
        visible = seen > 0
        if visible.sum() < LEAST_JOINTS or (index >= first_test) != (split == "test"):
            continue
        xy = np.stack([x, y], axis=-1).astype(np.float64)
        people.append(
            Person(root / "images" / f"im{index + 1:05d}.jpg", joints_box(xy, visible), xy, visible)
        )
    return people


def joints_box(xy: NDArray[np.float64], visible: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(4,) x, y, width, height of the visible joints (K, 2), enlarged, by 8 px at least, a side."""
    low, high = xy[visible].min(0), xy[visible].max(0)
    margin = np.maximum(ENLARGE * (high - low), 8)
    return np.concatenate([low - margin, high - low + 2 * margin])
