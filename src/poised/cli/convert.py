"""`poised convert`: saved poses for another tool; `poised hub`: models there and back."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from poised.cli import complete
from poised.cli.answer import Answer, answers
from poised.cli.common import app, checked_out, errors, extra, number

hub_app = typer.Typer(help="Models to and from the Hugging Face Hub.")
app.add_typer(hub_app, name="hub", no_args_is_help=True)


class Tool(str, Enum):
    yolo = "yolo"
    label_studio = "label-studio"
    fiftyone = "fiftyone"


@app.command()
@answers
def convert(
    poses: Annotated[Path, typer.Argument(help="A poses.json or poses.jsonl of images.")],
    out: Annotated[Path, typer.Option(help="The folder, of Label Studio the file, to write.")],
    to: Annotated[Tool, typer.Option(help="Whose form.")],
    images: Annotated[
        Path | None, typer.Option(help="Where relative file names start; default: here.")
    ] = None,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Keypoints above it are labelled.")
    ] = 0.5,
    prefix: Annotated[
        str | None, typer.Option(help="Of Label Studio: what makes a file name an address.")
    ] = None,
) -> Answer:
    """Write saved poses as labels to correct: of YOLO, Label Studio or FiftyOne.

    YOLO gets a data set with the images; Label Studio its tasks, and beside them, as .xml, the
    labelling interface; FiftyOne a LegacyFiftyOneDataset of the images where they lie.
    """
    with errors():
        from poised.files import write_text
        from poised.interop.fiftyone import write_fiftyone
        from poised.interop.label_studio import LOCAL, label_config, to_label_studio
        from poised.interop.saved import read_saved
        from poised.interop.yolo import write_yolo
        from poised.reading import json_text

        if prefix is not None and to is not Tool.label_studio:
            raise ValueError("--prefix is of --to label-studio")
        found = read_saved(poses, images)
        people = sum(map(len, found))
        if to is Tool.yolo:
            people = write_yolo(found, out, threshold, images)
        elif to is Tool.fiftyone:
            write_fiftyone(found, out, images)
        else:
            checked_out(out)
            interface = out.with_suffix(".xml")
            for file in (out, interface):
                if file.exists():
                    raise FileExistsError(f"{file} is there already; give a new file")
            if interface == out:
                raise ValueError(f"{out}: tasks are JSON, and {out.name} their interface's name")
            tasks = to_label_studio(found, threshold, LOCAL if prefix is None else prefix)
            write_text(out, json_text(tasks, indent=1) + "\n")
            if found:
                write_text(interface, label_config(found[0].skeleton))
    told = f"{number(people, 'person', 'people')} in {number(len(found), 'image')} -> {out}"
    return Answer({"people": people, "images": len(found), "out": out}, [told])


Repository = Annotated[str, typer.Argument(help="owner/name")]


@hub_app.command("push")
@answers
def push_model(
    model: Annotated[
        str, typer.Argument(help="Bundled, or a file.", autocompletion=complete.model)
    ],
    repository: Repository,
    licence: Annotated[str | None, typer.Option(help="As the Hub calls it: apache-2.0.")] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Of a repository that this makes.")
    ] = False,
) -> Answer:
    """Send a model and its card to the Hub, as who `hf auth login` says."""
    with errors(), extra("hub"):
        from poised.interop.hub import push

        commit = push(model, repository, licence=licence, private=not public)
    return Answer({"model": model, "commit": commit}, [f"{model} -> {commit}"])


@hub_app.command("pull")
@answers
def pull_model(
    repository: Repository,
    out: Annotated[Path, typer.Option(help="The folder for the files.")],
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
) -> Answer:
    """Bring a repository's models into OUT; `--model FILE` takes them."""
    with errors(), extra("hub"):
        from poised.interop.hub import pull

        files = pull(repository, out, revision=revision)
    told = [f"{repository} -> {path}" for path in files]
    return Answer({"repository": repository, "models": files}, told)
