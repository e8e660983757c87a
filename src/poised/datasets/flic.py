"""Frames Labeled In Cinema (Sapp and Taskar, CVPR 2013), in its official layout.

`examples.mat` holds `examples`, a struct array with `coords` (2, 29; NaN where unlabelled),
`filepath`, `torsobox` (x1, y1, x2, y2), `istrain`, `istest`; the images are in `images/`. MATLAB's
first pixel is (1, 1): 1 is taken off.

The torso's box is all that FLIC says of where and how large a person is; the joints are what is to
be found. How much of a picture goes with a torso is ours: see TORSOS.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poised.datasets.matlab import numbers, read_matlab, structs_of
from poised.datasets.person import DatasetError, Person, check_split

# of FLIC's 29 columns, those of the skeleton `flic`: left and right shoulder, elbow, wrist; hips;
# eyes; nose
COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)
# of a person's square, in longer sides of the torso. With a crop's 1.25 it is 3: of LSP's upright
# people 99% have head, shoulders, elbows, wrists and hips in such a square.
TORSOS = 2.4


def read_flic(root: Path, split: str) -> list[Person]:
    """The labelled people, eleven joints each, the box a square on the middle of their torso's.

    split: "train" or "test". Raises FileNotFoundError or DatasetError naming file and record.
    """
    check_split(split, ("train", "test"), root)
    path = root / "examples.mat"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: FLIC's folder holds examples.mat and images/")
    people = []
    for index, example in enumerate(structs_of(read_matlab(path, "examples", structs=True), path)):
        if not example.get(f"is{split}"):
            continue
        coords = numbers(example.get("coords"))
        if coords.shape != (2, 29):
            raise DatasetError(
                f"{path}: examples({index + 1}).coords is {coords.shape}, expected (2, 29)"
            )
        xy = coords[:, COLUMNS].T - 1
        labelled = np.asarray(np.isfinite(xy).all(1), np.bool_)
        if not labelled.any():
            continue
        xy = np.where(labelled[:, None], xy, 0.0)
        image = root / "images" / str(example.get("filepath"))
        torso = numbers(example.get("torsobox"))
        if torso.shape != (4,) or not (torso[2:] > torso[:2]).all():
            raise DatasetError(
                f"{path}: examples({index + 1}).torsobox is {torso}, expected x1, y1, x2, y2"
            )
        people.append(Person(image, _box(torso), xy, labelled, image_id=index + 1))
    return people


def _box(torso: NDArray[np.float64]) -> NDArray[np.float64]:
    """A person's square (4,) from MATLAB's box (4,) x1, y1, x2, y2 of the torso."""
    side = TORSOS * (torso[2:] - torso[:2]).max()
    return np.concatenate([(torso[:2] + torso[2:] - side) / 2 - 1, [side, side]])
