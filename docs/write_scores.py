"""Write docs/scores.md and docs/images/reliability.svg: what the bundled models' scores mean.

python docs/write_scores.py ../shared/data
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poised.datasets import Person, read_people
from poised.predict import Predictor
from poised.types import Boxes

HERE = Path(__file__).parent
MODELS = ("coco17", "coco17-small")
SPLITS = ("train2017", "val2017")
RIGHT = 0.1  # of the box's longer side
BINS = 10
FIELDS = ("xy", "keypoint_score")  # of ImagePoses
HEAD = """# What a score says

A keypoint's score is the chance, as the network sees it, that the joint lies within a tenth of the
box's longer side of where it is said to be: what its map, a distribution over pixels and "nowhere",
holds there. Nothing is fitted afterwards, but for one number of `coco17-small`, by which its logits
are multiplied (`export.sharpness`, chosen on train2017). A keypoint over 0.5 is called sure, and is
drawn.

A pose's score is its box's score times the OKS that the maps themselves expect: each joint's
expected similarity, added and divided by the number of joints expected in the crop and one more. In
a found box it says how good the pose is and how sure the box; in a given one the pose alone.

Below, `python docs/write_scores.py DATA` has compared scores with COCO's labels: annotated boxes,
flip, 500 images of val2017 that no training saw, and the 517 of train2017, all trained on.
"""


def scored(model: str, people: list[Person]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Every person's keypoint scores (P, K), and distances to the labels, of the longer side."""
    predictor = Predictor.load(model, detector=None)
    boxes = [Boxes(p.xywh[None], np.ones(1)) for p in people]
    poses = predictor.predict([p.image for p in people], boxes)
    xy, score = (np.concatenate([getattr(pose, f) for pose in poses]) for f in FIELDS)
    apart = np.linalg.norm(xy - np.stack([p.xy for p in people]), axis=2)
    return score, apart / np.array([p.xywh[2:].max() for p in people])[:, None]


def bins(score: NDArray[np.float64], right: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Of each tenth of the scores: their mean, how many are right, and how many there are."""
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    filled = [place == one for one in range(BINS) if (place == one).any()]
    return [(float(score[m].mean()), float(right[m].mean()), int(m.sum())) for m in filled]


def main() -> None:
    root = Path(sys.argv[1]) / "coco2017"
    text = HEAD
    mpl.rcParams["svg.hashsalt"] = "poised"  # the same figures give the same file
    figure = Figure(figsize=(8, 4))
    axes = figure.subplots(1, len(MODELS), sharey=True)
    for model, axis in zip(MODELS, axes, strict=True):
        axis.plot([0, 1], [0, 1], color="0.7")
        axis.set(title=model, xlabel="keypoint score", aspect="equal")
        axis.set_ylabel(f"share within {RIGHT} x side" if axis is axes[0] else "")
        for split in SPLITS:
            everybody, _ = read_people("coco", root, split)
            people = [p for p in everybody if not p.ignored]
            score, apart = scored(model, people)
            visible, occluded = (
                np.stack([getattr(p, f) for p in people]) for f in ("visible", "occluded")
            )
            rows = bins(score[visible], apart[visible] <= RIGHT)
            error = sum(n * abs(s - r) for s, r, n in rows) / sum(n for _, _, n in rows)
            axis.plot(*zip(*[(s, r) for s, r, _ in rows], strict=True), "o-", label=split)
            kinds = {
                "visible": visible & ~occluded,
                "labelled, but hidden": occluded,
                "not labelled: out of the picture, or nobody can say": ~visible,
            }
            means = ", ".join(f"{name} {score[mask].mean():.2f}" for name, mask in kinds.items())
            text += f"\n## `{model}`, {split}: expected calibration error {error:.3f}\n\n"
            text += f"Mean scores of joints: {means}.\n\n"
            text += "| mean score | share right | joints |\n|---|---|---|\n"
            text += "".join(f"| {s:.2f} | {r:.2f} | {n} |\n" for s, r, n in rows)
        axis.legend()
    figure.savefig(HERE / "images" / "reliability.svg", metadata={"Date": None})
    text = text.replace("\n## ", "\n![Reliability diagrams](images/reliability.svg)\n\n## ", 1)
    (HERE / "scores.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
