"""`poised data check`, `convert`, `pack`, `show`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from poised.cli.answer import Answer, answers
from poised.cli.common import DATA_SETS, OwnSkeleton, app, checked_out, errors, extra, number
from poised.reading import json_text

data_app = typer.Typer(help="Look at a data set: its faults, its people, another form of it.")
app.add_typer(data_app, name="data", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="The data set's folder.")]
Name = Annotated[str, typer.Option(help=DATA_SETS)]
Part = Annotated[str, typer.Option(help="Of the data set, or a COCO-style file in it.")]


@data_app.command()
@answers
def check(
    folder: Folder,
    dataset: Name,
    split: Part = "train",
    skeleton: OwnSkeleton = None,
    against: Annotated[
        str | None, typer.Option(help="Another part: no image of it may be in this one.")
    ] = None,
) -> Answer:
    """Count people and faults, and name each fault with its image and record.

    Exit code 1 says that there are faults.
    """
    with errors(), extra("eval"):
        from poised.datasets import DATASETS, read_people
        from poised.datasets.categories import doubts_about
        from poised.datasets.check import check_people, twice_seen
        from poised.datasets.person import anybody_labelled

        people, names = read_people(dataset, folder, split, skeleton)
        faults = check_people(people, names, boxed=DATASETS[dataset].boxed)
        if against is not None:
            others, _ = read_people(dataset, folder, against, skeleton)
            faults += twice_seen(people, others, against)
        doubts = doubts_about(names)
        if not anybody_labelled(people):
            doubts.append(f"{folder}: nobody is labelled in {split}")
    kinds = Counter(fault.kind for fault in faults)
    labelled = sum(int(person.visible.sum()) for person in people)
    facts = {
        "people": len(people),
        "ignored": sum(person.ignored for person in people),
        "images": len({person.image for person in people}),
        "keypoints": len(people) * len(names),
        "labelled": labelled,
        "kinds": kinds,
        "skeleton": doubts,
        "faults": [asdict(fault) for fault in faults],
    }
    shown = [
        *doubts,
        *map(str, faults),
        "people: {people}, {ignored} of them to be ignored; images: {images}".format_map(facts),
        "{labelled} keypoints of {keypoints} are labelled".format_map(facts),
        *(f"{kind}: {count}" for kind, count in kinds.items()),
        *([f"skeleton: {len(doubts)}"] if doubts else []),
        f"faults: {len(faults) + len(doubts)}",
    ]
    return Answer(facts, shown, code=int(bool(faults or doubts)))


@data_app.command()
@answers
def convert(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The JSON file to write.")],
    dataset: Name,
    split: Part = "train",
    skeleton: OwnSkeleton = None,
    to: Annotated[str, typer.Option(help="coco, or flic, lsp, lspet, mpii: their own form.")] = (
        "coco"
    ),
) -> Answer:
    """Write any data set in COCO form, or in its own form again.

    A file in COCO form is read by `--dataset coco --split FILE`, FILE lying in the data set's
    folder. Keypoints are matched by name. With --to flic, `train` in --split's name says
    that the people are for training.
    """
    with errors(), extra("eval"):
        from poised.datasets import as_coco, known, read_people, renamed
        from poised.datasets.write import WRITERS
        from poised.files import write_bytes, write_text
        from poised.types import Skeleton

        checked_out(out, folder)
        if to == "coco":
            people, values = as_coco(dataset, folder, split, skeleton, from_root=True)
            write_text(out, json_text(values))
        elif to not in WRITERS:
            raise ValueError(f"--to is {to!r}, expected coco, {', '.join(WRITERS)}")
        else:
            people, names = read_people(dataset, folder, split, skeleton)
            theirs = Skeleton.load(known(to).skeleton)
            write_bytes(out, WRITERS[to](renamed(people, names, theirs, {}), "train" in split))
    return Answer({"people": len(people), "out": out}, [f"{len(people)} people -> {out}"])


@data_app.command()
@answers
def pack(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The new folder to write.")],
    dataset: Name,
    split: Part = "train",
    skeleton: OwnSkeleton = None,
) -> Answer:
    """Put the images with people and their annotation into one folder of two files.

    OUT stands in for FOLDER as a recipe's `dataset.root`: a training from it draws the same
    samples, and reads one file where it read thousands. The images' files are kept as they are.
    """
    with errors(), extra("eval"):
        from poised.datasets.pack import pack_people
        from poised.packs import PACK

        people, images = pack_people(dataset, folder, split, out, skeleton)
        size = (out / PACK).stat().st_size
    told = f"{people} people in {number(images, 'image')}, {size / 1e6:.0f} MB -> {out}"
    return Answer({"people": people, "images": images, "bytes": size, "out": out}, [told])


@data_app.command()
@answers
def show(
    folder: Folder,
    out: Annotated[Path, typer.Option(help="The JPEG file to write.")],
    dataset: Name,
    split: Part = "train",
    skeleton: OwnSkeleton = None,
    count: Annotated[int, typer.Option(min=1, help="People on the sheet.")] = 36,
    seed: Annotated[int, typer.Option(help="Of the choice of people.")] = 0,
) -> Answer:
    """Write a sheet of people with their annotation, to look at."""
    with errors(), extra("eval"):
        import numpy as np

        from poised.datasets import read_people
        from poised.datasets.check import contact_sheet
        from poised.images import write_jpeg

        checked_out(out, folder)
        if out.suffix.lower() not in (".jpg", ".jpeg"):
            raise ValueError(f"{out}: a JPEG is written; end its name in .jpg")
        people, names = read_people(dataset, folder, split, skeleton)
        seen = [person for person in people if not person.ignored]
        if not seen:
            raise ValueError(f"{folder}: nobody to show in {split}")
        order = np.random.default_rng(seed).permutation(len(seen))[:count]
        write_jpeg(out, contact_sheet([seen[i] for i in sorted(order)], names))
    told = f"{len(order)} of {len(seen)} people -> {out}"
    return Answer({"shown": len(order), "people": len(seen), "out": out}, [told])
