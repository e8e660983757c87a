"""Training on one's own data: the recipe that goes on from a trained model's, and what to mind."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poised.checkpoint import find_weights, read_tensors
from poised.datasets import DatasetError, names_of, read_people
from poised.datasets.categories import doubts_about
from poised.evaluate import usual_split
from poised.read_recipe import RecipeError, changed, validated
from poised.recipe import Recipe
from poised.types import Skeleton

KEPT = {  # of the trained model's recipe: what its weights have learnt to see and to say
    "network": ("name", "options"),
    "input": None,
    "target": ("loss", "sigma", "kind", "absent"),
    "augment": None,
    "export": ("padding", "decoder", "size", "precision"),
}
OPTIMISE = {"lr": 3e-4, "backbone": 0.15, "batch": 16, "weight_decay": 0.01}  # as coco17's


def own_recipe(
    weights: str,
    dataset: str,
    root: Path,
    split: str,
    skeleton: str | None = None,
    overrides: Sequence[str] = (),
) -> Recipe:
    """A recipe that starts from weights (a bundled model's name, or a file), for other data.

    Network, input, target, augmentation and export are those of the recipe within the weights.
    skeleton: what `Skeleton.load` reads; None: what the data set's own files name. The recipe is
    called as the skeleton's file, or else the data's folder; `overrides` are set on it. Raises
    RecipeError where the weights have no recipe of a pose network.
    """
    notes = read_tensors(find_weights(weights))[1]
    if "recipe" not in notes:
        raise RecipeError(
            f"{weights} has no recipe within it: take a bundled model's name, weights that "
            "`poised train` wrote, or import them with --recipe"
        )
    whole = validated(notes["recipe"], f"{weights}, the recipe within it")
    if whole.detects:
        raise RecipeError(f"{weights} is a detector; a pose network is trained on from here")
    values: dict[str, Any] = whole.model_dump(mode="json", include=set(KEPT))
    for part, fields in KEPT.items():
        if fields is not None:
            values[part] = {name: values[part][name] for name in fields}
    values["network"]["weights"] = weights
    values["name"] = Path(skeleton).stem if skeleton else root.resolve().name
    values["skeleton"] = skeleton or names_of(dataset, root, split)
    values["dataset"] = {"name": dataset, "root": str(root), "train": split}
    values["optimise"] = dict(OPTIMISE)
    values["test"] = {"split": usual_split(dataset)}
    return changed(values, overrides, f"a recipe from {weights}")


def doubts(recipe: Recipe) -> list[str]:
    """What may be wrong with a pose recipe's skeleton and parts: a line each."""
    if recipe.skeleton is None:
        return []
    return [*doubts_about(Skeleton.load(recipe.skeleton)), *_of_the_test(recipe)]


def _of_the_test(recipe: Recipe) -> list[str]:
    """Whether there is a part to test on, whose images are not trained on."""
    own, test = recipe.dataset, recipe.test.split
    hold = "hold some images back, and name them: test.split=PART"
    try:
        images = _images(recipe, test)
    except (DatasetError, FileNotFoundError):
        return [f"{own.root}: no part {test!r} to test on; {hold}"]
    both = len(images & _images(recipe, own.train))
    if not both:
        return []
    return [
        f"{own.root}: {both} of {len(images)} images of {test!r}, to be tested on, are trained on: "
        f"figures from them say nothing; {hold}"
    ]


def _images(recipe: Recipe, split: str) -> set[Path]:
    """Those of a part; what its reader fills in is not said here, it is said in training."""
    reader = logging.getLogger("poised.datasets")
    before = reader.level
    reader.setLevel(logging.ERROR)
    try:
        people, _ = read_people(recipe.dataset.name, recipe.dataset.root, split, recipe.skeleton)
    finally:
        reader.setLevel(before)
    return {person.image for person in people}
