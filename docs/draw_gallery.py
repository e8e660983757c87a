"""Draw everybody in a fixed choice of COCO's val2017: docs/gallery.md tells of the pictures.

python docs/draw_gallery.py ../shared/data gallery

The photographs are not ours to copy, so that the pictures stay where they are drawn.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from poised.datasets import read_with_truth
from poised.draw import draw_poses
from poised.images import write_jpeg
from poised.predict import Failure, Predictor

CHOSEN = 30  # the first ten are the gallery


def chosen(data: Path) -> list[Path]:
    """CHOSEN images of val2017: a permutation's first, of seed 0, over the file names in order."""
    _, _, truth, folder = read_with_truth("coco", data / "coco2017", "val2017")
    names = sorted(image["file_name"] for image in truth["images"])
    return [folder / names[i] for i in np.random.default_rng(0).permutation(len(names))[:CHOSEN]]


def main() -> None:
    data, out = map(Path, sys.argv[1:3])
    predictor = Predictor.load()
    images = chosen(data)
    for number, (path, result) in enumerate(zip(images, predictor.stream(images), strict=True), 1):
        assert not isinstance(result, Failure), result
        picture = draw_poses(result.image, result.poses, predictor.threshold)
        write_jpeg(out / f"{number:02d}-{path.stem}.jpg", picture)
        print(f"{number:2d} {path.name}: {len(result.poses)} people, {result.left_out} left out")


if __name__ == "__main__":
    main()
