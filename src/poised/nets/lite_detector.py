"""A small person detector for CPUs: EfficientNet-Lite0, a feature pyramid, a head on each level.

Every cell of three levels says how surely it lies on a person, and where that person's box ends;
as in RTMDet (arXiv 2212.07784), from which the bundled one learns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from poised.nets.efficientnet_lite import LEVEL_CHANNELS, EfficientNetLite0
from poised.nets.feature_pyramid import FeaturePyramid
from poised.nets.layers import require_multiple, separable

STRIDES = (8, 16, 32)
CHANNELS = 5  # of a cell: its score's logit, and the log distances to the box's four sides
RARE = 0.01  # the score of every cell before training


class LiteDetector(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> three tensors (N, CHANNELS, H/stride, W/stride).

    width:  channels of the pyramid and of the heads.
    blocks: of a head, each a depthwise 5x5 and a 1x1.
    frozen: how many of the backbone's first stages keep their weights in training.
    """

    def __init__(
        self, joints: int = CHANNELS, width: int = 64, blocks: int = 2, frozen: int = 0
    ) -> None:
        super().__init__()
        if joints != CHANNELS:
            raise ValueError(f"a detector finds boxes, {CHANNELS} numbers a cell, not {joints}")
        self.backbone = EfficientNetLite0(frozen)
        self.pyramid = FeaturePyramid(LEVEL_CHANNELS[1:], width)
        self.heads = nn.ModuleList(_head(width, blocks) for _ in STRIDES)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.pyramid(self.backbone(images)[1:])
        return tuple(head(level) for head, level in zip(self.heads, levels, strict=True))


def _head(width: int, blocks: int) -> nn.Sequential:
    layers = [layer for _ in range(blocks) for layer in separable(width, 5)]
    last = nn.Conv2d(width, CHANNELS, 1)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    last.bias.data[0] = math.log(RARE / (1 - RARE))  # type: ignore[union-attr]
    return nn.Sequential(*layers, last)


def cells(maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Every level's maps -> all cells' logits (N, M) and boxes (N, 4, M) x1 y1 x2 y2, in pixels.

    A cell's point is its middle; a distance is exp(channel) x 4 strides. The levels stand in the
    order of STRIDES, a level's cells row by row.
    """
    logits, boxes = [], []
    for level, stride in zip(maps, STRIDES, strict=True):
        height, width = level.shape[-2:]
        x = (torch.arange(width, device=level.device) + 0.5) * stride
        y = ((torch.arange(height, device=level.device) + 0.5) * stride)[:, None]
        distances = level[:, 1:].float().clamp(-6, 5).exp() * (4 * stride)
        left, top, right, bottom = distances.unbind(1)
        boxes.append(torch.stack([x - left, y - top, x + right, y + bottom], 1).flatten(2))
        logits.append(level[:, 0].float().flatten(1))
    return torch.cat(logits, 1), torch.cat(boxes, 2)
