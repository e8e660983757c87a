"""Networks that find boxes and poses in one go: a stand-in whose answer is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from models import constant_model, fixed_detector
from PIL import Image
from test_predict import BOX, dots, folder, run  # noqa: F401  a fixture
from typer.testing import CliRunner

from poised import Predictor
from poised.boxes.detector import Detector
from poised.boxes.letterbox import letterbox
from poised.cli import app
from poised.datasets.coco import to_coco
from poised.datasets.person import Person
from poised.protocol import Protocol
from poised.runtime import ModelError
from poised.types import Skeleton

# a 160 x 200 image in a 64 x 64 input: one factor, 0.32, and 51 columns from column 6 on
GAIN, LEFT = 0.32, 6
XYWH = [40.0, 50, 60, 100]  # of the person, in the image
JOINT = [70.0, 90]  # where all 17 are, in the image


def answer(score: float = 0.9, joint: float = 0.7, dx: float = 0) -> list[float]:
    """The row of that person in input pixels; dx moves the box."""
    middle = [(XYWH[0] + XYWH[2] / 2) * GAIN + LEFT + dx, (XYWH[1] + XYWH[3] / 2) * GAIN]
    size = [XYWH[2] * GAIN, XYWH[3] * GAIN]
    return [*middle, *size, score, *([JOINT[0] * GAIN + LEFT, JOINT[1] * GAIN, joint] * 17)]


def pose_model(path: Path, rows: list[list[float]], upright: bool = False) -> Path:
    """A network that always finds these people; upright: a row each, not a column."""
    value = np.array(rows)[None]
    return constant_model(
        path, "output0", value if upright else value.transpose(0, 2, 1), [1, 3, 64, 64]
    )


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_boxes_and_poses_come_back_in_image_pixels(tmp_path: Path, upright, engine) -> None:
    """Of the same person found twice the surer is kept; who is under the threshold is not."""
    rows = [answer(0.8, dx=0.5), answer(0.9), answer(0.1, dx=20)]
    model = pose_model(tmp_path / "yolo.onnx", rows, upright)
    found = Predictor.load(model, engine=engine).predict(dots())
    np.testing.assert_allclose(found.boxes.xywh, [XYWH], atol=1e-3)
    np.testing.assert_allclose(found.xy, np.full((1, 17, 2), JOINT), atol=1e-3)
    np.testing.assert_allclose(found.keypoint_score, 0.7, rtol=1e-6)
    np.testing.assert_allclose(found.score, 0.9, rtol=1e-6)
    boxes = Detector(model, engine).find(dots())
    np.testing.assert_array_equal(boxes.xywh, found.boxes.xywh)


@pytest.mark.parametrize("centred", [False, True])
def test_a_light_in_the_letterbox_is_where_it_was(centred: bool) -> None:
    """Both colour orders; a box's edges are counted from the pixels' edges, hence the halves."""
    image = np.zeros((200, 160, 3), np.uint8)
    image[100:110, 40:60, 0] = 255  # red
    tensor, gain, corner = letterbox(image, (64, 48), pad=(0, 0, 0), bgr=True, centred=centred)
    light = tensor[0, 2]  # the last channel of BGR
    rows, columns = np.indices(light.shape)
    middle = np.array([(light * columns).sum(), (light * rows).sum()]) / light.sum() + 0.5
    np.testing.assert_allclose((middle - corner) / gain, [50, 105], atol=1.5)
    assert gain == pytest.approx(48 / 200)
    assert corner.tolist() == ([(64 - 38) // 2, 0] if centred else [0, 0])
    assert tensor[0, :2].max() == 0


def test_it_takes_no_boxes_and_says_why(tmp_path: Path) -> None:
    model = pose_model(tmp_path / "yolo.onnx", [answer()])
    why = "finds boxes and poses in one go"
    with pytest.raises(ModelError, match=why):
        Predictor.load(model).predict(dots(), BOX)
    for options in ({"detector": None}, {"padding": 1.1}):
        with pytest.raises(ModelError, match=why):
            Predictor.load(model, **options)
    with pytest.raises(ModelError, match=why):
        Predictor.load(model, detector=fixed_detector(tmp_path / "d.onnx", [[0, 0, 9, 9]], [0.9]))
    with pytest.raises(ModelError, match="cannot be averaged"):
        Predictor.load([model, model])


def test_mean_and_deviation_are_in_the_order_of_its_channels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture of R, G, B = 40, 50, 60 to a network that takes blue first."""
    model = pose_model(tmp_path / "yolo.onnx", [answer()])
    said = {"mean": [10, 20, 30], "std": [1, 2, 4], "bgr": True}
    predictor = Predictor.load(model, foreign=said)
    run, seen = predictor.estimator.session.run, []
    monkeypatch.setattr(predictor.estimator.session, "run", lambda t: seen.append(t) or run(t))
    predictor.predict(np.full((64, 64, 3), (40, 50, 60), np.uint8))
    np.testing.assert_allclose(seen[0][0, :, 32, 32], [(60 - 10) / 1, (50 - 20) / 2, (40 - 30) / 4])


@pytest.mark.parametrize("asked", [Protocol(scales=(0.5, 1.0)), Protocol(decoder="quarter")])
def test_what_is_had_of_heatmaps_alone_is_refused(tmp_path: Path, asked: Protocol) -> None:
    model = pose_model(tmp_path / "yolo.onnx", [answer()])
    with pytest.raises(ModelError, match="for models that give heatmaps alone"):
        Predictor.load(model, protocol=asked)


def test_its_threshold_stands_in_its_yaml(tmp_path: Path) -> None:
    model = pose_model(tmp_path / "yolo.onnx", [answer(0.2)])
    assert len(Predictor.load(model, min_score=0).predict(dots())) == 0
    (tmp_path / "yolo.yaml").write_text("threshold: 0.15")
    assert len(Predictor.load(model, min_score=0).predict(dots())) == 1


def test_predict_needs_no_detector(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    model = pose_model(tmp_path / "yolo.onnx", [answer()])
    code, output = run(folder, model)
    assert code == 0, output
    assert "2 people in 2 images" in output
    code, output = run(folder, model, "--whole-image")
    assert code == 2
    assert "finds boxes and poses in one go" in output


def test_evaluate_scores_what_it_finds(tmp_path: Path) -> None:
    """The person is where the network says; the annotated boxes are no use to it."""
    pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")
    Image.fromarray(dots()).save(tmp_path / "a.png")
    xy, seen = np.full((17, 2), JOINT), np.ones(17, np.bool_)
    person = Person(tmp_path / "a.png", np.array(XYWH), xy, seen, image_id=1)
    truth = to_coco([person], Skeleton.load("coco17"), tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    model = pose_model(tmp_path / "yolo.onnx", [answer()])
    command = ["evaluate", "--data", str(tmp_path), "--dataset", "coco", "--split", "truth.json"]
    command += ["--model", str(model), "--out", str(tmp_path / "out.json")]
    result = CliRunner().invoke(app, [*command, "--boxes", "detector"])
    assert result.exit_code == 0, result.output
    done = json.loads((tmp_path / "out.json").read_text())
    assert done["figures"]["AP"] == pytest.approx(100)
    assert done["protocol"]["decoder"] == "yolo-pose"
    result = CliRunner().invoke(app, [*command, "--boxes", "truth"])
    assert result.exit_code == 2
    assert "--boxes detector" in result.output
