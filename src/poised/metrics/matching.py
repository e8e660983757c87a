"""Which prediction each labelled person got: what errors and pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.datasets.coco import AREA
from poised.datasets.person import Person
from poised.scores import oks
from poised.types import Skeleton

LEAST = 0.1  # OKS of a prediction that a person got; below it, it is nobody's
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Matched:
    """Labelled people, P of them, and their predictions.

    xy: (P, K, 2) pixels, NaN for a person who got none; likeness: (P,) OKS, then 0; area: (P,)
    square pixels; labelled: (P, K), only the keypoints that count. score: (P,) of the prediction,
    0 without one; spare: (S,) scores of predictions that nobody got.
    """

    people: list[Person]
    skeleton: Skeleton
    xy: NDArray[np.float64]
    likeness: NDArray[np.float64]
    area: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    score: NDArray[np.float64]
    spare: NDArray[np.float64]

    @property
    def truth(self) -> NDArray[np.float64]:
        """(P, K, 2) pixels."""
        return np.stack([person.xy for person in self.people])


def pair(
    people: Sequence[Person], xy: Floats, skeleton: Skeleton, counted: Sequence[int]
) -> Matched:
    """One prediction a person, (P, K, 2), in the people's order."""
    area, labelled = _areas(people), _labelled(people, len(skeleton), counted)
    truth = np.stack([person.xy for person in people])
    each = [
        float(oks(p[None], t[None], np.zeros(1), 2 * a[None], skeleton.sigmas, v[None])[0, 0])
        for p, t, a, v in zip(np.nan_to_num(xy), truth, area, labelled, strict=True)
    ]
    sure, none = np.ones(len(people)), np.zeros(0)
    given = np.asarray(xy, np.float64)
    return Matched(list(people), skeleton, given, np.array(each), area, labelled, sure, none)


def match(
    people: Sequence[Person],
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
    counted: Sequence[int],
) -> Matched:
    """COCO results to people: in each image the best score first, to the likest free person.

    People to be ignored, and those without a counted keypoint, are left out, and so is a
    prediction that nobody got and that lies mostly within one of theirs, its box doubled each way.
    """
    everybody = _labelled(people, len(skeleton), counted)
    kept = [i for i, person in enumerate(people) if not person.ignored and everybody[i].any()]
    chosen = [people[i] for i in kept]
    labelled, area = everybody[kept], _areas(chosen)
    xy = np.full((len(chosen), len(skeleton), 2), np.nan)
    likeness, score = np.zeros(len(chosen)), np.zeros(len(chosen))
    spare: list[float] = []
    found: dict[int, list[dict[str, Any]]] = {}
    for result in results:
        found.setdefault(result["image_id"], []).append(result)
    there: dict[int, list[int]] = {}
    for index, person in enumerate(chosen):
        there.setdefault(person.image_id, []).append(index)
    passed: dict[int, list[NDArray[np.float64]]] = {}
    for i in set(range(len(people))) - set(kept):
        passed.setdefault(people[i].image_id, []).append(people[i].xywh)
    for image, predicted in found.items():
        places = there.get(image, [])
        ordered = sorted(predicted, key=lambda result: -result["score"])
        given = np.array([r["keypoints"] for r in ordered], np.float64)
        given = given.reshape(len(ordered), -1, 3)[..., :2]
        excused = _within(given, passed.get(image, []))
        if not places:
            spare += [r["score"] for r, e in zip(ordered, excused, strict=True) if not e]
            continue
        truth = np.stack([chosen[i].xy for i in places])
        # `oks` takes the mean of two areas: the truth's twice over and nothing is the truth's
        twice, nothing = 2 * area[places], np.zeros(len(given))
        alike = oks(given, truth, nothing, twice, skeleton.sigmas, labelled[places])
        for row in range(len(ordered)):
            best = int(alike[row].argmax())
            if alike[row, best] >= LEAST:
                likeness[places[best]], xy[places[best]] = alike[row, best], given[row]
                score[places[best]] = ordered[row]["score"]
                alike[:, best] = -1
            elif not excused[row]:
                spare.append(ordered[row]["score"])
    nobodys = np.array(spare, np.float64)
    return Matched(chosen, skeleton, xy, likeness, area, labelled, score, nobodys)


def _within(given: Floats, boxes: Sequence[Floats]) -> NDArray[np.bool_]:
    """(D,) most keypoints of poses (D, K, 2) lie within one of the boxes (4,), doubled each way."""
    inside = np.zeros(len(given), np.bool_)
    for box in boxes:
        low, high = box[:2] - box[2:], box[:2] + 2 * box[2:]
        inside |= ((given >= low) & (given <= high)).all(-1).mean(-1) > 0.5
    return inside


def _areas(people: Sequence[Person]) -> NDArray[np.float64]:
    return np.array(
        [AREA * p.xywh[2] * p.xywh[3] if p.area is None else p.area for p in people], np.float64
    )


def _labelled(
    people: Sequence[Person], keypoints: int, counted: Sequence[int]
) -> NDArray[np.bool_]:
    """(P, keypoints), of which only the counted ones can be labelled."""
    labelled = np.zeros((len(people), keypoints), np.bool_)
    for row, person in zip(labelled, people, strict=True):
        row[list(counted)] = person.visible[list(counted)]
    return labelled
