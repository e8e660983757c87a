"""The bundled models on the bundled photographs."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from poised import Predictor
from poised.bundled import bundled_models
from poised.cli import app
from poised.images import read_image
from poised.runtime import Session

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
GOLDEN = Path(__file__).with_name("golden.json")
needs_models = pytest.mark.skipif(
    {"coco17", "coco17-small", "person"} - set(bundled_models()) != set(),
    reason="no bundled models in this checkout",
)


@needs_models
def test_the_demo_finds_both_basketball_players(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(SAMPLES), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "poses.json").read_text())
    for name in ("basketball1.png", "basketball2.png"):
        boxes = np.array([r["bbox"] for r in records if r["file_name"].endswith(name)])
        centre = boxes[:, 0] + boxes[:, 2] / 2
        assert (centre < 250).any(), "the player on the left"
        assert (centre > 400).any(), "the player on the right"
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "basketball1.jpg",
        "basketball2.jpg",
        "messi5.jpg",
    ]


@needs_models
def test_sure_joints_lie_in_or_near_their_boxes() -> None:
    """Those of a score of 0.3 and more within a fifth of the box; all within the square crop."""
    predictor = Predictor.load()
    for poses in predictor.predict(sorted(SAMPLES.glob("*.png"))):
        low, size = poses.boxes.xywh[:, None, :2], poses.boxes.xywh[:, None, 2:]
        inside = ((poses.xy >= low - 0.2 * size) & (poses.xy <= low + 1.2 * size)).all(-1)
        sure = poses.keypoint_score >= 0.3
        assert sure.sum() >= 6
        assert inside[sure].all()
        reach = predictor.estimator.padding * size.max(-1, keepdims=True) / 2 + 1
        assert (np.abs(poses.xy - (low + size / 2)) <= reach).all()


@needs_models
@pytest.mark.parametrize("model", ["coco17", "coco17-small", "person"])
def test_the_engines_give_the_same(model: str) -> None:
    """On the mean within 1% of the largest value: a CPU with bf16 uses it in OpenVINO."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("torch")
    openvino = Session(model, "openvino")
    picture = read_image(SAMPLES / "basketball1.png")
    width, height = openvino.metadata["input_wh"]
    crop = (cv2.resize(picture, (width, height)).astype(np.float32) - 120) / 64
    images = np.ascontiguousarray(crop.transpose(2, 0, 1)[None])
    want = openvino.run(images)
    for engine in ("onnx", "torch"):
        for name, values in Session(model, engine).run(images).items():  # type: ignore[arg-type]
            assert np.isfinite(values).all()
            apart = np.abs(values - want[name]).mean()
            assert apart <= 0.01 * np.abs(want[name]).max()


@needs_models
def test_a_samples_poses_are_those_on_record() -> None:
    """Made by the bundled models when they were added: `python tests/test_samples.py` rewrites it.

    Keypoints of at least 0.3 within 2% of the person's box, on any engine and precision.
    """
    golden = json.loads(GOLDEN.read_text("utf-8"))
    poses = Predictor.load(min_score=0, min_joints=0).predict(SAMPLES / golden["file_name"])
    assert len(poses) == len(golden["people"])
    for pose, want in zip(poses, golden["people"], strict=True):
        size = max(want["bbox"][2:])
        np.testing.assert_allclose(pose.box, want["bbox"], atol=0.02 * size)
        triples = np.array(want["keypoints"]).reshape(-1, 3)
        sure = triples[:, 2] >= 0.3
        np.testing.assert_allclose(pose.xy[sure], triples[sure, :2], atol=0.02 * size)
        np.testing.assert_allclose(pose.keypoint_score, triples[:, 2], atol=0.1)


def record(name: str = "basketball1.png") -> None:
    poses = Predictor.load(min_score=0, min_joints=0).predict(SAMPLES / name)
    people = [
        {
            "bbox": pose.box.round(2).tolist(),
            "keypoints": np.column_stack([pose.xy, pose.keypoint_score]).round(2).ravel().tolist(),
        }
        for pose in poses
    ]
    GOLDEN.write_text(json.dumps({"file_name": name, "people": people}) + "\n", "utf-8")


if __name__ == "__main__":
    record()
