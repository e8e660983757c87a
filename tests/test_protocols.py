"""A protocol as a user meets it: the command and its recipe follow the data set and public code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from models import DOTS, colour_model
from PIL import Image

pytest.importorskip("faster_coco_eval", reason="needs poised[train]")

from typer.testing import CliRunner

from poised.bundled import recipe_names
from poised.cli import app
from poised.crops import crop_areas, crop_matrices
from poised.datasets import Person
from poised.evaluate import CLEANED, evaluate_model
from poised.metrics.evaluation import score_people
from poised.predict import Predictor
from poised.protocol import Protocol
from poised.read_recipe import RecipeError, load_recipe
from poised.scores import oks
from poised.types import Boxes, ImagePoses, Skeleton

MEAN_OF_14 = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
COCO_NAMES = {"AP50": "AP.5", "AP75": "AP.75", "AP_medium": "AP_M", "AP_large": "AP_L"}
COCO_NAMES |= {
    name.replace("AP", "AR"): ours.replace("AP", "AR") for name, ours in COCO_NAMES.items()
}


def run(*arguments: object) -> str:
    """What a command prints that must succeed."""
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 2, result.output
    return result.output


@pytest.mark.parametrize("name", ["coco", "coco_with_bbox", "coco_hard", "crowdpose"])
def test_the_commands_figures_are_the_official_ones(
    shared: Path, tmp_path: Path, name: str
) -> None:
    """Through files and options; CrowdPose's own num_keypoints leaves out head and neck."""
    folder = shared / "reference"
    truth = "coco_gt" if name == "coco_with_bbox" else f"{name}_gt"
    results = "coco_predictions_with_bbox" if name == "coco_with_bbox" else f"{name}_predictions"
    dataset = "crowdpose" if name == "crowdpose" else "coco"
    out = tmp_path / "out.json"
    common = ["evaluate", "--dataset", dataset, "--data", folder, "--split", f"{truth}.json"]
    run(*common, "--predictions", folder / f"{results}.json", "--out", out)
    figures = json.loads(out.read_text())["figures"]
    stats = json.loads((folder / f"{dataset}_stats.json").read_text())
    stats = stats["stats"] if dataset == "crowdpose" else stats[f"{truth} + {results}"]
    checked = 0
    for official, value in stats.items():
        ours = (
            official
            if dataset == "crowdpose" and "_" in official
            else COCO_NAMES.get(official, official)
        )
        coarse = (
            5.1e-3
            if official in ("AP_easy", "AP_medium", "AP_hard") and dataset == "crowdpose"
            else 5.1e-4
        )
        if ours in figures:
            assert figures[ours] == pytest.approx(100 * value, abs=coarse), official
            checked += 1
    assert checked == len(figures) == (9 if dataset == "crowdpose" else 10)


def test_mpiis_evaluation_gives_its_published_figures(shared: Path) -> None:
    """The command's scoring, from people and predictions; MPII has no results file to read."""
    data = np.load(shared / "reference" / "mpii_pckh.npz")
    want = json.loads((shared / "reference" / "mpii_pckh.json").read_text())
    parts = {"ank": "ankle", "kne": "knee", "hip": "hip", "wri": "wrist", "elb": "elbow"}
    parts |= {"sho": "shoulder"}
    middle = {"pelv": "pelvis", "thor": "thorax", "neck": "upper_neck", "head": "head_top"}
    sides = {"l": "left_", "r": "right_"}
    names = [middle.get(j) or sides[j[0]] + parts[j[1:]] for j in want["joint_order"]]
    skeleton = Skeleton.load("mpii16")
    order = [names.index(name) for name in skeleton.keypoints]
    people = [
        Person(Path(f"{i}.jpg"), np.array([0.0, 0, 9, 9]), xy, seen, head_size=float(size))
        for i, (xy, seen, size) in enumerate(
            zip(
                data["truth_xy"][:, order].astype(np.float64),
                data["labelled"][:, order] > 0,
                data["head_size"],
                strict=True,
            )
        )
    ]
    found = data["predicted_xy"][:, order].astype(np.float64)
    figures = score_people("mpii", skeleton, people, found, {}, list(range(16))).figures
    for group in MEAN_OF_14:
        assert figures[group] == pytest.approx(want["hrnet_evaluate"][group], abs=5.1e-4)
    assert figures["labelled mean"] == pytest.approx(want["hrnet_evaluate"]["Mean"], abs=5.1e-4)


