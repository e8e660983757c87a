"""CPN, the Cascaded Pyramid Network: GlobalNet finds the easy keypoints, RefineNet the hard ones.

Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018, arXiv
1711.07319. Read from the authors' and a public implementation, not from the text: a 1x1
convolution before each 3x3 prediction of GlobalNet, the norm after each prediction's 3x3, that
all predictions are resized to the heatmap's size before the loss, and what each level of GlobalNet
weighs in it: 1/8 of RefineNet, as in the authors' tf-cpn (the text is silent). *Ours*: one target
for all levels, where tf-cpn draws C2's to C5's with sigmas of 2.6, 2.0, 1.7 and 1.4. Keypoints that
are labelled but hidden count in GlobalNet too, as §4.2.3 says ("all annotated keypoints"); tf-cpn
wants empty maps of them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.losses import hard_keypoints, mean_squared
from poised.nets.inception_resnet import InceptionResNetV2
from poised.nets.layers import conv_bn, conv_bn_relu, require_multiple, scaled
from poised.nets.resnet import ResNet

Penalty = Literal["none", "squared", "hard"]
GLOBAL_WEIGHT = 1 / 8  # of each level of GlobalNet, where RefineNet weighs 1


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corner to corner, as the public implementation's weights expect."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)


class GlobalNet(nn.Module):
    """§3.2.1: C2..C5 -> the pyramid's levels, finest first, and each level's heatmap logits.

    A feature pyramid with a 1x1 convolution before every element-wise sum.
    """

    def __init__(self, channels: list[int], width: int, joints: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(conv_bn_relu(c, width, 1) for c in channels)
        self.before_sum = nn.ModuleList(
            nn.Sequential(*conv_bn(width, width, 1)) for _ in channels[1:]
        )
        self.predict = nn.ModuleList(
            nn.Sequential(
                conv_bn_relu(width, width, 1), nn.Conv2d(width, joints, 3, 1, 1, bias=False)
            )
            for _ in channels
        )
        self.norm = nn.ModuleList(nn.BatchNorm2d(joints) for _ in channels)  # after the resize

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        size = (levels[0].shape[-2], levels[0].shape[-1])
        pyramid: list[Tensor] = []
        for index in range(len(levels) - 1, -1, -1):  # from C5 down to C2
            x = self.lateral[index](levels[index])
            if pyramid:
                up = enlarge(pyramid[0], (x.shape[-2], x.shape[-1]))
                x = x + self.before_sum[index](up)
            pyramid.insert(0, x)
        maps = [
            norm(enlarge(predict(x), size))
            for x, predict, norm in zip(pyramid, self.predict, self.norm, strict=True)
        ]
        return pyramid, maps


class RefineBottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a projected shortcut: (N, channels, H, W) -> (N, 2 inside, H, W)."""

    def __init__(self, channels: int, inside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_bn_relu(channels, inside, 1),
            conv_bn_relu(inside, inside, 3),
            *conv_bn(inside, 2 * inside, 1),
        )
        self.shortcut = nn.Sequential(*conv_bn(channels, 2 * inside, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class RefineNet(nn.Module):
    """§3.2.2: the pyramid's finest levels, bottlenecks on the coarse ones, all concatenated.

    bottlenecks: on each level, finest first; the paper's are 0, 1, 2, 3.
    """

    def __init__(self, bottlenecks: list[int], width: int, joints: int) -> None:
        super().__init__()
        self.cascade = nn.ModuleList(
            nn.Sequential(*(RefineBottleneck(width, width // 2) for _ in range(count)))
            for count in bottlenecks
        )
        self.fuse = RefineBottleneck(len(bottlenecks) * width, width // 2)
        self.predict = nn.Sequential(
            nn.Conv2d(width, joints, 3, 1, 1, bias=False), nn.BatchNorm2d(joints)
        )

    def forward(self, pyramid: list[Tensor]) -> Tensor:
        size = (pyramid[0].shape[-2], pyramid[0].shape[-1])
        refined = [
            enlarge(deepen(x), size) for deepen, x in zip(self.cascade, pyramid, strict=False)
        ]
        coarsest_first = torch.cat(refined[::-1], 1)  # (N, 1024, H/4, W/4)
        maps: Tensor = self.predict(self.fuse(coarsest_first))  # (N, joints, H/4, W/4)
        return maps


class CPN(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> supervised heatmaps (N, joints, H/4, W/4).

    They are GlobalNet's (C5 first, C2 last), then RefineNet's, which is the prediction.

    backbone:    depth of a ResNet, or "inception_resnet_v2" (the paper's final one).
    bottlenecks: of RefineNet on C2, C3, C4, C5 (Table 4): [0, 1, 2, 3] is the paper's, [1, 1, 1, 1]
                 and [0, 0, 0, 0] its other designs, [] is GlobalNet alone; fewer than four take
                 the finest levels only (Table 5).
    global_loss, refine_loss: Table 7; hard: the M of hard keypoint mining (Table 6).
    width:       scales every channel; 1.0 is the paper.
    """

    def __init__(
        self,
        joints: int,
        backbone: int | str = 50,
        bottlenecks: tuple[int, ...] = (0, 1, 2, 3),
        global_loss: Penalty = "squared",
        refine_loss: Penalty = "hard",
        hard: int = 8,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if len(bottlenecks) > 4:
            raise ValueError(f"bottlenecks is {list(bottlenecks)}, expected at most four counts")
        if not bottlenecks and global_loss == "none":
            raise ValueError("GlobalNet alone needs its loss: global_loss is none")
        self.backbone = (
            InceptionResNetV2(width)
            if backbone == "inception_resnet_v2"
            else ResNet(int(backbone), scaled(64, width))
        )
        channels = scaled(256, width)
        self.global_net = GlobalNet(self.backbone.channels, channels, joints)
        self.refine_net = RefineNet(list(bottlenecks), channels, joints) if bottlenecks else None
        self.global_loss, self.refine_loss, self.hard = global_loss, refine_loss, hard

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        pyramid, maps = self.global_net(self.backbone(images))
        supervised = maps[::-1] if self.global_loss != "none" else []
        if self.refine_net is not None:
            supervised.append(self.refine_net(pyramid))
        return tuple(supervised)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        """§4.2.3 and Table 7: GlobalNet is punished for every keypoint, RefineNet for the hard."""
        kinds: list[tuple[Penalty, float]] = [(self.global_loss, GLOBAL_WEIGHT)] * len(outputs)
        if self.refine_net is not None:
            kinds[-1] = (self.refine_loss, 1.0)
        return torch.stack(
            [
                share * hard_keypoints(maps, targets, weights, self.hard)
                if kind == "hard"
                else share * mean_squared(maps, targets, weights)
                for maps, (kind, share) in zip(outputs, kinds, strict=True)
            ]
        ).sum()
