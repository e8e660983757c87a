"""What does our training loop cost beside the bare step, and how long does it wait for data?

python benchmarks/train_step.py ../shared/data/lspet [RECIPE [key=value ...]]

The bare step: forward, the network's loss, backward and the optimiser, of one batch that is there.
Ours: `poised train` itself, on the data set, by the clock of its steps; what it waits for its
samples is taken apart. The two take turns, ROUNDS times STEPS steps each, and the medians count.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from common import machine

from poised import train as loop
from poised.machine import Machine
from poised.read_recipe import load_recipe
from poised.set_up import optimiser_of
from poised.training_log import TrainingLog

STEPS, ROUNDS = 10, 3
SMALL = [
    "skeleton=lsp14",
    "optimise.batch=32",
    "network.options.width=0.5",
    "input.size=[96, 128]",
    "test={}",
]


class Clocked(loop._Training):
    """A training whose steps, and waits for samples, are timed; every second round is bare."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.waits: list[float] = []
        self.last = time.perf_counter()
        self.plain: torch.optim.Optimizer | None = None

    def _batches(self):  # type: ignore[no-untyped-def]
        for batch in super()._batches():
            self.waits.append(time.perf_counter() - self.last)
            begun = time.perf_counter()
            yield batch
            self.ours.append(time.perf_counter() - begun)
            if self.state.step % STEPS == 0:
                self._bare_steps(batch)
            self.last = time.perf_counter()

    def _bare_steps(self, batch: list[torch.Tensor]) -> None:
        network, samples = self.state.network, self.samples
        self.plain = self.plain or optimiser_of(network, self.recipe)
        images = samples.images(batch)
        for _ in range(STEPS):
            begun = time.perf_counter()
            self.plain.zero_grad(set_to_none=True)
            samples.loss(network(images), batch, network).backward()
            self.plain.step()
            if images.is_cuda:
                torch.cuda.synchronize()
            self.bare.append(time.perf_counter() - begun)


def main() -> None:
    root, name = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "efafnet-sbn"
    given = [f"dataset={{name: lspet, root: {root}}}", "optimise.epochs=100000", *SMALL]
    recipe = load_recipe(name, [*given, "optimise.workers=2", *sys.argv[3:]])
    with tempfile.TemporaryDirectory() as folder, Machine().settings():
        log = TrainingLog(Path(folder))
        fabric = Machine().start(recipe.optimise.precision, [log.board])
        run = Clocked(fabric, recipe, Path(folder), log, lambda _: None)
        run.steps = (1 + ROUNDS) * STEPS
        run.run(restart=False)
    ours, bare = statistics.median(run.ours[STEPS:]), statistics.median(run.bare[STEPS:])
    waited = sum(run.waits[STEPS:]) / (sum(run.waits[STEPS:]) + sum(run.ours[STEPS:]))
    row = {"recipe": recipe.name, "batch": run.batch, "ours_s": round(ours, 4)}
    row |= {"bare_s": round(bare, 4), "ratio": round(ours / bare, 3)}
    print(json.dumps(row | {"waiting": f"{waited:.1%}"} | machine()))


if __name__ == "__main__":
    main()
