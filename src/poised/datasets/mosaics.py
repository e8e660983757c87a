"""Training samples of a person detector: single pictures and mosaics of four, with their boxes.

The labels are `person_boxes.json`: {image path: [[x1, y1, x2, y2, score], ...]} beside the image
folders. A box of a low score is neither a person nor background. The target is a heatmap of
centres (CenterNet, arXiv 1904.07850, §3) and the box's four sides seen from each centre.
"""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poised.augment import jitter_colour
from poised.boxes.nms import nms
from poised.images import read_image
from poised.losses import centre_focal, generalised_iou
from poised.recipe import Recipe

SURE = 0.35  # a teacher's box below this score is left out of the loss
SPREAD = 0.14  # of a box side: the standard deviation of its centre's Gaussian
GRIDS, GRID_SHARES = (1, 2, 3), (0.4, 0.4, 0.2)  # pictures a side of a sample
SCENE_SHARE = 0.35  # of the pictures: there are few scenes, and they are learnt by heart otherwise
MIXED = 0.15  # the share of samples that are two, one shining through the other
HELD_OUT = ("val2017",)  # folders that are never trained on
LSPET_TRAIN = 8487  # its later images are held out for the pose model, and here too

Labelled = tuple[Path, NDArray[np.float32]]  # image, (N, 5) x1 y1 x2 y2 score


def read_boxes_json(root: Path) -> tuple[list[Labelled], list[Labelled]]:
    """Scenes (COCO) and single people (LSPET) of `root`/person_boxes.json, training part."""
    path = root / "person_boxes.json"
    if not path.is_file():
        raise FileNotFoundError(f"no {path}: a JSON of image path -> boxes with scores")
    scenes: list[Labelled] = []
    singles: list[Labelled] = []
    for name, rows in json.loads(path.read_text(encoding="utf-8")).items():
        if any(folder in name for folder in HELD_OUT):
            continue
        boxes = np.asarray(rows, np.float32).reshape(-1, 5)
        boxes = boxes[nms(boxes[:, :4], boxes[:, 4], 0.6)]
        if not name.startswith("lspet/"):
            scenes.append((root / name, boxes))
        elif int(Path(name).stem.removeprefix("im")) <= LSPET_TRAIN and (boxes[:, 4] > 0.5).any():
            singles.append((root / name, boxes))
    return scenes, singles


