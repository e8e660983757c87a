"""The devices that a training runs on, one or many, by Lightning Fabric; and what fails there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.strategies.ddp import DDPStrategy
from safetensors import SafetensorError

BY_A_READER = " in DataLoader worker process "  # torch's words within an error that one raised


class TrainingError(RuntimeError):
    """A training that must stop: says at which step and what to try."""


@dataclass(frozen=True)
class Machine:
    """accelerator: "cpu", "cuda", "auto"; devices: of each node, a number or "auto" for all.

    strategy: of Fabric's, by name; "auto" is DDP for several, over nccl on GPUs, gloo on CPUs.
    Started by torchrun, devices and nodes are as it says; by Slurm's srun, as given here.
    deterministic: only operations that give the same bits each time, which may be slower ones.
    """

    accelerator: str = "auto"
    devices: str = "1"
    nodes: int = 1
    strategy: str = "auto"
    deterministic: bool = False

    def start(self, precision: Any, loggers: list[Logger]) -> Fabric:
        """Fabric, its processes begun and joined; called in each of them."""
        on_gpu = self.accelerator != "cpu" and torch.cuda.is_available()
        if self.accelerator not in ("auto", "cpu", "cuda"):
            raise ValueError(f"accelerator is {self.accelerator}, must be auto, cpu or cuda")
        if self.accelerator == "cuda" and not on_gpu:
            raise ValueError("accelerator is cuda, but torch finds no GPU here")
        if precision == "16-mixed" and not on_gpu:
            raise ValueError("optimise.precision 16-mixed is for GPUs; take bf16-mixed, or 32-true")
        nodes = self.nodes
        if self.devices == "auto":
            devices = torch.cuda.device_count() if on_gpu else 1
        elif self.devices.isdecimal() and int(self.devices) > 0:
            devices = int(self.devices)
        else:
            raise ValueError(f"devices is {self.devices}, must be a number of them, or auto")
        if "LOCAL_WORLD_SIZE" in os.environ:  # torchrun's
            devices = int(os.environ["LOCAL_WORLD_SIZE"])
            nodes = int(os.environ["WORLD_SIZE"]) // devices
        strategy: Any = self.strategy
        if strategy == "auto" and devices * nodes > 1:
            strategy = DDPStrategy(process_group_backend="nccl" if on_gpu else "gloo")
        fabric = Fabric(
            accelerator=self.accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=precision,
            loggers=loggers,
        )
        fabric.launch()
        return fabric

    @contextmanager
    def settings(self) -> Iterator[None]:
        """torch's settings for the training, and what they were after it."""
        before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(self.deterministic)
        torch.backends.cudnn.benchmark = not self.deterministic
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before[0])
            torch.backends.cudnn.benchmark = before[1]


def agreed(fabric: Fabric, value: Any) -> Any:
    """The first process's value, in all of them."""
    return value if fabric.world_size == 1 else fabric.broadcast(value)


def heard_by_any(fabric: Fabric, number: int | None) -> int | None:
    """The signal that any of the processes has heard, in all of them."""
    if fabric.world_size == 1:
        return number
    told = torch.tensor(number or 0, device=fabric.device)
    return int(cast("torch.Tensor", fabric.all_reduce(told, reduce_op="max"))) or None


def is_first(machine: Machine | None = None) -> bool:
    """Whether this process is the only one, or the first of several: the one that writes.

    machine: that the processes will be of, before they have met: Slurm's tasks may be single ones.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank() == 0
    ranks = ["RANK", "LOCAL_RANK", "NODE_RANK"]  # as the launcher told them
    if machine is not None and (machine.devices, machine.nodes) != ("1", 1):
        ranks.append("SLURM_PROCID")
    return all(os.environ.get(name, "0") == "0" for name in ranks)


@contextmanager
def kept_whole(out: Path, step: int) -> Iterator[None]:
    """For writing a file of a run: TrainingError where the disk does not take it."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"{out} cannot be written to at step {step}: {error}. What was saved before is whole: "
            "make room, and the same command goes on from there."
        ) from error


def explained(
    error: RuntimeError | ConnectionError | EOFError, kept: str, step: int, processes: int
) -> RuntimeError | ConnectionError | EOFError:
    """An error of torch's in a user's words, where it is known: a process has died.

    A ConnectionError or EOFError is a data process's that died amid what it was sending; where
    such a process raised one itself, torch says so in its text. kept: what is not lost.
    """
    said = str(error) or type(error).__name__
    if isinstance(error, TrainingError) or BY_A_READER in said:
        return error
    lost = "DataLoader worker (pid" in said or "Pin memory thread" in said
    if lost or isinstance(error, ConnectionError | EOFError):
        return TrainingError(
            f"a process that reads the data died at step {step}: {said}. Often memory is short "
            f"(fewer optimise.workers); {kept}."
        )
    if isinstance(error, torch.OutOfMemoryError):
        return TrainingError(
            f"the device's memory is full at step {step}: give a smaller optimise.step; {kept}. "
            f"Or begin anew (--restart) with optimise.precision=bf16-mixed. ({error})"
        )
    met = torch.distributed.DistError if torch.distributed.is_available() else ()
    if processes > 1 and (isinstance(error, met) or "gloo" in str(error).lower()):
        return TrainingError(
            f"the {processes} processes lost each other at step {step}: one of them died, see its "
            f"own message ({error}); {kept}."
        )
    return error
