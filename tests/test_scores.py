"""OKS and suppression: parity with the public code, hand-worked cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poised.boxes.nms import iou, nms, soft_nms
from poised.scores import chances_near, expected_oks, mean_above, oks, oks_nms
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
    got = mean_above(np.array([[0.8, 0.6, 0.1], [0.1, 0.1, 0.0]]), 0.2)
    np.testing.assert_allclose(got, [0.7, 0], rtol=1e-6)


def test_a_joints_chance_is_what_its_map_holds_within_reach() -> None:
    """A square as large as a disc of radius 2.4 reaches sqrt(pi) / 2 x 2.4 = 2.127 px each way.

    Of a flat map, 1/400 a pixel, it holds (2 x 2.127)^2 / 400; in a corner a fourth, and the half
    pixels about the corner's own.
    """
    flat = np.full((1, 3, 20, 20), 1 / 400, np.float32)
    xy = np.array([[[10.0, 9.0], [10.3, 9.7], [0.0, 0.0]]])
    half = np.sqrt(np.pi) / 2 * 2.4
    want = [(2 * half) ** 2 / 400, (2 * half) ** 2 / 400, (half + 0.5) ** 2 / 400]
    np.testing.assert_allclose(chances_near(flat, xy, np.array([2.4]))[0], want, rtol=1e-5)
    sure = np.zeros((1, 1, 20, 20), np.float32)
    sure[0, 0, 9, 10] = 1
    for x, chance in ((10.0, 1), (11.7, 0.927), (12.6, 0.027), (13.0, 0)):  # 2.627 - 1.7 and so on
        got = chances_near(sure, np.array([[[x, 9.0]]]), np.array([2.4]))
        np.testing.assert_allclose(got, chance, atol=1e-3)


def test_the_expected_oks_of_sure_wide_and_absent_joints() -> None:
    """Sides 20, 20: area 0.53 x 400 = 212; sigma 0.1 is a tolerance of 0.2 sqrt(212) = 2.912 px.

    A sure joint's similarity is 1; one that may as well be 2.912 px beside has (1 + exp(-1/2)) / 2;
    one that is nowhere has none, nor is it expected. With n expected joints the sum is divided by
    n + 1.
    """
    maps = np.zeros((2, 3, 30, 30), np.float32)
    maps[:, 0, 10, 10] = 1
    maps[0, 1, 15, 15] = 0.5
    maps[0, 1, 15, 18] = 0.5
    xy = np.array([[[10.0, 10], [15, 15], [4, 4]], [[10, 10], [0, 0], [0, 0]]])
    sides, sigmas = np.full((2, 2), 20.0), np.full(3, 0.1)
    wide = (1 + np.exp(-0.5 * (3 / (0.2 * np.sqrt(212))) ** 2)) / 2
    got = expected_oks(maps, xy, sides, sigmas)
    np.testing.assert_allclose(got, [(1 + wide) / 3, 1 / 2], rtol=1e-5)
