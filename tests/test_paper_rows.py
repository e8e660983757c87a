"""Recipes stand for a paper's rows: what the papers' words and released code say of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")

from poised.bundled import recipe_names
from poised.cost import measure_cost
from poised.datasets.person import Person
from poised.evaluate import TOTAL
from poised.metrics.evaluation import score_people
from poised.read_recipe import load_recipe
from poised.types import Skeleton


@pytest.mark.parametrize(
    ("name", "decoder", "kind", "sigma"),
    [
        ("cpn", "gaussian", "classic", 1.4),  # §4.1; tf-cpn's 7x7 blur
        ("cpn-384x288", "gaussian", "classic", 1.7),
        ("csanet", "second", "exact", 2.0),  # §4.1; eq. 1
        ("csanet-384x288", "second", "exact", 3.0),
        ("efafnet", "second", "exact", 1.0),  # §IV-A; "centered on the groundtruth location"
        ("multi_context", "quarter", "exact", 1.0),
        ("spcnet", "argmax", "exact", 1.0),  # eqs. 5, 7
        ("spcnet-flic", "argmax", "exact", 1.0),
    ],
)
def test_targets_and_decoders_are_the_sources(
    name: str, decoder: str, kind: str, sigma: float
) -> None:
    recipe = load_recipe(name)
    assert recipe.input.crop == "classic"
    assert (recipe.test.decoder, recipe.test.shift) == (decoder, True)
    assert (recipe.target.kind, recipe.target.sigma) == (kind, sigma)


def test_rows_of_public_code_train_and_decode_as_it_does() -> None:
    """Simple Baseline's and HRNet's: Gaussians on a pixel, normal draws, a quarter by the sign."""
    rows = [load_recipe(name) for name in recipe_names()]
    rows = [row for row in rows if row.network.name in ("simple_baseline", "hrnet")]
    assert len(rows) > 12
    for row in rows:
        assert (row.target.kind, row.test.decoder) == ("classic", "quarter"), row.name
        assert (row.augment.spread, row.augment.rotated) == ("normal", 0.6), row.name
        assert row.input.clean_boxes == (row.dataset.name in ("coco", "crowdpose")), row.name


def test_no_test_box_is_made_of_the_joints_to_be_found() -> None:
    for name in ("spcnet-lsp", "multi_context-lsp"):
        assert load_recipe(name).test.boxes == "image"


def test_crowdposes_boxes_grow_by_30_percent_in_all() -> None:
    for name in ("efafnet-crowdpose", "efafnet-crowdpose-sbn"):
        recipe = load_recipe(name)
        assert recipe.export.padding * recipe.test.enlarge == pytest.approx(1.3)


def test_flics_total_is_the_mean_of_elbow_and_wrist() -> None:
    """Torso 100: elbows within 20 in three of four, wrists in one of two; hips never count."""
    skeleton = Skeleton.load("flic")
    place = {name: index for index, name in enumerate(skeleton.keypoints)}
    xy = np.zeros((2, 11, 2))
    xy[:, place["left_hip"]] = 100, 0  # right shoulder to left hip is the length
    people = [Person(Path("a.jpg"), np.array([0.0, 0, 9, 9]), p, np.ones(11, np.bool_)) for p in xy]
    found = xy.copy()
    found[0, place["left_elbow"]] += 21
    found[:, place["right_wrist"]] += 21
    found[:, place["nose"]] += 50
    done = score_people("flic", skeleton, people, found, {}, list(range(11)))
    assert (done.figures["Elbow"], done.figures["Wrist"]) == (75, 50)
    assert done.figures[TOTAL["flic"]] == 62.5
    reported = load_recipe("spcnet-flic").reported[0].figures
    both = (reported["Elbow"] + reported["Wrist"]) / 2
    assert reported["Total"] == pytest.approx(both, abs=0.05)


def test_cpns_megabytes_are_of_two_to_the_twenty() -> None:
    """A plain ResNet-50: 23.8M numbers are 90.9 such, and 95.3 of 10^6 bytes; Table 3 has 92."""
    cost = measure_cost(load_recipe("cpn-resnet50-dilated0"))
    (published,) = [p.figures["MB"] for p in cost.published if "MB" in p.figures]
    assert cost.mib == pytest.approx(published, rel=0.015)
