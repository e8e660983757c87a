"""`poised predict`, and `poised merge` for its shards."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from poised.cli.answer import Answer, answers
from poised.cli.common import (
    Batch,
    Bgr,
    Detector,
    Engine,
    Flip,
    Format,
    Mean,
    Model,
    ModelSkeleton,
    Out,
    Runner,
    Std,
    Threads,
    WholeImage,
    app,
    errors,
    extra,
    interrupted,
    number,
    remember_said,
    said_of_model,
    say,
)

Restart = Annotated[
    bool, typer.Option("--restart", help="Begin anew; the run there -> OUT/earlier-N.")
]

LATER = 15.0  # seconds in which signals count as one, of videos: a stream's next frame may take 10


class Colours(str, Enum):
    limbs = "limbs"
    people = "people"


class Smooth(str, Enum):
    none = "none"
    live = "live"
    offline = "offline"


@app.command()
@answers
def predict(
    paths: Annotated[
        list[str],
        typer.Argument(help="Images or videos, folders of them; camera:0, rtsp://... live."),
    ],
    out: Out,
    boxes: Annotated[Path | None, typer.Option(help="A JSON list of boxes, see the docs.")] = None,
    detector: Detector = "person",
    whole_image: WholeImage = False,
    model: Model = "coco17",
    model_skeleton: ModelSkeleton = None,
    mean: Mean = None,
    std: Std = None,
    bgr: Bgr = None,
    engine: Runner = Engine.auto,
    flip: Flip = True,
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
    batch: Batch = None,
    threads: Threads = None,
    relative_to: Annotated[
        Path | None,
        typer.Option(help="Each file_name as seen from this folder; default: as given."),
    ] = None,
    restart: Restart = False,
    shard: Annotated[
        str | None, typer.Option(help="Only the i-th of n, as i/n, into OUT/shard-i-of-n.")
    ] = None,
    detect_every: Annotated[
        int | None, typer.Option(min=1, help="Frames; of videos. Default: 3.")
    ] = None,
    smooth: Annotated[
        Smooth | None, typer.Option(help="Of videos. Default: offline, of live ones live.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show a video as it runs.")] = False,
) -> Answer:
    """Write everybody's pose in PATHS to OUT, as a table and as pictures or drawn videos.

    Stopped anywhere, the same command goes on with images. Exit code 1 says that some images could
    not be used or drawn, 2 that there are no results.
    """
    with errors(), interrupted():
        if sum([boxes is not None, whole_image, detector != "person"]) > 1:
            raise ValueError("--boxes, --detector and --whole-image exclude each other; give one")
        from poised.boxes.files import boxes_of, read_boxes
        from poised.folder_run import held
        from poised.image_list import check_pictures, list_images
        from poised.interrupt import ONE, heard_aside
        from poised.predict import Predictor
        from poised.shards import shard_folder
        from poised.video_sources import is_live, result_names, videos_of

        if "" in paths:
            raise ValueError("a path is empty; give . for this folder")
        files = [Path(path) for path in paths if not is_live(path)]
        images = list_images(files, without=out)
        videos = videos_of(paths, images)
        folder = shard_folder(out, shard) if shard else out
        if videos and (boxes or shard):
            raise ValueError("--boxes and --shard are for images, not for videos")
        if not videos and style is Format.parquet:
            raise ValueError("--format parquet is for videos; give coco, jsonl or csv")
        if not videos and (detect_every or smooth or preview):
            raise ValueError("--detect-every, --smooth and --preview are for videos")
        if videos is None:
            if draw or restart:  # which puts old pictures aside
                for place in {out, folder}:
                    check_pictures(images, place)
            given = boxes_of(read_boxes(boxes), images, boxes) if boxes else None
        called = result_names(videos or images, relative_to)
        said = said_of_model(model_skeleton, mean, std, bgr)
        finder = None if whole_image or boxes else detector
        usual = (Colours.people, Format.jsonl) if videos else (Colours.limbs, Format.coco)
        painted = (colours or usual[0]).value if draw else None
        written = (style or usual[1]).value
        with held(folder), heard_aside(LATER if videos else ONE) as stopped:
            predictor = Predictor.load(
                model,
                detector=finder,
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
            asked = {"flip": flip, "format": written, "boxes": _boxes_from(boxes, finder)}
            if videos:
                with extra("video"):
                    from poised.cli.video import predict_videos

                    return predict_videos(
                        predictor,
                        videos,
                        called,
                        out,
                        asked,
                        style=written,
                        colours=painted,
                        detect_every=detect_every,
                        smooth=smooth and smooth.value,
                        preview=preview,
                        threads=threads,
                        restart=restart,
                        stopped=stopped,
                    )
            asked |= {"paths": [str(file) for file in files], "pictures": painted}
            if relative_to is not None:  # so that a run begun without this option goes on
                asked |= {"relative_to": str(relative_to)}
            return _images(predictor, images, called, given, folder, shard, asked, restart, stopped)


def _boxes_from(boxes: Path | None, detector: str | None) -> str:
    """Where the boxes come from, as a run says it: with the file's hash."""
    from poised.files import sha256
    from poised.openvino_model import numbers_of
    from poised.runtime import find_model

    file = boxes or (numbers_of(find_model(detector)) if detector else None)
    return f"{file.name} {sha256(file)}" if file else "whole image"


