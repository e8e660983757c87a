"""Predictions that are disturbed end as if they had not been: the same bytes, nothing twice."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import colour_model
from PIL import Image
from typer.testing import CliRunner

import poised.under_way
from poised.cli import app
from poised.estimate import Estimator
from poised.folder_run import RunError, held
from poised.images import list_images
from poised.predict import Predictor

DISTURBED = str(Path(__file__).with_name("disturbed.py"))
SAMPLES = Path(__file__).parents[1] / "data" / "samples"
IMAGES, PART = 14, 3  # and three files that are set aside or cannot be drawn: six parts
ONCE = 50  # things done in a folder, amid its parts


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `in`, noise among which are a broken file, a video, and a picture too wide to
    be drawn; and a model of it."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "in" / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        noise = rng.integers(0, 255, (20, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        name = f"{number % 10}.png"  # some of one name
        Image.fromarray(noise).save(folder / "in" / ("" if number < 10 else "below") / name)
    (folder / "in" / "4-broken.jpg").write_bytes(b"no image")
    (folder / "in" / "7-clip.mp4").write_bytes(b"x")
    Image.new("L", (66000, 8)).save(folder / "in" / "8-wide.png")
    colour_model(folder / "dots.onnx")
    return folder


def command(given: Path, out: Path, *more: str) -> list[str]:
    arguments = ["predict", str(given / "in"), "--out", str(out), "--whole-image", "--threads", "2"]
    return [*arguments, "--model", str(given / "dots.onnx"), *more]


def run(given: Path, out: Path, *more: str, kind: str = "KILL", moment: int = 0) -> tuple[int, str]:
    """`poised predict` in a process of its own: its exit code, and all that it said."""
    done = subprocess.run(
        [sys.executable, DISTURBED, kind, str(moment), *command(given, out, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def here(arguments: list[str]) -> tuple[int, str]:
    """A command in this process."""
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the lock, which names a process."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(given: Path) -> Path:
    """A run that nobody disturbed."""
    code, said = run(given, given / "undisturbed")
    assert code == 1, said
    return given / "undisturbed"


@pytest.fixture(scope="module")
def moments(given: Path, undisturbed: Path) -> int:
    """How many things a run does in its folder."""
    said = run(given, given / "again")[1]
    return int(re.search(r"(\d+) things done", said)[1])  # type: ignore[index]


def test_what_a_run_leaves(given: Path, undisturbed: Path) -> None:
    """Every image once, in its order; what was set aside, with the reason; no part, no `.part`."""
    assert sorted(path.name for path in undisturbed.iterdir()) == [
        "lock",
        "pictures",
        "poses.json",
        "run.json",
        "set_aside.jsonl",
        "skeleton.json",
    ]
    records = json.loads((undisturbed / "poses.json").read_text())
    assert [record["image_id"] for record in records] == list(range(1, IMAGES + 2))
    names = [Path(record["file_name"]).name for record in records]
    assert names[:11] == [*(f"{n}.png" for n in range(8)), "8-wide.png", "8.png", "9.png"]
    lines = (undisturbed / "set_aside.jsonl").read_text().splitlines()
    broken, clip = map(json.loads, lines)
    assert broken["file_name"] == str(given / "in" / "4-broken.jpg")
    assert broken["reason"] == "not an image of a known format"
    assert clip["reason"].startswith("a video; give videos")
    assert len(list((undisturbed / "pictures").iterdir())) == IMAGES
    assert not [name for name in contents(undisturbed) if name.endswith(".part")]


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 20))]
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    given: Path, undisturbed: Path, moments: int, tmp_path: Path, seed: int
) -> None:
    """Killed twice, at any moment from the folder's making to the parts' removal."""
    rng = random.Random(seed)
    for _ in range(2):
        code, said = run(given, tmp_path / "out", moment=rng.randint(1, moments))
        assert code in (-signal.SIGKILL, 1), said  # 1: there was less to do than that
    code, said = run(given, tmp_path / "out")
    assert code == 1, said
    assert contents(tmp_path / "out") == contents(undisturbed)


@pytest.mark.parametrize("style", ["jsonl", "csv"])
def test_other_formats_survive_too(given: Path, moments: int, tmp_path: Path, style: str) -> None:
    more = ("--format", style, "--no-draw")
    assert run(given, tmp_path / "whole", *more)[0] == 1
    assert run(given, tmp_path / "out", *more, moment=ONCE // 2)[0] == -signal.SIGKILL
    assert run(given, tmp_path / "out", *more)[0] == 1
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["TERM", "INT"])
def test_a_signal_ends_a_run_with_a_line_and_it_goes_on(
    given: Path, undisturbed: Path, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out"
    code, said = run(given, out, kind=kind, moment=ONCE)
    assert code == 128 + signal.Signals[f"SIG{kind}"], said
    last, count = said.splitlines()[-2:]
    assert re.fullmatch(
        rf"stopped: \d+ of 17 images are done, and kept in {out}; the same command goes on", last
    ), said
    assert "Traceback" not in said
    code, said = run(given, out)
    assert code == 1
    assert re.search(rf"^[369] of 17 images are done, and kept in {out}$", said, re.MULTILINE), said
    assert contents(out) == contents(undisturbed)
    assert count.endswith("things done")


HALF_A_PART = 16  # things done, without pictures, when half of the first part is written


def test_half_a_part_is_none(given: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(given, out, "--no-draw", moment=HALF_A_PART)[0] == -signal.SIGKILL
    assert [path.name for path in (out / "poses.parts").iterdir()] == ["000000.jsonl.part"]
    assert run(given, out, "--no-draw")[0] == 1
    assert (out / "poses.json").read_bytes() == (undisturbed / "poses.json").read_bytes()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.85])
def test_a_full_disk_says_so_and_loses_nothing(
    given: Path, undisturbed: Path, moments: int, tmp_path: Path, share: float
) -> None:
    """Full from the start, amid the pictures and parts, and when the results are put together."""
    out = tmp_path / "out"
    code, said = run(given, out, kind="FULL", moment=round(share * moments))
    assert code == 2, said
    errors = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1, said
    assert f"{out} cannot be written to: No space left on device. " in errors[0]
    assert "ake room" in errors[0]
    assert "Traceback" not in said
    if share:
        assert "17 images are done, and kept in" in errors[0]
    assert run(given, out)[0] == 1
    assert contents(out) == contents(undisturbed)


def test_a_limit_on_files_sizes_is_a_full_disk(
    given: Path, undisturbed: Path, tmp_path: Path
) -> None:
    """The system's own refusal, which comes amid a file: the results are larger than 2 KB."""
    resource = pytest.importorskip("resource", reason="not on Windows")
    small = [sys.executable, DISTURBED, "KILL", "0", *command(given, tmp_path / "out", "--no-draw")]
    done = subprocess.run(
        small,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048)),
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written to: File too large. 17 of 17 images are done" in done.stderr
    assert not list(tmp_path.rglob("*.part"))
    assert run(given, tmp_path / "out", "--no-draw")[0] == 1
    whole = (undisturbed / "poses.json").read_bytes()
    assert (tmp_path / "out" / "poses.json").read_bytes() == whole


