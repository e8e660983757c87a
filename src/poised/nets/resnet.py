"""Residual networks: the backbone of Simple Baseline, with torchvision's parameter names.

He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, Table 1. The stride of
a bottleneck stands on its 3x3 convolution, as in torchvision's published weights.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def projection(channels: int, out: int, stride: int) -> nn.Module | None:
    """The projection where a block changes shape; None where its input can be added as it is."""
    if stride == 1 and channels == out:
        return None
    return nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (Fig. 5, left): (N, channels, H, W) -> (N, planes, H/s, W/s)."""

    def __init__(self, channels: int, planes: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, dilation, dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(channels, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        added: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return added


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 (Fig. 5, right): (N, channels, H, W) -> (N, 4 planes, H/s, W/s)."""

    def __init__(self, channels: int, planes: int, stride: int, dilation: int = 1) -> None:
        super().__init__()
        out = 4 * planes
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = projection(channels, out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        added: Tensor = self.relu(y + (x if self.downsample is None else self.downsample(x)))
        return added


class ResNet(nn.Module):
    """(N, 3, H, W) -> C2, C3, C4, C5: maps of strides 4, 8, 16, 32.

    depth:   18, 34, 50, 101 or 152.
    width:   channels of the stem; 64 is the paper's, fewer suit a CPU.
    dilated: how many of the last stages (0 to 3) keep their input's resolution and dilate instead.
    block:   another builder of a residual block, (channels, planes, stride, dilation) to
             4 planes; for depth 50 and more.
    """

    def __init__(
        self,
        depth: int,
        width: int = 64,
        dilated: int = 0,
        block: Callable[[int, int, int, int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise ValueError(f"no ResNet of depth {depth}; known: {', '.join(map(str, BLOCKS))}")
        if not 0 <= dilated <= 3:
            raise ValueError(f"dilated is {dilated}, expected 0 to 3 stages")
        if block is None:
            block = BasicBlock if depth < 50 else Bottleneck
        expansion = 1 if depth < 50 else 4
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels, dilation, self.channels = width, 1, []
        for stage, count in enumerate(BLOCKS[depth]):
            planes, layer = width * 2**stage, nn.Sequential()
            keeps = stage >= 4 - dilated
            for index in range(count):
                stride = 2 if stage and not index and not keeps else 1
                layer.append(block(channels, planes, stride, dilation))
                if keeps and not index:  # from here on the field is as wide as with a stride
                    dilation *= 2
                channels = planes * expansion
            self.add_module(f"layer{stage + 1}", layer)
            self.channels.append(channels)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))  # (N, width, H/4, W/4)
        levels = []
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
            levels.append(x)
        return levels
