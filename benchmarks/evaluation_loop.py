"""How much CPU time does evaluating take beside a plain loop, the way of HRNet's public test code?

python benchmarks/evaluation_loop.py ../shared/data/coco [images]     needs poised[train]

The loop, written here: one person a step, its image read anew, cut, normalised, through the network
in torch and again mirrored, decoded and scored in Python's loops. Both take the annotated boxes,
networks of random weights and one thread, and are scored by one evaluator. The share of keypoints
on which they agree to 0.1 pixel is printed: not all, as such a network's maps have many peaks
nearly alike, and the installed OpenCV may read and cut otherwise. CPU seconds, not the clock's.

Beside HRNet's own loop, run unchanged on 100 images of COCO, an independent measurement had Simple
Baseline-50 2.3 times as fast by OpenVINO and 1.02 times by torch, HRNet-W32 3.7 times by OpenVINO.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import machine
from decode import SIZE, looped
from torch import nn

from poised.checkpoint import describe_network, save_tensors
from poised.crops import clean_boxes
from poised.datasets import Person, read_with_truth
from poised.evaluate import evaluate_model
from poised.export import export_onnx
from poised.metrics.evaluation import score_results
from poised.nets import build
from poised.predict import Predictor
from poised.protocol import Protocol
from poised.read_recipe import load_recipe
from poised.recipe import Recipe
from poised.types import Skeleton

SCORED, ALIKE = 0.2, 0.9  # keypoint scores that count, OKS above which poses are one person's


def cpu_seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


def random_model(recipe: Recipe, folder: Path) -> tuple[nn.Module, Path]:
    """The recipe's network, its batch norms set by two passes, and its ONNX file (fp32)."""
    torch.manual_seed(0)
    kind = describe_network(recipe, len(Skeleton.load("coco17")))
    network = build(**kind).train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.randn(4, 3, SIZE[1], SIZE[0]))
    weights = folder / f"{recipe.name}.safetensors"
    notes = {"network": kind, "recipe": recipe.model_dump(mode="json")}
    save_tensors(weights, network.state_dict(), notes)
    return network.eval(), export_onnx(weights, weights.with_suffix(".onnx"), halve=False)


def loop(network: nn.Module, recipe: Recipe, people: list[Person]) -> list[dict[str, Any]]:
    """Each person alone; then each image's poses, the better of two alike kept."""
    skeleton = Skeleton.load("coco17")
    found: dict[int, list[tuple[float, np.ndarray, float]]] = {}
    for person in people:
        image = cv2.cvtColor(cv2.imread(str(person.image)), cv2.COLOR_BGR2RGB)
        box = clean_boxes(person.xywh[None], np.array([image.shape[1::-1]]))[0]
        side = max(box[2], box[3] * SIZE[0] / SIZE[1]) * recipe.input.padding
        centre = box[:2] + box[2:] / 2
        there = np.float32([centre, centre - [side / 2, 0], centre - [side / 2, side / 2]])
        middle = np.float32(SIZE) / 2
        here = np.float32([middle, middle - [middle[0], 0], middle - middle[0]])
        crop = cv2.warpAffine(image, cv2.getAffineTransform(there, here), SIZE)
        normal = (np.float32(crop) - recipe.input.mean) / recipe.input.std
        tensor = torch.from_numpy(np.float32(normal).transpose(2, 0, 1)[None].copy())
        with torch.inference_mode():
            maps = network(tensor)[-1].numpy()
            back = network(tensor.flip(3))[-1].numpy()[..., ::-1].copy()
        for left, right in skeleton.pairs:
            back[:, [left, right]] = back[:, [right, left]]
        back[..., 1:] = back[..., :-1].copy()
        maps = (maps + back) / 2
        xy, top = looped(maps, box[None])[0], maps.max((2, 3))[0]
        counted = [score for score in top if score > SCORED]
        score = float(sum(counted) / len(counted)) if counted else 0.0
        pose = np.concatenate([xy, top[:, None]], 1)
        area = side * side * SIZE[1] / SIZE[0]
        found.setdefault(person.image_id, []).append((score, pose, float(area)))
    results = []
    for image_id, poses in found.items():
        kept: list[tuple[float, np.ndarray, float]] = []
        for score, pose, area in sorted(poses, key=lambda each: -each[0]):
            if all(
                _oks(pose, other, (area + size) / 2, skeleton) <= ALIKE for _, other, size in kept
            ):
                kept.append((score, pose, area))
        for score, pose, _ in kept:
            one = {"image_id": image_id, "category_id": 1, "score": score}
            results.append({**one, "keypoints": pose.ravel().tolist()})
    return results


def _oks(a: np.ndarray, b: np.ndarray, area: float, skeleton: Skeleton) -> float:
    total = 0.0
    for k, sigma in enumerate(skeleton.sigmas):
        squared = (a[k, 0] - b[k, 0]) ** 2 + (a[k, 1] - b[k, 1]) ** 2
        total += np.exp(-squared / (2 * sigma) ** 2 / area / 2)
    return total / len(skeleton)


def agreement(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> float:
    """The share of keypoints that a pose of the other's in its image has within 0.1 pixel."""
    alike = []
    for pose in ours:
        xy = np.reshape(pose["keypoints"], (-1, 3))[:, :2]
        same = [o for o in theirs if o["image_id"] == pose["image_id"]]
        others = np.array([np.reshape(o["keypoints"], (-1, 3))[:, :2] for o in same])
        alike.append((np.abs(others - xy).max(2) < 0.1).mean(1).max() if same else 0.0)
    return float(np.mean(alike))


def measure(recipe: Recipe, root: Path, split: str, folder: Path) -> dict[str, object]:
    network, model = random_model(recipe, folder)
    test = recipe.test
    nms = None if test.pose_nms is None else (test.pose_nms, test.pose_nms_threshold)
    protocol = Protocol(test.shift, test.scales, test.decoder, bool(test.rescore), nms, public=True)

    def plain() -> list[dict[str, Any]]:
        people, skeleton, truth, _ = read_with_truth("coco", root, split)
        results = loop(network, recipe, [p for p in people if not p.ignored])
        score_results("coco", skeleton, truth, people, results, {}, list(range(17)))
        return results

    row: dict[str, object] = {"network": recipe.name}
    loop_s, theirs = cpu_seconds(plain)
    row["loop_cpu_s"] = round(loop_s, 2)
    for engine in ("torch", "openvino"):
        predictor = Predictor.load(
            model, detector=None, engine=engine, threads=1, protocol=protocol
        )
        out = folder / f"{engine}.json"
        ours_s, _ = cpu_seconds(
            lambda p=predictor, o=out: evaluate_model(p, "coco", root, split, write_to=o)
        )
        row |= {f"{engine}_cpu_s": round(ours_s, 2), f"{engine}_ratio": round(loop_s / ours_s, 2)}
        row[f"{engine}_agrees"] = round(agreement(json.loads(out.read_text()), theirs), 4)
    return row


def main() -> None:
    root, count = Path(sys.argv[1]).resolve(), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    labels = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    images = labels["images"][:count]
    chosen = {image["id"] for image in images}
    people = [a for a in labels["annotations"] if a["image_id"] in chosen]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").symlink_to(root / "val2017")
        few = {**labels, "images": images, "annotations": people}
        (folder / "few.json").write_text(json.dumps(few))
        print(json.dumps({"images": len(images), "people": len(people), **machine()}))
        for recipe in ("csanet-sbn", "hrnet-w32"):
            print(json.dumps(measure(load_recipe(recipe), folder, "few.json", folder)), flush=True)


if __name__ == "__main__":
    main()
