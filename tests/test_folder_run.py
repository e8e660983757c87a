"""Predictions that are disturbed end as if they had not been: the same bytes, nothing twice."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from folder_runs import DISTURBED, IMAGES, PART, command, contents, here, run

import poised.under_way
from poised.estimate import Estimator
from poised.image_list import list_images

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
ONCE = 50  # things done in a folder, amid its parts


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


def test_a_damaged_part_is_named(given: Path, undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(given, out, kind="FULL", moment=100)[0] == 2
    part = out / "poses.parts" / "000000.jsonl"
    part.write_text(part.read_text().splitlines()[0] + "\n")
    code, said = run(given, out)
    assert code == 2
    assert f"{part} has 1 lines, too few. Remove it" in said
    nobody = '{"file_name": "a.png", "people": [], "left_out": 0, "more": NaN}\n'
    part.write_text(nobody + part.read_text())
    code, said = run(given, out)
    assert code == 2
    assert f"{part} cannot be read: line 1 is no image's" in said
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
