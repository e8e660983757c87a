"""How many augmented training crops does one core draw a second, decoding included?

python benchmarks/loader.py ../shared/data

CPU seconds of one process on one thread, so that what else the machine does weighs less: the best
of five rounds over the same people of each recipe, from its images' files and from packs of them,
in turn. `to_batch` is what a batch of the crops costs to normalise and to draw the maps of, by
the crop, which the network's device does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from common import machine

from poised.datasets.pack import pack_people
from poised.datasets.poses import PoseCrops
from poised.datasets.training import open_samples
from poised.read_recipe import load_recipe
from poised.recipe import Recipe

PEOPLE, ROUNDS, BATCH = 400, 5, 32
LSPET = ["skeleton=lsp14", "dataset={name: lspet, root: lspet, padding: 0.8}", "augment.colour=0.2"]
RECIPES = {
    "simple_baseline LSPET 192x256": ("csanet-sbn", LSPET),
    "simple_baseline LSPET 288x384": ("csanet-sbn-resnet50-384x288", LSPET),
    "unbiased crops LSPET 192x256": ("lsp14", ["input.size=[192, 256]"]),
    "coco17 192x256": ("coco17", []),
}


def moved(recipe: Recipe, root: Path) -> Recipe:
    """The recipe with its data sets' folders in `root`, each by its own name."""
    here = recipe.dataset
    also = tuple(a.model_copy(update={"root": root / a.root.name}) for a in here.also)
    there = here.model_copy(update={"root": root / here.root.name, "also": also})
    return recipe.model_copy(update={"dataset": there})


def pack_all(recipe: Recipe, root: Path, out: Path) -> None:
    """What is not yet in `out` of the recipe's data sets in `root`."""
    for each in (recipe.dataset, *recipe.dataset.also):
        if not (out / each.root.name).exists():
            pack_people(each.name, root / each.root.name, each.train, out / each.root.name)


def crops_a_second(ways: list[PoseCrops]) -> list[float]:
    """Of each way to the same samples."""
    people = np.random.default_rng(0).permutation(len(ways[0]))[:PEOPLE].tolist()
    best = [0.0] * len(ways)
    for _ in range(ROUNDS):
        for way, samples in enumerate(ways):
            start = time.process_time()
            for index in people:
                samples[(0, index)]
            best[way] = max(best[way], PEOPLE / (time.process_time() - start))
    return best


def microseconds_to_batch(samples: PoseCrops) -> float:
    """Of one crop in a batch."""
    drawn = (samples[(0, index)] for index in range(BATCH))
    batch = [torch.stack(part) for part in zip(*drawn, strict=True)]
    times = []
    for _ in range(2 * ROUNDS):
        start = time.process_time()
        samples.images(batch)
        samples.targets(batch)
        times.append(time.process_time() - start)
    return 1e6 * min(times) / BATCH


def main() -> None:
    root = Path(sys.argv[1])
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        for name, (recipe, changes) in RECIPES.items():
            asked = load_recipe(recipe, changes)
            pack_all(asked, root, Path(folder))
            ways = [open_samples(moved(asked, place)) for place in (root, Path(folder))]
            crops = [way for way in ways if isinstance(way, PoseCrops)]
            files, packs = crops_a_second(crops)
            row = {"recipe": name, "crops_a_cpu_second": round(files), "packed": round(packs)}
            row |= {"to_batch_us": round(microseconds_to_batch(crops[0]))}
            print(json.dumps(row | machine()), flush=True)


if __name__ == "__main__":
    main()
