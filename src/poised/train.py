"""The training loop: one recipe in, a model folder out; it may be stopped and resumed anywhere.

out/state.safetensors  weights, their running mean, the optimiser, the place in the data
out/<name>.safetensors the running mean of the weights: the model
out/<name>.onnx        the same, exported with what a predictor must know
out/recipe.yaml, out/log/ (metrics.csv, TensorBoard)
out/lock               held by the process that trains

A run that was stopped ends with the weights of one that was not, bit for bit on one machine, if
the steps and not the clock end it. metrics.csv has each row once; TensorBoard may repeat some.
"""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml
from lightning_fabric import Fabric
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from poised.checkpoint import describe_network, halved, save_tensors
from poised.cost import measure_cost
from poised.datasets.training import Samples, open_samples
from poised.files import locked, write_text
from poised.interrupt import Interrupted, heard, left_to_the_parent
from poised.nets import build
from poised.pretrained import freeze, start_backbone, start_network
from poised.recipe import Optimise, Recipe
from poised.resume import Saved, TrainingState, cut_log, find_state, put_away
from poised.types import Skeleton

SAVE_EVERY_S = 120.0
LOG_EVERY = 20  # steps
TIMED = 20  # first steps, by the later half of which the time to come is told


class TrainingError(RuntimeError):
    """A training that must stop: says at which step and what to try."""


class _Order(Sampler[tuple[int, int]]):
    """(epoch, index) in an order that the seed and the epoch alone decide, from a given place."""

    def __init__(self, count: int, seed: int, epoch: int, start: int) -> None:
        order = np.random.default_rng([seed, epoch]).permutation(count)[start:]
        self.places = [(epoch, int(index)) for index in order]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


def schedule(done: float, plan: Optimise) -> float:
    """The learning rate's factor at a fraction `done` of the training.

    Linear up during `warm_up`; then the epochs in `drops` multiply it by `factor`, or, without
    any, a cosine goes to zero.
    """
    if done < plan.warm_up:
        return done / plan.warm_up
    if plan.drops:
        return float(plan.factor ** sum(done * plan.epochs >= epoch for epoch in plan.drops))
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - plan.warm_up) / (1 - plan.warm_up))))


