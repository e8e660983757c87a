"""`poised evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from poised.cli.common import Engine, app, errors, extra, print_table


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="The data set's folder.")],
    dataset: Annotated[
        str | None, typer.Option(help="coco, crowdpose, flic, lsp, lspet or mpii.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Its part; default: the usual test.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Its data set and paper's figures.")] = None,
    model: Annotated[str, typer.Option(help="A bundled pose model or an ONNX file.")] = "lsp14",
    predictions: Annotated[
        Path | None, typer.Option(help="Score this COCO results file instead of a model.")
    ] = None,
    boxes: Annotated[str, typer.Option(help="truth, detector, or a box file.")] = "truth",
    detector: Annotated[str, typer.Option(help="A bundled detector or an ONNX file.")] = "person",
    engine: Annotated[Engine, typer.Option(help="What runs the networks.")] = Engine.auto,
    flip: Annotated[bool, typer.Option(help="Average with the mirrored crop.")] = True,
    padding: Annotated[
        float | None, typer.Option(help="Box growth before the crop; default: the model's.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write figures and protocol here.")] = None,
) -> None:
    """Score a model or a results file by its data set's own metric, and say how it was done."""
    with errors(), extra("train"):
        from rich.table import Table

        from poised.evaluate import evaluate_model, evaluate_results, usual_split
        from poised.predict import Predictor
        from poised.recipe import load_recipe

        row = load_recipe(recipe) if recipe else None
        name = dataset or (row.dataset.name if row else None)
        if name is None:
            raise ValueError("name the data set: --dataset, or a --recipe")
        part = split or (row.test.split if row else usual_split(name))
        if predictions is not None:
            done = evaluate_results(predictions, name, data, part)
        else:
            found = detector if boxes == "detector" else None
            predictor = Predictor.load(
                model,
                detector=found,
                engine=engine.value,
                threads=threads,
                flip=flip,
                padding=padding,
            )
            source: Any = boxes if boxes in ("truth", "detector") else Path(boxes)
            done = evaluate_model(predictor, name, data, part, source, detector)
        reported = row.reported if row else ()
        table = Table("", "measured", *(f"{r.source}\n{r.row}" for r in reported))
        for figure, value in done.figures.items():
            table.add_row(
                figure, f"{value:.1f}", *(str(r.figures.get(figure, "")) for r in reported)
            )
        print_table(table)
        for field, value in done.protocol.items():
            typer.echo(f"{field}: {value}")
        if out is not None:
            done.write(out)
            typer.echo(f"figures and protocol -> {out}")


@app.command()
def compare(
    files: Annotated[list[Path], typer.Argument(help="What `poised evaluate --out` wrote.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also where the protocols differ.")
    ] = False,
) -> None:
    """Put runs side by side, with a 95% interval on each one's difference to the first."""
    with errors():
        from rich.table import Table

        from poised.compare import compare as run

        runs = run(files, anyway=anyway)
        table = Table("", *(row.name for row in runs))
        for figure in runs[0].figures:
            table.add_row(figure, *(f"{row.figures.get(figure, float('nan')):.1f}" for row in runs))
        table.add_row("points scored, %", *(f"{row.share:.1f}" for row in runs))
        intervals = (f"{row.low:+.1f} to {row.high:+.1f}" for row in runs[1:])
        table.add_row("less the first's, 95%", "", *intervals)
        print_table(table)
        for row in runs:
            for field, (first, here) in row.unlike.items():
                typer.echo(f"{row.name} differs in {field}: {first} and {here}")
