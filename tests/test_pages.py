"""Every code block of the documents is run, but for those that say why they are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from clips import STAMPS, write_clip
from pages import ROOT, blocks, pages, run_blocks
from typer.testing import CliRunner

from poised.cli import app
from poised.images import read_image

TRAINED, TESTED, HELD_OUT = 10, 4, 500  # people of the slice, and images that LSPET holds out
QUICK = ["input.size=[64, 96]", "optimise.workers=0"]  # of a training, behind what the text says
TORCH = {"examples/own-data.md"}  # pages that train
LSPET = {"examples/own-data.md", "docs/data-sets.md"}
APART = {"docs/add-network.md", "docs/add-data-set.md"}  # in a copy: test_additions.py
REASONS = {  # why blocks are not run; a new one is to be thought about
    "FiftyOne brings a database server",
    "it asks a server; tests/test_serve.py does that",
    "it is another program's",
    "it is what runs the tests",
    "it needs npm's package; tests/test_static_site.py does that with a stand-in",
    "it serves until it is stopped; tests/test_serve_cli.py does that",
    "needs a camera and a network",
    "needs a checkpoint that others publish",
    "needs a cluster",
    "needs all of the data sets, and minutes to hours",
    "needs GPUs",
    "needs the data sets whole",
    "the Hub is elsewhere, tests/test_interop.py has a stand-in for it",
    "trains for an hour",
}
LONG = {"README.md", "docs/video.md"}
RUN = sorted({name for name, them in pages().items() if any(b.runs for b in them)} - APART)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `photo.jpg`, `photos`, and a few frames of `clip.mp4`."""
    sample = ROOT / "data" / "samples" / "messi5.jpg"
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/one.jpg", "photos/two.jpg"):
        shutil.copyfile(sample, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def lspet(folder: Path, shared: Path) -> None:
    """`lspet`: the joints of a few people of each part, the others' unlabelled."""
    from scipy.io import loadmat, savemat

    joints = loadmat(shared / "data" / "lspet" / "joints.mat")["joints"].copy()
    joints[:, 2, TRAINED:-HELD_OUT] = 0
    joints[:, 2, joints.shape[2] - HELD_OUT + TESTED :] = 0
    (folder / "lspet").mkdir()
    (folder / "lspet" / "images").symlink_to(shared / "data" / "lspet" / "images")
    savemat(folder / "lspet" / "joints.mat", {"joints": joints})


def ours(words: list[str], otherwise: str) -> str:
    """A `poised` command of a page, in this process; || answers exit code 1."""
    done = CliRunner().invoke(app, [*words, *(QUICK if words[0] == "train" else [])])
    assert done.exit_code == 0 or (done.exit_code == 1 and otherwise), f"{words}\n{done.output}"
    return done.output


def test_what_is_not_run_has_one_of_the_known_reasons() -> None:
    given = {block.reason for them in pages().values() for block in them} - {None}
    assert given == REASONS


def test_a_block_without_its_comment_is_run() -> None:
    page = "<!-- not run: x -->\n```sh\na\n```\n\n```sh\nb\n```\n```json\n{}\n```\n"
    marked, plain, shown = blocks(page)
    assert (marked.reason, marked.runs, plain.runs, shown.runs) == ("x", False, True, False)
    with pytest.raises(ValueError, match="1 fences, 0 blocks"):
        blocks("```sh\n")


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=[pytest.mark.long] * (p in LONG)) for p in RUN]
)
def test_a_pages_blocks_run(
    page: str, folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if page in LSPET:
        request.getfixturevalue("lspet")
        pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")
    if page in TORCH:
        pytest.importorskip("torch", reason="needs poised[train]").set_num_threads(1)
        monkeypatch.setattr("poised.find_lr.STEPS", 40)
    if page == "docs/video.md":
        pytest.importorskip("av", reason="needs poised[video]")
        make_clips(folder)
    if page == "docs/interoperation.md":
        for package in ("pandas", "supervision"):
            pytest.importorskip(package, reason="needs poised[dev]")
    check = CHECKS.get(page, nothing)
    check(run_blocks(page, folder, ours), folder)


def test_the_data_that_pages_show_are_json() -> None:
    shown = [b for them in pages().values() for b in them if b.language == "json"]
    assert all(isinstance(json.loads(block.text), dict) for block in shown)
    assert shown


@pytest.mark.parametrize("name", ["compare-models", "first-poses"])
def test_notebooks_are_kept_without_what_they_said(name: str) -> None:
    cells = json.loads((ROOT / "examples" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    said = [(c["outputs"], c["execution_count"]) for c in cells if c["cell_type"] == "code"]
    assert said == [([], None)] * len(said)


@pytest.mark.long  # `make docs` runs them, too
@pytest.mark.parametrize("name", ["compare-models", "first-poses"])
def test_a_notebooks_cells_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas", reason="needs poised[dev]")
    monkeypatch.chdir(ROOT / "examples")
    names: dict[str, object] = {}
    for cell in json.loads(Path(f"{name}.ipynb").read_text("utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), name, "exec"), names)


def make_clips(folder: Path) -> None:
    (folder / "clips").mkdir()
    write_clip(folder / "clip.mp4", [read_image(folder / "photo.jpg")] * 4, STAMPS[:4])
    shutil.copyfile(folder / "clip.mp4", folder / "clips" / "one.mp4")


def nothing(said: str, folder: Path) -> None:
    """A page of which nothing more is known than that its blocks run."""


def of_own_data(said: str, folder: Path) -> None:
    assert "people: 10, 0 of them to be ignored; images: 10" in said
    assert "1 are new: head_top" in said
    assert said.count("4 keypoints keep their channels: left_wrist, right_wrist") == 6
    assert "Mind:" not in said
    trained = [
        folder / "runs" / name
        for name in ("five/five", "cvat/cvat", "studio/studio", "yolo/yolo", "dlc/deeplabcut")
    ]
    assert all(path.with_suffix(".onnx").is_file() for path in trained)
    assert (folder / "runs" / "five" / "lr.png").is_file()
    assert "five.html" in said
    plain = read_image(folder / "coco" / "images" / "im08488.jpg")
    drawn = read_image(folder / "poses" / "pictures" / "im08488.jpg")
    assert drawn.shape == plain.shape
    assert np.isfinite(drawn).all()


def of_interoperation(said: str, folder: Path) -> None:
    assert "2 people in 2 images -> yolo" in said
    assert len(list((folder / "labels" / "labels" / "train").iterdir())) == 2


CHECKS = {"examples/own-data.md": of_own_data, "docs/interoperation.md": of_interoperation}
