"""People to try a model on: whose crops calibrate int8, and on whose engines are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poised.boxes.detector import Detector
from poised.datasets import read_people
from poised.estimate import Estimator
from poised.image_list import list_images
from poised.images import read_image

BATCH = 32


class Sample(NamedTuple):
    """A person in an image file: box (4,) x, y, width, height."""

    image: Path
    xywh: NDArray[np.float64]


def labelled_people(dataset: str, root: Path, split: str, most: int) -> list[Sample]:
    """At most so many of a data set's people with keypoints, evenly over the part; ValueError
    where there are none."""
    people = [person for person in read_people(dataset, root, split)[0] if not person.ignored]
    if not people:
        raise ValueError(f"{root}: nobody is annotated in {split}")
    places = np.unique(np.linspace(0, len(people) - 1, most).round().astype(int))
    return [Sample(people[place].image, people[place].xywh) for place in places]


def found_people(folder: Path) -> list[Sample]:
    """Everybody whom the bundled detector finds in a folder's images; ValueError for nobody."""
    detector, found = Detector(), []
    for path in list_images([folder]):
        boxes = detector.find(read_image(path))
        found += [Sample(path, xywh.astype(np.float64)) for xywh in boxes.xywh]
    if not found:
        raise ValueError(f"{folder}: nobody is found in its images")
    return found


def batches(
    samples: Sequence[Sample],
) -> Iterator[tuple[list[NDArray[np.uint8]], NDArray[np.float64]]]:
    """Images and boxes (N, 4) of BATCH people at a time, boxes a pixel at least a side."""
    for at in range(0, len(samples), BATCH):
        some = samples[at : at + BATCH]
        xywh = np.stack([sample.xywh for sample in some])
        xywh[:, 2:] = np.maximum(xywh[:, 2:], 1)
        yield [read_image(sample.image) for sample in some], xywh


def network_inputs(estimator: Estimator, samples: Sequence[Sample]) -> NDArray[Any]:
    """(N, 3, H, W) or (N, H, W, 3), what the estimator feeds its network of these people."""
    parts = [estimator.crops(i, estimator.matrices(xywh), xywh) for i, xywh in batches(samples)]
    crops = np.concatenate(parts)
    if estimator.notes.get("nhwc"):
        crops = crops.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(crops, estimator.session.input_dtype)
