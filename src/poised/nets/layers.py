"""What more than one paper's network is built of."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def scaled(channels: int, width: float) -> int:
    """A paper's channel count at a `width` multiplier: a multiple of 8, at least 8."""
    return max(8, 8 * round(channels * width / 8))


def require_multiple(images: Tensor, multiple: int) -> None:
    """Raise ValueError unless both sides of (N, 3, H, W) are multiples of `multiple`."""
    if torch.onnx.is_in_onnx_export():  # a traced graph has one size, that of its recipe
        return
    height, width = images.shape[-2:]
    if height % multiple or width % multiple:
        raise ValueError(f"input is {width}x{height}, both sides must be multiples of {multiple}")


def conv_bn(
    channels: int, out: int, kernel: int, stride: int = 1, dilation: int = 1
) -> list[nn.Module]:
    """A convolution that keeps the size (divided by the stride), and its batch norm."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(channels, out, kernel, stride, padding, dilation, bias=False)
    return [conv, nn.BatchNorm2d(out)]


def conv_bn_relu(
    channels: int, out: int, kernel: int, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(*conv_bn(channels, out, kernel, stride, dilation), nn.ReLU(inplace=True))


def start_small(convolution: nn.Conv2d) -> nn.Conv2d:
    """The same, its weights of standard deviation 0.001 and its bias zero.

    Before a loss on heatmaps it starts near empty ones: Simple Baseline's and HRNet's code.
    """
    nn.init.normal_(convolution.weight, std=0.001)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def separable(channels: int, kernel: int) -> list[nn.Module]:
    """A depthwise convolution and its batch norm, then a 1x1 with batch norm and ReLU."""
    depthwise = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False)
    return [depthwise, nn.BatchNorm2d(channels), conv_bn_relu(channels, channels, 1)]


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, to the height and width of `like`."""
    return functional.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


class PreactBottleneck(nn.Module):
    """A residual unit with norm and ReLU before each convolution: 1x1, 3x3, 1x1.

    He et al., arXiv 1603.05027, as the stacked hourglass uses it: (N, channels, H, W) ->
    (N, out, H, W), out / 2 channels inside. A projection stands on the shortcut where the channels
    change, or where `project` asks for one.
    """

    def __init__(self, channels: int, out: int, dilation: int = 1, project: bool = False) -> None:
        super().__init__()
        inside = out // 2
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, inside, 1)
        self.bn2 = nn.BatchNorm2d(inside)
        self.conv2 = nn.Conv2d(inside, inside, 3, 1, dilation, dilation)
        self.bn3 = nn.BatchNorm2d(inside)
        self.conv3 = nn.Conv2d(inside, out, 1)
        self.shortcut = nn.Conv2d(channels, out, 1) if project or channels != out else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(functional.relu(self.bn1(x)))
        y = self.conv2(functional.relu(self.bn2(y)))
        y = self.conv3(functional.relu(self.bn3(y)))
        added: Tensor = y + (x if self.shortcut is None else self.shortcut(x))
        return added
