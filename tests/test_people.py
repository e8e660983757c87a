"""Who is in the results and in the picture: not everything that the detector found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from models import DOTS, colour_model, fixed_detector
from PIL import Image
from test_predict import TRUTH, dots

from poised import Boxes, ImagePoses, Predictor
from poised.boxes.detector import Detector
from poised.draw import PEOPLE, draw_poses
from poised.runtime import ModelError
from poised.types import Skeleton

BOX = [40, 50, 75, 90]


def test_a_detector_with_fewer_scores_than_boxes_is_named(tmp_path: Path) -> None:
    odd = fixed_detector(tmp_path / "odd.onnx", [[4, 4, 60, 60], [8, 8, 40, 40]], [0.9])
    with pytest.raises(ModelError, match=r"odd\.onnx: gives boxes of the shape \[2, 4\], and"):
        Detector(odd, "onnx").find(np.zeros((64, 64, 3), np.uint8))
    none = fixed_detector(tmp_path / "none.onnx", [], [])
    with pytest.raises(ModelError, match=r"none\.onnx: gives boxes of the shape \[0\], and"):
        Detector(none, "onnx").find(np.zeros((64, 64, 3), np.uint8))


def test_a_dot_without_a_limb_is_not_drawn() -> None:
    """In either colouring; what is drawn by person has that person's colour, a box and a number."""
    xy = np.array([[[20, 20], [60, 20], [40, 60]], [[120, 20], [150, 20], [140, 60]]])
    boxes = Boxes(np.array([[10, 10, 60, 60], [100, 10, 60, 60]]), np.ones(2))
    score = np.array([[1, 0.2, 1], [0.9, 0.9, 0]])  # at the threshold is not above it
    poses = ImagePoses("a", (180, 80), DOTS, boxes, xy, score, np.ones(2))
    grey = np.full((80, 180, 3), 90, np.uint8)
    limbs, people = draw_poses(grey, poses, 0.2), draw_poses(grey, poses, 0.2, "people")
    assert (limbs[:, :90] == 90).all()
    assert (people[14:68, 28:68] == 90).all()  # within the first box, below its number
    assert tuple(people[40, 10]) == PEOPLE[0]
    assert tuple(people[20, 120]) == tuple(people[20, 150]) == PEOPLE[1]
    with_more = poses.take(np.array([1]))
    assert tuple(draw_poses(grey, with_more, 0.2, "people")[20, 120]) == PEOPLE[0]


def test_false_people_are_left_out(tmp_path: Path) -> None:
    """Two found boxes: one with three dots, one with none; by score and by joints."""
    model = colour_model(tmp_path / "dots.onnx")
    boxes = [[12.8, 16, 36.8, 44.8], [36, 45, 50, 62]]
    detector = fixed_detector(tmp_path / "two.onnx", boxes, [0.9, 0.8])
    asked = {"model": model, "detector": detector, "flip": False}
    everybody = Predictor.load(**asked, min_score=0, min_joints=0).predict(dots())
    joints = (everybody.keypoint_score > 0.2).sum(1)
    assert joints.tolist() == [3, 0]
    for least in ({"min_score": 0, "min_joints": 2}, {"min_score": 0.75, "min_joints": 0}):
        (result,) = Predictor.load(**asked, **least).stream([dots()])
        np.testing.assert_array_equal(result.poses.xy, everybody.xy[:1])
        assert result.left_out == 1
    given = Predictor.load(model, detector=None, flip=False)
    nobody = Boxes(np.array([[100, 140, 50, 50]]), np.ones(1))
    assert given.predict(dots(), nobody).score[0] < 0.1
    assert len(given.predict(np.zeros((90, 80, 3), np.uint8))) == 1  # nor are whole images thinned
    strict = Predictor.load(model, detector=None, flip=False, min_joints=1)
    assert len(strict.predict(dots(), nobody)) == 0  # unless one asks for it


def test_evaluation_counts_everybody(tmp_path: Path) -> None:
    """AP ranks by score: a predictor that shows nobody scores as one that shows all."""
    pytest.importorskip("faster_coco_eval", reason="needs poised[train]")
    from poised.evaluate import evaluate_model

    Image.fromarray(dots()).save(tmp_path / "a.png")
    person = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 2500, "bbox": BOX}
    person |= {"keypoints": np.insert(TRUTH, 2, 2, axis=1).ravel().tolist(), "num_keypoints": 3}
    truth = {"images": [{"id": 1, "file_name": "a.png", "width": 160, "height": 200}]}
    truth |= {"annotations": [person], "categories": [{"id": 1, "name": "person"}]}
    (tmp_path / "x.json").write_text(json.dumps(truth))
    (tmp_path / "dots.yaml").write_text(yaml.safe_dump(DOTS.to_dict()))
    model = colour_model(tmp_path / "dots.onnx")
    detector = fixed_detector(tmp_path / "one.onnx", [[12.8, 16, 36.8, 44.8]], [0.9])
    predictor = Predictor.load(model, detector=detector, flip=False, min_score=1.0, min_joints=3)
    assert len(predictor.predict(tmp_path / "a.png")) == 0
    asked = {
        "boxes": "detector",
        "detector": str(detector),
        "skeleton": str(tmp_path / "dots.yaml"),
    }
    assert evaluate_model(predictor, "coco", tmp_path, "x.json", **asked).figures["AP"] == 100
    assert predictor.min_joints == 3


def test_a_skeleton_without_limbs_is_drawn_as_its_joints() -> None:
    bare = Skeleton.from_dict({**DOTS.to_dict(), "limbs": []})
    boxes = Boxes(np.array([[10, 10, 60, 60]], np.float32), np.ones(1, np.float32))
    xy = np.array([[[20, 20], [40, 20], [30, 50]]], np.float32)
    poses = ImagePoses("a", (80, 80), bare, boxes, xy, np.ones((1, 3), np.float32), np.ones(1))
    assert draw_poses(np.zeros((80, 80, 3), np.uint8), poses, 0.2).any()
