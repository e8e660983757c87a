"""CSANet: a Context Aware Path, a Spatial Aware Path, and a Heavy Head Path on both.

Yu, Su, Geng and Wang, "A Context-and-Spatial Aware Network for Multi-Person Pose Estimation",
arXiv 1905.05355. *Readings*, where text and figures leave it open: the part branches stand on the
three deconvolutions of Simple Baseline (their output is the "hybrid context features"); each is
one 3x3 convolution and a 1x1 to its own keypoints; a 1x1 brings the four joined maps back to 256;
every convolution of 256 filters has a norm and a ReLU, but those of globally pooled features have
no norm. With SAP and N = 0 layers of HHP the two paths are concatenated and predicted from by the
1x1 alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.losses import mean_squared
from poised.nets.layers import conv_bn_relu, require_multiple, resize, scaled
from poised.nets.resnet import ResNet
from poised.nets.simple_baseline import deconvolutions

RATES = (6, 12, 18)  # of ASPP's dilated branches, beside dilation 1
SPATIAL = ("conv2", "conv3", "conv2gp")


class StructureSupervision(nn.Module):
    """§3.2, Fig. 3a: (N, C, H/32, W/32) -> (N, width, H/4, W/4) and each part's heatmaps."""

    def __init__(self, channels: int, width: int, parts: Sequence[int]) -> None:
        super().__init__()
        self.deconv_layers = deconvolutions(channels, width)
        self.part_features = nn.ModuleList(conv_bn_relu(width, width, 3) for _ in parts)
        self.part_predict = nn.ModuleList(nn.Conv2d(width, count, 1) for count in parts)
        self.reduce = conv_bn_relu((1 + len(parts)) * width, width, 1)

    def forward(self, c5: Tensor) -> tuple[Tensor, list[Tensor]]:
        hybrid = self.deconv_layers(c5)  # (N, 256, H/4, W/4)
        parts = [branch(hybrid) for branch in self.part_features]
        maps = [predict(x) for predict, x in zip(self.part_predict, parts, strict=True)]
        return self.reduce(torch.cat([hybrid, *parts], 1)), maps


class ASPP(nn.Module):
    """§3.2, Fig. 3b: atrous spatial pyramid pooling, 1x1, dilations 6, 12, 18, and the mean."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList([conv_bn_relu(width, width, 1)])
        self.branches.extend(conv_bn_relu(width, width, 3, dilation=rate) for rate in RATES)
        self.mean = nn.Sequential(nn.Conv2d(width, width, 1), nn.ReLU(inplace=True))
        self.reduce = conv_bn_relu(5 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean(functional.adaptive_avg_pool2d(x, 1)).expand_as(x)
        reduced: Tensor = self.reduce(
            torch.cat([branch(x) for branch in self.branches] + [mean], 1)
        )
        return reduced


class SpatialAwarePath(nn.Module):
    """§3.3, Fig. 4: C2, C3 -> (N, width, H/4, W/4). `features` are among SPATIAL (Table 3)."""

    def __init__(self, channels: list[int], width: int, features: Sequence[str]) -> None:
        super().__init__()
        c2, c3 = channels[:2]
        builders = {
            "conv2": lambda: nn.Sequential(
                conv_bn_relu(c2, width, 3), conv_bn_relu(width, width, 1)
            ),
            "conv3": lambda: nn.Sequential(
                conv_bn_relu(c3, width, 3), conv_bn_relu(width, width, 1)
            ),
            "conv2gp": lambda: nn.Sequential(  # no norm: one pixel has no variance
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(c2, width, 1),
                nn.ReLU(inplace=True),
                nn.Conv2d(width, width, 1),
                nn.ReLU(inplace=True),
            ),
        }
        self.features = nn.ModuleDict({name: builders[name]() for name in features})
        self.reduce = conv_bn_relu(len(features) * width, width, 1)

    def forward(self, c2: Tensor, c3: Tensor) -> Tensor:
        found = [
            resize(layers(c3 if name == "conv3" else c2), c2)
            for name, layers in self.features.items()
        ]
        reduced: Tensor = self.reduce(torch.cat(found, 1))  # (N, 256, H/4, W/4)
        return reduced


class CSANet(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> the parts' heatmaps, then the whole body's.

    Part p's are (N, len(groups[p]), H/4, W/4), the last output is (N, joints, H/4, W/4).

    groups:  the keypoints of each supervised part: the skeleton's face, upper and lower limbs.
    depth:   of the ResNet (Table 6).
    aspp:    with ASPP (Table 2); spatial: SAP's features (Table 3), () for no SAP.
    layers:  N of the Heavy Head Path (Table 4).
    part_weights: alpha, beta, gamma of eq. 6, one a group; all 0 is a row of §4.2.2.
    width:   scales every channel; 1.0 is the paper.
    """

    def __init__(
        self,
        joints: int,
        groups: Sequence[Sequence[int]],
        depth: int = 50,
        aspp: bool = True,
        spatial: Sequence[str] = SPATIAL,
        layers: int = 3,
        part_weights: Sequence[float] | None = None,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        unknown = [name for name in spatial if name not in SPATIAL]
        if unknown:
            raise ValueError(f"spatial names {unknown}; known: {', '.join(SPATIAL)}")
        self.groups = [list(group) for group in groups if len(group)]
        self.part_weights = list(part_weights or [1.0] * len(self.groups))
        if len(self.part_weights) != len(self.groups):
            raise ValueError(
                f"part_weights has {len(self.part_weights)} values for {len(self.groups)} groups"
            )
        channels = scaled(256, width)
        self.backbone = ResNet(depth, scaled(64, width))
        self.structure = StructureSupervision(
            self.backbone.channels[-1], channels, [len(group) for group in self.groups]
        )
        self.aspp = ASPP(channels) if aspp else None
        self.spatial = (
            SpatialAwarePath(self.backbone.channels, channels, spatial) if spatial else None
        )
        both = channels * (2 if spatial else 1)
        self.heavy_head = nn.Sequential(
            *(
                conv_bn_relu(both if index == 0 else channels, channels, 3)
                for index in range(layers)
            )
        )
        self.predict = nn.Conv2d(channels if layers else both, joints, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        c2, c3, _, c5 = self.backbone(images)
        x, parts = self.structure(c5)  # CAP: (N, 256, H/4, W/4)
        if self.aspp is not None:
            x = self.aspp(x)
        if self.spatial is not None:
            x = torch.cat([x, self.spatial(c2, c3)], 1)  # (N, 512, H/4, W/4)
        return (*parts, self.predict(self.heavy_head(x)))

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        """Eqs. 2 to 6; means over joints and pixels where the paper writes sums."""
        total = mean_squared(outputs[-1], targets, weights)  # eq. 5
        for maps, group, factor in zip(outputs, self.groups, self.part_weights, strict=False):
            part = mean_squared(maps, targets[:, group], weights[:, group])  # eqs. 2 to 4
            total = total + factor * part * (len(group) / targets.shape[1])  # sums, to one scale
        return total
