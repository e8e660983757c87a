"""Which learning rate suits: a range test (Smith, arXiv 1506.01186, §3.3).

A training's first steps, at a rate that grows by the same factor each step from 1e-6 to 1. While it
is too small the loss stands, then it falls, then it rises again. Suggested is a tenth of the rate
where the smoothed loss is lowest: at the lowest point itself training is about to diverge, and a
tenth lies on the slope before it.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.figure import Figure
from rich.progress import track

from poised.batches import open_batches
from poised.files import write_text, written_whole
from poised.interrupt import childrens_signal_kept
from poised.machine import Machine, explained
from poised.recipe import Recipe
from poised.set_up import SetUp
from poised.train import TrainingError, take_step

LOWEST, HIGHEST = 1e-6, 1.0
STEPS = 100
SMOOTHED = 0.9  # what the running mean of the loss keeps a step
SETTLED = 10  # steps, before which it is of too few losses to be compared
ENOUGH = 3.0  # times the lowest smoothed loss: what comes after says nothing more


def find_lr(
    recipe: Recipe,
    out: Path,
    *,
    say: Callable[[str], None] = print,
    machine: Machine | None = None,
) -> float:
    """Try rates, write out/lr.csv (rate, loss, smoothed) and out/lr.png; returns the suggestion.

    `optimise.backbone`'s fraction holds, schedule and warm-up do not. Nothing else is kept, so that
    a training in `out` begins, or goes on, as if this had not been. Raises what `train` raises
    where nothing can be learnt or a process dies, and TrainingError where no rate makes the loss
    fall. machine: one device, if None.
    """
    machine = machine or Machine()
    with machine.settings(), childrens_signal_kept():
        rates, losses = _losses(recipe, machine, say)
    smooth = smoothed(losses)
    best = suggested(rates, smooth)
    out.mkdir(parents=True, exist_ok=True)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("lr", "loss", "smoothed"))
    rows.writerows(zip(rates, losses, smooth, strict=True))
    write_text(out / "lr.csv", table.getvalue())
    _draw(rates, losses, smooth, best, out / "lr.png")
    say(f"{len(rates)} rates from {rates[0]:.1e} to {rates[-1]:.1e} -> {out / 'lr.png'}, lr.csv")
    say(f"suggested: optimise.lr={best:.1e}, a tenth of where the smoothed loss is lowest")
    return best


def _losses(
    recipe: Recipe, machine: Machine, say: Callable[[str], None]
) -> tuple[list[float], list[float]]:
    """The rates that were tried and the loss at each, until it is far above its lowest."""
    plan = recipe.optimise
    several = machine.devices not in ("1", "auto") or machine.nodes > 1
    if several or "LOCAL_WORLD_SIZE" in os.environ:
        raise ValueError("rates are tried by one process on one device (--devices 1)")
    fabric = replace(machine, devices="1").start(plan.precision, [])
    set_up = SetUp(fabric, recipe, say)
    model, state = set_up.begin({}, None, say)
    batches = open_batches(fabric, set_up.samples, set_up.batch, plan)
    rates: list[float] = []
    losses: list[float] = []
    for number in track(range(STEPS), "learning rates"):
        rate = LOWEST * (HIGHEST / LOWEST) ** (number / (STEPS - 1))
        for group in state.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        try:
            loss = take_step(set_up, model, state, next(batches)).item()
        except (RuntimeError, ConnectionError, EOFError) as error:
            raise explained(error, "nothing was written", state.step, 1) from error
        if not math.isfinite(loss):  # the rates before it are what was asked
            break
        rates.append(rate)
        losses.append(loss)
        smooth = smoothed(losses)
        if smooth[-1] > ENOUGH * min(smooth):
            break
    return rates, losses


def smoothed(losses: Sequence[float]) -> list[float]:
    """The running mean of each place, its start at 0 taken out: a constant stays what it is."""
    mean, smooth = 0.0, []
    for number, loss in enumerate(losses, start=1):
        mean = SMOOTHED * mean + (1 - SMOOTHED) * loss
        smooth.append(mean / (1 - SMOOTHED**number))
    return smooth


def suggested(rates: Sequence[float], smooth: Sequence[float]) -> float:
    """A tenth of the rate of the lowest smoothed loss, two digits; TrainingError at the first.

    The first is that of the mean when it is SETTLED.
    """
    lowest = _lowest(smooth)
    if lowest == SETTLED:
        raise TrainingError("the loss falls at no rate: look at the data (poised data show)")
    digits = 1 - math.floor(math.log10(rates[lowest] / 10))
    return round(rates[lowest] / 10, digits)


def _lowest(smooth: Sequence[float]) -> int:
    return min(range(SETTLED, len(smooth)), key=smooth.__getitem__, default=SETTLED)


def _draw(
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    best: float,
    path: Path,
) -> None:
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(rates, losses, color="#8a8a8a", linewidth=0.8, label="loss")
    axes.plot(rates, smooth, color="#2a7f62", label="smoothed")
    axes.axvline(best, color="#c8553d", linewidth=1, label=f"suggested: {best:.1e}")
    lowest = _lowest(smooth)
    low, high = smooth[lowest], max(smooth[SETTLED:lowest])
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.set_ylim(low - 0.2 * (high - low), high + 0.5 * (high - low))
    axes.legend(frameon=False)
    with written_whole(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
