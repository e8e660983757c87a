"""Which prediction each labelled person got: what errors and pictures are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.boxes.nms import iou
from poised.datasets.coco import box_area
from poised.datasets.person import Person
from poised.metrics.coco import KEPT
from poised.scores import oks
from poised.types import Skeleton

LEAST = 0.1  # OKS of a prediction that a person got
SAME_BOX = 0.5  # IoU of boxes over which it is that person's as well, however wrong the pose
GOOD, NEAR = (float(np.sqrt(-2 * np.log(alike))) for alike in (0.85, 0.5))  # OKS's, in units
TWICE = 2.0  # PCK's: near is within twice the limit, about what NEAR is to GOOD
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Matched:
    """Labelled people, P of them, and their predictions.

    xy: (P, K, 2) pixels, NaN for a person who got none; likeness: (P,) OKS, 0 without a prediction,
    or for PCK the share of joints within the limit; area: (P,) square pixels; labelled: (P, K),
    only the keypoints that count. unit: (P, K) pixels, in which a distance up to `good` makes a
    keypoint right and up to `near` nearly so.

    results: what was predicted, as COCO results, none for PCK; boxes: (D, 4) theirs. given: (P,)
    the place among them of each one's, -1 without one; spare: (S,) of those that nobody got; index:
    (P,) place of each among the annotated people.
    """

    people: list[Person]
    skeleton: Skeleton
    xy: NDArray[np.float64]
    likeness: NDArray[np.float64]
    area: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    unit: NDArray[np.float64]
    good: float
    near: float
    results: Sequence[dict[str, Any]]
    boxes: NDArray[np.float64]
    given: NDArray[np.intp]
    spare: NDArray[np.intp]
    index: NDArray[np.intp]

    @property
    def truth(self) -> NDArray[np.float64]:
        """(P, K, 2) pixels."""
        return np.stack([person.xy for person in self.people])

    @property
    def found(self) -> NDArray[np.bool_]:
        """(P,) who got a prediction."""
        return np.asarray(np.isfinite(self.xy).any((1, 2)))

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(K,) the keypoints that somebody has."""
        return np.asarray(self.labelled.any(0))


def pair(
    people: Sequence[Person],
    xy: Floats,
    skeleton: Skeleton,
    counted: Sequence[int],
    length: Floats,
    fraction: float,
) -> Matched:
    """One prediction a person, (P, K, 2), in the people's order, judged by PCK.

    length: (P,) pixels; fraction: of it, PCK's limit. People without a counted keypoint are left
    out.
    """
    everybody = _labelled(people, len(skeleton), counted)
    index = np.flatnonzero(everybody.any(1))
    chosen, labelled = [people[i] for i in index.tolist()], everybody[index]
    given = np.asarray(xy, np.float64)[index]
    unit = np.repeat(np.asarray(length, np.float64)[index, None], labelled.shape[1], 1)
    truth = np.stack([person.xy for person in people])[index]
    right = (np.linalg.norm(given - truth, axis=-1) / unit <= fraction) & labelled
    return Matched(
        chosen,
        skeleton,
        given,
        likeness=right.sum(1) / labelled.sum(1),
        area=_areas(chosen),
        labelled=labelled,
        unit=unit,
        good=fraction,
        near=TWICE * fraction,
        results=[],
        boxes=np.zeros((0, 4)),
        given=np.full(len(chosen), -1),
        spare=np.zeros(0, np.intp),
        index=index,
    )


def match(
    people: Sequence[Person],
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
    counted: Sequence[int],
    boxes: Floats | None = None,
) -> Matched:
    """COCO results to people: in each image the best score first, to the likest free person.

    As COCO's evaluator, it looks at the best `KEPT` predictions of an image. What is like nobody
    goes to the free person with whose box its own agrees: a wrong pose, but somebody's. boxes:
    (D, 4) theirs, by default as the results have them, else the keypoints' extent. People to be
    ignored, and those without a counted keypoint, are left out, and so is a prediction that nobody
    got and that lies mostly within one of theirs, its box doubled each way.
    """
    everybody = _labelled(people, len(skeleton), counted)
    kept = [i for i, person in enumerate(people) if not person.ignored and everybody[i].any()]
    area, boxes = _areas(people), boxes_of(results) if boxes is None else boxes
    given = np.full(len(people), -1)
    spare: list[int] = []
    there: dict[int, list[int]] = {}
    for i in kept:
        there.setdefault(people[i].image_id, []).append(i)
    passed: dict[int, list[NDArray[np.float64]]] = {}
    for i in set(range(len(people))) - set(kept):
        passed.setdefault(people[i].image_id, []).append(people[i].xywh)
    for image, predicted in by_image(results).items():
        places = there.get(image, [])
        poses = keypoints_of([results[i] for i in predicted])
        chosen = [people[i] for i in places]
        alike = likeness_of(poses, chosen, everybody[places], area[places], skeleton)
        overlap = box_overlap(boxes[predicted], chosen)
        left = list(range(len(predicted)))
        for nearness, least in ((alike, LEAST), (overlap, SAME_BOX)):
            for row in left.copy():
                best = int(nearness[row].argmax()) if places else -1
                if places and nearness[row, best] >= least:
                    given[places[best]] = predicted[row]
                    alike[:, best] = overlap[:, best] = -1
                    left.remove(row)
        excused = _within(poses, passed.get(image, []))
        spare += [predicted[row] for row in left if not excused[row]]
    return _by_oks(people, kept, results, boxes, skeleton, everybody, given, spare)


