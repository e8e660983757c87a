"""Training samples of a pose network: augmented crops, their target heatmaps, joint weights.

The host cuts bytes; numbers are made of them on the network's device, the maps' pixels, too.
"""

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
from poised.crops import apply, clean_boxes, crop_areas, crop_to_heatmap, cut, grown, of_shrunk
from poised.datasets.person import Person
from poised.heatmaps import classic_profiles, gaussian_profiles
from poised.images import Undecoded
from poised.losses import mean_squared, softmax_cross_entropy, taught_maps
from poised.recipe import Dataset, Input, Recipe
from poised.types import Skeleton


class PoseCrops:
    """crops (H, W, 3) uint8, targets as profiles (K, w) and (K, h), weights (K,).

    A joint's target map is the product of its profiles (`targets`). Weights are 0 where it is
    invisible or outside the crop. A classic target also counts joints beyond the crop whose
    Gaussian reaches into it. With `target.absent` every joint outside the crop counts, with an
    empty target, and an unlabelled one as much as its data set's `nowhere`.

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
        width, height = recipe.input.size
        self.heatmap_size = (width // recipe.input.stride, height // recipe.input.stride)

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, index = place
        rng = np.random.default_rng([self.recipe.optimise.seed, epoch, index])
        person, geometry, chance = self.people[index], self.recipe.input, self.recipe.augment
        picture, source = Undecoded(person.image), self.sources[index]
        padding = source.padding or geometry.padding
        box, matrix, mirrored = self._geometry(person, padding, picture.size, rng)
        crop = jitter_colour(self._cut(picture, box, matrix), chance.colour, rng)
        if rng.random() < chance.patch:
            other = Undecoded(self.people[int(rng.integers(len(self.people)))].image)
            spare = min(np.array(other.size) / geometry.size)
            hide_a_part(crop, other.decode(spare)[0], rng)
        xy, visible = apply(matrix[None], person.xy[None])[0], person.visible
        if mirrored:  # the matrix has moved the points; their names follow
            xy, visible = xy[self.skeleton.flip_order], visible[self.skeleton.flip_order]
        x, y, weights = self._targets(xy, visible)
        if self.recipe.target.absent:
            weights = np.maximum(weights, source.nowhere)
        profiles = (torch.from_numpy(a.astype(np.float32)) for a in (x, y, weights))
        return torch.from_numpy(crop), *profiles

    def _cut(
        self, picture: Undecoded, box: NDArray[np.float64], matrix: NDArray[np.float64]
    ) -> NDArray[np.uint8]:
        """The crop (H, W, 3), from an image that is decoded smaller where it shrinks the image.

        A classic crop is cut from the whole image, as the papers' are.
        """
        geometry = self.recipe.input
        most = crop_areas(matrix[None], (1, 1))[0] ** 0.5 if geometry.crop == "unbiased" else 1.0
        pixels, times = picture.decode(most)
        inside = None if geometry.blacked is None else grown(box, geometry.blacked) / times
        return cut(pixels, of_shrunk(matrix, times), geometry.size, geometry.crop, inside)

    def _geometry(
        self,
        person: Person,
        padding: float,
        image_wh: tuple[int, int],
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
        """The box (4,) of the person or half of it, a random crop's matrix, whether it mirrors.

        padding: its box growth; image_wh: the image's size, (width, height).
        """
        geometry, chance = self.recipe.input, self.recipe.augment
        xywh = person.xywh
        if geometry.clean_boxes:
            cleaned = clean_boxes(xywh[None], np.array([image_wh]))[0]
            xywh = xywh if np.isnan(cleaned).any() else cleaned  # nobody is left out here
        if rng.random() < chance.half_body:
            half = half_body_box(person.xy, person.visible, self.skeleton, rng)
            if half is not None:
                xywh, padding = half, chance.half_body_padding
        xywh = np.append(xywh[:2], np.maximum(xywh[2:], 1))  # of one labelled point it is none
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
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Profiles (K, w) and (K, h) of keypoints (K, 2) in crop pixels, and weights (K,)."""
        stride, target, size = self.recipe.input.stride, self.recipe.target, self.heatmap_size
        if target.kind == "classic":
            return classic_profiles(crop_xy, visible, size, target.sigma, stride)
        xy = crop_to_heatmap(crop_xy, stride, self.recipe.input.crop)
        inside = ((xy >= -0.5) & (xy <= np.array(size) - 0.5)).all(-1)
        x, y = gaussian_profiles(xy, visible & inside, size, target.sigma)
        return x, y, visible if target.absent else visible & inside

    def images(self, batch: Sequence[Tensor]) -> Tensor:
        """The network's input (N, 3, H, W) of a batch's crops, on their device."""
        return normalised(batch[0], self.recipe.input)

    def targets(self, batch: Sequence[Tensor]) -> Tensor:
        """Heatmaps (N, K, h, w) of a batch's profiles, or (K, h, w) of a sample's."""
        return batch[2][..., :, None] * batch[1][..., None, :]

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Sequence[Tensor], network: nn.Module
    ) -> Tensor:
        """The network's own loss, or one for each of its outputs, by the joints that it shows."""
        targets, weights = self.targets(batch), batch[3]
        if self.recipe.target.loss == "paper":
            own: Tensor = network.loss(outputs, targets, weights)  # type: ignore[operator]
            return own
        loss: Callable[[Tensor, Tensor, Tensor], Tensor] = mean_squared
        last = loss
        if self.recipe.target.loss == "softmax":
            loss = partial(softmax_cross_entropy, absent=self.recipe.target.absent)
            last = partial(loss, hard=self.recipe.target.hard)
        shown = joints_shown(network, len(outputs))
        each = [
            loss(maps, targets[:, some], weights[:, some]) * (maps.shape[1] / targets.shape[1])
            for maps, some in zip(outputs[:-1], shown[:-1], strict=True)
        ]
        each.append(last(outputs[-1], targets, weights))
        if self.teacher is not None:
            with torch.no_grad():
                theirs = self.teacher.to(targets.device)(self.images(batch))[-1]
            each += [
                taught_maps(maps, theirs[:, some], self.recipe.target.absent)
                * (maps.shape[1] / theirs.shape[1])
                for maps, some in zip(outputs, shown, strict=True)
            ]
        return torch.stack(each).sum()


def joints_shown(network: nn.Module, outputs: int) -> list[slice | list[int]]:
    """Which joints each output shows: all, but for the parts of a network that has `groups`."""
    parts = getattr(network, "groups", [slice(None)] * (outputs - 1))
    return [*parts, slice(None)]


def normalised(crops: Tensor, numbers: Input) -> Tensor:
    """uint8 (N, H, W, 3) -> (x - mean) / std, float32 (N, 3, H, W), channels-last in memory."""
    width = crops.shape[2]
    mean, std = (  # for a row of pixels: a channel's own alone would be too short for SIMD
        torch.tensor(values).repeat(width).to(crops.device, non_blocking=True)
        for values in (numbers.mean, numbers.std)
    )
    rows = crops.flatten(2).float().sub_(mean).div_(std)  # (N, H, 3 W)
    return rows.view(crops.shape).permute(0, 3, 1, 2)
