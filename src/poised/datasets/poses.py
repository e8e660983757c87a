"""Training samples of a pose network: augmented crops, their target heatmaps, joint weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poised.augment import augmented_matrix, half_body_box, hide_a_part, jitter_colour, jitter_sides
from poised.checkpoint import find_weights, load_network
from poised.crops import apply, clean_boxes, crop_to_heatmap, cut, grown
from poised.datasets.person import Person
from poised.heatmaps import Maps, encode_classic, encode_gaussian
from poised.images import read_image
from poised.losses import mean_squared, softmax_cross_entropy, taught_maps
from poised.recipe import Dataset, Recipe
from poised.types import Skeleton


class PoseCrops:
    """images (3, H, W), targets (K, h, w), weights (K,): 0 where invisible or outside the crop.

    A classic target also counts joints beyond the crop whose Gaussian reaches into it. With
    `target.absent` every joint outside the crop counts, with an empty target, and an unlabelled
    one as much as its data set's `nowhere`.

    sources: the data set that each person is of; None: the recipe's own.
    """

    def __init__(
        self,
        people: Sequence[Person],
        skeleton: Skeleton,
        recipe: Recipe,
        sources: Sequence[Dataset] | None = None,
    ) -> None:
        self.people, self.skeleton, self.recipe = people, skeleton, recipe
        self.teacher: nn.Module | None = None
        if recipe.target.model is not None:
            self.teacher = load_network(find_weights(recipe.target.model))
            self.teacher.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.sources = sources or [recipe.dataset] * len(people)
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
        picture = read_image(person.image)
        source = self.sources[index]
        padding = source.padding or geometry.padding
        box, matrix, mirrored = self._geometry(person, padding, picture.shape, rng)
        inside = None if geometry.blacked is None else grown(box, geometry.blacked)
        crop = cut(picture, matrix, geometry.size, geometry.crop, inside)
        crop = jitter_colour(crop, chance.colour, rng)
        if rng.random() < chance.patch:
            other = self.people[int(rng.integers(len(self.people)))]
            hide_a_part(crop, read_image(other.image), rng)
        xy, visible = apply(matrix[None], person.xy[None])[0], person.visible
        if mirrored:  # the matrix has moved the points; their names follow
            xy, visible = xy[self.skeleton.flip_order], visible[self.skeleton.flip_order]
        targets, weights = self._targets(xy[None], visible[None])
        if self.recipe.target.absent:
            weights = np.maximum(weights, source.nowhere)
        image = ((crop.astype(np.float32) - self.mean) / self.std).transpose(2, 0, 1)
        return (
            torch.from_numpy(np.ascontiguousarray(image)),
            torch.from_numpy(targets[0]),
            torch.from_numpy(weights[0].astype(np.float32)),
        )

    def _geometry(
        self,
        person: Person,
        padding: float,
        picture: tuple[int, ...],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
        """The box (4,) of the person or half of it, a random crop's matrix, whether it mirrors.

        padding: its box growth; picture: the image's shape, (height, width, 3).
        """
        geometry, chance = self.recipe.input, self.recipe.augment
        xywh = person.xywh
        if geometry.clean_boxes:
            cleaned = clean_boxes(xywh[None], np.array([picture[1::-1]]))[0]
            xywh = xywh if np.isnan(cleaned).any() else cleaned  # nobody is left out here
        if rng.random() < chance.half_body:
            half = half_body_box(person.xy, person.visible, self.skeleton, rng)
            if half is not None:
                xywh, padding = half, chance.half_body_padding
        if chance.sides:
            xywh = jitter_sides(xywh, chance.sides, rng)
        matrix, mirrored = augmented_matrix(
            xywh,
            geometry.size,
            rng,
            flip=chance.flip,
            rotate=chance.rotate,
            rotated=chance.rotated,
            scale=chance.scale,
            spread=chance.spread,
            shift=chance.shift,
            padding=padding,
            kind=geometry.crop,
        )
        return xywh, matrix, mirrored

    def _targets(
        self, crop_xy: NDArray[np.float64], visible: NDArray[np.bool_]
    ) -> tuple[Maps, NDArray[Any]]:
        """Heatmaps (N, K, h, w) of keypoints (N, K, 2) in crop pixels, and weights (N, K)."""
        stride, target = self.recipe.input.stride, self.recipe.target
        if target.kind == "classic":
            return encode_classic(crop_xy, visible, self.heatmap_size, target.sigma, stride)
        xy = crop_to_heatmap(crop_xy, stride, self.recipe.input.crop)
        inside = ((xy >= -0.5) & (xy <= np.array(self.heatmap_size) - 0.5)).all(-1)
        maps = encode_gaussian(xy, visible & inside, self.heatmap_size, target.sigma)
        return maps, visible if target.absent else visible & inside

    def loss(self, outputs: tuple[Tensor, ...], batch: list[Tensor], network: nn.Module) -> Tensor:
        """The network's own loss, or one for each of its outputs."""
        images, targets, weights = batch
        if self.recipe.target.loss == "paper":
            own: Tensor = network.loss(outputs, targets, weights)  # type: ignore[operator]
            return own
        loss: Callable[[Tensor, Tensor, Tensor], Tensor] = mean_squared
        if self.recipe.target.loss == "softmax":
            loss = partial(softmax_cross_entropy, absent=self.recipe.target.absent)
        each = [loss(maps, targets, weights) for maps in outputs]
        if self.teacher is not None:
            with torch.no_grad():
                theirs = self.teacher.to(images.device)(images)[-1]
            each += [taught_maps(maps, theirs, self.recipe.target.absent) for maps in outputs]
        return torch.stack(each).sum()
