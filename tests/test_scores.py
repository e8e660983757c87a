"""OKS and suppression: parity with the public code, hand-worked cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poised.boxes.nms import iou, nms, soft_nms
from poised.scores import oks, oks_nms, pose_scores
from poised.types import Skeleton

CASES = range(5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("threshold", ["0.3", "0.5", "0.7"])
def test_hard_nms_equals_the_reference(shared: Path, case: int, threshold: str) -> None:
    data = np.load(shared / "reference" / "nms.npz")
    dets = data[f"dets_{case}"]
    kept = nms(dets[:, :4], dets[:, 4], float(threshold), plus_one=True)
    np.testing.assert_array_equal(kept, data[f"hard_keep_{case}_{threshold}"])


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["linear", "gaussian"])
def test_soft_nms_equals_the_reference(shared: Path, case: int, kind) -> None:
    data = np.load(shared / "reference" / "nms.npz")
    dets = data[f"dets_{case}"]
    kept, scores = soft_nms(dets[:, :4], dets[:, 4], kind, plus_one=True)
    np.testing.assert_array_equal(kept, data[f"soft_{kind}_index_{case}"])
    np.testing.assert_allclose(scores, data[f"soft_{kind}_{case}"][:, 4], atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_oks_and_its_nms_equal_the_reference(shared: Path, case: int) -> None:
    data = np.load(shared / "reference" / "nms.npz")
    if f"oks_area_{case}" not in data:
        pytest.skip("no such OKS case in the reference")
    xy, area = data[f"oks_keypoints_{case}"][..., :2], data[f"oks_area_{case}"]
    sigmas = Skeleton.load("coco17").sigmas
    np.testing.assert_allclose(
        oks(xy, xy, area, area, sigmas), data[f"oks_matrix_{case}"], atol=1e-6
    )
    for threshold in ("0.5", "0.7", "0.9"):
        for kind, key in (("hard", "oks_keep"), ("soft", "soft_oks_keep")):
            kept = oks_nms(xy, area, data[f"oks_score_{case}"], sigmas, float(threshold), kind)
            np.testing.assert_array_equal(kept, data[f"{key}_{case}_{threshold}"])


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (2, np.exp(-0.5)), (4, np.exp(-2.0))])
def test_oks_of_a_shifted_pose(shift: int, expected: float) -> None:
    """sigma 0.1 and area 100 make the tolerance 2 * 0.1 * sqrt(100) = 2 px: exp(-(d/2)^2 / 2)."""
    truth = np.zeros((1, 3, 2))
    labelled = np.array([[True, True, False]])
    area = np.array([100.0])
    got = oks(truth + np.array([shift, 0]), truth, area, area, np.full(3, 0.1), labelled)
    assert got[0, 0] == pytest.approx(expected)


def test_soft_nms_by_hand() -> None:
    """Two boxes of 10 x 10, 5 apart: IoU 50 / 150 = 1/3, so 0.8 x (1 - 1/3) or x exp(-2/9)."""
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [100, 100, 110, 110]], float)
    score = np.array([0.9, 0.8, 0.7])
    kept, scores = soft_nms(boxes, score, "linear")
    assert kept.tolist() == [0, 2, 1]
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.8 * 2 / 3])
    _, scores = soft_nms(boxes, score, "gaussian", sigma=0.5)
    np.testing.assert_allclose(scores, [0.9, 0.7, 0.8 * np.exp(-2 / 9)])
    assert iou(boxes, boxes)[0].tolist() == pytest.approx([1, 1 / 3, 0])


def test_no_boxes_are_no_boxes() -> None:
    none = np.zeros((0, 4)), np.zeros(0)
    assert len(nms(*none, 0.5)) == 0
    assert len(soft_nms(*none)[0]) == 0


def test_pose_score_counts_keypoints_over_the_threshold() -> None:
    got = pose_scores(np.array([0.5, 0.5]), np.array([[0.8, 0.6, 0.1], [0.1, 0.1, 0.0]]), 0.2)
    np.testing.assert_allclose(got, [0.5 * 0.7, 0])
