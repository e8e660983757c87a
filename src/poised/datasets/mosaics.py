"""Training pictures of a person detector: single ones and grids of several, that a teacher labels.

The teacher looks at each picture as it is shown to the network, and every cell's score and box are
learnt, not only the sure ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poised.augment import jitter_colour
from poised.crops import of_shrunk
from poised.datasets import lspet
from poised.datasets.poses import normalised
from poised.datasets.teacher import DenseTeacher
from poised.images import Undecoded
from poised.losses import taught
from poised.nets.rtmdet import CHANNELS
from poised.recipe import Recipe

GRIDS, GRID_SHARES = (1, 2, 3), (0.5, 0.3, 0.2)  # pictures a side of a sample
SCENE_SHARE = 0.65  # of the pictures: what is detected later is scenes, however few are at hand


def listed_pictures(root: Path) -> tuple[list[Path], list[Path]]:
    """Scenes (COCO) and single people (LSPET but its last, Stanford 40) in folders of `root`."""

    def within(folder: str) -> list[Path]:
        found = sorted((root / folder).glob("*.*"))
        if not found:
            raise FileNotFoundError(f"{root / folder}: no pictures to train a detector on")
        return found

    scenes = within("coco2017/train2017") + within("coco/unlabelled")
    return scenes, within("lspet/images")[: -lspet.HELD_OUT] + within("stanford40/train")


class Mosaics:
    """pictures (S, S, 3) uint8; the teacher's scores (M,) and boxes (4, M), of every cell."""

    channels = CHANNELS

    def __init__(self, recipe: Recipe) -> None:
        if recipe.target.teacher is None:
            raise ValueError("target.teacher is missing")
        self.recipe = recipe
        self.scenes, self.singles = listed_pictures(recipe.dataset.root)
        self.size = recipe.input.size[0]
        self.teacher = DenseTeacher(recipe.target.teacher, self.size)

    def __len__(self) -> int:
        return len(self.singles)  # an epoch: about as many samples as there are pictures

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, index = place
        rng = np.random.default_rng([self.recipe.optimise.seed, epoch, index])
        picture = jitter_colour(self._compose(rng), self.recipe.augment.colour, rng)
        scores, boxes = self.teacher(picture)
        return tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in (picture, scores, boxes.T))

    def images(self, batch: Sequence[Tensor]) -> Tensor:
        """The network's input (N, 3, S, S) of a batch's pictures, on their device."""
        return normalised(batch[0], self.recipe.input)

    def loss(
        self, outputs: tuple[Tensor, ...], batch: Sequence[Tensor], network: nn.Module
    ) -> Tensor:
        _, scores, boxes = batch
        return taught(*network.cells(outputs), scores, boxes)  # type: ignore[operator,call-arg]

    def _compose(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """One picture, or a grid of 2x2 or 3x3 with random cuts: (S, S, 3)."""
        size, side = self.size, int(rng.choice(GRIDS, p=GRID_SHARES))
        canvas = np.empty((size, size, 3), np.uint8)
        cuts = [
            np.rint(size * (np.arange(side + 1) + jitter) / side).astype(int)
            for jitter in np.pad(rng.uniform(-0.35, 0.35, (2, side - 1)), ((0, 0), (1, 1)))
        ]
        scales = (0.6, 2.5) if side == 1 else (1.0, 2.0)  # of what fits whole
        for x0, x1 in pairwise(cuts[0].tolist()):
            for y0, y1 in pairwise(cuts[1].tolist()):
                canvas[y0:y1, x0:x1] = self._picture((x1 - x0, y1 - y0), scales, rng)
        return canvas

    def _picture(
        self, room: tuple[int, int], scales: tuple[float, float], rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """A part of one picture, or all of it with a margin: room's (height, width, 3)."""
        pool = self.scenes if rng.random() < SCENE_SHARE else self.singles
        picture = Undecoded(pool[rng.integers(len(pool))])
        wh = np.array(picture.size)
        scale = (room / wh).min() * math.exp(rng.uniform(*np.log(scales)))
        squeeze = math.exp(rng.uniform(-0.2, 0.2))
        gain = np.array([scale * squeeze, scale / squeeze])
        spare = room - wh * gain
        offset = rng.uniform(np.minimum(0, spare), np.maximum(0, spare) + 1e-6)
        if rng.random() < self.recipe.augment.flip:
            offset[0] += wh[0] * gain[0] - 1
            gain[0] = -gain[0]
        matrix = np.array([[gain[0], 0, offset[0]], [0, gain[1], offset[1]]])
        pixels, times = picture.decode(1 / np.abs(gain).max())
        placed = cv2.warpAffine(
            pixels,
            of_shrunk(matrix, times),
            room,
            flags=cv2.INTER_AREA if scale < 0.6 else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=tuple(float(v) for v in self.recipe.input.mean),
        )
        return np.asarray(placed, dtype=np.uint8)
