"""How much jitter does each smoothing leave, and how much lag does it bring?

python benchmarks/smooth.py

A person of 17 joints, 200 pixels in size, stands still for 4 s and moves for 8: every joint swings
by up to 0.15 of the size at 0.3 to 1.5 Hz. Every frame's keypoints have Gaussian noise of 0.01 of
the size. jitter: the root mean square step from frame to frame while the truth stands still, as a
share of the raw keypoints'. lag: the delay of the truth that fits the answer best while it moves.
error: the root mean square distance from the truth then, in pixels.
"""

from __future__ import annotations

import json
import math

import numpy as np
from common import machine

from poised.follow import REACH
from poised.smooth import OneEuro, centred

JOINTS, SIZE, NOISE, STILL, MOVING = 17, 200.0, 0.01, 4.0, 8.0
RATES = (15, 30, 60, 0)  # frames a second; 0: 10 to 50 ms apart, at random


def truth(times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, K, 2) pixels; each joint has two swings on each axis, which start at rest."""
    rate = rng.uniform(0.3, 1.5, (2, JOINTS, 2))
    reach = rng.uniform(0, 0.075 * SIZE, (2, JOINTS, 2))
    seconds = np.maximum(times - STILL, 0)[:, None, None, None]
    return (reach * (1 - np.cos(2 * math.pi * rate * seconds))).sum(1)


def measure(times: np.ndarray, raw: np.ndarray, got: np.ndarray, seed: int) -> tuple[float, ...]:
    """Jitter as a share, lag in ms, error in pixels."""

    def rms(values: np.ndarray) -> float:
        return float(np.sqrt((values**2).sum(-1).mean()))

    still = (times > 1) & (times < STILL - 0.5)
    moving = (times > STILL + 0.5) & (times < STILL + MOVING - 0.5)
    jitter = rms(np.diff(got[still], axis=0)) / rms(np.diff(raw[still], axis=0))
    delays = np.arange(-0.05, 0.2, 0.001)
    apart = [
        rms(got[moving] - truth(times - d, np.random.default_rng(seed))[moving]) for d in delays
    ]
    error = rms(got[moving] - truth(times, np.random.default_rng(seed))[moving])
    return jitter, 1000 * float(delays[int(np.argmin(apart))]), error


def live(times: np.ndarray, raw: np.ndarray, smoother: OneEuro) -> np.ndarray:
    one, size = np.array([1]), np.array([SIZE])
    steps = zip(raw, times, strict=True)
    return np.concatenate([smoother.step(one, xy[None], size, time) for xy, time in steps])


def offline(times: np.ndarray, raw: np.ndarray, reach: float) -> np.ndarray:
    weight = np.ones(raw.shape[:2])
    return np.stack([centred(times, raw, weight, time, reach) for time in times])


def main() -> None:
    print(json.dumps(machine()))
    print("| frames/s | smoothing | jitter left | lag, ms | error, px |\n|---|---|---|---|---|")
    for rate in RATES:
        seed = rate + 1
        rng = np.random.default_rng(seed)
        steps = np.full(1000, 1 / rate) if rate else rng.uniform(0.01, 0.05, 1000)
        times = steps.cumsum()
        times = times[times < STILL + MOVING]
        clean = truth(times, np.random.default_rng(seed))
        raw = clean + rng.normal(0, NOISE * SIZE, clean.shape)
        answers = {
            "none": raw,
            "live": live(times, raw, OneEuro()),
            "offline": offline(times, raw, REACH),
        }
        for name, got in answers.items():
            jitter, lag, error = measure(times, raw, got, seed)
            print(f"| {rate or 'variable'} | {name} | {jitter:.2f} | {lag:.0f} | {error:.2f} |")


if __name__ == "__main__":
    main()
