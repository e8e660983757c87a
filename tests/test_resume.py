"""A training that was stopped goes on as if it had not been, or says why it does not."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)

import yaml
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data._utils import signal_handling
from typer.testing import CliRunner

from poised.checkpoint import read_tensors
from poised.cli import app
from poised.interrupt import Interrupted
from poised.nets import NETWORKS
from poised.read_recipe import load_recipe
from poised.recipe import Recipe
from poised.resume import TrainingState, optimiser_tensors, restore_optimiser
from poised.train import TrainingError, take_step, train
from poised.training_log import TrainingLog
from poised.types import Skeleton

Hook = Callable[[int], None]  # called with the number of the step, before it is taken


class Killed(BaseException):
    pass


class Noise:
    """Pictures of noise whose 4x4 blocks' means are to be learnt; drawn by (epoch, index)."""

    channels = 3

    def __init__(self, count: int, hook: Hook) -> None:
        self.count, self.hook, self.step = count, hook, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: tuple[int, int]) -> tuple[Tensor, ...]:
        seed = place[0] * self.count + place[1]
        image = torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(seed))
        return image, nn.functional.avg_pool2d(image, 4)

    def images(self, batch: list[Tensor]) -> Tensor:
        return batch[0].contiguous(memory_format=torch.channels_last)

    def loss(self, outputs: tuple[Tensor, ...], batch: list[Tensor], _: nn.Module) -> Tensor:
        self.step += 1
        self.hook(self.step)
        return (outputs[-1] - batch[1]).square().mean()


class Forgetful(nn.Sequential):
    """3x3 convolutions (channels-last in memory), a batch norm, dropout."""

    def __init__(self, joints: int) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Conv2d(8, 8, 3, 2, 1, groups=4),
            nn.Conv2d(8, joints, 1),
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (super().forward(images),)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Train `recipe` in `out` on that many samples; `hook` sees each step coming."""
    monkeypatch.setitem(NETWORKS, "forgetful", Forgetful)
    monkeypatch.setattr("poised.train.LOG_EVERY", 2)

    def run(
        recipe: Recipe, out: Path, count: int = 20, hook: Hook = lambda _: None, **options: object
    ) -> Path:
        monkeypatch.setattr("poised.set_up.open_samples", lambda _: Noise(count, hook))
        return train(recipe, out, **{"say": lambda _: None} | options)

    return run


def small(*overrides: str) -> Recipe:
    """Five steps an epoch on 20 samples, three epochs, with a schedule that never stands still."""
    plain = ["network={name: forgetful}", "backbone={}", "input={size: [32, 32]}"]
    plain += ["optimise={batch: 4, epochs: 3, workers: 0, lr: 0.02, average: 0.9}"]
    return load_recipe("lsp14", [*plain, *overrides])


def rows(out: Path) -> list[int]:
    """The steps in metrics.csv."""
    lines = (out / "log" / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,loss,lr,epoch"
    return [int(line.split(",")[0]) for line in lines[1:]]


@pytest.mark.parametrize(
    ("optimiser", "network"),
    [
        ("adamw", "{name: forgetful}"),
        ("adam", "{name: forgetful}"),
        ("rmsprop", "{name: forgetful}"),
        ("adamw", "{name: plain_pyramid, options: {width: 8}}"),
    ],
)
def test_a_killed_run_ends_bit_for_bit_like_an_undisturbed_one(
    start: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    optimiser: str,
    network: str,
) -> None:
    """Killed with no state saved, then two steps after one at an epoch's end and one within."""
    recipe = small(f"network={network}", f"optimise.optimiser={optimiser}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    start(recipe, whole)
    done = 0
    for saved in (0, 5, 12):

        def hook(call: int, done: int = done, saved: int = saved) -> None:
            monkeypatch.setattr(
                "poised.train.SAVE_EVERY_S", -1 if done + call <= saved else float("inf")
            )
            if done + call == saved + 3:
                raise Killed

        with pytest.raises(Killed):
            start(recipe, killed, hook=hook)
        assert rows(killed)[-1] > saved
        done = saved
    said: list[str] = []
    weights = start(recipe, killed, say=said.append)
    assert "resumed at epoch 2, step 12" in said[0]
    ours, theirs = (read_tensors(out / "state.safetensors")[0] for out in (killed, whole))
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert weights.read_bytes() == (whole / weights.name).read_bytes()
    assert rows(killed) == list(range(1, 16, 2))
    log = Path("log") / "metrics.csv"
    assert (killed / log).read_bytes() == (whole / log).read_bytes()


def test_moments_lie_where_and_as_their_weights_do() -> None:
    """A file is contiguous and on the CPU; weights are not. "meta" stands for a GPU."""
    weight = nn.Parameter(torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last))
    optimiser = torch.optim.AdamW([weight], fused=True)
    weight.grad = torch.randn_like(weight)
    optimiser.step()
    kept = {name: value.contiguous() for name, value in optimiser_tensors(optimiser).items()}
    moments = {name: value.clone() for name, value in optimiser.state[weight].items()}
    restore_optimiser(optimiser, kept)
    for name in ("exp_avg", "exp_avg_sq"):
        assert optimiser.state[weight][name].stride() == weight.stride()
        assert torch.equal(optimiser.state[weight][name], moments[name])
    far = nn.Parameter(torch.empty_like(weight, device="meta", dtype=torch.bfloat16))
    other = torch.optim.AdamW([far])
    mean = {"weight": torch.empty_like(far)}
    saved = {**kept, "average.weight": torch.zeros(8, 4, 3, 3)}
    notes = {"step": 3, "seconds": 4.0}
    TrainingState({}, nn.Identity(), other, mean).restore((saved, notes))
    assert mean["weight"].device.type == other.state[far]["exp_avg"].device.type == "meta"
    assert other.state[far]["exp_avg"].dtype == torch.bfloat16
    assert other.state[far]["exp_avg"].stride() == mean["weight"].stride() == far.stride()


