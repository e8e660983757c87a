"""Targets and decoding: parity with HRNet's, closed forms, batch equal to one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poised.crops import apply, crop_matrices, heatmap_to_crop, invert
from poised.heatmaps import (
    blur,
    decode,
    encode_classic,
    encode_gaussian,
    flip_back,
    merge_flip,
    merge_scales,
)
from poised.types import Skeleton

METHODS = ["argmax", "quarter", "second", "gaussian", "unbiased"]


@pytest.mark.parametrize(
    ("name", "size", "sigma"),
    [
        ("48x64_s2", (48, 64), 2),
        ("72x96_s3", (72, 96), 3),
        ("64x64_s1", (64, 64), 1),
        ("64x64_s2", (64, 64), 2),
    ],
)
def test_classic_targets_equal_the_reference(shared: Path, name: str, size, sigma: int) -> None:
    data = np.load(shared / "reference" / "heatmap_targets.npz")
    visible = data[f"visible_{name}"].reshape(8, -1) > 0
    target, weight = encode_classic(data[f"joints_{name}"], visible, size, sigma)
    np.testing.assert_allclose(target, data[f"target_{name}"], atol=1e-6)
    np.testing.assert_array_equal(weight, data[f"weight_{name}"].reshape(8, -1))


@pytest.mark.parametrize(
    ("name", "size"), [("48x64", (192, 256)), ("72x96", (288, 384)), ("64x64", (256, 256))]
)
def test_decoding_equals_the_reference(shared: Path, name: str, size) -> None:
    data = np.load(shared / "reference" / "heatmap_decode.npz")
    maps, boxes = data[f"heatmaps_{name}"], data[f"boxes_xywh_{name}"]
    xy, score = decode(maps, "argmax")
    np.testing.assert_array_equal(xy, data[f"argmax_xy_{name}"])
    np.testing.assert_array_equal(score, data[f"maxval_{name}"].reshape(score.shape))
    back = invert(crop_matrices(boxes, size, kind="classic"))
    for method in ("argmax", "quarter"):
        image_xy = apply(back, heatmap_to_crop(decode(maps, method)[0], 4, "classic"))
        np.testing.assert_allclose(image_xy, data[f"image_xy_{method}_{name}"], atol=1e-4)


@pytest.mark.parametrize("name", ["coco17", "mpii16"])
def test_flip_merge_equals_the_reference(shared: Path, name: str) -> None:
    data = np.load(shared / "reference" / "flip_merge.npz")
    order = Skeleton.load(name).flip_order
    maps, mirrored = data[f"maps_{name}"], data[f"mirrored_maps_{name}"]
    np.testing.assert_array_equal(flip_back(mirrored, order), data[f"flipped_back_{name}"])
    np.testing.assert_array_equal(merge_flip(maps, mirrored, order, False), data[f"merged_{name}"])
    np.testing.assert_array_equal(
        merge_flip(maps, mirrored, order, True), data[f"merged_shifted_{name}"]
    )


def test_one_sigma_from_the_peak_is_exp_minus_half() -> None:
    maps = encode_gaussian(np.array([[[10.0, 20.0]]]), np.array([[True]]), size=(48, 64), sigma=2.0)
    assert maps.shape == (1, 1, 64, 48)  # a swapped axis fails here
    assert maps[0, 0, 20, 10] == 1.0
    np.testing.assert_allclose(maps[0, 0, 20, 12], np.exp(-0.5), rtol=1e-6)
    np.testing.assert_allclose(maps.sum(), 2 * np.pi * 2.0**2, rtol=1e-3)  # integral: 2 pi sigma^2


@settings(max_examples=40, deadline=None)
@given(st.floats(8, 39), st.floats(8, 55), st.sampled_from([1.5, 2.0, 3.0]))
def test_unbiased_decoding_finds_the_centre(x: float, y: float, sigma: float) -> None:
    maps = encode_gaussian(np.array([[[x, y]]]), np.array([[True]]), (48, 64), sigma)
    np.testing.assert_allclose(decode(maps, "unbiased", sigma)[0][0, 0], [x, y], atol=0.02)
    np.testing.assert_allclose(decode(maps, "quarter")[0][0, 0], [x, y], atol=0.26)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_each_map_alone(method) -> None:
    maps = np.random.default_rng(3).random((3, 5, 16, 12)).astype(np.float32)
    together = decode(maps, method)[0]
    for person in range(3):
        for joint in range(5):
            alone = decode(maps[person : person + 1, joint : joint + 1], method)[0]
            np.testing.assert_array_equal(together[person, joint], alone[0, 0])


@pytest.mark.parametrize("method", METHODS)
def test_empty_maps_give_the_origin_and_no_score(method) -> None:
    xy, score = decode(np.zeros((2, 3, 8, 6), np.float32), method)
    assert not xy.any()
    assert not score.any()


@pytest.mark.parametrize(
    ("others", "want"),
    [
        ({(12, 10): 0.5, (10, 14): 0.6}, (10, 10.25)),  # x, y: further off, but higher
        ({(13, 14): 0.5}, (10.15, 10.2)),  # 3 right and 4 down: 0.25 x (3/5, 4/5)
        ({(9, 10): 0.5, (11, 10): 0.4}, (9.75, 10)),
        ({(0, 0): 0.5}, (10 - 0.25 / 2**0.5, 10 - 0.25 / 2**0.5)),
        ({(11, 10): 0.5, (10, 9): 0.5}, (10, 9.75)),  # equal ones: the first in row order
        ({(11, 10): -0.5}, (10, 10)),  # no second response
    ],
)
def test_the_second_highest_pixel_draws_by_a_quarter(others: dict, want) -> None:
    maps = np.zeros((2, 1, 20, 16), np.float32)
    maps[:, 0, 10, 10] = 1
    for (x, y), value in others.items():
        maps[1, 0, y, x] = value
    xy, score = decode(maps, "second")
    np.testing.assert_array_equal(xy[0, 0], [10, 10])
    np.testing.assert_allclose(xy[1, 0], want, atol=1e-6)
    np.testing.assert_array_equal(score, 1)


def test_cpns_second_highest_is_that_of_the_blurred_maps() -> None:
    """A lone pixel far off draws a raw peak; a blurred one is drawn to its own shoulder."""
    maps = encode_gaussian(np.array([[[10.0, 12.4]]]), np.ones((1, 1), bool), (24, 24), 1.5)
    maps[0, 0, 2, 20] = 0.94  # the peak has 0.965 and 0.923
    raw, blurred = decode(maps, "second")[0][0, 0], decode(maps, "gaussian", 1.5)[0][0, 0]
    np.testing.assert_allclose(raw, [10 + 0.25 / 2**0.5, 12 - 0.25 / 2**0.5], atol=1e-6)
    np.testing.assert_allclose(blurred, [10, 12.25], atol=1e-6)


def test_blur_keeps_each_maximum() -> None:
    maps = np.random.default_rng(0).random((2, 3, 16, 12)).astype(np.float32)
    np.testing.assert_allclose(blur(maps, 2.0).max((2, 3)), maps.max((2, 3)), rtol=1e-5)


@pytest.mark.parametrize("sigma", [1.0, 2.0])
@pytest.mark.parametrize("method", ["gaussian", "unbiased"])
def test_a_joint_near_the_edge_stays_there(method: str, sigma: float) -> None:
    """Zeros beyond the edge, as CPN and DARK pad; a mirrored edge pulls 2 px onto 0."""
    xy = np.array([[[2.0, 20.0], [45.0, 2.0]]])
    maps = encode_gaussian(xy, np.ones((1, 2), bool), (48, 64), sigma)
    np.testing.assert_allclose(decode(maps, method, sigma)[0], xy, atol=0.3)


@pytest.mark.parametrize("method", METHODS)
def test_a_background_below_zero_hides_no_peak(method: str) -> None:
    maps = np.full((1, 2, 64, 48), -0.05, np.float32)
    maps[0, 0, 30, 20] = 0.3
    maps[0, 1, 5, 7] = -0.7  # no peak at all, but a pit
    xy, score = decode(maps, method)
    np.testing.assert_allclose(xy[0], [[20, 30], [0, 0]], atol=0.3)
    np.testing.assert_allclose(score[0], [0.3, -0.05])


@pytest.mark.parametrize("kind", ["classic", "unbiased"])
def test_a_larger_person_is_brought_back_to_scale_one(kind: str) -> None:
    """A joint 5 px right of the middle stands 6.25 px right of it at scale 1.25."""
    middle = np.array([24, 32]) - (0.5 if kind == "unbiased" else 0)
    scales, offset = [1.0, 1.25, 0.8], np.array([5.0, -10.0])
    pyramid = [
        encode_gaussian((middle + offset * s)[None, None], np.ones((1, 1), bool), (48, 64), 3 * s)
        for s in scales
    ]
    merged = merge_scales(pyramid, scales, kind)
    assert merged.shape == (1, 1, 64, 48)
    np.testing.assert_allclose(merged, pyramid[0], atol=0.03)
    flat = np.ones((1, 1, 64, 48), np.float32)
    np.testing.assert_allclose(merge_scales([flat, flat], [1.0, 0.8], kind), 1, atol=1e-6)