def test_a_folder_that_is_read_only_is_refused_before_a_model_is_loaded(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose lock alone can be written to, and one that is a file."""
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: pytest.fail("loaded a model"))
    code, said = here(command(given, given / "dots.onnx"))
    assert code == 2
    assert "dots.onnx cannot be written to: File exists. Make it writable, or choose anot" in said
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
    assert here(command(given, out, "--restart"))[0] == 1
    assert contents(out) == contents(undisturbed)
    (out / "poses.json").unlink()  # a run without results is not done
    assert here(command(given, out))[0] == 1
    assert contents(out) == contents(undisturbed)


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


def test_a_damaged_part_is_named(given: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(given, out, kind="FULL", moment=100)[0] == 2
    part = out / "poses.parts" / "000000.jsonl"
    part.write_text(part.read_text().splitlines()[0] + "\n")
    code, said = run(given, out)
    assert code == 2
    assert f"{part} has 1 lines, too few. Remove it" in said
    part.unlink()
    assert run(given, out)[0] == 1
    assert contents(out) == contents(undisturbed)


def test_a_batch_holds_people_of_one_part_alone(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the engines' last digits may depend on the others in a batch."""
    monkeypatch.setattr("poised.folder_run.PART", PART)
    batches: list[list[str]] = []
    estimate = poised.under_way.estimate

    def spied(estimator: Estimator, people: list[tuple[Any, int]]) -> None:
        batches.append([entry.name for entry, _ in people])
        estimate(estimator, people)

    monkeypatch.setattr("poised.predict.estimate", spied)
    here(command(given, tmp_path / "out"))
    listed = [str(path) for path in list_images([given / "in"])]
    parts = [{listed.index(name) // PART for name in batch} for batch in batches]
    assert all(len(part) == 1 for part in parts)
    assert max(map(len, batches)) > 1


def test_the_bundled_models_answer_the_same_bytes(tmp_path: Path) -> None:
    """Six photographs of several people each, who share batches."""
    (tmp_path / "in").mkdir()
    for copy in range(2):
        for sample in SAMPLES.glob("*.[jp][pn]g"):
            shutil.copy(sample, tmp_path / "in" / f"{copy}-{sample.name}")
    more = ["--model", "coco17-small", "--threads", "2", "--no-draw", "--no-flip"]
    for folder, moments in (("whole", [0]), ("killed", [21, 0])):  # amid the second part
        for at in moments:
            own = [sys.executable, DISTURBED, "KILL", str(at), "predict", str(tmp_path / "in")]
            own += [*more, "--out", str(tmp_path / folder)]
            done = subprocess.run(own, capture_output=True, check=False)
            assert done.returncode == (-signal.SIGKILL if at else 0), done.stderr
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert not (tmp_path / "whole" / "set_aside.jsonl").exists()


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
