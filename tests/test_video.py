"""Clips whose frames, stamps and sound are known: what is read of them, and what is written."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("av", reason="needs poised[video]")
from clips import (
    STAMPS,
    TICK,
    moving_square,
    sound_packets,
    square_left,
    write_clip,
)

from poised.image_list import list_images
from poised.video import Clip, Frame, _newest
from poised.video_sources import VideoError, clip_names, is_live, shown, videos_of
from poised.video_writer import even, written_video

TIMES = [float(stamp * TICK) for stamp in STAMPS]
SQUARES = [moving_square(index) for index in range(len(STAMPS))]


def read(path: Path) -> list[Frame]:
    with Clip(path) as clip:
        return list(clip)


def copied(path: Path, out: Path) -> list[str]:
    """Write the clip's frames as they are; the notes."""
    with Clip(path) as clip:
        with written_video(out, clip) as write:
            for frame in clip:
                write(frame.image, frame.time)
        return clip.notes


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mov", "clip.mkv"])
def test_a_variable_rate_comes_back_stamp_for_stamp(tmp_path: Path, name: str) -> None:
    """The square's place tells which frame it is. MKV counts in milliseconds."""
    frames = read(write_clip(tmp_path / name, SQUARES))
    assert [frame.index for frame in frames] == list(range(len(STAMPS)))
    exact = 5.01e-4 if name.endswith("mkv") else 1e-9
    np.testing.assert_allclose([frame.time for frame in frames], TIMES, rtol=0, atol=exact)
    assert [square_left(frame.image) for frame in frames] == [5 * i for i in range(len(STAMPS))]


