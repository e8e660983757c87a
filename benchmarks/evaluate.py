"""How long do figures take? COCO's against pycocotools' on one made-up set, PCK, and reading.

python benchmarks/evaluate.py [images]     needs poised[train], pycocotools

20,000 images with 60,000 predictions, PCK of 100,000 people, an annotation file of 150,000.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine

from poised.datasets.coco import read_coco
from poised.metrics.coco import oks_figures
from poised.metrics.pck import distances, pck
from poised.types import Skeleton

K = 17


def made_up(images: int, people: int, rng: np.random.Generator) -> dict[str, Any]:
    xy = rng.uniform(0, 600, (people, 1, 2)) + rng.uniform(0, 150, (people, K, 2))
    seen = rng.integers(0, 3, (people, K, 1))
    low, high = xy.min(1), xy.max(1)
    triples = np.concatenate([xy * (seen > 0), seen], 2).reshape(people, -1).round(1)
    where = rng.integers(1, images + 1, people)
    annotations = [
        {
            "id": i + 1,
            "image_id": int(where[i]),
            "category_id": 1,
            "iscrowd": 0,
            "bbox": [*low[i].tolist(), *(high[i] - low[i]).tolist()],
            "area": float((high[i] - low[i]).prod() * 0.53),
            "num_keypoints": int((seen[i] > 0).sum()),
            "keypoints": triples[i].tolist(),
        }
        for i in range(people)
    ]
    files = [{"id": i + 1, "file_name": f"{i + 1:012d}.jpg"} for i in range(images)]
    return {"images": files, "annotations": annotations, "categories": [{"id": 1, "name": "p"}]}


def jittered(truth: dict[str, Any], rng: np.random.Generator) -> list[dict[str, Any]]:
    results = []
    for annotation in truth["annotations"]:
        triples = np.array(annotation["keypoints"]).reshape(-1, 3)
        triples[:, :2] += rng.normal(0, 10, (K, 2))
        triples[:, 2] = 1
        results.append(
            {
                "image_id": annotation["image_id"],
                "category_id": 1,
                "keypoints": triples.ravel().round(1).tolist(),
                "score": float(rng.random()),
            }
        )
    return results


def official(truth: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        labels = COCO()
        labels.dataset = truth
        labels.createIndex()
        evaluator = COCOeval(labels, labels.loadRes(results), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return list(evaluator.stats)


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    rng = np.random.default_rng(0)
    truth = made_up(images, 3 * images, rng)
    results = jittered(truth, rng)
    start = time.perf_counter()
    ours = list(oks_figures(truth, results, Skeleton.load("coco17").sigmas).values())
    ours_s = time.perf_counter() - start
    copies = copy.deepcopy((truth, results))  # the official code writes into what it is given
    start = time.perf_counter()
    theirs = official(*copies)
    theirs_s = time.perf_counter() - start
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    xy = rng.normal(size=(100_000, 16, 2))
    start = time.perf_counter()
    apart = distances(xy, np.zeros_like(xy), np.ones(xy.shape[:2], bool), np.ones(len(xy)))
    pck(apart, np.linspace(0, 0.5, 51).tolist())
    pck_s = time.perf_counter() - start
    del copies, results, xy, apart
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.json"
        path.write_text(json.dumps(made_up(60_000, 150_000, rng)))
        start = time.perf_counter()
        people = read_coco(Path(folder), "train.json")
        read_s = time.perf_counter() - start
    row = {
        "what": f"OKS figures of {images} images, {3 * images} predictions",
        "poised_s": round(ours_s, 2),
        "pycocotools_s": round(theirs_s, 2),
        "ratio": round(theirs_s / ours_s, 1),
        "pck_100000_people_51_limits_s": round(pck_s, 2),
        "read_150000_people_s": round(read_s, 2),
        "people": len(people),
        "peak_gib_of_all": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        **machine(),
    }
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
