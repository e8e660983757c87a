"""Draw what docs/comparison.md's networks look at: docs/images/attention-NETWORK.jpg.

python docs/draw_attention.py DATA RUNS       the folders of docs/compare_networks.py

A row a held-out person: the network's crop, then a map a column, dark at its least value over these
people and bright at its greatest. Of attention modules it is the map itself; of outputs each
joint's map, scaled to the joint's highest place, and of the joints the largest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from poised.crops import cut
from poised.datasets import read_people
from poised.export import exported
from poised.images import read_image, write_jpeg
from poised.nets.attention import attention_maps
from poised.predict import Predictor
from poised.report.maps import glow

OUT = Path(__file__).parent / "images"
PEOPLE = (3, 120, 250, 410)  # of LSPET's last 500
TILE, GAP, WHITE = 128, 4, 255  # pixels

Seen = tuple[dict[str, Tensor], tuple[Tensor, ...]]  # attention maps by module, outputs
Column = Callable[[Seen], Tensor]  # -> (N, h, w)


def module(name: str, index: int = 0) -> Column:
    """A map of an attention module."""
    return lambda seen: seen[0][name][:, index]


def output(index: int, *joints: int) -> Column:
    """An output's joints, all unless some are named."""

    def largest(seen: Seen) -> Tensor:
        maps = seen[1][index][:, list(joints)] if joints else seen[1][index]
        chance = maps.flatten(2).softmax(-1)  # as the comparison trains them
        scaled: Tensor = chance / chance.amax(-1, keepdim=True)
        return scaled.view_as(maps).amax(1)

    return largest


LEVELS = [f"holistic.1.attend.{level}" for level in range(4)]
BLOCKS = [f"backbone.layer{stage}.{block}" for stage, block in ((1, 2), (2, 3), (3, 5), (4, 2))]
DRAWN: dict[str, list[Column]] = {
    "cpn": [*map(output, range(4)), output(-1)],
    "csanet": [*map(output, range(3)), output(-1)],
    "efafnet": [*(module(f"{block}.location_selection") for block in BLOCKS), output(-1)],
    "multi-context": [*map(module, LEVELS), *(module("predict.1.attend", j) for j in (13, 6, 0))],
    "spcnet": [*(module("selective.squeeze", level) for level in range(4)), output(-1)],
}


def sheet(weights: Path, people: list[Any], columns: list[Column]) -> NDArray[np.uint8]:
    """The crops and the maps over them, a row a person."""
    estimator: Any = Predictor.load(weights, detector=None).estimator
    images = [read_image(person.image) for person in people]
    boxes = np.stack([person.xywh for person in people])
    matrices = estimator.matrices(boxes)
    crops = [cut(*pair, estimator.size) for pair in zip(images, matrices, strict=True)]
    network = exported(weights)[0]
    inputs = torch.from_numpy(np.concatenate([
        estimator.crops([image], matrix[None], box[None])
        for image, matrix, box in zip(images, matrices, boxes, strict=True)
    ]))  # fmt: skip
    outputs: list[tuple[Tensor, ...]] = []
    hook = network.network.register_forward_hook(lambda _m, _i, out: outputs.append(out))
    found = {k.removeprefix("network."): v for k, v in attention_maps(network, inputs).items()}
    hook.remove()
    rows = [[tile(crop)] for crop in crops]
    for column in columns:
        maps = column((found, outputs[0])).numpy()
        low, high = maps.min(), maps.max()
        for row, crop, one in zip(rows, crops, maps, strict=True):
            row.append(tile(over(crop, (one - low) / (high - low))))
    return np.vstack([np.hstack(row) for row in rows])


def over(crop: NDArray[np.uint8], strength: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map in 0 to 1, its cells as they are, over the crop in grey; RGB."""
    cells = cv2.resize(strength, (crop.shape[1], crop.shape[0]), interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return glow(np.asarray(grey, np.uint8), np.asarray(cells, np.float32))[..., ::-1]


def tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """With a white edge."""
    small = cv2.resize(picture, (TILE, TILE), interpolation=cv2.INTER_AREA)
    return np.pad(small, ((0, GAP), (0, GAP), (0, 0)), constant_values=WHITE)


def main() -> None:
    data, runs = map(Path, sys.argv[1:])
    everybody = read_people("lspet", data / "lspet", "test")[0]
    people = [everybody[index] for index in PEOPLE]
    for name, columns in DRAWN.items():
        weights = runs / f"{name}-0" / f"{name}-0.safetensors"
        if weights.is_file():
            write_jpeg(OUT / f"attention-{name}.jpg", sheet(weights, people, columns))
            print(weights)


if __name__ == "__main__":
    main()
