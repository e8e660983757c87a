"""Weights on the test split of their recipe, by its own metric and protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.datasets import read_people
from poised.datasets.person import anybody_labelled
from poised.draw import draw_poses
from poised.estimate import Estimator
from poised.evaluate import TOTAL, evaluate_model, sure_boxes
from poised.images import read_image
from poised.metrics.evaluation import Evaluation, check_heads
from poised.predict import Predictor
from poised.protocol import Protocol
from poised.recipe import Recipe, Test

SHOWN = 4  # people in the picture of predictions
SIDE = 256  # its height in pixels


def load_tester(models: Path | Sequence[str | Path], test: Test, **how: Any) -> Predictor:
    """The predictor of models that figures are made with. how: the rest of `Predictor.load`'s."""
    poses = None if test.pose_nms is None else (test.pose_nms, test.pose_nms_threshold)
    rescore = Protocol().rescore if test.rescore is None else test.rescore
    protocol = Protocol(
        test.shift, test.scales, test.decoder, rescore, poses, counted=test.threshold
    )
    predictor = Predictor.load(models, protocol=protocol, **how)
    if isinstance(predictor.estimator, Estimator):
        predictor.estimator.padding *= test.enlarge
    return predictor


def evaluate_recipe(
    recipe: Recipe,
    weights: Path,
    boxes: Any = "truth",
    root: Path | None = None,
    write_to: Path | None = None,
) -> Evaluation:
    """The evaluation of a recipe's model on its test split, in its protocol.

    weights: .safetensors, run by torch, on the GPU if there is one; or an ONNX file. boxes: see
    `evaluate_model`; root: of the data, where it is not the recipe's; write_to: a results file.
    """
    test, name = recipe.test, recipe.dataset.name
    if boxes == "truth" and test.boxes == "image":
        boxes = "image"
    detector = "person" if boxes == "detector" else None
    predictor = load_tester(weights, test, detector=detector, flip=test.flip)
    return evaluate_model(
        predictor,
        name,
        root or recipe.dataset.root,
        test.split,
        boxes,
        nms=(test.nms, test.nms_threshold),
        skeleton=recipe.skeleton,
        crowd=test.crowd,
        write_to=write_to,
    )


def main_figure(dataset: str) -> str:
    """The name of the one figure that a data set's papers go by."""
    return TOTAL.get(dataset, "AP")


def validate(
    weights: Path, recipe: Recipe, show: Callable[[NDArray[np.uint8]], None]
) -> dict[str, float]:
    """The figures of weights on the test split, with annotated boxes; the main one first.

    show: gets a picture of the first people with their predicted joints.
    """
    done = evaluate_recipe(recipe, weights)
    main = main_figure(recipe.dataset.name)
    show(_picture(done))
    rest = {name: value for name, value in done.figures.items() if name != main}
    return {main: done.figures[main], **rest}


def check_validation(recipe: Recipe) -> None:
    """Raise ValueError where the test split holds nobody to score, before hours are spent."""
    if recipe.detects:
        raise ValueError("optimise.validate_every: a detector's training has no validation")
    own = recipe.dataset
    people, _ = read_people(own.name, own.root, recipe.test.split, recipe.skeleton)
    if not anybody_labelled(people):
        raise ValueError(
            f"optimise.validate_every: nobody is annotated in {recipe.test.split} of {own.root}: "
            "name another part by test.split"
        )
    check_heads(own.name, people)


def _picture(done: Evaluation) -> NDArray[np.uint8]:
    """The first people of the test split side by side, each drawn in their image."""
    predictor = done.predictor
    assert predictor is not None  # of a model's evaluation
    some = done.matched.people[:SHOWN]
    images = [read_image(person.image) for person in some]
    boxes = [sure_boxes(person.xywh[None]) for person in some]
    drawn = [
        draw_poses(image, poses, predictor.threshold)
        for image, poses in zip(images, predictor.predict(images, boxes), strict=True)
    ]
    sizes = [(max(1, round(SIDE * one.shape[1] / one.shape[0])), SIDE) for one in drawn]
    return np.hstack([cv2.resize(one, size) for one, size in zip(drawn, sizes, strict=True)])
