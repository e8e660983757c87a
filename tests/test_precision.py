"""Processors with a faster format than fp32: OpenVINO takes it, unless it is asked not to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from poised import Predictor
from poised.openvino_model import import_openvino
from poised.runtime import Session

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"


def used(session: Session) -> str:
    """The precision of a session that has run."""
    width, height = session.metadata["input_wh"]
    session.run(np.zeros((1, 3, height, width), np.float32))
    return session.precision


def test_the_environment_asks_for_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `exact` does; without either it is what the engine chooses here."""
    monkeypatch.setenv("POISED_EXACT", "1")
    assert used(Session("coco17-small")) == "f32"
    monkeypatch.delenv("POISED_EXACT")
    assert used(Session("coco17-small", exact=True)) == "f32"
    has_bf16 = "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert used(Session("coco17-small")) == ("bf16" if has_bf16 else "f32")


def test_the_faster_format_moves_sure_joints_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a hundredth of a person's box at the median, where the processor has one."""
    image = SAMPLES / "messi5.jpg"
    exact = Predictor.load(detector=None).predict(image)
    monkeypatch.delenv("POISED_EXACT")
    fast = Predictor.load(detector=None).predict(image)
    sure = exact.keypoint_score > 0.7
    assert sure.sum() >= 6
    away = np.linalg.norm(fast.xy - exact.xy, axis=-1)[sure]
    assert np.median(away) < 0.01 * exact.boxes.xywh[0, 2:].max()
