"""What does our training loop cost beside the bare step, and how long does it wait for data?

python benchmarks/train_step.py ../shared/data/lspet [RECIPE [key=value ...]]

The bare step: forward, the network's loss, backward and the optimiser, of one batch that is there.
Ours: `poised train` itself, on the data set, by the clock of its steps; what it waits for its
samples is taken apart, and told of the steps of each turn after READ_AHEAD. The two take turns,
ROUNDS times STEPS steps each, and the medians count.
On a CPU the two processes that read take their time from the step, unless a core is left to them:
OMP_NUM_THREADS=1 of two. of_matrix_rate: 6 x MACs x batch, the step's arithmetic, by the rate of
torch's large matrix product here, which on a GPU is near its peak.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from common import machine

from poised import train as loop
from poised.batches import open_batches
from poised.cost import measure_cost
from poised.machine import Machine
from poised.read_recipe import load_recipe
from poised.set_up import optimiser_of
from poised.training_log import TrainingLog

STEPS, ROUNDS = 20, 3
READ_AHEAD = 8  # batches of a turn, which may have been read amid the bare steps before it
SMALL = [
    "skeleton=lsp14",
    "optimise.batch=32",
    "network.options.width=0.5",
    "input.size=[96, 128]",
    "test={}",
]


class Clocked:
    """The batches of a training, by which its steps and waits are timed; and bare steps between.

    It stands in for `poised.train.open_batches`.
    """

    def __init__(self, run: loop._Training) -> None:
        self.run, self.plain = run, None
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.waits: list[float] = []

    def __call__(self, *arguments: object) -> Iterator[list[torch.Tensor]]:
        batches = open_batches(*arguments)  # type: ignore[arg-type]
        while True:
            begun = time.perf_counter()
            batch = next(batches)
            self.waits.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            yield batch
            waited(batch)
            self.ours.append(time.perf_counter() - begun)
            if len(self.ours) % STEPS == 0:
                self.bare_steps(batch)

    def bare_steps(self, batch: list[torch.Tensor]) -> None:
        """The same batch, STEPS times, by the fewest lines."""
        network, samples = self.run.state.network, self.run.set_up.samples
        self.plain = self.plain or optimiser_of(network, self.run.recipe)
        precision = self.run.fabric.autocast
        for _ in range(STEPS):
            begun = time.perf_counter()
            self.plain.zero_grad(set_to_none=True)
            with precision():
                loss = samples.loss(network(samples.images(batch)), batch, network)
            loss.backward()
            self.plain.step()
            waited(batch)
            self.bare.append(time.perf_counter() - begun)


def waited(batch: list[torch.Tensor]) -> None:
    """Wait until the device has done what it was given."""
    if batch[0].is_cuda:
        torch.cuda.synchronize()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP a second of the product of two matrices of 4096 (2048 on a CPU) a side, at best."""
    side = 4096 if device.type == "cuda" else 2048
    a = torch.randn(side, side, device=device, dtype=dtype)
    best = math.inf
    for _ in range(6):
        begun = time.perf_counter()
        a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - begun)
    return 2 * side**3 / best


def main() -> None:
    root, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "efafnet-sbn"
    given = [f"dataset={{name: lspet, root: {root}}}", "optimise.epochs=100000", *SMALL]
    recipe = load_recipe(name, [*given, "optimise.workers=2", *sys.argv[3:]])
    with tempfile.TemporaryDirectory() as folder, Machine().settings():
        log = TrainingLog(Path(folder))
        fabric = Machine().start(recipe.optimise.precision, [log.board])
        run = loop._Training(fabric, recipe, Path(folder), log, lambda _: None)
        run.steps = (1 + ROUNDS) * STEPS
        clock = Clocked(run)
        loop.open_batches = clock  # type: ignore[assignment]
        run.run(restart=False)
    ours, bare = statistics.median(clock.ours[STEPS:]), statistics.median(clock.bare[STEPS:])
    late = [n for n in range(STEPS, len(clock.ours)) if n % STEPS >= READ_AHEAD]
    waits, steps = (sum(times[n] for n in late) for times in (clock.waits, clock.ours))
    share = waits / (waits + steps)
    row = {"recipe": recipe.name, "batch": run.batch, "ours_s": round(ours, 4)}
    row |= {"bare_s": round(bare, 4), "ratio": round(ours / bare, 3)}
    row |= {"waiting": f"{share:.1%}", "steps": len(clock.ours) - STEPS}
    dtype = torch.bfloat16 if recipe.optimise.precision == "bf16-mixed" else torch.float32
    rate = matrix_rate(fabric.device, dtype)
    done = 6e9 * measure_cost(recipe).macs_g * run.batch / ours
    row |= {"matrix_gflop_s": round(rate / 1e9), "of_matrix_rate": round(done / rate, 3)}
    row |= {"threads": torch.get_num_threads()}
    device = torch.cuda.get_device_name() if fabric.device.type == "cuda" else "CPU"
    print(json.dumps(row | {"device": device} | machine()))


if __name__ == "__main__":
    main()