def dots_set(root: Path, split: str = "mine.json", annotated: bool = True) -> Path:
    """Four images of 200 x 160 with a red, a green and a blue dot, each a person in COCO's form."""
    rng = np.random.default_rng(0)
    folder = "test2017" if "test-dev" in split else "images"
    (root / folder).mkdir(parents=True)
    images, people = [], []
    for number in range(4):
        picture = np.zeros((160, 200, 3), np.uint8)
        xy = rng.integers([50, 40], [150, 120], (3, 2))
        for channel, (x, y) in enumerate(xy):
            cv2.circle(picture, (int(x), int(y)), 4, [255 * (c == channel) for c in range(3)], -1)
        Image.fromarray(picture).save(root / folder / f"{number}.png")
        images.append({"id": 100 + number, "file_name": f"{number}.png"})
        triples = np.concatenate([xy + rng.integers(-2, 3, (3, 2)), np.full((3, 1), 2)], 1)
        one = {"id": number + 1, "image_id": 100 + number, "category_id": 1, "iscrowd": 0}
        one |= {"bbox": [30, 20, 140, 120], "area": 9000.0, "keypoints": triples.ravel().tolist()}
        people.append(one)
    values: dict[str, Any] = {"images": images, "categories": [{"id": 1, "name": "person"}]}
    if annotated:
        values["annotations"] = people
    path = root / split
    if not annotated:
        path = root / "annotations" / f"image_info_{split}.json"
        path.parent.mkdir()
    path.write_text(json.dumps(values))
    return root


def own_recipe(folder: Path, **test: Any) -> Path:
    """A recipe of one's own for the dots, its skeleton beside it."""
    (folder / "dots.yaml").write_text(yaml.safe_dump(DOTS.to_dict()))
    values = {
        "skeleton": str(folder / "dots.yaml"),
        "network": {"name": "simple_baseline"},
        "dataset": {"name": "coco", "root": str(folder / "dots")},
        "input": {"size": [96, 128]},
        "test": {"split": "mine.json", **test},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(values))
    return folder / "own.yaml"


def test_a_recipe_that_says_nothing_changes_nothing(tmp_path: Path) -> None:
    """Its skeleton is the data set's; what its `test` leaves open is the model's own."""
    root, model = dots_set(tmp_path / "dots"), colour_model(tmp_path / "dots.onnx")
    recipe = own_recipe(tmp_path)
    common = ["evaluate", "--data", root, "--model", model]
    run(*common, "--recipe", recipe, "--out", tmp_path / "a.json")
    plain = ["--dataset", "coco", "--split", "mine.json", "--skeleton", tmp_path / "dots.yaml"]
    run(*common, *plain, "--out", tmp_path / "b.json")
    by_recipe, by_options = (json.loads((tmp_path / f"{n}.json").read_text()) for n in "ab")
    assert by_recipe["protocol"] == by_options["protocol"]
    assert by_recipe["figures"] == by_options["figures"]
    assert by_recipe["protocol"]["decoder"] == "unbiased"
    assert by_recipe["protocol"]["opencv"] == cv2.__version__
    run(*common, "test.decoder=argmax", "--recipe", recipe, "--out", tmp_path / "c.json")
    coarse = json.loads((tmp_path / "c.json").read_text())
    assert coarse["protocol"] == by_recipe["protocol"] | {"decoder": "argmax"}
    assert "name it by --recipe" in refused(*common, "test.decoder=argmax", *plain)


