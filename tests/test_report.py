"""Errors by kind on hand-made cases, matching, and a page that stands alone."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs poised[eval]")
pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")

from typer.testing import CliRunner

from poised.cli import app
from poised.datasets.person import Person
from poised.metrics.errors import KINDS, error_kinds
from poised.metrics.matching import match, match_own, pair
from poised.types import Skeleton

SKELETON = Skeleton.load("coco17")
LEFT, RIGHT = (SKELETON.keypoints.index(f"{side}_wrist") for side in ("left", "right"))
NOSE = 0


def someone(shift: float = 0.0, image_id: int = 1) -> Person:
    """Keypoints 40 px apart on a row; area 100^2."""
    xy = np.stack([40.0 * np.arange(17) + shift, np.full(17, 50.0)], -1)
    box, seen = np.array([shift, 0, 700, 100.0]), np.ones(17, np.bool_)
    return Person(Path("a.jpg"), box, xy, seen, image_id=image_id, area=1e4)


def result(image_id: int, xy: np.ndarray, score: float = 1.0) -> dict:
    triples = np.concatenate([xy, np.ones((17, 1))], 1)
    return {"image_id": image_id, "keypoints": triples.ravel().tolist(), "score": score}


def test_each_kind_of_error() -> None:
    """ks = exp(-d^2 / (2 area (2 sigma)^2)): at d = 2 sigma sqrt(area) it is exp(-1/2)."""
    people = [someone(), someone(10_000.0), someone(0.0, image_id=2), someone(0.0, image_id=3)]
    xy = np.stack([person.xy for person in people])
    sigma = float(SKELETON.sigmas[LEFT])
    xy[0, LEFT, 1] += 2 * sigma * 100  # ks = 0.61: jitter
    xy[1, LEFT] = people[1].xy[RIGHT]  # the other side: inversion
    xy[1, NOSE] = people[0].xy[NOSE]  # somebody else's nose: swap
    xy[2, NOSE] = people[1].xy[NOSE]  # of another image: miss
    results = [result(p.image_id, pose) for p, pose in zip(people[:3], xy[:3], strict=True)]
    matched = match(people, results, SKELETON, range(17))
    kinds = np.array(KINDS)[error_kinds(matched)]
    assert kinds[0, LEFT] == "jitter"
    assert kinds[1, LEFT] == "inversion"
    assert kinds[1, NOSE] == "swap"
    assert kinds[2, NOSE] == "miss"
    assert (kinds[3] == "unfound").all()
    assert (kinds == "good").sum() == 3 * 17 - 4


def test_pcks_kinds_are_by_its_limit() -> None:
    """At the limit is right, at twice the limit near: of 0.25 lengths of 40 px, 10 and 20 px."""
    person = someone()
    xy = person.xy.copy()
    xy[NOSE, 1] += 10
    xy[LEFT, 1] += 20
    xy[RIGHT, 1] += 21
    matched = pair([person], xy[None], SKELETON, range(17), np.array([40.0]), 0.25)
    kinds = np.array(KINDS)[error_kinds(matched)[0]]
    assert kinds[[NOSE, LEFT, RIGHT]].tolist() == ["good", "jitter", "miss"]
    assert matched.likeness == pytest.approx([15 / 17])


def test_unlabelled_keypoints_have_no_kind() -> None:
    person = someone()
    matched = match([person], [result(1, person.xy)], SKELETON, [LEFT, RIGHT])
    kinds = error_kinds(matched)[0]
    assert np.flatnonzero(kinds >= 0).tolist() == sorted([LEFT, RIGHT])


def test_predictions_go_to_the_likest_free_person_best_score_first() -> None:
    near, far = someone(), someone(10.0)

    crowd = Person(near.image, near.xywh, near.xy, near.visible, image_id=1, ignored=True)
    people = [near, crowd, far]
    matched = match(people, [result(1, far.xy, 0.2), result(1, near.xy, 0.9)], SKELETON, range(17))
    assert matched.people == [near, far]
    assert matched.likeness == pytest.approx([1, 1])
    twice = match(people, [result(1, near.xy, 0.2), result(1, near.xy, 0.9)], SKELETON, range(17))
    assert twice.likeness[0] == 1  # the better score got it, the other has the rest
    assert 0 < twice.likeness[1] < 1
    assert twice.given.tolist() == [1, 0]
    third_of = [result(1, near.xy, score) for score in (0.9, 0.8, 0.7)]
    third = match(people, third_of, SKELETON, range(17))
    assert third.spare.tolist() == []  # it lies in the crowd
    assert match([near, far], third_of, SKELETON, range(17)).spare.tolist() == [2]
    elsewhere = [{**result(1, near.xy, 0.6), "image_id": 2}]  # an image without anybody labelled
    assert match(people, elsewhere, SKELETON, range(17)).spare.tolist() == [0]
    nobody = match(people, [], SKELETON, range(17))
    assert np.isnan(nobody.xy).all()
    assert nobody.likeness.tolist() == [0, 0]


def test_of_an_image_the_best_twenty_count_as_in_coco() -> None:
    person = someone()
    far = [result(1, person.xy + 1e4 * n, 0.9) for n in range(1, 21)]
    matched = match([person], [*far, result(1, person.xy, 0.1)], SKELETON, range(17))
    assert not matched.found.any()
    assert len(matched.spare) == 20


def test_a_pose_in_somebodys_box_is_theirs_however_wrong() -> None:
    """Boxes of 700 x 100: shifted by 200 they share 500 of 900, by 300 they share 400 of 1000."""
    person = someone()
    wrong = result(1, person.xy + np.array([0, 2000]))
    for shift, given, spare in ((200, [0], []), (300, [-1], [0])):
        boxes = np.array([[shift, 0, 700, 100.0]])
        matched = match([person], [wrong], SKELETON, range(17), boxes)
        assert matched.likeness.tolist() == [0]
        assert (matched.given.tolist(), matched.spare.tolist()) == (given, spare)
    there = np.stack([person.xywh, person.xywh])
    taken = match([person], [result(1, person.xy, 0.5), wrong], SKELETON, range(17), there)
    assert (taken.given.tolist(), taken.spare.tolist()) == ([0], [1])


def test_annotated_boxes_predictions_are_their_own_peoples() -> None:
    """The first's pose lies on the second: by likeness it would be the second's."""
    first, second = someone(), someone(10_000.0)
    people = [first, second, someone(0.0, image_id=2)]
    results = [result(1, second.xy, 0.9), result(1, second.xy + 5, 0.8), result(2, first.xy)]
    assert match(people, results, SKELETON, range(17)).given.tolist() == [-1, 0, 2]
    own = match_own(people, results, SKELETON, range(17))
    assert own.given.tolist() == [0, 1, 2]
    assert own.likeness[0] == 0
    assert own.likeness[2] == 1
    fewer = match_own(people, results[1:], SKELETON, range(17))  # one was dropped: whose is unknown
    assert fewer.given.tolist() == [-1, 0, 1]


def shown(page: str, label: str) -> int:
    return page.count(f'<img alt="{label}')


def report(arguments: list[str], out: Path) -> str:
    result = CliRunner().invoke(app, ["report", *arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    return out.read_text("utf-8")


def test_the_page_stands_alone(shared: Path, tmp_path: Path) -> None:
    arguments = ["--dataset", "coco", "--data", str(shared / "data" / "coco"), "--no-flip"]
    page = report(arguments, tmp_path / "page.html")
    title = "coco17.onnx on coco val2017"
    assert f"<title>{title}</title>" in page
    assert f"<h1>{title}</h1>" in page
    assert page.count("<svg") == 4
    assert [shown(page, what) for what in ("pose", "missed", "false", "heatmaps")] == [16, 0, 0, 4]
    assert "nobody can be missed or false" in page
    assert "<td>false people" not in page  # nor is there a gain of them
    outside = [u for u in re.findall(r'(?:src|href)="([^"]*)"', page) if u[:1] not in "#d"]
    assert not outside
    assert not re.search(r"@import|url\((?!#)", page)
    assert "left ankle" in page
    assert "model_sha256" in page
    assert page == report(arguments, tmp_path / "again.html")  # the same people, the same ids


def test_wrong_poses_missed_and_false_people_are_three_rows(shared: Path, tmp_path: Path) -> None:
    """One picture of three people: one exchanged, one not found, one found where nobody is, and
    one found twice."""
    folder = shared / "data" / "coco"
    truth = json.loads((folder / "annotations" / "person_keypoints_val2017.json").read_text())
    of: dict[int, list[dict]] = {}
    for annotation in truth["annotations"]:
        if annotation["num_keypoints"] > 12:
            of.setdefault(annotation["image_id"], []).append(annotation)
    people = next(found for found in of.values() if len(found) >= 3)[:3]
    image = next(i for i in truth["images"] if i["id"] == people[0]["image_id"])
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "val2017").symlink_to(folder / "val2017")
    small = {**truth, "images": [image], "annotations": people}
    (root / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(small))
    poses = [np.array(person["keypoints"], np.float64).reshape(17, 3) for person in people]
    limbs = np.flatnonzero((poses[0][:, 2] > 0) & (poses[0][SKELETON.flip_order, 2] > 0))
    limbs = limbs[limbs > 4]
    exchanged = poses[0].copy()
    exchanged[limbs] = poses[0][SKELETON.flip_order][limbs]
    given = [(exchanged, 0.9), (poses[1], 0.8), (poses[1] + [1, 0, 0], 0.7)]
    given.append((poses[1] + [5000, 0, 0], 0.6))
    results = [
        {"image_id": image["id"], "category_id": 1, "score": score}
        | {"keypoints": pose.ravel().tolist()}
        for pose, score in given
    ]
    (tmp_path / "mine.json").write_text(json.dumps(results))
    arguments = ["--dataset", "coco", "--data", str(root), "--predictions"]
    page = report([*arguments, str(tmp_path / "mine.json")], tmp_path / "page.html")
    assert "<title>mine.json on coco val2017</title>" in page
    assert [shown(page, what) for what in ("pose", "missed", "false")] == [4, 1, 2]
    captions = re.findall(r"<figcaption>([^<]*)</figcaption>", page)
    ours = [caption for caption in captions if image["file_name"] in caption]
    assert re.search(r"left and right exchanged", ours[0])
    assert ours[1].endswith("all right")
    assert ours[2].endswith("found by no pose")
    assert ours[3].endswith("score 0.70; a second pose of somebody found")
    assert ours[4].endswith("score 0.60; nobody is labelled there")


def test_attention_maps_are_on_the_page(ten: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs poised[train]")
    from poised.checkpoint import describe_network, save_tensors
    from poised.export import export_onnx
    from poised.nets import build
    from poised.read_recipe import load_recipe

    changes = ["network.name=spcnet", "network.options={modules: 1, width: 0.125}"]
    recipe = load_recipe("lsp14", [*changes, "backbone.weights=null", "input.size=[64,64]"])
    network = build("spcnet", joints=14, **recipe.network.options)
    weights = tmp_path / "tiny.safetensors"
    notes = {"network": describe_network(recipe, 14), "recipe": recipe.model_dump(mode="json")}
    save_tensors(weights, network.state_dict(), notes)
    model = str(export_onnx(weights, tmp_path / "tiny.onnx"))
    out = tmp_path / "page.html"
    arguments = ["--dataset", "lspet", "--data", str(ten), "--model", model, "--no-flip"]
    assert shown(report(arguments, out), "attention of ") == 1  # SIM's four levels in a row
    weights.unlink()
    assert shown(report(arguments, out), "attention of ") == 0


def test_a_pck_pages_curves_are_there_without_torch(
    ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No spare prediction, so no precision, and a curve of each group; lsp14's weights lie beside
    it, but attention maps are for those who have torch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    page = report(["--dataset", "lspet", "--data", str(ten)], tmp_path / "page.html")
    assert "PCK over the limit" in page
    assert "Precision and recall" not in page
    assert "nobody can be missed or false" in page
    told = re.sub('base64,[^"]*', "", page).replace("box score x expected OKS", "")  # the protocol
    assert "OKS" not in told  # nothing but this data set's measure
