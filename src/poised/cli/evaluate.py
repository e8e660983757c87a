"""`poised evaluate`, `report` and `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from poised.cli import complete
from poised.cli.answer import Answer, answers
from poised.cli.common import (
    DATA_SETS,
    Bgr,
    Detector,
    Engine,
    Flip,
    Mean,
    ModelSkeleton,
    Overrides,
    OwnSkeleton,
    Runner,
    Std,
    Threads,
    app,
    checked_out,
    errors,
    extra,
    remember_said,
    said_of_model,
)


class Length(str, Enum):
    torso = "torso"
    person = "person"


Data = Annotated[Path, typer.Option(help="The data set's folder.")]
Name = Annotated[str | None, typer.Option(help=DATA_SETS)]
Part = Annotated[str | None, typer.Option(help="Of the data set; default: the usual test.")]
Row = Annotated[
    str | None,
    typer.Option(
        help="A recipe: its data set, protocol of testing, paper's figures.",
        autocompletion=complete.recipe,
    ),
]
Models = Annotated[
    list[str],
    typer.Option(
        "--model",
        help="Bundled, or an ONNX or safetensors file; several are averaged.",
        autocompletion=complete.pose_model,
    ),
]
Results = Annotated[Path | None, typer.Option(help="Score this COCO results file, no model.")]
Server = Annotated[
    Path | None,
    typer.Option(help="Also write the predictions here in COCO's form, as its server takes them."),
]
BoxesOf = Annotated[
    str | None, typer.Option(help="truth, detector, image, or a box file; default: the recipe's.")
]
Growth = Annotated[float | None, typer.Option(help="Of boxes; default: the model's.")]
Reference = Annotated[Length, typer.Option(help="What PCK's distances are measured in.")]
Crowd = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="A B",
        help="CrowdPose's medium and hard begin there; 0.2 0.8, or 0.1 0.8 (its text).",
    ),
]


@app.command()
@answers
def evaluate(
    data: Data,
    overrides: Overrides = None,
    dataset: Name = None,
    split: Part = None,
    recipe: Row = None,
    models: Models = ["coco17"],  # noqa: B006  typer copies it
    predictions: Results = None,
    boxes: BoxesOf = None,
    detector: Detector = "person",
    engine: Runner = Engine.auto,
    flip: Flip = True,
    padding: Growth = None,
    skeleton: OwnSkeleton = None,
    length: Reference = Length.torso,
    crowd: Crowd = None,
    threads: Threads = None,
    model_skeleton: ModelSkeleton = None,
    mean: Mean = None,
    std: Std = None,
    bgr: Bgr = None,
    at: Annotated[list[float] | None, typer.Option(help="One more limit for PCK's mean.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write figures and protocol here.")] = None,
    results: Server = None,
) -> Answer:
    """Score a model or a results file by its data set's own metric, and say how it was done."""
    with errors(), extra("eval"):
        from rich.table import Table

        from poised.evaluate import TOTAL

        inputs = [*models, predictions, boxes, detector, recipe, skeleton]
        checked_out(out, _unless_ours(out, b'{"figures": ', data), inputs)
        checked_out(results, _unless_ours(results, b'[{"image_id": ', data), inputs)
        if results is not None and predictions is not None:
            raise ValueError("--results writes a model's predictions; --predictions has no model")
        row = _row(recipe, overrides)
        done = _measure(
            data,
            (dataset, split, row),
            (models, engine, flip, padding, threads),
            said_of_model(model_skeleton, mean, std, bgr),
            (predictions, boxes, detector),
            (skeleton, length, crowd, at or ()),
            results,
        )
        if out is not None:
            done.write(out)
        measured_on = (done.protocol["dataset"], done.protocol["split"])
        reported = [one for one in row.reported if one.is_on(*measured_on)] if row else []
        table = Table("", "measured", *(f"{r.source}\n{r.row}" for r in reported))
        for figure, value in done.figures.items():
            name = "Total" if figure == TOTAL.get(done.protocol["dataset"]) else figure
            known = (str(row.figures.get(name, "")) for row in reported)
            table.add_row(figure, f"{value:.1f}", *known)
    shown = [table if done.figures else "nobody is annotated here: no figures"]
    shown += [f"{field}: {value}" for field, value in done.protocol.items()]
    if results is not None:
        shown.append(f"{done.protocol['predictions_counted']} people -> {results}")
    if out is not None:
        shown.append(f"figures and protocol -> {out}")
    return Answer(done.as_dict(), shown)


@app.command()
@answers
def report(
    data: Data,
    out: Annotated[Path, typer.Option(help="The HTML file to write.")],
    overrides: Overrides = None,
    dataset: Name = None,
    split: Part = None,
    recipe: Row = None,
    models: Models = ["coco17"],  # noqa: B006  typer copies it
    predictions: Results = None,
    boxes: BoxesOf = None,
    detector: Detector = "person",
    engine: Runner = Engine.auto,
    flip: Flip = True,
    padding: Growth = None,
    skeleton: OwnSkeleton = None,
    length: Reference = Length.torso,
    crowd: Crowd = None,
    threads: Threads = None,
    model_skeleton: ModelSkeleton = None,
    mean: Mean = None,
    std: Std = None,
    bgr: Bgr = None,
) -> Answer:
    """Evaluate, and write one HTML page to look at: curves, errors by kind, pictures."""
    with errors(), extra("eval"):
        from poised.report import write_report

        inputs = [*models, predictions, boxes, detector, recipe, skeleton]
        checked_out(out, _unless_ours(out, b"<!doctype html>", data), inputs)
        done = _measure(
            data,
            (dataset, split, _row(recipe, overrides)),
            (models, engine, flip, padding, threads),
            said_of_model(model_skeleton, mean, std, bgr),
            (predictions, boxes, detector),
            (skeleton, length, crowd, ()),
        )
        write_report(done, out)
    people = len(done.matched.people)
    return Answer({"people": people, "out": out}, [f"{people} people -> {out}"])


