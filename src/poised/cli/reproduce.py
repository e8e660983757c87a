"""`poised reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poised.cli.common import Accelerator, Devices, Nodes, app, errors, extra, training


@app.command()
def reproduce(
    row: Annotated[str, typer.Argument(help="A recipe: `poised recipes` lists them.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="key=value")] = None,
    data: Annotated[Path | None, typer.Option(help="The data set; default: the recipe's.")] = None,
    out: Annotated[Path | None, typer.Option(help="The folder; default: runs/<recipe>.")] = None,
    boxes: Annotated[
        str | None, typer.Option(help="Of the test: a box file, truth, detector or image.")
    ] = None,
    devices: Devices = "1",
    nodes: Nodes = 1,
    accelerator: Accelerator = "auto",
    dry: Annotated[bool, typer.Option("--dry", help="Only say what it needs.")] = False,
    small: Annotated[
        bool, typer.Option("--smoke", help="The whole way on a few people, to see that it works.")
    ] = False,
    keep: Annotated[
        bool, typer.Option("--record", help="Also write the figures into the recipe's own file.")
    ] = False,
) -> None:
    """Train and test a row of a paper's table, and say whether its figure was reached."""
    with errors(), extra("train"):
        from poised.machine import Machine, is_first
        from poised.read_recipe import load_recipe, recipe_files
        from poised.reproduce import needs, record, smoke
        from poised.reproduce import reproduce as run

        given = list(overrides or [])
        if data is not None:
            given.append(f"dataset.root={data}")
        recipe = load_recipe(row, given)
        if small:
            recipe = load_recipe(row, [*given, *smoke(recipe)])
        if boxes is None and recipe.test.boxes == "detected" and not (small or dry):
            raise ValueError(
                f"{row} was tested on boxes of {recipe.test.detector}: give --boxes FILE, or "
                "--boxes truth for the annotated ones, on which figures are higher"
            )
        if keep and (row not in recipe_files() or small or overrides):
            raise ValueError("--record is for a recipe of the package, as it stands, on all data")
        source = Path(boxes) if boxes not in (None, "truth", "detector", "image") else boxes
        machine = Machine(accelerator, devices, nodes)
        if is_first():
            for line in needs(recipe):
                typer.echo(line)
        if dry:
            return
        folder = out or Path("runs") / (f"{recipe.name}-smoke" if small else recipe.name)
        with training():
            measured = run(recipe, folder, boxes=source or "truth", machine=machine, say=typer.echo)
        if keep and is_first():
            if measured["verdict"].startswith("no verdict"):
                raise ValueError("nothing is recorded without a verdict")
            file = recipe_files()[row]
            record(file, measured)
            typer.echo(f"measured -> {file}")
