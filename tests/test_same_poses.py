"""The same pictures, the same poses: whatever the threads and the people a network call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from poised.cli import app

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
# benchmarks/same.py says how far they move, docs/robustness.md too
PIXELS, SCORES, OF_TORCH = 0.1, 1e-3, 2e-3


@pytest.fixture(autouse=True)
def threads_of_torch() -> Iterator[None]:
    """Are the process's own, and `--threads` sets them."""
    torch = pytest.importorskip("torch", reason="needs poised[train]")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def poses(out: Path, *more: str) -> bytes:
    """What poses.json holds."""
    arguments = ["predict", str(SAMPLES), "--out", str(out), "--no-draw", *more]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return (out / "poses.json").read_bytes()


def numbers(text: bytes) -> tuple[list[str], np.ndarray]:
    """Whose picture each person is in, and their keypoints (N, K, 3)."""
    people: list[dict[str, Any]] = json.loads(text)
    return [one["file_name"] for one in people], np.array([one["keypoints"] for one in people])


@pytest.mark.parametrize(
    "engine", ["openvino", "onnx", pytest.param("torch", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("model", ["coco17-small", pytest.param("coco17", marks=pytest.mark.long)])
def test_threads_and_batches_change_no_pose(tmp_path: Path, engine: str, model: str) -> None:
    """The same people in the same order; and one command twice gives the same bytes."""
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    common = ("--engine", engine, "--model", model)
    first = poses(tmp_path / "first", "--threads", "1", "--batch", "1", *common)
    whose, want = numbers(first)
    assert len(whose) > 3
    scores = OF_TORCH if engine == "torch" else SCORES
    for threads, batch in (("1", "8"), ("2", "4")):
        more = ("--threads", threads, "--batch", batch, *common)
        text = poses(tmp_path / f"{threads}-{batch}", *more)
        names, found = numbers(text)
        assert names == whose, more
        apart = np.abs(found - want).reshape(-1, 3).max(0)
        assert (apart <= (PIXELS, PIXELS, scores)).all(), (more, apart)
    assert poses(tmp_path / "again", *more) == text
