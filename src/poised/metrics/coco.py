"""COCO's OKS average precision and recall, and CrowdPose's, by faster-coco-eval.

The arithmetic is the library's, which equals pycocotools'; here stand the checks before it, and
the two data sets' conventions: COCO takes the annotated area, CrowdPose 0.53 x the box.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from numpy.typing import NDArray

from poised.datasets.coco import box_area
from poised.reading import are_numbers, is_number, read_json, read_json_lines

KEPT = 20  # detections an image, COCO's rule
CROWDED = (0.2, 0.8)  # crowd index: easy below the first, hard from the second; the official code's
FIGURES = ("AP", "AP.5", "AP.75", "AP_M", "AP_L", "AR", "AR.5", "AR.75", "AR_M", "AR_L")


class ResultsError(ValueError):
    """A results file that cannot be scored: names the file, the record and the field."""


def evaluator_name() -> str:
    """The library that does the arithmetic, and its version."""
    return f"faster-coco-eval {version('faster-coco-eval')}"


def read_results(path: Path) -> list[dict[str, Any]]:
    """A JSON list of results, or JSON Lines of them; ResultsError for a file that is neither."""
    if path.suffix == ".jsonl":
        values = list(read_json_lines(path, ResultsError))
    else:
        values = read_json(path, ResultsError, "results file")
    if not isinstance(values, list) or not all(isinstance(v, dict) for v in values):
        raise ResultsError(f"{path}: expected a list of results")
    return values


def category_ids(truth: dict[str, Any]) -> set[int]:
    """The categories that are annotated with keypoints; 1 where nobody is."""
    return {a["category_id"] for a in truth["annotations"] if a.get("num_keypoints", 1)} or {1}


def check_results(
    results: Sequence[dict[str, Any]],
    image_ids: set[int],
    keypoints: int,
    source: str,
    categories: set[int],
) -> None:
    """Raise ResultsError at the first record that does not fit the data set."""
    seen: dict[tuple[Any, ...], int] = {}
    boxed = bool(results) and results[0].get("bbox") is not None
    for index, result in enumerate(results):
        where = f"{source}: record {index}"
        if not isinstance(result.get("image_id"), int) or result["image_id"] not in image_ids:
            raise ResultsError(
                f"{where}: image_id {result.get('image_id')!r} is not in the data set"
            )
        category = result.get("category_id")
        if not isinstance(category, int) or category not in categories:
            raise ResultsError(
                f"{where}: category_id is {category!r}, the data set has {sorted(categories)}"
            )
        numbers, score = result.get("keypoints"), result.get("score")
        if not isinstance(numbers, list) or len(numbers) != 3 * keypoints:
            got = len(numbers) if isinstance(numbers, list) else repr(numbers)
            raise ResultsError(
                f"{where}: keypoints has {got} numbers, expected {3 * keypoints}: x, y, score of "
                f"{keypoints}"
            )
        if not is_number(score):
            raise ResultsError(f"{where}: score is {repr(score)[:60]}, expected a number")
        if not are_numbers(numbers):
            raise ResultsError(f"{where}: keypoints has a value that is no finite number")
        box = result.get("bbox")
        if box is not None and not (are_numbers(box) and len(box) == 4 and min(box[2:]) >= 0):
            raise ResultsError(f"{where}: bbox is {box!r}, expected [x, y, width, height]")
        if boxed and box is None:  # the first one's box says where areas come from
            raise ResultsError(f"{where}: has no bbox, though the first record has one")
        twin = seen.setdefault((result["image_id"], score, *numbers), index)
        if twin != index:
            raise ResultsError(f"{where}: the same person as record {twin}")


def oks_figures(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], sigmas: NDArray[Any]
) -> dict[str, float]:
    """COCO's ten figures, fractions; -1 where nothing could be counted.

    truth: COCO form, with an area for each person; results: its standard results, in the order
    that decides between equal scores. A `bbox` in the first result makes the official loader, and
    so this, take a result's area from its box and not from its keypoints.
    """
    evaluator = _evaluator(truth, results, sigmas)
    _run(evaluator)
    evaluator.summarize()
    return dict(zip(FIGURES, map(float, evaluator.stats[: len(FIGURES)]), strict=True))


def crowdpose_figures(
    truth: dict[str, Any],
    results: Sequence[dict[str, Any]],
    sigmas: NDArray[Any],
    split: tuple[float, float] = CROWDED,
) -> dict[str, float]:
    """CrowdPose's nine figures, fractions: AP and AR, and AP by the images' crowd index.

    split: where easy ends and hard begins; the official code has (0.2, 0.8), the paper's text
    (0.1, 0.8). The area of a person is 0.53 x the box, whatever is annotated.
    """
    without = [image["file_name"] for image in truth["images"] if "crowdIndex" not in image]
    if without:
        raise ResultsError(
            f"{without[0]} and {len(without) - 1} other images have no crowdIndex, which "
            "CrowdPose's figures need; --dataset coco does without"
        )
    people = [{**a, "area": box_area(a["bbox"])} for a in truth["annotations"]]
    evaluator = _evaluator({**truth, "annotations": people}, results, sigmas)
    _run(evaluator)
    evaluator.summarize()
    whole = dict(zip(FIGURES, map(float, evaluator.stats[: len(FIGURES)]), strict=True))
    figures = {name: whole[name] for name in ("AP", "AP.5", "AP.75", "AR", "AR.5", "AR.75")}
    index = np.array([image["crowdIndex"] for image in truth["images"]])
    ids = np.array([image["id"] for image in truth["images"]])
    for level, name in enumerate(("AP_easy", "AP_medium", "AP_hard")):
        chosen = ids[np.digitize(index, split) == level]
        if not len(chosen):
            figures[name] = -1.0
            continue
        evaluator.params.imgIds = chosen.tolist()
        _run(evaluator)
        figures[name] = float(np.mean(evaluator.eval["precision"][:, :, :, 0, :]))
    return figures


def box_figures(truth: dict[str, Any], boxes: Sequence[dict[str, Any]]) -> dict[str, float]:
    """COCO's AP and AR (100 boxes an image) of boxes, fractions: CPN's Tables 1 and 2.

    boxes: {"image_id", "category_id": 1, "bbox": [x, y, width, height], "score"}.
    """
    labels = _labels(truth)
    rows = [
        {**box, "id": n, "area": box["bbox"][2] * box["bbox"][3]} for n, box in enumerate(boxes, 1)
    ]
    evaluator = COCOeval_faster(
        labels, COCO({**labels.dataset, "annotations": rows}), iouType="bbox"
    )
    _run(evaluator)
    evaluator.summarize()
    return {"person_AP": float(evaluator.stats[0]), "person_AR": float(evaluator.stats[8])}


class _Evaluator(COCOeval_faster):  # type: ignore[misc]  # the library has no types
    """The library's, with an image's OKS in one piece: its own loop is most of its time."""

    def computeOks(self, imgId: int, catId: int) -> Any:
        """(D, G) OKS of detections, best first, with people; [] where there are none of either."""
        people, found = self.gt_dataset.get(imgId, catId), self.dt_dataset.get(imgId, catId)
        if not people or not found:
            return []
        found = sorted(found, key=lambda detection: -detection["score"])[: self.params.maxDets[-1]]
        truth = np.array([p["keypoints"] for p in people], np.float64).reshape(len(people), -1, 3)
        given = np.array([d["keypoints"] for d in found], np.float64).reshape(len(found), -1, 3)
        labelled = truth[..., 2] > 0
        apart = given[:, None, :, :2] - truth[None, :, :, :2]  # (D, G, K, 2)
        nobody = ~labelled.any(1)
        if nobody.any():  # a crowd region: nothing is apart within its box, doubled each way
            boxes = np.array([p["bbox"] for p in people], np.float64)[nobody]
            low, high = boxes[:, :2] - boxes[:, 2:], boxes[:, :2] + 2 * boxes[:, 2:]
            xy = given[:, None, :, :2]
            apart[:, nobody] = np.maximum(low[:, None] - xy, 0) + np.maximum(xy - high[:, None], 0)
            labelled[nobody] = True
        area = np.array([p["area"] for p in people], np.float64) + np.spacing(1)
        tolerance = (2 * self.params.kpt_oks_sigmas) ** 2
        likeness = np.exp(-(apart**2).sum(-1) / tolerance / area[:, None] / 2)  # (D, G, K)
        return (likeness * labelled).sum(-1) / labelled.sum(-1)


def _labels(truth: dict[str, Any]) -> Any:
    """The library's form of the truth, of copies: it writes into them."""
    annotations = [  # numbered anew: to the evaluator a match with number 0 is none
        {**a, "id": number, "iscrowd": a.get("iscrowd") or 0}
        for number, a in enumerate(truth["annotations"], start=1)
    ]
    categories = truth.get("categories") or [{"id": 1, "name": "person"}]
    return COCO({**truth, "annotations": annotations, "categories": categories})


