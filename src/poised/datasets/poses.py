"""Training samples of a pose network: augmented crops, their target heatmaps, joint weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from poised.augment import augmented_matrix, half_body_box, hide_a_part, jitter_colour, jitter_sides
from poised.crops import apply, crop_to_heatmap, cut, grown
from poised.datasets.person import Person
from poised.heatmaps import encode_gaussian
from poised.images import read_image
from poised.losses import mean_squared, softmax_cross_entropy
from poised.recipe import Recipe
from poised.types import Skeleton


class PoseCrops:
    """images (3, H, W), targets (K, h, w), weights (K,): 0 where invisible or outside the crop.

    With `target.absent` a joint outside the crop has weight 1 and an empty target.
    """

    def __init__(self, people: list[Person], skeleton: Skeleton, recipe: Recipe) -> None:
        self.people, self.skeleton, self.recipe = people, skeleton, recipe
        self.channels = len(skeleton)
        self.mean = np.array(recipe.input.mean, np.float32)
        self.std = np.array(recipe.input.std, np.float32)
        width, height = recipe.input.size
        self.heatmap_size = (width // recipe.input.stride, height // recipe.input.stride)

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, index = place
        rng = np.random.default_rng([self.recipe.optimise.seed, epoch, index])
        person, geometry, chance = self.people[index], self.recipe.input, self.recipe.augment
        xywh = None
        if rng.random() < chance.half_body:
            xywh = half_body_box(person.xy, person.visible, self.skeleton, rng)
        box = person.xywh if xywh is None else xywh
        if chance.sides:
            box = jitter_sides(box, chance.sides, rng)
        matrix, mirrored = augmented_matrix(
            box,
            geometry.size,
            rng,
            flip=chance.flip,
            rotate=chance.rotate,
            scale=chance.scale,
            shift=chance.shift,
            padding=geometry.padding,
            kind=geometry.crop,
        )
        inside = None if geometry.blacked is None else grown(box, geometry.blacked)
        crop = cut(read_image(person.image), matrix, geometry.size, geometry.crop, inside)
        crop = jitter_colour(crop, chance.colour, rng)
        if rng.random() < chance.patch:
            other = self.people[rng.integers(len(self.people))]
            hide_a_part(crop, read_image(other.image), rng)
        xy = crop_to_heatmap(
            apply(matrix[None], person.xy[None])[0], geometry.stride, geometry.crop
        )
        visible = person.visible
        if mirrored:  # the matrix has moved the points; their names follow
            xy, visible = xy[self.skeleton.flip_order], visible[self.skeleton.flip_order]
        within = ((xy >= -0.5) & (xy <= np.array(self.heatmap_size) - 0.5)).all(1)
        weights = visible if self.recipe.target.absent else visible & within
        targets = encode_gaussian(
            xy[None], (visible & within)[None], self.heatmap_size, self.recipe.target.sigma
        )[0]
        image = ((crop.astype(np.float32) - self.mean) / self.std).transpose(2, 0, 1)
        return (
            torch.from_numpy(np.ascontiguousarray(image)),
            torch.from_numpy(targets),
            torch.from_numpy(weights.astype(np.float32)),
        )

    def loss(self, outputs: tuple[Tensor, ...], batch: list[Tensor], network: nn.Module) -> Tensor:
        """The network's own loss, or one for each of its outputs."""
        _, targets, weights = batch
        if self.recipe.target.loss == "paper":
            own: Tensor = network.loss(outputs, targets, weights)  # type: ignore[operator]
            return own
        loss: Callable[[Tensor, Tensor, Tensor], Tensor] = mean_squared
        if self.recipe.target.loss == "softmax":
            loss = partial(softmax_cross_entropy, absent=self.recipe.target.absent)
        return torch.stack([loss(maps, targets, weights) for maps in outputs]).sum()
