"""Networks that answer NaN: to one image, which is set aside, or to all, which ends the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clips import STAMPS, write_clip
from models import colour_model, fussy_detector, fussy_model
from PIL import Image
from typer.testing import CliRunner

from poised import Predictor
from poised.cli import app
from poised.images import ImageError

BLACK = "3.png"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures, of which one is black."""
    (tmp_path / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 255, (80, 64, 3), np.uint8)
        path = tmp_path / "in" / f"{number}.png"
        Image.fromarray(pixels * (path.name != BLACK)).save(path)
    return tmp_path / "in"


def predict(folder: Path, out: Path, model: Path, *more: str) -> tuple[int, str, list[dict]]:
    """Exit code, what was said, and the results, if any."""
    arguments = ["predict", str(folder), "--out", str(out), "--model", str(model), "--no-draw"]
    done = CliRunner().invoke(app, [*arguments, *more])
    results = out / "poses.json"
    return done.exit_code, done.output, json.loads(results.read_text()) if results.exists() else []


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_one_image_is_set_aside_and_its_neighbours_are_not(folder: Path, engine: str) -> None:
    """Though they share a network call: they come out as if it had not been there."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    model, out = fussy_model(folder.parent / "fussy.onnx"), folder.parent / "out"
    more = ("--whole-image", "--engine", engine)
    code, said, found = predict(folder, out, model, *more)
    reason = "fussy.onnx has no answer to it: its output heatmaps has what is no finite number"
    assert code == 1, said
    assert f"set aside: {folder / BLACK}: {reason}" in said
    assert json.loads((out / "set_aside.jsonl").read_text()) == {
        "file_name": str(folder / BLACK),
        "reason": reason,
    }
    (folder / BLACK).unlink()
    code, _, alone = predict(folder, folder.parent / "alone", model, *more)
    assert (code, len(found), len(alone)) == (0, 5, 5)
    for here, there in zip(found, alone, strict=True):
        assert here["file_name"] == there["file_name"]
        np.testing.assert_allclose(here["keypoints"], there["keypoints"], atol=0.02)


def test_a_broken_network_ends_the_run(folder: Path) -> None:
    """It has no answer to noise either."""
    model, out = fussy_model(folder.parent / "broken.onnx", broken=True), folder.parent / "out"
    code, said, found = predict(folder, out, model, "--whole-image")
    assert (code, found) == (2, [])
    assert f"Error: {model}: its output heatmaps has what is no finite number" in said
    assert "set aside" not in said


def test_a_detector_without_an_answer(folder: Path) -> None:
    model = colour_model(folder.parent / "dots.onnx")
    detector = fussy_detector(folder.parent / "fussy.onnx")
    more = ("--detector", str(detector), "--min-score", "0", "--min-joints", "0")
    code, said, found = predict(folder, folder.parent / "out", model, *more)
    assert (code, len(found)) == (1, 5), said
    assert f"{BLACK}: fussy.onnx has no answer to it: its output scores has" in said
    broken = fussy_detector(folder.parent / "broken.onnx", broken=True)
    more = ("--detector", str(broken))
    code, said, found = predict(folder, folder.parent / "none", model, *more)
    assert (code, found) == (2, [])
    assert f"Error: {broken}: its output scores has what is no finite number" in said


def test_in_python_it_is_an_error_that_names_image_and_model(folder: Path) -> None:
    predictor = Predictor.load(fussy_model(folder.parent / "fussy.onnx"), detector=None)
    with pytest.raises(ImageError, match=r"in/3\.png: fussy\.onnx has no answer to it"):
        predictor.predict(folder / BLACK)
    with pytest.raises(ImageError, match=r"a frame: fussy\.onnx has no answer to it"):
        predictor.people("a frame", np.zeros((9, 9, 3), np.uint8))
    assert len(predictor.predict(folder / "1.png")) == 1


@pytest.mark.parametrize("which", ["model", "detector"])
def test_a_videos_frame_without_an_answer_shows_nobody(tmp_path: Path, which: str) -> None:
    """The third is black; the others are as they were."""
    pytest.importorskip("av")
    rng = np.random.default_rng(0)
    frames = [rng.integers(60, 255, (80, 64, 3), np.uint8) for _ in STAMPS]
    frames[2][:] = 0
    clip = write_clip(tmp_path / "clip.mkv", frames, codec="ffv1")
    model, more = fussy_model(tmp_path / "fussy.onnx"), ["--whole-image"]
    if which == "detector":
        model = colour_model(tmp_path / "dots.onnx")
        more = ["--detector", str(fussy_detector(tmp_path / "fussy.onnx")), "--detect-every", "1"]
    arguments = ["predict", str(clip), "--out", str(tmp_path / "out"), "--model", str(model)]
    arguments += ["--no-draw", "--min-score", "0", "--min-joints", "0", *more]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1, done.output
    assert "nobody in 1 frame, the first at 0.07 s: fussy.onnx has no answer to it" in done.output
    lines = (tmp_path / "out" / "poses.jsonl").read_text().splitlines()
    assert {json.loads(line)["frame"] for line in lines} == {*range(len(STAMPS))} - {2}


def test_a_broken_network_ends_a_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    clip = write_clip(tmp_path / "clip.mkv", [np.full((80, 64, 3), 90, np.uint8)] * len(STAMPS))
    broken = fussy_model(tmp_path / "broken.onnx", broken=True)
    code, said, _ = predict(clip, tmp_path / "out", broken, "--whole-image")
    assert code == 2
    assert f"Error: {broken}: its output heatmaps has what is no finite number" in said
    assert not (tmp_path / "out" / "poses.jsonl").exists()
