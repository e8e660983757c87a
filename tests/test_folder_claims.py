"""Whose a run's folder is: another command, another process and other shards are refused."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from folder_runs import PART, command, contents, here
from PIL import Image

from poised.folder_run import RunError, held
from poised.predict import Predictor


def test_a_folder_that_is_read_only_is_refused_before_a_model_is_loaded(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose lock alone can be written to, and one that is a file."""
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: pytest.fail("loaded a model"))
    code, said = here(command(given, given / "dots.onnx"))
    assert code == 2
    assert "dots.onnx cannot be written to: File exists. Move the file that is there away" in said
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "lock").touch(0o666)
    (tmp_path / "out").chmod(0o555)
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    user = os.geteuid()
    try:
        if user == 0:  # nothing is read-only for root: ask as somebody else
            os.seteuid(65534)
        with (
            pytest.raises(RunError, match="out cannot be written to: Permission denied"),
            held(tmp_path / "out"),
        ):
            pass
    finally:
        os.seteuid(user)


def test_another_command_is_refused_by_what_differs(given: Path, tmp_path: Path) -> None:
    out, images = tmp_path / "out", tmp_path / "in"
    shutil.copytree(given / "in", images)
    own = ["predict", str(images), *command(given, out, "--no-draw")[2:]]
    assert here(own)[0] == 1
    before = contents(out)
    for more, named in (
        (["--no-flip"], "flip is true there and false here"),
        (["--batch", "8"], "batch is 4 there and 8 here"),
        (["--min-joints", "1", "--format", "csv"], "format is .coco. there and .csv. here; min_jo"),
        (["--draw"], "pictures is null there and .limbs. here"),
        (["--model", "coco17-small"], "model is .dots.onnx [0-9a-f]{64}. there and .coco17-small"),
    ):
        code, said = here([*own, *more])
        assert code == 2
        assert re.search(rf"out holds another run: {named}.*--out OTHER.*--restart", said, re.S)
    (images / "10.png").write_bytes((images / "9.png").read_bytes())
    code, said = here(own)
    assert (code, "images is 17 there and 18 here" in said) == (2, True)
    (images / "9.png").unlink()
    code, said = here(own)
    assert (code, "images_sha256 is" in said) == (2, True)
    assert contents(out) == before


