"""What the commands share: the app, their choices, and how errors and tables are shown."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from poised.cli import complete

app = typer.Typer(
    help="Find people in images and say where their joints are; train and compare the networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


class Engine(str, Enum):
    auto = "auto"
    openvino = "openvino"
    onnx = "onnx"
    torch = "torch"


DATA_SETS = "coco, crowdpose, deeplabcut, flic, lsp, lspet, mpii or yolo."
OwnSkeleton = Annotated[
    str | None,
    typer.Option(
        help="Yours: a name, a YAML file, or a file of a data set that names its keypoints."
    ),
]


class Format(str, Enum):
    coco = "coco"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


Model = Annotated[
    str,
    typer.Option(
        help="Bundled, or an ONNX or safetensors file; see `poised models`.",
        autocompletion=complete.pose_model,
    ),
]
Detector = Annotated[
    str,
    typer.Option(help="A bundled detector or an ONNX file.", autocompletion=complete.detector),
]


def _folder(text: str) -> Path:
    """A path that is not empty, as that of a variable which is not set is."""
    if not text:
        raise typer.BadParameter("it is empty; give . for this folder")
    return Path(text)


Out = Annotated[
    Path, typer.Option(parser=_folder, metavar="PATH", help="The folder for the results.")
]
WholeImage = Annotated[bool, typer.Option("--whole-image", help="One person fills each image.")]
ModelSkeleton = Annotated[
    str | None, typer.Option(help="Of other people's model: a name, a YAML or COCO file.")
]
Mean = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        metavar="A B C", help="Of other people's model, 0 to 255, in the order of its channels."
    ),
]
Std = Annotated[tuple[float, float, float] | None, typer.Option(metavar="A B C", help="Likewise.")]
Bgr = Annotated[
    bool | None, typer.Option("--bgr/--rgb", help="The order of that model's channels.")
]
Runner = Annotated[Engine, typer.Option(help="What runs the networks.")]
Flip = Annotated[bool, typer.Option(help="Average with the mirrored crop.")]
Batch = Annotated[int | None, typer.Option(help="People a network call; default: 4, by torch 32.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; default: all.")]

OneRecipe = Annotated[
    str,
    typer.Argument(help="A recipe of the package, or a YAML file.", autocompletion=complete.recipe),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key=value of the recipe, e.g. optimise.epochs=5, test.decoder=quarter"),
]
Devices = Annotated[str, typer.Option(help="Of each node: a number, or auto for all.")]
Nodes = Annotated[int, typer.Option(help="Computers, on each of which this is started.")]
Accelerator = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def _version(wanted: bool) -> None:
    if wanted:
        from poised import __version__

        typer.echo(f"poised {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find people in images and say where their joints are; train and compare the networks."""


@contextmanager
def errors() -> Iterator[None]:
    """The user's mistakes as one line and exit code 2; ours as a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        with suppress(ValueError):  # where nobody can be told
            say(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def extra(name: str) -> Iterator[None]:
    """A missing package as the `pip install` that brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None:
            raise
        package = error.name.partition(".")[0]
        raise ValueError(f"this needs {package}: pip install 'poised[{name}]'") from error


def said_of_model(
    skeleton: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    bgr: bool | None,
) -> dict[str, Any]:
    """The options about other people's models that were given, as fields of a model's YAML."""
    fields = {
        "skeleton": skeleton,
        "mean": None if mean is None else list(mean),
        "std": None if std is None else list(std),
        "bgr": bgr,
    }
    return {name: value for name, value in fields.items() if value is not None}


def remember_said(models: list[str], fields: dict[str, Any]) -> None:
    """Keep the fields beside each model, where its folder can be written."""
    from poised.foreign_models import remember
    from poised.runtime import find_model

    for model in models if fields else ():
        try:
            say(f"{', '.join(fields)} of {model} -> {remember(find_model(model), fields)}")
        except OSError as error:
            say(f"{', '.join(fields)} of {model} must be given again: {error}", err=True)


def checked_out(
    out: Path | None, data: Path | None = None, inputs: Iterable[str | Path | None] = ()
) -> None:
    """Refuse a file to be written that is a folder, before the work and not after it.

    data: a folder in which nothing that is there is written over; inputs: files, or names of what
    is bundled, nor are those.
    """
    if out is not None and out.is_dir():
        raise ValueError(f"{out} is a folder, expected a file to write")
    if out is None or not out.exists():
        return
    if any(one and Path(one).exists() and out.samefile(one) for one in inputs):
        raise FileExistsError(f"{out} is an input: give another file")
    if data is not None and data.resolve() in out.resolve().parents:
        raise FileExistsError(f"{out} is there already, within the data set: give another file")


def number(count: int, one: str, many: str = "") -> str:
    """A count with its noun: 1 image, 2 images."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def say(text: str, err: bool = False) -> None:
    """A line for the user; work goes on where nobody reads any more (`poised ... | head`)."""
    known = _encoding(sys.stderr if err else sys.stdout)  # of what cannot be shown, its number is
    try:
        typer.echo(text.encode(known, "backslashreplace").decode(known), err=err)
    except OSError as error:
        setattr(sys, "stderr" if err else "stdout", open(os.devnull, "w"))  # noqa: SIM115
        if not isinstance(error, BrokenPipeError):
            raise ValueError(f"the output takes no more: {error.strerror}") from error


def _encoding(stream: Any) -> str:
    """Of a standard stream, which may be None."""
    return getattr(stream, "encoding", None) or "utf-8"


def print_table(table: Any) -> None:
    """At the terminal's width; whole lines where the output is a file."""
    from rich.console import Console

    terminal = sys.stdout is not None and sys.stdout.isatty()
    # in other encodings than Unicode's the frame is of ASCII
    drawn = io.TextIOWrapper(io.BytesIO(), _encoding(sys.stdout), "backslashreplace", newline="")
    console = Console(file=drawn, force_terminal=terminal, width=None if terminal else 200)
    console.print(table)
    drawn.seek(0)
    say(drawn.read().removesuffix("\n"))


@contextmanager
def interrupted() -> Iterator[None]:
    """Work that was stopped by a signal ends in one line and the usual exit code."""
    from poised.interrupt import Interrupted

    try:
        yield
    except Interrupted as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error


@contextmanager
def training() -> Iterator[None]:
    """A training that must stop, or was stopped, ends in one line and the usual exit code."""
    from poised.interrupt import Interrupted
    from poised.machine import TrainingError, is_first

    try:
        yield
    except TrainingError as error:
        say(f"Error: {error}", err=True)
        raise typer.Exit(1) from error
    except Interrupted as error:
        if is_first():
            typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from error
