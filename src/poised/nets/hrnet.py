"""HRNet: a high-resolution stream all the way, coarser ones beside it, all exchanging.

Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019,
arXiv 1902.09212, §3 and Fig. 1. Parameter names are those of the published weights, which put the
backbone's beside the last layer's. All convolutions start as in the public code: the sums that the
last layer reads are not normed, so that torch's own start gives heatmaps a hundred times too high.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from poised.losses import mean_squared
from poised.nets.layers import conv_bn, conv_bn_relu, require_multiple, scaled, start_small
from poised.nets.resnet import BasicBlock, Bottleneck

MODULES = (1, 4, 3)  # exchange units in stages 2, 3, 4
BLOCKS = 4  # residual units a stream in each


class ExchangeUnit(nn.Module):
    """Parallel streams of residual units, then each stream receives all (§3, Fig. 3).

    Streams (N, channels[i], H / 2^i, W / 2^i), finest first; `outputs` of them are formed again.
    """

    def __init__(self, channels: list[int], outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(c, c, 1) for _ in range(BLOCKS))) for c in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(channels, source, target) for source in range(len(channels)))
            for target in range(outputs)
        )

    def forward(self, streams: list[Tensor]) -> list[Tensor]:
        streams = [branch(x) for branch, x in zip(self.branches, streams, strict=True)]
        fused = []
        for layers in self.fuse_layers:
            parts = [layer(x) for layer, x in zip(layers, streams, strict=True)]  # type: ignore[call-overload]
            total: Tensor = parts[0]
            for part in parts[1:]:
                total = total + part
            fused.append(functional.relu(total))
        return fused


def _exchange(channels: list[int], source: int, target: int) -> nn.Module:
    """From one stream to another: 1x1 and nearest upwards, strided 3x3 by 3x3 downwards."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(
            *conv_bn(channels[source], channels[target], 1),
            nn.Upsample(scale_factor=2.0 ** (source - target), mode="nearest"),
        )
    halvings = [
        conv_bn_relu(channels[source], channels[source], 3, 2) for _ in range(target - source - 1)
    ]
    last = nn.Sequential(*conv_bn(channels[source], channels[target], 3, 2))
    return nn.Sequential(*halvings, last)


class HRNetBackbone(nn.Module):
    """(N, 3, H, W) -> the finest stream (N, channels, H/4, W/4), after all exchanges."""

    def __init__(self, stem: int, channels: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(3, stem, 3, 2)
        self.conv2, self.bn2 = conv_bn(stem, stem, 3, 2)
        self.layer1 = nn.Sequential(
            *(Bottleneck(stem if index == 0 else 4 * stem, stem, 1) for index in range(4))
        )
        before = [4 * stem]
        for stage, modules in enumerate(MODULES, start=2):
            after = [channels * 2**index for index in range(stage)]
            self.add_module(f"transition{stage - 1}", _transition(before, after))
            units = nn.Sequential()
            for index in range(modules):
                is_last = stage == 4 and index == modules - 1  # only the finest is predicted from
                units.append(ExchangeUnit(after, 1 if is_last else stage))
            self.add_module(f"stage{stage}", units)
            before = after

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.relu(self.bn2(self.conv2(x)))  # (N, 64, H/4, W/4)
        streams = [self.layer1(x)]  # (N, 256, H/4, W/4)
        for stage in (2, 3, 4):
            transition = self.get_submodule(f"transition{stage - 1}")
            streams = [  # a new stream starts from the coarsest one
                step(streams[min(index, len(streams) - 1)])
                for index, step in enumerate(transition.children())
            ]
            streams = self.get_submodule(f"stage{stage}")(streams)
        finest: Tensor = streams[0]
        return finest


class HRNet(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> one heatmap tensor (N, joints, H/4, W/4).

    streams: channels of the finest stream, 32 or 48 in the paper; each coarser one has twice as
             many. width: scales every channel.
    """

    def __init__(self, joints: int, streams: int = 32, width: float = 1.0) -> None:
        super().__init__()
        finest = scaled(streams, width)
        self.backbone = HRNetBackbone(scaled(64, width), finest)
        self.final_layer = nn.Conv2d(finest, joints, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                start_small(module)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        return (self.final_layer(self.backbone(images)),)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        return mean_squared(outputs[-1], targets, weights)


def _transition(before: list[int], after: list[int]) -> nn.ModuleList:
    """Streams of the stage before -> those of the next: one more, channels adapted."""
    steps = nn.ModuleList()
    for index, channels in enumerate(after):
        if index >= len(before):
            steps.append(nn.Sequential(conv_bn_relu(before[-1], channels, 3, 2)))
        elif before[index] != channels:
            steps.append(conv_bn_relu(before[index], channels, 3))
        else:
            steps.append(nn.Identity())
    return steps
