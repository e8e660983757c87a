"""From crop to keypoints in one graph: what `Estimator` does without flip, as torch operations.

Only such operations as ONNX Runtime, OpenVINO and TorchScript have; the number of crops is free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from poised.estimate import USUALLY_COUNTED
from poised.heatmaps import FLOOR
from poised.runtime import ModelError
from poised.scores import COCO_SHARE
from poised.types import Skeleton

OUTPUTS = ("keypoints", "scores", "quality")
# heatmap pixels from the peak, x before y, whose values a Newton step is made of
NEIGHBOURS = (
    *((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1), (2, 0), (-2, 0), (0, 2), (0, -2)),
    *((1, 1), (-1, 1), (1, -1), (-1, -1)),
)


class WholeModel(nn.Module):
    """RGB crops (N, H, W, 3) uint8 -> keypoints (N, K, 2), scores (N, K) and quality (N,).

    Crops are cut as the metadata says (crops.py), `blacked` too; keypoints are in crop pixels;
    scores and quality are `Estimator`'s. Where maps are chances these depend on the size of the
    person's box, which a crop does not tell: its sides are taken to be the crop's, divided by
    `padding`. So they are where the box has the crop's proportions. Of a narrower one the longer
    side still is, and so are the scores; a wider one's are too high, as is the quality of both.

    model: crops, normalised -> heatmaps (`export.PoseModel`); notes: its metadata. Raises
    ModelError where those name another decoder than the unbiased one.
    """

    def __init__(self, model: nn.Module, notes: Mapping[str, Any]) -> None:
        super().__init__()
        if notes["decoder"] != "unbiased":
            raise ModelError(
                f"{notes['name']} is decoded by `{notes['decoder']}`, a whole graph by `unbiased` "
                "alone: export without --whole, or with a recipe whose export.decoder is that"
            )
        self.model = model
        self.normalise = Normalise(notes["mean"], notes["std"])
        self.decode = Decode(notes)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keypoints, scores, quality = self.decode(self.model(self.normalise(crops)))
        return keypoints, scores, quality


class Normalise(nn.Module):
    """Crops (N, H, W, 3) of bytes -> (N, 3, H, W) as the network wants them."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, crops: Tensor) -> Tensor:
        return (crops.permute(0, 3, 1, 2).float() - self.mean) / self.std


