"""Commands of somebody who may write to `--out` alone: their home is another's and read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from made import make_discs
from models import colour_model

from poised.types import Skeleton

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "data" / "samples"
NOBODY = 65534
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
SET = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR", "TMPDIR")
FIELDS = [
    "network={name: plain_pyramid, options: {width: 8}}",
    "backbone={weights: null}",
    "input.size=[64, 64]",
    "test.split=test",
    "name=discs",
    "optimise={batch: 4, epochs: 1, workers: 0}",
]

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder with `home` and `shut`, which nobody here may write to, `scratch`, `work`, `out`."""
    for name in ("home", "shut", "scratch", "work", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "home" / ".config").mkdir()
    theirs = [tmp_path / "home", tmp_path / "shut", tmp_path / "home" / ".config"]
    for folder in theirs:
        folder.chmod(0o555)
        if os.geteuid() == 0:
            os.chown(folder, NOBODY, NOBODY)
    yield tmp_path
    for folder in theirs:  # so that it can be removed
        folder.chmod(0o755)


def poised(place: Path, *arguments: str | Path, scratch: str = "scratch") -> str:
    """What a command says that ends well: home and working folder stay as they are, nothing is
    left in the temporary one but a folder that torch makes when it is imported."""
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere; needs setpriv (util-linux)")
    watched = [place / name for name in ("home", "shut", "work")]
    before = [contents(folder) for folder in watched]
    environment = {name: value for name, value in os.environ.items() if name not in SET}
    environment |= {"HOME": str(place / "home"), "TMPDIR": str(place / scratch)}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    powerless = POWERLESS if os.geteuid() == 0 else []
    done = subprocess.run(
        [*powerless, sys.executable, "-m", "poised", *arguments],
        cwd=place / "work",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in done.stdout
    assert [contents(folder) for folder in watched] == before
    left = [str(path) for path in (place / "scratch").iterdir()]
    assert [path for path in left if "torchinductor_" not in path] == []
    return done.stdout


def contents(folder: Path) -> dict[str, int]:
    """What lies in a folder, and when it was last changed."""
    every = (folder, *folder.rglob("*"))
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in every}


def test_the_home_is_read_only_indeed(place: Path) -> None:
    """Or the others could not fail."""
    script = "import pathlib, sys; pathlib.Path(sys.argv[1], 'x').touch()"
    powerless = POWERLESS if os.geteuid() == 0 else []
    if powerless and shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere; needs setpriv (util-linux)")
    command = [*powerless, sys.executable, "-c", script]
    for name, code in (("home", 1), ("shut", 1), ("out", 0)):
        done = subprocess.run([*command, str(place / name)], capture_output=True, check=False)
        assert done.returncode == code, done.stderr


def test_prediction(place: Path) -> None:
    """With no temporary folder either."""
    arguments = ["predict", SAMPLES, "--out", place / "out", "--model", "coco17-small"]
    poised(place, *arguments, scratch="shut")
    assert (place / "out" / "poses.json").is_file()


def test_what_is_only_told(place: Path) -> None:
    assert "coco17-small" in poised(place, "models", scratch="shut")


def test_evaluation(place: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")
    skeleton = make_discs(place / "set", 16)
    arguments = ["evaluate", "--data", place / "set", "--dataset", "coco", "--split", "test"]
    model = colour_model(place / "discs.onnx", skeleton=Skeleton.load(str(skeleton)).to_dict())
    arguments += ["--skeleton", skeleton, "--model", model, "--out", place / "out" / "a.json"]
    poised(place, *arguments)


@pytest.mark.long
def test_the_doctor(place: Path) -> None:
    poised(place, "doctor", scratch="shut")


@pytest.mark.long
@pytest.mark.parametrize("scratch", ["scratch", "shut"])
def test_training_and_report(place: Path, scratch: str) -> None:
    """A model is exported at the end; the report is drawn by matplotlib, which has a cache."""
    pytest.importorskip("torch", reason="needs poised[train]")
    skeleton = make_discs(place / "set", 16)
    fields = [*FIELDS, f"skeleton={skeleton}"]
    fields += [f"dataset={{name: coco, root: {place / 'set'}, train: train}}"]
    arguments = ["train", "lsp14", *fields, "--out", place / "out", "--accelerator", "cpu"]
    poised(place, *arguments, scratch=scratch)
    arguments = ["report", "--data", place / "set", "--dataset", "coco", "--split", "test"]
    arguments += ["--skeleton", skeleton, "--model", place / "out" / "discs.onnx"]
    poised(place, *arguments, "--out", place / "out" / "report.html", scratch=scratch)
    assert (place / "out" / "report.html").is_file()
