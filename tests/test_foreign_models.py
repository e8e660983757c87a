"""Other people's ONNX models: told by their outputs, fed and decoded as by those who made them."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from models import DOTS, colour_maps, colour_model, constant_model, simcc_model
from PIL import Image
from test_predict import BOX, TRUTH, dots
from test_predict import run as run_predict

from poised import Boxes, Predictor
from poised.crops import crop_matrices, cut
from poised.estimate import Estimator
from poised.evaluate import CLEANED, evaluate_model
from poised.foreign_models import describe
from poised.heads import decode_movenet, decode_simcc, merge_movenet, merge_simcc
from poised.images import read_image
from poised.runtime import ModelError, Session

FOLDER = Path(__file__).parents[1] / "data" / "samples"
AS_RTMLIB = {"bgr": True}  # it feeds OpenCV's images as they are; MMPose trains on RGB
SAMPLES = [FOLDER / name for name in ("basketball1.png", "basketball2.png", "messi5.jpg")]


@pytest.fixture(scope="module")
def simcc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simcc_model(tmp_path_factory.mktemp("simcc") / "rtmpose.onnx")


def boxes_over(image: np.ndarray, rng: np.random.Generator, count: int = 6) -> Boxes:
    """Boxes of all sizes, in float32 as ours are; some reach over the border."""
    height, width = image.shape[:2]
    corner = rng.uniform(-30, [0.8 * width, 0.8 * height], (count, 2))
    return Boxes(np.hstack([corner, rng.uniform(20, 400, (count, 2))]), np.ones(count))


# SimCC, beside rtmlib


def rtmpose(path: Path, **options):
    rtmlib = pytest.importorskip("rtmlib", reason="needs rtmlib, see the Makefile")
    return rtmlib.RTMPose(str(path), (192, 256), backend="onnxruntime", **options)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_simcc_is_fed_as_by_rtmlib(simcc: Path, sample: Path) -> None:
    """It cuts with the installed OpenCV, from BGR, and takes mean and std in that order."""
    theirs, image = rtmpose(simcc), read_image(sample)
    estimator = Estimator(Session(simcc, "onnx", 1), foreign=AS_RTMLIB)
    for xywh in boxes_over(image, np.random.default_rng(1)).xywh:
        matrix = estimator.matrices(xywh[None])
        ours = estimator.crops([image], matrix, xywh[None])[0]
        xyxy = [*xywh[:2], *(xywh[:2].astype(float) + xywh[2:])]
        expected = theirs.preprocess(image[..., ::-1], xyxy)[0].transpose(2, 0, 1)
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_simcc_is_decoded_as_by_rtmlib() -> None:
    """Random vectors; some of whose maxima are not above 0, which is "not found"."""
    from_theirs = pytest.importorskip("rtmlib.tools.pose_estimation.post_processings")
    rng = np.random.default_rng(2)
    x, y = (rng.normal(-1.5, 1, (5, 17, n)).astype(np.float32) for n in (12, 16))
    xy, score = decode_simcc(x, y, 2)
    bins, theirs = from_theirs.get_simcc_maximum(x, y)
    assert 0 < (theirs <= 0).sum() < theirs.size
    np.testing.assert_array_equal(xy * 2, bins)
    np.testing.assert_allclose(score, theirs, rtol=1e-6)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
def test_whole_results_are_rtmlibs(simcc: Path, sample: Path) -> None:
    theirs, image = rtmpose(simcc), read_image(sample)
    how = {"detector": None, "engine": "onnx", "threads": 1, "flip": False}
    predictor = Predictor.load(simcc, **how, foreign=AS_RTMLIB)
    boxes = boxes_over(image, np.random.default_rng(3))
    found = predictor.predict(sample, boxes)
    xyxy = np.hstack([boxes.xywh[:, :2], boxes.xywh[:, :2].astype(float) + boxes.xywh[:, 2:]])
    xy, score = theirs(image[..., ::-1], xyxy)
    np.testing.assert_allclose(found.xy, xy, atol=0.01)
    np.testing.assert_allclose(found.keypoint_score, score, atol=1e-5)


def test_a_file_of_a_fixed_number_of_images_answers_any(simcc: Path, tmp_path: Path) -> None:
    image = read_image(SAMPLES[0])
    boxes = boxes_over(image, np.random.default_rng(4), 5)
    free = Predictor.load(simcc, detector=None, engine="onnx", threads=1).predict(image, boxes)
    for people in (1, 3):
        path = simcc_model(tmp_path / f"{people}.onnx", people=people)
        for engine in ("onnx", "openvino"):
            predictor = Predictor.load(path, detector=None, engine=engine, threads=1)
            found = predictor.predict(image, boxes)
            np.testing.assert_allclose(found.keypoint_score, free.keypoint_score, rtol=2e-2)
            if engine == "onnx":  # the other's arithmetic may be coarser
                np.testing.assert_allclose(found.xy, free.xy, atol=1e-3)


def test_mirrored_vectors_meet_where_the_person_is() -> None:
    """Of an 8 x 6 crop, split 2: pixel 5.5, bin 11 of x, is pixel 7 - 5.5 = 1.5, bin 3, there."""
    order = np.array([1, 0, 2])
    x, y = np.zeros((1, 3, 16), np.float32), np.zeros((1, 3, 12), np.float32)
    mirrored_x, mirrored_y = x.copy(), y.copy()
    x[0, 0, 11] = y[0, 0, 7] = 1
    mirrored_x[0, 1, 3] = mirrored_y[0, 1, 7] = 1  # there it is the other side's
    merged = merge_simcc({"x": x, "y": y}, {"x": mirrored_x, "y": mirrored_y}, order, 2)
    np.testing.assert_array_equal(merged["x"], x)
    np.testing.assert_array_equal(merged["y"], y)


def test_a_simcc_model_survives_pickling(simcc: Path) -> None:
    predictor = Predictor.load(simcc, detector=None, engine="onnx", threads=1)
    again = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(again.predict(SAMPLES[0]).xy, predictor.predict(SAMPLES[0]).xy)


@pytest.mark.parametrize(
    ("keypoints", "name"),
    [(17, "coco17"), (21, "hand21"), (26, "halpe26"), (133, "wholebody133")],
)
def test_the_number_of_keypoints_tells_the_skeleton(
    tmp_path: Path, keypoints: int, name: str
) -> None:
    notes = describe(Session(simcc_model(tmp_path / "a.onnx", keypoints, wh=(96, 128)), "onnx"))
    assert notes["skeleton"]["name"] == name
    assert (notes["family"], notes["input_wh"], notes["split"]) == ("simcc", [96, 128], 2)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_sizes_that_a_file_does_not_say_are_found(tmp_path: Path, simcc: Path, engine) -> None:
    """As exporters leave them: it is run once."""
    silent = simcc_model(tmp_path / "rtmpose.onnx", said=False)
    assert describe(Session(silent, engine)) == describe(Session(simcc, engine))


# MoveNet


def movenet_by_hand(heatmap, center, regress, offset):
    """Its decoding for one person, joint by joint, as it is published."""
    side = heatmap.shape[-1]
    rows, columns = np.mgrid[:side, :side]
    middle = (side - 1) / 2
    near = np.sqrt((rows - middle) ** 2 + (columns - middle) ** 2) + 1.8
    y, x = np.unravel_index((center[0] / near).argmax(), near.shape)
    xy, scores = [], []
    for k, joint in enumerate(heatmap):
        guess = y + regress[2 * k, y, x], x + regress[2 * k + 1, y, x]
        near = np.sqrt((rows - guess[0]) ** 2 + (columns - guess[1]) ** 2) + 1.8
        at = np.unravel_index((joint / near).argmax(), near.shape)
        fine = offset[2 * k][at], offset[2 * k + 1][at]
        xy.append([4 * (at[1] + fine[1]) - 0.5, 4 * (at[0] + fine[0]) - 0.5])
        scores.append(joint[at])
    return np.array(xy), np.array(scores)


def movenet_maps(rng: np.random.Generator, people: int = 3, side: int = 16) -> dict:
    shapes = {"heatmaps": 3, "center": 1, "regress": 6, "offset": 6}
    ranges = {"heatmaps": (0, 1), "center": (0, 1), "regress": (-6, 6), "offset": (0, 1)}
    return {
        name: rng.uniform(*ranges[name], (people, count, side, side)).astype(np.float32)
        for name, count in shapes.items()
    }


def test_movenet_is_decoded_as_it_is_published() -> None:
    maps = movenet_maps(np.random.default_rng(0))
    xy, score = decode_movenet(**maps)
    for person in range(3):
        expected, scores = movenet_by_hand(*(one[person] for one in maps.values()))
        np.testing.assert_allclose(xy[person], expected, atol=1e-4)
        np.testing.assert_array_equal(score[person], scores)


def test_movenets_mirror_is_exact() -> None:
    """Of maps that are their own mirror image, joints exchanged, the pose is its own, too."""
    order = np.array([1, 0, 2])
    maps = movenet_maps(np.random.default_rng(1))
    even = merge_movenet(maps, maps, order)
    again = merge_movenet(even, even, order)
    for name, values in even.items():
        np.testing.assert_allclose(again[name], values, atol=1e-5, err_msg=name)
    even["center"][..., 8:] = 0  # the centre of either half: its mirror image has the other
    even["center"][:, :, 5, 4] = 9
    other = {n: m[..., ::-1] if n == "center" else m for n, m in even.items()}
    here, there = decode_movenet(**even)[0], decode_movenet(**other)[0]
    np.testing.assert_allclose(63 - here[:, order, 0], there[..., 0], atol=1e-4)
    np.testing.assert_allclose(here[:, order, 1], there[..., 1], atol=1e-4)


def test_movenet_finds_a_footballer(shared: Path) -> None:
    """Its heads by name; with flip, the mirrored picture has the mirrored pose."""
    path = shared / "models" / "movenet_thunder_heads.onnx"
    predictor = Predictor.load(path, detector=None, engine="onnx", threads=1)
    image = read_image(FOLDER / "messi5.jpg")
    box = Boxes(np.array([[130, 60, 220, 280]]), np.ones(1))
    width = image.shape[1]
    flipped = Boxes(np.array([[width - 350, 60, 220, 280]]), np.ones(1))
    found = predictor.predict(image, box)
    mirrored = predictor.predict(np.ascontiguousarray(image[:, ::-1]), flipped)
    assert (found.keypoint_score[0] > 0.3).sum() >= 10
    order = found.skeleton.flip_order
    np.testing.assert_allclose(width - 1 - mirrored.xy[0, order, 0], found.xy[0, :, 0], atol=0.5)
    np.testing.assert_allclose(mirrored.xy[0, order, 1], found.xy[0, :, 1], atol=0.5)


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_movenets_finished_poses_land_in_the_crop(tmp_path: Path, engine) -> None:
    """A square crop, box x 1.1, of 44 image pixels from (8, 18): share 0.25 is 11 from its edge,
    and the first pixel's centre half a pixel from it. Its input is integers, channels last."""
    shares = np.zeros((1, 1, 17, 3))
    shares[..., :] = [0.5, 0.25, 0.9]  # y, x, score
    path = constant_model(tmp_path / "a.onnx", "out", shares, [1, 192, 192, 3], integers=True)
    predictor = Predictor.load(path, detector=None, engine=engine)
    found = predictor.predict(dots(), Boxes(np.array([[20, 20, 20, 40]] * 2), np.ones(2)))
    np.testing.assert_allclose(found.xy, np.full((2, 17, 2), [18.5, 39.5]), atol=1e-3)
    np.testing.assert_allclose(found.keypoint_score, 0.9, rtol=1e-6)


