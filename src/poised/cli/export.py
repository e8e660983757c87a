"""`poised export`."""

from __future__ import annotations

from dataclasses import asdict, replace
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from poised.cli import complete
from poised.cli.answer import Answer, answers
from poised.cli.common import DATA_SETS, app, checked_out, errors, extra, number, say


class To(str, Enum):
    onnx = "onnx"
    openvino = "openvino"
    torchscript = "torchscript"


@app.command()
@answers
def export(
    model: Annotated[
        str,
        typer.Argument(
            help="Bundled, an ONNX file of ours, or weights (.safetensors).",
            autocompletion=complete.model,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The file to write: .onnx, .xml, .pt.")],
    to: Annotated[To | None, typer.Option(help="Default: by the end of --out.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="From a crop's bytes to keypoints in one graph.")
    ] = False,
    fp32: Annotated[
        bool, typer.Option("--fp32", help="Keep fp32 weights: twice the file.")
    ] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="By NNCF, on crops of --data's --split.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare engines; of --data, AP or PCK of each precision."),
    ] = False,
    dataset: Annotated[str | None, typer.Option(help=DATA_SETS)] = None,
    data: Annotated[Path | None, typer.Option(help="The data set's folder.")] = None,
    split: Annotated[
        str | None, typer.Option(help="The part whose crops int8 is calibrated on.")
    ] = None,
    test_split: Annotated[
        str | None, typer.Option(help="The part that --verify scores; default: the usual test.")
    ] = None,
    images: Annotated[
        Path, typer.Option(help="A folder with people, for --verify without --data.")
    ] = Path("data/samples"),
    recipe: Annotated[
        str | None,
        typer.Option(
            help="A recipe or YAML file; default: within or beside weights.",
            autocompletion=complete.recipe,
        ),
    ] = None,
) -> Answer:
    """Make an ONNX, OpenVINO or TorchScript model, for `--model` of `predict` and `evaluate`."""
    with errors(), extra("train"):
        from poised.forms import Wanted, form_of, write_form
        from poised.runtime import find_model

        checked_out(out)
        form = form_of(out, to.value if to else None)
        if recipe is not None and not model.endswith(".safetensors"):
            raise ValueError("--recipe is of weights (.safetensors)")
        if fp32 and int8:
            raise ValueError("--fp32 and --int8: choose one")
        if (data is None) != (dataset is None):
            raise ValueError("--dataset and --data go together")
        calibration = _calibration(dataset, data, split, int8)
        if recipe is not None:
            from poised.read_recipe import load_recipe
        plan = load_recipe(recipe) if recipe else None
        source = find_model(model)
        halve = False if fp32 else None
        wanted = Wanted(source, whole, halve, plan, calibration if int8 else ())
        out.parent.mkdir(parents=True, exist_ok=True)
        written = write_form(wanted, out, form)
        facts = {"model": model, "out": written}
        said = f"{model} -> {written}"
        if not verify:
            return Answer(facts, [said])
        say(said)
        done = _verify(wanted, out, form, (dataset, data, test_split), calibration, images)
    return replace(done, facts=facts | done.facts)


def _calibration(dataset: str | None, data: Path | None, split: str | None, int8: bool) -> Any:
    """The people of --split; nobody where none is named, which --int8 does not allow."""
    if dataset is None or data is None or split is None:
        if int8:
            raise ValueError("--int8 needs --dataset, --data and --split, whose crops calibrate it")
        return ()
    if find_spec("nncf") is None:
        if int8:
            raise ValueError("--int8 needs nncf: pip install 'poised[int8]'")
        return ()
    from poised.crop_samples import labelled_people
    from poised.quantise import MOST_CROPS

    return labelled_people(dataset, data, split, MOST_CROPS)


def _verify(
    wanted: Any,
    out: Path,
    form: Any,
    where: tuple[str | None, Path | None, str | None],
    calibration: Any,
    images: Path,
) -> Answer:
    """How far engines are apart, and figures; exit code 1 where they are too far apart."""
    with extra("eval"):
        from poised.verify import PIXELS, SCORE, compare_engines, every_engine, scored
    people, part = _people(where, images)
    with TemporaryDirectory() as folder:
        sessions = every_engine(wanted, out, form, Path(folder))
        first, found = next(iter(sessions)), compare_engines(sessions, people)
        shown: list[Any] = [
            f"{one.name}: at most {one.pixels:.4f} crop pixels and {one.score:.6f} in score "
            f"from {first}, {number(len(people), 'person', 'people')}"
            for one in found
        ] or [f"{first} alone runs this here: nothing to compare it with"]
        rows = [] if part is None else list(scored(wanted, out, calibration, part))
    facts = {
        "first": first,
        "people": len(people),
        "apart": [asdict(one) for one in found],
        "figures": [{"precision": k, "figure": name, "value": value} for k, name, value in rows],
    }
    shown += _figures(rows, calibration) if part is not None else []
    if wanted.people:
        shown.append("how int8 is rounded is each engine's own affair: it is held to no limit")
    elif not all(one.close for one in found):
        wrong = f"Error: {out}: engines differ by more than {PIXELS} px or {SCORE} in score"
        return Answer(facts, shown, [wrong], code=1)
    return Answer(facts, shown)


def _people(
    where: tuple[str | None, Path | None, str | None], images: Path
) -> tuple[Any, tuple[str, Path, str] | None]:
    """Whose crops engines are compared on, and the part of a data set to score, if any."""
    from poised.crop_samples import found_people, labelled_people
    from poised.evaluate import usual_split
    from poised.verify import MOST_PEOPLE

    dataset, data, split = where
    if dataset is None or data is None:
        if not images.is_dir():
            raise ValueError(f"no folder {images}: name one by --images, or --dataset and --data")
        return found_people(images), None
    part = (dataset, data, split or usual_split(dataset))
    return labelled_people(*part, MOST_PEOPLE), part


def _figures(rows: list[tuple[str, str, float]], calibration: Any) -> list[Any]:
    """AP or PCK of each precision, and its difference from the first."""
    from rich.table import Table

    table = Table("precision", "figure", "value", "difference")
    for kind, name, value in rows:
        table.add_row(kind, name, f"{value:.2f}", f"{value - rows[0][2]:+.2f}")
    if calibration:
        return [table]
    return [table, "int8 is not among them: it needs poised[int8] and --split, which calibrates it"]
