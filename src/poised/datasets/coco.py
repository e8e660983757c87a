"""COCO's keypoint format: COCO itself, CrowdPose, and anybody's own file of that form.

Layouts that are looked for under root, for a split S: `annotations/person_keypoints_S.json` or, of
a part without labels, `annotations/image_info_S.json` (COCO), `json/crowdpose_S.json` or
`crowdpose_S.json` (CrowdPose), `S` itself where it ends in .json; the images in `S/`, `images/S/`,
the same of `test2017` for `test-dev2017`, `images/` or root; or else all in `images.pack`. CVAT's
"COCO Keypoints 1.0" is of this form with the split `default`, Label Studio's export with
`result.json`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from poised.datasets.person import ENLARGE, DatasetError, Person, cut_part, joints_box
from poised.images import image_size
from poised.packs import PACK, open_pack
from poised.reading import LARGEST, read_json, short
from poised.types import Skeleton

AREA = 0.53  # of a box: what CrowdPose's evaluator takes for a person's area
MADE = f"that of the labelled keypoints is taken, {ENLARGE:.0%} larger a side"
LOOKED_FOR = 50  # images, to find their folder by


def _is_id(value: Any) -> bool:
    """Whether the evaluator, which is C++, can hold it."""
    return isinstance(value, int) and abs(value) < 2**63


FIELDS: dict[str, Callable[[Any], bool]] = {
    "id": _is_id,
    "image_id": _is_id,
    "category_id": _is_id,
    "bbox": lambda v: v in (None, []) or (isinstance(v, list) and len(v) == 4),
    "keypoints": lambda v: v is None or (isinstance(v, list) and len(v) % 3 == 0),
    "num_keypoints": lambda v: v is None or isinstance(v, int),
    "iscrowd": lambda v: v in (None, 0, 1),
}
log = logging.getLogger(__name__)


def annotation_file(root: Path, split: str) -> Path:
    """The annotation file of a split; FileNotFoundError names those that were looked for."""
    names = [
        f"annotations/person_keypoints_{split}.json",
        f"annotations/image_info_{split}.json",
        f"json/crowdpose_{split}.json",
        f"crowdpose_{split}.json",
    ]
    if split.endswith(".json"):
        names = [split]
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    found = [root / name for name in names if (root / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{root}: none of {', '.join(names)}")
    return found[0]


def is_labels(path: Path, root: Path, split: str) -> bool:
    """Whether a file is that of the labels of a part in COCO's form."""
    try:
        return path.exists() and path.samefile(annotation_file(root, cut_part(split)[0]))
    except (OSError, DatasetError):
        return False


def read_annotations(root: Path, split: str) -> tuple[dict[str, Any], Path]:
    """The annotation file of a split, checked, and the folder of its images.

    An annotation without keypoints gets unlabelled ones, so that it is ignored; one without a box
    that of its keypoints, enlarged. How many there are is said aloud. Raises FileNotFoundError, or
    DatasetError naming file, record and field.
    """
    path = annotation_file(root, split)
    values = read_json(path, DatasetError)
    if not isinstance(values, dict):
        raise DatasetError(f"{path}: needs images and annotations")
    if path.name.startswith("image_info_"):  # COCO's form of a part whose labels are not public
        values.setdefault("annotations", [])
    _check(values, path)
    _complete(values, path)
    return values, _images_folder(values["images"], root, split)


def first_images(values: dict[str, Any], count: int) -> dict[str, Any]:
    """An annotation file's values, of its first images with an annotation, if any has one."""
    used = {row["image_id"] for row in values["annotations"]}
    images = [image for image in values["images"] if not used or image["id"] in used][:count]
    kept = {image["id"] for image in images}
    rows = [row for row in values["annotations"] if row["image_id"] in kept]
    return {**values, "images": images, "annotations": rows}