def train(
    recipe: Recipe, out: Path, *, restart: bool = False, say: Callable[[str], None] = print
) -> Path:
    """Train to the end, or go on from out/state.safetensors; returns the weights' file.

    A state is gone on with where the recipe is the one that it was begun with, but for the run's
    length (optimise.epochs, optimise.minutes) and what does not touch the training: `test`,
    `export`, `optimise.workers`, and where recipe and figures come from (resume.FREE).
    restart: put the run in `out` away into out/earlier-N and begin anew.

    SIGTERM and Ctrl-C end it after the step that runs: Interrupted, the state saved.

    Raises TrainingError at a loss that is not finite; ValueError where `out` holds another
    training (each field is named), where there are too few samples, and in one of several
    processes (torchrun); BlockingIOError where another process trains in `out`.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError(
            f"this is one of {os.environ['WORLD_SIZE']} processes (WORLD_SIZE), and each would "
            "train all of it: training knows one device only as yet; start it without torchrun"
        )
    out.mkdir(parents=True, exist_ok=True)
    with locked(out / "lock"):
        return _train(recipe, out, restart, say)


def _train(recipe: Recipe, out: Path, restart: bool, say: Callable[[str], None]) -> Path:
    plan = recipe.optimise
    board = TensorBoardLogger(out, "log", "")
    fabric = Fabric(devices=1, precision=plan.precision, loggers=board)
    torch.manual_seed(plan.seed)
    samples = open_samples(recipe)
    about = {"recipe": recipe.model_dump(mode="json"), "samples": len(samples)}
    found = None if restart else find_state(out, about)
    kind = describe_network(recipe, samples.channels)
    network = build(**kind)
    batch = _batch_size(len(samples), plan, network, say)
    model, state = _begin(fabric, recipe, network, about, found, say)
    steps = plan.epochs * (len(samples) // batch)
    if plan.minutes is None and state.step > steps:
        raise ValueError(
            f"the run in {out} has {state.step} steps, optimise.epochs={plan.epochs} asks for "
            f"{steps}: its model stays; train a shorter one in another folder (--out OTHER)"
        )
    if found is not None:
        say(f"resumed at epoch {state.epoch}, step {state.step}, after {state.seconds:.0f} s")
    elif restart and (earlier := put_away(out)):
        say(f"the run that was here -> {earlier}")
    say(describe_work(recipe, len(samples), batch))
    table = out / "log" / "metrics.csv"
    cut_log(table, state.step)
    whole = recipe.model_dump(mode="json") | {"base": None}  # its base's fields are filled in
    write_text(out / "recipe.yaml", yaml.safe_dump(whole, sort_keys=False))
    saved = time.monotonic()
    begun = saved - state.seconds
    first, timed = state.step, saved

    def fraction() -> float:
        by_steps = state.step / steps
        clock = time.monotonic() - begun
        return by_steps if plan.minutes is None else max(by_steps, clock / (60 * plan.minutes))

    def save() -> None:
        state.seconds = time.monotonic() - begun
        state.save(out)

    model.train()
    batches = _batches(fabric, samples, batch, plan, state)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with heard() as stopped, Progress(*columns) as progress:
        bar = progress.add_task(recipe.name, total=1.0)
        while (done := fraction()) < 1:
            for group in state.optimiser.param_groups:
                group["lr"] = plan.lr * group["factor"] * schedule(done, plan)
            loss = _step(fabric, model, state, samples, next(batches), plan)
            progress.update(bar, completed=done, description=f"epoch {state.epoch} loss {loss:.4f}")
            if state.step % LOG_EVERY == 1:
                lr = state.optimiser.param_groups[-1]["lr"]
                row = {"loss": loss, "lr": lr, "epoch": state.epoch}
                fabric.log_dict(row, state.step)
                _append(table, {"step": state.step, **row})
            if state.step == first + TIMED // 2:
                timed = time.monotonic()
            if state.step == first + TIMED:
                pace = (time.monotonic() - timed) / (TIMED - TIMED // 2)
                say(f"{pace:.2f} s a step: {_left(plan, steps - state.step, pace, begun)}")
            if time.monotonic() - saved > SAVE_EVERY_S:
                save()
                if not progress.console.is_terminal:
                    say(f"{done:.1%} epoch {state.epoch} step {state.step} loss {loss:.4f}")
                saved = time.monotonic()
            if (number := stopped()) is not None:
                save()
                raise Interrupted(
                    number, f"stopped at step {state.step}, kept in {out}: the same command goes on"
                )
    save()
    weights = out / f"{recipe.name}.safetensors"
    small = halved(state.average)  # raises where a weight is not finite
    kept = small if recipe.export.precision == "fp16" else state.average
    notes = {"network": kind, "recipe": about["recipe"]}
    if recipe.skeleton is not None:  # the recipe may name a file of the user's
        notes["skeleton"] = Skeleton.load(recipe.skeleton).to_dict()
    save_tensors(weights, kept, notes)
    say(f"{state.step} steps, {state.seconds:.0f} s -> {weights}")
    board.finalize("success")
    return weights


def describe_work(recipe: Recipe, samples: int, batch: int) -> str:
    """What a training will do: a line for its user."""
    cost, epochs = measure_cost(recipe), recipe.optimise.epochs
    return (
        f"{samples} to train on, {samples // batch} steps of {batch} an epoch, {epochs} epochs; "
        f"{recipe.network.name}: {cost.params_m:.2f} M parameters, {cost.macs_g:.2f} G MACs each"
    )


def _left(plan: Optimise, steps: int, pace: float, begun: float) -> str:
    """How long it takes yet, by its steps, or by the clock where that ends it sooner."""
    seconds = steps * pace
    if plan.minutes is not None:
        seconds = min(seconds, begun + 60 * plan.minutes - time.monotonic())
    return f"{seconds / 3600:.1f} h to go" if seconds >= 3600 else f"{seconds / 60:.0f} min to go"


def _begin(
    fabric: Fabric,
    recipe: Recipe,
    network: nn.Module,
    about: dict[str, Any],
    found: Saved | None,
    say: Callable[[str], None],
) -> tuple[nn.Module, TrainingState]:
    """The network on its device and all that its training needs, as found or from the start."""
    if found is None and recipe.network.weights is not None:
        start_network(network, recipe.network.weights, recipe.network.anew, recipe=recipe, say=say)
    elif found is None:
        start_backbone(network, recipe.backbone.weights, say=say)
    if recipe.optimise.backbone == 0:
        freeze(network, recipe.optimise.slow)
    model, optimiser = fabric.setup(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        _optimiser(network, recipe),
    )
    average = {name: value.clone() for name, value in network.state_dict().items()}
    state = TrainingState(about, network, optimiser, average)
    if found is not None:
        state.restore(found)
    return model, state


def _batch_size(count: int, plan: Optimise, network: nn.Module, say: Callable[[str], None]) -> int:
    """The recipe's, or all samples where they are fewer; ValueError where nothing can be learnt."""
    batch = min(plan.batch, count)
    norms = any(isinstance(part, nn.BatchNorm2d) for part in network.modules())
    if batch == 0 or (batch == 1 < plan.batch and norms):
        raise ValueError(
            f"{count} to train on, where optimise.batch is {plan.batch}: too few, a network "
            f"{'with' if norms else 'without'} batch norms needs {2 if norms else 1} at least"
        )
    if batch < plan.batch:
        say(f"{count} to train on, fewer than optimise.batch {plan.batch}: each step takes all")
    return batch


