"""Photographs to poses, ours and others', with the same files of detector and pose model.

python benchmarks/rivals.py ../shared/data/coco2017 ../shared/models/rtmdet_nano_person.onnx [rates]

The pose model is `coco17` with a SimCC head made of its heatmaps, as rtmlib reads no other: its
maps' maxima along rows and columns, enlarged. rtmlib runs by each engine that it knows here, and so
do we; no flip, padding 1.25, as there. Then our defaults: `coco17`, `person`, flip. JPEG files, one
list of poses an image; images a second and COCO's AP on val2017. Rates are taken in turn in one
run, medians of ROUNDS rounds over IMAGES images; `rates`: no AP, which takes minutes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from common import machine
from onnx import TensorProto, helper, numpy_helper
from predict import as_jpegs, rates
from rtmlib import RTMDet, RTMPose

from poised.datasets import read_with_truth
from poised.metrics.coco import oks_figures
from poised.predict import Failure, Predictor
from poised.runtime import find_model

SPLIT, IMAGES = "val2017", 200
Poses = dict[int, list[tuple[Any, Any]]]  # by image: keypoints (K, 3) and a score


def with_simcc_head(folder: Path) -> tuple[Path, dict[str, Any]]:
    """`coco17` with vectors of half a crop pixel in place of maps, and how it is fed."""
    model = onnx.load(str(find_model("coco17")))
    notes = json.loads(next(p.value for p in model.metadata_props if p.key == "poised"))
    del model.metadata_props[:]  # now another's
    graph, maps = model.graph, model.graph.output[0].name
    factor = 2 * notes["stride"]
    for name, axis, scales in (("simcc_x", 2, [1, 1, factor]), ("simcc_y", 3, [1, 1, factor])):
        scale = numpy_helper.from_array(np.array(scales, np.float32), f"{name}.scales")
        graph.initializer.append(scale)
        graph.node.extend(
            [
                helper.make_node("ReduceMax", [maps], [f"{name}.max"], axes=[axis], keepdims=0),
                helper.make_node(
                    "Resize", [f"{name}.max", "", scale.name], [name], mode="linear",
                    coordinate_transformation_mode="half_pixel",
                ),
            ]
        )  # fmt: skip
    del graph.output[:]
    for name, side in zip(("simcc_x", "simcc_y"), notes["input_wh"], strict=True):
        graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 17, 2 * side])
        )
    onnx.checker.check_model(model)
    file = folder / "simcc.onnx"
    onnx.save(model, str(file))
    fed = {"skeleton": "coco17", "mean": notes["mean"], "std": notes["std"], "bgr": False}
    return file, fed


def by_rtmlib(
    files: list[Path], detector: Path, pose: Path, fed: dict[str, Any], engine: str
) -> Any:
    """A call that has everybody in the files by rtmlib; {image id: poses}."""
    find = RTMDet(str(detector), (640, 640), backend=engine)
    estimate = RTMPose(str(pose), (192, 256), fed["mean"], fed["std"], backend=engine)

    def run(count: int) -> Poses:
        found: Poses = {}
        for file in files[:count]:
            image = cv2.imread(str(file))
            boxes = find(image)
            if len(boxes):
                xy, score = estimate(np.ascontiguousarray(image[..., ::-1]), boxes)
                each = np.concatenate([xy, score[..., None]], 2)
                found[int(file.stem)] = [(one, one[:, 2].mean()) for one in each]
        return found

    return run


def by_us(files: list[Path], predictor: Predictor) -> Any:
    def run(count: int) -> Poses:
        found: Poses = {}
        for file, result in zip(files[:count], predictor.stream(files[:count]), strict=True):
            assert not isinstance(result, Failure), result.reason
            poses = result.poses
            each = np.concatenate([poses.xy, poses.keypoint_score[..., None]], 2)
            found[int(file.stem)] = list(zip(each, poses.score, strict=True))
        return found

    return run


def average_precision(poses: Poses, root: Path) -> float:
    """COCO's AP of the whole split, in percent."""
    _, skeleton, truth, _ = read_with_truth("coco", root, SPLIT)
    results = [
        {
            "image_id": image,
            "category_id": 1,
            "keypoints": np.asarray(keypoints, float).ravel().tolist(),
            "score": float(score),
        }
        for image, found in poses.items()
        for keypoints, score in found
    ]
    return round(100 * oks_figures(truth, results, skeleton.sigmas)["AP"], 1)


def main() -> None:
    root, detector = Path(sys.argv[1]), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        files = as_jpegs(root, Path(folder, "jpegs"), 500)
        pose, fed = with_simcc_head(Path(folder))
        ways: dict[str, Callable[[int], Poses]] = {}
        for engine, ours in (("openvino", "openvino"), ("onnxruntime", "onnx")):
            ways[f"rtmlib, {engine}"] = by_rtmlib(files, detector, pose, fed, engine)
            same = {
                "detector": detector,
                "engine": ours,
                "flip": False,
                "padding": 1.25,
                "min_score": 0.0,
                "min_joints": 0,
            }
            ways[f"poised, {engine}"] = by_us(files, Predictor.load(pose, **same, foreign=fed))
        ways["poised, its own models"] = by_us(files, Predictor.load())
        scored = ways if len(sys.argv) < 4 else {}
        precision = {name: average_precision(run(500), root) for name, run in scored.items()}
        rate = rates({name: partial(images_a_second, run) for name, run in ways.items()})
    best = max(value for name, value in rate.items() if name.startswith("rtmlib"))
    for name, value in rate.items():
        row = {"way": name, "AP": precision.get(name), "images_a_second": value}
        row["to_the_best_of_rtmlib"] = round(value / best, 2)
        print(json.dumps(row | machine()), flush=True)


def images_a_second(run: Callable[[int], Poses]) -> float:
    start = time.perf_counter()
    run(IMAGES)
    return IMAGES / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