def _images(
    predictor: Any,
    images: Sequence[Path],
    called: list[str],
    boxes: dict[Path, Any] | None,
    folder: Path,
    shard: str | None,
    asked: dict[str, Any],
    restart: bool,
    stopped: Any,
) -> Answer:
    """Begin or go on with a run of images in a folder that is held."""
    from poised.folder_run import begin, describe_images
    from poised.parts import describe_predictor

    asked = asked | describe_images(images, shard) | describe_predictor(predictor)
    run = begin(folder, asked, restart)
    _tell_if_done(run)
    _go_on(run, predictor, images, called, boxes, asked["pictures"], stopped)
    return _sum_up(run, run.finish(stopped))


def _go_on(
    run: Any,
    predictor: Any,
    images: Sequence[Path],
    called: list[str],
    boxes: dict[Path, Any] | None,
    colours: Any,
    stopped: Any,
) -> None:
    """Do what is missing of a run, and say what comes of each image."""
    from rich.console import Console
    from rich.progress import track

    from poised.parts import go_on

    left = run.left()
    if left and left < len(images):
        say(run.kept())
    stream: Any = go_on(run, predictor, images, boxes, colours, stopped, called)
    terminal = sys.stderr.isatty()
    if terminal and left:
        console = Console(stderr=True)
        stream = track(stream, total=left, description="poses", console=console)
    for line in stream:
        if "set_aside" in line:
            say(f"set aside: {line['file_name']}: {line['set_aside']}", err=True)
            continue
        if "undrawn" in line:
            say(f"no picture: {line['undrawn']}", err=True)
        if not terminal:
            say(f"{line['file_name']}: {number(len(line['people']), 'person', 'people')}")


def _tell_if_done(run: Any) -> None:
    if run.totals is not None:
        say(f"{run.out} holds all of this run already; --restart does it again")


def _sum_up(run: Any, totals: Any) -> Answer:
    """What came of a run; the exit code says whether all images were used and drawn."""
    from poised.folder_run import SET_ASIDE
    from poised.image_list import PICTURES

    out = run.out if run.asked["shard"] else run.results
    drawn = bool(run.asked["pictures"]) and totals.images > totals.undrawn
    pictures = run.out / PICTURES if drawn else None
    people = number(totals.people, "person", "people")
    shown = [f"{people} in {number(totals.images, 'image')} -> {out}"]
    if totals.left_out:
        shown.append(
            f"left out as unsure: {totals.left_out} more (--min-score 0 --min-joints 0 shows all)"
        )
    if drawn:
        shown.append(f"pictures -> {pictures}")
    notes = []
    if totals.set_aside:
        count = number(totals.images + totals.set_aside, "file")
        notes.append(f"set aside: {totals.set_aside} of {count}, see {run.out / SET_ASIDE}")
    facts = asdict(totals) | {"out": out, "pictures": pictures}
    return Answer(facts, shown, notes, int(totals.set_aside + totals.undrawn > 0))


@app.command()
@answers
def merge(
    folders: Annotated[list[Path], typer.Argument(help="All shards' folders.")],
    out: Out,
    restart: Restart = False,
) -> Answer:
    """Put the shards of a `poised predict --shard i/n` together: the results of one run.

    The exit code is that run's.
    """
    with errors():
        from poised.folder_run import begin, held
        from poised.shards import merge as put_together
        from poised.shards import read_shards, whole

        shards = read_shards(folders)
        with held(out):
            run = begin(out, whole(shards[0]), restart)
            _tell_if_done(run)
            totals = run.totals or put_together(shards, run)
    return _sum_up(run, totals)
