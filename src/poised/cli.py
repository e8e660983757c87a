"""The command line: parses and calls, decides nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="Find people in images and say where their joints are; train and compare the networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Engine(str, Enum):
    auto = "auto"
    openvino = "openvino"
    onnx = "onnx"
    torch = "torch"


class Format(str, Enum):
    coco = "coco"
    jsonl = "jsonl"
    csv = "csv"


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
def _errors() -> Iterator[None]:
    """The user's mistakes as one line and exit code 2; ours as a traceback."""
    try:
        yield
    except (ValueError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from error


@contextmanager
def _extra(name: str) -> Iterator[None]:
    """A missing package as the `pip install` that brings it."""
    try:
        yield
    except ImportError as error:
        raise ValueError(f"this needs {error.name}: pip install 'poised[{name}]'") from error


@app.command()
def predict(
    paths: Annotated[list[Path], typer.Argument(help="Images, and folders of images.")],
    out: Annotated[Path, typer.Option(help="The folder for the results.")],
    boxes: Annotated[Path | None, typer.Option(help="A JSON list of boxes, see the docs.")] = None,
    detector: Annotated[str, typer.Option(help="A bundled detector or an ONNX file.")] = "person",
    whole_image: Annotated[
        bool, typer.Option("--whole-image", help="One person fills each image.")
    ] = False,
    model: Annotated[str, typer.Option(help="A bundled pose model or an ONNX file.")] = "lsp14",
    engine: Annotated[Engine, typer.Option(help="What runs the networks.")] = Engine.auto,
    flip: Annotated[bool, typer.Option(help="Average with the mirrored crop.")] = True,
    threshold: Annotated[
        float, typer.Option(help="Least keypoint score to draw and to count.")
    ] = 0.2,
    style: Annotated[Format, typer.Option("--format", help="Of the results.")] = Format.coco,
    draw: Annotated[bool, typer.Option(help="Write a picture for each image.")] = True,
    batch: Annotated[int, typer.Option(help="People a network call.")] = 32,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.")] = None,
) -> None:
    """Write everybody's pose in PATHS to OUT, as a table and as pictures.

    Exit code 1 says that some images could not be used, 2 that nothing was done.
    """
    with _errors():
        if sum([boxes is not None, whole_image, detector != "person"]) > 1:
            raise ValueError("--boxes, --detector and --whole-image exclude each other; give one")
        from poised.boxes.files import boxes_of, read_boxes
        from poised.images import list_images
        from poised.predict import Predictor

        images = list_images(paths)
        given = boxes_of(read_boxes(boxes), images, boxes) if boxes else None
        predictor = Predictor.load(
            model,
            detector=None if whole_image or boxes else detector,
            engine=engine.value,
            threads=threads,
            flip=flip,
            batch=batch,
            threshold=threshold,
        )
        failed = _write(predictor, images, given, out, style.value, draw)
    if failed:
        raise typer.Exit(1)


def _write(
    predictor: Any,
    images: list[Path],
    given: dict[Path, Any] | None,
    out: Path,
    style: Any,
    draw: bool,
) -> int:
    """Run the predictor over the images into the folder; the number of images set aside."""
    from rich.console import Console
    from rich.progress import track

    from poised.draw import draw_poses
    from poised.images import write_jpeg
    from poised.predict import Failure
    from poised.results import ResultWriter

    boxes = [given[path] for path in images] if given is not None else None
    names = picture_names(images)
    failed = 0
    terminal = sys.stderr.isatty()
    with ResultWriter(out, predictor.skeleton, style) as results:
        stream: Any = predictor.stream(images, boxes)
        if terminal:
            console = Console(stderr=True)
            stream = track(stream, total=len(images), description="poses", console=console)
        for path, result in zip(images, stream, strict=True):
            if isinstance(result, Failure):
                failed += 1
                typer.echo(f"set aside: {result.reason}", err=True)
                continue
            results.write(result.poses)
            if draw:
                picture = draw_poses(result.image, result.poses, predictor.threshold)
                write_jpeg(out / "pictures" / names[path], picture)
            if not terminal:
                typer.echo(f"{path}: {len(result.poses)} people")
    done = len(images) - failed
    typer.echo(f"{results.people} people in {done} images -> {results.path}")
    if draw and done:
        typer.echo(f"pictures -> {out / 'pictures'}")
    if failed:
        typer.echo(f"{failed} of {len(images)} images were set aside, see above", err=True)
    return failed


def picture_names(images: list[Path]) -> dict[Path, str]:
    """A file name for each image's picture: its own stem, numbered where two images share it."""
    taken: dict[str, int] = {}
    names = {}
    for path in images:
        count = taken[path.stem] = taken.get(path.stem, 0) + 1
        names[path] = f"{path.stem}.jpg" if count == 1 else f"{path.stem}-{count}.jpg"
    return names


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe of the package, or a YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="key=value, e.g. optimise.epochs=5")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder; default: runs/<recipe>.")] = None,
) -> None:
    """Train a network by a recipe; the same command again goes on where it stopped."""
    with _errors(), _extra("train"):
        from poised.export import export_onnx
        from poised.recipe import load_recipe
        from poised.train import TrainingError
        from poised.train import train as run

        plan = load_recipe(recipe, overrides or [])
        try:
            weights = run(plan, out or Path("runs") / plan.name, say=typer.echo)
        except TrainingError as error:
            typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(1) from error
        typer.echo(f"exported -> {export_onnx(weights, weights.with_suffix('.onnx'))}")


