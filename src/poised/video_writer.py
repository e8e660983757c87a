"""Frames -> an MP4 file of H.264 that browsers play, with the clip's own time stamps and sound."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from poised.files import written_whole
from poised.video import BT709, Clip, Image, open_container
from poised.video_sources import VideoError

ENCODER, PIXELS = "libx264", "yuv420p"
QUALITY = {"crf": "20", "preset": "veryfast"}
LIMITED = 1  # FFmpeg's number of the range of levels that players expect
Write = Callable[[Image, float], None]


@contextmanager
def written_video(path: Path, clip: Clip, threads: int | None = None) -> Iterator[Write]:
    """`with written_video(path, clip) as write: write(image, time)` for the clip's frames.

    image: (H, W, 3) RGB; where H or W is odd, its last row or column is repeated: H.264's colours
    want even sizes. time: in seconds, a frame's of the clip. The sound is copied packet by packet,
    not encoded anew; a kind that MP4 does not hold is left out, with a note in `clip.notes`.
    threads: of the encoder, None for all cores. Nothing appears under `path` until the block ends
    without an error. Raises VideoError.
    """
    if not clip.live and path.exists() and path.samefile(clip.source):
        raise VideoError(f"{path}: is the input; give another folder for the results")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial, _output(partial) as out, _sound(out, clip) as copy_until:
        stream: Any = None
        shape: tuple[int, ...] = ()
        last = -math.inf

        def write(image: Image, time: float) -> None:
            nonlocal stream, shape, last
            if stream is None:
                stream, shape = _stream(out, clip, image, threads), image.shape
            elif image.shape != shape:
                raise VideoError(
                    f"{clip.name}: its frames change from {shape[1]}x{shape[0]} to "
                    f"{image.shape[1]}x{image.shape[0]} at {time:.2f} s; give each part by itself"
                )
            frame = av.VideoFrame.from_ndarray(even(image), format="rgb24")
            frame = frame.reformat(format=PIXELS, dst_colorspace=BT709, dst_color_range=LIMITED)
            frame.pts, frame.time_base = round(time / clip.time_base), clip.time_base
            copy_until(time)
            out.mux(stream.encode(frame))
            last = time

        yield write
        if stream is not None:
            copy_until(math.inf if clip.finished else last)
            out.mux(stream.encode(None))


def even(image: Image) -> Image:
    """The image with its last row and column repeated where their number is odd."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), "edge")


@contextmanager
def _output(path: Path) -> Iterator[Any]:
    """An MP4 whose index stands before its frames, so that it plays while it loads."""
    try:
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
            yield out
    except av.FFmpegError as error:
        raise VideoError(f"{path}: cannot be written: {error.strerror}") from error


def _stream(out: Any, clip: Clip, image: NDArray[np.uint8], threads: int | None) -> Any:
    try:
        stream = out.add_stream(ENCODER, rate=clip.rate, options=QUALITY)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(
            f"this build of PyAV has no {ENCODER}: take the wheel, pip install 'poised[video]'"
        ) from error
    height, width = image.shape[:2]
    stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, PIXELS
    context = stream.codec_context
    context.time_base = clip.time_base
    context.thread_count = threads or 0
    context.color_range = LIMITED
    context.colorspace = context.color_primaries = context.color_trc = BT709
    return stream


@contextmanager
def _sound(out: Any, clip: Clip) -> Iterator[Callable[[float], None]]:
    """A function that copies the clip's sound up to a time in seconds; a live source has none."""
    if clip.live:
        yield lambda time: None
        return
    with open_container(clip.source) as source:
        copies = {}
        for stream in source.streams.audio:
            try:
                copies[stream] = out.add_stream_from_template(stream)
            except (ValueError, av.FFmpegError):
                clip.notes.append(
                    f"{clip.name}: its sound ({stream.codec_context.name}) is left out: MP4 "
                    "does not hold that kind"
                )
        packets = _packets(source, list(copies))
        waiting = next(packets, None)

        def copy_until(time: float) -> None:
            nonlocal waiting
            while waiting is not None and waiting.dts * waiting.time_base <= time:
                waiting.stream = copies[waiting.stream]
                out.mux(waiting)
                waiting = next(packets, None)

        yield copy_until


def _packets(source: Any, streams: list[Any]) -> Iterator[Any]:
    """The streams' packets, up to where the file ends or is damaged."""
    try:
        for packet in source.demux(streams) if streams else ():
            if packet.dts is not None:
                yield packet
    except av.FFmpegError:
        return
