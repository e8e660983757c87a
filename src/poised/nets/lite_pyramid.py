"""A small network for CPUs: EfficientNet-Lite0, a feature pyramid, one 3x3, one 1x1.

The pyramid is Lin et al.'s (arXiv 1612.03144) with additions from the coarse level down to
stride 4. It serves both bundled models: `joints` maps for a pose, or five for a detector. A second
look at all maps, wide and coarse, can correct them: which leg is the left one is not to be seen
at the foot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.nets.efficientnet_lite import LEVEL_CHANNELS, EfficientNetLite0
from poised.nets.layers import conv_bn_relu, require_multiple


class SecondLook(nn.Module):
    """Features at half the maps' resolution and the maps -> what to add to the maps.

    features: (N, C, h/2, w/2); maps: (N, joints, h, w). Depthwise 7x7 convolutions see the body
    whole. At first it adds nothing.
    """

    def __init__(self, channels: int, joints: int, blocks: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.enter = conv_bn_relu(channels + joints, wide, 1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(wide, wide, 7, 1, 3, groups=wide, bias=False),
                nn.BatchNorm2d(wide),
                conv_bn_relu(wide, wide, 1),
            )
            for _ in range(blocks)
        )
        self.leave = nn.Conv2d(wide, joints, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        x = self.enter(torch.cat([features, functional.avg_pool2d(maps, 2)], 1))
        for block in self.blocks:
            x = x + block(x)
        return functional.interpolate(
            self.leave(x), scale_factor=2.0, mode="bilinear", align_corners=False
        )


class LitePyramid(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> tensors (N, joints, H/stride, W/stride).

    One, or with a second look two, the corrected maps last.

    width:  channels of the pyramid.
    stride: 4 or 8, of the output.
    frozen: how many of the backbone's first stages keep their weights in training; with them, the
            stem. It trains faster, and little data cannot spoil them.
    second_look: its blocks, 0 for none.
    """

    def __init__(
        self,
        joints: int,
        width: int = 64,
        stride: int = 4,
        frozen: int = 0,
        second_look: int = 0,
    ) -> None:
        super().__init__()
        if stride not in (4, 8):
            raise ValueError(f"stride is {stride}, expected 4 or 8")
        self.backbone = EfficientNetLite0()
        if frozen:
            for module in [self.backbone.conv_stem, *self.backbone.stages[:frozen]]:
                module.requires_grad_(False)
        self.first = 0 if stride == 4 else 1  # the finest level used
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in LEVEL_CHANNELS[self.first :])
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for _ in self.lateral
        )
        self.head = nn.Conv2d(width, joints, 1)
        self.second_look = SecondLook(width, joints, second_look) if second_look else None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.backbone(images)[self.first :]
        x = self.smooth[-1](self.lateral[-1](levels[-1]))
        coarser = x
        for index in range(len(levels) - 2, -1, -1):
            coarser = x
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.smooth[index](x + self.lateral[index](levels[index]))
        maps = self.head(x)
        if self.second_look is None:
            return (maps,)
        return maps, maps + self.second_look(coarser, maps)
