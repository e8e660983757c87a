"""The examples' own text is run: each block in order, in a folder with a slice of the data."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)

from typer.testing import CliRunner

from poised.cli import app
from poised.images import read_image

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TRAINED, TESTED, HELD_OUT = 10, 4, 500  # people of the slice, and images that LSPET holds out
QUICK = ["input.size=[64, 96]", "optimise.workers=0"]  # of a training, behind what the text says


@pytest.fixture
def folder(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `lspet`: the joints of a few people of each part, the others' unlabelled."""
    from scipy.io import loadmat, savemat

    joints = loadmat(shared / "data" / "lspet" / "joints.mat")["joints"].copy()
    joints[:, 2, TRAINED:-HELD_OUT] = 0
    joints[:, 2, joints.shape[2] - HELD_OUT + TESTED :] = 0
    (tmp_path / "lspet").mkdir()
    (tmp_path / "lspet" / "images").symlink_to(shared / "data" / "lspet" / "images")
    savemat(tmp_path / "lspet" / "joints.mat", {"joints": joints})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, folder: Path) -> str:
    """One command of a document: ours in this process, python's in another."""
    command, _, otherwise = line.partition("||")
    words = shlex.split(command, comments=True)
    if words[0] == "python":
        subprocess.run([sys.executable, *words[1:]], cwd=folder, check=True)
        return ""
    assert words[0] == "poised"
    done = CliRunner().invoke(app, [*words[1:], *(QUICK if words[1] == "train" else [])])
    assert done.exit_code == 0 or (done.exit_code == 1 and otherwise), f"{line}\n{done.output}"
    return done.output


def test_ones_own_data_from_labels_to_poses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poised.find_lr.STEPS", 40)
    said = ""
    for language, name, text in BLOCK.findall((EXAMPLES / "own-data.md").read_text("utf-8")):
        if name:
            (folder / name).write_text(text, "utf-8")
        elif language == "sh":
            said += "".join(run(line, folder) for line in text.splitlines() if line)
    assert "people: 10, 0 of them to be ignored; images: 10" in said
    assert "1 are new: head_top" in said
    assert said.count("4 keypoints keep their channels: left_wrist, right_wrist") == 4
    assert "Mind:" not in said
    trained = [folder / "runs" / name for name in ("five/five", "yolo/yolo", "dlc/deeplabcut")]
    assert all(path.with_suffix(".onnx").is_file() for path in trained)
    assert (folder / "runs" / "five" / "lr.png").is_file()
    assert "five.html" in said
    plain = read_image(folder / "coco" / "images" / "im08488.jpg")
    drawn = read_image(folder / "poses" / "pictures" / "im08488.jpg")
    assert drawn.shape == plain.shape
    assert np.isfinite(drawn).all()
