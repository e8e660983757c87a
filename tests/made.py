"""A data set of a second, made up: coloured discs for joints, in COCO's form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

JOINTS = ("head", "left_hand", "right_hand")
COLOURS = ((220, 60, 60), (60, 220, 60), (60, 60, 220))
SIDE = 64


def make_discs(root: Path, people: int) -> Path:
    """COCO's folders in root: images with a person of three discs each; their skeleton's file.

    The first quarter are the part "test", the others "train".
    """
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    images, annotations = [], []
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number in range(people):
        pixels = rng.integers(90, 160, (SIDE, SIDE, 3)).astype(np.uint8)
        places = rng.uniform(10, SIDE - 11, (3, 2)).round(1)
        for (x, y), colour in zip(places, COLOURS, strict=True):
            pixels[(columns - x) ** 2 + (rows - y) ** 2 < 25] = colour
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "width": SIDE, "height": SIDE})
        triples = [[float(x), float(y), 2] for x, y in places]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": 3}
            | {
                "keypoints": [number for triple in triples for number in triple],
                "bbox": [0, 0, SIDE, SIDE],
                "area": SIDE**2 / 2,
            }
        )
    category = {"id": 1, "name": "person", "keypoints": list(JOINTS), "skeleton": [[1, 2], [1, 3]]}
    for name, part in (("test", slice(people // 4)), ("train", slice(people // 4, None))):
        values = {"images": images[part], "annotations": annotations[part]}
        text = json.dumps({**values, "categories": [category]})
        (root / "annotations" / f"person_keypoints_{name}.json").write_text(text)
    skeleton = root / "discs.yaml"
    skeleton.write_text(
        "name: discs\nkeypoints: [head, left_hand, right_hand]\npairs: [[left_hand, right_hand]]\n"
        "limbs: [[head, left_hand], [head, right_hand]]\n"
        "groups: {head: [head], upper: [left_hand, right_hand], lower: []}\n"
        "sigmas: [0.1, 0.1, 0.1]\n"
    )
    return skeleton
