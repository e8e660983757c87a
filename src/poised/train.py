"""The training loop: one recipe in, a model folder out; it may be stopped and resumed anywhere.

out/state.safetensors  weights, their running mean, the optimiser, the place in the data
out/<name>.safetensors the running mean of the weights: the model
out/<name>.onnx        the same, exported with what a predictor must know
out/recipe.yaml, out/log/ (metrics.csv, TensorBoard)

A resumed run goes on in metrics.csv; the steps since the saved state stand in it twice.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import yaml
from lightning.fabric import Fabric
from lightning.fabric.loggers.tensorboard import TensorBoardLogger
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from poised.checkpoint import (
    describe_network,
    halved,
    optimiser_tensors,
    read_tensors,
    restore_optimiser,
    save_tensors,
)
from poised.datasets.training import Samples, open_samples
from poised.nets import build
from poised.pretrained import start_backbone, start_network
from poised.recipe import Optimise, Recipe

SAVE_EVERY_S = 120.0
LOG_EVERY = 20  # steps


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


def train(recipe: Recipe, out: Path, *, say: Callable[[str], None] = print) -> Path:
    """Train to the end, or go on from out/state.safetensors; returns the weights' file.

    Raises TrainingError at a loss that is not finite, and ValueError where `out` holds the
    state of another recipe.
    """
    plan = recipe.optimise
    out.mkdir(parents=True, exist_ok=True)
    board = TensorBoardLogger(out, "log", "")
    fabric = Fabric(devices=1, precision=plan.precision, loggers=board)
    torch.manual_seed(plan.seed)
    samples = open_samples(recipe)
    kind = describe_network(recipe, samples.channels)
    network = build(**kind)
    if recipe.network.weights is None:
        start_backbone(network, recipe.backbone.weights, say=say)
    else:
        start_network(network, recipe.network.weights)
    model, optimiser = fabric.setup(
        network.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        _optimiser(network, recipe),
    )
    average = {name: value.clone() for name, value in network.state_dict().items()}
    epoch, place, step, spent = _resume(out, recipe, network, optimiser, average)
    if step:
        say(f"resumed at epoch {epoch}, step {step}, after {spent:.0f} s")
    else:
        text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)
        (out / "recipe.yaml").write_text(text, encoding="utf-8")
    steps_an_epoch = max(1, len(samples) // plan.batch)
    start = saved = time.monotonic()

    def fraction() -> float:
        by_steps = step / (plan.epochs * steps_an_epoch)
        clock = spent + time.monotonic() - start
        return by_steps if plan.minutes is None else max(by_steps, clock / (60 * plan.minutes))

    def save() -> None:
        tensors = {f"network.{k}": v for k, v in network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in average.items()}
        notes = {"recipe": recipe.model_dump(mode="json"), "epoch": epoch, "place": place}
        notes |= {"step": step, "seconds": spent + time.monotonic() - start}
        save_tensors(out / "state.safetensors", tensors | optimiser_tensors(optimiser), notes)

    model.train()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task(recipe.name, total=1.0)
        while fraction() < 1:
            order = _Order(len(samples), plan.seed, epoch, place)
            loader: DataLoader[Any] = DataLoader(
                cast("Dataset[Any]", samples),
                plan.batch,
                sampler=order,
                num_workers=plan.workers,
                drop_last=True,
            )
            for batch in cast("Iterable[list[Tensor]]", fabric.setup_dataloaders(loader)):
                done = fraction()
                if done >= 1:
                    break
                for group in optimiser.param_groups:
                    group["lr"] = plan.lr * group["factor"] * schedule(done, plan)
                images = batch[0].contiguous(memory_format=torch.channels_last)
                loss = samples.loss(model(images), batch, network)
                if not torch.isfinite(loss):
                    raise TrainingError(
                        f"the loss is {loss.item()} at epoch {epoch}, step {step}; the last state "
                        f"is in {out}. Try a smaller optimise.lr, or precision 32-true."
                    )
                optimiser.zero_grad(set_to_none=True)
                fabric.backward(loss)
                if plan.clip is not None:
                    fabric.clip_gradients(model, optimiser, max_norm=plan.clip)
                optimiser.step()
                step, place = step + 1, place + plan.batch
                _move_average(average, network.state_dict(), min(plan.average, step / (step + 20)))
                progress.update(bar, completed=done, description=f"epoch {epoch} loss {loss:.4f}")
                if step % LOG_EVERY == 1:
                    lr = optimiser.param_groups[-1]["lr"]
                    row = {"loss": loss.item(), "lr": lr, "epoch": epoch}
                    fabric.log_dict(row, step)
                    _append(out / "log" / "metrics.csv", {"step": step, **row})
                if time.monotonic() - saved > SAVE_EVERY_S:
                    save()
                    if not progress.console.is_terminal:
                        say(f"{done:.1%} epoch {epoch} step {step} loss {loss:.4f}")
                    saved = time.monotonic()
            else:
                epoch, place = epoch + 1, 0
                continue
            break
    save()
    weights = out / f"{recipe.name}.safetensors"
    save_tensors(
        weights, halved(average), {"network": kind, "recipe": recipe.model_dump(mode="json")}
    )
    say(f"{step} steps, {spent + time.monotonic() - start:.0f} s -> {weights}")
    board.finalize("success")
    return weights


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's, in two groups: the backbone at its own fraction of the rate, and the rest."""
    backbone = {name for name, _ in network.named_parameters() if name.startswith("backbone.")}
    groups = [
        {
            "params": [
                p
                for n, p in network.named_parameters()
                if (n in backbone) == inside and p.requires_grad
            ],
            "factor": factor,
        }
        for inside, factor in ((True, recipe.optimise.backbone), (False, 1.0))
    ]
    plan = recipe.optimise
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


def _resume(
    out: Path,
    recipe: Recipe,
    network: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> tuple[int, int, int, float]:
    """Put out/state.safetensors back where there is one: epoch, place in it, step, seconds."""
    path = out / "state.safetensors"
    if not path.is_file():
        return 0, 0, 0, 0.0
    tensors, notes = read_tensors(path)
    if notes["recipe"]["network"] != recipe.model_dump(mode="json")["network"]:
        raise ValueError(f"{path} is the state of another network; choose another --out")
    network.load_state_dict(_under("network.", tensors))
    average.update(_under("average.", tensors))
    restore_optimiser(optimiser, tensors)
    return notes["epoch"], notes["place"], notes["step"], notes["seconds"]


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


__all__ = ["Samples", "TrainingError", "schedule", "train"]
