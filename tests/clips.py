"""Clips rendered for tests, whose frames, time stamps and sound are known."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

TICK = Fraction(1, 600)  # seconds: QuickTime's old unit, which 24, 25 and 30 frames a second divide
STAMPS = (0, 20, 41, 60, 130, 150, 155, 200, 240, 300, 301, 340)  # a phone's: no two steps alike


def moving_square(index: int, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """A grey picture (width, height) with a white 8x8 square whose left edge is at 5 x index."""
    image = np.full((size[1], size[0], 3), 60, np.uint8)
    image[20:28, 5 * index : 5 * index + 8] = 250
    return image


def square_left(image: np.ndarray) -> float:
    """The left edge of that square."""
    columns = np.flatnonzero(image[24, :, 1] > 155)
    return float(columns[0])


def write_clip(
    path: Path,
    images: Sequence[np.ndarray],
    stamps: Sequence[int] = STAMPS,
    *,
    clockwise: int = 0,
    mirrored: bool = False,
    sound: str = "",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """Images as a clip of time stamps in ticks; clockwise: degrees that a player turns it by.

    mirrored: after that; sound: its codec.
    """
    import av

    with av.open(str(path), "w", options=options or {}) as out:
        height, width = images[0].shape[:2]
        stream: Any = out.add_stream(codec, rate=30)
        stream.width, stream.height = width, height
        stream.pix_fmt = {"libx264": "yuv444p", "ffv1": "bgr0"}.get(codec, "yuv420p")
        stream.codec_context.time_base = TICK
        if codec == "libx264":
            stream.options = {"crf": "5"}
        if clockwise or mirrored:
            stream.set_display_rotation(-clockwise, hflip=mirrored)  # it counts the other way
        heard = out.add_stream(sound, rate=48000, layout="mono") if sound else None
        for image, stamp in zip(images, stamps, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = stamp, TICK
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if heard is not None:
            _write_sound(out, heard, seconds=float(stamps[-1] * TICK))
    return path


def _write_sound(out: Any, heard: Any, seconds: float) -> None:
    """A tone with noise, so that no two packets are alike."""
    import av

    rng = np.random.default_rng(0)
    for start in range(0, int(48000 * seconds), 1024):
        phase = 2 * np.pi * 440 * np.arange(start, start + 1024) / 48000
        wave = (0.3 * np.sin(phase) + rng.normal(0, 0.02, 1024)).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        out.mux(heard.encode(frame))
    out.mux(heard.encode(None))


def sound_packets(path: Path) -> list[tuple[float, bytes]]:
    """The time and bytes of every packet of sound in a file."""
    import av

    with av.open(str(path)) as source:
        found = []
        for packet in source.demux(source.streams.audio[0]):
            if packet.dts is not None:
                found.append((round(float(packet.pts * packet.time_base), 6), bytes(packet)))
        return found
