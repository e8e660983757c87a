"""What docs/add-network.md and docs/add-data-set.md say, done in a copy of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import PIL.Image
import pytest
from pages import ROOT, run_blocks

pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the package's source in `src`, its large files linked."""
    shutil.copytree(
        ROOT / "src" / "poised",
        tmp_path / "src" / "poised",
        copy_function=_light,
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    shutil.copyfile(ROOT / "data" / "samples" / "messi5.jpg", tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _light(source: str, target: str) -> None:
    large = source.endswith((".onnx", ".safetensors"))
    os.symlink(source, target) if large else shutil.copyfile(source, target)


def elsewhere(words: list[str], otherwise: str) -> str:
    """A `poised` command by the copied package, in a process of its own."""
    quick = ["input.size=[64, 96]", "optimise.workers=0", "dataset.train=all"]
    quick = quick if words[0] == "train" else []
    done = subprocess.run(
        [sys.executable, "-m", "poised", *words, *quick],
        env=os.environ | {"PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_network_added_by_the_page_trains_and_predicts(copied: Path, ten: Path) -> None:
    pytest.importorskip("torch", reason="needs poised[train]")
    said = run_blocks("docs/add-network.md", copied, elsewhere)
    assert "tiny" in said
    assert (copied / "runs" / "tiny" / "tiny.onnx").is_file()
    assert (copied / "poses" / "poses.json").is_file()
    assert not (ROOT / "src" / "poised" / "nets" / "tiny.py").exists()


def test_a_data_set_added_by_the_page_is_read(copied: Path) -> None:
    (copied / "tables").mkdir()
    for name in ("one.png", "two.png"):
        PIL.Image.new("RGB", (100, 80)).save(copied / "tables" / name)
    said = run_blocks("docs/add-data-set.md", copied, elsewhere)
    assert "people: 2, 0 of them to be ignored; images: 2" in said
    assert "5 keypoints of 6 are labelled" in said  # as the page's table has them
    assert "2 people -> tables.json" in said
