"""Steadier keypoints: the One-Euro filter as frames come, or a fit to both sides of each frame.

docs/video.md has the jitter that each leaves and the lag that each brings.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
FORGET = 0.5  # seconds after which somebody unseen starts anew
FIRMNESS = 1e-9  # of a fit's bend and slope, beside the samples' own weight
LEAST_WEIGHT = 1e-3  # of a keypoint's score in a fit


class OneEuro:
    """The One-Euro filter (Casiez, Roussel and Vogel, CHI 2012), for all joints of all people.

    A low-pass filter whose cutoff rises with the speed: steady at rest, quick in motion. Cutoffs
    are in Hz. A joint's speed is that of its smoothed velocity, in its person's sizes a second,
    whatever its direction and the person's size; slope: how many Hz such a speed adds.
    """

    def __init__(self, cutoff: float = 1.0, slope: float = 24.0, speed_cutoff: float = 1.0) -> None:
        self.cutoff, self.slope, self.speed_cutoff = cutoff, slope, speed_cutoff
        self.ids = np.zeros(0, np.int64)  # (N,) of the people known
        self.xy: Floats = np.zeros((0, 0, 2))  # (N, K, 2) filtered
        self.raw: Floats = self.xy  # (N, K, 2) as they came
        self.velocity: Floats = self.xy  # (N, K, 2) pixels a second
        self.seen: Floats = np.zeros(0)  # (N,) seconds

    def step(self, ids: NDArray[np.int64], xy: Floats, size: Floats, time: float) -> Floats:
        """A frame's keypoints (P, K, 2), filtered. ids: (P,); size: (P,) of the people, pixels."""
        recent = time - self.seen <= FORGET
        place = {int(i): n for n, i in enumerate(self.ids) if recent[n]}
        again = np.array([int(i) in place for i in ids], bool)
        rows = np.array([place[int(i)] for i in ids[again]], np.intp)
        velocity, filtered = np.zeros(xy.shape), np.array(xy, np.float64)
        if len(rows):
            seconds = np.maximum(time - self.seen[rows], 1e-6)[:, None, None]
            step = (xy[again] - self.raw[rows]) / seconds
            velocity[again] = _mixed(self.velocity[rows], step, self.speed_cutoff, seconds)
            speed = np.linalg.norm(velocity[again], axis=2, keepdims=True)
            cutoff = self.cutoff + self.slope * speed / size[again][:, None, None]
            filtered[again] = _mixed(self.xy[rows], xy[again], cutoff, seconds)
        kept = recent & ~np.isin(self.ids, ids)
        shape = (-1, *xy.shape[1:])
        self.ids = np.concatenate([self.ids[kept], ids])
        self.xy = np.concatenate([self.xy[kept].reshape(shape), filtered])
        self.raw = np.concatenate([self.raw[kept].reshape(shape), xy])
        self.velocity = np.concatenate([self.velocity[kept].reshape(shape), velocity])
        self.seen = np.concatenate([self.seen[kept], np.full(len(ids), time)])
        return filtered


def _mixed(before: Floats, now: Floats, cutoff: Floats | float, seconds: Floats) -> Floats:
    """The paper's exponential smoothing: a = 1 / (1 + tau / Te), tau = 1 / (2 pi cutoff)."""
    share = 1 / (1 + 1 / (2 * math.pi * cutoff * seconds))
    return before + share * (now - before)


def centred(times: Floats, xy: Floats, weight: Floats, at: float, reach: float) -> Floats:
    """Where joints are at a time, by a parabola fitted to what lies around it: (K, 2).

    times: (T,) seconds, in any spacing; xy: (T, K, 2); weight: (T, K), such as keypoint scores.
    The fit is local, with weights (1 - |u|^3)^3 of u = (time - at) / reach, as in Savitzky and
    Golay's filter and Cleveland's lowess: what lies before and after counts alike, so that nothing
    lags. Where too few samples tell how it bends or moves, it is taken to do so little.
    """
    u = (np.asarray(times, np.float64) - at) / reach
    near = np.abs(u) < 1
    u, xy, weight = u[near], np.asarray(xy, np.float64)[near], weight[near]
    powers = u[:, None] ** np.arange(3)  # (T, 3)
    scores = np.maximum(weight, LEAST_WEIGHT) * (1 - np.abs(u[:, None]) ** 3) ** 3  # (T, K)
    left = np.einsum("tk,ti,tj->kij", scores, powers, powers)
    left[:, [1, 2], [1, 2]] += FIRMNESS * left[:, :1, 0]
    right = np.einsum("tk,ti,tkd->kid", scores, powers, xy)
    return np.asarray(np.linalg.solve(left, right)[:, 0])
