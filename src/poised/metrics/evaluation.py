"""Predictions and annotated people -> figures, with the protocol that a figure depends on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poised.datasets import DATASETS, Person
from poised.datasets.coco import keypoint_count, person_area
from poised.files import write_text
from poised.metrics.coco import CROWDED, crowdpose_figures, evaluator_name, oks_figures
from poised.metrics.matching import Matched, match, match_own, pair
from poised.metrics.pck import (
    FLIC_TOTAL,
    GROUPS,
    NOT_IN_PCKH,
    area_under_curve,
    distances,
    grouped,
    labelled_mean,
    pck,
    person_size,
    torso_length,
)
from poised.predict import Predictor
from poised.reading import json_text, nulled
from poised.types import Skeleton

PCK_FRACTION = 0.2
PCKH_FRACTION = 0.5
TORSO = {"flic": ("right_shoulder", "left_hip")}  # others: left shoulder, right hip
OTHERS_TORSO = ("left_shoulder", "right_hip")
ELBOW_WRIST = "elbow-wrist mean"
MATCHED = 0.5  # least OKS of a prediction that a person got
LIMBS = {name for group, names in GROUPS.items() if group != "Head" for name in names}
Length = Literal["torso", "person"]


@dataclass(frozen=True)
class Evaluation:
    """figures: by name; protocol: everything that a figure depends on, by name.

    samples: what `compare` draws from: of each labelled person the image, the points scored and
    the points to be had. For PCK a point is a keypoint; for OKS it is the OKS of the prediction
    that the person got, best score first, 0 below 0.5. matched: the same people, for a report, with
    the predictions of their own boxes where those were given; apart: for PCK, their keypoints'
    distances (P, keypoints that count) in lengths; truth: for OKS, the annotations as they were
    scored; predictor: whose model it was; folder: of the images.
    """

    figures: dict[str, float]
    protocol: dict[str, Any]
    samples: dict[str, list[Any]]
    matched: Matched
    apart: NDArray[np.float64] | None = None
    truth: dict[str, Any] = field(default_factory=dict)
    predictor: Predictor | None = None
    folder: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON; a figure of a joint that nobody has is None."""
        return {
            "figures": nulled(self.figures),
            "protocol": self.protocol,
            "samples": self.samples,
        }

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        write_text(path, json_text(self.as_dict()) + "\n")


def fingerprint(people: Sequence[Person]) -> str:
    """SHA-256 of who is annotated, where, and in which images: two data sets' differ."""
    digest = hashlib.sha256()
    for person in people:
        named = f"{person.image.name} {person.image_id} {person.ignored}"
        digest.update(named.encode(errors="surrogatepass"))  # JSON can hold half a character
        for array in (person.xywh, person.xy, person.visible):
            digest.update(array.tobytes())
    return digest.hexdigest()


def score_results(
    dataset: str,
    skeleton: Skeleton,
    truth: dict[str, Any],
    people: list[Person],
    results: Sequence[dict[str, Any]],
    protocol: dict[str, Any],
    counted: list[int],
    crowd: tuple[float, float] = CROWDED,
    boxes: NDArray[np.float64] | None = None,
) -> Evaluation:
    """OKS figures in percent, over the counted keypoints; none where nobody is annotated.

    boxes: (D, 4) the results were made in, where they do not say it; no figure depends on them.
    crowd: the crowd indices at which CrowdPose's medium and hard begin.
    """
    annotations = []
    left_out = np.ones(len(skeleton), np.bool_)
    left_out[counted] = False
    for annotation in truth["annotations"]:
        triples = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        triples[left_out] = 0
        has = keypoint_count(annotation)  # 0: to be ignored; CrowdPose's own leaves out the head
        if left_out.any():
            has = min(has, int((triples[:, 2] > 0).sum()))
        annotations.append(
            {
                **annotation,
                "area": person_area(annotation),
                "keypoints": triples.ravel().tolist(),
                "num_keypoints": has,
            }
        )
    scored = {**truth, "annotations": annotations}
    protocol = protocol | {
        "images": len(truth["images"]),
        "people": len(annotations),
        "predictions_counted": len(results),
        "metric": "OKS AP" if DATASETS[dataset].metric == "oks" else "CrowdPose AP",
        "evaluator": evaluator_name(),
        "sigmas": skeleton.name,
        "keypoints": [skeleton.keypoints[k] for k in counted],
        "area": "as annotated, else 0.53 x box",
        "results_area": "box" if results and results[0].get("bbox") else "keypoints' extent",
        "truth_sha256": fingerprint(people),
    }
    if not people:
        nobody: dict[str, list[Any]] = {"image": [], "scored": [], "possible": []}
        return Evaluation({}, protocol, nobody, match(people, results, skeleton, counted))
    if DATASETS[dataset].metric == "crowdpose":
        protocol |= {"area": "0.53 x box", "crowd_index": list(crowd)}
    figures = figures_of(dataset, scored, results, skeleton.sigmas, crowd)
    matched = match(people, results, skeleton, counted, boxes)
    got = np.where(matched.likeness >= MATCHED, matched.likeness, 0)
    samples = {
        "image": [person.image_id for person in matched.people],
        "scored": got.round(4).tolist(),
        "possible": [1.0] * len(got),
    }
    if protocol.get("boxes") == "truth":
        matched = match_own(people, results, skeleton, counted, boxes)
    return Evaluation(figures, protocol, samples, matched, truth=scored)