recipes_app = typer.Typer(help="The recipes: one for each row of the papers' tables.")
app.add_typer(recipes_app, name="recipes", invoke_without_command=True)


@recipes_app.callback()
def recipes(context: typer.Context) -> None:
    """List the recipes: what they build, on which data, and which rows they stand for."""
    if context.invoked_subcommand is not None:
        return
    with _errors():
        from rich.table import Table

        from poised.recipe import load_recipe, recipe_names

        table = Table("recipe", "network", "data", "size", "stands for")
        for name in recipe_names():
            recipe = load_recipe(name)
            rows = [f"{row.source}: {row.row} {_figure(row.figures)}" for row in recipe.reported]
            width, height = recipe.input.size
            table.add_row(
                name, recipe.network.name, recipe.dataset.name, f"{width}x{height}", "\n".join(rows)
            )
        _print_table(table)


def _figure(figures: dict[str, float]) -> str:
    """The one figure that a row is known by."""
    known = [name for name in ("AP", "Total", "AP_medium") if name in figures]
    return f"({known[0]} {figures[known[0]]:g})" if known else ""


def _print_table(table: Any) -> None:
    """At the terminal's width; whole lines where the output is a file."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200).print(table)


@recipes_app.command("show")
def show_recipe(
    name: Annotated[str, typer.Argument(help="A recipe of the package, or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value")] = None,
) -> None:
    """Print a recipe with everything filled in: its base, its defaults, its source."""
    with _errors():
        import yaml

        from poised.recipe import load_recipe, recipe_files

        recipe = load_recipe(name, overrides or [])
        typer.echo(f"# {recipe_files().get(name, name)}")
        values = recipe.model_dump(mode="json")
        typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100), nl=False)


@app.command()
def cost(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes, or YAML files.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every recipe.")] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures here too.")] = None,
) -> None:
    """Count parameters, multiplications and activations, beside what was published."""
    with _errors(), _extra("train"):
        import json

        from rich.table import Table

        from poised.cost import measure_cost
        from poised.recipe import load_recipe, recipe_names

        if not names and not everything:
            raise ValueError("name recipes, or give --all")
        costs = [measure_cost(load_recipe(name)) for name in names or recipe_names()]
        table = Table("recipe", "params M", "MACs G", "activations M", "published", "why not equal")
        for row in costs:
            published = "\n".join(map(str, row.published))
            figures = (f"{row.params_m:.2f}", f"{row.macs_g:.2f}", f"{row.activations_m:.1f}")
            table.add_row(row.recipe, *figures, published, row.why)
        _print_table(table)
        if out is not None:
            out.write_text(json.dumps([row.as_dict() for row in costs], indent=1), "utf-8")
            typer.echo(f"figures -> {out}")


@app.command("import-backbone")
def import_backbone(
    file: Annotated[Path, typer.Argument(help="torchvision's ResNet or Inception-ResNet-v2.")],
    out: Annotated[Path | None, typer.Option(help="Default: beside it, .safetensors.")] = None,
) -> None:
    """Turn an ImageNet file into safetensors, for `backbone.weights` of a recipe."""
    with _errors(), _extra("train"):
        from poised.pretrained import import_backbone as run

        target = out or file.with_suffix(".safetensors")
        typer.echo(f"{run(file, target)} -> {target}")


@app.command("import-weights")
def import_weights(
    file: Annotated[Path, typer.Argument(help="A trained checkpoint of another project.")],
    kind: Annotated[str, typer.Option("--as", help="sbn-hrnet, hrnet, hourglass or cpn-pytorch.")],
    out: Annotated[Path | None, typer.Option(help="Default: beside it, .safetensors.")] = None,
) -> None:
    """Turn a public checkpoint into ours, for `network.weights` of a recipe."""
    with _errors(), _extra("train"):
        from poised.pretrained import import_weights as run

        target = out or file.with_suffix(".safetensors")
        typer.echo(f"{run(file, kind, target)} -> {target}")


if __name__ == "__main__":
    app()
