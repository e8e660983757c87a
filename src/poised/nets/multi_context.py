"""Multi-Context Attention: a nested hourglass whose features are attended to at many scales.

Chu, Yang, Ouyang, Ma, Yuille and Wang, "Multi-Context Attention for Human Pose Estimation", CVPR
2017, arXiv 1702.07432. From the authors' released code, where the text leaves it open: the order
inside HRU's third branch; a side branch at recursion depth n > 1 is one residual, then n - 2
HRUs; part attention is in stacks 5 to 8 (the text says both "4th to 8th" and "5 to 8"), which of
fewer stacks is read as the later half; the mean field starts from s itself, and the unary s stays
in each step (eq. 7; eq. 8 leaves it out); its kernel W is 11x11; s has no activation after its
convolution (eqs. 3 and 11 write a g); every map is of features after a norm and ReLU (of raw sums
much of many a map is 0 or 1 from the start, and little is learnt through it); the features that a
stack gives on to the next are those before its attention, whose many values near zero do not stack
(§5.2.2). The released code has no multi-resolution attention: that a norm and ReLU stand on each
level is read from its one map.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.losses import mean_squared
from poised.nets.hourglass import BackProjection, Hourglass, Stem, linear, residuals
from poised.nets.layers import PreactBottleneck, require_multiple, scaled

MEAN_FIELD_STEPS = 3
FIELD = 11  # pixels a side of the mean field's kernel

Normalise = Literal["crf", "softmax"]
Attention = Literal["none", "one", "multi-resolution"]


class HourglassResidualUnit(nn.Module):
    """The paper's HRU (§4.1, Fig. 3): x + F(x) + P(x), eq. 2. (N, C, H, W), H and W even.

    F is the bottleneck; P works at half the resolution, so that one unit sees 10x10 pixels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual = PreactBottleneck(channels, channels)  # x + F(x)
        self.pooled = nn.Sequential(  # P(x)
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.Upsample(scale_factor=2.0, mode="nearest"),
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.residual(x) + self.pooled(x)
        return added


class AttentionMaps(nn.Module):
    """Features (N, C, h, w) -> `maps` attention maps Phi (N, maps, h, w), §5.2.1.

    s is a 3x3 convolution of the features (eq. 3). "crf": three mean-field steps that share one
    convolution W a map, Phi_t = sigmoid(W * Phi_(t-1) + s) (eqs. 7, 8). "softmax": over the map's
    pixels (eq. 4).
    """

    def __init__(self, channels: int, maps: int, normalise: Normalise) -> None:
        super().__init__()
        self.summarise = nn.Conv2d(channels, maps, 3, 1, 1)
        self.correlate = (
            nn.Conv2d(maps, maps, FIELD, 1, FIELD // 2, groups=maps, bias=False)
            if normalise == "crf"
            else None
        )

    def forward(self, features: Tensor) -> Tensor:
        s: Tensor = self.summarise(features)
        if self.correlate is None:
            return s.flatten(2).softmax(-1).view_as(s)
        phi = s
        for _ in range(MEAN_FIELD_STEPS):
            phi = torch.sigmoid(self.correlate(phi) + s)
        return phi


class HolisticAttention(nn.Module):
    """§5.2.2: f -> h1 (eqs. 5 or 9), by one map of f or by one of each of the decoder's levels.

    f comes normed and rectified; the levels are sums as the hourglass gives them, and are so here.
    """

    def __init__(self, channels: int, levels: int, normalise: Normalise) -> None:
        super().__init__()
        self.rectify = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()) for _ in range(levels)
        )
        self.attend = nn.ModuleList(
            AttentionMaps(channels, 1, normalise) for _ in range(max(1, levels))
        )

    def forward(self, f: Tensor, decoded: list[Tensor]) -> Tensor:
        sources = [f]
        if self.rectify:
            sources = [rectify(level) for rectify, level in zip(self.rectify, decoded, strict=True)]
        size = f.shape[-2:]
        phi = torch.stack(
            [
                functional.interpolate(attend(source), size=size, mode="nearest")
                for attend, source in zip(self.attend, sources, strict=True)
            ]
        ).sum(0)
        return f * phi


