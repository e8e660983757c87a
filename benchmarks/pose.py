"""How good and how fast are pose models? AP on labelled COCO people, and people a second.

python benchmarks/pose.py ../shared/data/coco2017 coco17 coco17-small [FILE ...]

OKS AP of val2017 with annotated boxes, flip, each model's own crop; people a second by OpenVINO on
one thread at batch 32 (or the file's own), the network alone without flip. The models take turns,
and the best of five rounds counts, so that what else the machine does weighs on all of them.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from common import machine

from poised.estimate import Estimator
from poised.evaluate import evaluate_model
from poised.predict import Predictor

BATCH, ROUNDS = 32, 5


def noise(estimator: Estimator) -> np.ndarray:
    """A batch of its input's shape."""
    width, height = estimator.size
    batch = estimator.session.input_shape[0] or BATCH
    return np.random.default_rng(0).random((batch, 3, height, width), np.float32)


def people_a_second(estimators: list[Estimator]) -> list[float]:
    """Of each one's network."""
    inputs = [noise(estimator) for estimator in estimators]
    best = [0.0] * len(estimators)
    for _ in range(ROUNDS + 1):  # the first one warms up
        for index, (estimator, images) in enumerate(zip(estimators, inputs, strict=True)):
            start = time.perf_counter()
            estimator.session.run(images)
            best[index] = max(best[index], len(images) / (time.perf_counter() - start))
    return best


def main() -> None:
    root, models = Path(sys.argv[1]), sys.argv[2:]
    predictors = [
        Predictor.load(model, detector=None, engine="openvino", threads=1) for model in models
    ]
    rates = people_a_second([predictor.estimator for predictor in predictors])
    for predictor, rate in zip(predictors, rates, strict=True):
        done = evaluate_model(predictor, "coco", root, "val2017", "truth")
        file = predictor.estimator.session.path
        row = {"model": file.name, "MB": round(file.stat().st_size / 1e6, 2)}
        row |= {name: round(done.figures[name], 1) for name in ("AP", "AP.5", "AP.75", "AR")}
        row |= {"people_a_second": round(rate, 1), "to_the_first": round(rate / rates[0], 2)}
        print(json.dumps(row | machine()), flush=True)


if __name__ == "__main__":
    main()