def test_rows_after_the_saved_step_and_torn_ones_are_cut(tmp_path: Path) -> None:
    table = tmp_path / "log" / "metrics.csv"
    table.parent.mkdir()
    for written, kept in (
        (b"step,loss\r\n1,0.5\r\n21,0.4\r\n41,0.3\r\n", b"step,loss\r\n1,0.5\r\n21,0.4\r\n"),
        (b"step,loss\r\n1,0.5\r\n2", b"step,loss\r\n1,0.5\r\n"),
        (b"step,lo", b""),
    ):
        table.write_bytes(written)
        TrainingLog(tmp_path).cut(21)
        assert table.read_bytes() == kept
    lines = table.with_suffix(".jsonl")
    lines.write_text('{"step": 21, "loss": 0.4}\n{"step": 41, "loss": 0.3}\n{"step": 2')
    TrainingLog(tmp_path).cut(21)
    assert lines.read_text() == '{"step": 21, "loss": 0.4}\n'


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (["optimise.lr=0.03"], r"optimise\.lr is 0\.02 there and 0\.03 here"),
        (
            ["optimise.optimiser=rmsprop"],
            r'optimise\.optimiser is "adamw" there and "rmsprop" here',
        ),
        (["augment.flip=0", "target.sigma=3"], r"target\.sigma is 1\.0 .*; augment\.flip is 0\.5 "),
        (["network.options.joints=3"], r"network\.options\.joints is null there and 3 here"),
        (["name=other"], r'name is "lsp14" there'),
    ],
)
def test_another_recipe_is_refused_by_field(
    start: Callable[..., Path], tmp_path: Path, change: list[str], named: str
) -> None:
    weights = start(small(), tmp_path)
    before = weights.read_bytes(), (tmp_path / "state.safetensors").read_bytes()
    with pytest.raises(ValueError, match=named + r".*--out OTHER.*--restart"):
        start(small(*change), tmp_path)
    assert before == (weights.read_bytes(), (tmp_path / "state.safetensors").read_bytes())
    assert not (tmp_path / "other.safetensors").exists()


def test_another_number_of_samples_is_refused(start: Callable[..., Path], tmp_path: Path) -> None:
    start(small(), tmp_path)
    with pytest.raises(ValueError, match="samples is 20 there and 24 here"):
        start(small(), tmp_path, count=24)


