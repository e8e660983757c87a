"""A small pose network for CPUs: EfficientNet-Lite0, a feature pyramid down to stride 4, one 1x1.

A second look at all maps, wide and coarse, can correct them: which leg is the left one is not to
be seen at the foot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.nets.efficientnet_lite import LEVEL_CHANNELS, EfficientNetLite0
from poised.nets.feature_pyramid import FeaturePyramid
from poised.nets.layers import conv_bn_relu, require_multiple, separable


class SecondLook(nn.Module):
    """Features at half the maps' resolution and the maps -> what to add to the maps.

    features: (N, C, h/2, w/2); maps: (N, joints, h, w). Depthwise 7x7 convolutions see the body
    whole. At first it adds nothing.
    """

    def __init__(self, channels: int, joints: int, blocks: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.enter = conv_bn_relu(channels + joints, wide, 1)
        self.blocks = nn.ModuleList(nn.Sequential(*separable(wide, 7)) for _ in range(blocks))
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
    """(N, 3, H, W), H and W multiples of 32 -> tensors (N, joints, H/4, W/4).

    One, or with a second look two, the corrected maps last.

    width:  channels of the pyramid.
    frozen: how many of the backbone's first stages keep their weights in training.
    second_look: its blocks, 0 for none.
    """

    def __init__(self, joints: int, width: int = 64, frozen: int = 0, second_look: int = 0) -> None:
        super().__init__()
        self.backbone = EfficientNetLite0(frozen)
        self.pyramid = FeaturePyramid(LEVEL_CHANNELS, width)
        self.head = nn.Conv2d(width, joints, 1)
        self.second_look = SecondLook(width, joints, second_look) if second_look else None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        finest, coarser, *_ = self.pyramid(self.backbone(images))
        maps = self.head(finest)
        if self.second_look is None:
            return (maps,)
        return maps, maps + self.second_look(coarser, maps)
