"""What a run writes down of itself, and shows while it goes.

out/log/metrics.csv, metrics.jsonl        a row every few steps: the loss, the rate
out/log/validation.csv, validation.jsonl  a row a validation: its figures
out/log/events.out.*                      the same for TensorBoard, with pictures of predictions
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from lightning_fabric.loggers.logger import Logger
from lightning_fabric.loggers.tensorboard import TensorBoardLogger
from numpy.typing import NDArray
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from poised.files import unlink_link, unlinked, write_bytes
from poised.plan import left
from poised.reading import json_text, nulled

METRICS, VALIDATION = "metrics", "validation"
Show = Callable[[float, int, int, float, float, float | None], str]


class TrainingLog:
    """The tables of the run in `out`; board: Fabric's logger for TensorBoard."""

    def __init__(self, out: Path) -> None:
        self.folder = out / "log"
        self.board = TensorBoardLogger(out, "log", "")
        self.is_terminal = False

    def row(self, fabric: Fabric, step: int, values: Mapping[str, float]) -> None:
        """A row of the metrics, by the first process."""
        fabric.log_dict(values, step)
        if fabric.is_global_zero:
            self._append(METRICS, {"step": step, **values})

    def validated(self, fabric: Fabric, step: int, figures: Mapping[str, float]) -> None:
        """A row of the validations."""
        fabric.log_dict({f"validation/{name}": value for name, value in figures.items()}, step)
        self._append(VALIDATION, {"step": step, **figures})

    def picture(self, step: int) -> Callable[[NDArray[np.uint8]], None]:
        """Where a picture (H, W, 3) of this step's predictions goes: to TensorBoard."""
        return lambda pixels: self.board.experiment.add_image(
            "predictions", pixels, step, dataformats="HWC"
        )

    def _append(self, name: str, row: Mapping[str, float]) -> None:
        """A row of both forms of a table; the CSV's first one names the columns."""
        self.folder.mkdir(exist_ok=True)
        csv_file, json_file = self.folder / f"{name}.csv", self.folder / f"{name}.jsonl"
        with open(csv_file, "a", newline="", encoding="utf-8", opener=unlinked) as file:
            writer = csv.DictWriter(file, row)
            if file.tell() == 0:
                writer.writeheader()
            writer.writerow(row)
        with open(json_file, "a", encoding="utf-8", opener=unlinked) as file:
            file.write(json_text(nulled(row)) + "\n")

    def cut(self, step: int) -> None:
        """Take the rows after `step` out of the tables: a run goes on there, and writes them again.

        A line without an end goes too.
        """
        for name in (METRICS, VALIDATION):
            cut_lines(self.folder / f"{name}.csv", lambda line: _step_of(line) <= step)
            cut_lines(self.folder / f"{name}.jsonl", lambda line: json.loads(line)["step"] <= step)

    @contextmanager
    def progress(self, name: str, shown: bool) -> Iterator[Show]:
        """A bar, and what moves it: how much is done, samples, epoch, loss, share, best figure.

        share: of the time, for which the steps waited for their samples. It gives all of that as
        text, with the time that is left, for where no bar can be seen.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=not shown) as bars:
            self.is_terminal = bars.console.is_terminal
            bar = bars.add_task(name, total=1.0)
            begun: tuple[float, int, float] | None = None

            def show(
                done: float, seen: int, epoch: int, loss: float, share: float, best: float | None
            ) -> str:
                nonlocal begun
                now = time.monotonic()
                begun = begun or (now, seen, done)
                text = f"epoch {epoch} loss {loss:.4f}"
                ahead = ""
                if now > begun[0] and done > begun[2]:  # there is a pace
                    text += f", {(seen - begun[1]) / (now - begun[0]):.0f} samples/s"
                    to_go = (1 - done) / (done - begun[2]) * (now - begun[0])
                    ahead = f", {left(1, to_go, math.inf)}"
                text += f", waiting {share:.0%}"
                text += "" if best is None else f", best {best:.1f}"
                bars.update(bar, completed=done, description=text)
                return text + ahead

            yield show

    def close(self) -> None:
        """Nothing more will come."""
        self.board.finalize("success")


def outside_loggers(names: Sequence[str], run: str, out: Path) -> list[Logger]:
    """Loggers for W&B and MLflow, of pytorch-lightning, which Fabric takes; they keep files in out.

    They may send what they log to where their own settings say (WANDB_MODE, MLFLOW_TRACKING_URI).
    Raises ValueError for another name, and where a package is missing.
    """
    found: list[Logger] = []
    for name in names:
        if name not in ("wandb", "mlflow"):
            raise ValueError(f"no logger {name!r}: wandb and mlflow are known")
        try:
            from pytorch_lightning.loggers import MLFlowLogger, WandbLogger

            if name == "wandb":
                found.append(WandbLogger(name=run, project="poised", save_dir=out))
            else:
                os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # or it wants a database
                uri = os.environ.get("MLFLOW_TRACKING_URI", f"file:{out.absolute() / 'mlruns'}")
                found.append(MLFlowLogger("poised", run_name=run, tracking_uri=uri))
        except ImportError as error:
            raise ValueError(f"--log {name} needs pip install 'poised[{name}]': {error}") from error
    return found


def _step_of(line: bytes) -> int:
    """Of a CSV's line; its first one, of names, counts as before every step."""
    first = line.split(b",")[0]
    return int(first) if first.isdigit() else -1


def cut_lines(path: Path, kept: Callable[[bytes], bool]) -> None:
    """Leave only those lines of a file that are kept and have an end; the file may be missing.

    A link is removed: what it leads to is none of ours.
    """
    unlink_link(path)
    if path.is_file():
        lines = [line for line in path.read_bytes().splitlines(True) if line.endswith(b"\n")]
        write_bytes(path, b"".join(line for line in lines if kept(line)))