def test_a_skeleton_file_that_has_changed_is_refused(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    """Its name stays: the joints of the maps would be called by the others'."""
    mine = tmp_path / "mine.yaml"
    values = Skeleton.load("lsp14").to_dict()
    mine.write_text(yaml.safe_dump(values))
    start(small(f"skeleton={mine}"), tmp_path / "run")
    start(small(f"skeleton={mine}", "optimise.epochs=4"), tmp_path / "run")
    mine.write_text(yaml.safe_dump(values | {"limbs": values["limbs"][1:]}))
    with pytest.raises(ValueError, match=r"holds another training: joints\.limbs is "):
        start(small(f"skeleton={mine}", "optimise.epochs=5"), tmp_path / "run")


def test_weights_that_are_not_finite_are_not_kept(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step whose loss is finite and whose gradient is not, just before a save."""
    monkeypatch.setattr("poised.train.SAVE_EVERY_S", 0.0)

    class Steep(Noise):
        def loss(self, outputs: tuple[Tensor, ...], batch: list[Tensor], _: nn.Module) -> Tensor:
            plain = super().loss(outputs, batch, _)
            if self.step == 6:  # sqrt has no slope at 0
                return plain + (outputs[-1] * 0).sum().sqrt()
            return plain

    monkeypatch.setitem(NETWORKS, "forgetful", Forgetful)
    monkeypatch.setattr("poised.set_up.open_samples", lambda _: Steep(20, lambda step: None))
    with pytest.raises(TrainingError, match="the size of the weights is nan at epoch 1, step 6"):
        train(small(), tmp_path, say=lambda _: None)
    tensors, notes = read_tensors(tmp_path / "state.safetensors")
    assert notes["step"] == 5
    assert all(value.isfinite().all() for value in tensors.values())


def test_length_tests_and_export_may_change(start: Callable[..., Path], tmp_path: Path) -> None:
    start(small(), tmp_path)
    longer = ["optimise.epochs=4", "test.flip=false", "export.padding=1.5", "measured={AP: 1}"]
    longer += ["optimise.step=3"]  # what is told to give where memory is short
    start(small(*longer, "optimise.minutes=60"), tmp_path)
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == 20
    assert load_recipe(str(tmp_path / "recipe.yaml")).optimise.epochs == 4


def test_restart_begins_anew_and_keeps_the_old_run(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    old, new = small(), small("optimise.lr=0.03", "optimise.optimiser=adam")
    here, fresh = tmp_path / "here", tmp_path / "fresh"
    first = start(old, here).read_bytes()
    log = (here / "log" / "metrics.csv").read_bytes()
    said: list[str] = []
    again = start(new, here, restart=True, say=said.append)
    assert again.read_bytes() == start(new, fresh).read_bytes()
    assert rows(here) == rows(fresh)
    assert str(here / "earlier-1") in said[0]
    assert (here / "earlier-1" / "lsp14.safetensors").read_bytes() == first
    assert (here / "earlier-1" / "log" / "metrics.csv").read_bytes() == log
    start(small("optimise.epochs=4"), here / "earlier-1")  # whole: the old run can go on there
    start(old, here, restart=True)
    assert (here / "earlier-2" / "state.safetensors").is_file()
    assert again.read_bytes() == first


def test_the_time_to_go_is_by_the_pace_since_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a run that goes on at 40%: a tenth of the whole in two minutes leaves ten."""
    clock = iter([1000.0, 1120.0])
    monkeypatch.setattr("poised.training_log.time.monotonic", lambda: next(clock, 1120.0))
    with TrainingLog(tmp_path).progress("run", False) as show:
        assert show(0.4, 800, 4, 0.5, 0.0, None) == "epoch 4 loss 0.5000, waiting 0%"
        told = show(0.5, 1000, 5, 0.25, 0.125, 61.25)
    assert told == "epoch 5 loss 0.2500, 2 samples/s, waiting 12%, best 61.2, 10 min to go"


@pytest.mark.parametrize("table", ["metrics", "recipe.yaml"])
def test_a_row_that_the_disk_does_not_take_ends_the_run(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """The first that a full disk refuses is often a table's row: it is said as of a state."""
    start(small("optimise.epochs=1"), tmp_path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    name = "TrainingLog._append" if table == "metrics" else "write_text"
    place = "poised.training_log." if table == "metrics" else "poised.train."
    monkeypatch.setattr(place + name, full)
    with pytest.raises(TrainingError, match=r"cannot be written to at step \d: .*No space left"):
        start(small(), tmp_path)
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == 5


def test_a_restart_that_fails_leaves_the_old_run(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    start(small(), tmp_path)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.safetensors"):
        start(small("network.weights=nowhere.safetensors"), tmp_path, restart=True)
    assert (tmp_path / "state.safetensors").is_file()
    assert not (tmp_path / "earlier-1").exists()


def test_fewer_samples_than_a_batch_are_one_batch(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    said: list[str] = []
    start(small(), tmp_path, count=3, say=said.append)
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == 3  # one an epoch
    assert said[0] == "3 to train on, fewer than optimise.batch 4: each step takes all"


def test_too_few_samples_are_refused_with_their_count(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"^1 to train on, where optimise\.batch is 4: too few"):
        start(small(), tmp_path, count=1)
    with pytest.raises(ValueError, match=r"^0 to train on"):
        start(small(), tmp_path, count=0)


def test_a_second_process_is_refused_until_the_first_is_dead(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    """The first is killed, and a child that it forked lives on, as a data loader's may."""
    holder = """
import os, pathlib, sys
from poised.files import locked
with locked(pathlib.Path(sys.argv[1])):
    if hasattr(os, "fork") and os.fork() == 0:
        sys.stdin.read()
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""
    command = [sys.executable, "-c", holder, str(tmp_path / "lock")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=rf"in use: process {process.pid} on "):
            start(small(), tmp_path)
        assert not (tmp_path / "recipe.yaml").exists()
        process.kill()
        process.wait()
        start(small("optimise.epochs=1"), tmp_path)


def test_the_command_says_what_to_do_and_does_it(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    start(small(), tmp_path)
    recipe = tmp_path / "recipe.yaml"
    arguments = ["train", str(recipe), "optimise.lr=0.03", "optimise.epochs=1"]
    arguments += ["--out", str(tmp_path)]
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2
    assert "Error: " in refused.output
    assert "optimise.lr is 0.02 there and 0.03 here" in refused.output
    begun = CliRunner().invoke(app, [*arguments, "--restart"])
    assert begun.exit_code == 0, begun.output
    assert (tmp_path / "lsp14.onnx").is_file()
    assert read_tensors(tmp_path / "state.safetensors")[1]["step"] == 5


def test_a_restart_under_another_name_puts_the_old_model_away(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    start(small(), tmp_path)
    (tmp_path / "lsp14-best.safetensors").write_bytes(b"as it was validated best")
    start(small("name=other"), tmp_path, restart=True)
    assert sorted(path.name for path in tmp_path.glob("*.safetensors")) == [
        "other.safetensors",
        "state.safetensors",
    ]
    assert (tmp_path / "earlier-1" / "lsp14.safetensors").is_file()
    assert (tmp_path / "earlier-1" / "lsp14-best.safetensors").is_file()


def test_a_finished_run_is_not_made_shorter(start: Callable[..., Path], tmp_path: Path) -> None:
    start(small(), tmp_path)
    before = (tmp_path / "recipe.yaml").read_bytes()
    with pytest.raises(ValueError, match=r"optimise\.epochs=1 asks for \d+: its model stays"):
        start(small("optimise.epochs=1"), tmp_path)
    assert (tmp_path / "recipe.yaml").read_bytes() == before


def test_a_batch_in_parts_is_a_batch(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of three and one of a batch of four, without a batch norm: the same weights."""

    class Plain(nn.Sequential):
        def __init__(self, joints: int) -> None:
            super().__init__(nn.Conv2d(3, 8, 4, 4), nn.Tanh(), nn.Conv2d(8, joints, 1))

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            return (super().forward(images),)

    monkeypatch.setitem(NETWORKS, "plain", Plain)
    ends = []
    for step in ("null", "3"):
        out = tmp_path / step
        start(small("network={name: plain}", f"optimise.step={step}"), out)
        ends.append(read_tensors(out / "state.safetensors")[0])
        assert rows(out) == [1, 3, 5, 7, 9, 11, 13, 15]
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-3, atol=1e-6)


def send(number: signal.Signals) -> None:
    """What Python does between two steps of its own at a signal.

    Not a real one: where another test has loaded OpenVINO, that runs on a stack for signals that is
    too small, and the process dies.
    """
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_step_and_it_goes_on(
    start: Callable[..., Path], tmp_path: Path, number: signal.Signals
) -> None:
    """In its seventh step of fifteen; what was kept ends bit for bit like what nobody stopped."""
    before = signal.getsignal(number)

    def hook(step: int) -> None:
        if step == 7:
            send(number)

    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    start(small(), whole)
    with pytest.raises(Interrupted, match=f"stopped at step 7, kept in {stopped}") as told:
        start(small(), stopped, hook=hook)
    assert told.value.exit_code == 128 + number
    assert signal.getsignal(number) is before
    assert read_tensors(stopped / "state.safetensors")[1]["step"] == 7
    start(small(), stopped)
    ours, theirs = (read_tensors(out / "state.safetensors")[0] for out in (stopped, whole))
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_second_signal_does_not_wait(start: Callable[..., Path], tmp_path: Path) -> None:
    def hook(step: int) -> None:
        if step == 7:
            send(signal.SIGINT)
            send(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            start(small(), tmp_path / "run", hook=hook)
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_command_leaves_with_a_line_and_the_usual_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stop(*_: object, **__: object) -> Path:
        raise Interrupted(signal.SIGTERM, "stopped at step 7")

    monkeypatch.setattr("poised.train.train", stop)
    told = CliRunner().invoke(app, ["train", "lsp14", "--out", str(tmp_path)])
    assert (told.exit_code, told.stderr) == (143, "stopped at step 7\n")


def test_a_run_says_at_its_start_what_it_will_do(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 samples by 4 are five steps; the first ten steps of a second each tell of 65 more."""
    clock = [0.0]

    def hook(step: int) -> None:
        clock[0] += 2.0 if step > 10 else 60.0  # warming up is not the question

    monkeypatch.setattr("poised.train.time.monotonic", lambda: clock[0])
    said: list[str] = []
    start(small("optimise.epochs=17"), tmp_path / "run", hook=hook, say=said.append)
    assert said[0].startswith("20 to train on, 5 steps of 4 an epoch, 17 epochs; forgetful: ")
    assert "2.00 s a step: 2 min to go" in said  # 65 steps
    limited = small("optimise.epochs=1000", "optimise.minutes=11")
    said.clear()
    clock[0] = 0.0
    start(limited, tmp_path / "limited", hook=hook, say=said.append)
    assert "2.00 s a step: 1 min to go" in said  # 660 s less the 620 of the first twenty


def test_a_step_that_does_not_fit_says_what_to_give(
    start: Callable[..., Path], tmp_path: Path
) -> None:
    def hook(step: int) -> None:
        if step == 3:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    with pytest.raises(TrainingError, match=r"memory is full at step 2: .*optimise\.step.*20 GiB"):
        start(small(), tmp_path / "run", hook=hook)


class Waits(TorchDispatchMode):
    """Counts how often a number is asked of a tensor, for which one waits where that is a GPU's."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "rmsprop"])
def test_a_device_is_waited_for_once_in_twenty_steps(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimiser: str
) -> None:
    """Sixty steps more, three waits more."""
    counts = []
    for epochs in (8, 20):
        monkeypatch.setattr("poised.train.LOG_EVERY", 20)
        with Waits() as waits:
            plan = small(f"optimise.epochs={epochs}", f"optimise.optimiser={optimiser}")
            start(plan, tmp_path / str(epochs))
        counts.append(waits.count)
    assert counts[1] - counts[0] == 3


def test_a_training_leaves_the_signal_of_children_as_it_was(
    start: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs, too: torch's DataLoader sets one for its workers, once a process."""
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    before = signal.getsignal(signal.SIGCHLD)
    during: list[object] = []

    def step(*of: Any) -> Tensor:
        during.append(signal.getsignal(signal.SIGCHLD))
        return take_step(*of)

    monkeypatch.setattr("poised.train.take_step", step)
    start(small("optimise.workers=1", "optimise.epochs=1"), tmp_path / "run")
    assert signal_handling._SIGCHLD_handler_set
    assert during
    assert all(handler is before for handler in [*during, signal.getsignal(signal.SIGCHLD)])
