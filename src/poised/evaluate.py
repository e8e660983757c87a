"""A model or a results file on a data set: its figures, and how they were made."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.boxes.files import boxes_of, check_box_file, read_boxes
from poised.boxes.nms import NmsKind, suppress
from poised.crops import clean_boxes
from poised.datasets import Person, known, read_people, read_with_truth
from poised.datasets.person import anybody_labelled
from poised.estimate import Estimator
from poised.files import sha256, write_text
from poised.images import image_size
from poised.metrics.coco import (
    CROWDED,
    ResultsError,
    box_figures,
    category_ids,
    check_results,
    read_results,
)
from poised.metrics.evaluation import (
    ELBOW_WRIST,
    Evaluation,
    Length,
    in_percent,
    score_people,
    score_results,
)
from poised.openvino_model import numbers_of
from poised.predict import Predictor
from poised.reading import json_text
from poised.runtime import find_model
from poised.types import Boxes, Skeleton

OF_COCO_FORM = ("oks", "crowdpose")  # metrics
NO_RESULTS = "{} has no results format; coco and crowdpose have"
CLEANED = "clipped to the image and a pixel smaller"  # as HRNet's reader does
TOTAL = {  # what papers call Total
    "mpii": "labelled mean",
    "lsp": "mean",
    "lspet": "mean",
    "flic": ELBOW_WRIST,
}
BoxesFrom = Literal["truth", "detector", "image"]


def usual_split(dataset: str) -> str:
    """The part of a data set that figures are given on."""
    usual = {"coco": "val2017", "crowdpose": "test", "mpii": "valid", "yolo": "val"}
    return usual.get(dataset, "test")


def evaluate_model(
    predictor: Predictor,
    dataset: str,
    root: Path,
    split: str,
    boxes: BoxesFrom | Path = "truth",
    detector: str = "person",
    nms: tuple[NmsKind, float] = ("none", 0.5),
    also_at: Sequence[float] = (),
    skeleton: str | None = None,
    length_of: Length = "torso",
    crowd: tuple[float, float] = CROWDED,
    write_to: Path | None = None,
) -> Evaluation:
    """Predict a data set's people and score them by its metric.

    boxes: the annotated ones, the predictor's detector's (then named by `detector`), each whole
    image (of a predictor without one), or a box file, which `nms` thins: its kind and threshold.
    Only keypoints that both skeletons name count.
    also_at: more limits for PCK's mean, e.g. the 0.11 that HRNet's code prints as "Mean@0.1".
    skeleton: of the data set, where it is not its usual one; length_of: PCK's reference; crowd:
    the crowd indices at which CrowdPose's medium and hard begin. write_to: a results file in COCO's
    form, with the data set's image ids; a part without annotations then has no figures.
    """
    predictor = copy.copy(predictor)
    predictor.min_score, predictor.min_joints = 0.0, 0  # AP ranks everybody by score
    predictor.estimator = copy.copy(predictor.estimator)
    is_classic = predictor.estimator.notes["crop"] in ("classic", "mmpose")
    predictor.estimator.protocol = replace(predictor.protocol, public=is_classic)
    protocol = _protocol(dataset, split, root) | _how(predictor, boxes, detector, nms)
    if known(dataset).metric in OF_COCO_FORM:
        people, named, truth, folder = read_with_truth(dataset, root, split, skeleton)
        if write_to is None or boxes == "truth":
            _somebody(people, root, split)
        if boxes == "truth" and predictor.protocol.public:
            protocol["annotated_boxes"] = CLEANED
        places = _shared_keypoints(predictor.skeleton, named)
        results, used = _results(predictor, truth, people, folder, named, places, boxes, nms)
        if write_to is not None:
            write_text(write_to, json_text(results) + "\n")
        counted = sorted(places)
        made_in = np.array([one["bbox"] for one in used], np.float64).reshape(-1, 4)
        done = score_results(
            dataset, named, truth, people, results, protocol, counted, crowd, made_in
        )
        if people and boxes != "truth":
            found_boxes = box_figures(truth, used)
            done.figures.update(in_percent(found_boxes))
        return replace(done, predictor=predictor, folder=folder)
    if write_to is not None:
        raise ValueError(NO_RESULTS.format(dataset))
    people, named = read_people(dataset, root, split, skeleton)
    _somebody(people, root, split)
    if boxes not in ("truth", "image"):
        raise ValueError(f"{dataset} is scored person by person: its boxes are truth or image")
    places = _shared_keypoints(predictor.skeleton, named)
    given = None if boxes == "image" else [sure_boxes(person.xywh[None]) for person in people]
    poses = predictor.predict([person.image for person in people], given)
    xy = np.full((len(people), len(named), 2), np.nan)
    for row, pose in zip(xy, poses, strict=True):
        row[list(places)] = pose.xy[0, list(places.values())]
    counted = sorted(places)
    done = score_people(dataset, named, people, xy, protocol, counted, also_at, length_of)
    return replace(done, predictor=predictor)


def _how(
    predictor: Predictor, boxes: BoxesFrom | Path, detector: str, nms: tuple[NmsKind, float]
) -> dict[str, Any]:
    """All that a figure depends on in a model, its boxes and crops; raises BoxFileError."""
    estimator = predictor.estimator
    public = predictor.protocol.public
    protocol = {
        "boxes": boxes if isinstance(boxes, str) else boxes.name,
        **estimator.facts(public),
        "opencv": cv2.__version__,
        "model": ", ".join(session.path.name for session in estimator.sessions),
        "model_sha256": ", ".join(
            sha256(numbers_of(session.path)) for session in estimator.sessions
        ),
        "engine": estimator.session.engine,
    }
    if not predictor.protocol.rescore:
        protocol["pose_score"] = "box score"
    if isinstance(boxes, Path):
        check_box_file(boxes)
        protocol |= {"boxes_sha256": sha256(boxes), "box_nms": list(nms)}
    if boxes == "detector" and isinstance(estimator, Estimator):
        file = find_model(detector)
        protocol |= {"detector": file.name, "detector_sha256": sha256(file)}
    kind, limit = predictor.pose_nms(detected=boxes in ("detector", "image"))
    area = "grown box" if public else "box"
    protocol["pose_nms"] = "none" if kind == "none" else f"{kind}, OKS {limit} by the {area}'s area"
    return protocol


def evaluate_results(
    results: Path,
    dataset: str,
    root: Path,
    split: str,
    skeleton: str | None = None,
    crowd: tuple[float, float] = CROWDED,
) -> Evaluation:
    """Score anybody's COCO results file. Raises ResultsError naming file, record and field.

    Where every record has a `file_name`, as ours do, it says which image is meant.
    """
    if known(dataset).metric not in OF_COCO_FORM:
        raise ValueError(NO_RESULTS.format(dataset))
    people, named, truth, folder = read_with_truth(dataset, root, split, skeleton)
    _somebody(people, root, split)
    values = read_results(results)
    if values and all("file_name" in value for value in values):
        values = _by_file_name(values, truth["images"], str(results))
    images = {image["id"] for image in truth["images"]}
    check_results(values, images, len(named), str(results), category_ids(truth))
    protocol = _protocol(dataset, split, root)
    protocol |= {"predictions": results.name, "predictions_sha256": sha256(results)}
    everything = list(range(len(named)))
    done = score_results(dataset, named, truth, people, values, protocol, everything, crowd)
    return replace(done, folder=folder)


def _somebody(people: Sequence[Person], root: Path, split: str) -> None:
    """Raise ValueError where there is nothing to score."""
    if not anybody_labelled(people):
        raise ValueError(f"{root.name}: nobody is annotated in {split}")


def _by_file_name(
    values: Sequence[dict[str, Any]], images: Sequence[dict[str, Any]], source: str
) -> list[dict[str, Any]]:
    """Results with the data set's image ids, by the end of their file names."""
    ids = {Path(image["file_name"]).name: image["id"] for image in images}
    if len(ids) < len(images):
        raise ResultsError(f"{source}: images of one name in two folders, leave out file_name")
    found = []
    for index, value in enumerate(values):
        given = str(value["file_name"])
        name = Path(given).name
        if name not in ids:
            raise ResultsError(f"{source}: record {index}: {given} is not in the data set")
        found.append({**value, "image_id": ids[name]})
    return found


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


