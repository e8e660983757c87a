"""What does it cost to keep a run's results part by part? CPU seconds by the size of a part.

python benchmarks/folder_run.py ../shared/data/coco2017

`coco17-small` on one thread, without flip and pictures, on val2017's images with their annotated
boxes: the least work an image, so that what a part costs weighs most. A part's last network call
is not full, and its file is written and synced. The best of ROUNDS rounds, sizes in turn.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from common import machine

from poised import Boxes, Predictor, folder_run
from poised.folder_run import begin, describe_images, held
from poised.parts import describe_predictor, go_on

SIZES, ROUNDS = (10**6, 256, 64), 2


def annotated(root: Path) -> dict[Path, Boxes]:
    """The boxes of val2017's images."""
    labels = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    boxes: dict[int, list[list[float]]] = {image["id"]: [] for image in labels["images"]}
    for person in labels["annotations"]:
        if min(person["bbox"][2:]) > 0:
            boxes[person["image_id"]].append(person["bbox"])
    return {
        root / "val2017" / image["file_name"]: Boxes(
            np.array(boxes[image["id"]], np.float32).reshape(-1, 4),
            np.ones(len(boxes[image["id"]])),
        )
        for image in labels["images"]
    }


def seconds(predictor: Predictor, boxes: dict[Path, Boxes], size: int) -> tuple[float, float]:
    """CPU and wall seconds of a run in parts of so many images."""
    folder_run.PART = size
    images = list(boxes)
    with TemporaryDirectory() as folder, held(Path(folder)):
        asked = describe_images(images) | {"format": "coco"} | describe_predictor(predictor)
        run = begin(Path(folder), asked)
        start = time.process_time(), time.perf_counter()
        for _ in go_on(run, predictor, images, boxes):
            pass
        took = time.process_time() - start[0], time.perf_counter() - start[1]
        run.finish()
    return took


def measure(root: Path) -> dict[str, object]:
    boxes = annotated(root)
    predictor = Predictor.load("coco17-small", detector=None, threads=1, flip=False)
    found = [[seconds(predictor, boxes, size) for size in SIZES] for _ in range(ROUNDS)]
    cpu, wall = np.array(found).min(0).T
    return {
        "images": len(boxes),
        "people": sum(map(len, boxes.values())),
        "part": [min(size, len(boxes)) for size in SIZES],
        "cpu_s": cpu.round(2).tolist(),
        "wall_s": wall.round(2).tolist(),
        **machine(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