def match_own(
    people: Sequence[Person],
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
    counted: Sequence[int],
    boxes: Floats | None = None,
) -> Matched:
    """COCO results of annotated boxes to the people whose boxes they were, however unlike.

    They come in the order of the people who are not to be ignored; where some of an image were
    dropped it is as `match` has it.
    """
    everybody = _labelled(people, len(skeleton), counted)
    given = np.full(len(people), -1)
    waiting: dict[int, list[int]] = {}
    for i, person in enumerate(people):
        if not person.ignored:
            waiting.setdefault(person.image_id, []).append(i)
    got = Counter(result["image_id"] for result in results)
    if got != {image: len(places) for image, places in waiting.items()}:
        return match(people, results, skeleton, counted, boxes)
    boxes = boxes_of(results) if boxes is None else boxes
    for place, result in enumerate(results):
        given[waiting[result["image_id"]].pop(0)] = place
    kept = [i for i in np.flatnonzero(given >= 0).tolist() if everybody[i].any()]
    return _by_oks(people, kept, results, boxes, skeleton, everybody, given, [])


def _by_oks(
    people: Sequence[Person],
    kept: Sequence[int],
    results: Sequence[dict[str, Any]],
    boxes: Floats,
    skeleton: Skeleton,
    labelled: NDArray[np.bool_],
    given: NDArray[np.intp],
    spare: Sequence[int],
) -> Matched:
    """Those people who are kept, with what they were given."""
    chosen, index = [people[i] for i in kept], np.array(kept, np.intp)
    labelled, given, area = labelled[index], given[index], _areas(chosen)
    xy = np.full((len(chosen), len(skeleton), 2), np.nan)
    xy[given >= 0] = keypoints_of([results[i] for i in given[given >= 0]])
    unit = 2 * skeleton.sigmas.astype(np.float64) * np.sqrt(area + np.spacing(1))[:, None]
    truth = np.array([person.xy for person in chosen]).reshape(xy.shape)
    squared = ((xy - truth) ** 2).sum(-1) / unit**2
    alike = np.where(labelled, np.nan_to_num(np.exp(-squared / 2)), 0.0)
    return Matched(
        chosen,
        skeleton,
        xy,
        likeness=alike.sum(1) / labelled.sum(1),
        area=area,
        labelled=labelled,
        unit=unit,
        good=GOOD,
        near=NEAR,
        results=results,
        boxes=np.asarray(boxes, np.float64),
        given=given,
        spare=np.array(spare, np.intp),
        index=index,
    )


def by_image(results: Sequence[dict[str, Any]]) -> dict[int, list[int]]:
    """Places of each image's results that count, the best score first."""
    found: dict[int, list[int]] = {}
    for place in sorted(range(len(results)), key=lambda i: -results[i]["score"]):
        found.setdefault(results[place]["image_id"], []).append(place)
    return {image: places[:KEPT] for image, places in found.items()}


def keypoints_of(results: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """(D, K, 2) pixels, of COCO results."""
    if not results:
        return np.zeros((0, 1, 2))
    triples = np.array([result["keypoints"] for result in results], np.float64)
    return triples.reshape(len(results), -1, 3)[..., :2]


def boxes_of(results: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """(D, 4) x, y, width, height of COCO results: as they have them, else the keypoints' extent."""
    if results and all(result.get("bbox") is not None for result in results):
        return np.array([result["bbox"] for result in results], np.float64)
    xy = keypoints_of(results)
    low, high = xy.min(1), xy.max(1)
    return np.concatenate([low, high - low], 1)


def box_overlap(xywh: Floats, people: Sequence[Person]) -> NDArray[np.float64]:
    """(D, P) intersection over union of boxes (D, 4) with people's."""
    theirs = np.array([person.xywh for person in people]).reshape(-1, 4)
    corners = [np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1) for b in (xywh, theirs)]
    return iou(corners[0], corners[1])


def likeness_of(
    poses: Floats,
    people: Sequence[Person],
    labelled: NDArray[np.bool_],
    area: Floats,
    skeleton: Skeleton,
) -> NDArray[np.float64]:
    """(D, P) OKS of poses (D, K, 2) with people, by their area (P,) as COCO's evaluator has it."""
    if not people:
        return np.zeros((len(poses), 0))
    truth = np.stack([person.xy for person in people])
    # `oks` takes the mean of two areas: the truth's twice over and nothing is the truth's
    return oks(poses, truth, np.zeros(len(poses)), 2 * area, skeleton.sigmas, labelled)


def _within(given: Floats, boxes: Sequence[Floats]) -> NDArray[np.bool_]:
    """(D,) most keypoints of poses (D, K, 2) lie within one of the boxes (4,), doubled each way."""
    inside = np.zeros(len(given), np.bool_)
    for box in boxes:
        low, high = box[:2] - box[2:], box[:2] + 2 * box[2:]
        inside |= ((given >= low) & (given <= high)).all(-1).mean(-1) > 0.5
    return inside


def _areas(people: Sequence[Person]) -> NDArray[np.float64]:
    return np.array([box_area(p.xywh) if p.area is None else p.area for p in people], np.float64)


def _labelled(
    people: Sequence[Person], keypoints: int, counted: Sequence[int]
) -> NDArray[np.bool_]:
    """(P, keypoints), of which only the counted ones can be labelled."""
    labelled = np.zeros((len(people), keypoints), np.bool_)
    for row, person in zip(labelled, people, strict=True):
        row[list(counted)] = person.visible[list(counted)]
    return labelled
