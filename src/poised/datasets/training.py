"""What the training loop draws: crops with heatmaps, or mosaics with a teacher's labels."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from poised.datasets import read_people, renamed
from poised.datasets.mosaics import Mosaics
from poised.datasets.poses import PoseCrops
from poised.recipe import Recipe

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
    if recipe.detects:
        return Mosaics(recipe)
    everybody, skeleton = read_people(
        recipe.dataset.name, recipe.dataset.root, recipe.dataset.train, recipe.skeleton
    )
    everybody = everybody * recipe.dataset.times
    paddings = [recipe.input.padding] * len(everybody)
    for also in recipe.dataset.also:
        more, theirs = read_people(also.name, also.root, also.train)
        everybody += renamed(more, theirs, skeleton, also.rename) * also.times
        paddings += [also.padding or recipe.input.padding] * (len(everybody) - len(paddings))
    kept = [index for index, person in enumerate(everybody) if not person.ignored]
    if not kept:
        raise ValueError(f"{recipe.dataset.root}: nobody to train on in {recipe.dataset.train}")
    people = [everybody[index] for index in kept]
    return PoseCrops(people, skeleton, recipe, [paddings[index] for index in kept])
