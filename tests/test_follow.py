"""A clip of two people of known motion, walked from the file to the results."""

from __future__ import annotations

import csv
import importlib
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from models import DOTS, colour_model
from test_one_shot import JOINT, answer, pose_model
from typer.testing import CliRunner
from waiting import until

pytest.importorskip("av", reason="needs poised[video]")
from clips import STAMPS, TICK, write_clip

from poised import Boxes, ImagePoses, Predictor
from poised.cli import app
from poised.draw import PEOPLE
from poised.follow import GROWN, FramePoses, carry, joined
from poised.images import read_image
from poised.interrupt import heard_aside
from poised.preview import half_blocks
from poised.types import Skeleton
from poised.video import Clip

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
TIMES = [float(stamp * TICK) for stamp in STAMPS]


@pytest.fixture(scope="module")
def dots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_model(tmp_path_factory.mktemp("dots") / "dots.onnx")


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(threads=1, flip=False)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, int]]]:
    """The man with the ball glides to the right, the footballer to the left; where each begins."""
    man = _cut("basketball1.png", 240)
    footballer = _cut("messi5.jpg", 240)
    corners, images = [], []
    for n in range(len(STAMPS)):
        image = np.full((300, 640, 3), 120, np.uint8)
        left, right = 20 + 12 * n, 620 - footballer.shape[1] - 9 * n
        image[30:270, right : right + footballer.shape[1]] = footballer
        image[40:280, left : left + man.shape[1]] = man
        corners.append((left, right))
        images.append(image)
    path = tmp_path_factory.mktemp("walk") / "walk.mp4"
    return write_clip(path, images, sound="aac"), corners


def _cut(name: str, height: int) -> np.ndarray:
    """The best person of a sample picture, with a little around, so many pixels high."""
    image = read_image(SAMPLES / name)
    x, y, width, side = max(Predictor.load(threads=1).predict(image), key=lambda p: p.score).box
    low, high = max(0, int(y - 8)), int(y + side + 8)
    part = image[low:high, max(0, int(x - 8)) : int(x + width + 8)]
    return cv2.resize(part, (round(part.shape[1] * height / part.shape[0]), height))


