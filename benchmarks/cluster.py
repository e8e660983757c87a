"""What does a Ray Data job cost beside the same prediction on the same cores?

python benchmarks/cluster.py ../shared/data/coco2017 [DOLLARS]      needs poised[ray]

IMAGES images of val2017 by `Predictor.stream`, and by `cluster.predict` with a worker a core; they
take turns, medians of ROUNDS rounds. Counted is what was done after each worker's first part: its
start is not. Then what a million and a billion images take of machines of 16 cores: core hours, and
dollars at DOLLARS a core and hour (0.04 unless given: a usual list price of rented cores; ask
yours).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from common import machine
from predict import as_jpegs

from poised import cluster
from poised.at_once import cores
from poised.predict import Predictor

ROUNDS, IMAGES, PART = 2, 192, 16
PRICE = 0.04  # dollars a core and hour


class Timed(cluster.Worker):
    """Notes who ended a part when."""

    marks: Path

    def __call__(self, batch: dict[str, Any]) -> Any:
        table = super().__call__(batch)
        with self.marks.open("a") as file:
            file.write(f"{os.getpid()} {time.time()}\n")
        return table


def rate_of(marks: Path) -> float:
    """Images a second from where every worker has done one part."""
    ended: dict[str, list[float]] = {}
    for line in marks.read_text().splitlines():
        worker, when = line.split()
        ended.setdefault(worker, []).append(float(when))
    begun = max(times[0] for times in ended.values())
    later = [when for times in ended.values() for when in times if when > begun]
    return len(later) * PART / (max(later) - begun)


def main() -> None:
    root, price = Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else PRICE
    cluster.Worker, cluster.PART = Timed, PART  # so that all workers have several
    predictor, count = Predictor.load(threads=cores()), cores()
    worker = Predictor.load(threads=1)
    ray.init(num_cpus=count + 1, include_dashboard=False, object_store_memory=200 * 2**20)
    local, by_ray = [], []
    with tempfile.TemporaryDirectory() as folder:
        images = as_jpegs(root, Path(folder, "in"), IMAGES)
        list(predictor.stream(images[:PART]))  # compiles
        for number in range(ROUNDS):
            start = time.perf_counter()
            assert sum(1 for _ in predictor.stream(images)) == len(images)
            local.append(len(images) / (time.perf_counter() - start))
            Timed.marks = Path(folder, f"marks-{number}")
            cluster.predict(f"{folder}/in", f"{folder}/out-{number}", worker, count)
            by_ray.append(rate_of(Timed.marks))
    rate = {"local": statistics.median(local), "ray": statistics.median(by_ray)}
    found: dict[str, Any] = {f"images_a_second_{name}": round(x, 2) for name, x in rate.items()}
    found["ray / local"] = round(rate["ray"] / rate["local"], 3)
    for name, many in (("million", 10**6), ("billion", 10**9)):
        hours = many * count / rate["ray"] / 3600
        found[name] = {"core_hours": round(hours), "dollars": round(hours * price)}
        found[name]["days_on_10_machines_of_16"] = round(hours / 160 / 24, 2)
    print(json.dumps(found | machine(), indent=1))


if __name__ == "__main__":
    main()
