"""What the training loop draws: crops with heatmaps, or mosaics with a teacher's labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from poised.datasets import Person, read_people, renamed, same_joints
from poised.datasets.mosaics import Mosaics
from poised.datasets.person import anybody_labelled
from poised.datasets.poses import PoseCrops
from poised.recipe import Dataset, Recipe

Batch = Sequence[Tensor]  # the crops first, uint8 (N, H, W, 3)


class Samples(Protocol):
    """A data set in training: drawn by (epoch, index), so that a resumed run draws the same."""

    channels: int  # that the network must give

    def __len__(self) -> int: ...

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, ...]: ...

    def images(self, batch: Batch) -> Tensor:
        """The network's input: float32 (N, 3, H, W) on the batch's device, channels-last."""
        ...

    def loss(self, outputs: tuple[Tensor, ...], batch: Batch, network: nn.Module) -> Tensor: ...


def open_samples(recipe: Recipe) -> Samples:
    """The training parts of a recipe's data sets."""
    torch.set_float32_matmul_precision("high")
    if recipe.detects:
        return Mosaics(recipe)
    own = recipe.dataset
    everybody, skeleton = read_people(own.name, own.root, own.train, recipe.skeleton)
    pairs: list[tuple[Person, Dataset]] = [(person, own) for person in everybody * own.times]
    for also in own.also:
        more, theirs = read_people(also.name, also.root, also.train)
        ours = renamed(more, theirs, skeleton, {**same_joints(theirs, skeleton), **also.rename})
        if not anybody_labelled(ours):
            raise ValueError(f"{also.root}: of {theirs.name} nothing is labelled that is trained")
        pairs += [(person, also) for person in ours * also.times]
    kept = [(person, source) for person, source in pairs if not person.ignored]
    if not kept:
        raise ValueError(f"{own.root}: nobody to train on in {own.train}")
    people, sources = zip(*kept, strict=True)
    return PoseCrops(people, skeleton, recipe, sources)
