"""What is drawn at each step of a training, by whom: the same for any number of processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from poised.datasets.training import Samples
from poised.interrupt import left_to_the_parent, pass_over_children
from poised.machine import BY_A_READER
from poised.recipe import Optimise

MOST_WORKERS = 8  # a process, where a recipe leaves it open


class Places(Sampler[list[tuple[int, int]]]):
    """A process's part of every batch from a step on, without end: lists of (epoch, index).

    An epoch's order is decided by the seed and its number alone; what does not fill a batch at its
    end is dropped. rank and world: which of how many processes; each batch is cut into `world`
    parts, of which the first are one longer where it does not divide.
    """

    def __init__(
        self, count: int, batch: int, seed: int, step: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch, self.seed, self.step = count, batch, seed, step
        self.rank, self.world = rank, world

    @property
    def steps(self) -> int:
        """In an epoch."""
        return self.count // self.batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch, begin = divmod(self.step, self.steps)
        while True:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.count)
            for place in range(begin, self.steps):
                whole = order[place * self.batch : (place + 1) * self.batch]
                mine = np.array_split(whole, self.world)[self.rank]
                yield [(epoch, int(index)) for index in mine]
            epoch, begin = epoch + 1, 0


def open_batches(
    fabric: Fabric, samples: Samples, batch: int, plan: Optimise, step: int = 0
) -> Iterator[list[Tensor]]:
    """This process's parts of the batches from a step on, on its device, without end.

    The worker processes that read them begin with the first and live as long as this is read; who
    reads it keeps SIGCHLD's handler (`interrupt.childrens_signal_kept`).
    """
    rank, world = fabric.global_rank, fabric.world_size
    here = world // getattr(fabric.strategy, "num_nodes", 1)
    loader: DataLoader[Any] = DataLoader(
        cast("Dataset[Any]", samples),
        batch_sampler=Places(len(samples), batch, plan.seed, step, rank, world),
        num_workers=usual_workers(here) if plan.workers is None else plan.workers,
        worker_init_fn=left_to_the_parent,
        pin_memory=fabric.device.type == "cuda",
        generator=torch.Generator(),  # its own: torch's is left to the network
    )
    read = iter(loader)  # its workers begin
    pass_over_children()
    try:
        for batch in read:
            yield fabric.to_device(batch)
    except ValueError as error:
        raise _as_raised(error) from error


def _as_raised(error: ValueError) -> ValueError:
    """An error of ours as a worker raised it, of which torch makes a page with its traceback."""
    said = str(error)
    if BY_A_READER not in said:
        return error
    return type(error)(said.strip().splitlines()[-1].partition(": ")[2] or said)


def usual_workers(processes: int) -> int:
    """How many worker processes each of so many on this machine starts: a core is left to it.

    They share the cores; a task of several of Slurm's has as many of its own as it was given.
    """
    own = os.environ.get("SLURM_CPUS_PER_TASK")
    is_task = int(os.environ.get("SLURM_NTASKS", "1")) > 1 and "LOCAL_WORLD_SIZE" not in os.environ
    if own is not None and is_task:
        cores, processes = int(own), 1
    else:
        here = hasattr(os, "sched_getaffinity")
        cores = len(os.sched_getaffinity(0)) if here else os.cpu_count() or 1
    return min(MOST_WORKERS, max(1, cores // processes - 1))
