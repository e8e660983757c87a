"""Geometry: parity with HRNet's, inverses, and labels that follow their pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poised.augment import augmented_matrix, flip_points, half_body_box, jitter_colour
from poised.crops import (
    apply,
    clean_boxes,
    crop_matrices,
    crop_to_heatmap,
    cut,
    heatmap_to_crop,
    invert,
)
from poised.types import Skeleton

CROPS = {"192x256": (192, 256), "288x384": (288, 384), "256x256": (256, 256)}
SKELETONS = ["coco17", "crowdpose14", "mpii16", "lsp14", "flic"]


@pytest.mark.parametrize("name", CROPS)
def test_classic_matrices_equal_the_reference(shared: Path, name: str) -> None:
    data = np.load(shared / "reference" / "crop_geometry.npz")
    for place, angle in enumerate(data["rotations_deg"]):
        got = crop_matrices(data["boxes_xywh"], CROPS[name], rotation=angle, kind="classic")
        want = data[f"matrix_{name}"][:, place]
        np.testing.assert_array_less(np.abs(got - want), 1e-3 * (1 + np.abs(want)))
        points = np.broadcast_to(data["points_in_crop"], (60, 12, 2))
        back = apply(invert(got), points)
        np.testing.assert_allclose(back, data[f"points_in_image_{name}"][:, place], atol=2e-4)


def test_cleaned_boxes_equal_the_reference(shared: Path) -> None:
    data = np.load(shared / "reference" / "crop_geometry.npz")
    got = clean_boxes(data["boxes_xywh"], data["image_sizes_wh"])
    np.testing.assert_allclose(got, data["cleaned_boxes_xywh"], atol=1e-4)
    assert np.isnan(got).any()  # the rejected ones are among them


def test_crop_pixels_are_opencvs(shared: Path) -> None:
    data = np.load(shared / "reference" / "crop_pixels.npz")
    for box in range(4):
        for place, angle in enumerate(data["rotations_deg"]):
            matrix = crop_matrices(
                data["boxes_xywh"][box], (96, 128), rotation=angle, kind="classic"
            )
            crop = cut(data["image"], matrix[0], (96, 128), "classic")
            difference = np.abs(crop.astype(int) - data["crops"][box, place])
            assert difference.mean() < 1e-3  # OpenCV 5's own cut: 0.06
            assert difference.max() <= 1


@pytest.mark.parametrize("point", [(70, 40), (90, 100), (61, 139)])
@pytest.mark.parametrize("seed", range(12))
def test_keypoint_lands_where_its_pixel_lands(point: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = np.zeros((200, 160, 3), np.uint8)
    image[point[1] - 2 : point[1] + 3, point[0] - 2 : point[0] + 3] = 255
    matrix, _ = augmented_matrix(
        np.array([20, 10, 120, 170]), (192, 256), rng,
        flip=0.5, rotate=40, scale=(0.9, 1.2), shift=0.05,
    )  # fmt: skip
    light = cut(image, matrix, (192, 256))[..., 0].astype(float)
    rows, columns = np.indices(light.shape)
    centroid = np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()
    np.testing.assert_allclose(
        apply(matrix[None], np.array([[point]]))[0, 0], centroid, atol=0.1
    )  # OpenCV: 1/32 px


def test_unbiased_box_centre_goes_to_the_middle_of_the_crop() -> None:
    matrix = crop_matrices(np.array([[10.0, 20.0, 30.0, 40.0]]), (30, 40), padding=1.0)
    np.testing.assert_allclose(
        apply(matrix, np.array([[[10.0, 20.0], [39.0, 59.0]]]))[0], [[0, 0], [29, 39]]
    )


def test_unbiased_frames_are_symmetric_under_a_mirror() -> None:
    """A heatmap of 48 over a crop of 192: pixel h mirrors to 47 - h, and crop x to 191 - x."""
    h = np.array([[3.25, 7.0]])
    mirrored = h * [-1, 1] + [47, 0]
    here, there = heatmap_to_crop(h, 4, "unbiased"), heatmap_to_crop(mirrored, 4, "unbiased")
    np.testing.assert_allclose(there[:, 0], 191 - here[:, 0])


boxes = st.tuples(st.floats(-100, 500), st.floats(-100, 500), st.floats(2, 800), st.floats(2, 800))


@given(boxes, st.floats(-180, 180), st.sampled_from(["classic", "unbiased"]))
def test_the_inverse_undoes_the_matrix(box, angle, kind) -> None:
    points = np.array([[[0.0, 0.0], [150.0, 20.0], [33.3, 250.0]]])
    matrix = crop_matrices(np.array([box]), (192, 256), rotation=angle, kind=kind)
    np.testing.assert_allclose(apply(matrix, apply(invert(matrix), points)), points, atol=1e-6)
    np.testing.assert_allclose(
        crop_to_heatmap(heatmap_to_crop(points, 4, kind), 4, kind), points, atol=1e-9
    )


@given(st.lists(boxes, min_size=2, max_size=5))
def test_a_batch_of_boxes_is_each_box_alone(many) -> None:
    together = crop_matrices(np.array(many), (192, 256))
    alone = [crop_matrices(np.array([box]), (192, 256))[0] for box in many]
    np.testing.assert_array_equal(together, alone)


@pytest.mark.parametrize("name", ["coco17", "mpii16"])
def test_mirrored_joints_equal_the_reference(shared: Path, name: str) -> None:
    data = np.load(shared / "reference" / "flip_merge.npz")
    width = int(np.ravel(data[f"joints_image_width_{name}"])[0])
    visible = data[f"joints_visible_{name}"] > 0
    got, _ = flip_points(data[f"joints_xy_{name}"], visible, width, Skeleton.load(name).flip_order)
    np.testing.assert_allclose(got, data[f"mirrored_joints_xy_{name}"], atol=1e-4)


@pytest.mark.parametrize("name", SKELETONS)
def test_two_mirrors_are_none(name: str) -> None:
    skeleton = Skeleton.load(name)
    xy = np.random.default_rng(1).random((4, len(skeleton), 2)) * 100
    visible = np.ones(xy.shape[:2], bool)
    once = flip_points(xy, visible, 100, skeleton.flip_order)
    twice, _ = flip_points(*once, 100, skeleton.flip_order)
    np.testing.assert_allclose(twice, xy)
    assert not np.allclose(once[0], xy)


def test_half_body_holds_the_joints_of_one_half() -> None:
    skeleton = Skeleton.load("lsp14")
    xy = np.stack([np.arange(14.0) * 3, np.arange(14.0) ** 2], -1)
    lower = list(skeleton.groups["lower"])
    seen = np.zeros(14, bool)
    seen[lower] = True
    x, y, w, h = half_body_box(xy, seen, skeleton, np.random.default_rng(0))
    low, high = xy[lower].min(0), xy[lower].max(0)
    np.testing.assert_allclose([x + w / 2, y + h / 2], (low + high) / 2)
    np.testing.assert_allclose([w, h], (high - low) * 1.5)
    assert half_body_box(xy, np.zeros(14, bool), skeleton, np.random.default_rng(0)) is None


def test_colour_without_strength_is_no_change() -> None:
    crop = np.random.default_rng(0).integers(0, 256, (8, 9, 3)).astype(np.uint8)
    np.testing.assert_array_equal(jitter_colour(crop, 0.0, np.random.default_rng(0)), crop)
    assert (jitter_colour(crop, 0.5, np.random.default_rng(0)) != crop).any()


@pytest.mark.parametrize("kind", ["classic", "unbiased"])
def test_an_image_beyond_fixed_points_reach_is_cut(kind: str) -> None:
    image = np.zeros((20, 40000, 3), np.uint8)
    image[8:13, 39000:39005] = 255
    box = np.array([[38980.0, 0.0, 45.0, 20.0]])
    matrix = crop_matrices(box, (192, 96), kind=kind)
    crop = cut(image, matrix[0], (192, 96), kind)
    y, x = np.argwhere(crop[..., 0] > 200).mean(0)
    np.testing.assert_allclose([x, y], apply(matrix, np.array([[[39002.0, 10.0]]]))[0, 0], atol=0.7)
