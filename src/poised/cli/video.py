"""`poised predict` of videos, cameras and network streams."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from poised.cli.answer import Answer
from poised.cli.common import number, say

Said = Callable[[], int | None]


def predict_videos(
    predictor: Any,
    sources: Sequence[str | Path],
    called: Sequence[str],
    out: Path,
    asked: dict[str, Any],
    *,
    style: Any,
    colours: Any,
    detect_every: int | None,
    smooth: Any,
    preview: bool,
    threads: int | None,
    restart: bool,
    stopped: Said,
) -> Answer:
    """Write the videos' poses to OUT, and a drawn copy of each.

    called: the sources' names in the results; asked: of flip, format and boxes; colours: of the
    copies, None for no copies. Ctrl-C or SIGTERM ends the video that runs, and what was done is
    kept: exit code 0 where that was a live source, which has no other end.
    """
    from poised.draw import draw_poses
    from poised.follow import DETECT_EVERY
    from poised.parts import describe_predictor
    from poised.video import Clip
    from poised.video_results import video_results
    from poised.video_run import begin_videos
    from poised.video_sources import VideoError, clip_names, is_live

    def drawn(frame: Any) -> Any:
        style: Any = colours or "people"
        return draw_poses(frame.image, frame.poses, predictor.threshold, style, frame.ids)

    source, every = sources[0], detect_every or DETECT_EVERY
    done: list[dict[str, Any]] = []
    failed: list[str] = []
    files = clip_names(sources)
    asked = {**asked, "videos": called, "copies": files if colours else [], "colours": colours}
    asked |= {"detect_every": every, "smooth": smooth} | describe_predictor(predictor)
    with ExitStack() as stack:
        show = stack.enter_context(_shown(preview))
        results = stack.enter_context(video_results(out, predictor.skeleton, style))
        begin_videos(out, sources, asked, restart)
        for source, name, file in zip(sources, called, files, strict=True):
            copy = None if colours is None else out / file
            try:
                with Clip(source) as clip:
                    frames = predictor.video(clip, detect_every=every, smooth=smooth)
                    left = _until(stopped, frames)
                    done.append(_one(clip, name, left, results, copy, drawn, show, threads))
            except VideoError as error:
                failed.append(name)
                say(f"set aside: {error}", err=True)
            if stopped():
                break
    poses = number(results.people, "pose")
    shown = [f"{poses} in {number(results.frames, 'frame')} -> {results.path}"]
    facts = {
        "poses": results.people,
        "frames": results.frames,
        "out": results.path,
        "videos": done,
        "set_aside": failed,
    }
    notes = []
    if failed:
        notes.append(f"set aside: {len(failed)} of {number(len(sources), 'video')}, see above")
    number_of_signal = stopped()
    if number_of_signal:
        notes.append("stopped; what was done until then is kept")
        return Answer(facts, shown, notes, 0 if is_live(source) else 128 + number_of_signal)
    return Answer(facts, shown, notes, int(bool(failed) or any(d["unanswered"] for d in done)))


def _one(
    clip: Any,
    name: str,
    frames: Iterator[Any],
    results: Any,
    copy: Path | None,
    drawn: Callable[[Any], Any],
    show: Callable[[Any], None] | None,
    threads: int | None,
) -> dict[str, Any]:
    """Write one clip's poses and its drawn copy; say, and return, what became of it."""
    from poised.video_writer import written_video

    people: set[int] = set()
    count = unanswered = 0
    wrong = ""  # what is said of the first frame without an answer
    with ExitStack() as stack:
        write = stack.enter_context(written_video(copy, clip, threads)) if copy else None
        if show is None:
            frames = stack.enter_context(_tracked(clip, frames))
        for frame in frames:
            results.write(name, frame)
            people.update(frame.ids.tolist())
            count += 1
            if frame.wrong:
                unanswered += 1
                wrong = wrong or f"at {frame.time:.2f} s: {frame.wrong}"
            if write is not None or show is not None:
                picture = drawn(frame)
            if write is not None:
                write(picture, frame.time)
            if show is not None:
                show(picture)
    for note in clip.notes:
        say(note, err=True)
    if wrong:
        say(f"{clip.name}: nobody in {number(unanswered, 'frame')}, the first {wrong}", err=True)
    where = f" -> {copy}" if copy else ""
    say(f"{clip.name}: {number(len(people), 'id')} in {number(count, 'frame')}{where}")
    facts = {"file_name": name, "ids": len(people), "frames": count, "copy": copy}
    return facts | {"unanswered": unanswered}


def _until(told: Said, frames: Iterator[Any]) -> Iterator[Any]:
    """The frames, up to where a signal asks to stop."""
    for frame in frames:
        yield frame
        if told():
            return


@contextmanager
def _shown(wanted: bool) -> Iterator[Callable[[Any], None] | None]:
    from poised.preview import preview

    if not wanted:
        yield None
        return
    with preview() as show:
        yield show


@contextmanager
def _tracked(clip: Any, frames: Iterator[Any]) -> Iterator[Iterator[Any]]:
    """The frames, with a progress bar where somebody watches."""
    if not sys.stderr.isatty():
        yield frames
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        yield iter(bar.track(frames, total=clip.frames or None, description=clip.name))