# heatmaps, and what is said in the YAML and by the options


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    (tmp_path / "dots.yaml").write_text(yaml.safe_dump(DOTS.to_dict()))
    return colour_maps(tmp_path / "model.onnx")


def test_heatmaps_with_a_skeleton_and_its_normalisation(maps: Path, tmp_path: Path) -> None:
    said = {"skeleton": str(tmp_path / "dots.yaml"), "mean": [0, 0, 0], "std": [255, 255, 255]}
    said |= {"crop": "unbiased", "decoder": "unbiased"}  # as its maps are made
    predictor = Predictor.load(maps, detector=None, flip=False, foreign=said)
    found = predictor.predict(dots(), BOX)
    np.testing.assert_allclose(found.xy[0], TRUTH, atol=0.3)
    assert (found.keypoint_score > 0.8).all()
    swapped = Predictor.load(maps, detector=None, flip=False, foreign=said | {"bgr": True})
    np.testing.assert_allclose(swapped.predict(dots(), BOX).xy[0], found.xy[0, ::-1])


def test_heatmaps_of_17_are_fed_as_in_hrnets_code(tmp_path: Path) -> None:
    path = constant_model(
        tmp_path / "a.onnx", "output", np.zeros((1, 17, 64, 48)), [1, 3, 256, 192]
    )
    estimator = Estimator(Session(path, "onnx"))
    image, xywh = read_image(SAMPLES[0]), np.array([[50.0, 40, 100, 200]])
    matrix = crop_matrices(xywh, (192, 256), padding=1.25, kind="classic")
    crop = cut(image, matrix[0], (192, 256), "classic") / 255
    expected = (crop - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    ours = estimator.crops([image], estimator.matrices(xywh), xywh)[0]
    np.testing.assert_allclose(ours.transpose(1, 2, 0), expected, atol=1e-5)
    assert (estimator.decoder, estimator.shift, estimator.notes["stride"]) == ("quarter", True, 4)


def test_options_are_kept_beside_the_model(tmp_path: Path, maps: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(dots()).save(tmp_path / "in" / "a.png")
    options = ("--model-skeleton", str(tmp_path / "dots.yaml"), "--mean", "0", "0", "0")
    options += ("--std", "255", "255", "255", "--rgb")
    code, output = run_predict(tmp_path, maps, "--whole-image")
    assert code == 2
    assert "gives 3 keypoints" in output
    assert "--model-skeleton NAME|FILE" in output
    code, output = run_predict(tmp_path, maps, "--whole-image", *options)
    assert code == 0, output
    assert "model.yaml" in output
    first = json.loads((tmp_path / "out" / "poses.json").read_text())
    (tmp_path / "dots.yaml").unlink()  # its fields are in the model's
    code, output = run_predict(tmp_path, maps, "--whole-image")
    assert code == 0, output
    assert json.loads((tmp_path / "out" / "poses.json").read_text()) == first
    kept = yaml.safe_load((tmp_path / "model.yaml").read_text())
    assert kept["std"] == [255, 255, 255]
    assert kept["skeleton"]["keypoints"] == list(DOTS.keypoints)


def test_a_folder_that_cannot_be_written_is_no_fault(
    tmp_path: Path, maps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("poised.foreign_models.write_text", refuse)
    (tmp_path / "in").mkdir()
    Image.fromarray(dots()).save(tmp_path / "in" / "a.png")
    options = ("--whole-image", "--model-skeleton", str(tmp_path / "dots.yaml"))
    code, output = run_predict(tmp_path, maps, *options)
    assert code == 0, output
    assert "must be given again: read-only" in output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour: red", "no field 'colour'; known: skeleton, mean"),
        ("mean: [1, 2]", r"mean is \[1, 2\], expected three numbers"),
        ("std: [1, 0, 1]", "three positive numbers"),
        ("std: [1, 1.0e-320, 1]", "three positive numbers"),
        ("skeleton: nobody", r"\.onnx: no skeleton 'nobody'; known: coco17"),
        ("bgr: 1", "bgr is 1, expected true or false"),
        ("crop: wide", "one of classic, mmpose, unbiased"),
        ("threshold: 0.5", "gives heatmaps, which threshold cannot change"),
        ("input_wh: [10, 10]", r"is 96 x 128, input_wh says \[10, 10\]"),
        ("skeleton: lsp14", "gives 3 keypoints, skeleton lsp14 has 14"),
        ("skeleton: other.yaml", "no skeleton file .*other.yaml"),
        ("[1", "not YAML: [^\n]*$"),
        ("input_wh: [96.5, 128]", "whole numbers"),
        ("- mean", "expected fields, got list"),
    ],
)
def test_a_wrong_yaml_names_its_field(maps: Path, text: str, message: str) -> None:
    maps.with_suffix(".yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        Predictor.load(maps, detector=None)


def test_a_skeletons_file_lies_beside_the_yaml(maps: Path) -> None:
    maps.with_suffix(".yaml").write_text("skeleton: dots.yaml")
    assert describe(Session(maps))["skeleton"] == DOTS.to_dict()


def test_an_empty_yaml_says_nothing(simcc: Path, tmp_path: Path) -> None:
    model = Path(shutil.copy(simcc, tmp_path / "model.onnx"))
    model.with_suffix(".yaml").write_text("")
    assert describe(Session(model), {"input_wh": (192, 256)})["input_wh"] == (192, 256)


def test_annotated_boxes_are_cleaned_as_for_other_public_models(simcc: Path, shared: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")
    predictor = Predictor.load(simcc, detector=None, flip=False)
    done = evaluate_model(predictor, "coco", shared / "data" / "coco", "val2017")
    assert done.protocol["annotated_boxes"] == CLEANED


def test_what_is_no_pose_model_is_said(tmp_path: Path, simcc: Path, shared: Path) -> None:
    with pytest.raises(ModelError, match="it is a detector: use it as --detector"):
        Predictor.load(shared / "models" / "rtmdet_nano.onnx", detector=None)
    classes = constant_model(tmp_path / "a.onnx", "classes", np.zeros((1, 10)), [1, 3, 64, 64])
    with pytest.raises(ModelError, match=r"It gives classes \[N, 10\]; expected heatmaps"):
        Predictor.load(classes, detector=None)
    odd = constant_model(tmp_path / "b.onnx", "maps", np.zeros((1, 17, 16, 8)), [1, 3, 64, 64])
    with pytest.raises(ModelError, match="its heatmaps are 8 x 16: not of one proportion"):
        Predictor.load(odd, detector=None)
    free = constant_model(tmp_path / "c.onnx", "maps", np.zeros((1, 17, 16, 8)), [1, 3, "H", "W"])
    with pytest.raises(ModelError, match="input_wh"):
        Predictor.load(free, detector=None)
    six = np.zeros((1, 6, 56))  # MoveNet's MultiPose, which looks like YOLO's poses
    several = constant_model(tmp_path / "d.onnx", "out", six, [1, 256, 256, 3], integers=True)
    with pytest.raises(ModelError, match="not a pose model that is known here"):
        Predictor.load(several, detector=None)
    with pytest.raises(ModelError, match="not a person detector"):
        Predictor.load(simcc, detector=several)
    ours = colour_model(tmp_path / "ours.onnx")
    with pytest.raises(ModelError, match="mean are for other people's files"):
        Predictor.load(ours, detector=None, foreign={"mean": [0, 0, 0]})
    with pytest.raises(ModelError, match="cannot be averaged"):
        Predictor.load([simcc, ours], detector=None)
