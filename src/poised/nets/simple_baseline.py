"""Simple Baseline: a ResNet, three deconvolutions, a 1x1 convolution.

Xiao, Wu and Wei, "Simple Baselines for Human Pose Estimation and Tracking", arXiv 1804.06208, §2.
"""

from __future__ import annotations

from torch import Tensor, nn

from poised.losses import mean_squared
from poised.nets.layers import require_multiple, scaled, start_small
from poised.nets.resnet import ResNet


class SimpleBaseline(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> one heatmap tensor (N, joints, H/4, W/4).

    depth: of the ResNet; width: scales every channel, 1.0 is the paper.
    """

    def __init__(self, joints: int, depth: int = 50, width: float = 1.0) -> None:
        super().__init__()
        self.backbone = ResNet(depth, scaled(64, width))
        filters = scaled(256, width)
        self.deconv_layers = deconvolutions(self.backbone.channels[-1], filters)
        self.final_layer = start_small(nn.Conv2d(filters, joints, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        c5 = self.backbone(images)[-1]  # (N, 2048, H/32, W/32)
        return (self.final_layer(self.deconv_layers(c5)),)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        return mean_squared(outputs[-1], targets, weights)


def deconvolutions(channels: int, filters: int) -> nn.Sequential:
    """Three 4x4 deconvolutions of stride 2 with norm and ReLU: (N, filters, 8 H, 8 W)."""
    layers = nn.Sequential()
    for _ in range(3):
        deconv = nn.ConvTranspose2d(channels, filters, 4, 2, 1, bias=False)
        nn.init.normal_(deconv.weight, std=0.001)
        layers.extend([deconv, nn.BatchNorm2d(filters), nn.ReLU(inplace=True)])
        channels = filters
    return layers
