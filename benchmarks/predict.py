"""How near does a prediction come to what its networks alone allow?

python benchmarks/predict.py network                          our sessions, OpenVINO's benchmark_app
python benchmarks/predict.py people ../shared/data/coco2017   given boxes, ResNet-50: end to end
python benchmarks/predict.py memory ../shared/data/coco2017   of 1,000 images and of 20,000
python benchmarks/predict.py one-core ../shared/data/coco2017

Rates are taken in turn in one run; ratios are of the medians of ROUNDS rounds. `people` needs
poised[train].
"""

from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from common import machine

from poised.at_once import in_order, workers
from poised.datasets import read_people
from poised.images import read_image, write_jpeg
from poised.predict import Predictor
from poised.runtime import Session
from poised.types import Boxes

ROUNDS, SECONDS = 3, 5.0
MODELS = (("coco17", 1), ("coco17", 4), ("coco17", 32), ("coco17-small", 4), ("person", 1))
SPLIT = "val2017"


def rates(ways: dict[str, Callable[[], float]]) -> dict[str, float]:
    """Each way's median rate; they take turns."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            taken[name].append(way())
    return {name: round(statistics.median(values), 2) for name, values in taken.items()}


def alone(session: Session, batch: int) -> float:
    """Images a second of a network by as many callers as it has, each for about SECONDS."""
    streamed = session.streamed()
    width, height = session.metadata["input_wh"]
    images = np.random.default_rng(0).random((batch, 3, height, width), np.float32)
    with workers(streamed.callers) as pool:

        def timed(calls: int) -> float:
            start = time.perf_counter()
            for _ in in_order(
                pool, lambda _: streamed.run(images), range(calls), 2 * streamed.callers
            ):
                pass
            return time.perf_counter() - start

        timed(streamed.callers)  # compiles
        rounds = max(2, round(SECONDS / timed(streamed.callers)))
        calls = rounds * streamed.callers
        return calls * batch / timed(calls)


def network() -> dict[str, Any]:
    """The bundled models, by our sessions and by benchmark_app."""
    found = {}
    for model, batch in MODELS:
        session = Session(model, "openvino")
        width, height = session.metadata["input_wh"]
        command = [str(Path(sys.executable).with_name("benchmark_app")), "-m", str(session.path)]
        command += ["-d", "CPU", "-hint", "throughput", "-t", str(int(SECONDS))]
        command += ["-shape", f"[{batch},3,{height},{width}]"]

        ours, theirs = partial(alone, session, batch), partial(throughput, command)
        rate = rates({"ours": ours, "benchmark_app": theirs})
        found[f"{model}, batch {batch}"] = rate | share(rate, "ours", "benchmark_app")
    return found


def throughput(command: list[str]) -> float:
    """Images a second, as benchmark_app says."""
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Throughput:\s+([\d.]+)", told)
    assert found is not None, told
    return float(found[1])


def share(rate: dict[str, float], ours: str, theirs: str) -> dict[str, float]:
    return {f"{ours} / {theirs}": round(rate[ours] / rate[theirs], 3)}


def people(root: Path, count: int = 1000) -> dict[str, Any]:
    """Simple Baseline with ResNet-50 at 192x256, no flip, of people in their given boxes."""
    with tempfile.TemporaryDirectory() as folder:
        file = random_weights("efafnet-sbn", Path(folder))
        predictor = Predictor.load(file, detector=None, engine="openvino", flip=False)
    images, given = given_boxes(root, count)

    def whole() -> float:
        start = time.perf_counter()
        done = sum(len(result.poses) for result in predictor.stream(images, given))
        return done / (time.perf_counter() - start)

    def loop() -> float:
        """A third of them, one person a call, a call after another that has all cores."""
        start, done = time.perf_counter(), 0
        for path, boxes in islice(zip(images, given, strict=True), len(images) // 3):
            image = read_image(path)
            for row in range(len(boxes)):
                one = Boxes(boxes.xywh[row : row + 1], boxes.score[row : row + 1])
                done += len(predictor.predict(image, one))
        return done / (time.perf_counter() - start)

    network = partial(alone, predictor.estimator.session, predictor.batch)
    rate = rates({"end to end": whole, "network": network, "loop": loop})
    return rate | share(rate, "end to end", "network") | share(rate, "end to end", "loop")


def random_weights(name: str, folder: Path) -> Path:
    """A recipe's network as ONNX, as it is before any training."""
    import torch

    from poised.checkpoint import describe_network, save_tensors
    from poised.export import export_onnx
    from poised.nets import build
    from poised.read_recipe import load_recipe

    torch.manual_seed(0)
    recipe = load_recipe(name, ["network.weights=null"])
    described = describe_network(recipe, 17)
    weights = folder / f"{name}.safetensors"
    save_tensors(weights, build(**described).state_dict(), {"network": described})
    return export_onnx(weights, folder / f"{name}.onnx", recipe=recipe)


