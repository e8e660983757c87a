"""RTMDet-nano: a person detector whose published weights can be taken over.

Lyu et al., arXiv 2212.07784; the sizes are those of the public "nano" (widths x 0.25, depths x
0.33, depthwise convolutions throughout), its batch norms folded. Every cell of three levels says
how surely it lies on a person, and how far away the four sides of that person's box are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from poised.nets.layers import require_multiple

STRIDES = (8, 16, 32)
CHANNELS = 5  # of a cell: its score's logit, and the distances to the left, top, right and bottom
STEM = (8, 8, 16)
STAGES = ((32, 1), (64, 2), (128, 2), (256, 1))  # channels, blocks; each halves the size
WIDTH = 64  # channels of the heads
POOLS = (5, 9, 13)  # of the spatial pyramid pooling before the last stage's blocks


def conv(channels: int, out: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Module:
    """A convolution that keeps the size (divided by the stride), SiLU."""
    layer = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups)
    return nn.Sequential(layer, nn.SiLU(inplace=True))


def separable(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """A depthwise convolution and a 1x1, each with SiLU."""
    return nn.Sequential(conv(channels, channels, kernel, stride, channels), conv(channels, out))


class Block(nn.Module):
    """CSPNeXt's: separable 3x3, then separable 5x5; added to its input where it is `residual`."""

    def __init__(self, channels: int, residual: bool) -> None:
        super().__init__()
        self.small, self.large = separable(channels, channels), separable(channels, channels, 5)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.large(self.small(x))
        return x + y if self.residual else y