def run(path: Path, out: Path, *arguments: str) -> tuple[int, str]:
    command = ["predict", str(path), "--out", str(out), "--threads", "1", "--no-flip"]
    result = CliRunner().invoke(app, [*command, *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("detect_every", [1, 4])
def test_two_people_keep_their_ids_and_their_joints(predictor, walk, detect_every: int) -> None:
    """A joint's place in the person's picture, 240 pixels high, is the same in every frame."""
    path, corners = walk
    found = list(predictor.video(path, detect_every=detect_every, smooth="none"))
    assert [frame.index for frame in found] == list(range(len(STAMPS)))
    assert [frame.time for frame in found] == pytest.approx(TIMES, abs=1e-9)
    assert all(sorted(frame.ids) == [1, 2] for frame in found)
    first = found[0]
    man = first.ids[np.argmin(first.poses.boxes.xywh[:, 0])]
    for column, person in ((0, man), (1, 3 - man)):
        rows = [int(np.flatnonzero(frame.ids == person)[0]) for frame in found]
        left = np.array([corner[column] for corner in corners])
        xy = np.stack([f.poses.xy[n] for f, n in zip(found, rows, strict=True)])
        score = np.stack([f.poses.keypoint_score[n] for f, n in zip(found, rows, strict=True)])
        sure = (score > 0.7).all(0)
        assert sure.sum() >= 6
        own = xy[:, sure] - np.stack([left, np.zeros(len(left))], 1)[:, None]
        away = np.linalg.norm(own - np.median(own, 0), axis=2)
        assert np.median(away) < 3
        assert (away < 12).mean() > 0.95  # the man hides some of the footballer at the end


def test_smoothing_changes_keypoints_alone(predictor, walk) -> None:
    """And brings them nearer to the motion that is known: this one is even but for its stamps."""
    path, _ = walk
    plain = list(predictor.video(path, smooth="none"))
    for smooth in ("live", "offline"):
        smoothed = list(predictor.video(path, smooth=smooth))
        assert len(smoothed) == len(plain)
        for one, other in zip(plain, smoothed, strict=True):
            assert (one.index, one.time) == (other.index, other.time)
            np.testing.assert_array_equal(one.ids, other.ids)
            np.testing.assert_array_equal(one.image, other.image)
            np.testing.assert_array_equal(one.poses.boxes.xywh, other.poses.boxes.xywh)
        assert any((a.poses.xy != b.poses.xy).any() for a, b in zip(plain, smoothed, strict=True))


def test_the_detector_runs_every_so_many_frames(walk) -> None:
    path, _ = walk
    predictor = Predictor.load(threads=1, flip=False)
    find, seen = predictor.find_boxes, []

    def counted(image):
        seen.append(image.shape)
        return find(image)

    predictor.find_boxes = counted
    with Clip(path) as clip:
        frames = predictor.video(clip, detect_every=5, smooth="none")
        calls = [(next(frames).index, len(seen))[1] for _ in STAMPS]
    assert calls == [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="detect_every is 0"):
        list(predictor.video(path, detect_every=0))
    with pytest.raises(ValueError, match="smooth is 'much', must be one of none, live, offline"):
        list(predictor.video(path, smooth="much"))


def test_somebody_whom_the_detector_imagined_once_dies(dots: Path) -> None:
    """A box of nothing: its joints are nowhere, so its pose is below the least at once."""
    predictor = Predictor.load(dots, detector=None, flip=False, min_score=0.15, min_joints=1)
    image = np.zeros((200, 160, 3), np.uint8)
    nothing = Boxes(np.array([[20, 20, 60, 90]]), np.ones(1))
    assert len(predictor.people("a", image, lambda _: nothing).poses) == 0


def test_somebody_whom_the_detector_sees_no_more_dies() -> None:
    """The score is halved each time it looks and sees nobody there."""
    carried = Boxes(np.array([[0, 0, 10, 20], [50, 0, 10, 20]]), np.array([0.8, 0.8]))
    found = Boxes(np.array([[51, 1, 10, 20]]), np.array([0.6]))
    both = joined(found, carried)
    np.testing.assert_allclose(both.xywh, [[51, 1, 10, 20], [0, 0, 10, 20]])
    np.testing.assert_allclose(both.score, [0.6, 0.4])
    assert joined(Boxes.empty(), both).score.tolist() == pytest.approx([0.3, 0.2])
    assert joined(found, Boxes.empty()) is found


def test_boxes_are_carried_by_the_sure_joints() -> None:
    xy = np.array(
        [[[50, 60], [70, 110], [500, 500]], [[40, 40], [9, 9], [8, 8]], [[-9, 50], [9, 90], [0, 0]]]
    )
    score = np.array([[0.9, 0.9, 0.2], [0.9, 0.1, 0.1], [0.9, 0.9, 0.1]])
    boxes = Boxes(np.array([[0, 0, 9, 9], [30, 30, 20, 20], [0, 40, 20, 60]]), np.full(3, 0.7))
    skeleton = DOTS
    poses = ImagePoses("a", (200, 150), skeleton, boxes, xy, score, np.ones(3))
    still = np.zeros((3, 2))
    moved = carry(poses, still, 0.5)
    wide, high = GROWN
    around = [50 - 20 * wide, 60 - 50 * high, 70 + 20 * wide, 110 + 50 * high]
    np.testing.assert_allclose(moved.xyxy[0], around, rtol=1e-6)
    np.testing.assert_allclose(moved.xyxy[1], [30, 30, 50, 50])  # one joint leads nowhere
    np.testing.assert_allclose(moved.xyxy[2], [0, 50 - 40 * high, 9 + 18 * wide, 90 + 40 * high])
    np.testing.assert_allclose(moved.score, 0.7)
    on = carry(poses, np.full((3, 2), [4.0, -2.0]), 0.5)
    np.testing.assert_allclose(on.xyxy[:2], moved.xyxy[:2] + np.array([4, -2, 4, -2]), rtol=1e-6)
    away = ImagePoses("a", (200, 150), skeleton, boxes, xy - [300, 0], score, np.ones(3))
    assert len(carry(away, still, 0.5)) == 1  # only who stays where the box was


def test_predict_writes_a_drawn_copy_and_lines(walk, tmp_path: Path) -> None:
    import av
    from clips import sound_packets

    path, _ = walk
    code, output = run(path, tmp_path / "out")
    assert code == 0, output
    assert f"{path}: 2 ids in 12 frames -> {tmp_path / 'out' / 'walk.mp4'}" in output
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "lock", "poses.jsonl", "run.json", "skeleton.json", "walk.mp4",
    ]  # fmt: skip
    records = read_lines(tmp_path / "out" / "poses.jsonl")
    assert Counter(record["frame"] for record in records) == dict.fromkeys(range(12), 2)
    assert {record["id"] for record in records} == {1, 2}
    assert [r["time"] for r in records[::2]] == pytest.approx(TIMES, abs=1e-6)
    assert all(r["file_name"] == str(path) and len(r["keypoints"]) == 51 for r in records)
    with Clip(tmp_path / "out" / "walk.mp4") as copy:
        frames = list(copy)
    assert [frame.time for frame in frames] == pytest.approx(TIMES, abs=1e-9)
    assert sound_packets(tmp_path / "out" / "walk.mp4") == sound_packets(path)
    with av.open(str(path)) as before:
        original = next(before.decode(video=0)).to_ndarray(format="rgb24")
    drawn = np.abs(frames[0].image.astype(int) - original).max(2) > 80
    box = next(r["bbox"] for r in records if r["frame"] == 0)
    assert drawn[int(box[1]) + 2 : int(box[1] + box[3]), :].sum() > 500


def test_the_formats_say_the_same(walk, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs poised[parquet]")
    path, _ = walk
    for style in ("jsonl", "csv", "parquet"):
        code, output = run(path, tmp_path / style, "--format", style, "--no-draw")
        assert code == 0, output
    lines = read_lines(tmp_path / "jsonl" / "poses.jsonl")
    table = list(csv.DictReader((tmp_path / "csv" / "poses.csv").read_text().splitlines()))
    columns = parquet.read_table(tmp_path / "parquet" / "poses.parquet").to_pylist()
    assert len(lines) == len(table) == len(columns) == 24
    for line, row, column in zip(lines, table, columns, strict=True):
        assert list(row) == list(column)
        assert (line["file_name"], line["frame"], line["id"], line["time"]) == (
            column["file_name"], column["frame"], column["id"], column["time"],
        )  # fmt: skip
        assert [float(row[f"box_{v}"]) for v in ("x", "y", "width", "height")] == line["bbox"]
        points = [float(row[name]) for name in list(row)[10:]]
        assert points == line["keypoints"]
        assert [column[name] for name in list(row)[10:]] == pytest.approx(points, rel=1e-6)
    assert not list(tmp_path.rglob("walk.mp4"))


def test_a_bad_clip_is_set_aside_and_the_others_are_done(walk, tmp_path: Path) -> None:
    path, _ = walk
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "good.mp4").write_bytes(path.read_bytes())
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video")
    code, output = run(tmp_path / "in", tmp_path / "out", "--detect-every", "6")
    assert code == 1
    assert "set aside: " in output
    assert "bad.mp4: not a video" in output
    assert "set aside: 1 of 2 videos" in output
    assert (tmp_path / "out" / "good.mp4").is_file()
    assert len((tmp_path / "out" / "poses.jsonl").read_text().splitlines()) == 24


def test_nothing_of_another_run_or_of_the_inputs_is_written_over(walk, tmp_path: Path) -> None:
    path, _ = walk
    films, out = tmp_path / "films", tmp_path / "out"
    films.mkdir()
    for name in ("a.mkv", "a.mp4"):
        (films / name).write_bytes(path.read_bytes())
    for sources in (films, films / "a.mkv"):
        code, output = run(sources, films)
        assert code == 2
        assert re.search(r"a\.mp4: is an input|a\.mp4 is there already, of no run", output)
        assert {p.name for p in films.iterdir()} == {"a.mkv", "a.mp4", "lock"}
    (films / "lock").unlink()
    assert run(films / "a.mkv", out, "--no-draw")[0] == 0
    before = (out / "poses.jsonl").read_bytes()
    (tmp_path / "empty.mp4").touch()
    code, output = run(tmp_path / "empty.mp4", out, "--no-draw")
    assert code == 2
    assert "out holds another run: videos is [" in output
    code, output = run(SAMPLES, out, "--format", "jsonl")
    assert code == 2
    assert "run.json is of no run of images, or damaged" in output
    assert (out / "poses.jsonl").read_bytes() == before
    code, output = run(films / "a.mkv", out, "--no-draw", "--threshold", "0.3")
    assert (code, "threshold is " in output) == (2, True)
    assert run(films / "a.mkv", out, "--no-draw")[0] == 0  # the same again
    assert (out / "poses.jsonl").read_bytes() == before
    assert run(tmp_path / "empty.mp4", out, "--no-draw", "--restart")[0] == 1
    assert (out / "earlier-1" / "poses.jsonl").read_bytes() == before
    assert (out / "poses.jsonl").read_bytes() == b""
    assert run(films / "a.mkv", out, "--restart")[0] == 0
    assert run(path, out, "--restart", "--format", "csv")[0] == 0
    assert {p.name for p in out.iterdir()} == {
        "earlier-1", "earlier-2", "earlier-3", "lock",
        "poses.csv", "run.json", "skeleton.json", "walk.mp4",
    }  # fmt: skip
    assert {p.name for p in (out / "earlier-3").iterdir()} == {
        "a.mp4", "poses.jsonl", "run.json", "skeleton.json",
    }  # fmt: skip


def test_what_does_not_go_with_videos_is_said(walk, tmp_path: Path) -> None:
    path, _ = walk
    code, output = run(path, tmp_path / "out", "--format", "coco")
    assert code == 2
    assert "written as jsonl, csv, parquet, not as coco" in output
    code, output = run(SAMPLES, tmp_path / "out", "--format", "parquet")
    assert code == 2
    assert "--format parquet is for videos" in output
    code, output = run(SAMPLES, tmp_path / "out", "--smooth", "live")
    assert code == 2
    assert "--detect-every, --smooth and --preview are for videos" in output
    code, output = run(path, tmp_path / "out", "--preview")
    assert code == 2
    assert "--preview needs a terminal" in output
    boxes = tmp_path / "boxes.json"
    boxes.write_text("[]")
    code, output = run(path, tmp_path / "out", "--boxes", str(boxes))
    assert code == 2
    assert "--boxes and --shard are for images" in output


def test_whole_images_need_no_detector(dots: Path, tmp_path: Path) -> None:
    """Three blobs that go to the right 3 pixels a frame: every joint does."""
    columns, rows = np.arange(160), np.arange(200)[:, None]
    images = []
    for n in range(len(STAMPS)):
        image = np.zeros((200, 160, 3), np.uint8)
        for channel, (x, y) in enumerate(((50, 70), (85, 84), (68, 120))):
            blob = np.exp(-((columns - x - 3 * n) ** 2 + (rows - y) ** 2) / (2 * 6.0**2))
            image[..., channel] = np.round(255 * blob)
        images.append(image)
    clip = write_clip(tmp_path / "dots.mp4", images)
    predictor = Predictor.load(dots, detector=None, flip=False)
    found = list(predictor.video(clip, smooth="none"))
    assert all(frame.ids.tolist() == [1] for frame in found)
    xy = np.concatenate([frame.poses.xy for frame in found])
    truth = np.array([[50, 70], [85, 84], [68, 120]]) + 3 * np.arange(12)[:, None, None] * [1, 0]
    np.testing.assert_allclose(xy, truth, atol=1)


def test_a_model_that_finds_its_own_people_is_asked_each_frame(tmp_path: Path) -> None:
    """Whatever `detect_every` says: it takes no boxes."""
    model = pose_model(tmp_path / "yolo.onnx", [answer(0.9)])
    clip = write_clip(tmp_path / "grey.mp4", [np.full((200, 160, 3), 90, np.uint8)] * len(STAMPS))
    found = list(Predictor.load(model).video(clip, detect_every=3))
    assert [frame.ids.tolist() for frame in found] == [[1]] * len(STAMPS)
    np.testing.assert_allclose(found[7].poses.xy, np.full((1, 17, 2), JOINT), atol=1e-3)


def test_a_preview_in_characters_has_two_pixels_each() -> None:
    image = np.zeros((8, 6, 3), np.uint8)
    image[:4] = PEOPLE[0]
    cells = [s for s in half_blocks(image, 6, 4).segments if s.text == "▀"]
    assert len(cells) == 24
    assert tuple(cells[0].style.color.triplet) == PEOPLE[0]
    assert tuple(cells[-1].style.bgcolor.triplet) == (0, 0, 0)


def test_skeletons_of_video_results_are_the_models(walk, tmp_path: Path) -> None:
    path, _ = walk
    run(path, tmp_path, "--no-draw", "--detect-every", "12")
    notes = json.loads((tmp_path / "skeleton.json").read_text())
    assert notes == Skeleton.load("coco17").to_dict()


@pytest.mark.long
def test_people_of_a_real_street_keep_their_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """vtest.avi: 146 people labelled by eye in 24 frames; the benchmark counts the switches."""
    clip = Path("/usr/share/doc/opencv-doc/examples/data/vtest.avi")
    if not clip.is_file():
        pytest.skip("needs vtest.avi of Debian's package opencv-doc; it is absent")
    monkeypatch.syspath_prepend(BENCHMARKS)
    video = importlib.import_module("video")
    labels = json.loads((BENCHMARKS / "vtest_people.json").read_text())["frames"]
    predictor = Predictor.load("coco17-small", flip=False)
    frames = islice(predictor.video(clip), max(map(int, labels)) + 1)
    labelled, seen, switches = video.score(list(frames), labels)
    assert labelled == sum(map(len, labels.values()))
    assert seen > 0.8 * labelled
    assert switches < 10


@pytest.mark.parametrize(("live", "code"), [(False, 130), (True, 0)])
def test_ctrl_c_ends_a_video_and_keeps_what_was_done(
    walk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool, code: int
) -> None:
    """Which is a live source's usual end. The frame in hand is the last one."""
    whole, told = Predictor.video, []

    @contextmanager
    def listened(one: float) -> Iterator[Callable[[], int | None]]:
        with heard_aside(one) as stopped:
            told.append(stopped)
            yield stopped

    def interrupted(self: Predictor, *args: Any, **options: Any) -> Iterator[FramePoses]:
        for frame in whole(self, *args, **options):
            if frame.index == 3:
                os.kill(os.getpid(), signal.SIGINT)
                until(told[0])  # another thread takes it
            yield frame

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "video", interrupted)
        patch.setattr("poised.interrupt.heard_aside", listened)
        if live:
            patch.setattr("poised.video_sources.is_live", lambda source: True)
        ended, said = run(walk[0], out, "--smooth", "none")
    assert (ended, "stopped; what was done until then is kept" in said) == (code, True), said
    assert {line["frame"] for line in read_lines(out / "poses.jsonl")} == set(range(4))
    with Clip(next(out.glob("*.mp4"))) as copy:
        assert sum(1 for _ in copy) == 4
