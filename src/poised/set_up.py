"""The network on its device, its optimiser and its state, as found or from the start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import nn

from poised.checkpoint import describe_network
from poised.datasets.training import open_samples
from poised.nets import build
from poised.plan import Trial, departures, part_size
from poised.pretrained import freeze, start_backbone, start_network
from poised.recipe import Optimise, Recipe
from poised.resume import Saved, TrainingState
from poised.types import Skeleton


class SetUp:
    """What is trained, on which samples and in which parts.

    kind: the network's arguments of `nets.build`; batch: images a step, of all devices; part:
    images a forward pass on this device; told: what the run does otherwise than its paper;
    skeleton: the recipe's, as it was when the run began.
    """

    def __init__(self, fabric: Fabric, recipe: Recipe, say: Callable[[str], None]) -> None:
        self.fabric, self.recipe = fabric, recipe
        torch.manual_seed(recipe.optimise.seed)
        self.skeleton = None if recipe.skeleton is None else Skeleton.load(recipe.skeleton)
        self.samples = open_samples(recipe)
        self.kind = describe_network(recipe, self.samples.channels)
        self.network = network = build(**self.kind)
        self.batch = _batch_size(
            len(self.samples), fabric.world_size, recipe.optimise, network, say
        )
        trial = Trial(network, recipe)
        for name in trial.idle:  # or several processes would wait for their gradients
            network.get_parameter(name).requires_grad_(False)
        share = math.ceil(self.batch / fabric.world_size)
        self.part = part_size(share, recipe.optimise, trial.kept, fabric.device)
        if recipe.optimise.sync_norms and fabric.world_size > 1:
            self.part = _alike_on_all(fabric, self.batch, self.part)
        norms = _has_norms(network)
        self.told = departures(recipe, fabric.world_size, share, self.part, trial.idle, norms)

    def begin(
        self, about: dict[str, Any], found: Saved | None, say: Callable[[str], None]
    ) -> tuple[_FabricModule, TrainingState]:
        """The network as it is called in training, and the state. about: see `TrainingState`."""
        fabric, recipe, plan = self.fabric, self.recipe, self.recipe.optimise
        if found is None and recipe.network.weights is not None:
            start_network(
                self.network, recipe.network.weights, recipe.network.anew, recipe=recipe, say=say
            )
        elif found is None:
            start_backbone(self.network, recipe.backbone.weights, say=say)
        if plan.backbone == 0:
            freeze(self.network, plan.slow)
        network = self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if plan.sync_norms and fabric.world_size > 1:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        called = cast("nn.Module", torch.compile(network)) if plan.compile else network
        model, optimiser = fabric.setup(called, optimiser_of(network, recipe))
        average = {name: value.clone() for name, value in network.state_dict().items()}
        scaler = getattr(fabric.strategy.precision, "scaler", None)
        state = TrainingState(about, network, optimiser, average, scaler)
        if found is not None:
            state.restore(found)
        return model, state


def _batch_size(
    count: int, processes: int, plan: Optimise, network: nn.Module, say: Callable[[str], None]
) -> int:
    """The recipe's, or all samples where they are fewer; ValueError where nothing can be learnt."""
    batch = min(plan.batch, count)
    norms = _has_norms(network)
    if batch == 0 or (batch == 1 < plan.batch and norms):
        raise ValueError(
            f"{count} to train on, where optimise.batch is {plan.batch}: too few, a network "
            f"{'with' if norms else 'without'} batch norms needs {2 if norms else 1} at least"
        )
    if batch < processes:
        raise ValueError(f"steps of {batch} for {processes} processes: each needs one at least")
    if batch < plan.batch:
        say(f"{count} to train on, fewer than optimise.batch {plan.batch}: each step takes all")
    return batch


def _alike_on_all(fabric: Fabric, batch: int, part: int) -> int:
    """Images a forward pass, the same on all devices, which meet in each batch norm of it."""
    if fabric.device.type != "cuda":
        raise ValueError("optimise.sync_norms: torch has such batch norms for GPUs alone")
    if batch % fabric.world_size:
        raise ValueError(
            f"optimise.sync_norms: steps of {batch} on {fabric.world_size} devices, which must "
            "each have as many"
        )
    least = fabric.all_reduce(torch.tensor(part, device=fabric.device), reduce_op="min")
    return int(cast("torch.Tensor", least))


def _has_norms(network: nn.Module) -> bool:
    return any(isinstance(part, nn.BatchNorm2d) for part in network.modules())


def optimiser_of(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
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
    fused = plan.precision != "16-mixed"  # one that unscales gradients itself cannot clip them
    if plan.optimiser == "rmsprop":
        return torch.optim.RMSprop(groups, lr=lr, weight_decay=decay)
    if plan.optimiser == "adam":
        return torch.optim.Adam(groups, lr=lr, weight_decay=decay, fused=fused)
    return torch.optim.AdamW(groups, lr=lr, weight_decay=decay, fused=fused)