def _unless_ours(out: Path | None, head: bytes, data: Path) -> Path | None:
    """The data set's folder, unless the file to be written was so before: it begins like that."""
    if out is None or not out.is_file():
        return data
    with out.open("rb") as file:
        return None if file.read(len(head)) == head else data


def _row(recipe: str | None, overrides: Sequence[str] | None) -> Any:
    """The recipe as it is asked for, or None."""
    from poised.read_recipe import load_recipe

    if recipe is None and overrides:
        raise ValueError(f"{overrides[0]} changes a recipe: name it by --recipe")
    return load_recipe(recipe, overrides or ()) if recipe else None


def _measure(
    data: Path,
    what: tuple[str | None, str | None, Any],
    how: tuple[list[str], Engine, bool, float | None, int | None],
    said: dict[str, Any],
    where: tuple[Path | None, str | None, str],
    which: tuple[str | None, Length, tuple[float, float] | None, Sequence[float]],
    write_to: Path | None = None,
) -> Any:
    """The evaluation that the options ask for; what they leave open is the recipe's."""
    from poised.datasets.coco import is_labels
    from poised.evaluate import evaluate_model, evaluate_results, usual_split
    from poised.recipe import Test
    from poised.validate import load_tester

    dataset, split, row = what
    models, engine, flip, padding, threads = how
    predictions, boxes, detector = where
    name = dataset or (row.dataset.name if row else None)
    if name is None:
        raise ValueError("name the data set: --dataset, or a --recipe")
    part = split or (row.test.split if row else usual_split(name))
    skeleton, length, crowd, also_at = which
    if write_to is not None and is_labels(write_to, data, part):
        raise FileExistsError(f"{write_to}: are the labels of {part}; give another file")
    test = row.test if row else Test()
    if row and name == row.dataset.name:
        skeleton = skeleton or row.skeleton
    if predictions is not None:
        usual = (["coco17"], Engine.auto, True, None, None, "person", None)
        if said or (*how, detector, boxes) != usual:
            raise ValueError(
                "--predictions is a file of results: options of a model are not for it"
            )
        return evaluate_results(predictions, name, data, part, skeleton, crowd or test.crowd)
    if boxes is None and test.boxes == "detected":
        raise ValueError(
            f"{row.name} was tested on boxes of {test.detector}: give --boxes FILE or detector, or "
            "--boxes truth for the annotated ones, on which figures are higher"
        )
    boxes = boxes or test.boxes
    if test.ensemble and len(models) != 1 + len(test.ensemble):
        raise ValueError(
            f"{row.name} averages its model with those of {', '.join(test.ensemble)}: give --model "
            f"{1 + len(test.ensemble)} times"
        )
    predictor = load_tester(
        models,
        test,
        detector=detector if boxes == "detector" else None,
        engine=engine.value,
        threads=threads,
        flip=flip and test.flip,
        padding=padding,
        foreign=said,
    )
    remember_said(models, said)
    source: Any = boxes if boxes in ("truth", "detector", "image") else Path(boxes)
    return evaluate_model(
        predictor,
        name,
        data,
        part,
        source,
        detector=detector,
        nms=(test.nms, test.nms_threshold),
        also_at=also_at,
        skeleton=skeleton,
        length_of=length.value,
        crowd=crowd or test.crowd,
        write_to=write_to,
    )


@app.command()
@answers
def compare(
    files: Annotated[list[Path], typer.Argument(help="What `poised evaluate --out` wrote.")],
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also where the protocols differ.")
    ] = False,
) -> Answer:
    """Put runs side by side, with the 95% interval of each one's difference from the first."""
    with errors():
        from rich.table import Table

        from poised.compare import MEANING
        from poised.compare import compare as run
        from poised.reading import nulled

        runs = run(files, anyway=anyway)
        table = Table("", *(row.name for row in runs))
        for figure in runs[0].figures:
            table.add_row(figure, *(f"{row.figures.get(figure, float('nan')):.1f}" for row in runs))
        table.add_row("share scored, %", *(f"{row.share:.1f}" for row in runs))
        own = (f"{low:.1f} to {high:.1f}" for low, high in (row.own for row in runs))
        table.add_row("its 95% interval", *own)
        intervals = (f"{row.low:+.1f} to {row.high:+.1f}" for row in runs[1:])
        table.add_row("95% interval of the difference", "", *intervals)
    shown: list[Any] = [table] if len(runs) == 1 else [table, MEANING]
    for row in runs:
        for field, (first, here) in row.unlike.items():
            shown.append(f"{row.name} differs in {field}: {first} and {here}")
    return Answer([asdict(row) | {"figures": nulled(row.figures)} for row in runs], shown)