class Decode(nn.Module):
    """Heatmaps (N, K, h, w) -> keypoints in crop pixels, scores, quality, as `WholeModel`'s.

    The unbiased decoder of heatmaps.py, the scores of scores.py; notes: of the model.
    """

    columns: Tensor
    rows: Tensor
    x: Tensor
    y: Tensor
    steps: Tensor
    tolerance: Tensor

    def __init__(self, notes: Mapping[str, Any]) -> None:
        super().__init__()
        self.stride, self.sigma = notes["stride"], notes["sigma"]
        self.unbiased, self.chances = notes["crop"] == "unbiased", bool(notes.get("chances"))
        self.width, self.height = (side // self.stride for side in notes["input_wh"])
        self.register_buffer("columns", _blur_matrix(self.width, self.sigma))
        self.register_buffer("rows", _blur_matrix(self.height, self.sigma))
        self.register_buffer("x", torch.arange(self.width).float())
        self.register_buffer("y", torch.arange(self.height).float())
        self.register_buffer("steps", torch.tensor([x + y * self.width for x, y in NEIGHBOURS]))
        self.sides = [side / notes["padding"] / self.stride for side in notes["input_wh"]]
        sigmas = torch.from_numpy(np.array(Skeleton.from_dict(notes["skeleton"]).sigmas))
        tolerance = 2 * sigmas * math.sqrt(COCO_SHARE * math.prod(self.sides))
        self.register_buffer("tolerance", tolerance[None, :, None])  # (1, K, 1) heatmap pixels

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        xy = self.places(maps)
        keypoints = (xy + 0.5) * self.stride - 0.5 if self.unbiased else xy * self.stride
        if not self.chances:
            scores = maps.amax((2, 3)).clamp(0, 1)
            counted = (scores > USUALLY_COUNTED).float()
            return keypoints, scores, (scores * counted).sum(1) / counted.sum(1).clamp(min=1)
        chances = maps / (2 * math.pi * self.sigma**2)
        away_x, away_y = (self.x - xy[..., :1]).abs(), (self.y - xy[..., 1:]).abs()
        half = math.sqrt(math.pi) / 2 * 0.1 * max(self.sides)  # see `chances_near`
        near = [(half + 0.5 - away).clamp(0, 1) for away in (away_x, away_y)]
        alike = [torch.exp(-0.5 * (away / self.tolerance) ** 2) for away in (away_x, away_y)]
        quality = _within(chances, *alike).sum(1) / (chances.sum((1, 2, 3)) + 1)
        return keypoints, _within(chances, *near).clamp(0, 1), quality

    def places(self, maps: Tensor) -> Tensor:
        """The maps' keypoints (N, K, 2), heatmap pixels, as `heatmaps.decode(maps, "unbiased")`."""
        positive = maps.clamp(min=0)
        blurred = self.rows @ positive @ self.columns
        top = blurred.amax((2, 3), keepdim=True).clamp(min=FLOOR)
        flat = (blurred * (positive.amax((2, 3), keepdim=True) / top)).flatten(2)
        peak, index = flat.max(2)
        y = torch.div(index, self.width, rounding_mode="floor")
        x = index - y * self.width
        inner = (x > 1) & (x < self.width - 2) & (y > 1) & (y < self.height - 2) & (peak > 0)
        around = (index[..., None] + self.steps).clamp(0, self.width * self.height - 1)
        log = flat.gather(2, around).clamp(min=FLOOR).log()
        xy = torch.stack([x, y], -1).float() * (peak > 0).float()[..., None]
        step: Tensor = _newton(log) * inner.float()[..., None]
        return xy + step


def _newton(log: Tensor) -> Tensor:
    """The step (..., 2) to the peak of log maps, given at NEIGHBOURS (..., 13); 0 if there is none.

    At most a pixel along each axis.
    """
    at = dict(zip(NEIGHBOURS, log.unbind(-1), strict=True))
    gx, gy = (at[1, 0] - at[-1, 0]) / 2, (at[0, 1] - at[0, -1]) / 2
    hxx = (at[2, 0] - 2 * at[0, 0] + at[-2, 0]) / 4
    hyy = (at[0, 2] - 2 * at[0, 0] + at[0, -2]) / 4
    hxy = (at[1, 1] - at[-1, 1] - at[1, -1] + at[-1, -1]) / 4
    determinant = hxx * hyy - hxy**2
    good = (determinant > 1e-12) & (hxx < 0)
    safe = torch.where(good, determinant, torch.ones_like(determinant))
    step = torch.stack([(hxy * gy - hyy * gx) / safe, (hxy * gx - hxx * gy) / safe], -1)
    return step.clamp(-1, 1) * good.float()[..., None]


def _blur_matrix(side: int, sigma: float) -> Tensor:
    """(side, side), symmetric: `heatmaps.blur`'s Gaussian filter along one axis, 0 beyond."""
    reach = (round(sigma * 8 + 1) | 1) // 2  # OpenCV's, of float images
    away = np.arange(side)[:, None] - np.arange(side)
    weights = np.exp(-(away**2) / (2 * sigma**2)) * (np.abs(away) <= reach)
    total = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).sum()
    return torch.from_numpy((weights / total).astype(np.float32))


def _within(maps: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """The sum (N, K) of each map, its columns weighted by x (N, K, w) and its rows by y."""
    rows = (maps @ x[..., None])[..., 0]  # (N, K, h)
    total: Tensor = (rows * y).sum(-1)
    return total


def whole_metadata(notes: Mapping[str, Any]) -> dict[str, Any]:
    """That of a whole graph of a model: it takes the crops' bytes and gives finished poses."""
    plain = {"mean": [0.0] * 3, "std": [1.0] * 3, "bgr": False, "nhwc": True}
    return dict(notes) | plain | {"family": "whole", "roles": {name: name for name in OUTPUTS}}
