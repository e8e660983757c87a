"""EFAFNet: bottlenecks that aggregate and select features, fused levels, dense upsampling.

Xu, Zou and Lin, "Multi-Person Pose Estimation with Enhanced Feature Aggregation and Fusion"; the
sections, equations and tables named here are that paper's. *Readings*:
26 channels a group in the first stage, and reduction 16 in the channel-wise selection, are what
the paper's parameter count allows (eq. 6 writes C x C); eq. 8 adds x twice by its letter, here
once; a strided block takes 2x2 means before its groups, so that eq. 1 holds in every block;
FASM-C keeps the block's 3x3 convolution and puts the hierarchy after it; feature fusion follows
its source, ExFuse (arXiv 1804.03821); the softmax that §III-D names does not go with a squared
error and is left out. DUC's place is contradictory: §I attaches it to the fused features, Fig. 2
and §III-D to the ResNet's output; here it stands on C5, and its maps are the deep features of the
fusion. It takes 1/32 to the 1/4 of all other heatmaps by one 1x1 (§IV-D.3 speaks of 512x512 maps,
more than its input has pixels). The ablations mine no keypoints, as only Tables I and XI mark
mining by a star. What comes before a heatmap starts as in Simple Baseline's code, on which the
paper builds; LSS starts with a positive second 1x1, as no gradient comes through a shut ReLU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.losses import hard_keypoints, mean_squared
from poised.nets.layers import conv_bn_relu, require_multiple, resize, scaled, start_small
from poised.nets.resnet import ResNet, projection
from poised.nets.simple_baseline import deconvolutions

GROUPS = 4  # s of eq. 1
GROUP_WIDTH = 26 / 64  # of a stage's planes
REDUCTION = 16  # of the channel-wise selection
UPSAMPLING = 8  # r of the dense upsampling convolution: 1/32 -> 1/4

Select = Literal["none", "parallel", "cs-lss", "lss-cs"]
# what a new FSM multiplies its input by: of eq. 8, 2 + alpha + beta of 0.5 and 0.77; else
# (1 + alpha) (1 + beta)
GAIN: dict[Select, float] = {"none": 1.0, "parallel": 3.27, "cs-lss": 2.7, "lss-cs": 2.7}


class FeatureAggregation(nn.Module):
    """FAM, eq. 1: y1 = x1, yi = Gi(xi + y(i-1)) over four groups of the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            conv_bn_relu(channels // GROUPS, channels // GROUPS, 3) for _ in range(GROUPS - 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        first, *rest = x.chunk(GROUPS, 1)
        y = [first]
        for convolution, group in zip(self.convolutions, rest, strict=True):
            y.append(convolution(group + y[-1]))
        return torch.cat(y, 1)


class ChannelSelection(nn.Module):
    """CS, eqs. 4 to 6: alpha (N, C, 1, 1) from the mean and the maximum of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inside = max(1, channels // REDUCTION)
        self.down = nn.Conv2d(channels, inside, 1)
        self.up = nn.Conv2d(inside, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        # not by torch's pool, whose gradient has no fixed bits on GPUs
        greatest = x.flatten(2).max(2).values[..., None, None]
        z = functional.adaptive_avg_pool2d(x, 1) + greatest  # eq. 4
        return torch.sigmoid(self.up(functional.relu(self.down(z))))  # eq. 6


class LocationSelection(nn.Module):
    """LSS, eq. 2: beta (N, 1, H, W); the ReLU before the sigmoid keeps it at 0.5 or above.

    The second convolution has one weight and one bias. They start positive: where its output is
    negative everywhere, as torch's start has it in 3 to 9 of ResNet-50's 16 blocks, nothing learns.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.summarise = nn.Conv2d(channels, 1, 1)
        self.weigh = nn.Conv2d(1, 1, 1)
        nn.init.ones_(self.weigh.weight)
        nn.init.ones_(self.weigh.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.summarise(x))
        return torch.sigmoid(functional.relu(self.weigh(inner)))


class FASMBottleneck(nn.Module):
    """A ResNet bottleneck with FAM and FSM, Fig. 3b: (N, channels, H, W) -> (N, 4 planes, ...).

    aggregate: FAM instead of the 3x3 convolution ("bottleneck"), after it ("convolution": Table
    VIII's FASM-C), or not at all ("none"). select: how CS and LSS are combined (Table VII).
    """

    def __init__(
        self,
        channels: int,
        planes: int,
        stride: int,
        dilation: int = 1,
        *,
        aggregate: Literal["none", "bottleneck", "convolution"],
        select: Select,
    ) -> None:
        super().__init__()
        out = 4 * planes
        inside = (
            GROUPS * max(1, round(planes * GROUP_WIDTH)) if aggregate == "bottleneck" else planes
        )
        self.conv1 = nn.Conv2d(channels, inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inside)
        self.conv2, self.bn2 = None, None
        if aggregate != "bottleneck":
            self.conv2 = nn.Conv2d(inside, inside, 3, stride, dilation, dilation, bias=False)
            self.bn2 = nn.BatchNorm2d(inside)
        self.halve = nn.AvgPool2d(2) if stride == 2 and aggregate == "bottleneck" else nn.Identity()
        self.aggregate = FeatureAggregation(inside) if aggregate != "none" else nn.Identity()
        self.conv3 = nn.Conv2d(inside, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = projection(channels, out, stride)
        self.select = select
        if select != "none":
            self.channel_selection = ChannelSelection(out)
            self.location_selection = LocationSelection(out)
            self.start_as_plain()

    @torch.no_grad()
    def start_as_plain(self) -> None:
        """Scale the last batch norm, new or of a ResNet's weights, so that the block adds as much
        as without FSM: with three times as much a ResNet learns slower (docs/comparison.md)."""
        for numbers in self.bn3.parameters():
            numbers.div_(GAIN[self.select])

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        if self.conv2 is not None and self.bn2 is not None:
            y = functional.relu(self.bn2(self.conv2(y)))
        f = self.bn3(self.conv3(self.aggregate(self.halve(y))))  # F of eq. 8
        identity = x if self.downsample is None else self.downsample(x)
        return functional.relu(identity + self._selected(f))

    def _selected(self, f: Tensor) -> Tensor:
        if self.select == "none":
            return f
        if self.select == "parallel":  # eq. 8: (F + alpha F) + (F + beta F)
            both: Tensor = self.channel_selection(f) + self.location_selection(f)
            return f * (2 + both)
        order: list[nn.Module] = [self.channel_selection, self.location_selection]
        for selection in order if self.select == "cs-lss" else order[::-1]:
            f = f + selection(f) * f  # eqs. 7 and 3, one after the other
        return f


class FeatureFusion(nn.Module):
    """FFM, §III-C: C2 embedded by the deep features, and the deep features: (N, width, H/4, W/4).

    Its semantic supervision is EFAFNet's auxiliary heads on C2 to C4.
    """

    def __init__(self, shallow: int, deep: int, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(shallow, width, 1)
        self.embed = nn.Conv2d(deep, width, 3, 1, 1)
        self.reduce = conv_bn_relu(width + deep, width, 1)

    def forward(self, c2: Tensor, deep: Tensor) -> Tensor:
        embedded = self.project(c2) * self.embed(deep)
        reduced: Tensor = self.reduce(torch.cat([embedded, deep], 1))
        return reduced


def from_res2net(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published Res2Net (26w4s: arXiv 1904.01169) by the names of a ResNet with FAM.

    Res2Net lets its last group of channels pass, FAM its first, so that the groups are turned
    round by one. Each weight has its place, but not each sum: eq. 1 adds the passing group to the
    next, Res2Net does not; and the first block of a Res2Net's stage adds none, and takes 3x3 means
    of the passing group, where ours takes 2x2 means of all.
    """
    ours = {}
    for name, value in tensors.items():
        if re.fullmatch(r"layer\d\.\d+\.(conv1|bn1)\..*", name) and value.ndim:
            value = value.roll(len(value) // GROUPS, 0)
        elif re.fullmatch(r"layer\d\.\d+\.conv3\.weight", name):
            value = value.roll(value.shape[1] // GROUPS, 1)
        name = re.sub(r"\.convs\.(\d)\.", r".aggregate.convolutions.\1.0.", name)
        ours[re.sub(r"\.bns\.(\d)\.", r".aggregate.convolutions.\1.1.", name)] = value
    return ours


class EFAFNet(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> heatmaps (N, joints, H/4, W/4).

    With fusion: the auxiliary heads' on C2, C3, C4, then the prediction; without, it alone.

    depth:     of the ResNet, 50 or more.
    aggregate: FAM's place (FASMBottleneck); select: FSM's form, "none" for no FSM (Table VI, VII).
    fusion:    FFM; dense_upsampling: DUC in place of the three deconvolutions (Table VI).
    semantic:  weight of the auxiliary heads' loss.
    hard:      R of hard keypoint mining (Table X); None punishes every keypoint.
    width:     scales every channel; 1.0 is the paper.
    """

    def __init__(
        self,
        joints: int,
        depth: int = 50,
        aggregate: Literal["none", "bottleneck", "convolution"] = "bottleneck",
        select: Select = "parallel",
        fusion: bool = True,
        dense_upsampling: bool = True,
        semantic: float = 1.0,
        hard: int | None = 8,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if depth < 50:
            raise ValueError(f"depth is {depth}; FASM stands in bottlenecks, of depth 50 or more")
        block = partial(FASMBottleneck, aggregate=aggregate, select=select)
        self.backbone = ResNet(depth, scaled(64, width), block=block)
        filters, channels = scaled(256, width), self.backbone.channels
        if dense_upsampling:  # DUC, §III-D
            deep = joints
            dense = nn.Conv2d(channels[-1], joints * UPSAMPLING**2, 1)
            self.decode: nn.Module = nn.Sequential(
                dense if fusion else start_small(dense), nn.PixelShuffle(UPSAMPLING)
            )
        else:
            deep = filters
            self.decode = deconvolutions(channels[-1], filters)
        self.auxiliary = nn.ModuleList(
            start_small(nn.Conv2d(c, joints, 1)) for c in (channels[:3] if fusion else [])
        )
        self.fusion = FeatureFusion(channels[0], deep, filters) if fusion else None
        self.predict = (  # DUC alone gives the heatmaps themselves
            start_small(nn.Conv2d(filters, joints, 1))
            if fusion or not dense_upsampling
            else nn.Identity()
        )
        self.semantic, self.hard = semantic, hard

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.backbone(images)
        x = self.decode(levels[-1])  # (N, joints or 256, H/4, W/4)
        if self.fusion is not None:
            x = self.fusion(levels[0], x)
        auxiliary = [
            resize(head(level), levels[0])
            for head, level in zip(self.auxiliary, levels, strict=False)
        ]
        return (*auxiliary, self.predict(x))

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        """§IV-D.6: the squared error of the R hardest keypoints; of all on the auxiliary heads."""
        count = self.hard or targets.shape[1]
        total = hard_keypoints(outputs[-1], targets, weights, count)
        for maps in outputs[:-1]:
            total = total + self.semantic * mean_squared(maps, targets, weights)
        return total
