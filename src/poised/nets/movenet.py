"""MoveNet's network, made top-down: MobileNetV2, a thin pyramid to stride 4, a head for the joints.

The original (Google, 2021) looks at a whole picture and picks one person by a map of centres. Here
a crop is one person's already, so that of its four heads the joints' maps alone are kept; its
published weights are read by `poised import-weights --as movenet`. MobileNetV2 is Sandler et al.'s,
arXiv 1801.04381, Table 2, at width 1.75; its batch norms are folded.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.nets.efficientnet_lite import InvertedResidual
from poised.nets.feature_pyramid import FeaturePyramid
from poised.nets.layers import require_multiple, scaled
from poised.nets.lite_pyramid import SecondLook

WIDTH = 1.75
# expansion, channels, blocks, stride of the first block: Table 2 of the paper
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
LEVELS = (1, 2, 3)  # the last stages of strides 4, 8, 16 that the pyramid reads; then the last one
LAST = 1280  # channels of the 1x1 behind the stages, at stride 32
SHORT = 6  # stages of the short network, which has one block of the last of them
PYRAMID = (24, 32, 64)  # its channels at strides 4, 8, 16
HEAD = 96


class CornerConv2d(nn.Conv2d):
    """3x3, stride 2, zeros beyond the right and lower edges alone: TensorFlow's "same" padding."""

    def __init__(self, channels: int, out: int, groups: int = 1) -> None:
        super().__init__(channels, out, 3, 2, 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (0, 1, 0, 1)))


class MobileNetV2(nn.Module):
    """(N, 3, H, W) -> maps of strides 4, 8, 16, 32 with `channels` channels.

    frozen: how many of the first stages keep their weights in training; with them, the stem.
    short: with one block at stride 32 and no 1x1 behind it: 2.0 of 6.2 million parameters.
    """

    def __init__(self, frozen: int = 0, short: bool = False) -> None:
        super().__init__()
        channels = scaled(32, WIDTH)
        self.conv_stem = CornerConv2d(3, channels)
        self.act = nn.ReLU6(inplace=True)
        self.stages = nn.ModuleList()
        for expansion, unscaled, blocks, stride in STAGES[: SHORT if short else None]:
            out, stage = scaled(unscaled, WIDTH), nn.Sequential()
            last = short and len(self.stages) == SHORT - 1
            for block in range(1 if last else blocks):
                stage.append(_block(channels, out, expansion, stride if block == 0 else 1))
                channels = out
            self.stages.append(stage)
        self.conv_last = None if short else nn.Conv2d(channels, LAST, 1)
        read = (scaled(STAGES[stage][1], WIDTH) for stage in LEVELS)
        self.channels = (*read, channels if short else LAST)
        if frozen:
            for module in [self.conv_stem, *self.stages[:frozen]]:
                module.requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.act(self.conv_stem(images))  # (N, 56, H/2, W/2)
        levels = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in LEVELS:
                levels.append(x)
        return [*levels, x if self.conv_last is None else self.act(self.conv_last(x))]


def _block(channels: int, out: int, expansion: int, stride: int) -> InvertedResidual:
    block = InvertedResidual(channels, out, expansion, 3, stride)
    if stride == 2:
        wide = channels * expansion
        block.depthwise_conv = CornerConv2d(wide, wide, groups=wide)
    return block


class ThinPyramid(nn.Module):
    """Levels of strides 4 to 32, finest first -> features (N, 24, H/4, W/4).

    The coarser result, doubled, and a level's 1x1 are added; a separable convolution follows.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        widths = (*PYRAMID, PYRAMID[-1])
        after = (PYRAMID[0], *PYRAMID[:-1])
        self.lateral = nn.ModuleList(
            nn.Conv2d(c, width, 1) for c, width in zip(channels, widths, strict=True)
        )
        self.smooth = nn.ModuleList(
            _separable(width, out) for width, out in zip(PYRAMID, after, strict=True)
        )

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        x: Tensor = self.lateral[-1](levels[-1])
        for index in reversed(range(len(self.smooth))):
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.smooth[index](x + self.lateral[index](levels[index]))
        return x


def _separable(channels: int, out: int) -> nn.Sequential:
    """A depthwise 3x3 without bias, a 1x1, ReLU."""
    depthwise = nn.Conv2d(channels, channels, 3, 1, 1, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(channels, out, 1), nn.ReLU(inplace=True))


class MoveNet(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> tensors (N, joints, H/4, W/4), logits.

    One, MoveNet's own, whose sigmoid is its heatmap; or with a second look two, the corrected maps
    last.

    frozen: how many of the backbone's first stages keep their weights in training.
    second_look: its blocks, 0 for none. At first it adds nothing.
    width: channels of the pyramid that it looks at, which is as wide at every level.
    short: the backbone is cut short; it, the pyramid and the head still start from MoveNet's
    weights, all but `pyramid.lateral.3`.
    """

    def __init__(
        self,
        joints: int,
        frozen: int = 0,
        second_look: int = 0,
        width: int = 128,
        short: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = MobileNetV2(frozen, short)
        self.pyramid = ThinPyramid(self.backbone.channels)
        self.head = nn.Sequential(_separable(PYRAMID[0], HEAD), nn.Conv2d(HEAD, joints, 1))
        self.wide_pyramid = self.second_look = None
        if second_look:
            self.wide_pyramid = FeaturePyramid(self.backbone.channels[1:], width)
            self.second_look = SecondLook(width, joints, second_look)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.backbone(images)
        maps = self.head(self.pyramid(levels))
        if self.second_look is None or self.wide_pyramid is None:
            return (maps,)
        return maps, maps + self.second_look(self.wide_pyramid(levels[1:])[0], maps)


def read_published(path: Path) -> dict[str, Tensor]:
    """MoveNet Thunder's convolutions, from its ONNX file, under our names, as float32.

    Its other heads (centre, regression, offsets) are left out. Raises ValueError for another file.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Cast" and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    with torch.device("meta"):
        network = MoveNet(17)
    names = {module: name for name, module in network.named_modules()}
    lateral, smooth = network.pyramid.lateral, network.pyramid.smooth
    parts: dict[
        str, list[nn.Module]
    ] = {  # a part of the file's names -> the modules, in the order in which they stand there
        "/model_1/model/": [network.backbone],
        "/model_1/conv2d": [lateral[2], lateral[1], lateral[0], lateral[3]],
        "/model_1/separable": [smooth[2], smooth[1], smooth[0]],
        "/kpt_heatmap": [network.head],
    }
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    # a bias has the name of its layer; of a convolution without one the output has
    labels = [node.input[2] if len(node.input) > 2 else node.output[0] for node in convolutions]
    tensors: dict[str, Tensor] = {}
    for part, modules in parts.items():
        theirs = [n for n, label in zip(convolutions, labels, strict=True) if part in label]
        ours = [conv for m in modules for conv in m.modules() if isinstance(conv, nn.Conv2d)]
        if len(theirs) != len(ours):
            raise ValueError(
                f"{path} is not MoveNet Thunder: {len(theirs)} convolutions are named {part}, "
                f"expected {len(ours)}"
            )
        for node, conv in zip(theirs, ours, strict=True):
            for kind, key in zip(("weight", "bias"), node.input[1:], strict=False):
                tensors[f"{names[conv]}.{kind}"] = torch.from_numpy(arrays[key].astype("float32"))
    return tensors