def test_papers_recipes_leave_nothing_to_the_model() -> None:
    checked = 0
    for recipe in map(load_recipe, recipe_names()):
        if recipe.paper:
            said = recipe.test.shift, recipe.test.decoder, recipe.test.rescore
            assert None not in said, recipe.name
            assert not recipe.test.rescore or recipe.test.threshold is not None, recipe.name
            checked += 1
    assert checked > 100


def test_results_for_a_server_have_the_sets_ids_and_score_as_the_model_does(
    tmp_path: Path,
) -> None:
    root, model = dots_set(tmp_path / "dots"), colour_model(tmp_path / "dots.onnx")
    recipe, results = own_recipe(tmp_path, boxes="image"), tmp_path / "results.json"
    common = ["evaluate", "--data", root, "--recipe", recipe]
    run(*common, "--model", model, "--results", results, "--out", tmp_path / "a.json")
    run(*common, "--predictions", results, "--out", tmp_path / "b.json")
    model_figures, file_figures = (
        json.loads((tmp_path / f"{n}.json").read_text())["figures"] for n in "ab"
    )
    assert file_figures == {n: v for n, v in model_figures.items() if not n.startswith("person")}
    # nobody is annotated in test-dev, whose images are among the test's
    dots_set(tmp_path / "dev", "test-dev2017", annotated=False)
    common = ["evaluate", "--data", tmp_path / "dev", "--recipe", recipe, "--model", model]
    common += ["--split", "test-dev2017"]
    assert "nobody is annotated in test-dev2017" in refused(*common)
    said = run(*common, "--results", results)
    assert "no figures" in said
    assert "decoder: unbiased" in said
    rows = json.loads(results.read_text())
    assert [row["image_id"] for row in rows] == [100, 101, 102, 103]
    assert all(row.keys() == {"image_id", "category_id", "keypoints", "score"} for row in rows)
    assert all(row["category_id"] == 1 and len(row["keypoints"]) == 9 for row in rows)
    words = ["--data", root, "--dataset", "mpii"]
    nothing = refused("evaluate", *words, "--results", results)
    assert "mpii has no results format" in nothing