def _evaluator(
    truth: dict[str, Any], results: Sequence[dict[str, Any]], sigmas: NDArray[Any]
) -> Any:
    """The library's evaluator of keypoints."""
    labels = _labels(truth)
    found = COCO({**labels.dataset, "annotations": _as_annotations(results)})
    exact = np.round(np.asarray(sigmas, np.float64), 6).tolist()  # 0.026, not its float32
    evaluator = _Evaluator(labels, found, iouType="keypoints", kpt_oks_sigmas=exact)
    evaluator.params.maxDets = [KEPT]
    return evaluator


def _as_annotations(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with the number, box and area that the official loader gives them.

    The area is that of the box where the first result has one, else of the keypoints' extent.
    """
    if not results:
        return []
    if results[0].get("bbox") is not None:
        boxes = np.array([result["bbox"] for result in results], np.float64)
    else:
        triples = np.array([r["keypoints"] for r in results], np.float64)
        xy = triples.reshape(len(results), -1, 3)[..., :2]
        boxes = np.concatenate([xy.min(1), xy.max(1) - xy.min(1)], 1)
    return [
        {**result, "id": number, "bbox": box, "area": area, "iscrowd": 0}
        for number, (result, box, area) in enumerate(
            zip(results, boxes.tolist(), boxes[:, 2:].prod(1).tolist(), strict=True), start=1
        )
    ]


def _run(evaluator: Any) -> None:
    evaluator.evaluate()
    evaluator.accumulate()
