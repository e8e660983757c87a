"""What the training loop draws: crops with heatmaps, or mosaics with boxes; and their losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from poised.datasets import Person, read_people
from poised.datasets.mosaics import BoxMosaics
from poised.datasets.poses import PoseCrops
from poised.recipe import Recipe
from poised.types import Skeleton

Batch = list[Tensor]  # the images first, float32 (N, 3, H, W)


class Samples(Protocol):
    """A data set in training: drawn by (epoch, index), so that a resumed run draws the same."""

    channels: int  # that the network must give

    def __len__(self) -> int: ...

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, ...]: ...

    def loss(self, outputs: tuple[Tensor, ...], batch: Batch, network: nn.Module) -> Tensor: ...


def open_samples(recipe: Recipe) -> Samples:
    """The training parts of a recipe's data sets."""
    torch.set_float32_matmul_precision("high")
    if recipe.target.loss == "centres":
        return BoxMosaics(recipe)
    everybody, skeleton = read_people(
        recipe.dataset.name, recipe.dataset.root, recipe.dataset.train, recipe.skeleton
    )
    for also in recipe.dataset.also:
        more, theirs = read_people(also.name, also.root, also.train)
        everybody += renamed(more, theirs, skeleton, also.rename)
    people = [person for person in everybody if not person.ignored]
    if not people:
        raise ValueError(f"{recipe.dataset.root}: nobody to train on in {recipe.dataset.train}")
    return PoseCrops(people, skeleton, recipe)


def renamed(
    people: Sequence[Person], theirs: Skeleton, ours: Skeleton, names: Mapping[str, str]
) -> list[Person]:
    """People of another skeleton with our keypoints, of the same name or as `names` says.

    What they do not have is unlabelled. Raises ValueError for a name that a skeleton lacks.
    """
    for their, our in names.items():
        if their not in theirs.keypoints or our not in ours.keypoints:
            raise ValueError(
                f"rename {their} to {our}: {theirs.name} has {', '.join(theirs.keypoints)}; "
                f"{ours.name} has {', '.join(ours.keypoints)}"
            )
    called = {names.get(name, name): index for index, name in enumerate(theirs.keypoints)}
    places = [k for k, name in enumerate(ours.keypoints) if name in called]
    source = [called[ours.keypoints[k]] for k in places]
    changed = []
    for person in people:
        xy = np.zeros((len(ours), 2))
        visible, occluded = np.zeros(len(ours), np.bool_), np.zeros(len(ours), np.bool_)
        xy[places], visible[places] = person.xy[source], person.visible[source]
        occluded[places] = person.occluded[source]
        changed.append(replace(person, xy=xy, visible=visible, occluded=occluded))
    return changed