def test_public_protocols_cut_cleaned_boxes(shared: Path, tmp_path: Path) -> None:
    """Annotated boxes as HRNet's reader gives them; those it rejects are not predicted."""
    data = np.load(shared / "reference" / "crop_geometry.npz")
    images, people = [], []
    sizes = data["image_sizes_wh"].astype(int).tolist()
    for number, (size, box) in enumerate(zip(sizes, data["boxes_xywh"].tolist(), strict=True)):
        Image.new("RGB", tuple(size)).save(tmp_path / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png"})
        one = {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "area": 100.0}
        people.append({**one, "bbox": box, "keypoints": [1, 1, 2] * 3})
    (tmp_path / "mine.json").write_text(json.dumps({"images": images, "annotations": people}))
    (tmp_path / "dots.yaml").write_text(yaml.safe_dump(DOTS.to_dict()))
    cleaned = data["cleaned_boxes_xywh"]
    kept = ~np.isnan(cleaned).any(1)
    for public, want in ((True, cleaned[kept]), (False, data["boxes_xywh"])):
        crop = "classic" if public else "unbiased"
        model = colour_model(tmp_path / "dots.onnx", crop=crop)
        predictor = Predictor.load(model, detector=None)
        seen: list[Boxes] = []

        def answer(paths: list[Path], boxes: list[Boxes], seen: list[Boxes] = seen) -> list:
            seen += boxes
            nobody = np.zeros((0, 3, 2)), np.zeros((0, 3)), np.zeros(0)
            return [ImagePoses(p.name, (9, 9), DOTS, Boxes.empty(), *nobody) for p in paths]

        predictor.predict = answer  # type: ignore[method-assign]
        skeleton = str(tmp_path / "dots.yaml")
        done = evaluate_model(predictor, "coco", tmp_path, "mine.json", skeleton=skeleton)
        got = np.concatenate([boxes.xywh for boxes in seen])
        np.testing.assert_allclose(got, np.maximum(want, [-1e9, -1e9, 1, 1]), atol=1e-3)
        assert done.protocol["boxes"] == "truth"
        assert done.protocol.get("annotated_boxes") == (CLEANED if public else None)


def test_a_papers_recipe_is_tested_as_public_code_does(tmp_path: Path) -> None:
    """By the recipe's crop: scores above 1 stay and boxes are cleaned for a classic one alone."""
    root = dots_set(tmp_path / "dots")
    recipe, results = own_recipe(tmp_path), tmp_path / "results.json"
    for crop in ("classic", "unbiased"):
        model = colour_model(tmp_path / "dots.onnx", crop=crop, std=[100, 100, 100])
        common = ["evaluate", "--data", root, "--recipe", recipe, "--model", model]
        said = run(*common, f"input.crop={crop}", "--results", results)
        rows = [row["keypoints"] for row in json.loads(results.read_text())]
        top = np.array(rows).reshape(-1, 3)[:, 2].max()
        assert (top > 1) == (crop == "classic")
        assert (f"annotated_boxes: {CLEANED}\n" in said) == (crop == "classic")
        assert ("at most 1" in said) == (crop == "unbiased")


def test_a_crops_area_is_the_grown_boxs(shared: Path) -> None:
    """HRNet's (200 s)^2, s the scale of its crop."""
    data = np.load(shared / "reference" / "crop_geometry.npz")
    for name, size in (("192x256", (192, 256)), ("256x256", (256, 256))):
        matrices = crop_matrices(data["boxes_xywh"], size, rotation=30, kind="classic")
        want = (data[f"scale_{name}"].astype(np.float64) * 200).prod(1)
        np.testing.assert_allclose(crop_areas(matrices, size), want, rtol=1e-5)


def test_poses_are_alike_by_the_grown_box_in_public_protocols(tmp_path: Path) -> None:
    """Two boxes of one person whose poses' OKS is on two sides of the threshold."""
    picture = np.zeros((160, 200, 3), np.uint8)
    for channel, place in enumerate([(70, 60), (120, 60), (95, 110)]):
        cv2.circle(picture, place, 9, [255 * (c == channel) for c in range(3)], -1)
    model = colour_model(tmp_path / "dots.onnx", crop="classic", decoder="argmax")
    xywh = np.array([[40, 30, 110, 110], [47, 39, 110, 110]], np.float32)
    boxes = Boxes(xywh, np.array([0.9, 0.8], np.float32))
    both = Predictor.load(model, detector=None, flip=False).predict(picture, boxes)
    grown = crop_areas(crop_matrices(xywh, (96, 128), kind="classic"), (96, 128))
    given = xywh[:, 2] * xywh[:, 3]
    low, high = (oks(both.xy, both.xy, a, a, DOTS.sigmas)[0, 1] for a in (given, grown))
    assert low < high < 1
    for public, want in ((False, 2), (True, 1)):
        protocol = Protocol(pose_nms=("hard", (low + high) / 2), public=public)
        predictor = Predictor.load(model, detector=None, flip=False, protocol=protocol)
        assert len(predictor.predict(picture, boxes)) == want


def test_a_base_may_have_a_base_but_not_itself(tmp_path: Path) -> None:
    one, two, three = (tmp_path / f"{name}.yaml" for name in ("one", "two", "three"))
    one.write_text(f"base: {two}\noptimise: {{batch: 7}}\n")
    two.write_text("base: cpn-hard-10\noptimise: {epochs: 9}\n")
    recipe, above = load_recipe(str(one)), load_recipe("cpn-hard-10")
    assert (recipe.optimise.batch, recipe.optimise.epochs) == (7, 9)
    assert (recipe.optimise.drops, recipe.network) == (above.optimise.drops, above.network)
    assert recipe.reported == ()  # the rows of a base are the base's
    two.write_text(f"base: {three}\n")
    three.write_text(f"base: {one}\n")
    with pytest.raises(RecipeError, match="in a circle: one -> two -> three -> one"):
        load_recipe(str(one))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optimise.epoch=5", "optimise.epoch: Extra inputs.*; did you mean epochs?"),
        ("networ.name=cpn", "networ: Extra inputs.*; did you mean network?"),
        ("dataset.also=[{naem: coco, root: x}]", "also.0.naem: Extra.*; did you mean name?"),
        (
            "target.zzz=1",
            "target.zzz: Extra inputs.*; known: loss, sigma, kind, absent, hard, teacher",
        ),
        ("network.name=cpm", "no network named 'cpm'. Did you mean 'cpn'?"),
        ("network.options.backbon=50", "'cpn' has no option 'backbon'. Did you mean 'backbone'?"),
        ("network.options.backbone=51", "'cpn' with .*: no ResNet of depth 51"),
    ],
)
def test_what_a_recipe_cannot_mean_is_named(change: str, message: str) -> None:
    pytest.importorskip("torch", reason="needs poised[train]")
    import re

    pattern = re.escape(message).replace(r"\.\*", ".*")
    assert re.search(pattern, refused("recipes", "show", "cpn", change)), message


