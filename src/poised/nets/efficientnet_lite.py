"""EfficientNet-Lite0: the backbone of our own small models, and how its ImageNet weights are read.

Tan and Le, "EfficientNet", arXiv 1905.11946; the Lite variant (no squeeze-and-excitation, ReLU6,
unscaled stem) is Google's, 2020. Batch normalisation is folded into the convolutions: the
published statistics are kept, a small batch cannot spoil them, and a CPU trains faster.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-3  # of the published weights

# expansion, channels, blocks, kernel, stride of the first block: Table 1 of the paper
STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)
LEVELS = (1, 2, 4, 6)  # the last stages of strides 4, 8, 16, 32
LEVEL_CHANNELS = tuple(STAGES[stage][1] for stage in LEVELS)


class InvertedResidual(nn.Module):
    """1x1 up, depthwise k x k, 1x1 down; added to its input where the shapes allow."""

    def __init__(self, channels: int, out: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = channels * expansion
        self.expand_conv = nn.Conv2d(channels, wide, 1) if expansion > 1 else None
        self.depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide)
        self.project_conv = nn.Conv2d(wide, out, 1)
        self.act = nn.ReLU6(inplace=True)
        self.is_residual = stride == 1 and channels == out

    def forward(self, x: Tensor) -> Tensor:
        wide = x if self.expand_conv is None else self.act(self.expand_conv(x))
        y: Tensor = self.project_conv(self.act(self.depthwise_conv(wide)))
        return x + y if self.is_residual else y


class EfficientNetLite0(nn.Module):
    """(N, 3, H, W) -> four maps of strides 4, 8, 16, 32 with LEVEL_CHANNELS channels.

    frozen: how many of the first stages keep their weights in training; with them, the stem. It
            trains faster, and little data cannot spoil them.
    """

    def __init__(self, frozen: int = 0) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.act = nn.ReLU6(inplace=True)
        self.stages = nn.ModuleList()
        channels = 32
        for expansion, out, blocks, kernel, stride in STAGES:
            stage = nn.Sequential()
            for block in range(blocks):
                first = block == 0
                stage.append(
                    InvertedResidual(
                        channels if first else out, out, expansion, kernel, stride if first else 1
                    )
                )
            self.stages.append(stage)
            channels = out
        if frozen:
            for module in [self.conv_stem, *self.stages[:frozen]]:
                module.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.act(self.conv_stem(images))  # (N, 32, H/2, W/2)
        levels = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in LEVELS:
                levels.append(x)
        return levels


def fold_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published ImageNet state (`_conv_stem`, `_blocks.N...`, with batch norms) as ours.

    w' = w g / sqrt(var + eps); b' = beta - mean g / sqrt(var + eps).
    """
    folded: dict[str, Tensor] = {}

    def fold(ours: str, conv: str, norm: str) -> None:
        gain = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
        folded[f"{ours}.weight"] = state[f"{conv}.weight"] * gain[:, None, None, None]
        folded[f"{ours}.bias"] = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain

    fold("conv_stem", "_conv_stem", "_bn0")
    number = 0  # the published blocks are counted through, ours stand in stages
    for stage, (expansion, _, blocks, _, _) in enumerate(STAGES):
        for block in range(blocks):
            here, there = f"stages.{stage}.{block}", f"_blocks.{number}"
            if expansion > 1:
                fold(f"{here}.expand_conv", f"{there}._expand_conv", f"{there}._bn0")
            fold(f"{here}.depthwise_conv", f"{there}._depthwise_conv", f"{there}._bn1")
            fold(f"{here}.project_conv", f"{there}._project_conv", f"{there}._bn2")
            number += 1
    return folded
