"""What the page computes in a browser equals what Python computes; run by node."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from poised.boxes.letterbox import letterbox
from poised.boxes.nms import nms
from poised.crops import crop_matrices, cut, grown
from poised.heatmaps import decode, merge_flip
from poised.scores import chances_near, expected_oks, oks_nms
from poised.types import Skeleton

SIZE, MEAN, STD = (48, 64), (123.0, 116.0, 103.0), (58.0, 57.0, 57.5)
PADDING, BLACKED, OVERLAP, SIGMA = 1.15, 1.1, 0.5, 1.0
SIZES = [(40, 30), (33, 77), (101, 77), (150, 120)]  # smaller, one side alone, as it is, larger
SKELETON = Skeleton.load("coco17")


@pytest.fixture(scope="module")
def given() -> dict[str, Any]:
    """Random input: noise, which shows every wrong pixel, boxes that leave the picture, maps."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (77, 101, 3), np.uint8)
    boxes = np.array(
        [[10, 5, 40, 60], [-20, -9, 50, 40], [70.3, 30.6, 60.2, 20.1], [0, 0, 101, 77]]
    )
    low = rng.uniform(0, 60, (40, 2))
    poses = rng.uniform(0, 60, (8, 17, 2)).repeat(5, axis=0) + rng.normal(0, 3, (40, 17, 2))
    at = rng.uniform(-1, 12, (2, 17, 2))
    grid = np.mgrid[:16, :12][::-1].transpose(1, 2, 0)
    maps = np.exp(-((grid - at[:, :, None, None]) ** 2).sum(-1) / 2) + rng.normal(0, 0.01, (16, 12))
    return {
        "image": image,
        "boxes": boxes,
        "corners": np.concatenate([low, low + rng.uniform(10, 40, (40, 2))], 1),
        "scores": rng.permutation(40).round(-1) / 40,  # equal ones among them
        "poses": poses,
        "areas": rng.uniform(500, 2000, 40),
        "maps": maps.astype(np.float32),
        "sides": np.array([[9.0, 13.0]]),
    }


@pytest.fixture(scope="module")
def answers(given: dict[str, Any]) -> dict[str, Any]:
    """What the page's modules make of it."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node to run the page's modules; it is not installed")
    height, width = given["image"].shape[:2]
    rgba = np.dstack([given["image"], np.full((height, width), 255, np.uint8)])
    asked = {
        "picture": {"width": width, "height": height, "data": rgba.ravel().tolist()},
        "maps": {
            "joints": 17,
            "width": 12,
            "height": 16,
            "values": given["maps"].ravel().tolist(),
            "pairs": SKELETON.pairs,
            "sides": given["sides"][0].tolist(),
        },
        **{name: given[name].tolist() for name in ("boxes", "corners", "scores", "poses", "areas")},
        **{"size": SIZE, "sizes": SIZES, "mean": MEAN, "std": STD, "padding": PADDING},
        **{"blacked": BLACKED, "overlap": OVERLAP, "sigma": SIGMA},
        "sigmas": SKELETON.sigmas.tolist(),
    }
    script = Path(__file__).with_name("page_units.mjs")
    done = subprocess.run(
        [node, str(script)], input=json.dumps(asked), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def level(got: Any, want: np.ndarray[Any, Any], unlike: float = 0.02) -> None:
    """Grey levels are the same, but for roundings: 1 level, in a share of them at most."""
    away = np.abs(np.asarray(got, int) - want.astype(int).ravel())
    assert away.max() <= 1
    assert (away > 0).mean() < unlike


def test_pictures_shrink_and_grow_as_opencv_does(
    given: dict[str, Any], answers: dict[str, Any]
) -> None:
    for size, got in zip(SIZES, answers["resized"], strict=True):
        grows = size > (101, 77)
        way = cv2.INTER_LINEAR if grows else cv2.INTER_AREA
        unlike = 0.2 if grows else 0.02  # OpenCV grows by shares of 1/2048
        level(got, cv2.resize(given["image"], size, interpolation=way), unlike)


def test_a_letterboxed_picture_is_python_s(given: dict[str, Any], answers: dict[str, Any]) -> None:
    want, _, _ = letterbox(given["image"], SIZE, mean=MEAN, std=STD, pad=MEAN, area=True)
    away = np.abs(np.asarray(answers["letterbox"]) - want.ravel())
    assert away.max() < 1.01 / min(STD)
    assert (away > 1e-5).mean() < 0.02


def test_crops_are_python_s(given: dict[str, Any], answers: dict[str, Any]) -> None:
    matrices = crop_matrices(given["boxes"], SIZE, padding=PADDING)
    for box, matrix, got in zip(given["boxes"], matrices, answers["crops"], strict=True):
        np.testing.assert_allclose(got["matrix"], matrix, atol=1e-9)
        level(got["whole"], cut(given["image"], matrix, SIZE))
        level(got["blacked"], cut(given["image"], matrix, SIZE, inside=grown(box, BLACKED)))


def test_boxes_and_poses_kept_are_python_s(given: dict[str, Any], answers: dict[str, Any]) -> None:
    assert answers["nms"] == nms(given["corners"], given["scores"], OVERLAP).tolist()
    poses = (given["poses"], given["areas"], given["scores"])
    want = oks_nms(*poses, SKELETON.sigmas, OVERLAP).tolist()
    assert answers["oks"] == want
    assert 1 < len(want) < 40  # some were dropped


def test_maps_are_merged_and_decoded_as_in_python(
    given: dict[str, Any], answers: dict[str, Any]
) -> None:
    maps = merge_flip(given["maps"][:1], given["maps"][1:], SKELETON.flip_order, shift=False)
    np.testing.assert_allclose(answers["merged"], maps.ravel(), atol=1e-6)
    xy, _ = decode(maps, "unbiased", SIGMA)
    np.testing.assert_allclose(answers["places"], xy[0], atol=1e-3)
    maps /= np.float32(2 * math.pi * SIGMA**2)
    score = chances_near(maps, xy, 0.1 * given["sides"].max(1))
    np.testing.assert_allclose(answers["scores"], score[0], atol=1e-4)
    quality = expected_oks(maps, xy, given["sides"], SKELETON.sigmas)
    np.testing.assert_allclose(answers["quality"], quality[0], atol=1e-4)
