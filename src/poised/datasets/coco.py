"""COCO's keypoint format: COCO itself, CrowdPose, and anybody's own file of that form.

Layouts that are looked for under root, for a split S: `annotations/person_keypoints_S.json` (COCO),
`json/crowdpose_S.json` or `crowdpose_S.json` (CrowdPose), `S` itself where it ends in .json; the
images in `S/`, `images/S/`, `images/` or root.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.datasets.person import DatasetError, Person

AREA = 0.53  # of a box: what CrowdPose's evaluator takes for a person's area
FIELDS: dict[str, Callable[[Any], bool]] = {
    "id": lambda v: isinstance(v, int),
    "image_id": lambda v: isinstance(v, int),
    "bbox": lambda v: isinstance(v, list) and len(v) == 4,
    "keypoints": lambda v: isinstance(v, list) and len(v) % 3 == 0,
}


def read_annotations(root: Path, split: str) -> tuple[dict[str, Any], Path]:
    """The annotation file of a split, checked, and the folder of its images.

    Raises FileNotFoundError, or DatasetError naming file, record and field.
    """
    names = [
        f"annotations/person_keypoints_{split}.json",
        f"json/crowdpose_{split}.json",
        f"crowdpose_{split}.json",
    ]
    if split.endswith(".json"):
        names = [split]
    found = [root / name for name in names if (root / name).is_file()]
    if not found:
        raise FileNotFoundError(f"{root}: none of {', '.join(names)}")
    path = found[0]
    try:
        values = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not JSON, or cut short: {error}") from error
    if not isinstance(values, dict) or not {"images", "annotations"} <= set(values):
        raise DatasetError(f"{path}: needs images and annotations")
    _check(values, path)
    folders = [root / split, root / "images" / split, root / "images", root]
    first = str(values["images"][0]["file_name"]) if values["images"] else ""
    return values, next((f for f in folders if (f / first).is_file()), folders[0])


def _check(values: dict[str, Any], path: Path) -> None:
    """Every image has its name, every annotation its fields, and an image of this file."""
    for index, image in enumerate(values["images"]):
        if not isinstance(image.get("id"), int) or not isinstance(image.get("file_name"), str):
            raise DatasetError(f"{path}: images[{index}] needs an id and a file_name")
    known = {image["id"] for image in values["images"]}
    keypoints = None
    for index, annotation in enumerate(values["annotations"]):
        where = f"{path}: annotations[{index}]"
        for name, fits in FIELDS.items():
            if not fits(annotation.get(name)):
                raise DatasetError(f"{where}.{name} is {str(annotation.get(name))[:60]}")
        if annotation["image_id"] not in known:
            raise DatasetError(f"{where}.image_id {annotation['image_id']} is no image of the file")
        keypoints = keypoints or len(annotation["keypoints"])
        if len(annotation["keypoints"]) != keypoints:
            count = len(annotation["keypoints"])
            raise DatasetError(f"{where}.keypoints has {count} numbers, the first {keypoints}")


def read_coco(root: Path, split: str) -> list[Person]:
    """Every annotated person, crowd regions and people without keypoints marked as ignored.

    split: train2017, val2017, or a JSON file's name under root. Raises what `read_annotations`
    raises, and DatasetError for a number that is not finite.
    """
    values, folder = read_annotations(root, split)
    annotations = values["annotations"]
    if not annotations:
        return []
    images = {image["id"]: image for image in values["images"]}
    paths = {key: folder / image["file_name"] for key, image in images.items()}
    triples = np.array([a["keypoints"] for a in annotations], np.float64)
    triples = triples.reshape(len(annotations), -1, 3)  # (P, K, 3): x, y, 0 none 1 hidden 2 seen
    boxes = np.array([a["bbox"] for a in annotations], np.float64)
    odd = ~(np.isfinite(triples).all((1, 2)) & np.isfinite(boxes).all(1))
    if odd.any():
        raise DatasetError(
            f"{root}: annotations[{int(odd.argmax())}] has a number that is not finite"
        )
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
            ignored=bool(a.get("iscrowd", 0)) or not bool(labelled[i].any()),
            crowd_index=images[a["image_id"]].get("crowdIndex"),
        )
        for i, a in enumerate(annotations)
    ]


def person_area(annotation: dict[str, Any]) -> float:
    """The annotated area, or where there is none 0.53 x the box."""
    if "area" in annotation:
        return float(annotation["area"])
    return AREA * float(annotation["bbox"][2]) * float(annotation["bbox"][3])


def to_coco(people: list[Person], keypoints: tuple[str, ...]) -> dict[str, NDArray[Any] | Any]:
    """Any data set's people in COCO form; images without people are not in a list of people."""
    images: dict[int, dict[str, Any]] = {}
    annotations = []
    for index, person in enumerate(people):
        image: dict[str, Any] = {"id": person.image_id, "file_name": person.image.name}
        if person.crowd_index is not None:
            image["crowdIndex"] = person.crowd_index
        images[person.image_id] = image
        flags = np.where(person.visible, np.where(person.occluded, 1, 2), 0)
        triples = np.concatenate([person.xy * person.visible[:, None], flags[:, None]], 1)
        area = person.area
        if area is None:
            area = AREA * float(person.xywh[2] * person.xywh[3])
        annotations.append(
            {
                "id": index + 1,
                "image_id": person.image_id,
                "category_id": 1,
                "iscrowd": int(person.ignored and bool(person.visible.any())),
                "bbox": person.xywh.tolist(),
                "area": area,
                "num_keypoints": int(person.visible.sum()),
                "keypoints": triples.ravel().tolist(),
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(keypoints)}
    return {"images": list(images.values()), "annotations": annotations, "categories": [category]}
