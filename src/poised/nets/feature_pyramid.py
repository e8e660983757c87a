"""A feature pyramid over a backbone's levels: Lin et al., arXiv 1612.03144, §3."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from poised.nets.layers import conv_bn, conv_bn_relu


class FeaturePyramid(nn.Module):
    """Levels, finest first, each half the last one's size -> as many of `width` channels.

    A level, by a 1x1 convolution, and the coarser result, twice as large, are added; a 3x3
    convolution smooths the sum. The batch norm of the 1x1 matters where the backbone has none:
    without it a large level drowns what comes from the coarser ones.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Sequential(*conv_bn(c, width, 1)) for c in channels)
        self.smooth = nn.ModuleList(conv_bn_relu(width, width, 3) for _ in channels)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        x = self.smooth[-1](self.lateral[-1](levels[-1]))
        found = [x]
        for index in range(len(levels) - 2, -1, -1):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.smooth[index](x + self.lateral[index](levels[index]))
            found.insert(0, x)
        return found
