"""The skeletons that public models bring, and the list of those models."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from poised.bundled import bundled_models
from poised.cli import app
from poised.types import Skeleton


@pytest.mark.parametrize("name", ["coco17", "halpe26", "hand21", "wholebody133"])
def test_a_mirror_exchanges_left_and_right(name: str) -> None:
    skeleton = Skeleton.load(name)
    order = skeleton.flip_order
    np.testing.assert_array_equal(order[order], np.arange(len(skeleton)))
    for k, keypoint in enumerate(skeleton.keypoints):
        if keypoint.startswith(("left_", "right_")):
            other = keypoint.split("_", 1)
            mirrored = {"left": "right", "right": "left"}[other[0]] + "_" + other[1]
            assert skeleton.keypoints[order[k]] == mirrored
            assert skeleton.side(k) == other[0]
    for a, b in skeleton.limbs:  # a limb's mirror image is a limb
        assert {(order[a], order[b]), (order[b], order[a])} & set(skeleton.limbs)


@pytest.mark.parametrize(
    ("ours", "module"),
    [("halpe26", "halpe26"), ("wholebody133", "coco133"), ("hand21", "hand21")],
)
def test_the_order_of_keypoints_is_the_public_one(ours: str, module: str) -> None:
    pytest.importorskip("rtmlib", reason="needs rtmlib, see the Makefile")
    public = pytest.importorskip(f"rtmlib.visualization.skeleton.{module}")
    rows = list(getattr(public, module)["keypoint_info"].values())
    names = [row["name"] for row in rows]
    skeleton = Skeleton.load(ours)
    assert [name.replace("-", "_") for name in names] == list(skeleton.keypoints)
    swaps = [names.index(row["swap"] or row["name"]) for row in rows]
    np.testing.assert_array_equal(skeleton.flip_order, swaps)


def test_the_face_of_the_whole_body_mirrors_at_the_nose() -> None:
    """Points of the jaw, the brows, the eyes' corners and the lips, from the person's right on."""
    skeleton = Skeleton.load("wholebody133")
    order = skeleton.flip_order[23:91] - 23
    for right, left in (
        (0, 16),
        (7, 9),
        (17, 26),
        (21, 22),
        (36, 45),
        (39, 42),
        (48, 54),
        (59, 55),
    ):
        assert order[right] == left
        assert (skeleton.side(23 + right), skeleton.side(23 + left)) == ("right", "left")
    for middle in (8, 27, 30, 33, 51, 57, 62, 66):
        assert order[middle] == middle


def test_every_bundled_model_is_listed_with_its_licence() -> None:
    """And no figure stands without how it was measured."""
    text = resources.files("poised").joinpath("models", "known.yaml").read_text("utf-8")
    rows = yaml.safe_load(text)
    assert set(bundled_models()) <= {row["name"] for row in rows}
    for row in rows:
        assert {"name", "use", "licence", "source"} <= set(row)
        assert ("figures" in row) == ("measured" in row)
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0, result.output
    for row in rows:
        assert row["name"] in result.output
