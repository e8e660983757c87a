"""Trainings as processes of their own: several at once, killed at any moment, short of room."""

from __future__ import annotations

import csv
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
resource = pytest.importorskip("resource", reason="not on Windows")

import yaml
from made import make_discs

from poised.checkpoint import read_tensors

OFTEN = str(Path(__file__).with_name("often.py"))
TWO = ["--devices", "2", "--accelerator", "cpu"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty people of discs, a small network without batch norms, a loss that adds up."""
    root = tmp_path_factory.mktemp("recipe")
    skeleton = make_discs(root / "discs", 40)
    values = {
        "name": "discs",
        "skeleton": str(skeleton),
        "network": {"name": "movenet", "options": {"short": True}},
        "dataset": {"name": "coco", "root": str(root / "discs"), "train": "train"},
        "input": {"size": [64, 64], "padding": 1.0},
        "target": {"loss": "squared"},
        "optimise": {"batch": 7, "epochs": 6, "workers": 0, "lr": 1e-3},
    }
    path = root / "discs.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def begin(
    recipe: Path,
    out: Path,
    *more: str,
    by: Sequence[str] = (),
    first: Callable[[], None] | None = None,
) -> subprocess.Popen[str]:
    """`poised train` in a process, begun `by` a module; what it says comes line by line."""
    return subprocess.Popen(
        [sys.executable, *by, OFTEN, "train", str(recipe), "--out", str(out), *more],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=first,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What it said, when it has ended well."""
    said = process.communicate()[0]
    assert process.returncode == 0, said
    return said


def until_steps(process: subprocess.Popen[str], count: int) -> None:
    """Read what it says until so many steps were told."""
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        count -= "% step " in line
        if count == 0:
            return
    raise AssertionError("".join(said))


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log" / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tensors(out: Path) -> dict[str, torch.Tensor]:
    return read_tensors(out / "state.safetensors")[0]


def killed(recipe: Path, out: Path, steps: int, within_a_save: bool) -> None:
    """Begin a training or go on; kill it after so many steps, or while it writes the next state."""
    process = begin(recipe, out, "--deterministic")
    until_steps(process, steps)
    if within_a_save:
        while process.poll() is None and not (out / "state.safetensors.part").exists():
            pass
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(recipe: Path) -> Path:
    """A run that nobody killed."""
    finish(begin(recipe, recipe.parent / "undisturbed", "--deterministic"))
    return recipe.parent / "undisturbed"


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(n, marks=pytest.mark.long) for n in range(2, 10))]
)
def test_a_killed_training_ends_as_if_it_had_not_been(
    recipe: Path, undisturbed: Path, tmp_path: Path, seed: int
) -> None:
    """Killed twice, once within a save: the same weights bit for bit, each row once."""
    moment, out = random.Random(seed), tmp_path / "killed"
    killed(recipe, out, moment.randint(1, 6), within_a_save=seed % 2 == 0)
    killed(recipe, out, moment.randint(1, 6), within_a_save=seed % 2 == 1)
    finish(begin(recipe, out, "--deterministic"))
    ours, theirs = tensors(out), tensors(undisturbed)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert rows(out) == rows(undisturbed)
    assert [int(row["step"]) for row in rows(out)] == list(range(1, 24, 2))
    lines = [(path / "log" / "metrics.jsonl").read_text() for path in (out, undisturbed)]
    assert lines[0] == lines[1]


@pytest.mark.parametrize(
    ("by", "more"),
    [
        ((), ["--devices", "2"]),
        pytest.param(
            ["-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29533"],
            [],
            marks=pytest.mark.long,
        ),
    ],
    ids=["devices", "torchrun"],
)
def test_two_processes_learn_what_one_does(
    recipe: Path, undisturbed: Path, tmp_path: Path, by: list[str], more: list[str]
) -> None:
    """Batches of seven, four and three: the losses within 1e-4 of one process with all seven."""
    out = tmp_path / "two"
    said = finish(begin(recipe, out, *more, "--accelerator", "cpu", by=by))
    assert said.count("4 steps of 7 an epoch") == 1  # the second process is silent
    alone, both = ([float(row["loss"]) for row in rows(path)] for path in (undisturbed, out))
    assert alone[-1] < 0.8 * alone[0]
    assert both == pytest.approx(alone, rel=1e-4)
    ours, theirs = tensors(out), tensors(undisturbed)
    for name in ours:
        if name.startswith("network."):
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-2, atol=1e-4)