def test_a_frame_larger_than_an_image_may_be_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By what the file says of its frames, and by a frame itself, should they differ."""
    clip = write_clip(tmp_path / "a.mp4", SQUARES)
    high, wide = SQUARES[0].shape[:2]
    monkeypatch.setattr("poised.video.MAX_PIXELS", high * wide - 1)
    with pytest.raises(
        VideoError, match=rf"a\.mp4: {wide}x{high} is over {high * wide - 1} pixels"
    ):
        read(clip)
    monkeypatch.setattr(Clip, "_check_size", lambda *_: None)
    with pytest.raises(VideoError, match="no frame in it can be decoded"):
        read(clip)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
def test_a_phones_clip_is_upright(tmp_path: Path, clockwise: int, mirrored: bool) -> None:
    """Stored as the sensor lies; the display matrix turns it, and then mirrors it."""
    upright = np.full((64, 48, 3), 40, np.uint8)
    upright[:16, :24] = 250, 30, 30
    upright[-16:, :] = 30, 250, 30
    stored = upright[:, ::-1] if mirrored else upright
    stored = np.rot90(stored, clockwise // 90)  # counterclockwise
    turned = {"clockwise": clockwise, "mirrored": mirrored}
    clip = write_clip(tmp_path / "phone.mp4", [np.ascontiguousarray(stored)], [0], **turned)
    image = read(clip)[0].image
    assert image.shape == upright.shape
    np.testing.assert_allclose(image.astype(int), upright, atol=12)


def test_what_is_written_has_the_same_stamps_and_plays_in_browsers(tmp_path: Path) -> None:
    """H.264 of 4:2:0, its index in front; pictures within what compression costs."""
    import av

    clip = write_clip(tmp_path / "clip.mov", SQUARES)
    assert copied(clip, tmp_path / "out" / "copy.mp4") == []
    before, after = read(clip), read(tmp_path / "out" / "copy.mp4")
    assert [frame.time for frame in after] == [frame.time for frame in before]
    for one, other in zip(before, after, strict=True):
        assert square_left(one.image) == pytest.approx(square_left(other.image), abs=1)
        assert np.abs(one.image.astype(int) - other.image).mean() < 3
    data = (tmp_path / "out" / "copy.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(tmp_path / "out" / "copy.mp4")) as made:
        context = made.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


@pytest.mark.parametrize("colour", [(200, 40, 40), (40, 200, 40), (40, 40, 200), (250, 250, 250)])
@pytest.mark.parametrize("height", [64, 720])
def test_colours_stay(tmp_path: Path, colour: tuple[int, int, int], height: int) -> None:
    """At 720 rows, too, where untagged colours mean another matrix."""
    image = np.full((height, 64, 3), colour, np.uint8)
    clip = write_clip(tmp_path / "clip.mkv", [image], [0], codec="ffv1")
    copied(clip, tmp_path / "copy.mp4")
    after = read(tmp_path / "copy.mp4")[0].image
    np.testing.assert_allclose(after.reshape(-1, 3).mean(0), colour, atol=3)


def test_odd_sizes_are_filled_up_by_one(tmp_path: Path) -> None:
    images = [moving_square(index, (95, 63)) for index in range(len(STAMPS))]
    clip = write_clip(tmp_path / "odd.mkv", images, codec="ffv1")
    assert read(clip)[0].image.shape == (63, 95, 3)
    copied(clip, tmp_path / "copy.mp4")
    after = read(tmp_path / "copy.mp4")
    assert after[0].image.shape == (64, 96, 3)
    assert [square_left(frame.image) for frame in after] == [5 * i for i in range(len(STAMPS))]
    assert len(after) == len(STAMPS)
    ramp = np.arange(15 * 3, dtype=np.uint8).reshape(3, 5, 3)
    np.testing.assert_array_equal(even(ramp)[:3, :5], ramp)
    np.testing.assert_array_equal(even(ramp)[3, 5], ramp[2, 4])


def test_sound_is_kept_bit_for_bit(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "loud.mp4", SQUARES, sound="aac")
    copied(clip, tmp_path / "copy.mp4")
    before, after = sound_packets(clip), sound_packets(tmp_path / "copy.mp4")
    assert len(before) > 20
    assert after == before


def test_sound_ends_with_the_frames_where_one_stops(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "loud.mp4", SQUARES, sound="aac")
    with Clip(clip) as source, written_video(tmp_path / "part.mp4", source) as write:
        for frame in source:
            write(frame.image, frame.time)
            if frame.index == 4:
                break
    kept = sound_packets(tmp_path / "part.mp4")
    assert kept == sound_packets(clip)[: len(kept)]
    assert TIMES[4] - 0.05 < kept[-1][0] <= TIMES[4]


def test_sound_that_mp4_does_not_hold_is_left_out_aloud(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "old.avi", SQUARES, codec="mpeg4", sound="pcm_alaw")
    notes = copied(clip, tmp_path / "copy.mp4")
    assert any("old.avi: its sound (pcm_alaw) is left out" in note for note in notes)
    assert len(read(tmp_path / "copy.mp4")) == len(STAMPS)


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", SQUARES)
    out = tmp_path / "out" / "copy.mp4"

    def write_two(path: Path, second: np.ndarray) -> None:
        with Clip(clip) as source, written_video(path, source) as write:
            write(SQUARES[0], 0.0)
            write(second, 0.1)

    with pytest.raises(VideoError, match=r"change from 96x64 to 64x96 at 0.10 s"):
        write_two(out, SQUARES[1].transpose(1, 0, 2))
    assert list(out.parent.iterdir()) == []
    with pytest.raises(VideoError, match="is the input"):
        write_two(clip, SQUARES[1])
    assert len(read(clip)) == len(STAMPS)


@pytest.mark.parametrize("name", ["cut.mkv", "cut.mp4", "cut.avi"])
def test_of_a_truncated_file_what_is_there_is_used(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (64, 96, 3)).astype(np.uint8) for _ in range(60)]
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    options = {"movflags": "+faststart"} if name.endswith("mp4") else {}
    stamps = range(0, 60 * 20, 20)
    clip = write_clip(tmp_path / name, images, stamps, codec=codec, options=options)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size * 6 // 10])
    with Clip(clip) as source:
        frames = list(source)
    assert 20 < len(frames) < 50
    assert [frame.time for frame in frames] == pytest.approx(
        [stamp / 600 for stamp in stamps][: len(frames)], abs=1e-3
    )
    assert any(name in note for note in source.notes)
    assert any(str(len(frames)) in note for note in source.notes)


def test_what_is_no_video_is_refused_by_name(tmp_path: Path) -> None:
    import av

    (tmp_path / "words.mp4").write_text("no video at all, " * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    whole = write_clip(tmp_path / "whole.mp4", SQUARES)
    (tmp_path / "headless.mp4").write_bytes(whole.read_bytes()[:1500])  # its index was at the end
    with av.open(str(tmp_path / "song.m4a"), "w") as out:
        stream = out.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    refused = {
        "words.mp4": "not a video",
        "empty.mp4": "not a video",
        "headless.mp4": "cut short before its index",
        "song.m4a": "has no video stream, only audio",
        "gone.mp4": "no such file",
    }
    for name, reason in refused.items():
        with pytest.raises(VideoError, match=f"{name}: .*{reason}"):
            Clip(tmp_path / name)
    with pytest.raises(VideoError, match="no such camera"):
        Clip("camera:front")
    with pytest.raises(VideoError, match=r"^rtsp://127\.0\.0\.1:9/x: cannot be opened"):
        Clip("rtsp://user:secret@127.0.0.1:9/x")


def test_names_of_sources(tmp_path: Path) -> None:
    """A password is in no name; two files of one name are told apart."""
    address = "rtsp://me:secret@host:554/live/1?token=abc"
    assert shown(address) == "rtsp://host:554/live/1"
    assert is_live("camera:0")
    assert not is_live("clips/a.mp4")
    sources = [address, "camera:0", Path("a/clip.mov"), Path("b/Clip.mp4")]
    assert clip_names(sources) == ["host-554-live-1.mp4", "camera-0.mp4", "clip.mp4", "Clip-2.mp4"]
    for name in ("b.mp4", "a.MOV"):
        (tmp_path / name).write_bytes(b"")
    clips = [tmp_path / "a.MOV", tmp_path / "b.mp4"]
    assert videos_of([str(tmp_path)], list_images([tmp_path])) == clips
    (tmp_path / "c.jpg").write_bytes(b"")
    found = list_images([tmp_path])
    assert videos_of([str(tmp_path)], found) is None
    with pytest.raises(VideoError, match="camera:0 is no image"):
        videos_of(["camera:0", str(tmp_path)], found)


def test_a_live_source_gives_the_newest_and_ends() -> None:
    taken, go = threading.Event(), threading.Event()

    def source():
        yield 0
        assert taken.wait(10)
        yield from (1, 2, 3)
        go.set()

    items = _newest(source())
    assert next(items) == 0
    taken.set()
    assert go.wait(10)
    assert next(items) == 3
    assert list(items) == []

    def broken():
        yield 0
        raise VideoError("the cable")

    with pytest.raises(VideoError, match="the cable"):
        list(_newest(broken()))
