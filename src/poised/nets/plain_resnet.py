"""The plain baseline of CPN's Table 3: a ResNet, dilated or not, and one prediction on C5.

Papandreou et al., arXiv 1701.01779, predict from a dilated ResNet in this way; CPN (arXiv
1711.07319, Table 3) measures "ResNet-50" with no dilation, and with res5, res4-5 or res3-5
dilated. *Reading*: the prediction is one 3x3 convolution, resized to the heatmap's size.
"""

from __future__ import annotations

from torch import Tensor, nn

from poised.losses import mean_squared
from poised.nets.layers import require_multiple, resize, scaled
from poised.nets.resnet import ResNet


class PlainResNet(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> one heatmap tensor (N, joints, H/4, W/4).

    dilated: how many of the last stages keep the resolution and dilate: 0, 1, 2, 3.
    """

    def __init__(self, joints: int, depth: int = 50, dilated: int = 0, width: float = 1.0) -> None:
        super().__init__()
        self.backbone = ResNet(depth, scaled(64, width), dilated)
        self.predict = nn.Conv2d(self.backbone.channels[-1], joints, 3, 1, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.backbone(images)
        return (resize(self.predict(levels[-1]), levels[0]),)

    def loss(self, outputs: tuple[Tensor, ...], targets: Tensor, weights: Tensor) -> Tensor:
        return mean_squared(outputs[-1], targets, weights)
