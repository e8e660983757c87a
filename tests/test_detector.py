"""Public detectors on real people, told apart by their outputs alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from poised.boxes.detector import Detector, decode_yolox
from poised.boxes.files import BoxFileError, boxes_of, read_boxes
from poised.images import read_image
from poised.metrics.boxes import matched
from poised.metrics.pck import distances, pck, torso_length
from poised.runtime import ModelError


@pytest.mark.parametrize(
    ("name", "kind", "engine", "least"),
    [
        ("rtmdet_nano_person.onnx", "rtmdet", "openvino", 0.7),
        ("rtmdet_nano.onnx", "rtmdet", "onnx", 0.7),
        ("yolox_nano.onnx", "yolox", "openvino", 0.6),
        ("yolox_nano.onnx", "yolox", "onnx", 0.6),
    ],
)
def test_public_detectors_find_the_people(shared: Path, name, kind, engine, least) -> None:
    """Floors a little under what was measured: wrong colours, a scale or a class that is off would
    bring recall far below."""
    detector = Detector(shared / "models" / name, engine)
    assert detector.kind == kind
    root = shared / "data" / "coco"
    labels = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    hits = people = 0
    for image in labels["images"][:20]:
        xywh = [a["bbox"] for a in labels["annotations"] if a["image_id"] == image["id"]]
        truth = np.array(xywh, float).reshape(-1, 4)
        truth[:, 2:] += truth[:, :2]
        found = detector.detect([read_image(root / "val2017" / image["file_name"])])[0]
        assert (np.diff(found.score) <= 0).all()
        hits += matched(found.xyxy, truth)
        people += len(truth)
    assert people > 40
    assert hits / people >= least


@pytest.mark.parametrize("threshold", [70, -0.1, float("nan")])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(ModelError, match="must lie between 0 and 1"):
        Detector("person", threshold=threshold)


def test_yolox_rows_by_hand() -> None:
    """A 64 x 32 input: 8 x 4 cells of stride 8, then 4 x 2 of 16, then 2 x 1 of 32. The row of
    cell (1, 0) of stride 16, at +0.5, +0.25, with w = h = e^0 strides."""
    rows = np.zeros((32 + 8 + 2, 85), np.float32)
    rows[33, :6] = [0.5, 0.25, 0, 0, 0.5, 0.8]
    xyxy, score = decode_yolox(rows, (64, 32))
    np.testing.assert_allclose(xyxy[33], [24 - 8, 4 - 8, 24 + 8, 4 + 8])
    assert score[33] == pytest.approx(0.4)


def test_a_name_that_fits_two_images_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text('[{"file_name": "a.jpg", "bbox": [0, 0, 5, 5]}]')
    boxes = read_boxes(path)
    assert boxes["a.jpg"].score.tolist() == [1.0]
    images = [Path("x/a.jpg"), Path("y/a.jpg")]
    with pytest.raises(BoxFileError, match="fits"):
        boxes_of(boxes, images, path)
    assert [len(b) for b in boxes_of(boxes, [Path("x/a.jpg"), Path("x/b.jpg")], path).values()] == [
        1,
        0,
    ]


def test_each_true_box_is_found_once() -> None:
    truth = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], float)
    twice = np.array([[0, 0, 10, 10], [1, 0, 10, 10], [40, 0, 50, 10]], float)
    assert matched(twice, truth) == 1
    assert matched(truth, truth) == 2
    assert matched(truth, np.zeros((0, 4))) == 0


def test_pck_by_hand() -> None:
    """Torso 50, 0.2 of it is 10 px: distance 10 is right, 10.1 wrong; the third is not visible."""
    truth = np.array([[[0, 0], [30, 40], [5, 5]]], float)
    visible = np.array([[True, True, False]])
    length = torso_length(truth, visible, 0, 1)
    assert length.tolist() == [50]
    moved = truth + np.array([[10, 0], [0, 10.1], [0, 0]])
    got = pck(distances(moved, truth, visible, length), 0.2)
    assert got[:2].tolist() == [100, 0]
    assert np.isnan(got[2])
    hidden = np.array([[True, False, True]])
    assert torso_length(truth, hidden, 0, 1).tolist() == [2]  # 0.4 x 5
