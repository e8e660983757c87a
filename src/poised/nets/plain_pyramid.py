"""Plain 3x3 convolutions for a CPU's matrix unit: a ResNet-18 shape with a feature pyramid.

Depthwise convolutions save arithmetic and not time where memory is the limit; this one is all
dense. The pyramid is Lin et al.'s, arXiv 1612.03144.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from poised.nets.layers import require_multiple
from poised.nets.resnet import ResNet


class PlainPyramid(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> one heatmap tensor (N, joints, H/4, W/4).

    width: channels of the stem; the pyramid has twice as many. 32 gives 3.0M parameters.
    """

    def __init__(self, joints: int, width: int = 32) -> None:
        super().__init__()
        self.backbone = ResNet(18, width=width)
        self.lateral = nn.ModuleList(nn.Conv2d(c, 2 * width, 1) for c in self.backbone.channels)
        self.smooth = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Conv2d(2 * width, joints, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.backbone(images)
        x = self.lateral[-1](levels[-1])
        for index in range(len(levels) - 2, -1, -1):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = x + self.lateral[index](levels[index])
        return (self.head(self.smooth(x)),)
