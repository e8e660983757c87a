"""Smoothing against closed forms and against the paper's filter written out for one number."""

from __future__ import annotations

import math

import numpy as np
import pytest

from poised.smooth import FORGET, OneEuro, centred

TIMES = np.cumsum(np.array([0, 3, 5, 3, 3, 7, 3, 4, 3, 3, 5, 3])) / 100  # a variable rate


def one_euro_by_hand(times, values, cutoff, slope, speed_cutoff, size):
    """Casiez, Roussel and Vogel's algorithm for one signal, step by step."""
    share = lambda seconds, hz: 1 / (1 + 1 / (2 * math.pi * hz * seconds))  # noqa: E731
    kept, speed, before, out = values[0], 0.0, values[0], [values[0]]
    for n in range(1, len(values)):
        seconds = times[n] - times[n - 1]
        a = share(seconds, speed_cutoff)
        speed = a * (values[n] - before) / seconds + (1 - a) * speed
        a = share(seconds, cutoff + slope * abs(speed) / size)
        kept = a * values[n] + (1 - a) * kept
        before = values[n]
        out.append(kept)
    return np.array(out)


def test_one_euro_of_many_is_the_papers_of_each() -> None:
    """Joints that move along x alone, of three people of other sizes who come and go."""
    rng = np.random.default_rng(1)
    xy = np.zeros((len(TIMES), 3, 2, 2))
    xy[..., 0] = rng.normal(0, 8, (len(TIMES), 3, 2)).cumsum(0)
    sizes = np.array([50.0, 100.0, 400.0])
    smoother = OneEuro(cutoff=0.8, slope=9.0, speed_cutoff=1.2)
    got = np.full(xy.shape, np.nan)
    for n, time in enumerate(TIMES):
        here = np.array([2, 0, 1] if n % 2 else [0, 1, 2])  # in any order
        got[n, here] = smoother.step(here + 7, xy[n, here], sizes[here], time)
    assert np.all(got[..., 1] == 0)
    for person in range(3):
        for joint in range(2):
            values = xy[:, person, joint, 0]
            expected = one_euro_by_hand(TIMES, values, 0.8, 9.0, 1.2, sizes[person])
            np.testing.assert_allclose(got[:, person, joint, 0], expected, rtol=1e-9, atol=1e-9)


def test_one_euro_does_not_ask_which_way() -> None:
    """Turning the motion turns the answer; a larger person moves as a smaller one does."""
    rng = np.random.default_rng(2)
    xy = rng.normal(0, 5, (len(TIMES), 1, 4, 2)).cumsum(0)
    turn = np.array([[math.cos(1), math.sin(1)], [-math.sin(1), math.cos(1)]])
    one = np.array([1])

    def run(points, size):
        smoother = OneEuro()
        steps = zip(points, TIMES, strict=True)
        return np.stack([smoother.step(one, p, np.array([size]), t) for p, t in steps])

    plain = run(xy, 100.0)
    np.testing.assert_allclose(run(xy @ turn, 100.0), plain @ turn, atol=1e-9)
    np.testing.assert_allclose(run(xy * 3, 300.0), plain * 3, atol=1e-9)


def test_one_euro_begins_anew_after_an_absence() -> None:
    smoother, one, size = OneEuro(), np.array([1]), np.array([100.0])
    smoother.step(one, np.zeros((1, 1, 2)), size, 0.0)
    moved = np.full((1, 1, 2), 30.0)
    assert (smoother.step(one, moved, size, 0.03) < 30).all()
    assert (smoother.step(one, moved * 2, size, 0.03 + FORGET + 0.01) == 60).all()


@pytest.mark.parametrize("at", [0, 4, 7, 11])
def test_a_parabola_is_left_as_it_is(at: int) -> None:
    """At any spacing, at the ends too, whatever the weights: nothing lags, nothing overshoots."""
    rng = np.random.default_rng(3)
    bend, slope, start = rng.normal(0, 50, (3, 5, 2))
    seconds = TIMES[:, None, None]
    xy = bend * seconds**2 + slope * seconds + start
    weight = rng.uniform(0.1, 1, (len(TIMES), 5))
    np.testing.assert_allclose(centred(TIMES, xy, weight, TIMES[at], 0.2), xy[at], atol=1e-7)


def test_noise_is_averaged_and_who_is_unsure_hardly_counts() -> None:
    rng = np.random.default_rng(4)
    times = np.arange(31) / 30
    xy = rng.normal(0, 1, (31, 500, 2))
    rest = np.ones((31, 500))
    steady = centred(times, xy, rest, 0.5, 0.3)
    # the weights of the fit at its middle, from its own definition
    u = (times - 0.5) / 0.3
    w = np.clip(1 - np.abs(u) ** 3, 0, None) ** 3
    powers = u[:, None] ** np.arange(3)
    row = np.linalg.inv((powers * w[:, None]).T @ powers)[0] @ (powers * w[:, None]).T
    np.testing.assert_allclose(steady.std(), np.sqrt((row**2).sum()), rtol=0.1)
    xy[13] += 100
    rest[13] = 0
    assert np.abs(centred(times, xy, rest, 0.5, 0.3) - steady).max() < 2


def test_few_samples_are_taken_as_they_are() -> None:
    xy = np.array([[[1.0, 2.0]], [[3.0, 8.0]]])
    weight = np.ones((2, 1))
    np.testing.assert_allclose(centred(np.array([0, 0.1]), xy, weight, 0.1, 0.3), xy[1])
    np.testing.assert_allclose(centred(np.array([0.1]), xy[1:], weight[1:], 0.1, 0.3), xy[1])
