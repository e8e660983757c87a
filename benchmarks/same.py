"""How far the poses of `data/samples` move with the threads and the people a network call.

    python benchmarks/same.py [MODEL]

A line an engine: keypoints in pixels, scores; against one thread and one person a call.
"""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
from common import machine

from poised import ImagePoses, Predictor
from poised.predict import Predicted
from poised.runtime import Engine

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
ENGINES: tuple[Engine, ...] = ("openvino", "onnx", "torch")


def poses(model: str, engine: Engine, threads: int, batch: int) -> list[ImagePoses]:
    """Of the samples, as `poised predict` walks them."""
    predictor = Predictor.load(model, engine=engine, threads=threads, batch=batch)
    sources = (path for path in sorted(SAMPLES.glob("*.[jp][pn]g")))  # of unknown number
    return [found.poses for found in predictor.stream(sources) if isinstance(found, Predicted)]


def main(model: str) -> None:
    for engine in ENGINES:
        want = poses(model, engine, 1, 1)
        moved = scored = 0.0
        for threads, batch in product((1, 2), (1, 4, 8)):
            for here, there in zip(poses(model, engine, threads, batch), want, strict=True):
                moved = max(moved, float(np.abs(here.xy - there.xy).max()))
                scores = np.abs(here.keypoint_score - there.keypoint_score)
                scored = max(scored, float(scores.max()))
        print(json.dumps({"model": model, "engine": engine, "pixels": moved, "scores": scored}))
    print(json.dumps(machine()))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "coco17")