def figures_of(
    dataset: str,
    truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    sigmas: NDArray[np.float32],
    crowd: tuple[float, float] = CROWDED,
) -> dict[str, float]:
    """A data set's OKS figures in percent, NaN where nothing could be counted."""
    if DATASETS[dataset].metric == "oks":
        figures = oks_figures(truth, results, sigmas)
    else:
        figures = crowdpose_figures(truth, results, sigmas, crowd)
    return in_percent(figures)


def in_percent(fractions: dict[str, float]) -> dict[str, float]:
    """COCO's figures, whose -1 is NaN: nothing could be counted."""
    return {name: round(100 * v, 3) if v >= 0 else np.nan for name, v in fractions.items()}


def check_heads(dataset: str, people: Sequence[Person]) -> None:
    """Raise ValueError where somebody has no head box and the data set's metric is PCKh."""
    missing = [str(person.image) for person in people if person.head_size is None]
    if missing and DATASETS[dataset].metric == "pckh":
        raise ValueError(
            f"{missing[0]} and {len(missing) - 1} others have no head box, which PCKh needs: "
            "put MPII's mpii_human_pose_v1_u12_1.mat into the data set's folder"
        )


def score_people(
    dataset: str,
    skeleton: Skeleton,
    people: list[Person],
    xy: NDArray[np.float64],
    protocol: dict[str, Any],
    counted: list[int],
    also_at: Sequence[float] = (),
    length_of: Length = "torso",
) -> Evaluation:
    """PCK or PCKh of one prediction a person, in percent.

    also_at: more limits for the mean; length_of: PCK's reference, not PCKh's.
    """
    truth = np.stack([person.xy for person in people])
    labelled = np.stack([person.visible for person in people])
    names = [skeleton.keypoints[k] for k in counted]
    if DATASETS[dataset].metric == "pckh":
        check_heads(dataset, people)
        length = np.array([person.head_size for person in people], np.float64)
        fraction, kind, left_out = PCKH_FRACTION, "PCKh", list(NOT_IN_PCKH)
        named = "0.6 x head box diagonal"
    else:
        fraction, kind, left_out = PCK_FRACTION, "PCK", []
        torso = TORSO.get(dataset, OTHERS_TORSO)
        if length_of == "person":
            length, named = person_size(truth, labelled), "longer side of the joints' box"
        elif missing := [name for name in torso if name not in skeleton.keypoints]:
            raise ValueError(
                f"the skeleton has no {missing[0]}, of which the torso's length is had: give "
                "--length person"
            )
        else:
            named = f"{' to '.join(torso)}, else 0.4 x longer side of the joints' box"
            length = torso_length(truth, labelled, *map(skeleton.keypoints.index, torso))
    apart = distances(xy, truth, labelled, length)[:, counted]
    each = pck(apart, fraction)
    limbs = [value for name, value in zip(names, each, strict=True) if name in LIMBS]
    kept = ~np.isin(names, left_out)
    figures = grouped(each, names) | {
        "mean": float(np.nanmean(each)),
        "labelled mean": labelled_mean(each, apart, names, left_out),
        "limb mean": float(np.nanmean(limbs)) if limbs else np.nan,
        "AUC": float(np.nanmean(area_under_curve(apart, fraction)[kept])),
    }
    if dataset == "flic":
        figures[ELBOW_WRIST] = float(np.mean([figures.get(name, np.nan) for name in FLIC_TOTAL]))
    for limit in also_at:
        mean = labelled_mean(pck(apart, limit), apart, names, left_out)
        figures[f"labelled mean@{limit:g}"] = mean
    protocol = protocol | {
        "people": len(people),
        "metric": f"{kind}@{fraction}, a distance equal to the limit is correct",
        "length": named,
        "truth_sha256": fingerprint(people),
        "keypoints": names,
        "left_out_of_labelled_mean": left_out,
    }
    possible = (~np.isnan(apart)).sum(1)
    samples = {
        "image": [person.image_id for person in people],
        "scored": (apart <= fraction).sum(1).tolist(),
        "possible": possible.tolist(),
    }
    rounded = {name: round(value, 3) for name, value in figures.items()}
    matched = pair(people, xy, skeleton, counted, length, fraction)
    return Evaluation(rounded, protocol, samples, matched, apart[possible > 0])