class BoxMosaics:
    """images (3, S, S); centres, weights, counted (h, w); sides (4, h, w) in input pixels."""

    channels = 5  # a centre's logit, and log distances to its four sides

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.scenes, self.singles = read_boxes_json(recipe.dataset.root)
        self.size, self.stride = recipe.input.size[0], recipe.input.stride
        self.mean = np.array(recipe.input.mean, np.float32)
        self.std = np.array(recipe.input.std, np.float32)

    def __len__(self) -> int:
        return len(self.singles)  # an epoch: about as many samples as there are pictures

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, index = place
        rng = np.random.default_rng([self.recipe.optimise.seed, epoch, index])
        picture, boxes = self._compose(rng)
        if rng.random() < MIXED:
            other, more = self._compose(rng)
            boxes = np.concatenate([boxes, more])
            picture = np.asarray(cv2.addWeighted(picture, 0.5, other, 0.5, 0), dtype=np.uint8)
        picture = jitter_colour(picture, self.recipe.augment.colour, rng)
        image = ((picture.astype(np.float32) - self.mean) / self.std).transpose(2, 0, 1)
        targets = centre_targets(boxes, self.size, self.stride)
        return tuple(torch.from_numpy(np.ascontiguousarray(a)) for a in (image, *targets))

    def loss(self, outputs: tuple[Tensor, ...], batch: list[Tensor], network: nn.Module) -> Tensor:
        _, centres, sides, weights, counted = batch
        maps = outputs[-1]
        boxes = decode_sides(maps[:, 1:], self.stride)
        return centre_focal(maps[:, 0], centres, counted) + 4 * generalised_iou(
            boxes, sides, weights
        )

    def _compose(self, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """One picture, or a grid of 2x2 or 3x3 with random cuts; its boxes (N, 5)."""
        size, side = self.size, int(rng.choice(GRIDS, p=GRID_SHARES))
        canvas = np.empty((size, size, 3), np.uint8)
        cuts = [
            np.rint(size * (np.arange(side + 1) + jitter) / side).astype(int)
            for jitter in np.pad(rng.uniform(-0.35, 0.35, (2, side - 1)), ((0, 0), (1, 1)))
        ]
        scales = (0.7, 2.0) if side == 1 else (1.0, 2.0)  # of what fits whole
        boxes = [
            self._place(canvas, (x0, y0, x1, y1), scales, rng)
            for x0, x1 in pairwise(cuts[0].tolist())
            for y0, y1 in pairwise(cuts[1].tolist())
        ]
        return canvas, np.concatenate(boxes)

    def _place(
        self,
        canvas: NDArray[np.uint8],
        part: tuple[int, int, int, int],
        scales: tuple[float, float],
        rng: np.random.Generator,
    ) -> NDArray[np.float32]:
        """Put one picture into a part of the canvas, x0 y0 x1 y1; its boxes there, (N, 5)."""
        pool = self.scenes if rng.random() < SCENE_SHARE else self.singles
        path, boxes = pool[rng.integers(len(pool))]
        image = read_image(path)
        x0, y0, x1, y1 = part
        room = np.array([x1 - x0, y1 - y0])
        wh = np.array(image.shape[1::-1])
        scale = (room / wh).min() * math.exp(rng.uniform(*np.log(scales)))
        squeeze = math.exp(rng.uniform(-0.2, 0.2))
        gain = np.array([scale * squeeze, scale / squeeze])
        spare = room - wh * gain
        offset = rng.uniform(np.minimum(0, spare), np.maximum(0, spare) + 1e-6)
        if rng.random() < self.recipe.augment.flip:
            offset[0] += wh[0] * gain[0] - 1
            gain[0] = -gain[0]
        matrix = np.array([[gain[0], 0, offset[0]], [0, gain[1], offset[1]]])
        canvas[y0:y1, x0:x1] = cv2.warpAffine(
            image,
            matrix,
            (int(room[0]), int(room[1])),
            flags=cv2.INTER_AREA if scale < 0.6 else cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=tuple(float(v) for v in self.mean),
        )
        corners = boxes[:, :4].reshape(-1, 2, 2) * gain + offset
        low, high = corners.min(1), corners.max(1)
        area = (high - low).prod(1)
        low, high = low.clip(0, room), high.clip(0, room)
        kept = ((high - low).prod(1) > 0.25 * area) & (high - low > 4).all(1)
        placed = np.concatenate([low, high], 1) + np.array([x0, y0, x0, y0])
        return np.asarray(np.concatenate([placed, boxes[:, 4:]], 1)[kept], dtype=np.float32)


def centre_targets(
    boxes: NDArray[np.float32], size: int, stride: int
) -> tuple[NDArray[np.float32], ...]:
    """Centres (h, w), sides (4, h, w), weights (h, w), counted (h, w) of boxes (N, 5).

    A cell's centre is at (cell + 0.5) x stride input pixels. Small boxes are drawn last, over
    large ones; a doubtful box only takes its area out of `counted`.
    """
    cells = size // stride
    at = (np.arange(cells, dtype=np.float32) + 0.5) * stride
    centres = np.zeros((cells, cells), np.float32)
    weights, counted = np.zeros_like(centres), np.ones_like(centres)
    sides = np.zeros((4, cells, cells), np.float32)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for x1, y1, x2, y2, score in boxes[np.argsort(-area, kind="stable")]:
        if score < SURE:
            counted[np.ix_((at >= y1) & (at <= y2), (at >= x1) & (at <= x2))] = 0
            continue
        column, row = (min(int((a + b) / 2 / stride), cells - 1) for a, b in ((x1, x2), (y1, y2)))
        near = [
            np.exp(-((at - at[cell]) ** 2) / (2 * max(side * SPREAD, 0.6 * stride) ** 2))
            for cell, side in ((row, y2 - y1), (column, x2 - x1))
        ]
        drawn = near[0][:, None] * near[1][None, :]
        np.maximum(centres, drawn, out=centres)
        centres[row, column] = 1
        inside = drawn > 0.5
        sides[:, inside] = np.array([x1, y1, x2, y2], np.float32)[:, None]
        weights[inside] = drawn[inside]
    counted[centres > 0.3] = 1
    return centres, sides, weights, counted


def decode_sides(distances: Tensor, stride: int) -> Tensor:
    """(N, 4, h, w) log distances to left, top, right, bottom in 4 strides -> x1 y1 x2 y2 pixels."""
    height, width = distances.shape[-2:]
    x = (torch.arange(width, device=distances.device) + 0.5) * stride
    y = ((torch.arange(height, device=distances.device) + 0.5) * stride)[:, None]
    left, top, right, bottom = (distances.float().clamp(-6, 5).exp() * (4 * stride)).unbind(1)
    return torch.stack([x - left, y - top, x + right, y + bottom], 1)