def given_boxes(root: Path, count: int) -> tuple[list[Path], list[Boxes]]:
    """Images of the data set, in turn, till `count` people are in them."""
    boxes: dict[Path, list[Any]] = {}
    for person in read_people("coco", root, SPLIT)[0]:
        boxes.setdefault(person.image, []).append(person.xywh)
    images, given, total = [], [], 0
    for image, rows in cycle(boxes.items()):
        if total >= count:
            return images, given
        images.append(image)
        given.append(Boxes(np.array(rows), np.ones(len(rows))))
        total += len(rows)
    return images, given


def memory(root: Path) -> dict[str, Any]:
    """Peak memory of `poised predict`, given the whole image as box, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        jpegs = as_jpegs(root, Path(folder, "once"), 100)
        found = {}
        for count in (1000, 20000):
            many = Path(folder, str(count))
            many.mkdir()
            for number, file in enumerate(islice(cycle(jpegs), count)):
                (many / f"{number:06}.jpg").symlink_to(file)
            found[f"{count} images"] = peak(
                ["predict", str(many), "--out", f"{folder}/{count}-out"]
            )
    return found | {"growth": round(found["20000 images"] / found["1000 images"], 3)}


def peak(command: list[str]) -> float:
    """Of a child process that runs a light prediction, in MB."""
    light = ["--whole-image", "--no-flip", "--no-draw", "--model", "coco17-small"]
    code = (
        "import resource, sys; from poised.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    said = subprocess.run([sys.executable, "-c", code, *command, *light], capture_output=True,
                          text=True, check=True).stdout  # fmt: skip
    return round(int(said.split()[-1]) / 1024, 1)


def one_core(root: Path) -> dict[str, Any]:
    """CPU seconds by wall seconds of `--threads 1`, on a machine that may be busy: at most 1."""
    with tempfile.TemporaryDirectory() as folder:
        jpegs = as_jpegs(root, Path(folder, "once"), 100)
        command = [
            sys.executable,
            "-m",
            "poised",
            "predict",
            str(jpegs[0].parent),
            "--threads",
            "1",
        ]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run([*command, "--out", f"{folder}/out"], check=True, capture_output=True)
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - start
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "cpu_seconds": round(used, 1),
        "wall_seconds": round(wall, 1),
        "used": round(used / wall, 2),
    }


def as_jpegs(root: Path, folder: Path, count: int) -> list[Path]:
    """Images of the data set as JPEG files."""
    images = sorted({person.image for person in read_people("coco", root, SPLIT)[0]})[:count]
    for image in images:
        write_jpeg(folder / f"{image.stem}.jpg", read_image(image))
    return sorted(folder.iterdir())


def main() -> None:
    what, *rest = sys.argv[1:]
    known: dict[str, Callable[..., dict[str, Any]]] = {
        "network": network, "people": people, "memory": memory, "one-core": one_core
    }  # fmt: skip
    found = known[what](*map(Path, rest))
    print(json.dumps(found | machine(), indent=1))


if __name__ == "__main__":
    main()