def _images_folder(images: list[dict[str, Any]], root: Path, split: str) -> Path:
    """The folder where most of some images lie, by their names, or else by the names' ends alone.

    Label Studio names images as it keeps them (`../../data/upload/1/a.jpg`, or with backslashes)
    and puts them into `images/`; the records are changed to the names that they have there.
    """
    if (root / PACK).is_file():
        return _whole_pack(root / PACK, images)
    parts = [split, split.replace("test-dev", "test")]  # test-dev's images are among the test's
    folders = [root / f / part for part in parts for f in ("", "images")] + [root / "images", root]
    folders = [folder for folder in folders if folder.is_dir()]
    some = [str(image["file_name"]) for image in images[:: len(images) // LOOKED_FOR + 1]]

    def held(names: list[str], folder: Path) -> int:
        return sum((folder / name).is_file() for name in names)

    best = max(folders, key=partial(held, some))
    ends = list(map(_end, some))
    by_end = max(folders, key=partial(held, ends))
    if held(ends, by_end) <= held(some, best):
        return best
    for image in images:
        image["file_name"] = _end(image["file_name"])
    return by_end


def _end(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2]


def _whole_pack(pack: Path, images: list[dict[str, Any]]) -> Path:
    """The pack, in which every image is; DatasetError otherwise."""
    try:
        members = open_pack(pack).members
    except ValueError as error:
        raise DatasetError(str(error)) from error
    missing = [image["file_name"] for image in images if image["file_name"] not in members]
    if missing:
        raise DatasetError(f"{pack}: has no {missing[0]}; pack the data set anew")
    return pack


def _check(values: dict[str, Any], path: Path) -> None:
    """Raise DatasetError at the first record that does not fit the form, or this file's images."""
    for part in ("images", "annotations"):
        rows = values.get(part)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise DatasetError(f"{path}: needs images and annotations, lists of objects: {part}")
        numbers = Counter(str(row.get("id")) for row in rows)
        if len(numbers) < len(rows):
            twin = numbers.most_common(1)[0][0]
            said = "records without an id" if twin == "None" else f"the id {twin} more than once"
            raise DatasetError(f"{path}: {part} has {said}")
    for index, image in enumerate(values["images"]):
        if not _is_id(image.get("id")) or not isinstance(image.get("file_name"), str):
            raise DatasetError(f"{path}: images[{index}] needs an id and a file_name")
        if not _finite([image.get("crowdIndex", 0)]):
            raise DatasetError(f"{path}: images[{index}].crowdIndex is {short(image)}")
    rows = values.get("categories") or []
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and _is_id(row.get("id")) for row in rows
    ):
        raise DatasetError(f"{path}: categories is no list of objects with an id")
    known = {image["id"] for image in values["images"]}
    keypoints = None
    for index, annotation in enumerate(values["annotations"]):
        where = f"{path}: annotations[{index}]"
        for name, fits in FIELDS.items():
            if not fits(annotation.get(name)):
                raise DatasetError(f"{where}.{name} is {short(annotation.get(name))}")
        if annotation["image_id"] not in known:
            raise DatasetError(f"{where}.image_id {annotation['image_id']} is no image of the file")
        count = len(annotation.get("keypoints") or ())
        keypoints = keypoints or count
        if count not in (0, keypoints):
            raise DatasetError(f"{where}.keypoints has {count} numbers, the first {keypoints}")
    if values["annotations"] and not keypoints:
        raise DatasetError(f"{path}: no annotation has keypoints")


def _complete(values: dict[str, Any], path: Path) -> None:
    """Fill in the keypoints and boxes that are absent, and raise at what is no number."""
    annotations = values["annotations"]
    count = max((len(a.get("keypoints") or ()) for a in annotations), default=0)
    bare = [i for i, a in enumerate(annotations) if not a.get("keypoints")]
    for i in bare:
        annotations[i] |= {"keypoints": [0] * count, "num_keypoints": 0}
    _check_numbers([a["keypoints"] for a in annotations], "keypoints", path)
    unboxed = [i for i, a in enumerate(annotations) if not a.get("bbox")]
    for i in unboxed:
        annotations[i]["bbox"] = _box_of(annotations[i]["keypoints"])
    _check_numbers([a["bbox"] for a in annotations], "bbox", path)
    _check_numbers([a.get("area", 0.0) for a in annotations], "area", path)
    for which, lacks in ((bare, "no keypoints, ignored"), (unboxed, f"no box, {MADE}")):
        if which:
            log.warning("%s: annotations with %s: %d, first %s", path, lacks, len(which), which[:5])


def _box_of(keypoints: list[float]) -> list[float]:
    """Of what is labelled, enlarged as where a data set has no boxes; 0 where nothing is."""
    triples = np.array(keypoints, np.float64).reshape(-1, 3)
    labelled = triples[:, 2] > 0
    return joints_box(triples[:, :2], labelled).tolist() if labelled.any() else [0.0] * 4


def _check_numbers(rows: list[Any], name: str, path: Path) -> None:
    """Raise DatasetError that names the first records with anything but finite numbers."""
    odd: list[int] = []
    try:
        array = np.array(rows, np.float64).reshape(len(rows), -1) if rows else np.zeros((0, 1))
        odd = np.flatnonzero(~(np.abs(array) < LARGEST).all(1)).tolist()  # NaN too
    except (TypeError, ValueError, OverflowError):
        odd = [i for i, row in enumerate(rows) if not _finite(row)]
    if odd:
        others = f" (and {len(odd) - 1} other records: {odd[1:6]})"
        raise DatasetError(
            f"{path}: annotations[{odd[0]}].{name} has what is no finite number of pixels"
            + (others if len(odd) > 1 else "")
        )


def _finite(row: Any) -> bool:
    try:
        return bool((np.abs(np.array(row, np.float64)) < LARGEST).all())
    except (TypeError, ValueError, OverflowError):
        return False


def read_coco(root: Path, split: str) -> list[Person]:
    """Every annotated person, crowd regions and people without keypoints marked as ignored.

    Who is without is said by the annotation's own `num_keypoints` where it has one: CrowdPose's
    counts neither head nor neck.

    split: train2017, val2017, or a JSON file's name under root. Raises what `read_annotations`
    raises.
    """
    return people_of(*read_annotations(root, split))


def people_of(values: dict[str, Any], folder: Path) -> list[Person]:
    """The people of what `read_annotations` gave."""
    annotations = values["annotations"]
    if not annotations:
        return []
    images = {image["id"]: image for image in values["images"]}
    paths = {key: folder / image["file_name"] for key, image in images.items()}
    triples = np.array([a["keypoints"] for a in annotations], np.float64)
    triples = triples.reshape(len(annotations), -1, 3)  # (P, K, 3): x, y, 0 none 1 hidden 2 seen
    boxes = np.array([a["bbox"] for a in annotations], np.float64)
    xy, labelled = np.ascontiguousarray(triples[..., :2]), triples[..., 2] > 0
    hidden = triples[..., 2] == 1
    return [
        Person(
            paths[a["image_id"]],
            boxes[i],
            xy[i],
            labelled[i],
            occluded=hidden[i],
            image_id=a["image_id"],
            area=person_area(a),
            ignored=bool(a.get("iscrowd", 0)) or not keypoint_count(a),
            crowd_index=images[a["image_id"]].get("crowdIndex"),
        )
        for i, a in enumerate(annotations)
    ]


def keypoint_count(annotation: dict[str, Any]) -> int:
    """The annotation's own `num_keypoints`, or where there is none how many are labelled."""
    own = annotation.get("num_keypoints")
    return sum(flag > 0 for flag in annotation["keypoints"][2::3]) if own is None else int(own)


def person_area(annotation: dict[str, Any]) -> float:
    """The annotated area, or where there is none, or 0 as in some exports, 0.53 x the box."""
    own = float(annotation.get("area") or 0)
    return own if own > 0 else box_area(annotation["bbox"])


def box_area(xywh: Any) -> float:
    """0.53 x a box (4,); 0 where it has a negative side."""
    return AREA * max(0.0, float(xywh[2])) * max(0.0, float(xywh[3]))


def to_coco(people: list[Person], skeleton: Skeleton, root: Path | None = None) -> dict[str, Any]:
    """Any data set's people in COCO form; file names are relative to `root` where they are in it.

    Images without people are not in a list of people, and so not here.
    """
    images: dict[int, dict[str, Any]] = {}
    annotations = []
    for index, person in enumerate(people):
        if person.image_id not in images:
            images[person.image_id] = _image_record(person, root)
        flags = np.where(person.visible, np.where(person.occluded, 1, 2), 0)
        xy = np.where(person.visible[:, None], person.xy, 0)
        area = box_area(person.xywh) if person.area is None else person.area
        annotations.append(
            {
                "id": index + 1,
                "image_id": person.image_id,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": person.xywh.tolist(),
                "area": area,
                "num_keypoints": 0 if person.ignored else int(person.visible.sum()),
                "keypoints": np.concatenate([xy, flags[:, None]], 1).ravel().tolist(),
            }
        )
    limbs = [[a + 1, b + 1] for a, b in skeleton.limbs]
    names = list(skeleton.keypoints)
    category = {"id": 1, "name": "person", "keypoints": names, "skeleton": limbs}
    return {"images": list(images.values()), "annotations": annotations, "categories": [category]}


def _image_record(person: Person, root: Path | None) -> dict[str, Any]:
    name = person.image.name
    if root is not None and person.image.is_relative_to(root):
        name = person.image.relative_to(root).as_posix()
    record: dict[str, Any] = {"id": person.image_id, "file_name": name}
    size = image_size(person.image)
    if not isinstance(size, str):
        record |= {"width": size[0], "height": size[1]}
    if person.crowd_index is not None:
        record["crowdIndex"] = person.crowd_index
    return record
