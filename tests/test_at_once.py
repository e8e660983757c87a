"""Work on several cores: the order, the bounds and who shares a batch are what the caller sees."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from poised.at_once import in_batches, in_order, workers
from poised.predict import Predictor
from poised.runtime import Session, find_model


def drawn(items: list[int], seen: list[int]) -> Iterator[int]:
    """The items, each noted when it is drawn."""
    for item in items:
        seen.append(item)
        yield item


@pytest.mark.parametrize("count", [1, 3])
def test_results_come_in_the_items_order_and_few_are_drawn_ahead(count: int) -> None:
    seen: list[int] = []
    with workers(count) as pool:
        for taken, result in enumerate(
            in_order(pool, lambda n: n * n, drawn([*range(50)], seen), 4)
        ):
            assert result == taken**2
            assert len(seen) <= taken + 5


def test_workers_work_at_once_one_more_than_cores() -> None:
    """Each waits for the others: fewer would wait in vain."""
    all_three = threading.Barrier(3, timeout=30)
    with workers(2) as pool:
        assert sorted(in_order(pool, lambda _: all_three.wait(), range(3), 3)) == [0, 1, 2]


def test_one_worker_is_the_callers_thread() -> None:
    with workers(1) as pool:
        (found,) = in_order(pool, lambda _: threading.current_thread(), [0], 2)
    assert found is threading.current_thread()


def batches_of(counts: list[int], size: int, count: int) -> list[list[tuple[int, int]]]:
    """Which (item, part) shared a batch, in their order, of items of so many parts."""
    batches: list[list[tuple[int, int]]] = []
    with workers(count) as pool:
        items = in_batches(pool, batches.append, range(len(counts)), counts.__getitem__, size, 3)
        assert list(items) == [*range(len(counts))]
    return sorted(batches)


def test_who_shares_a_batch_depends_on_the_items_alone() -> None:
    """Each part is in one batch, all but the last full; three workers make those that one makes."""
    counts = np.random.default_rng(0).poisson(1.5, 200).tolist()
    batches = batches_of(counts, 8, 1)
    assert batches == batches_of(counts, 8, 3)
    parts = [(item, part) for item, count in enumerate(counts) for part in range(count)]
    assert batches == [parts[at : at + 8] for at in range(0, len(parts), 8)]


def test_items_that_are_kept_apart_share_no_batch() -> None:
    """Of seven items of three parts each, five apart: the fifth ends a batch."""
    batches: list[list[tuple[int, int]]] = []
    with workers(1) as pool:
        list(in_batches(pool, batches.append, range(7), lambda _: 3, 4, 3, apart=5))
    assert [len(batch) for batch in batches] == [4, 4, 4, 3, 4, 2]
    assert batches[3][-1] == (4, 2)
    assert batches[4][0] == (5, 0)


def test_a_part_waits_for_no_more_than_a_batch_of_items() -> None:
    """One person in the first of many empty images is done when nine more have come."""
    seen: list[int] = []
    counts = [1, *[0] * 30]
    with workers(1) as pool:
        items = in_batches(
            pool, lambda _: None, drawn([*range(31)], seen), counts.__getitem__, 8, 3
        )
        assert next(items) == 0
    assert len(seen) == 9


@pytest.mark.parametrize("count", [1, 3])
def test_an_error_of_the_work_is_raised_in_its_place(count: int) -> None:
    def fails(batch: list[tuple[int, int]]) -> None:
        if (5, 0) in batch:
            raise ValueError("the sixth")

    with workers(count) as pool:
        items = in_batches(pool, fails, range(20), lambda _: 1, 1, 2)
        assert [next(items) for _ in range(5)] == [*range(5)]
        with pytest.raises(ValueError, match="the sixth"):
            next(items)


@pytest.mark.parametrize("engine", ["openvino", "onnx"])
def test_a_streamed_session_answers_many_callers_as_a_plain_one_does(engine: str) -> None:
    if engine == "onnx":
        pytest.importorskip("onnxruntime")
    session = Session("coco17-small", engine, threads=3)
    width, height = session.metadata["input_wh"]
    images = np.random.default_rng(0).random((6, 1, 3, height, width), np.float32)
    want = [session.run(image)["heatmaps"] for image in images]
    streamed = session.streamed()
    assert (streamed.callers, streamed.streamed()) == (3, streamed)
    assert session.streamed() is streamed  # compiled once
    with workers(3) as pool:
        found = list(in_order(pool, lambda image: streamed.run(image)["heatmaps"], images, 6))
    np.testing.assert_allclose(found, want, atol=1e-4)


def test_a_model_file_that_is_gone_is_not_missed(tmp_path: Path) -> None:
    """It was read when the predictor was loaded; nothing is read again for many images."""
    file = tmp_path / "small.onnx"
    shutil.copy(find_model("coco17-small"), file)
    predictor = Predictor.load(file, detector=None, engine="openvino", threads=2)
    file.unlink()
    images = [np.zeros((90, 120, 3), np.uint8)] * 5
    assert len(list(predictor.stream(images))) == 5


def test_many_images_have_the_poses_of_each_alone() -> None:
    """Given boxes; batches of five people of several images on two cores, against one by one."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (90, 120, 3), np.uint8) for _ in range(9)]
    predictor = Predictor.load("coco17-small", detector=None, batch=5, threads=2)
    together = [result.poses for result in predictor.stream(images)]
    for image, poses in zip(images, together, strict=True):
        alone = predictor.predict(image)
        np.testing.assert_allclose(poses.xy, alone.xy, atol=1e-2)
        np.testing.assert_allclose(poses.keypoint_score, alone.keypoint_score, atol=1e-3)
