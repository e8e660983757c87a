"""What mending each kind of error gains, where the gain is known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval", reason="needs poised[train]")

from poised.datasets.coco import people_of
from poised.metrics.errors import KINDS, error_kinds
from poised.metrics.evaluation import Evaluation, score_people, score_results
from poised.metrics.mending import MENDED, OF_KEYPOINTS, gains, mended_figures
from poised.types import Skeleton

SKELETON = Skeleton.load("coco17")
LIMBS = np.arange(5, 17)
ROW = np.stack([40.0 * np.arange(17), np.full(17, 50.0)], -1)  # area 100^2: a unit is 5 to 21 px
SIGMA = 2 * SKELETON.sigmas.astype(np.float64) * 100  # pixels


def scored(poses: list[tuple[int, float, np.ndarray]], people: list[int]) -> Evaluation:
    """People of these images, all at ROW, and poses: image, score, (K, 2)."""
    images = sorted({*people, *(image for image, _, _ in poses)})
    seen = np.concatenate([ROW, np.full((17, 1), 2)], 1).ravel().tolist()
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "width": 700, "height": 100} for i in images],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 1, "area": 1e4, "bbox": [0, 0, 700, 100]}
            | {"keypoints": seen, "num_keypoints": 17, "iscrowd": 0}
            for n, i in enumerate(people, 1)
        ],
    }
    results = [
        {"image_id": image, "category_id": 1, "score": score}
        | {"keypoints": np.concatenate([xy, np.ones((17, 1))], 1).ravel().tolist()}
        for image, score, xy in poses
    ]
    protocol = {"dataset": "coco"}
    everything = list(range(17))
    everybody = people_of(truth, Path())
    return score_results("coco", SKELETON, truth, everybody, results, protocol, everything)


def changed(kind: str) -> np.ndarray:
    """ROW with limbs of one kind of error."""
    xy = ROW.copy()
    if kind == "inversion":
        xy[LIMBS] = ROW[SKELETON.flip_order][LIMBS]
    elif kind == "jitter":
        xy[LIMBS, 1] += SIGMA[LIMBS]  # similarity exp(-1/2)
    else:
        xy[LIMBS, 1] += 1000
    return xy


@pytest.mark.parametrize("kind", ["jitter", "inversion", "miss"])
def test_a_set_with_one_kind_of_error_gains_all_by_mending_it(kind: str) -> None:
    done = scored([(1, 0.9, ROW), (2, 0.8, changed(kind))], [1, 2])
    assert set(error_kinds(done.matched).ravel()) == {0, KINDS.index(kind)}
    assert done.figures["AP"] < 99
    gained = gains(done)
    assert gained.pop(kind) == pytest.approx(100 - done.figures["AP"])
    assert set(gained.values()) == {0}


def test_false_and_missed_people_and_scores_in_the_wrong_order() -> None:
    """One right pose under a false one: precision 1/2 at every recall. One of two people found:
    precision 1 at 51 of the 101 recalls."""
    none = dict.fromkeys(MENDED, 0.0)
    false = scored([(1, 0.5, ROW), (2, 0.9, ROW)], [1])
    assert false.figures["AP"] == 50
    assert gains(false) == none | {"false": 50, "scoring": 50}
    assert false.matched.spare.tolist() == [1]
    missed = scored([(1, 0.5, ROW)], [1, 2])
    assert missed.figures["AP"] == pytest.approx(100 * 51 / 101, abs=1e-3)
    assert gains(missed) == pytest.approx(none | {"missed": 100 * 50 / 101}, abs=1e-3)
    twice = scored([(1, 0.9, changed("jitter")), (1, 0.5, ROW)], [1])
    assert twice.matched.spare.tolist() == [1]  # the worse pose got the person
    scoring = gains(twice)["scoring"]
    assert scoring == pytest.approx(100 - twice.figures["AP"])
    nobody = gains(scored([], [1]))
    assert np.isnan(nobody.pop("missed"))  # nobody is left to be found
    assert set(nobody.values()) == {0}


def test_all_kinds_together_are_all_that_is_wrong(shared: Path) -> None:
    """Good keypoints stay where they are, at 0.85 or more: so AP.5 and AP.75 are full."""
    folder = shared / "reference"
    for name in ("coco", "coco_hard"):
        truth = json.loads((folder / f"{name}_gt.json").read_text())
        found = json.loads((folder / f"{name}_predictions.json").read_text())
        people = people_of(truth, Path())
        protocol = {"dataset": "coco"}
        done = score_results("coco", SKELETON, truth, people, found, protocol, list(range(17)))
        kinds = error_kinds(done.matched)
        assert done.figures["AP.75"] < 90
        after = mended_figures(done, kinds, MENDED)
        assert after["AP.5"] == after["AP.75"] == after["AR.75"] == 100
        assert min(mended_figures(done, kinds, [kind])["AP"] for kind in OF_KEYPOINTS) > 0


def test_a_pck_sets_gains_are_its_shares_of_errors() -> None:
    """Of 28 labelled joints 2 are exchanged, 2 within twice the limit, 1 far from all."""
    skeleton = Skeleton.load("lsp14")
    shoulder, hip, right, top, neck = (
        skeleton.keypoints.index(name)
        for name in ("left_shoulder", "right_hip", "right_shoulder", "head_top", "neck")
    )
    xy = ROW[:14].copy()
    xy[shoulder] = xy[hip] + [0, 40]  # torsos of 40 px: the limit is 8, no neighbour within 16
    seen = np.concatenate([xy, np.full((14, 1), 2)], 1).ravel().tolist()
    truth = {
        "images": [{"id": i, "file_name": f"{i}.jpg"} for i in (1, 2)],
        "annotations": [
            {"image_id": i, "bbox": [0, 0, 600, 100], "keypoints": seen} for i in (1, 2)
        ],
    }
    given = np.stack([xy, xy])
    given[0, [shoulder, right]] = xy[[right, shoulder]]
    given[:, top, 1] += 15
    given[1, neck, 1] -= 1000
    people, every = people_of(truth, Path()), list(range(14))
    done = score_people("lsp", skeleton, people, given, {"dataset": "lsp"}, every)
    gained = gains(done)
    want = {"jitter": 2, "inversion": 2, "swap": 0, "miss": 1}
    assert gained == pytest.approx({k: 100 * n / 28 for k, n in want.items()}, abs=2e-3)
    assert done.figures["labelled mean"] + sum(gained.values()) == pytest.approx(100, abs=1e-2)
    assert done.matched.likeness == pytest.approx([11 / 14, 12 / 14])
