"""A small network for CPUs: EfficientNet-Lite0, a feature pyramid, one 3x3, one 1x1.

The pyramid is Lin et al.'s (arXiv 1612.03144) with additions from the coarse level down to
stride 4. It serves both bundled models: `joints` maps for a pose, or five for a detector.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from poised.nets.efficientnet_lite import LEVEL_CHANNELS, EfficientNetLite0
from poised.nets.layers import require_multiple


class LitePyramid(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> one tensor (N, joints, H/stride, W/stride).

    width:  channels of the pyramid.
    stride: 4 or 8, of the output.
    frozen: how many of the backbone's first stages keep their weights in training; with them, the
            stem. It trains faster, and little data cannot spoil them.
    """

    def __init__(self, joints: int, width: int = 64, stride: int = 4, frozen: int = 0) -> None:
        super().__init__()
        if stride not in (4, 8):
            raise ValueError(f"stride is {stride}, expected 4 or 8")
        self.backbone = EfficientNetLite0()
        if frozen:
            for module in [self.backbone.conv_stem, *self.backbone.stages[:frozen]]:
                module.requires_grad_(False)
        self.first = 0 if stride == 4 else 1  # the finest level used
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in LEVEL_CHANNELS[self.first :])
        self.smooth = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            for _ in self.lateral
        )
        self.head = nn.Conv2d(width, joints, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.backbone(images)[self.first :]
        x = self.smooth[-1](self.lateral[-1](levels[-1]))
        for index in range(len(levels) - 2, -1, -1):
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
            x = self.smooth[index](x + self.lateral[index](levels[index]))
        return (self.head(x),)
