"""Errors by kind on hand-made cases, matching, and a page that stands alone."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs poised[eval]")
pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")

from typer.testing import CliRunner

from poised.cli import app
from poised.datasets.person import Person
from poised.metrics.errors import KINDS, error_kinds
from poised.metrics.matching import match, pair
from poised.types import Skeleton

SKELETON = Skeleton.load("coco17")
LEFT, RIGHT = (SKELETON.keypoints.index(f"{side}_wrist") for side in ("left", "right"))
NOSE = 0


def someone(shift: float = 0.0, image_id: int = 1) -> Person:
    """Keypoints 40 px apart on a row; area 100^2."""
    xy = np.stack([40.0 * np.arange(17) + shift, np.full(17, 50.0)], -1)
    box, seen = np.array([shift, 0, 700, 100.0]), np.ones(17, np.bool_)
    return Person(Path("a.jpg"), box, xy, seen, image_id=image_id, area=1e4)


def test_each_kind_of_error() -> None:
    """ks = exp(-d^2 / (2 area (2 sigma)^2)): at d = 2 sigma sqrt(area) it is exp(-1/2)."""
    people = [someone(), someone(10_000.0), someone(0.0, image_id=2)]
    xy = np.stack([person.xy for person in people])
    sigma = float(SKELETON.sigmas[LEFT])
    xy[0, LEFT, 1] += 2 * sigma * 100  # ks = 0.61: jitter
    xy[1, LEFT] = people[1].xy[RIGHT]  # the other side: inversion
    xy[1, NOSE] = people[0].xy[NOSE]  # somebody else's nose: swap
    xy[2, NOSE] = people[1].xy[NOSE]  # of another image: miss
    xy[2, LEFT] = np.nan
    matched = pair(people, xy, SKELETON, range(17))
    kinds = np.array(KINDS)[error_kinds(matched)]
    assert kinds[0, LEFT] == "jitter"
    assert kinds[1, LEFT] == "inversion"
    assert kinds[1, NOSE] == "swap"
    assert kinds[2, NOSE] == kinds[2, LEFT] == "miss"
    assert (kinds == "good").sum() == 3 * 17 - 5


def test_unlabelled_keypoints_have_no_kind() -> None:
    person = someone()
    matched = pair([person], person.xy[None], SKELETON, [LEFT, RIGHT])
    kinds = error_kinds(matched)[0]
    assert np.flatnonzero(kinds >= 0).tolist() == sorted([LEFT, RIGHT])


def test_predictions_go_to_the_likest_free_person_best_score_first() -> None:
    near, far = someone(), someone(10.0)

    def result(person: Person, score: float) -> dict:
        triples = np.concatenate([person.xy, np.ones((17, 1))], 1)
        return {"image_id": 1, "keypoints": triples.ravel().tolist(), "score": score}

    crowd = Person(near.image, near.xywh, near.xy, near.visible, image_id=1, ignored=True)
    people = [near, crowd, far]
    matched = match(people, [result(far, 0.2), result(near, 0.9)], SKELETON, range(17))
    assert matched.people == [near, far]
    assert matched.likeness == pytest.approx([1, 1])
    twice = match(people, [result(near, 0.2), result(near, 0.9)], SKELETON, range(17))
    assert twice.likeness[0] == 1  # the better score got it, the other has the rest
    assert 0 < twice.likeness[1] < 1
    assert twice.score.tolist() == [0.9, 0.2]
    third_of = [result(near, score) for score in (0.9, 0.8, 0.7)]
    third = match(people, third_of, SKELETON, range(17))
    assert third.spare.tolist() == []  # it lies in the crowd
    assert match([near, far], third_of, SKELETON, range(17)).spare.tolist() == [0.7]
    elsewhere = [{**result(near, 0.6), "image_id": 2}]  # an image without anybody labelled
    assert match(people, elsewhere, SKELETON, range(17)).spare.tolist() == [0.6]
    nobody = match(people, [], SKELETON, range(17))
    assert np.isnan(nobody.xy).all()
    assert nobody.likeness.tolist() == [0, 0]


def test_the_page_stands_alone(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    data = str(shared / "data" / "coco")
    arguments = ["report", "--dataset", "coco", "--data", data, "--out", str(out), "--no-flip"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    page = out.read_text("utf-8")
    assert page.count("<svg") == 4
    assert page.count("data:image/jpeg;base64,") == 12 + 12 + 4
    outside = [u for u in re.findall(r'(?:src|href)="([^"]*)"', page) if u[:1] not in "#d"]
    assert not outside
    assert "left ankle" in page
    assert "model_sha256" in page


def test_attention_maps_are_on_the_page(ten: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs poised[train]")
    from poised.checkpoint import describe_network, save_tensors
    from poised.export import export_onnx
    from poised.nets import build
    from poised.recipe import load_recipe

    changes = ["network.name=spcnet", "network.options={modules: 1, width: 0.125}"]
    recipe = load_recipe("lsp14", [*changes, "backbone.weights=null", "input.size=[64,64]"])
    network = build("spcnet", joints=14, **recipe.network.options)
    weights = tmp_path / "tiny.safetensors"
    notes = {"network": describe_network(recipe, 14), "recipe": recipe.model_dump(mode="json")}
    save_tensors(weights, network.state_dict(), notes)
    model = str(export_onnx(weights, tmp_path / "tiny.onnx"))
    out = tmp_path / "page.html"
    arguments = ["report", "--dataset", "lspet", "--data", str(ten), "--out", str(out)]
    result = CliRunner().invoke(app, [*arguments, "--model", model, "--no-flip"])
    assert result.exit_code == 0, result.output
    assert out.read_text("utf-8").count('alt="attention of ') == 1  # SIM's four levels in a row
    weights.unlink()
    result = CliRunner().invoke(app, [*arguments, "--model", model, "--no-flip"])
    assert result.exit_code == 0, result.output
    assert "attention of" not in out.read_text("utf-8")


def test_a_pck_pages_curves_are_there(ten: Path, tmp_path: Path) -> None:
    """No spare prediction, so no precision, and a curve of each group."""
    out = tmp_path / "page.html"
    arguments = ["report", "--dataset", "lspet", "--data", str(ten), "--out", str(out)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    page = out.read_text("utf-8")
    assert "PCK over the limit" in page
    assert "Precision and recall" not in page