def test_given_boxes_keep_their_places_through_nms(tmp_path: Path) -> None:
    """The second pose is the better one; both are kept, and each is still its box's."""
    picture = np.zeros((160, 200, 3), np.uint8)
    for left in (10, 110):
        for channel, place in enumerate([(20, 40), (60, 40), (40, 90)]):
            tone = [(100 + left) * (c == channel) for c in range(3)]
            cv2.circle(picture, (left + place[0], place[1]), 5, tone, -1)
    protocol = Protocol(pose_nms=("hard", 0.9))
    model = colour_model(tmp_path / "dots.onnx")
    xywh = np.array([[10, 20, 80, 100], [110, 20, 80, 100]], np.float32)
    poses = Predictor.load(model, detector=None, protocol=protocol).predict(
        picture, Boxes(xywh, np.ones(2, np.float32))
    )
    assert poses.score[1] > poses.score[0]
    np.testing.assert_array_equal(poses.boxes.xywh, xywh)
    assert (poses.xy[0, :, 0] < 100).all()


def test_a_classic_model_has_one_figure_with_a_recipe_and_without(tmp_path: Path) -> None:
    root, model = dots_set(tmp_path / "dots"), colour_model(tmp_path / "dots.onnx", crop="classic")
    recipe = own_recipe(tmp_path)
    common = ["evaluate", "--data", root, "--model", model]
    run(*common, "--recipe", recipe, "input.crop=classic", "--out", tmp_path / "a.json")
    own = ["--dataset", "coco", "--split", "mine.json", "--skeleton", tmp_path / "dots.yaml"]
    run(*common, *own, "--out", tmp_path / "b.json")
    first, second = (json.loads((tmp_path / f"{n}.json").read_text()) for n in "ab")
    assert first == second


def test_results_of_annotated_boxes_need_annotations(tmp_path: Path) -> None:
    root = dots_set(tmp_path / "dots", "test-dev2017", annotated=False)
    model, recipe = colour_model(tmp_path / "dots.onnx"), own_recipe(tmp_path)
    common = ["evaluate", "--data", root, "--model", model, "--recipe", recipe]
    common += ["--split", "test-dev2017", "--results", tmp_path / "out.json", "--boxes"]
    assert "nobody is annotated in test-dev2017" in refused(*common, "truth")
    assert not (tmp_path / "out.json").exists()
    assert "image" in run(*common, "image")


def test_a_base_is_looked_for_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "below.yaml").write_text("base: cpn\noptimise: {epochs: 7}\n")
    (tmp_path / "folder" / "above.yaml").write_text("base: below.yaml\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("folder/above.yaml").optimise.epochs == 7
