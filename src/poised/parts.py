"""The parts of a run: images -> poses, pictures, and a line an image that says what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from poised import __version__
from poised.draw import Colours, draw_poses
from poised.files import numbered, sha256
from poised.folder_run import Line, Run, Stopped, nobody, writing
from poised.image_list import PICTURES
from poised.images import ImageError, write_jpeg
from poised.openvino_model import numbers_of
from poised.predict import Failure, Predicted, Predictor
from poised.results import pose_records
from poised.types import Boxes


def go_on(
    run: Run,
    predictor: Predictor,
    images: Sequence[Path],
    boxes: Mapping[Path, Boxes] | None = None,
    colours: Colours | None = None,
    stopped: Stopped = nobody,
    called: Sequence[str] | None = None,
) -> Iterator[Line]:
    """Do the parts of a run that are missing; yields each image's line, as it is done:

    {"file_name", "people": records of `pose_records`, "left_out": how many were unsure}, with
    "undrawn", the reason, where its picture could not be; or {"file_name", "set_aside": reason}.

    images: the run's whole list; boxes: of all of them; colours: of the pictures, None for none;
    called: the images' names in the results, None for their paths as they are given.
    Raises Interrupted where a signal was heard, RunError where the folder takes no more: the part
    that was being done is dropped.
    """
    names = picture_names(images) if colours else []
    missing = run.missing()
    places = [place for part in missing for place in run.places(part)]
    sources = (images[place] for place in places)  # of few, too, as of many: to the last digit
    given = None if boxes is None else (boxes[images[place]] for place in places)
    with closing(predictor.stream(sources, given, apart=run.asked["part"])) as stream:
        results = run.until(stopped, stream)
        for part in missing:
            lines, pictures = [], []
            for place in run.places(part):
                result = next(results)
                line = describe(result, str(images[place]), called[place] if called else None)
                if colours and isinstance(result, Predicted):
                    picture = run.out / PICTURES / names[place]
                    drawn = draw_poses(result.image, result.poses, predictor.threshold, colours)
                    try:
                        with writing(run.out, run.kept):
                            write_jpeg(picture, drawn)
                        pictures.append(picture)
                    except ImageError as error:
                        line["undrawn"] = str(error)
                lines.append(line)
                yield line
            run.keep(part, lines, pictures)


def describe_predictor(predictor: Predictor) -> dict[str, Any]:
    """All of a predictor that its poses depend on, by the names of its options, for `begin`."""
    estimator, names = predictor.estimator, ("batch", "threshold", "min_score", "min_joints")
    session = estimator.session
    return {
        "model": f"{session.path.name} {sha256(numbers_of(session.path))}",
        "fed": {name: value for name, value in estimator.notes.items() if name != "skeleton"},
        "skeleton": predictor.skeleton.to_dict(),
        "engine": session.engine,
        **{name: getattr(predictor, name) for name in names},
        "version": __version__,
    }


def describe(result: Predicted | Failure, path: str, called: str | None = None) -> Line:
    """An image's line; its picture is not yet known of. called: its name there; None: its path."""
    name = path if called is None else called
    if isinstance(result, Failure):
        return {"file_name": name, "set_aside": result.reason}
    poses = result.poses if called is None else replace(result.poses, file_name=called)
    return {
        "file_name": name,
        "people": pose_records(poses, 0),  # its number is known when all are done
        "left_out": result.left_out,
    }


def picture_names(images: Sequence[Path]) -> list[str]:
    """A file name for each image's picture: its own stem, numbered where that is taken."""
    return numbered((path.stem for path in images), ".jpg")
