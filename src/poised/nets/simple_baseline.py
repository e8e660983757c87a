"""Simple Baseline: a ResNet, three deconvolutions, a 1x1 convolution.

Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking", arXiv 1804.06208, §2.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from poised.nets.resnet import ResNet


class SimpleBaseline(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> one heatmap tensor (N, joints, H/4, W/4).

    width: scales every channel; 1.0 is the paper.
    """

    def __init__(self, joints: int, depth: int = 50, width: float = 1.0) -> None:
        super().__init__()
        self.backbone = ResNet(depth, width=round(64 * width))
        filters, channels = round(256 * width), self.backbone.channels[-1]
        self.deconv_layers = nn.Sequential()
        for _ in range(3):
            self.deconv_layers.extend(
                [
                    nn.ConvTranspose2d(channels, filters, 4, 2, 1, bias=False),
                    nn.BatchNorm2d(filters),
                    nn.ReLU(inplace=True),
                ]
            )
            channels = filters
        self.final_layer = nn.Conv2d(filters, joints, 1)
        for module in [*self.deconv_layers, self.final_layer]:
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=math.sqrt(1e-6))  # the paper's code: 0.001

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        height, width = images.shape[-2:]
        if height % 32 or width % 32:
            raise ValueError(f"input is {width}x{height}, both sides must be multiples of 32")
        return (self.final_layer(self.deconv_layers(self.backbone(images)[-1])),)
