"""What an estimator says of people whose heatmaps are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from models import NOTES, colour_model, constant_model

from poised import Boxes, Predictor
from poised.protocol import Protocol
from poised.runtime import ModelError

SIGMA = 1.5
BOX = Boxes(np.array([[20.0, 10, 30, 100]]), np.array([0.9]))
IMAGE = np.zeros((130, 80, 3), np.uint8)


def chances_model(path: Path, **changes: object) -> Path:
    """One of three joints is found: 0.6 at a heatmap pixel, 0.2 beside it and six beside it."""
    maps = np.zeros((1, 3, 32, 24))
    maps[0, 0, 20, [10, 11, 16]] = 0.6, 0.2, 0.2
    notes = NOTES | {"chances": True, "decoder": "argmax"} | changes
    value = maps * 2 * np.pi * SIGMA**2
    return constant_model(path, "heatmaps", value, [1, 3, 128, 96], notes=notes)


def test_scores_are_chances_within_a_tenth_of_the_longer_side(tmp_path: Path) -> None:
    """The box of 30 x 100 is cut 93.75 wide: a heatmap pixel is 93.75 / 24 = 3.906 image pixels.

    Within 10 of these lie the pixel and its neighbour, 3.9 away, not that 23.4 away. OKS: area
    0.53 x 30 x 100, sigma 0.1, tolerance 0.2 sqrt(1590) = 7.975; divided by the one joint that
    there is, and one.
    """
    predictor = Predictor.load(chances_model(tmp_path / "a.onnx"), detector=None, flip=False)
    found = predictor.predict(IMAGE, BOX)
    np.testing.assert_allclose(found.keypoint_score, [[0.8, 0, 0]], atol=1e-3)
    alike = np.exp(-0.5 * (np.array([0, 3.90625, 23.4375]) / (0.2 * np.sqrt(1590))) ** 2)
    quality = alike @ [0.6, 0.2, 0.2] / 2
    np.testing.assert_allclose(found.score, 0.9 * quality, rtol=2e-3)
    assert predictor.threshold == 0.5


@pytest.mark.parametrize("asked", [Protocol(counted=0.2), Protocol(scales=(0.5, 1.0))])
def test_a_papers_threshold_or_pyramid_has_the_maps_maxima(tmp_path: Path, asked) -> None:
    model = chances_model(tmp_path / "a.onnx")
    predictor = Predictor.load(model, detector=None, flip=False, protocol=asked)
    found = predictor.predict(IMAGE, BOX)
    np.testing.assert_allclose(found.keypoint_score[0, 0], 1)  # 8.5, cut
    np.testing.assert_allclose(found.score, 0.9, rtol=1e-6)
    assert predictor.threshold == 0.2


@pytest.mark.parametrize("change", [{"chances": False}, {"sigma": 2.0}, {"blacked": 1.1}])
def test_maps_of_another_meaning_are_not_averaged(tmp_path: Path, change) -> None:
    first = chances_model(tmp_path / "a.onnx")
    second = chances_model(tmp_path / "b.onnx", **change)
    with pytest.raises(
        ModelError, match=f"cannot be averaged, they differ in {next(iter(change))}"
    ):
        Predictor.load([first, second], detector=None)


def test_plain_heatmaps_of_two_sigmas_are_averaged(tmp_path: Path) -> None:
    """As CPN+ does: each peaks at 1, whatever its sigma; half of 0.9 and 0.5 is 0.7."""
    maps = np.zeros((1, 3, 32, 24))
    models = []
    for sigma, peak in ((1.7, 0.9), (2.3, 0.5)):
        maps[0, :, 20, 10] = peak
        notes = NOTES | {"decoder": "argmax", "sigma": sigma}
        file = tmp_path / f"{sigma}.onnx"
        models.append(constant_model(file, "heatmaps", maps, [1, 3, 128, 96], notes=notes))
    predictor = Predictor.load(models, detector=None, flip=False)
    found = predictor.predict(IMAGE, BOX)
    np.testing.assert_allclose(found.keypoint_score, 0.7, rtol=1e-5)


def test_a_model_that_answers_too_few_images_is_named(tmp_path: Path) -> None:
    maps = np.zeros((1, 3, 32, 24))
    model = constant_model(tmp_path / "a.onnx", "heatmaps", maps, ["N", 3, 128, 96], notes=NOTES)
    two = Boxes(np.repeat(BOX.xywh, 2, 0), np.ones(2))
    predictor = Predictor.load(model, detector=None, engine="onnx")
    with pytest.raises(ModelError, match=r"gives heatmaps \[1, 3, 32, 24\] for 2 images"):
        predictor.predict(IMAGE, two)


def test_other_models_keep_the_usual_threshold(tmp_path: Path) -> None:
    assert Predictor.load(colour_model(tmp_path / "a.onnx"), detector=None).threshold == 0.2
