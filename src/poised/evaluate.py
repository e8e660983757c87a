"""Figures that say how they were made: a data set's own metric, and the protocol beside it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poised.boxes.files import boxes_of, read_boxes
from poised.boxes.nms import NmsKind, suppress
from poised.datasets import DATASETS, Person, read_people
from poised.datasets.coco import person_area, read_annotations
from poised.metrics.coco import (
    CROWDED,
    box_figures,
    check_results,
    crowdpose_figures,
    evaluator_name,
    oks_figures,
    read_results,
)
from poised.metrics.matching import Matched, match, pair
from poised.metrics.pck import (
    NOT_IN_PCKH,
    area_under_curve,
    distances,
    grouped,
    labelled_mean,
    pck,
    torso_length,
)
from poised.predict import SAME_PERSON, Predictor
from poised.runtime import find_model
from poised.types import Boxes, Skeleton

PCK_FRACTION = 0.2
PCKH_FRACTION = 0.5
TORSO = {"flic": ("right_shoulder", "left_hip")}  # others: left shoulder, right hip
OTHERS_TORSO = ("left_shoulder", "right_hip")
MATCHED = 0.5  # least OKS of a prediction that a person got
HEADS = ("neck", "head_top")
TOTAL = {"mpii": "labelled mean", "lsp": "mean", "lspet": "mean"}  # what papers call Total
BoxesFrom = Literal["truth", "detector", "image"]


@dataclass(frozen=True)
class Evaluation:
    """figures: by name; protocol: everything that a figure depends on, by name.

    samples: what `compare` draws from: of each labelled person the image, the points scored and
    the points to be had. For PCK a point is a keypoint; for OKS it is the OKS of the prediction
    that the person got, best score first, 0 below 0.5. matched: the same people, for a report;
    apart: for PCK, their keypoints' distances (P, keypoints that count) in lengths; predictor:
    whose model it was.
    """

    figures: dict[str, float]
    protocol: dict[str, Any]
    samples: dict[str, list[Any]]
    matched: Matched
    apart: NDArray[np.float64] | None = None
    predictor: Predictor | None = None

    def write(self, path: Path) -> None:
        """As JSON, whole or not at all."""
        partial = path.with_name(path.name + ".part")
        values = {"figures": self.figures, "protocol": self.protocol, "samples": self.samples}
        partial.write_text(json.dumps(values) + "\n", "utf-8")
        os.replace(partial, path)


def usual_split(dataset: str) -> str:
    """The part of a data set that figures are given on."""
    usual = {"coco": "val2017", "crowdpose": "test", "mpii": "valid"}
    return usual.get(dataset, "test")


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def evaluate_model(
    predictor: Predictor,
    dataset: str,
    root: Path,
    split: str,
    boxes: BoxesFrom | Path = "truth",
    detector: str = "person",
    nms: tuple[NmsKind, float] = ("none", 0.5),
    also_at: Sequence[float] = (),
) -> Evaluation:
    """Predict a data set's people and score them by its metric.

    boxes: the annotated ones, the predictor's detector's (then named by `detector`), each whole
    image (of a predictor without one), or a box file, which `nms` thins: its kind and threshold.
    Only keypoints that both skeletons name count.
    also_at: more limits for PCK's mean, e.g. the 0.11 that HRNet's code prints as "Mean@0.1".
    """
    people, skeleton = read_people(dataset, root, split)
    metric = DATASETS[dataset].metric
    protocol = _protocol(dataset, split, root) | {
        "boxes": boxes if isinstance(boxes, str) else boxes.name,
        "flip": predictor.flip,
        "padding": predictor.padding,
        "shift": predictor.protocol.shift,
        "scales": list(predictor.protocol.scales),
        "decoder": predictor.decoder,
        "crop": predictor.session.metadata["crop"],
        "pose_score": f"box score x mean keypoint score above {predictor.threshold}"
        if predictor.protocol.rescore
        else "box score",
        "model": ", ".join(session.path.name for session in predictor.sessions),
        "model_sha256": ", ".join(sha256(session.path) for session in predictor.sessions),
        "engine": predictor.session.engine,
    }
    if isinstance(boxes, Path):
        protocol |= {"boxes_sha256": sha256(boxes), "box_nms": list(nms)}
    if boxes == "detector":
        file = find_model(detector)
        protocol |= {"detector": file.name, "detector_sha256": sha256(file)}
        protocol["pose_nms"] = f"OKS above {SAME_PERSON}"
    places = _shared_keypoints(predictor.skeleton, skeleton)
    if metric in ("oks", "crowdpose"):
        truth, folder = read_annotations(root, split)
        results, used = _results(predictor, truth, people, folder, places, boxes, nms)
        counted = sorted(places)
        done = _score_results(dataset, skeleton, truth, people, results, protocol, counted)
        if boxes != "truth":
            found_boxes = box_figures(truth, used)
            done.figures.update({name: round(100 * v, 3) for name, v in found_boxes.items()})
        return replace(done, predictor=predictor)
    if boxes not in ("truth", "image"):
        raise ValueError(f"{dataset} is scored person by person: its boxes are truth or image")
    given = None if boxes == "image" else [_sure(person.xywh[None]) for person in people]
    poses = predictor.predict([person.image for person in people], given)
    xy = np.full((len(people), len(skeleton), 2), np.nan)
    found = np.concatenate([pose.xy for pose in poses])
    xy[:, list(places)] = found[:, list(places.values())]
    done = _score_people(dataset, skeleton, people, xy, protocol, sorted(places), also_at)
    return replace(done, predictor=predictor)


def evaluate_results(
    results: Path, dataset: str, root: Path, split: str, skeleton: str | None = None
) -> Evaluation:
    """Score anybody's COCO results file. Raises ResultsError naming file, record and field."""
    if dataset not in DATASETS:
        raise ValueError(f"no data set named {dataset!r}; known: {', '.join(DATASETS)}")
    if DATASETS[dataset].metric not in ("oks", "crowdpose"):
        raise ValueError(f"{dataset} has no results format; coco and crowdpose have")
    truth, _ = read_annotations(root, split)
    people, named = read_people(dataset, root, split, skeleton)
    values = read_results(results)
    check_results(values, {i["id"] for i in truth["images"]}, len(named), str(results))
    protocol = _protocol(dataset, split, root)
    protocol |= {"predictions": results.name, "predictions_sha256": sha256(results)}
    everything = list(range(len(named)))
    return _score_results(dataset, named, truth, people, values, protocol, everything)


