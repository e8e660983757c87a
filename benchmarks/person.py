"""How good and how fast is the detector? Recall at IoU 0.5 on labelled COCO images.

python benchmarks/person.py ../shared/data/coco2017 [detector file]

Prints recall, boxes a labelled person, and the median milliseconds an image on one thread, all at
the detector's default threshold and size.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from common import machine, median_seconds

from poised.boxes.detector import Detector
from poised.images import read_image
from poised.metrics.boxes import matched


def measure(root: Path, model: str) -> dict[str, object]:
    labels = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    truth: dict[int, list[list[float]]] = {image["id"]: [] for image in labels["images"]}
    for person in labels["annotations"]:
        x, y, width, height = person["bbox"]
        truth[person["image_id"]].append([x, y, x + width, y + height])
    detector = Detector(model, threads=1)
    images = [read_image(root / "val2017" / image["file_name"]) for image in labels["images"]]
    found = detector.detect(images)
    people = sum(map(len, truth.values()))
    hits = sum(
        matched(boxes.xyxy, np.array(truth[image["id"]]).reshape(-1, 4))
        for boxes, image in zip(found, labels["images"], strict=True)
    )
    return {
        "images": len(images),
        "people": people,
        "recall": round(hits / people, 3),
        "boxes_per_person": round(sum(map(len, found)) / people, 2),
        "threshold": detector.threshold,
        "size": detector.size,
        "ms_per_image_one_thread": round(
            1000 * median_seconds(lambda: detector.detect(images), 5) / len(images), 1
        ),
        **machine(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), *sys.argv[2:3] or ["person"]), indent=1))