class PartPrediction(nn.Module):
    """§5.2.4: each part p has its own map of h1 (eq. 11), features (eq. 12), classifier (eq. 13).

    A classifier is linear, so w_p * (h1 x Phi_p) = (w_p * h1) x Phi_p: one convolution serves all
    parts, and each is scaled by its map. The bias comes after.
    """

    def __init__(self, channels: int, joints: int, normalise: Normalise) -> None:
        super().__init__()
        self.attend = AttentionMaps(channels, joints, normalise)
        self.classify = nn.Conv2d(channels, joints, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(joints, 1, 1))

    def forward(self, h1: Tensor) -> Tensor:
        maps: Tensor = self.classify(h1) * self.attend(h1) + self.bias
        return maps


class MultiContextAttention(nn.Module):
    """(N, 3, H, W), H and W multiples of 64 -> one (N, joints, H/4, W/4) a stack.

    The switches of Fig. 8, in the order in which it adds them:
    attention: "none" is the baseline BL; "one" is +MS, one holistic map at the end of every
               stack; "multi-resolution" is +MR, with the refined map of eq. 10.
    hru:       +HRU, hourglass residual units in the side branches.
    parts:     +HP, part attention in the later half of the stacks, the paper's 5 to 8, instead of
               the refined holistic map.
    normalise: "crf", or "softmax" (§7.2, Fig. 10).
    stacks: the paper's 8 (2 in Fig. 10); width: scales every channel, 1.0 is the paper.
    """

    def __init__(
        self,
        joints: int,
        stacks: int = 8,
        attention: Attention = "multi-resolution",
        hru: bool = True,
        parts: bool = True,
        normalise: Normalise = "crf",
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if parts and attention == "none":
            raise ValueError("parts zoom in from the holistic attention: attention is none")
        channels, count = 4 * scaled(64, width), range(stacks)
        levels = 4 if attention == "multi-resolution" else 0
        self.stem = Stem(channels)
        side = partial(nested_side, channels) if hru else None
        self.hourglasses = nn.ModuleList(Hourglass(channels, side=side) for _ in count)
        self.after = nn.ModuleList(
            nn.Sequential(residuals(channels, 1), *linear(channels)) for _ in count
        )
        self.holistic, self.refine, self.predict = (nn.ModuleList() for _ in range(3))
        for index in count:
            zooms = parts and index >= stacks // 2
            if attention != "none":
                self.holistic.append(HolisticAttention(channels, levels, normalise))
                refines = levels and not zooms
                self.refine.append(
                    AttentionMaps(channels, 1, normalise) if refines else nn.Identity()
                )
            self.predict.append(
                PartPrediction(channels, joints, normalise)
                if zooms
                else nn.Conv2d(channels, joints, 1)
            )
        self.back = nn.ModuleList(BackProjection(channels, joints) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 64)
        x = self.stem(images)  # (N, 256, H/4, W/4)
        supervised = []
        for index, hourglass in enumerate(self.hourglasses):
            decoded = hourglass(x)  # at 8, 16, 32, 64 pixels of a 256-pixel input
            features = self.after[index](decoded[-1])
            h = features
            if len(self.holistic):
                h = self.holistic[index](features, decoded)  # h1, eq. 9
                if isinstance(self.refine[index], AttentionMaps):
                    h = h * self.refine[index](h)  # h2, eq. 10
            maps = self.predict[index](h)  # (N, joints, H/4, W/4)
            supervised.append(maps)
            if index < len(self.back):
                x = x + self.back[index](features, maps)  # not h: see above
        return tuple(supervised)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        """Eq. 14 at every stack; a mean over joints and pixels where the paper writes a sum."""
        return torch.stack([mean_squared(maps, targets, weights) for maps in outputs]).sum()


def nested_side(channels: int, level: int) -> nn.Module:
    """A side branch of the nested hourglass; level n, 1 at the coarsest."""
    units = [HourglassResidualUnit(channels) for _ in range(level - 2)]
    return nn.Sequential(PreactBottleneck(channels, channels), *units)