def _protocol(dataset: str, split: str, root: Path) -> dict[str, Any]:
    from poised import __version__

    return {"poised": __version__, "dataset": dataset, "split": split, "root": root.name}


def _shared_keypoints(predicted: Skeleton, wanted: Skeleton) -> dict[int, int]:
    """Place in the wanted skeleton -> place in the predicted one, of the names in both."""
    there = {name: index for index, name in enumerate(predicted.keypoints)}
    places = {k: there[name] for k, name in enumerate(wanted.keypoints) if name in there}
    if not places:
        raise ValueError(f"skeletons {predicted.name} and {wanted.name} share no keypoint")
    return places


def _sure(xywh: NDArray[np.float64]) -> Boxes:
    """Annotated boxes (N, 4): their score is 1."""
    return Boxes(xywh.astype(np.float32), np.ones(len(xywh), np.float32))


def _results(
    predictor: Predictor,
    truth: dict[str, Any],
    people: list[Person],
    folder: Path,
    places: dict[int, int],
    boxes: BoxesFrom | Path,
    nms: tuple[NmsKind, float],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every image's people as COCO results, keypoints that are not predicted at 0; and boxes."""
    images = truth["images"]
    paths = [folder / image["file_name"] for image in images]
    given: list[Boxes] | None = None
    if boxes == "truth":
        by_image: dict[int, list[NDArray[Any]]] = {image["id"]: [] for image in images}
        for person in people:
            if not person.ignored:
                by_image[person.image_id].append(person.xywh)
        given = [_sure(np.array(rows, np.float64).reshape(-1, 4)) for rows in by_image.values()]
    elif isinstance(boxes, Path):
        named = boxes_of(read_boxes(boxes), paths, boxes)
        given = [suppress(named[path], *nms) for path in paths]
    keypoints = len(people[0].visible)
    results, used = [], []
    for image, poses in zip(images, predictor.predict(paths, given), strict=True):
        for pose, box_score in zip(poses, poses.boxes.score.tolist(), strict=True):
            triples = np.zeros((keypoints, 3))
            mine = list(places.values())
            triples[list(places), :2] = pose.xy[mine]
            triples[list(places), 2] = pose.keypoint_score[mine]
            one = {"image_id": image["id"], "category_id": 1}
            used.append({**one, "bbox": pose.box.tolist(), "score": box_score})
            results.append({**one, "keypoints": triples.ravel().tolist(), "score": pose.score})
    return results, used


def _score_results(
    dataset: str,
    skeleton: Skeleton,
    truth: dict[str, Any],
    people: list[Person],
    results: Sequence[dict[str, Any]],
    protocol: dict[str, Any],
    counted: list[int],
) -> Evaluation:
    """OKS figures in percent, over the counted keypoints."""
    annotations = []
    left_out = np.ones(len(skeleton), np.bool_)
    left_out[counted] = False
    for annotation in truth["annotations"]:
        triples = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        triples[left_out] = 0
        labelled = int((triples[:, 2] > 0).sum())
        annotations.append(
            {
                **annotation,
                "area": person_area(annotation),
                "keypoints": triples.ravel().tolist(),
                "num_keypoints": labelled,
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
    }
    if DATASETS[dataset].metric == "oks":
        figures = oks_figures(scored, results, skeleton.sigmas)
    else:
        protocol |= {"area": "0.53 x box", "crowd_index": list(CROWDED)}
        figures = crowdpose_figures(scored, results, skeleton.sigmas)
    percent = {name: round(100 * v, 3) if v >= 0 else v for name, v in figures.items()}
    matched = match(people, results, skeleton, counted)
    got = np.where(matched.likeness >= MATCHED, matched.likeness, 0)
    samples = {
        "image": [person.image_id for person in matched.people],
        "scored": got.round(4).tolist(),
        "possible": [1.0] * len(got),
    }
    return Evaluation(percent, protocol, samples, matched)


def _score_people(
    dataset: str,
    skeleton: Skeleton,
    people: list[Person],
    xy: NDArray[np.float64],
    protocol: dict[str, Any],
    counted: list[int],
    also_at: Sequence[float],
) -> Evaluation:
    """PCK or PCKh of one prediction a person, in percent."""
    truth = np.stack([person.xy for person in people])
    labelled = np.stack([person.visible for person in people])
    names = [skeleton.keypoints[k] for k in counted]
    if DATASETS[dataset].metric == "pckh":
        missing = [str(p.image) for p in people if p.head_size is None]
        if missing:
            raise ValueError(
                f"{missing[0]} and {len(missing) - 1} others have no head box, which PCKh needs: "
                "put MPII's mpii_human_pose_v1_u12_1.mat into the data set's folder"
            )
        length = np.array([person.head_size for person in people], np.float64)
        fraction, kind, left_out = PCKH_FRACTION, "PCKh", list(NOT_IN_PCKH)
    else:
        shoulder, hip = (skeleton.keypoints.index(n) for n in TORSO.get(dataset, OTHERS_TORSO))
        length = torso_length(truth, labelled, shoulder, hip)
        fraction, kind, left_out = PCK_FRACTION, "PCK", []
    apart = distances(xy, truth, labelled, length)[:, counted]
    each = pck(apart, fraction)
    limbs = [value for name, value in zip(names, each, strict=True) if name not in HEADS]
    figures = grouped(each, names) | {
        "mean": float(np.nanmean(each)),
        "labelled mean": labelled_mean(each, apart, names, left_out),
        "limb mean": float(np.nanmean(limbs)),
        "AUC": float(np.nanmean(area_under_curve(apart, fraction))),
    }
    for limit in also_at:
        mean = labelled_mean(pck(apart, limit), apart, names, left_out)
        figures[f"labelled mean@{limit:g}"] = mean
    protocol = protocol | {
        "people": len(people),
        "metric": f"{kind}@{fraction}, a distance equal to the limit is correct",
        "length": "0.6 x head box diagonal"
        if kind == "PCKh"
        else f"{' to '.join(TORSO.get(dataset, OTHERS_TORSO))}, else 0.4 x joints' box",
        "keypoints": names,
        "left_out_of_labelled_mean": left_out,
    }
    possible = np.isfinite(apart).sum(1)
    samples = {
        "image": [person.image_id for person in people],
        "scored": (apart <= fraction).sum(1).tolist(),
        "possible": possible.tolist(),
    }
    rounded = {name: round(value, 3) for name, value in figures.items()}
    return Evaluation(rounded, protocol, samples, pair(people, xy, skeleton, counted), apart)
