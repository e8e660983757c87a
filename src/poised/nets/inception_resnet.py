"""Inception-ResNet-v2, the backbone of CPN's final models (Tables 9 to 11 there).

Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on
Learning", arXiv 1602.07261, Figs. 3, 7, 10, 13, 16 to 19; parameter names are those of the
published PyTorch weights. Every convolution is padded, where the paper's are not, so that the
maps have strides of exactly 4, 8, 16, 32 (as in slim's `align_feature_maps`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.nets.layers import scaled


class BasicConv2d(nn.Module):
    """Convolution, batch norm, ReLU; `kernel` is (height, width)."""

    def __init__(
        self, channels: int, out: int, kernel: int | tuple[int, int], stride: int = 1
    ) -> None:
        super().__init__()
        high, wide = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.conv = nn.Conv2d(
            channels, out, (high, wide), stride, (high // 2, wide // 2), bias=False
        )
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)), inplace=True)


def chain(channels: int, *steps: tuple[int, int | tuple[int, int], int]) -> nn.Module:
    """BasicConv2d after BasicConv2d, each (out, kernel, stride); alone where there is one."""
    layers: list[nn.Module] = []
    for out, kernel, stride in steps:
        layers.append(BasicConv2d(channels, out, kernel, stride))
        channels = out
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


class Branches(nn.Module):
    """`branch0`, `branch1`, ... side by side, concatenated."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class ResidualBranches(nn.Module):
    """x + scale * 1x1(branches of x), with ReLU unless `last`: Figs. 16, 17, 19."""

    def __init__(
        self, channels: int, inside: int, scale: float, *branches: nn.Module, last: bool = False
    ) -> None:
        super().__init__()
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)
        self.count, self.scale, self.last = len(branches), scale, last
        self.conv2d = nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        inside = [self.get_submodule(f"branch{index}")(x) for index in range(self.count)]
        y: Tensor = x + self.scale * self.conv2d(torch.cat(inside, 1))
        return y if self.last else functional.relu(y)


class InceptionResNetV2(nn.Module):
    """(N, 3, H, W) -> maps of strides 4, 8, 16, 32 with `channels` (192, 320, 1088, 1536) channels.

    width: scales every channel; 1.0 is the paper.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()

        def w(channels: int) -> int:
            return scaled(channels, width)

        self.conv2d_1a = BasicConv2d(3, w(32), 3, 2)
        self.conv2d_2a = BasicConv2d(w(32), w(32), 3)
        self.conv2d_2b = BasicConv2d(w(32), w(64), 3)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.conv2d_3b = BasicConv2d(w(64), w(80), 1)
        self.conv2d_4a = BasicConv2d(w(80), w(192), 3)
        c2 = w(192)
        self.mixed_5b = Branches(
            chain(c2, (w(96), 1, 1)),
            chain(c2, (w(48), 1, 1), (w(64), 5, 1)),
            chain(c2, (w(64), 1, 1), (w(96), 3, 1), (w(96), 3, 1)),
            nn.Sequential(
                nn.AvgPool2d(3, 1, 1, count_include_pad=False), BasicConv2d(c2, w(64), 1)
            ),
        )
        c3 = 2 * w(96) + 2 * w(64)  # 320
        self.repeat = nn.Sequential(
            *(
                ResidualBranches(
                    c3,
                    2 * w(32) + w(64),
                    0.17,
                    chain(c3, (w(32), 1, 1)),
                    chain(c3, (w(32), 1, 1), (w(32), 3, 1)),
                    chain(c3, (w(32), 1, 1), (w(48), 3, 1), (w(64), 3, 1)),
                )
                for _ in range(10)
            )
        )
        self.mixed_6a = Branches(
            chain(c3, (w(384), 3, 2)),
            chain(c3, (w(256), 1, 1), (w(256), 3, 1), (w(384), 3, 2)),
            nn.MaxPool2d(3, 2, 1),
        )
        c4 = 2 * w(384) + c3  # 1088
        self.repeat_1 = nn.Sequential(
            *(
                ResidualBranches(
                    c4,
                    2 * w(192),
                    0.10,
                    chain(c4, (w(192), 1, 1)),
                    chain(c4, (w(128), 1, 1), (w(160), (1, 7), 1), (w(192), (7, 1), 1)),
                )
                for _ in range(20)
            )
        )
        self.mixed_7a = Branches(
            chain(c4, (w(256), 1, 1), (w(384), 3, 2)),
            chain(c4, (w(256), 1, 1), (w(288), 3, 2)),
            chain(c4, (w(256), 1, 1), (w(288), 3, 1), (w(320), 3, 2)),
            nn.MaxPool2d(3, 2, 1),
        )
        c5 = w(384) + w(288) + w(320) + c4  # 2080
        eights = [
            ResidualBranches(
                c5,
                w(192) + w(256),
                1.0 if index == 9 else 0.20,
                chain(c5, (w(192), 1, 1)),
                chain(c5, (w(192), 1, 1), (w(224), (1, 3), 1), (w(256), (3, 1), 1)),
                last=index == 9,
            )
            for index in range(10)
        ]
        self.repeat_2 = nn.Sequential(*eights[:9])
        self.block8 = eights[9]
        self.conv2d_7b = BasicConv2d(c5, w(1536), 1)
        self.channels = [c2, c3, c4, w(1536)]

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(images)))  # (N, 64, H/2, W/2)
        c2 = self.conv2d_4a(self.conv2d_3b(self.pool(x)))  # (N, 192, H/4, W/4)
        c3 = self.repeat(self.mixed_5b(self.pool(c2)))  # (N, 320, H/8, W/8)
        c4 = self.repeat_1(self.mixed_6a(c3))  # (N, 1088, H/16, W/16)
        c5 = self.conv2d_7b(self.block8(self.repeat_2(self.mixed_7a(c4))))  # (N, 1536, H/32, W/32)
        return [c2, c3, c4, c5]