def _batches(
    fabric: Fabric, samples: Samples, batch: int, plan: Optimise, state: TrainingState
) -> Iterator[list[Tensor]]:
    """Batches from the state's place on, epoch after epoch without end; a rest is dropped."""
    while True:
        loader: DataLoader[Any] = DataLoader(
            cast("Dataset[Any]", samples),
            batch,
            sampler=_Order(len(samples), plan.seed, state.epoch, state.place),
            num_workers=plan.workers,
            worker_init_fn=left_to_the_parent,
            drop_last=True,
            generator=torch.Generator(),  # its own: torch's is left to the network, see resume
        )
        yield from cast("Iterable[list[Tensor]]", fabric.setup_dataloaders(loader))
        state.epoch, state.place = state.epoch + 1, 0


def _step(
    fabric: Fabric,
    model: nn.Module,
    state: TrainingState,
    samples: Samples,
    batch: list[Tensor],
    plan: Optimise,
) -> float:
    """One step of the optimiser and of the running mean: the loss before it."""
    count = len(batch[0])
    state.optimiser.zero_grad(set_to_none=True)
    losses = []
    for part in zip(*(torch.split(tensor, plan.step or count) for tensor in batch), strict=True):
        images = part[0].contiguous(memory_format=torch.channels_last)
        loss = samples.loss(model(images), list(part), state.network) * (len(images) / count)
        fabric.backward(loss)
        losses.append(loss.detach())
    value = torch.stack(losses).sum().item()
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss is {value} at epoch {state.epoch}, step {state.step}; what was saved before "
            "is kept. Begin anew (--restart) with a smaller optimise.lr, or precision 32-true."
        )
    if plan.clip is not None:
        fabric.clip_gradients(model, state.optimiser, max_norm=plan.clip)
    state.optimiser.step()
    state.step, state.place = state.step + 1, state.place + count
    decay = min(plan.average, state.step / (state.step + 20))
    _move_average(state.average, state.network.state_dict(), decay)
    return value


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's, in two groups: slow modules at their fraction of the rate, and the rest."""
    plan = recipe.optimise
    trained = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for name, p in trained if (name.split(".")[0] in plan.slow) == is_slow],
            "factor": factor,
        }
        for is_slow, factor in ((True, plan.backbone), (False, 1.0))
    ]
    lr, decay = plan.lr, plan.weight_decay
    if plan.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, lr=lr, weight_decay=decay)
    if plan.optimiser == "adam":
        return torch.optim.Adam(groups, lr=lr, weight_decay=decay, fused=True)
    return torch.optim.AdamW(groups, lr=lr, weight_decay=decay, fused=True)


def _append(path: Path, row: dict[str, float]) -> None:
    """A row of a CSV file, whose first one names the columns (Fabric's logger deletes the file)."""
    path.parent.mkdir(exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if file.tell() == 0:
            writer.writeheader()
        writer.writerow(row)


@torch.no_grad()
def _move_average(average: dict[str, Tensor], now: dict[str, Tensor], decay: float) -> None:
    """Move the running mean of the weights towards the weights; counters are copied."""
    for name, value in now.items():
        if value.is_floating_point():
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


__all__ = ["Samples", "TrainingError", "schedule", "train"]
