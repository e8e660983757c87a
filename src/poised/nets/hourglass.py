"""Stacked hourglass: pool down, come up again, predict, and do it once more.

Newell, Yang and Deng, "Stacked Hourglass Networks for Human Pose Estimation", arXiv 1603.06937.
The convolutions keep their biases and the stem grows 64, 128, 256 as in bearpaw's public
PyTorch implementation, whose parameter counts it has.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.losses import mean_squared
from poised.nets.layers import PreactBottleneck, require_multiple, scaled

Level = Callable[[int], nn.Module]  # builds the side branch of a level; 1 is the coarsest


def residuals(channels: int, blocks: int) -> nn.Sequential:
    """`blocks` bottlenecks that keep the channels."""
    return nn.Sequential(*(PreactBottleneck(channels, channels) for _ in range(blocks)))


class Stem(nn.Sequential):
    """§3.2: 7x7 stride 2, residual, 2x2 pool, two residuals: (N, 3, H, W) -> (N, out, H/4, W/4)."""

    def __init__(self, out: int) -> None:
        quarter, half = out // 4, out // 2
        super().__init__(
            nn.Conv2d(3, quarter, 7, 2, 3),
            nn.BatchNorm2d(quarter),
            nn.ReLU(inplace=True),
            PreactBottleneck(quarter, half),
            nn.MaxPool2d(2),
            PreactBottleneck(half, out),
            PreactBottleneck(out, out),
        )


class Hourglass(nn.Module):
    """Fig. 3: one hourglass; the decoder's features at every resolution, coarsest first.

    (N, channels, H, W) -> `depth` tensors, the last (N, channels, H, W), each before it half as
    large. `side` builds the branch that keeps a level's detail; residuals where it is None.
    """

    def __init__(
        self, channels: int, depth: int = 4, blocks: int = 1, side: Level | None = None
    ) -> None:
        super().__init__()
        levels = range(1, depth + 1)
        self.side = nn.ModuleList(
            side(level) if side else residuals(channels, blocks) for level in levels
        )
        self.down = nn.ModuleList(residuals(channels, blocks) for _ in levels)
        self.up = nn.ModuleList(residuals(channels, blocks) for _ in levels)
        self.bottom = residuals(channels, blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self._level(len(self.side), x)

    def _level(self, level: int, x: Tensor) -> list[Tensor]:
        low = self.down[level - 1](functional.max_pool2d(x, 2))
        coarser = self._level(level - 1, low) if level > 1 else []
        low = self.up[level - 1](coarser[-1] if coarser else self.bottom(low))
        up = functional.interpolate(low, scale_factor=2.0, mode="nearest")
        return [*coarser, self.side[level - 1](x) + up]


class StackedHourglass(nn.Module):
    """(N, 3, H, W), H and W multiples of 64 -> one (N, joints, H/4, W/4) a stack.

    stacks: the paper's 8; blocks: residuals at each place of an hourglass; width: scales every
    channel, 1.0 (256 channels) is the paper.
    """

    def __init__(self, joints: int, stacks: int = 8, blocks: int = 1, width: float = 1.0) -> None:
        super().__init__()
        channels = 4 * scaled(64, width)
        self.stem = Stem(channels)
        self.hourglasses = nn.ModuleList(Hourglass(channels, 4, blocks) for _ in range(stacks))
        self.after = nn.ModuleList(
            nn.Sequential(residuals(channels, blocks), *linear(channels)) for _ in range(stacks)
        )
        self.predict = nn.ModuleList(nn.Conv2d(channels, joints, 1) for _ in range(stacks))
        self.back = nn.ModuleList(BackProjection(channels, joints) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 64)
        x = self.stem(images)  # (N, 256, H/4, W/4)
        supervised = []
        for index, hourglass in enumerate(self.hourglasses):
            features = self.after[index](hourglass(x)[-1])
            maps = self.predict[index](features)  # (N, joints, H/4, W/4)
            supervised.append(maps)
            if index < len(self.back):
                x = x + self.back[index](features, maps)
        return tuple(supervised)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        """§3.1, intermediate supervision: the squared error of every stack."""
        return torch.stack([mean_squared(maps, targets, weights) for maps in outputs]).sum()


def linear(channels: int) -> list[nn.Module]:
    """1x1 convolution, norm, ReLU: after each hourglass."""
    return [nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]


class BackProjection(nn.Module):
    """Fig. 4: a stack's features and maps, each by a 1x1, for the input of the next."""

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(channels, channels, 1)
        self.maps = nn.Conv2d(joints, channels, 1)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        added: Tensor = self.features(features) + self.maps(maps)
        return added
