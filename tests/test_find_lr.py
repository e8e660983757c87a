"""The learning-rate range test: what it suggests, what it writes, and that nothing else is left."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)

from typer.testing import CliRunner

from poised.cli import app
from poised.datasets.poses import PoseCrops
from poised.find_lr import HIGHEST, LOWEST, SETTLED, smoothed, suggested
from poised.images import read_image
from poised.train import TrainingError

TINY = [
    "network={name: plain_pyramid, options: {width: 8}}",
    "backbone={weights: null}",
    "input.size=[64, 64]",
    "optimise={batch: 8, epochs: 1, workers: 0}",
]


def test_the_mean_of_a_constant_is_it_and_of_a_line_lags_behind() -> None:
    np.testing.assert_allclose(smoothed([3.0] * 20), 3.0)
    line = smoothed([float(n) for n in range(200)])
    assert line[-1] == pytest.approx(199 - 0.9 / 0.1, abs=1e-3)  # by decay / (1 - decay) steps


def test_suggested_is_a_tenth_of_the_lowest() -> None:
    """A parabola over log rate, lowest at 1e-2; the first losses, low by chance, say nothing."""
    rates = np.logspace(-6, 0, 61).tolist()
    smooth = [(math.log10(rate) + 2) ** 2 for rate in rates]
    smooth[:SETTLED] = [-1.0] * SETTLED
    assert suggested(rates, smooth) == pytest.approx(1e-3)
    with pytest.raises(TrainingError, match="falls at no rate"):
        suggested(rates, [float(n) for n in range(61)])
    with pytest.raises(TrainingError, match="falls at no rate"):
        suggested(rates[:3], smooth[:3])


def test_rates_are_tried_on_one_device(tmp_path: Path) -> None:
    words = ["train", "lsp14", "--find-lr", "--devices", "2", "--out", str(tmp_path / "run")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert "rates are tried by one process on one device" in refused.output


def test_a_reader_that_dies_is_told_as_in_a_training(
    ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PoseCrops, "__getitem__", lambda *_: os._exit(3))
    words = ["train", "lsp14", f"dataset={{name: lspet, root: {ten}, train: all}}", *TINY]
    words += ["optimise.workers=1", "--find-lr", "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "a process that reads the data died at step 0: DataLoader worker (pid" in said
    assert "nothing was written" in said


def test_the_command_writes_a_curve_and_leaves_no_state(ten: Path, tmp_path: Path) -> None:
    """A training after it is the one that it would have been without it."""
    arguments = ["train", "lsp14", f"dataset={{name: lspet, root: {ten}, train: all}}", *TINY]
    out = tmp_path / "run"
    done = CliRunner().invoke(app, [*arguments, "--out", str(out), "--find-lr"])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in out.iterdir()) == ["lr.csv", "lr.png"]
    rows = (out / "lr.csv").read_text().splitlines()
    assert rows[0] == "lr,loss,smoothed"
    table = np.array([row.split(",") for row in rows[1:]], np.float64)
    assert table[0, 0] == pytest.approx(LOWEST)
    assert table[-1, 0] <= HIGHEST * (1 + 1e-9)
    ratios = table[1:, 0] / table[:-1, 0]
    np.testing.assert_allclose(ratios, 1e6 ** (1 / 99))
    np.testing.assert_allclose(smoothed(table[:, 1].tolist()), table[:, 2])
    assert f"optimise.lr={suggested(table[:, 0].tolist(), table[:, 2].tolist()):.1e}" in done.output
    assert read_image(out / "lr.png").shape == (480, 720, 3)
    for folder in ("run", "other"):
        done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / folder)])
        assert done.exit_code == 0, done.output
        assert "resumed" not in done.output
    one, other = ((tmp_path / f / "lsp14.safetensors").read_bytes() for f in ("run", "other"))
    assert one == other
