"""Ids of people whose ways are known."""

from __future__ import annotations

import numpy as np
import pytest

from poised.track import Tracker
from poised.types import Boxes, ImagePoses, Skeleton

SKELETON = Skeleton.load("coco17")
BODY = np.random.default_rng(0).uniform(0, 1, (17, 2))  # of a person, in their box


def frame(middles: list[tuple[float, float]], size: tuple[float, float] = (60, 150)) -> ImagePoses:
    """People of one build with these middles of their boxes."""
    xywh = np.array([[x - size[0] / 2, y - size[1] / 2, *size] for x, y in middles]).reshape(-1, 4)
    xy = xywh[:, None, :2] + BODY * np.array(size)
    score = np.full((len(xywh), 17), 0.9)
    boxes = Boxes(xywh, np.ones(len(xywh)))
    return ImagePoses("a", (640, 480), SKELETON, boxes, xy, score, np.ones(len(xywh)))


def test_ids_follow_people_in_any_order() -> None:
    tracker, rng = Tracker(0.5), np.random.default_rng(1)
    for n in range(30):
        people = [(100 + 6 * n, 200), (400 - 5 * n, 230), (300, 200 + 3 * n)]
        order = rng.permutation(3) if n else np.arange(3)
        ids = tracker.step(frame([people[i] for i in order]), n / 25)
        assert ids.tolist() == (order + 1).tolist()


def test_the_best_sum_is_taken_and_not_the_best_pair_first() -> None:
    """Both have moved right by 12 pixels: the likest pair, 8 apart, is the second and the first."""
    tracker = Tracker(0.5)
    assert tracker.step(frame([(100, 200), (120, 200)]), 0.0).tolist() == [1, 2]
    assert tracker.step(frame([(112, 200), (132, 200)]), 0.04).tolist() == [1, 2]


def test_who_walks_behind_another_is_found_where_the_way_leads() -> None:
    """Person 1 walks right and is hidden for 0.8 s, in which person 2 stands still."""
    tracker = Tracker(0.5, keep=1.0)
    for n in range(60):
        walker = (100 + 6 * n, 200)
        hidden = 20 <= n < 40
        people = [(280, 210)] if hidden else [walker, (280, 210)]
        ids = tracker.step(frame(people), n / 25)
        assert ids.tolist() == ([2] if hidden else [1, 2])


@pytest.mark.parametrize(("away", "ids"), [(0.9, [1]), (1.1, [2])])
def test_who_is_away_too_long_is_somebody_new(away: float, ids: list[int]) -> None:
    tracker = Tracker(0.5, keep=1.0)
    tracker.step(frame([(200, 200)]), 5.0)
    assert len(tracker.step(frame([]), 5.5)) == 0
    assert tracker.step(frame([(200, 200)]), 5.0 + away).tolist() == ids


def test_unlike_people_are_not_made_one() -> None:
    """Somebody who is elsewhere is new, though nobody else is there to be them."""
    tracker = Tracker(0.5)
    tracker.step(frame([(200, 200)]), 0.0)
    assert tracker.step(frame([(330, 200)]), 0.04).tolist() == [2]


def test_unsure_keypoints_do_not_count() -> None:
    """Two in one place, in unlike poses; then most joints of each look like the other's."""
    here = frame([(200, 200), (200, 200)])
    xy = here.xy.copy()
    xy[1, :, 0] = 400 - xy[1, :, 0]  # mirrored
    score = here.keypoint_score.copy()

    def seen(xy: np.ndarray, score: np.ndarray) -> ImagePoses:
        return ImagePoses("a", here.size, SKELETON, here.boxes, xy, score, here.score)

    tracker = Tracker(0.5)
    assert tracker.step(seen(xy, score), 0.0).tolist() == [1, 2]
    mixed = xy.copy()
    mixed[:, ::2] = xy[::-1, ::2]  # 9 of 17
    score[:, ::2] = 0.3
    assert tracker.step(seen(mixed, score), 0.04).tolist() == [1, 2]


def test_keep_is_checked() -> None:
    with pytest.raises(ValueError, match="keep is -1"):
        Tracker(0.5, keep=-1)
