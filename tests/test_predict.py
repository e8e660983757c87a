"""The whole way, with a network whose answers are known: a coloured dot must come back."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from models import DOTS, colour_model, fixed_detector
from PIL import Image
from typer.testing import CliRunner

import poised
from poised import Boxes, ImagePoses, Predictor
from poised.cli import app
from poised.draw import COLOURS, PEOPLE, draw_poses
from poised.images import ImageError
from poised.parts import picture_names
from poised.predict import Failure
from poised.protocol import Protocol
from poised.runtime import ModelError, Session

TRUTH = np.array([[60.0, 70.0], [95.0, 84.0], [78.0, 120.0]])
BOX = Boxes(np.array([[40, 50, 75, 90]]), np.array([0.8]))


def dots(xy: np.ndarray = TRUTH, size: tuple[int, int] = (160, 200)) -> np.ndarray:
    """A black image with a red, a green and a blue blob, 255 at their centres."""
    image = np.zeros((size[1], size[0], 3), np.uint8)
    columns, rows = np.arange(size[0]), np.arange(size[1])[:, None]
    for channel, (x, y) in enumerate(xy):
        blob = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 6.0**2))
        image[..., channel] = np.round(255 * blob)
    return image


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_dots_come_back_where_they_were_drawn(model: Path, engine) -> None:
    predictor = Predictor.load(model, detector=None, engine=engine, flip=False)
    found = predictor.predict(dots(), BOX)
    np.testing.assert_allclose(found.xy[0], TRUTH, atol=0.3)
    assert (found.keypoint_score > 0.8).all()
    assert found.score[0] == pytest.approx(0.8 * found.keypoint_score[0].mean(), rel=1e-5)


def test_flip_exchanges_the_sides(model: Path) -> None:
    """In the mirrored crop this network calls red left still, so after flipping back the red dot
    votes for right_dot; the middle dot alone agrees with itself and must not move."""
    plain = Predictor.load(model, detector=None, flip=False).predict(dots(), BOX)
    both = Predictor.load(model, detector=None, flip=True).predict(dots(), BOX)
    np.testing.assert_allclose(both.xy[0, 2], plain.xy[0, 2], atol=0.05)
    np.testing.assert_allclose(both.keypoint_score[0, 2], plain.keypoint_score[0, 2], atol=0.01)
    np.testing.assert_allclose(
        both.keypoint_score[0, :2], plain.keypoint_score[0, :2] / 2, atol=0.05
    )


def test_a_box_over_the_border_and_the_whole_image(model: Path) -> None:
    predictor = Predictor.load(model, detector=None, flip=False)
    edge = np.array([[3.0, 6.0], [20.0, 15.0], [10.0, 40.0]])
    over = Boxes(np.array([[-20, -20, 60, 80]]), np.ones(1))
    np.testing.assert_allclose(predictor.predict(dots(edge), over).xy[0, 1:], edge[1:], atol=0.5)
    whole = predictor.predict(dots())
    assert whole.boxes.xywh.tolist() == [[0, 0, 160, 200]]
    np.testing.assert_allclose(whole.xy[0], TRUTH, atol=0.5)


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_many_images_in_full_batches_equal_one_by_one(model: Path, batch: int) -> None:
    rng = np.random.default_rng(5)
    images = [dots(TRUTH + rng.uniform(-8, 8, (1, 2))) for _ in range(7)]
    counts = [1, 0, 3, 2, 0, 5, 1]
    boxes = [
        Boxes(BOX.xywh + rng.uniform(-4, 4, (n, 4)).astype(np.float32), np.ones(n)) for n in counts
    ]
    predictor = Predictor.load(model, detector=None, batch=batch)
    together = predictor.predict(images, boxes)
    assert [len(poses) for poses in together] == counts
    for image, box, poses in zip(images, boxes, together, strict=True):
        alone = predictor.predict(image, box)
        np.testing.assert_allclose(poses.xy, alone.xy, atol=1e-3)
        np.testing.assert_allclose(poses.score, alone.score, atol=1e-5)


def test_a_bad_image_is_a_failure_in_its_place(model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no image")
    predictor = Predictor.load(model, detector=None)
    results = list(predictor.stream([dots(), tmp_path / "bad.jpg", dots()]))
    assert [isinstance(result, Failure) for result in results] == [False, True, False]
    with pytest.raises(ImageError, match=r"bad\.jpg"):
        predictor.predict(tmp_path / "bad.jpg")


def test_our_detectors_boxes_come_back_in_image_pixels(model: Path, tmp_path: Path) -> None:
    """A 64 x 64 input of a 160 x 200 image: one factor, 64 / 200."""
    path = fixed_detector(tmp_path / "one.onnx", [[12.8, 16, 32, 48]], [0.9])
    found = Predictor.load(model, detector=path).predict(dots())
    np.testing.assert_allclose(found.boxes.xywh, [[40, 50, 60, 100]], atol=1e-3)
    none = fixed_detector(tmp_path / "none.onnx", [[0, 0, 9, 9]], [0.1])
    assert len(Predictor.load(model, detector=none).predict(dots())) == 0


def test_two_detected_boxes_of_one_person_give_one_pose(model: Path, tmp_path: Path) -> None:
    """The boxes overlap too little for the detector's NMS, and hold the same dots."""
    boxes = [[12.8, 16, 36.8, 44.8], [9.6, 12, 51.2, 60.8]]
    detector = fixed_detector(tmp_path / "two.onnx", boxes, [0.6, 0.9])
    predictor = Predictor.load(model, detector=detector, flip=False)
    found = predictor.predict(dots())
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes.score, 0.9)
    both = Boxes(np.array([[40, 50, 75, 90], [30, 37.5, 130, 152.5]]), np.array([0.6, 0.9]))
    assert len(predictor.predict(dots(), both)) == 2  # given boxes are all answered


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """In a process of its own, at home nowhere: no connection, no reporter, no file left behind."""
    sample = Path(__file__).parents[1] / "data" / "samples" / "messi5.jpg"
    script = f"""
import socket, sys
tried = []
socket.socket.connect = lambda *arguments: tried.append(arguments)
socket.getaddrinfo = lambda *arguments, **named: tried.append(arguments) or []
from poised import Predictor
assert len(Predictor.load().predict({str(sample)!r})) > 0
import threading
for thread in threading.enumerate():
    if thread is not threading.main_thread() and not thread.daemon:
        thread.join(5)
assert "openvino" in sys.modules and not sys.modules.get("openvino_telemetry")
assert not tried, tried
"""
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_wrong_models_are_named(model: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("no model")
    for engine in ("openvino", "onnx"):
        with pytest.raises(ModelError, match=r"text\.onnx: not an ONNX model"):
            Session(text, engine)
    with pytest.raises(ModelError, match="no model file nothing"):
        Session("nothing")
    detector = fixed_detector(tmp_path / "one.onnx", [[0, 0, 9, 9]], [0.9])
    with pytest.raises(ModelError, match="expected a pose model, this is detector"):
        Predictor.load(detector, detector=None)
    with pytest.raises(ModelError, match="not a person detector"):
        Predictor.load(model, detector=model)
    other = colour_model(tmp_path / "other.onnx", skeleton=_lsp())
    with pytest.raises(ModelError, match="3 heatmaps, its skeleton lsp14 has 14"):
        Predictor.load(other, detector=None).predict(dots(), BOX)
    with pytest.raises(ModelError, match=r"other\.safetensors"):
        Session(other, "torch")


def _lsp() -> dict[str, object]:
    from poised.types import Skeleton

    return Skeleton.load("lsp14").to_dict()


def test_sides_have_their_colours() -> None:
    xy = np.array([[[20, 20], [60, 20], [40, 60]]])
    poses = ImagePoses("a", (80, 80), DOTS, Boxes(np.array([[10, 10, 60, 60]]), np.ones(1)), xy,
                       np.array([[1, 1, 0.1]]), np.ones(1))  # fmt: skip
    picture = draw_poses(np.full((80, 80, 3), 90, np.uint8), poses, 0.2)
    assert tuple(picture[20, 20]) == COLOURS["left"]
    assert tuple(picture[20, 60]) == COLOURS["right"]
    np.testing.assert_allclose(picture[20, 40], COLOURS["middle"], atol=30)  # a thin line, smoothed
    assert (picture[60, 40] == 90).all()  # too unsure to be drawn


def test_a_pillow_image_is_taken(model: Path) -> None:
    predictor = Predictor.load(model, detector=None, flip=False)
    image = Image.fromarray(dots())
    np.testing.assert_array_equal(predictor.predict(image).xy, predictor.predict(dots()).xy)
    assert len(predictor.predict([image, image])) == 2
    found = predictor.predict(image)
    for place, person in enumerate(found):
        np.testing.assert_array_equal(found[place].xy, person.xy)
        assert found[place].score == found[place - len(found)].score == person.score
    with pytest.raises(IndexError):
        found[len(found)]
    file = io.BytesIO()
    image.save(file, "PNG")
    np.testing.assert_array_equal(
        predictor.predict(bytearray(file.getvalue())).xy, predictor.predict(image).xy
    )


def test_the_public_names_are_listed() -> None:
    names = {"Boxes", "ImageError", "ImagePoses", "ModelError", "Pose", "Predictor", "Skeleton"}
    assert names == set(poised.MODULES) == set(poised.__all__) - {"__version__"}
    assert set(dir(poised)) == set(poised.__all__)
    for name in names:
        assert getattr(poised, name).__name__ == name


# the command line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(dots()).save(tmp_path / "in" / name)
    rows = [{"file_name": f"{n}.png", "bbox": BOX.xywh[0].tolist(), "score": 0.8} for n in "ab"]
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    return tmp_path


def run(folder: Path, model: Path, *arguments: str) -> tuple[int, str]:
    command = ["predict", str(folder / "in"), "--out", str(folder / "out"), "--model", str(model)]
    result = CliRunner().invoke(app, [*command, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_predict_writes_coco_results_and_pictures(folder: Path, model: Path) -> None:
    code, output = run(folder, model, "--boxes", str(folder / "boxes.json"), "--no-flip")
    assert code == 0, output
    assert "2 people in 2 images" in output
    assert "a.png: 1 person" in output
    records = json.loads((folder / "out" / "poses.json").read_text())
    assert [record["image_id"] for record in records] == [1, 2]
    assert records[0]["category_id"] == 1
    assert records[0]["bbox"] == [40, 50, 75, 90]
    assert records[0]["box_score"] == 0.8
    assert records[0]["score"] < 0.8
    points = np.array(records[0]["keypoints"]).reshape(3, 3)
    np.testing.assert_allclose(points[:, :2], TRUTH, atol=0.3)
    notes = json.loads((folder / "out" / "skeleton.json").read_text())
    assert notes["keypoints"] == list(DOTS.keypoints)
    drawn = cv2.imread(str(folder / "out" / "pictures" / "a.jpg"))
    assert drawn.shape == (200, 160, 3)
    assert not list((folder / "out").glob("*.part"))


def test_saved_poses_are_a_box_file_that_gives_them_again(folder: Path, model: Path) -> None:
    """A box's score is taken from `box_score`, not from the pose's beside it."""
    assert run(folder, model, "--boxes", str(folder / "boxes.json"))[0] == 0
    first = (folder / "out" / "poses.json").rename(folder / "first.json")
    assert run(folder, model, "--boxes", str(first), "--restart")[0] == 0
    assert (folder / "out" / "poses.json").read_text() == first.read_text()


def test_a_path_may_be_written_otherwise(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell's completion ends a folder in a slash."""
    monkeypatch.chdir(folder)
    command = ["--out", "out", "--model", str(model), "--boxes", "boxes.json"]
    assert CliRunner().invoke(app, ["predict", "in", *command]).exit_code == 0
    for path in ("in/", "./in"):
        again = CliRunner().invoke(app, ["predict", path, *command])
        assert "holds all of this run already" in again.output


def test_a_table_is_of_what_the_output_can_show() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "poised", "models"], capture_output=True, check=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252"},
    )  # fmt: skip
    assert done.stdout.startswith(b"+-----")
    assert b"\\u" not in done.stdout


@pytest.mark.parametrize("command", ["predict", "merge"])
def test_an_empty_folder_is_not_this_one(command: str, folder: Path) -> None:
    done = CliRunner().invoke(app, [command, str(folder / "in"), "--out", ""])
    assert done.exit_code == 2
    assert "it is empty; give . for this folder" in " ".join(done.output.split())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("words", [["models"], ["models", "--json"]])
def test_an_output_that_is_full_is_told_in_a_line(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "poised", *words], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.stderr == "Error: the output takes no more: No space left on device\n"
    assert done.returncode == 2


def test_the_formats_hold_the_same_numbers(folder: Path, model: Path) -> None:
    arguments = ("--boxes", str(folder / "boxes.json"), "--no-draw", "--restart", "--format")
    for style in ("coco", "jsonl", "csv"):
        assert run(folder, model, *arguments, style)[0] == 0
    out = folder / "out"
    coco = json.loads((out / "earlier-1" / "poses.json").read_text())
    lines = (out / "earlier-2" / "poses.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == coco
    with (out / "poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["right_dot_x"]) == coco[1]["keypoints"][3]
    assert float(rows[1]["box_score"]) == coco[1]["box_score"] == 0.8
    assert not (out / "pictures").exists()


def test_a_broken_file_is_set_aside_and_the_code_says_so(folder: Path, model: Path) -> None:
    (folder / "in" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    code, output = run(folder, model, "--whole-image")
    assert code == 1
    assert "broken.jpg" in output
    assert "set aside: 1 of 3 files" in output
    assert len(json.loads((folder / "out" / "poses.json").read_text())) == 2


def test_a_video_is_set_aside_as_one(folder: Path, model: Path) -> None:
    (folder / "in" / "clip.mp4").write_bytes(b"x")
    code, output = run(folder, model, "--whole-image")
    assert code == 1
    assert "clip.mp4: a video; give videos" in output
    assert "2 people in 2 images" in output
    assert "set aside: 1 of 3 files" in output


def test_unsure_people_are_left_out_aloud(folder: Path, model: Path) -> None:
    """And only pictures that were drawn in people's colours have their boxes."""
    strict = ("--boxes", str(folder / "boxes.json"), "--min-joints", "3", "--threshold", "0.99")
    code, output = run(folder, model, *strict)
    assert code == 0, output
    assert "0 people in 2 images" in output
    assert "left out as unsure: 2 more" in output
    assert json.loads((folder / "out" / "poses.json").read_text()) == []
    code, output = run(folder, model, "--threshold", "70")
    assert code == 2
    assert "threshold is 70.0, must lie between 0 and 1" in output
    people = ("--boxes", str(folder / "boxes.json"), "--colours", "people", "--restart")
    code, output = run(folder, model, *people)
    drawn = cv2.imread(str(folder / "out" / "pictures" / "a.jpg"))[..., ::-1]
    np.testing.assert_allclose(drawn[130, 40], PEOPLE[0], atol=60)  # the box's left edge


@pytest.mark.parametrize("style", ["coco", "jsonl", "csv"])
def test_an_image_with_nobody_in_it_has_no_people(folder: Path, model: Path, style: str) -> None:
    rows = [{"file_name": "b.png", "bbox": BOX.xywh[0].tolist()}]
    (folder / "boxes.json").write_text(json.dumps(rows))
    arguments = ("--boxes", str(folder / "boxes.json"), "--format", style)
    code, output = run(folder, model, *arguments)
    assert code == 0, output
    assert "a.png: 0 people" in output
    assert "1 person in 2 images" in output


def test_odd_files_do_not_take_the_others_along(folder: Path, model: Path) -> None:
    """EXIF that cannot be read, a picture too long for a JPEG, a name that is no UTF-8."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(dots()).save(folder / "in" / "c.jpg", exif=exif)
    data = (folder / "in" / "c.jpg").read_bytes()
    at = data.index(b"Exif") + 16
    broken = data[: at + 2] + b"\x00\x02" + data[at + 4 :]  # the orientation is text
    (folder / "in" / "c.jpg").write_bytes(broken)
    Image.new("L", (66000, 8)).save(folder / "in" / "wide.png")
    Image.fromarray(dots()).save(folder / "in" / os.fsdecode(b"n\xff.png"))
    code, output = run(folder, model, "--whole-image", "--format", "csv")
    assert code == 1
    assert "no picture" in output
    with (folder / "out" / "poses.csv").open(newline="", errors="surrogateescape") as file:
        names = [Path(row["file_name"]).name for row in csv.DictReader(file)]
    assert {"a.png", "b.png", os.fsdecode(b"n\xff.png"), "wide.png"} <= set(names)


def test_each_image_has_its_own_picture(folder: Path, model: Path) -> None:
    """Names that meet after numbering, an image given twice, and results amid the images."""
    assert len(set(picture_names([Path(p) for p in ("a.jpg", "a-2.png", "b/a.png")]))) == 3
    again = ("--whole-image", "--out", str(folder / "in" / "out"))
    for _ in range(2):
        code, output = run(folder, model, str(folder / "in" / "a.png"), *again)
        assert code == 0, output
        assert "2 people in 2 images" in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"file_name": "z.png", "bbox": [0, 0, 5, 5]}]', "'z.png' is none of the 2 images"),
        ('[{"file_name": "a.png", "bbox": [0, 0, NaN, 5]}]', "record 0: bbox"),
        ('[{"file_name": "a.png", "bbox": [0, 0, 5]}]', "record 0: bbox"),
        ('[{"file_name": "a.png", "bbox": [0, 0, -5, 5]}]', "must be positive"),
        ('[{"bbox": [0, 0, 5, 5]}]', "record 0: needs a file_name"),
        ('[{"file_name": "a.png", "bb', "not JSON, or cut short"),
        ('{"a": 1}', "expected a list"),
    ],
)
def test_bad_box_files_are_refused(folder: Path, model: Path, content: str, message: str) -> None:
    (folder / "boxes.json").write_text(content)
    code, output = run(folder, model, "--boxes", str(folder / "boxes.json"))
    assert code == 2
    assert message in output
    assert not (folder / "out").exists()


def test_box_sources_exclude_each_other(folder: Path, model: Path) -> None:
    code, output = run(folder, model, "--boxes", str(folder / "boxes.json"), "--whole-image")
    assert code == 2
    assert "exclude each other" in output


def test_a_model_averaged_with_itself_is_itself() -> None:
    image = Path(__file__).parents[1] / "data" / "samples" / "messi5.jpg"
    alone = Predictor.load("coco17", detector=None, threads=1).predict(image)
    twice = Predictor.load(["coco17", "coco17"], detector=None, threads=1).predict(image)
    np.testing.assert_allclose(alone.xy, twice.xy, atol=1e-3)
    with pytest.raises(ModelError, match="expected a pose model, this is detector"):
        Predictor.load(["coco17", "person"], detector=None)


def test_a_pyramid_finds_the_dots_where_they_are(model: Path) -> None:
    """A person magnified or shrunk in the crop is brought back: no scale, no half pixel is lost."""
    for scales in ((1.0, 0.8, 1.2), (0.8,)):
        predictor = Predictor.load(
            model, detector=None, flip=False, protocol=Protocol(scales=scales)
        )
        np.testing.assert_allclose(predictor.predict(dots(), BOX).xy[0], TRUTH, atol=0.3)


def test_what_is_no_image_or_box_is_said(model: Path) -> None:
    predictor = Predictor.load(model, detector=None)
    with pytest.raises(ImageError, match="a path, bytes, a PIL image or an array, got object"):
        predictor.predict([object()])
    with pytest.raises(ValueError, match="expected a Boxes for each image"):
        predictor.predict(dots(), np.array([[0, 0, 9, 9]]))
    with pytest.raises(ValueError, match="no boxes for image 1"):
        list(predictor.stream([dots(), dots()], [BOX]))
    for wrong, message in (
        ({"padding": 0}, "padding is 0, must be positive"),
        ({"padding": float("nan")}, "padding is nan, must be positive"),
        ({"threshold": float("nan")}, "threshold is nan, must lie between 0 and 1"),
        ({"threshold": 70}, "threshold is 70, must lie between 0 and 1"),
        ({"min_score": -0.1}, "min_score is -0.1, must lie between 0 and 1"),
        ({"min_joints": 4}, "min_joints is 4, must lie between 0 and the 3 there are"),
    ):
        with pytest.raises(ModelError, match=message):
            Predictor.load(model, detector=None, **wrong)
    with pytest.raises(ModelError, match="no model"):
        Predictor.load([], detector=None)


def test_alike_poses_are_dropped_as_the_protocol_says(model: Path) -> None:
    """The same box twice: both answered, or one by OKS-NMS; soft keeps both."""
    twice = Boxes(np.repeat(BOX.xyxy, 2, 0), np.array([0.9, 0.8], np.float32))
    counts = {
        kind: len(
            Predictor.load(model, detector=None, protocol=Protocol(pose_nms=kind)).predict(
                dots(), twice
            )
        )
        for kind in (None, ("none", 0.9), ("hard", 0.9), ("soft", 0.9))
    }
    assert list(counts.values()) == [2, 2, 1, 2]
