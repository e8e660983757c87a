"""The bundled models on the bundled photographs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from poised import Predictor
from poised.cli import app
from poised.runtime import bundled_models

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
needs_models = pytest.mark.skipif(
    {"lsp14", "person"} - set(bundled_models()) != set(),
    reason="no bundled models in this checkout",
)


@needs_models
def test_the_demo_finds_both_basketball_players(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["predict", str(SAMPLES), "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    records = json.loads((tmp_path / "poses.json").read_text())
    for name in ("basketball1.png", "basketball2.png"):
        boxes = np.array([r["bbox"] for r in records if r["file_name"].endswith(name)])
        centre = boxes[:, 0] + boxes[:, 2] / 2
        assert (centre < 250).any(), "the player on the left"
        assert (centre > 400).any(), "the player on the right"
    assert sorted(p.name for p in (tmp_path / "pictures").iterdir()) == [
        "basketball1.jpg",
        "basketball2.jpg",
        "messi5.jpg",
    ]


@needs_models
def test_sure_joints_lie_in_or_near_their_boxes() -> None:
    predictor = Predictor.load()
    for poses in predictor.predict(sorted(SAMPLES.glob("*.png"))):
        low, size = poses.boxes.xywh[:, None, :2], poses.boxes.xywh[:, None, 2:]
        inside = ((poses.xy >= low - 0.2 * size) & (poses.xy <= low + 1.2 * size)).all(-1)
        assert inside[poses.keypoint_score > 0.2].all()
