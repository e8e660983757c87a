"""How good and how fast are pose models? AP on labelled COCO people, and people a second.

python benchmarks/pose.py ../shared/data/coco2017 coco17 coco17-small [FILE ...] [--threads 2]

OKS AP of val2017 with annotated boxes, flip, each model's own crop; people a second by OpenVINO on
one thread, or more, at batch 32 (or the file's own), the network alone without flip. The models
take turns, and the best of five rounds counts, so that what else the machine does weighs on all.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from common import machine

from poised.estimate import Estimator
from poised.evaluate import evaluate_model
from poised.openvino_model import numbers_of
from poised.predict import Predictor

BATCH, ROUNDS = 32, 5


def noise(estimator: Estimator) -> np.ndarray:
    """A batch of its input's shape."""
    width, height = estimator.size
    batch = estimator.session.input_shape[0] or BATCH
    return np.random.default_rng(0).random((batch, 3, height, width), np.float32)


def people_a_second(estimators: list[Estimator]) -> list[tuple[float, float]]:
    """Of each one's network: by the clock, and by the time that all its threads had a core."""
    inputs = [noise(estimator) for estimator in estimators]
    best = np.zeros((len(estimators), 2))
    for _ in range(ROUNDS + 1):  # the first one warms up
        for index, (estimator, images) in enumerate(zip(estimators, inputs, strict=True)):
            start, used = time.perf_counter(), time.process_time()
            estimator.session.run(images)
            took = time.perf_counter() - start, time.process_time() - used
            best[index] = np.maximum(best[index], len(images) / np.array(took))
    return [(float(clock), float(cpu)) for clock, cpu in best]


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("data", type=Path)
    asked.add_argument("models", nargs="+")
    asked.add_argument("--threads", type=int, default=1)
    asked.add_argument("--split", default="val2017")
    options = asked.parse_args()
    predictors = [
        Predictor.load(model, detector=None, engine="openvino", threads=options.threads)
        for model in options.models
    ]
    rates = people_a_second([predictor.estimator for predictor in predictors])
    for predictor, rate in zip(predictors, rates, strict=True):
        done = evaluate_model(predictor, "coco", options.data, options.split, "truth")
        session = predictor.estimator.session
        size = numbers_of(session.path).stat().st_size
        row = {"model": session.path.name, "MB": round(size / 1e6, 2)}
        row |= {name: round(done.figures[name], 1) for name in ("AP", "AP.5", "AP.75", "AR")}
        row |= {"split": options.split, "threads": options.threads}
        for name, mine, first in zip(("second", "cpu_second"), rate, rates[0], strict=True):
            row[f"people_a_{name}"] = round(mine, 1)
            row[f"to_the_first_a_{name}"] = round(mine / first, 2)
        print(json.dumps(row | machine()), flush=True)


if __name__ == "__main__":
    main()
