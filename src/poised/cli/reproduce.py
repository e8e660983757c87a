"""`poised reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poised.cli.answer import Answer, answers
from poised.cli.common import (
    Accelerator,
    Devices,
    Nodes,
    OneRecipe,
    Overrides,
    app,
    errors,
    extra,
    say,
    training,
)


@app.command()
@answers
def reproduce(
    recipe: OneRecipe,
    overrides: Overrides = None,
    data: Annotated[
        Path | None, typer.Option(help="The data set's folder; default: the recipe's.")
    ] = None,
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
) -> Answer | None:
    """Train and test a row of a paper's table, and say whether its figure was reached."""
    with errors(), extra("train"):
        from poised.bundled import recipe_files
        from poised.machine import Machine, is_first
        from poised.read_recipe import load_recipe
        from poised.reading import nulled
        from poised.reproduce import needs, record, smoke
        from poised.reproduce import reproduce as run

        given = list(overrides or [])
        if data is not None:
            given.append(f"dataset.root={data}")
        plan = load_recipe(recipe, given)
        if small:
            plan = load_recipe(recipe, [*given, *smoke(plan)])
        if boxes is None and plan.test.boxes == "detected" and not (small or dry):
            raise ValueError(
                f"{recipe} was tested on boxes of {plan.test.detector}: give --boxes FILE, or "
                "--boxes truth for the annotated ones, on which figures are higher"
            )
        if keep and (recipe not in recipe_files() or small or overrides):
            raise ValueError("--record is for a recipe of the package, as it stands, on all data")
        source = Path(boxes) if boxes not in (None, "truth", "detector", "image") else boxes
        machine = Machine(accelerator, devices, nodes)
        needed = needs(plan) if is_first(machine) else []
        if dry:
            return Answer({"recipe": plan.name, "needs": needed}, needed)
        for line in needed:
            say(line)
        folder = out or Path("runs") / (f"{plan.name}-smoke" if small else plan.name)
        with training():
            measured = run(plan, folder, boxes=source or "truth", machine=machine, say=say)
        if keep and is_first():
            if measured["verdict"].startswith("no verdict"):
                raise ValueError("nothing is recorded without a verdict")
            file = recipe_files()[recipe]
            record(file, measured)
            say(f"measured -> {file}")
    if not is_first():
        return None
    figures = nulled(measured["figures"])
    return Answer(measured | {"figures": figures, "out": folder}, ())
