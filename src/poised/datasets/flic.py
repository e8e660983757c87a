"""Frames Labeled In Cinema (Sapp and Taskar, CVPR 2013), in its official layout.

`examples.mat` holds `examples`, a struct array with `coords` (2, 29; NaN where unlabelled),
`filepath`, `torsobox` (x1, y1, x2, y2), `istrain`, `istest`; the images are in `images/`. MATLAB's
first pixel is (1, 1): 1 is taken off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from poised.datasets.person import DatasetError, Person, check_split, joints_box

# of FLIC's 29 columns, those of the skeleton `flic`: left and right shoulder, elbow, wrist; hips;
# eyes; nose
COLUMNS = (0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16)


def read_flic(root: Path, split: str) -> list[Person]:
    """The labelled people, eleven joints each, the box that of the joints enlarged by 25% a side.

    split: "train" or "test". Raises FileNotFoundError or DatasetError naming file and record.
    """
    from scipy.io import loadmat  # only training and evaluation read MATLAB files

    check_split(split, ("train", "test"), root)
    path = root / "examples.mat"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: FLIC's folder holds examples.mat and images/")
    examples = np.atleast_1d(loadmat(path, squeeze_me=True, struct_as_record=False)["examples"])
    people = []
    for index, example in enumerate(examples):
        if not bool(getattr(example, f"is{split}")):
            continue
        coords = np.asarray(example.coords, np.float64)
        if coords.shape != (2, 29):
            raise DatasetError(
                f"{path}: examples({index + 1}).coords is {coords.shape}, expected (2, 29)"
            )
        xy = coords[:, COLUMNS].T - 1
        labelled = np.asarray(np.isfinite(xy).all(1), np.bool_)
        if not labelled.any():
            continue
        xy = np.where(labelled[:, None], xy, 0.0)
        image = root / "images" / str(example.filepath)
        people.append(Person(image, joints_box(xy, labelled), xy, labelled, image_id=index + 1))
    return people
