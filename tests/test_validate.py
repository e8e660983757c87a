"""A training looks at the test split as it goes, keeps its best weights, and ends when told to."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)

from made import make_discs
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from poised.checkpoint import read_tensors
from poised.evaluate import evaluate_model
from poised.export import export_onnx
from poised.predict import Predictor
from poised.read_recipe import load_recipe
from poised.recipe import Recipe
from poised.train import train
from poised.training_log import outside_loggers
from poised.validate import validate

QUIET = {"say": lambda _: None}


@pytest.fixture
def discs(tmp_path: Path) -> Callable[..., Recipe]:
    """A recipe of 12 people of discs, three steps an epoch; four more are the test split."""
    skeleton = make_discs(tmp_path / "discs", 16)

    def recipe(*overrides: str) -> Recipe:
        given = ["name=discs", f"skeleton={skeleton}", "input={size: [64, 64], padding: 1.0}"]
        given += [f"dataset={{name: coco, root: {tmp_path / 'discs'}, train: train}}"]
        given += ["network={name: plain_pyramid, options: {width: 8}}", "backbone={}", "test={}"]
        given += ["optimise={batch: 4, epochs: 6, workers: 0, lr: 2.0e-3}", "test.split=test"]
        return load_recipe("lsp14", [*given, *overrides])

    return recipe


def figures(out: Path) -> list[tuple[int, float]]:
    """(step, AP) of each validation."""
    with (out / "log" / "validation.csv").open(newline="") as file:
        return [(int(row["step"]), float(row["AP"])) for row in csv.DictReader(file)]


def test_its_figure_is_that_of_the_exported_model(
    discs: Callable[..., Recipe], tmp_path: Path
) -> None:
    """The last validation's, by the torch engine, is what the ONNX file has in OpenVINO."""
    recipe = discs("optimise.validate_every=6", "optimise.epochs=18", "export.precision=fp32")
    weights = train(recipe, tmp_path / "run", **QUIET)
    assert [step for step, _ in figures(tmp_path / "run")] == [18, 36, 54]
    model = export_onnx(weights, tmp_path / "discs.onnx")
    predictor = Predictor.load(model, detector=None)
    done = evaluate_model(predictor, "coco", recipe.dataset.root, "test", skeleton=recipe.skeleton)
    assert figures(tmp_path / "run")[-1][1] == pytest.approx(done.figures["AP"], abs=0.5)
    pictures: list[np.ndarray] = []
    board = EventAccumulator(str(tmp_path / "run" / "log")).Reload()
    shown = [(event.step, event.value) for event in board.Scalars("validation/AP")]
    np.testing.assert_allclose(shown, figures(tmp_path / "run"), rtol=1e-4)
    assert board.Images("predictions")[-1].width == 4 * 256
    again = validate(weights, recipe, pictures.append)
    assert next(iter(again)) == "AP"
    assert again["AP"] == figures(tmp_path / "run")[-1][1]
    assert pictures[0].shape == (256, 4 * 256, 3)  # four square images


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The figures that validations will give, one by one."""
    coming: list[float] = []
    monkeypatch.setattr("poised.train.validate", lambda *_: {"AP": coming.pop(0)})
    return coming


def test_the_best_weights_are_kept_and_the_last(
    discs: Callable[..., Recipe], tmp_path: Path, told: list[float]
) -> None:
    """Best after the second of three validations, at twelve steps of eighteen."""
    told += [10.0, 30.0, 20.0]
    train(discs("optimise.validate_every=2"), tmp_path / "run", **QUIET)
    assert figures(tmp_path / "run") == [(6, 10.0), (12, 30.0), (18, 20.0)]
    told += [10.0, 30.0]
    half = train(discs("optimise.validate_every=2", "optimise.epochs=4"), tmp_path / "4", **QUIET)
    best, last = (
        read_tensors(tmp_path / "run" / f"{name}.safetensors")[0]
        for name in ("discs-best", "discs")
    )
    assert not all(torch.equal(best[name], last[name]) for name in best)
    assert read_tensors(tmp_path / "run" / "state.safetensors")[1]["best"] == 30.0
    assert half.is_file()


def test_a_training_that_gains_no_more_ends(
    discs: Callable[..., Recipe], tmp_path: Path, told: list[float]
) -> None:
    told += [10.0, 30.0, 20.0, 29.0, 31.0]
    plan = discs("optimise.validate_every=1", "optimise.patience=2", "optimise.epochs=20")
    train(plan, tmp_path / "run", **QUIET)
    assert figures(tmp_path / "run") == [(3, 10.0), (6, 30.0), (9, 20.0), (12, 29.0)]
    train(plan, tmp_path / "run", **QUIET)  # which has ended
    assert read_tensors(tmp_path / "run" / "state.safetensors")[1]["step"] == 12


def test_a_test_split_without_labels_is_refused_at_once(
    discs: Callable[..., Recipe], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="person_keypoints_test-dev2017"):
        train(
            discs("optimise.validate_every=1", "test.split=test-dev2017"), tmp_path / "r", **QUIET
        )
    assert not (tmp_path / "r" / "state.safetensors").exists()


def test_other_loggers_get_the_same_rows(
    discs: Callable[..., Recipe], tmp_path: Path, told: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightning_fabric.loggers import CSVLogger

    told += [10.0, 30.0, 20.0]
    theirs = CSVLogger(tmp_path, "theirs", version="")
    train(discs("optimise.validate_every=2"), tmp_path / "run", loggers=[theirs], **QUIET)
    theirs.finalize("success")
    with Path(theirs.log_dir, "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["validation/AP"]) for row in rows if row["validation/AP"]] == [10, 30, 20]
    assert float(next(row["loss"] for row in rows if row["step"] == "1")) > 0
    with pytest.raises(ValueError, match="no logger 'paper': wandb and mlflow are known"):
        outside_loggers(["paper"], "run", tmp_path)
    monkeypatch.setitem(sys.modules, "pytorch_lightning", None)
    with pytest.raises(ValueError, match=r"--log wandb needs pip install 'poised\[wandb\]'"):
        outside_loggers(["wandb"], "run", tmp_path)
