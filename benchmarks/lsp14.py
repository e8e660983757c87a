"""How good is the pose model? PCK@0.2 on the last 500 images of LSPET, which it never saw.

python benchmarks/lsp14.py ../shared/data/lspet [model]     needs poised and scipy

Box: the visible joints' box enlarged by 25% a side. Torso: left shoulder to right hip where both
are visible, else 0.4 x the longer side of the joints' box. Visible joints only. The figure is the
plain mean over the 12 limb joints (all but neck and head top).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from common import machine

from poised import Boxes, Predictor
from poised.datasets.lspet import read_lspet
from poised.metrics.pck import distances, pck, torso_length

LIMB_JOINTS = 12


def measure(root: Path, model: str, engine: str = "auto", flip: bool = True) -> dict[str, object]:
    people = read_lspet(root, "test")
    # the data set's boxes are loose: the model's own padding is for tight ones
    predictor = Predictor.load(model, detector=None, engine=engine, flip=flip, padding=1.0)
    boxes = [Boxes(person.xywh[None], np.ones(1)) for person in people]
    start = time.perf_counter()
    poses = predictor.predict([person.image for person in people], boxes)
    seconds = time.perf_counter() - start
    truth = np.stack([person.xy for person in people])
    visible = np.stack([person.visible for person in people])
    keypoints = predictor.skeleton.keypoints
    length = torso_length(
        truth, visible, keypoints.index("left_shoulder"), keypoints.index("right_hip")
    )
    found = np.concatenate([p.xy for p in poses])
    joints = pck(distances(found, truth, visible, length), 0.2)
    return {
        "people": len(people),
        "pck@0.2, 12 limb joints": round(float(joints[:LIMB_JOINTS].mean()), 2),
        "pck@0.2, 14 joints": round(float(joints.mean()), 2),
        "each": dict(zip(keypoints, joints.round(1).tolist(), strict=True)),
        "people_per_s": round(len(people) / seconds, 1),
        "flip": flip,
        **machine(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), *sys.argv[2:3] or ["lsp14"]), indent=1))