def test_a_run_that_is_done_is_done_again_by_restart_alone(
    given: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr("poised.folder_run.PART", PART)
    shutil.copytree(undisturbed, out)
    (out / "pictures" / "0.jpg").unlink()
    code, said = here(command(given, out))
    assert code == 1  # as the run itself
    assert f"{out} holds all of this run already; --restart does it again" in said
    assert "15 people in 15 images" in said
    assert "set aside: 2 of 17 files" in said
    assert not (out / "pictures" / "0.jpg").exists()
    old = contents(out)
    assert here(command(given, out, "--restart"))[0] == 1
    assert contents(out / "earlier-1") == old
    shutil.rmtree(out / "earlier-1")
    assert contents(out) == contents(undisturbed)
    (out / "poses.json").unlink()  # a run without results is not done
    assert here(command(given, out))[0] == 1
    assert contents(out) == contents(undisturbed)


def test_a_restart_leaves_nothing_of_the_old_run_among_the_new(given: Path, tmp_path: Path) -> None:
    """Neither its results in another format nor pictures of images that are gone."""
    out, images = tmp_path / "out", tmp_path / "in"
    shutil.copytree(given / "in", images)
    own = ["predict", str(images), *command(given, out)[2:]]
    assert here(own)[0] == 1
    (images / "5.png").unlink()
    assert here([*own, "--restart", "--format", "csv"])[0] == 1
    assert (out / "poses.csv").is_file()
    assert not (out / "poses.json").exists()
    assert not (out / "pictures" / "5.jpg").exists()
    assert (out / "earlier-1" / "pictures" / "5.jpg").is_file()


def test_results_among_the_images_are_none(given: Path, tmp_path: Path) -> None:
    """In their own folder, in one below, in another's: the same command finds the same images."""
    images = tmp_path / "in"
    shutil.copytree(given / "in", images)
    for out in (images, images / "poses", images / "other"):
        own = ["predict", str(images), *command(given, out)[2:]]
        for again in ("", "holds all of this run already"):
            code, said = here(own)
            assert code == 1, said
            assert again in said
            assert "15 people in 15 images" in said


def test_a_picture_does_not_replace_what_it_is_of(given: Path, tmp_path: Path) -> None:
    images = tmp_path / "pictures"
    images.mkdir()
    Image.new("RGB", (64, 80)).save(images / "a.jpg")
    before = (images / "a.jpg").read_bytes()
    own = ["predict", str(images), *command(given, tmp_path)[2:]]
    code, said = here(own)
    assert code == 2
    assert "a.jpg: lies where the drawn pictures go" in said
    assert here([*own, "--no-draw"])[0] == 0
    assert (images / "a.jpg").read_bytes() == before
    code, said = here(["predict", "", *command(given, tmp_path)[2:]])
    assert (code, "a path is empty" in said) == (2, True)


def test_a_second_process_is_refused(given: Path, tmp_path: Path) -> None:
    holder = """
import pathlib, sys
from poised.folder_run import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
    pipe, own = subprocess.PIPE, [sys.executable, "-c", holder, str(tmp_path / "out")]
    with subprocess.Popen(own, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        (tmp_path / "out" / "run.json.part").write_text("the other's")
        code, said = here(command(given, tmp_path / "out"))
        assert (tmp_path / "out" / "run.json.part").read_text() == "the other's"
        process.kill()
    assert code == 2
    assert f"out is in use: process {process.pid} on " in said
    assert here(command(given, tmp_path / "out"))[0] == 1


def test_parts_of_an_unknown_run_are_not_taken(
    given: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a `--restart` that was killed at its beginning leaves them."""
    monkeypatch.setattr("poised.folder_run.PART", PART)
    other = tmp_path / "poses.parts" / "000000.jsonl"
    other.parent.mkdir()
    other.write_text('{"file_name": "a.png", "set_aside": "no reason"}\n' * PART)
    assert here(command(given, tmp_path))[0] == 1
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.parametrize("count", [1, 4, 9])
def test_shards_put_together_are_the_whole_run(
    given: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Of nine shards of six parts, three have no image."""
    monkeypatch.setattr("poised.folder_run.PART", PART)
    folders = []
    for shard in range(1, count + 1):
        code, said = here(command(given, tmp_path, "--shard", f"{shard}/{count}"))
        assert code in (0, 1), said
        folders.append(str(tmp_path / f"shard-{shard}-of-{count}"))
    before = contents(tmp_path)
    folders.reverse()
    for said_again in (False, True):
        code, said = here(["merge", *folders, "--out", str(tmp_path / "merged")])
        assert code == 1, said
        assert "15 people in 15 images" in said
        assert contents(tmp_path / "merged") == contents(undisturbed)
        assert ("already" in said) == said_again
    shutil.rmtree(tmp_path / "merged")
    assert contents(tmp_path) == before


def test_shards_that_do_not_make_a_whole_are_refused(
    given: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poised.folder_run.PART", PART)
    for shard in ("1/3", "2/3", "3/3"):
        here(command(given, tmp_path, "--shard", shard))
    one, two, three = (str(tmp_path / f"shard-{n}-of-3") for n in (1, 2, 3))
    here(command(given, tmp_path / "other", "--shard", "3/3", "--no-flip"))
    shutil.copytree(two, tmp_path / "cut")
    (tmp_path / "cut" / "poses.parts" / "000004.jsonl").unlink()
    for folders, named in (
        ([one, two], "of 3 shards there is no 3/3: name all folders"),
        ([one, one, two], f"{one} and {one} are both shard 1/3"),
        ([one, two, str(tmp_path / "other" / "shard-3-of-3")], "flip is true there and false here"),
        ([one, two, str(undisturbed)], f"{undisturbed} holds a whole run, no shard"),
        ([one, str(tmp_path / "cut"), three], "3 of 6 images are done, and kept in"),
        ([one, two, str(given)], "given0 holds no run: there is no run.json in it"),
    ):
        code, said = here(["merge", *folders, "--out", str(tmp_path / "merged")])
        assert (code, named in said) == (2, True), said
    assert not (tmp_path / "merged").exists()
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0"):
        code, said = here(command(given, tmp_path, "--shard", wrong))
        assert (code, f"--shard is {wrong}, expected i/n" in said) == (2, True)