class CSPLayer(nn.Module):
    """Half of the channels pass the blocks, half pass by; `attend` weighs each channel."""

    def __init__(
        self, channels: int, out: int, blocks: int = 1, residual: bool = False, attend: bool = False
    ) -> None:
        super().__init__()
        self.short, self.main = conv(channels, out // 2), conv(channels, out // 2)
        self.blocks = nn.Sequential(*(Block(out // 2, residual) for _ in range(blocks)))
        self.attention = nn.Conv2d(out, out, 1) if attend else None
        self.last = conv(out, out)

    def forward(self, x: Tensor) -> Tensor:
        short = self.short(x)
        x = torch.cat([self.blocks(self.main(x)), short], 1)
        if self.attention is not None:
            x = x * functional.hardsigmoid(self.attention(x.mean((2, 3), keepdim=True)))
        y: Tensor = self.last(x)
        return y


class PoolingPyramid(nn.Module):
    """Maxima over ever larger windows beside the map itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels // 2)
        self.last = conv(channels // 2 * (1 + len(POOLS)), channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y: Tensor = self.last(
            torch.cat([x, *(functional.max_pool2d(x, k, 1, k // 2) for k in POOLS)], 1)
        )
        return y


class CSPNeXt(nn.Module):
    """(N, 3, H, W) -> the last three stages' maps, of strides 8, 16, 32."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (3, *STEM)
        self.stem = nn.Sequential(
            *(conv(a, b, 3, 2 if a == 3 else 1) for a, b in zip(sizes, STEM, strict=False))
        )
        self.stages = nn.ModuleList()
        channels = STEM[-1]
        for out, blocks in STAGES:
            is_last = out == STAGES[-1][0]
            stage = nn.Sequential(separable(channels, out, 3, 2))
            if is_last:
                stage.append(PoolingPyramid(out))
            stage.append(CSPLayer(out, out, blocks, residual=not is_last, attend=True))
            self.stages.append(stage)
            channels = out

    def forward(self, images: Tensor) -> list[Tensor]:
        x = self.stem(images)
        levels = []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels[1:]


class PathPyramid(nn.Module):
    """Levels, finest first -> as many of the same sizes: down from the coarsest, and up again."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.reduce = nn.ModuleList([conv(coarse, middle), conv(middle, fine)])
        self.down = nn.ModuleList([CSPLayer(2 * middle, middle), CSPLayer(2 * fine, fine)])
        self.halve = nn.ModuleList([separable(fine, fine, 3, 2), separable(middle, middle, 3, 2)])
        self.up = nn.ModuleList([CSPLayer(2 * fine, middle), CSPLayer(2 * middle, coarse)])

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = levels
        from_coarse = self.reduce[0](coarse)
        middle = self.down[0](torch.cat([_double(from_coarse), middle], 1))
        from_middle = self.reduce[1](middle)
        fine = self.down[1](torch.cat([_double(from_middle), fine], 1))
        middle = self.up[0](torch.cat([self.halve[0](fine), from_middle], 1))
        coarse = self.up[1](torch.cat([self.halve[1](middle), from_coarse], 1))
        return [fine, middle, coarse]


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


class Head(nn.Module):
    """A level's features (N, 64, h, w) -> (N, CHANNELS, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Sequential(
            *(separable(WIDTH, WIDTH) for _ in range(2)), nn.Conv2d(WIDTH, 1, 1)
        )
        self.sides = nn.Sequential(
            *(separable(WIDTH, WIDTH) for _ in range(2)), nn.Conv2d(WIDTH, 4, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.score(x), self.sides(x)], 1)


class RTMDet(nn.Module):
    """(N, 3, H, W), H and W multiples of 32 -> three tensors (N, CHANNELS, H/stride, W/stride)."""

    def __init__(self, joints: int = CHANNELS) -> None:
        super().__init__()
        if joints != CHANNELS:
            raise ValueError(f"a detector finds boxes, {CHANNELS} numbers a cell, not {joints}")
        channels = tuple(out for out, _ in STAGES[1:])
        self.backbone = CSPNeXt()
        self.pyramid = PathPyramid(channels)
        self.enter = nn.ModuleList(separable(c, WIDTH) for c in channels)
        self.heads = nn.ModuleList(Head() for _ in STRIDES)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        require_multiple(images, 32)
        levels = self.pyramid(self.backbone(images))
        levels = [enter(level) for enter, level in zip(self.enter, levels, strict=True)]
        return tuple(head(level) for head, level in zip(self.heads, levels, strict=True))

    def cells(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Every level's maps -> all cells' logits (N, M), boxes (N, 4, M) x1 y1 x2 y2 in pixels.

        A cell's point is its corner, column x stride; a distance is its channel x stride. The
        levels stand in the order of STRIDES, a level's cells row by row.
        """
        logits, boxes = [], []
        for level, stride in zip(maps, STRIDES, strict=True):
            height, width = level.shape[-2:]
            x = torch.arange(width, device=level.device) * stride
            y = (torch.arange(height, device=level.device) * stride)[:, None]
            left, top, right, bottom = (level[:, 1:].float() * stride).unbind(1)
            boxes.append(torch.stack([x - left, y - top, x + right, y + bottom], 1).flatten(2))
            logits.append(level[:, 0].float().flatten(1))
        return torch.cat(logits, 1), torch.cat(boxes, 2)


def read_published(path: Path) -> dict[str, Tensor]:
    """The convolutions of the public RTMDet-nano's ONNX file under our names, as float32.

    Both the file for 80 classes and the one for people alone; of many classes the first, people,
    is kept. It was trained on BGR: here the first convolution's channels are RGB's. Raises
    ValueError for another file.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    theirs = [node.input[1:] for node in graph.node if node.op_type == "Conv"]
    with torch.device("meta"):
        network = RTMDet()
        order: list[nn.Module] = []  # of execution, as they stand in the file
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda conv, _images, _maps: order.append(conv))
        network(torch.zeros(1, 3, 32, 32))
    if len(theirs) != len(order):
        raise ValueError(f"{path} is not RTMDet-nano: {len(theirs)} convolutions, not {len(order)}")
    names = {module: name for name, module in network.named_modules()}
    tensors: dict[str, Tensor] = {}
    for keys, conv in zip(theirs, order, strict=True):
        for kind, key in zip(("weight", "bias"), keys, strict=True):
            values = torch.from_numpy(arrays[key].astype("float32"))
            is_score = names[conv].endswith("score.2")
            tensors[f"{names[conv]}.{kind}"] = values[:1] if is_score else values
    first = "backbone.stem.0.0.weight"
    tensors[first] = tensors[first].flip(1)
    return tensors
