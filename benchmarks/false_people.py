"""How many false people does a least pose score, or number of sure joints, keep out of results?

python benchmarks/false_people.py ../shared/data/coco2017 train2017

The bundled models on a split of COCO's form, everybody kept; then, for each `--min-score` and
`--min-joints`: recall, the share of labelled people whose box a kept pose has (IoU 0.5, one to
one, by pose score), and precision, the share of kept poses that have such a box. A person whom
nobody labelled counts as false, so precision is a lower bound. F is their harmonic mean.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from common import machine

from poised.metrics.boxes import matched
from poised.predict import Predicted, Predictor

SCORES = (0.0, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3)
JOINTS = (0, 2, 3, 4, 6)


def main() -> None:
    root, split = Path(sys.argv[1]), sys.argv[2]
    labels = json.loads((root / "annotations" / f"person_keypoints_{split}.json").read_text())
    truth: dict[int, list[list[float]]] = {image["id"]: [] for image in labels["images"]}
    for person in labels["annotations"]:
        x, y, width, height = person["bbox"]
        truth[person["image_id"]].append([x, y, x + width, y + height])
    predictor = Predictor.load(threads=1, min_score=0, min_joints=0)
    paths = [root / split / image["file_name"] for image in labels["images"]]
    found = []
    for image, result in zip(labels["images"], predictor.stream(paths), strict=True):
        if not isinstance(result, Predicted):
            raise SystemExit(result.reason)
        poses = result.poses
        order = np.argsort(poses.score, kind="stable")[::-1]
        joints = (poses.keypoint_score > predictor.threshold).sum(1)
        people = np.array(truth[image["id"]]).reshape(-1, 4)
        found.append((poses.boxes.xyxy[order], poses.score[order], joints[order], people))
    labelled = sum(map(len, truth.values()))
    print(f"{split}: {len(found)} images, {labelled} people, {json.dumps(machine())}")
    print("| min_score | min_joints | poses | precision | recall | F |\n|---|---|---|---|---|---|")
    for least_score in SCORES:
        for least_joints in JOINTS:
            count = hits = 0
            for xyxy, score, joints, people in found:
                kept = (score >= least_score) & (joints >= least_joints)
                count += int(kept.sum())
                hits += matched(xyxy[kept], people)
            precision, recall = hits / max(count, 1), hits / labelled
            both = 2 * precision * recall / max(precision + recall, 1e-9)
            print(
                f"| {least_score} | {least_joints} | {count} | {precision:.3f} | {recall:.3f} "
                f"| {both:.3f} |"
            )


if __name__ == "__main__":
    main()