def sure_boxes(xywh: NDArray[np.float64]) -> Boxes:
    """Annotated boxes (N, 4), 1 px at least a side: their score is 1."""
    sized = np.concatenate([xywh[:, :2], np.maximum(xywh[:, 2:], 1)], 1)
    return Boxes(sized.astype(np.float32), np.ones(len(xywh), np.float32))


def _results(
    predictor: Predictor,
    truth: dict[str, Any],
    people: list[Person],
    folder: Path,
    skeleton: Skeleton,
    places: dict[int, int],
    boxes: BoxesFrom | Path,
    nms: tuple[NmsKind, float],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every image's people as COCO results, keypoints that are not predicted at 0; and boxes."""
    images, category = truth["images"], min(category_ids(truth))
    paths = [folder / image["file_name"] for image in images]
    given: list[Boxes] | None = None
    if boxes == "truth":
        given = _annotated(images, paths, people, predictor.protocol.public)
    elif isinstance(boxes, Path):
        names = {image["id"]: image["file_name"] for image in images}
        named = boxes_of(read_boxes(boxes, names, category), paths, boxes)
        given = [suppress(named[path], *nms) for path in paths]
    results, used = [], []
    for image, poses in zip(images, predictor.predict(paths, given), strict=True):
        for pose, box_score in zip(poses, poses.boxes.score.tolist(), strict=True):
            triples = np.zeros((len(skeleton), 3))
            mine = list(places.values())
            triples[list(places), :2] = pose.xy[mine]
            triples[list(places), 2] = pose.keypoint_score[mine]
            one = {"image_id": image["id"], "category_id": category}
            used.append({**one, "bbox": pose.box.tolist(), "score": box_score})
            results.append({**one, "keypoints": triples.ravel().tolist(), "score": pose.score})
    return results, used


def _annotated(
    images: Sequence[dict[str, Any]], paths: Sequence[Path], people: Sequence[Person], clean: bool
) -> list[Boxes]:
    """Each image's annotated people to be found; clean: as HRNet's reader cleans their boxes."""
    by_image: dict[int, list[NDArray[Any]]] = {image["id"]: [] for image in images}
    for person in people:
        if not person.ignored:
            by_image[person.image_id].append(person.xywh)
    given = []
    for path, rows in zip(paths, by_image.values(), strict=True):
        xywh = np.array(rows, np.float64).reshape(-1, 4)
        if clean and rows:
            size = image_size(path)
            if isinstance(size, str):
                raise ValueError(f"{path}: {size}")
            xywh = clean_boxes(xywh, np.broadcast_to(size, (len(rows), 2)))
            xywh = xywh[~np.isnan(xywh).any(1)]
        given.append(sure_boxes(xywh))
    return given
