"""What people do wrong with their own data: it is said, and nothing of theirs is lost."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)

import yaml
from made import make_discs
from typer.testing import CliRunner

from poised.checkpoint import save_tensors
from poised.cli import app
from poised.datasets import DatasetError, read_people
from poised.machine import Machine
from poised.runtime import find_model
from poised.serve.static_site import RUNTIME, StaticSiteError, write_static


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    make_discs(tmp_path / "discs", 8)
    return tmp_path / "discs"


def here(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def changed(discs: Path, **fields: Any) -> None:
    """The fields of everybody who is to be trained on."""
    file = discs / "annotations" / "person_keypoints_train.json"
    values = json.loads(file.read_text())
    for row in values["annotations"]:
        row |= fields
    file.write_text(json.dumps(values))


def test_a_skeleton_in_another_order_is_refused(discs: Path) -> None:
    """In COCO's form a keypoint is what its place says: left and right would be exchanged."""
    values = yaml.safe_load((discs / "discs.yaml").read_text())
    other = discs / "other.yaml"
    other.write_text(yaml.safe_dump(values | {"keypoints": ["head", "right_hand", "left_hand"]}))
    with pytest.raises(DatasetError, match="its categories name the keypoints head, left_hand"):
        read_people("coco", discs, "train", str(other))
    assert read_people("coco", discs, "train", str(discs / "discs.yaml"))[0]


def test_fractions_for_pixels_are_a_fault(discs: Path) -> None:
    own = ["data", "check", discs, "--dataset", "coco"]
    assert here(*own)[0] == 0
    changed(discs, bbox=[0, 0, 0.9, 1.0], keypoints=[0.1, 0.2, 2] * 3)
    code, said = here(*own)
    assert (code, "are these fractions of the image?" in said) == (1, True)


def test_nobody_to_train_or_test_on_is_a_fault(discs: Path) -> None:
    changed(discs, keypoints=[0, 0, 0] * 3, num_keypoints=0)
    code, said = here("data", "check", discs, "--dataset", "coco")
    assert (code, "nobody is labelled in train" in said) == (1, True)
    words = ["--dataset", "coco", "--split", "train", "--skeleton", discs / "discs.yaml"]
    code, said = here("evaluate", "--data", discs, *words)
    assert (code, "nobody is annotated in train" in said) == (2, True)


def test_nothing_of_a_data_set_is_written_over(discs: Path) -> None:
    label, image = discs / "annotations" / "person_keypoints_train.json", discs / "images" / "0.png"
    picture = image.with_suffix(".jpg")
    shutil.copy(image, picture)
    own = ["--dataset", "coco", "--split"]
    for words in (
        ["data", "convert", discs, *own, "train[:2]", "--out", label],
        ["data", "show", discs, *own, "train", "--out", picture],
        ["evaluate", "--data", discs, *own, "train", "--boxes", "detector", "--results", label],
        ["evaluate", "--data", discs, *own, "train", "--out", label],
        ["report", "--data", discs, *own, "train", "--out", label],
    ):
        before = label.read_bytes(), picture.read_bytes()
        code, said = here(*words)
        named = "is there already, within the data set" in said or "are the labels of train" in said
        assert (code, named) == (2, True), said
        assert before == (label.read_bytes(), picture.read_bytes())


def test_no_input_is_written_over_by_what_is_made_of_it(discs: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.json"
    ours.write_text("[]")
    words = ["--data", discs, "--dataset", "coco", "--split", "train"]
    for given in (["--predictions", ours], ["--boxes", ours], ["--model", ours]):
        for command, out in (("evaluate", "--out"), ("evaluate", "--results"), ("report", "--out")):
            code, said = here(command, *words, *given, out, ours)
            assert (code, "ours.json is an input: give another file" in said) == (2, True), said
    assert ours.read_text() == "[]"


def test_a_reader_tells_a_broken_image_in_a_line_and_ends(discs: Path, tmp_path: Path) -> None:
    """As the training itself does, without the page of traceback that torch makes of it."""
    broken = discs / "images" / "5.png"
    broken.write_bytes(broken.read_bytes()[:60])
    values = {
        "name": "few",
        "skeleton": str(discs / "discs.yaml"),
        "network": {"name": "movenet", "options": {"short": True}},
        "dataset": {"name": "coco", "root": str(discs), "train": "train"},
        "input": {"size": [64, 64]},
        "optimise": {"batch": 2, "epochs": 1},
    }
    (tmp_path / "few.yaml").write_text(yaml.safe_dump(values))
    words = ["train", tmp_path / "few.yaml", "--out", tmp_path / "run"]
    told = {}
    for workers in (0, 1):
        done = subprocess.run(
            [sys.executable, "-m", "poised", *map(str, words), f"optimise.workers={workers}"],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert done.returncode == 2
        told[workers] = done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    assert told[0].startswith(f"Error: {broken}: damaged or cut short")
    assert told[1] == told[0]


def test_what_is_converted_is_read_where_the_help_says(discs: Path) -> None:
    """From the data set's folder, though the images lie in another one of it."""
    (discs / "images").rename(discs / "train")
    out = discs / "some.json"
    assert here("data", "convert", discs, "--dataset", "coco", "--out", out)[0] == 0
    assert here("data", "check", discs, "--dataset", "coco", "--split", "some.json")[0] == 0


def test_a_mark_at_the_start_of_a_file_is_passed_over(discs: Path) -> None:
    """As some editors on Windows write it."""
    file = discs / "annotations" / "person_keypoints_train.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert here("data", "check", discs, "--dataset", "coco")[0] == 0


def test_images_that_are_missing_are_looked_for_in_folders(discs: Path) -> None:
    """A file that is named as the part is none."""
    label = discs / "annotations" / "person_keypoints_train.json"
    shutil.copy(label, discs / "train.json")
    for image in (discs / "images").iterdir():
        image.unlink()
    _, said = here("data", "check", discs, "--dataset", "coco", "--split", "train.json")
    assert f"missing image: {discs}" in said
    assert "train.json/" not in said


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="accelerator is tpu, must be auto, cpu or cuda"):
        Machine("tpu").start("32-true", [])
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch finds no GPU here"):
            Machine("cuda").start("32-true", [])


def test_a_name_that_the_output_cannot_show_is_shown_otherwise(discs: Path) -> None:
    place = discs.with_name("\u65e5\u672c")
    discs.rename(place)
    changed(place, bbox=[0, 0, 0, 0])
    command = [sys.executable, "-m", "poised", "data", "check", str(place), "--dataset", "coco"]
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == 1, done.stderr
    assert b"\\u65e5\\u672c" in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="has other rights")
def test_weights_have_the_rights_of_other_files(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_tensors(tmp_path / "w.safetensors", {"x": torch.zeros(2)}, {})
    modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("plain", "w.safetensors")]
    assert modes[0] == modes[1]


def test_models_whose_files_would_be_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "runtime").mkdir()
    for name in RUNTIME:
        (tmp_path / "runtime" / name).touch()
    twin = tmp_path / "person.onnx"
    shutil.copy(find_model("coco17-small"), twin)
    with pytest.raises(StaticSiteError, match=r"models/person\.onnx would be two models"):
        write_static(tmp_path / "site", [twin], runtime=tmp_path / "runtime")
    assert not (tmp_path / "site").exists()
