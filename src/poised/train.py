"""The training loop: one recipe in, a model folder out; it may be stopped and resumed anywhere.

out/state.safetensors       weights, their running mean, the optimiser, how far it is
out/<name>.safetensors      the running mean of the weights: the model
out/<name>-best.safetensors as it was when it was validated best
out/<name>.onnx             the model, exported with what a predictor must know
out/recipe.yaml, out/log/   see `TrainingLog`
out/lock                    held by the process that trains

A run that was stopped ends with the weights of one that was not, bit for bit on one machine (on a
GPU where it is `deterministic`), if the steps and not the clock end it. Its tables have each row
once; TensorBoard may repeat some.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import numpy as np
import torch
import yaml
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor

from poised.batches import open_batches
from poised.checkpoint import halved, save_tensors
from poised.datasets.person import fingerprint
from poised.files import locked, write_text
from poised.interrupt import Interrupted, childrens_signal_kept, heard
from poised.machine import (
    Machine,
    TrainingError,
    agreed,
    explained,
    heard_by_any,
    kept_whole,
)
from poised.plan import describe_work, gains_no_more, is_due, left, schedule
from poised.recipe import Recipe
from poised.resume import Saved, TrainingState, find_state, put_away
from poised.set_up import SetUp
from poised.training_log import TrainingLog
from poised.validate import check_validation, validate

SAVE_EVERY_S = 120.0
LOG_EVERY = 20  # steps, between which nobody waits for the device or for another process
TIMED = 20  # first steps, by the later half of which the time to come is told


def train(
    recipe: Recipe,
    out: Path,
    *,
    restart: bool = False,
    say: Callable[[str], None] = print,
    machine: Machine | None = None,
    loggers: Sequence[Logger] = (),
) -> Path:
    """Train to the end, or go on from out/state.safetensors; returns the weights' file.

    A state is gone on with where the recipe is the one that it was begun with, but for the run's
    length (optimise.epochs, optimise.minutes) and what does not touch the training: `test`,
    `export`, `optimise.workers`, and where recipe and figures come from (resume.FREE).
    restart: put the run in `out` away into out/earlier-N and begin anew.
    machine: one device, if None. With several, `train` is called in each process, all of which see
    `out`; the first writes. loggers: of Fabric, beside our own.

    SIGTERM and Ctrl-C end it after the step that runs (of several processes, within LOG_EVERY):
    Interrupted, the state saved.

    Raises TrainingError at a loss that is not finite, at a disk that is full, and where a process
    that reads or that trains beside this one dies; ValueError where `out` holds another
    training (each field is named) and where there are too few samples; BlockingIOError where
    another process trains in `out`.
    """
    machine = machine or Machine()
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(machine.settings())
        stack.enter_context(childrens_signal_kept())
        log = TrainingLog(out)
        stack.callback(log.close)  # TensorBoard's writer is a thread, which would live on
        fabric = machine.start(recipe.optimise.precision, [log.board, *loggers])
        if fabric.is_global_zero:
            stack.enter_context(locked(out / "lock"))
        else:
            say = _silent
        return _Training(fabric, recipe, out, log, say).run(restart)


def _silent(_: str) -> None:
    """What the other processes of several say."""


class _Training:
    """One run, in one process of it."""

    def __init__(
        self,
        fabric: Fabric,
        recipe: Recipe,
        out: Path,
        log: TrainingLog,
        say: Callable[[str], None],
    ) -> None:
        self.fabric, self.recipe, self.plan = fabric, recipe, recipe.optimise
        self.out, self.log, self.say = out, log, say
        self.going = ""  # how it went when the last row was written
        self.set_up = SetUp(fabric, recipe, say)
        self.batch, self.count = self.set_up.batch, len(self.set_up.samples)
        self.epoch_steps = self.count // self.batch
        self.steps = self.plan.epochs * self.epoch_steps
        if self.plan.validate_every:
            check_validation(recipe)

    def run(self, restart: bool) -> Path:
        """Train to the end; the model's file."""
        skeleton = self.set_up.skeleton
        about = {"recipe": self.recipe.model_dump(mode="json"), "samples": self.count}
        about["joints"] = None if skeleton is None else skeleton.to_dict()
        people = getattr(self.set_up.samples, "people", None)
        about["people"] = None if people is None else fingerprint(people)
        found = None if restart else find_state(self.out, about)
        self.model, state = self.set_up.begin(about, found, self.say)
        self.state = state
        if self.plan.minutes is None and state.step > self.steps:
            raise ValueError(
                f"the run in {self.out} has {state.step} steps, optimise.epochs="
                f"{self.plan.epochs} asks for {self.steps}: its model stays; train a shorter one "
                "in another folder (--out OTHER)"
            )
        if self.fabric.is_global_zero:
            self._prepare_folder(found, restart)
        self.fabric.barrier()
        self.begun = time.monotonic() - state.seconds
        first = self.fabric.is_global_zero
        try:
            with heard() as stopped, self.log.progress(self.recipe.name, first) as self.bar:
                self._loop(stopped)
        except (RuntimeError, ConnectionError, EOFError) as error:
            kept = f"what was saved in {self.out} is whole, and the same command goes on from there"
            raise explained(error, kept, state.step, self.fabric.world_size) from error
        weights = self._write_model(self.recipe.name)
        self.say(f"{state.step} steps, {state.seconds:.0f} s -> {weights}")
        return weights

    def _prepare_folder(self, found: Saved | None, restart: bool) -> None:
        """What stands in the folder before the first step, and what the user is told."""
        state = self.state
        if found is not None:
            epoch = state.step // self.epoch_steps
            self.say(f"resumed at epoch {epoch}, step {state.step}, after {state.seconds:.0f} s")
        elif restart and (earlier := put_away(self.out)):
            self.say(f"the run that was here -> {earlier}")
        self.say(describe_work(self.recipe, self.count, self.batch))
        for line in self.set_up.told:
            self.say(line)
        whole = self.recipe.model_dump(mode="json") | {"base": None}  # its fields are filled in
        with kept_whole(self.out, state.step):
            self.log.cut(state.step)
            write_text(self.out / "recipe.yaml", yaml.safe_dump(whole, sort_keys=False))

    def _loop(self, stopped: Callable[[], int | None]) -> None:
        """Steps, rows of the tables, validations and saves, until the end or a signal."""
        state, plan = self.state, self.plan
        batches = open_batches(self.fabric, self.set_up.samples, self.batch, plan, state.step)
        saved = timed = time.monotonic()
        first, waited, loss = state.step, 0.0, torch.zeros((), device=self.fabric.device)
        done = agreed(self.fabric, self._fraction())
        while True:
            if is_due(state, plan, self.epoch_steps):
                self._validate()
                self._save(loss)
            if done >= 1 or gains_no_more(state, plan, self.epoch_steps):
                break
            for group in state.optimiser.param_groups:
                group["lr"] = plan.lr * group["factor"] * schedule(done, plan)
            before = time.monotonic()
            batch = next(batches)
            waited += time.monotonic() - before
            loss = take_step(self.set_up, self.model, state, batch)
            beat = state.step % LOG_EVERY == 1 % LOG_EVERY
            if beat:
                share = waited / max(1e-9, time.monotonic() - timed) if state.step > first else 0
                self._report(loss, done, share)
            if state.step == first + TIMED // 2:
                timed, waited = time.monotonic(), 0.0
            if state.step == first + TIMED:
                pace = (time.monotonic() - timed) / (TIMED - TIMED // 2)
                self.say(
                    f"{pace:.2f} s a step: {left(self.steps - state.step, pace, self._clock())}"
                )
            if beat or self.fabric.world_size == 1:
                late = time.monotonic() - saved > SAVE_EVERY_S
                number = heard_by_any(self.fabric, stopped())
                done, late = agreed(self.fabric, (self._fraction(), late))
                if late or number is not None:
                    self._save(loss)
                    saved = time.monotonic()
                if late and not self.log.is_terminal:
                    self.say(f"{done:.1%} step {state.step}, {self.going}")
                if number is not None:
                    raise Interrupted(
                        number,
                        f"stopped at step {state.step}, kept in {self.out}: the same command "
                        "goes on",
                    )
            else:
                done = max(done, state.step / self.steps)
        self._save(loss)

    def _fraction(self) -> float:
        """How much of the training is done, by its steps or by the clock."""
        by_steps = self.state.step / self.steps
        if self.plan.minutes is None:
            return by_steps
        return max(by_steps, (time.monotonic() - self.begun) / (60 * self.plan.minutes))

    def _clock(self) -> float:
        """Seconds until the clock ends the training."""
        if self.plan.minutes is None:
            return math.inf
        return self.begun + 60 * self.plan.minutes - time.monotonic()

    def _report(self, loss: Tensor, done: float, waiting: float) -> None:
        """A row of the tables; TrainingError where the loss is not finite."""
        state = self.state
        value = self._finite(loss)
        lr = state.optimiser.param_groups[-1]["lr"]
        epoch = (state.step - 1) // self.epoch_steps
        with kept_whole(self.out, state.step):
            self.log.row(self.fabric, state.step, {"loss": value, "lr": lr, "epoch": epoch})
        self.going = self.bar(done, state.step * self.batch, epoch, value, waiting, state.best)

    def _finite(self, loss: Tensor, what: str = "loss") -> float:
        """The mean of all processes' values; TrainingError where it is not finite."""
        value = cast("Tensor", self.fabric.all_reduce(loss, reduce_op="mean")).item()
        if not math.isfinite(value):
            step = self.state.step
            raise TrainingError(
                f"the {what} is {value} at epoch {(step - 1) // self.epoch_steps}, step {step}; "
                "what was saved before is kept. Begin anew (--restart) with a smaller "
                "optimise.lr, or precision 32-true."
            )
        return value

    def _validate(self) -> None:
        """The running mean's figure on the test split; it is kept where it is the best so far."""
        state, name = self.state, self.recipe.name
        figure = 0.0
        if self.fabric.is_global_zero:
            weights = self._write_model(name)
            figures = validate(weights, self.recipe, self.log.picture(state.step))
            figure = next(iter(figures.values()))
            with kept_whole(self.out, state.step):
                self.log.validated(self.fabric, state.step, figures)
            if state.best is None or figure > state.best:
                self._write_model(f"{name}-best")
            shown = ", ".join(f"{key} {value:.1f}" for key, value in list(figures.items())[:3])
            self.say(f"step {state.step}: {self.recipe.test.split} {shown}")
        figure = agreed(self.fabric, figure)
        if state.best is None or figure > state.best:
            state.best, state.best_step = figure, state.step
        state.validated = state.step

    def _save(self, loss: Tensor) -> None:
        """Write the state, of a finite loss and finite weights alone."""
        self._finite(loss)
        norms = torch._foreach_norm(
            [w for w in self.state.average.values() if w.is_floating_point()]
        )
        self._finite(torch.stack(norms).sum(), "size of the weights")
        self.state.seconds = time.monotonic() - self.begun
        if self.fabric.is_global_zero:
            with kept_whole(self.out, self.state.step):
                self.state.save(self.out)

    def _write_model(self, name: str) -> Path:
        """out/<name>.safetensors: the running mean as it is."""
        weights = self.out / f"{name}.safetensors"
        if self.fabric.is_global_zero:
            small = halved(self.state.average)  # raises where a weight is not finite
            kept = small if self.recipe.export.precision == "fp16" else self.state.average
            notes = {"network": self.set_up.kind, "recipe": self.state.about["recipe"]}
            if self.set_up.skeleton is not None:  # the recipe may name a file of the user's
                notes["skeleton"] = self.set_up.skeleton.to_dict()
            with kept_whole(self.out, self.state.step):
                save_tensors(weights, kept, notes)
        return weights


def take_step(
    set_up: SetUp, model: _FabricModule, state: TrainingState, batch: Sequence[Tensor]
) -> Tensor:
    """One step of the optimiser and of the running mean: this process's share of the loss.

    Nothing here waits for a GPU. Several processes average their gradients, so that each counts
    its samples' part of the batch times their number.
    """
    fabric, samples, plan = set_up.fabric, set_up.samples, set_up.recipe.optimise
    seed = np.random.SeedSequence([plan.seed, state.step, fabric.global_rank])
    torch.manual_seed(int(seed.generate_state(1)[0]))  # dropout's: a resumed run draws the same
    state.optimiser.zero_grad(set_to_none=True)
    losses = []
    parts = list(zip(*(torch.split(tensor, set_up.part) for tensor in batch), strict=True))
    for number, part in enumerate(parts, 1):
        with fabric.no_backward_sync(model, enabled=number < len(parts)):
            loss = samples.loss(model(samples.images(part)), part, state.network)
            loss = loss * (len(part[0]) * fabric.world_size / set_up.batch)
            fabric.backward(loss)
        losses.append(loss.detach())
    if plan.clip is not None:
        fabric.clip_gradients(model, state.optimiser, max_norm=plan.clip, error_if_nonfinite=False)
    state.optimiser.step()
    state.step += 1
    decay = min(plan.average, state.step / (state.step + 20))
    _move_average(state.average, state.network.state_dict(), decay)
    return torch.stack(losses).sum()


@torch.no_grad()
def _move_average(average: dict[str, Tensor], now: dict[str, Tensor], decay: float) -> None:
    """Move the running mean of the weights towards the weights; counters are copied."""
    floats = [name for name, value in now.items() if value.is_floating_point()]
    torch._foreach_lerp_([average[n] for n in floats], [now[n] for n in floats], 1 - decay)
    for name in now.keys() - floats:
        average[name].copy_(now[name])


__all__ = ["Machine", "TrainingError", "train"]
