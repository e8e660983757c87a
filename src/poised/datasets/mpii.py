"""MPII Human Pose (Andriluka et al., CVPR 2014): its MATLAB file, and the public JSON form.

The JSON form (`annot/train.json`, `annot/valid.json`) has the split of 22,246 and 2,958 people
that papers validate on; `mpii_human_pose_v1_u12_1.mat` has the head boxes that PCKh needs, and
everybody; with both in the folder the JSON form's people get their head boxes. Images are in
`images/`. MATLAB's first pixel is (1, 1): 1 is taken off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.datasets.matlab import numbers, read_matlab, structs_of
from poised.datasets.person import DatasetError, Person
from poised.reading import read_json, short

MATLAB = "mpii_human_pose_v1_u12_1.mat"
JOINTS = 16
SIDE = 200.0  # pixels of a person's box at scale 1
LOWER = 15.0  # pixels at scale 1 that the box's centre lies below `center`, to hold the feet
HEAD = 0.6  # of the head box's diagonal: the head size
SAME = 10.0  # pixels that one person's box centre may differ between the two files


def read_mpii(root: Path, split: str) -> list[Person]:
    """The annotated people of a JSON form's file, or of the MATLAB file.

    split: "train" or "valid" and any other JSON file's stem, its folder `annot/` or root itself;
    "matlab-train" for all training people of the MATLAB file. head_size is None where that file is
    absent. The box is the square of side 200 x
    scale around the centre, lowered by 15 x scale, as the field crops it (before padding). Raises
    FileNotFoundError or DatasetError naming file, record and field.
    """
    if split == "matlab-train":
        return _read_matlab(root, root / MATLAB)
    for path in (root / "annot" / f"{split}.json", root / f"{split}.json"):
        if path.is_file():
            people = _read_json(root, path)
            if not (root / MATLAB).is_file():
                return people
            return _with_heads(people, _read_matlab(root, root / MATLAB))
    raise FileNotFoundError(f"no {root / 'annot' / split}.json, nor in {root} itself")


def _read_json(root: Path, path: Path) -> list[Person]:
    records = read_json(path, DatasetError)
    if not isinstance(records, list):
        raise DatasetError(f"{path}: expected a list of people, got {type(records).__name__}")
    images = root / "images" if (root / "images").is_dir() else root
    numbers: dict[str, int] = {}
    people = []
    for index, record in enumerate(records):
        try:
            xy = np.array(record["joints"], np.float64).reshape(JOINTS, 2) - 1
            visible = np.array(record["joints_vis"]).reshape(JOINTS) > 0
            box = _box(np.array(record["center"], np.float64), float(record["scale"]))
            name = str(record["image"])
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{path}: record {index}: {short(repr(error))}") from error
        number = numbers.setdefault(name, len(numbers) + 1)
        people.append(Person(images / name, box, xy, visible, image_id=number))
    return people


def _with_heads(people: Iterable[Person], known: Iterable[Person]) -> list[Person]:
    """The people with the head size of the known one whose box lies nearest in the same image."""
    by_image: dict[str, list[Person]] = {}
    for person in known:
        by_image.setdefault(person.image.name, []).append(person)
    found = []
    for person in people:
        others = by_image.get(person.image.name, [])
        away = [np.linalg.norm(_middle(other) - _middle(person)) for other in others]
        if not away or min(away) > SAME:
            raise DatasetError(f"{MATLAB} has nobody of {person.image.name} at {_middle(person)}")
        found.append(replace(person, head_size=others[int(np.argmin(away))].head_size))
    return found


def _middle(person: Person) -> NDArray[np.float64]:
    return person.xywh[:2] + person.xywh[2:] / 2


def _read_matlab(root: Path, path: Path) -> list[Person]:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: MPII's annotation as its site gives it")
    (release,) = structs_of(read_matlab(path, "RELEASE", structs=True), path) or [{}]
    images = structs_of(release.get("annolist"), path)
    trained = numbers(release.get("img_train")).ravel()
    if len(trained) != len(images):
        raise DatasetError(f"{path}: annolist has {len(images)} images, img_train {len(trained)}")
    people = []
    for index in np.flatnonzero(trained):
        image = images[index]
        (named,) = structs_of(image.get("image"), path) or [{}]
        for rect in structs_of(image.get("annorect"), path):
            person = _person(rect, root / "images" / str(named.get("name")), int(index) + 1, path)
            if person is not None:
                people.append(person)
    return people


def _person(rect: dict[str, Any], image: Path, image_id: int, path: Path) -> Person | None:
    """One annorect; None where it has no keypoints, as many of the background have."""
    labelled, place = rect.get("annopoints"), rect.get("objpos")
    points = labelled.get("point") if isinstance(labelled, dict) else None
    if points is None or not isinstance(place, dict) or "x" not in place:
        return None
    xy = np.zeros((JOINTS, 2))
    visible, hidden = np.zeros(JOINTS, np.bool_), np.zeros(JOINTS, np.bool_)
    for point in structs_of(points, path):
        joint = int(point["id"])
        xy[joint] = point["x"] - 1, point["y"] - 1
        visible[joint] = True
        seen = str(point.get("is_visible", ""))  # of 0, 1, "0", "1", or an empty array
        hidden[joint] = seen in ("0", "0.0")
    corners = np.array([rect[side] for side in ("x1", "y1", "x2", "y2")], np.float64)
    return Person(
        image,
        _box(np.array([place["x"], place["y"]], np.float64), float(rect["scale"])),
        xy,
        visible,
        occluded=hidden,
        image_id=image_id,
        head_size=HEAD * float(np.hypot(*(corners[2:] - corners[:2]))),
    )


def _box(centre: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """(4,) from MPII's 1-based centre and scale."""
    side = SIDE * scale
    middle = centre + np.array([0.0, LOWER * scale]) - 1
    return np.concatenate([middle - side / 2, [side, side]])
