"""SPCNet: hourglasses that stop pooling early and dilate instead, and a pixel-wise mix of levels.

Xiao, Yu, Wang, Lv, Fan and Wu, "SPCNet: Spatial Preserve and Content-aware Network for Human Pose
Estimation", ECAI 2020. *Readings*: the dilated bottlenecks follow DetNet (arXiv 1804.06215): one
with a projected shortcut (Bottleneck_b), then one with an identity (Bottleneck_a); the way up has
residuals and skips as in the hourglass, and its four features are after the dilated pair, and
at 16, 32 and 64 pixels.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.losses import mean_squared
from poised.nets.hourglass import BackProjection, Hourglass, Stem, linear, residuals
from poised.nets.layers import PreactBottleneck, conv_bn_relu, require_multiple, scaled

Fusion = Literal["none", "sum", "concat", "distribution"]
LEVELS = 4


class DilatedHourglass(nn.Module):
    """DHM, §3.2 and Fig. 2a: (N, C, 64, 64) -> four levels of 16, 16, 32, 64 pixels."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        self.side = nn.ModuleList(residuals(channels, 1) for _ in range(2))  # at 64, 32
        self.down = nn.ModuleList(residuals(channels, 1) for _ in range(2))  # to 32, 16
        self.dilated = nn.Sequential(
            PreactBottleneck(channels, channels, rate, project=True),  # Bottleneck_b
            PreactBottleneck(channels, channels, rate),  # Bottleneck_a
        )
        self.deepest = residuals(channels, 1)
        self.skip = residuals(channels, 1)  # at 16
        self.up = nn.ModuleList(residuals(channels, 1) for _ in range(2))  # at 16, 32

    def forward(self, x: Tensor) -> list[Tensor]:
        half = self.down[0](functional.max_pool2d(x, 2))
        quarter = self.down[1](functional.max_pool2d(half, 2))
        first = self.deepest(self.dilated(quarter))  # 16
        second = first + self.skip(quarter)  # 16
        third = double(self.up[0](second)) + self.side[1](half)  # 32
        fourth = double(self.up[1](third)) + self.side[0](x)  # 64
        return [first, second, third, fourth]


def double(x: Tensor) -> Tensor:
    """Nearest neighbour, twice the height and width."""
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class InformationDistribution(nn.Conv2d):
    """ID, eqs. 2 and 3: (N, C, h, w) -> each level's weight at each pixel (N, 4, h, w); sum 1."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, LEVELS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(1)


class SelectiveInformation(nn.Module):
    """SIM, §3.3 and Fig. 4: every module's levels -> (N, C, H/4, W/4).

    fusion: "distribution" is the paper's; "sum" and "concat" are rows of Table 2.
    """

    def __init__(self, channels: int, modules: int, fusion: Fusion) -> None:
        super().__init__()
        self.collect = nn.ModuleList(
            conv_bn_relu(modules * channels, channels, 1) for _ in range(LEVELS)
        )
        self.squeeze = InformationDistribution(channels) if fusion == "distribution" else None
        self.compress = nn.Conv2d(LEVELS * channels, channels, 1) if fusion == "concat" else None

    def forward(self, levels: list[list[Tensor]]) -> Tensor:
        """levels: of each module, the coarsest first, the last at the heatmap's resolution."""
        size = levels[0][-1].shape[-2:]
        x = [  # X1..X4
            functional.interpolate(collect(torch.cat(same, 1)), size=size, mode="nearest")
            for collect, same in zip(self.collect, zip(*levels, strict=True), strict=True)
        ]
        if self.compress is not None:
            compressed: Tensor = self.compress(torch.cat(x, 1))
            return compressed
        total: Tensor = x[0] + x[1] + x[2] + x[3]
        if self.squeeze is None:
            return total
        weights: Tensor = self.squeeze(total)  # (N, 4, H/4, W/4)
        return (torch.stack(x, 1) * weights[:, :, None]).sum(1)  # eq. 4


class SPCNet(nn.Module):
    """(N, 3, H, W), H and W multiples of 16 -> (N, joints, H/4, W/4) of each module, and of SIM.

    Multiples of 64 without the dilated modules, which are then plain hourglasses.

    modules: stacked; the paper's 8.
    rate:    R, the dilation (Table 1); None for plain hourglass modules (Table 2's baseline).
    fusion:  of the levels (Table 2); "none" ends with the last module.
    width:   scales every channel; 1.0 (256 channels) is the paper.
    """

    def __init__(
        self,
        joints: int,
        modules: int = 8,
        rate: int | None = 2,
        fusion: Fusion = "distribution",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        channels = 4 * scaled(64, width)
        self.multiple = 64 if rate is None else 16
        self.stem = Stem(channels)
        self.stack = nn.ModuleList(
            Hourglass(channels) if rate is None else DilatedHourglass(channels, rate)
            for _ in range(modules)
        )
        self.after = nn.ModuleList(
            nn.Sequential(residuals(channels, 1), *linear(channels)) for _ in range(modules)
        )
        self.predict = nn.ModuleList(nn.Conv2d(channels, joints, 1) for _ in range(modules))
        self.back = nn.ModuleList(BackProjection(channels, joints) for _ in range(modules - 1))
        self.selective = None
        if fusion != "none":
            self.selective = SelectiveInformation(channels, modules, fusion)
            self.final = nn.Conv2d(channels, joints, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, self.multiple)
        x = self.stem(images)  # (N, 256, H/4, W/4)
        supervised, levels = [], []
        for index, module in enumerate(self.stack):
            levels.append(module(x))
            features = self.after[index](levels[-1][-1])
            maps = self.predict[index](features)  # (N, joints, H/4, W/4)
            supervised.append(maps)
            if index < len(self.back):
                x = x + self.back[index](features, maps)
        if self.selective is not None:
            supervised.append(self.final(self.selective(levels)))
        return tuple(supervised)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        """Eq. 6: the squared error of every module and of SIM."""
        return torch.stack([mean_squared(maps, targets, weights) for maps in outputs]).sum()
