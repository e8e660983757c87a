"""Videos, cameras and network streams -> upright RGB frames with the time stamps they have."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from poised.images import MAX_PIXELS
from poised.video_sources import CAMERA, VideoError, is_live, shown

try:
    import av
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("video needs av: pip install 'poised[video]'", name="av") from error

CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}")}  # by sys.platform
PATIENCE = 10.0  # seconds for a network stream to answer, and between its frames
LEAST_MISSING = 0.1  # seconds at its end that a clip is not told off for
USUAL_RATE = Fraction(30)  # frames a second, where a stream says nothing
HIGH_DEFINITION = 720  # rows, from which untagged colours are BT.709's by custom
UNSPECIFIED, BT709 = 2, 1  # FFmpeg's numbers of colour spaces; to its scaler BT.709 is 1 too
# FFmpeg's readers of files: none of a playlist, which would open other files and addresses
FILES = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,gif,apng,mxf,nut,"
    "ivf,wtv,dv,h264,hevc,av1,obu,m4v,mjpeg,rm,swf,yuv4mpegpipe,webp_anim"
)
Image = NDArray[np.uint8]
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Frame:
    """index: counted from 0; time: seconds, the frame's own stamp; image: (H, W, 3) RGB."""

    index: int
    time: float
    image: Image


class Clip:
    """A video, opened; `with Clip(source) as clip:` and once `for frame in clip:`.

    source: a file, "camera:0" (the first webcam), or an address such as rtsp://host/path. Frames
    are turned and mirrored as the file says, their times are the file's own; of a live source they
    count from its first frame, and what comes while the last frame is worked on is dropped.

    name: without an address's password; rate: frames a second on average; frames: how many there
    should be, 0 if unknown; finished: all were read; notes: what is wrong with it, for the user.
    Raises VideoError.
    """

    def __init__(self, source: str | Path) -> None:
        self.source, self.name, self.live = source, shown(source), is_live(source)
        self.notes: list[str] = []
        self.finished = False
        self._container = open_container(source)
        try:
            self._stream = self._first_video()
            self._stream.thread_type = "AUTO"
            self._check_size(self._stream.codec_context)
            self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # if it changes
        except BaseException:
            self._container.close()
            raise
        self.time_base: Fraction = self._stream.time_base
        self.rate: Fraction = self._stream.average_rate or self._stream.guessed_rate or USUAL_RATE
        self.frames: int = self._stream.frames
        self._step = max(1, round(1 / (self.rate * self.time_base)))  # ticks a frame

    def __enter__(self) -> Clip:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        return _newest(self._frames()) if self.live else self._frames()

    def _first_video(self) -> Any:
        streams = self._container.streams
        for stream in streams.video:
            if not stream.disposition & av.stream.Disposition.attached_pic:  # a song's cover
                return stream
        kinds = ", ".join(sorted({stream.type for stream in streams})) or "nothing"
        raise VideoError(f"{self.name}: has no video stream, only {kinds}; give another file")

    def _check_size(self, said: Any) -> None:
        """Before a frame is decoded: one of a few bytes may stand for gigabytes."""
        if said is None:
            raise VideoError(f"{self.name}: no frame in it can be decoded: of an unknown codec")
        if said.width * said.height > MAX_PIXELS:
            raise VideoError(
                f"{self.name}: {said.width}x{said.height} is over {MAX_PIXELS} pixels; shrink it"
            )

    def _frames(self) -> Iterator[Frame]:
        first = last = None
        count = 0
        for frame in self._decoded():
            stamp = frame.pts
            if last is not None and (stamp is None or stamp <= last):
                stamp = last + (self._step if stamp is None else 1)  # a muxer wants them to rise
            last = stamp or 0
            first = last if first is None else first
            ticks = last - first if self.live else last
            yield Frame(count, float(ticks * self.time_base), _rgb(frame))
            count += 1
        if not count and not self.live:
            why = "; ".join(self.notes) or "it is empty"
            raise VideoError(f"{self.name}: no frame in it can be decoded: {why}")
        if not self.live:
            self._note_end(count, float((last or 0) * self.time_base))
        self.finished = True

    def _decoded(self) -> Iterator[Any]:
        """FFmpeg's frames; a damaged packet is passed over, a damaged file ends."""
        packets = self._container.demux(self._stream)
        damaged = 0
        while True:
            try:
                packet = next(packets, None)
                frames = [] if packet is None else packet.decode()
            except av.InvalidDataError:
                damaged += 1  # and the packets end here, where it was not the decoder that failed
                continue
            except (av.FFmpegError, OSError) as error:
                self.notes.append(f"{self.name}: reading ends early: {error}")
                break
            if packet is None:
                break
            yield from frames
        with suppress(av.FFmpegError, EOFError):  # nothing may be left in the decoder
            yield from self._stream.decode(None)
        if damaged:
            self.notes.append(f"{self.name}: {damaged} damaged places were passed over")

    def _note_end(self, count: int, last: float) -> None:
        """Say so where the frames, the last of which is at that time, end before they should."""
        stream = self._stream
        start = float((stream.start_time or 0) * self.time_base)
        stated = [float((stream.duration or 0) * self.time_base), _tagged(stream.metadata)]
        if "mov" not in self._container.format.name:  # there, frames that are cut away count, too
            stated.append(float(self.frames / self.rate))
        step = (last - start) / max(1, count - 1)
        end, should = last + step, start + max(stated)
        if should - end > max(2 * step, LEAST_MISSING):
            self.notes.append(
                f"{self.name}: cut short or damaged: its {count} frames end at {end:.2f} s of "
                f"{should:.2f} s; those that are there were used"
            )


