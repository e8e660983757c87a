"""`poised predict`."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from poised.cli.common import (
    Bgr,
    Engine,
    Format,
    Mean,
    Std,
    app,
    errors,
    extra,
    number,
    remember_said,
    said_of_model,
    say,
)


class Colours(str, Enum):
    limbs = "limbs"
    people = "people"


class Smooth(str, Enum):
    none = "none"
    live = "live"
    offline = "offline"


LONGEST = 200  # characters of a picture's name


@app.command()
def predict(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images or videos, folders of them; camera:0, rtsp://... live."),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the results.")],
    boxes: Annotated[Path | None, typer.Option(help="A JSON list of boxes, see the docs.")] = None,
    detector: Annotated[str, typer.Option(help="A bundled detector or an ONNX file.")] = "person",
    whole_image: Annotated[
        bool, typer.Option("--whole-image", help="One person fills each image.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="Bundled, or an ONNX or safetensors file; see `poised models`.")
    ] = "coco17",
    skeleton: Annotated[
        str | None, typer.Option(help="Of other people's model: a name, a YAML or COCO file.")
    ] = None,
    mean: Mean = None,
    std: Std = None,
    bgr: Bgr = None,
    engine: Annotated[Engine, typer.Option(help="What runs the networks.")] = Engine.auto,
    flip: Annotated[bool, typer.Option(help="Average with the mirrored crop.")] = True,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Keypoints above it are sure: drawn, counted. Default: 0.5, public models 0.2."
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(help="Least pose score, 0 to 1; default: 0.15, or 0 of given boxes."),
    ] = None,
    min_joints: Annotated[
        int | None,
        typer.Option(help="Least number of sure keypoints; default: 3, 0 likewise."),
    ] = None,
    style: Annotated[
        Format | None,
        typer.Option("--format", help="Of the results; default: coco, of videos jsonl."),
    ] = None,
    draw: Annotated[bool, typer.Option(help="Write a picture for each image, or a copy.")] = True,
    colours: Annotated[
        Colours | None,
        typer.Option(help="Tell sides apart, or people, with box and number (of videos)."),
    ] = None,
    batch: Annotated[int, typer.Option(help="People a network call.")] = 32,
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: all.")] = None,
    detect_every: Annotated[
        int | None, typer.Option(min=1, help="Frames; of videos. Default: 3.")
    ] = None,
    smooth: Annotated[
        Smooth | None, typer.Option(help="Of videos. Default: offline, of live ones live.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show a video as it runs.")] = False,
) -> None:
    """Write everybody's pose in PATHS to OUT, as a table and as pictures or drawn videos.

    Exit code 1 says that some images could not be used or drawn, 2 that there are no results.
    """
    with errors():
        if sum([boxes is not None, whole_image, detector != "person"]) > 1:
            raise ValueError("--boxes, --detector and --whole-image exclude each other; give one")
        from poised.boxes.files import boxes_of, read_boxes
        from poised.images import list_images
        from poised.predict import Predictor
        from poised.video_sources import list_videos

        videos = list_videos(paths, without=out)
        if videos and boxes:
            raise ValueError("--boxes is for images; give videos --detector or --whole-image")
        images = list_images([Path(p) for p in paths], without=out) if videos is None else []
        said = said_of_model(skeleton, mean, std, bgr)
        given = boxes_of(read_boxes(boxes), images, boxes) if boxes else None
        predictor = Predictor.load(
            model,
            detector=None if whole_image or boxes else detector,
            engine=engine.value,
            threads=threads,
            flip=flip,
            batch=batch,
            threshold=threshold,
            min_score=min_score,
            min_joints=min_joints,
            foreign=said,
        )
        remember_said([model], said)
        painted = (colours or (Colours.people if videos else Colours.limbs)).value if draw else None
        if videos:
            with extra("video"):
                from poised.cli.video import predict_videos

                code = predict_videos(
                    predictor,
                    videos,
                    out,
                    style=(style or Format.jsonl).value,
                    colours=painted,
                    detect_every=detect_every,
                    smooth=smooth and smooth.value,
                    preview=preview,
                    threads=threads,
                )
        elif style is Format.parquet:
            raise ValueError("--format parquet is for videos; give coco, jsonl or csv")
        else:
            style = style or Format.coco
            code = int(_write(predictor, images, given, out, style.value, painted) > 0)
    if code:
        raise typer.Exit(code)


def _write(
    predictor: Any,
    images: list[Path],
    given: dict[Path, Any] | None,
    out: Path,
    style: Any,
    colours: Any,
) -> int:
    """Run the predictor over the images into the folder; how many were set aside or not drawn.

    colours: of the pictures, None for no pictures.
    """
    from rich.console import Console
    from rich.progress import track

    from poised.draw import draw_poses
    from poised.images import ImageError, write_jpeg
    from poised.predict import Failure
    from poised.results import ResultWriter

    boxes = [given[path] for path in images] if given is not None else None
    names = picture_names(images)
    failed = undrawn = left_out = 0
    terminal = sys.stderr.isatty()
    with ResultWriter(out, predictor.skeleton, style) as results:
        stream: Any = predictor.stream(images, boxes)
        if terminal:
            console = Console(stderr=True)
            stream = track(stream, total=len(images), description="poses", console=console)
        for path, result in zip(images, stream, strict=True):
            if isinstance(result, Failure):
                failed += 1
                say(f"set aside: {result.reason}", err=True)
                continue
            results.write(result.poses)
            left_out += result.left_out
            if colours is not None:
                picture = draw_poses(result.image, result.poses, predictor.threshold, colours)
                try:
                    write_jpeg(out / "pictures" / names[path], picture)
                except ImageError as error:
                    undrawn += 1
                    say(f"no picture: {error}", err=True)
            if not terminal:
                say(f"{path}: {number(len(result.poses), 'person', 'people')}")
    done = len(images) - failed
    people = number(results.people, "person", "people")
    say(f"{people} in {number(done, 'image')} -> {results.path}")
    if left_out:
        say(f"left out as unsure: {left_out} more (--min-score 0 --min-joints 0 shows all)")
    if colours is not None and done > undrawn:
        say(f"pictures -> {out / 'pictures'}")
    if failed:
        say(f"set aside: {failed} of {number(len(images), 'file')}, see above", err=True)
    return failed + undrawn


def picture_names(images: list[Path]) -> dict[Path, str]:
    """A file name for each image's picture: its own stem, numbered where that is taken."""
    taken: set[str] = set()
    names = {}
    for path in images:
        stem, count = path.stem[:LONGEST], 1
        name = f"{stem}.jpg"
        while name.casefold() in taken:  # some file systems do not tell A from a
            count += 1
            name = f"{stem}-{count}.jpg"
        taken.add(name.casefold())
        names[path] = name
    return names