def children(process: int) -> list[int]:
    return [int(n) for n in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("more", [[], TWO], ids=["1", "2"])
def test_a_signal_ends_a_training_with_its_state_saved(
    recipe: Path, undisturbed: Path, tmp_path: Path, number: signal.Signals, more: list[str]
) -> None:
    """One line, the shell's exit code; the same command goes on to the same losses."""
    out = tmp_path / "stopped"
    process = begin(recipe, out, *more)
    until_steps(process, 3)
    process.send_signal(number)
    said = process.communicate()[0]
    assert process.returncode == 128 + number, said
    assert said.splitlines()[-1].endswith(f"kept in {out}: the same command goes on"), said
    assert "Traceback" not in said
    assert "resumed at epoch" in finish(begin(recipe, out, *more))
    alone, again = ([float(row["loss"]) for row in rows(path)] for path in (undisturbed, out))
    assert again == pytest.approx(alone, rel=1e-4)


def test_a_signal_to_all_of_a_group_is_the_parents(recipe: Path, tmp_path: Path) -> None:
    """As `timeout` and systemd send it, also to the processes that read."""
    out = tmp_path / "group"
    process = begin(recipe, out, "optimise.workers=2", "optimise.epochs=50", first=os.setsid)
    until_steps(process, 3)
    os.killpg(process.pid, signal.SIGTERM)
    said = process.communicate()[0]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert said.splitlines()[-1].endswith(f"kept in {out}: the same command goes on"), said


def test_a_signal_to_any_process_ends_all(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "second"
    process = begin(recipe, out, *TWO, "optimise.epochs=50")
    until_steps(process, 3)
    (second,) = children(process.pid)
    os.kill(second, signal.SIGTERM)
    said = process.communicate()[0]
    assert process.returncode == 128 + signal.SIGTERM, said
    assert f"kept in {out}: the same command goes on" in said
    assert (out / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "explained", "again"),
    [
        (TWO, "the 2 processes lost each other at step", TWO),
        (TWO, "the 2 processes lost each other at step", []),
        (["optimise.workers=1"], "a process that reads the data died at step", TWO),
    ],
    ids=["2 to 2", "2 to 1", "1 to 2"],
)
def test_a_process_that_dies_ends_the_others_and_the_run_goes_on(
    recipe: Path,
    undisturbed: Path,
    tmp_path: Path,
    more: list[str],
    explained: str,
    again: list[str],
) -> None:
    """By any number of processes, whatever the state is of."""
    out = tmp_path / "died"
    process = begin(recipe, out, *more)
    until_steps(process, 5)
    for child in children(process.pid):
        os.kill(child, signal.SIGKILL)
    said = process.communicate()[0]
    assert process.returncode == 1, said
    assert explained in said
    assert "the same command goes on from there" in said
    assert "resumed at epoch" in finish(begin(recipe, out, *again))
    alone, ours = ([float(row["loss"]) for row in rows(path)] for path in (undisturbed, out))
    assert ours == pytest.approx(alone, rel=1e-4)


def test_processes_on_a_cpu_have_no_batch_norms_in_common(recipe: Path, tmp_path: Path) -> None:
    """What torch has for GPUs alone is refused before a step, in one line of each process."""
    process = begin(recipe, tmp_path / "norms", *TWO, "optimise.sync_norms=true")
    said = process.communicate()[0]
    assert process.returncode == 2, said
    assert "optimise.sync_norms: torch has such batch norms for GPUs alone" in said
    assert "Traceback" not in said
    assert not (tmp_path / "norms" / "state.safetensors").exists()


def test_a_disk_that_is_full_keeps_the_last_state(recipe: Path, tmp_path: Path) -> None:
    """No file may grow beyond a MB, as if there were no more room; a state has several."""
    out = tmp_path / "full"
    said = finish(begin(recipe, out, "optimise.epochs=1"))
    going = r"% step 4, epoch 0 loss [\d.]+, \d+ samples/s, waiting \d+%, 0 min to go"
    assert re.search(going, said), said  # where no bar is shown
    before = (out / "state.safetensors").read_bytes()

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))

    process = begin(recipe, out, first=little_room)
    said = process.communicate()[0]
    assert process.returncode == 1, said
    assert "cannot be written to at step 5" in said
    assert "make room" in said
    assert (out / "state.safetensors").read_bytes() == before
    assert not list(out.glob("*.part"))
