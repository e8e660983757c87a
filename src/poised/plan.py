"""What a training will do on this machine: what fits, what never learns, and words for it."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from poised.cost import measure_cost
from poised.recipe import Optimise, Recipe
from poised.resume import TrainingState

ROOM = 0.8  # of the free memory, for what a step keeps for its gradients; the rest is its own work


class Trial:
    """One step of a network without memory or arithmetic (torch's meta device).

    kept: bytes that one image's forward pass keeps for the gradients, in fp32. idle: the names of
    the parameters that no loss reaches, which some rows of the papers have.
    """

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        twin = copy.deepcopy(network).to("meta").train()
        width, height = recipe.input.size
        images = torch.zeros(2, 3, height, width, device="meta")
        sizes: dict[int, int] = {}  # by the tensor's place in memory: some are kept twice
        own = {id(value) for value in twin.parameters()}
        alive = []

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if id(tensor) not in own:
                alive.append(tensor)  # or its number would be given to another
                sizes[storage._cdata] = storage.nbytes()
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = twin(images)
            loss = _any_loss(twin, outputs, recipe)
        self.kept = sum(sizes.values()) // len(images)
        torch.autograd.backward(loss)
        self.idle = [
            name for name, p in twin.named_parameters() if p.requires_grad and p.grad is None
        ]


def _any_loss(network: nn.Module, outputs: Any, recipe: Recipe) -> Tensor:
    """A number that depends on what the recipe's loss depends on."""
    if recipe.target.loss == "paper":
        targets = torch.zeros_like(outputs[-1])
        own: Tensor = network.loss(outputs, targets, targets[:, :, 0, 0])  # type: ignore[operator]
        return own
    return torch.stack([maps.sum() for maps in outputs]).sum()


def part_size(share: int, plan: Optimise, kept: int, device: torch.device) -> int:
    """How many of its share of a batch a device holds at once.

    The recipe's `step`; else all, or as many equal parts as fit, where the device's free memory is
    known. kept: see `Trial`.
    """
    if plan.step is not None:
        return min(share, plan.step)
    free = free_memory(device)
    if free is None:
        return share
    bytes_each = kept if plan.precision == "32-true" else kept // 2
    fits = max(1, int(ROOM * free / max(1, bytes_each)))
    return math.ceil(share / math.ceil(share / fits))


def free_memory(device: torch.device) -> int | None:
    """Bytes that nobody uses, of a GPU or of this computer; None where it cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    path = Path("/proc/meminfo")
    if device.type == "cpu" and path.is_file():
        for line in path.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return None


def describe_work(recipe: Recipe, samples: int, batch: int) -> str:
    """What a training will do: a line for its user."""
    cost, epochs = measure_cost(recipe), recipe.optimise.epochs
    return (
        f"{samples} to train on, {samples // batch} steps of {batch} an epoch, {epochs} epochs; "
        f"{recipe.network.name}: {cost.params_m:.2f} M parameters, {cost.macs_g:.2f} G MACs each"
    )


def departures(
    recipe: Recipe, devices: int, share: int, part: int, idle: list[str], norms: bool = True
) -> list[str]:
    """What the training does otherwise than its recipe or paper says, or in parts, a line each.

    share, part: images a step and a forward pass on one device; norms: whether batch norms see
    them.
    """
    lines = []
    if recipe.backbone.paper and not (recipe.backbone.weights or recipe.network.weights):
        lines.append(
            f"The paper starts the backbone from {recipe.backbone.paper} weights, this run from "
            "random ones: give backbone.weights=FILE to do as it does."
        )
    plan = recipe.optimise
    if plan.devices is not None and plan.devices != devices:
        lines.append(f"The paper trains on {plan.devices} devices, this run on {devices}.")
    if part < share:
        lines.append(
            f"The {share} images that each step has on a device go through it in "
            f"{math.ceil(share / part)} parts of {part} at most; their gradients are added up."
        )
    theirs = math.ceil(plan.batch / (plan.devices or 1))
    if norms and not (plan.sync_norms and devices > 1) and part < theirs:
        lines.append(f"Each forward pass is of {part}: batch norms see these, not {theirs}.")
    if idle:
        others = " and others" if len(idle) > 1 else ""
        lines.append(
            f"No loss reaches {len(idle)} parameters, which stay as they are: {idle[0]}{others}."
        )
    return lines


def left(steps: int, pace: float, until: float) -> str:
    """How long `steps` take yet at `pace` s each, or by the clock where that ends it sooner."""
    seconds = min(steps * pace, until)
    return f"{seconds / 3600:.1f} h to go" if seconds >= 3600 else f"{seconds / 60:.0f} min to go"


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


def is_due(state: TrainingState, plan: Optimise, epoch_steps: int) -> bool:
    """Whether the state is to be validated before it goes on."""
    if not plan.validate_every or state.step in (0, state.validated):
        return False
    return state.step % (plan.validate_every * epoch_steps) == 0


def gains_no_more(state: TrainingState, plan: Optimise, epoch_steps: int) -> bool:
    """Whether so many validations brought nothing that the training ends early."""
    if plan.patience is None or not plan.validate_every or state.best is None:
        return False
    each = plan.validate_every * epoch_steps
    return (state.validated - state.best_step) // each >= plan.patience