def _tagged(metadata: dict[str, str]) -> float:
    """Matroska's duration of a stream, "00:00:02.000000000", in seconds; 0 where it has none."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+\.?\d*)", metadata.get("DURATION", ""))
    return 0.0 if found is None else float(found[1]) * 3600 + float(found[2]) * 60 + float(found[3])


def open_container(source: str | Path) -> Any:
    """A source as FFmpeg opens it for reading; raises VideoError."""
    name = shown(source)
    try:
        if not is_live(source):
            return av.open(
                str(source),
                options={"format_whitelist": FILES, "max_pixels": str(MAX_PIXELS)},  # it probes
                metadata_errors="replace",
            )
        if str(source).startswith(CAMERA):
            return _camera(str(source))
        options = {"rtsp_transport": "tcp"} if str(source).startswith("rtsp") else {}
        return av.open(str(source), options=options, timeout=PATIENCE)
    except FileNotFoundError as error:
        raise VideoError(f"{name}: no such file") from error
    except IsADirectoryError as error:
        raise VideoError(f"{name}: is a folder, expected a video") from error
    except av.InvalidDataError as error:
        raise VideoError(
            f"{name}: not a video, or cut short before its index (an MP4's may stand at its end): "
            "nothing in it can be found; give another copy"
        ) from error
    except (av.FFmpegError, OSError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__  # the text has the address
        raise VideoError(f"{name}: cannot be opened: {why}") from error


def _camera(source: str) -> Any:
    number = source.removeprefix(CAMERA)
    if sys.platform not in CAMERAS or not number.isdecimal():
        known = f"{CAMERA}0, {CAMERA}1 and so on, on Linux and macOS"
        raise VideoError(f"{source}: no such camera; known: {known}")
    kind, place = CAMERAS[sys.platform]
    return av.open(place.format(number), format=kind)


def _rgb(frame: Any) -> Image:
    """FFmpeg's frame as (H, W, 3) RGB, turned as its display matrix says."""
    untagged = frame.colorspace == UNSPECIFIED and frame.height >= HIGH_DEFINITION
    image = frame.to_ndarray(format="rgb24", src_colorspace=BT709 if untagged else None)
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return image if matrix is None else upright(image, np.frombuffer(bytes(matrix), np.int32))


def upright(image: Image, matrix: NDArray[np.int32]) -> Image:
    """An image by its display matrix (9,), as in MP4: x' = m0 x + m3 y, y' = m1 x + m4 y, y down.

    By right angles and mirrors; of another angle the nearest are taken.
    """
    m0, m1, m3, m4 = (float(matrix[place]) for place in (0, 1, 3, 4))
    if abs(m1) + abs(m3) > abs(m0) + abs(m4):
        image, m0, m4 = image.transpose(1, 0, 2), m3, m1
    return np.ascontiguousarray(image[:: -1 if m4 < 0 else 1, :: -1 if m0 < 0 else 1])


def _newest(items: Iterator[Item]) -> Iterator[Item]:
    """The newest item each time; a thread takes them, those that nobody waited for are dropped."""
    changed = threading.Condition()
    slot: list[Item] = []
    ended: list[BaseException | None] = []
    stopped = threading.Event()

    def take() -> None:
        failure: BaseException | None = None
        try:
            for item in items:
                with changed:
                    slot[:] = [item]
                    changed.notify()
                if stopped.is_set():
                    return
        except BaseException as error:
            failure = error
        with changed:
            ended.append(failure)
            changed.notify()

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: slot or ended)
                if not slot:
                    if ended[0] is not None:
                        raise ended[0]
                    return
                item = slot.pop()
            yield item
    finally:
        stopped.set()
        thread.join()
