"""Runs side by side, with the interval of their difference, where their protocols are alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.reading import LARGEST, are_numbers, is_number, read_json, short

ROUNDS = 2000  # of the bootstrap
COVERED = 0.95
MEANING = (
    "share scored: of joints within PCK's limit, or the mean OKS of people (0 where it is below "
    "0.5). The difference is a run's share less the first's, in points of it; its interval is that "
    f"of {ROUNDS} draws of as many of the common images. The runs differ by more than chance of "
    "the images where both ends have one sign."
)
# what two runs may differ in: who is measured, not how
OWN_FIELDS = (
    "poised",
    "root",
    "model",
    "model_sha256",
    "engine",
    "predictions",
    "predictions_sha256",
    "predictions_counted",
)


class CompareError(ValueError):
    """Runs that cannot be compared: names the files and the fields."""


@dataclass(frozen=True)
class Difference:
    """share: points scored of those to be had, percent; own: the ends of its 95% interval.

    low, high: those of its difference from the first's.
    unlike: the protocol's fields in which the run differs from the first.
    """

    name: str
    figures: dict[str, float]
    share: float
    own: tuple[float, float]
    low: float
    high: float
    unlike: dict[str, tuple[Any, Any]]


def compare(paths: Sequence[Path], *, anyway: bool = False, seed: int = 0) -> list[Difference]:
    """Each run against the first: a paired bootstrap over the images that they share.

    The interval holds 95% of the differences of the share of points scored (`samples` of
    metrics.evaluation.Evaluation) when images are drawn with replacement. Raises CompareError for
    a file that `poised evaluate` did not write, for unlike protocols unless `anyway`, and for runs
    without a common image.
    """
    if not paths:
        raise CompareError("no runs to compare: give files that `poised evaluate --out` wrote")
    runs = [_read(path) for path in paths]
    first = runs[0]
    found = []
    for path, run in zip(paths, runs, strict=True):
        unlike = {
            field: (first["protocol"].get(field), run["protocol"].get(field))
            for field in sorted({*first["protocol"], *run["protocol"]} - set(OWN_FIELDS))
            if first["protocol"].get(field) != run["protocol"].get(field)
        }
        if unlike and not anyway:
            fields = "; ".join(f"{f}: {a!r} and {b!r}" for f, (a, b) in unlike.items())
            unknown = any(None in pair for pair in unlike.values())
            hint = " (None: unknown of a results file; score both by --predictions)" * unknown
            raise CompareError(
                f"{paths[0]} and {path} were not measured alike: {fields}{hint}; --anyway compares "
                "them all the same"
            )
        low, high = _interval(first["samples"], run["samples"], seed, path)
        share = 100 * sum(run["samples"]["scored"]) / sum(run["samples"]["possible"])
        own = share_interval(run["samples"], seed)
        found.append(Difference(str(path), run["figures"], share, own, low, high, unlike))
    return found


def _read(path: Path) -> dict[str, Any]:
    """An evaluation, checked; a figure that is null there is NaN."""
    values = read_json(path, CompareError)
    parts = ("figures", "protocol", "samples")
    if not isinstance(values, dict) or not all(isinstance(values.get(p), dict) for p in parts):
        raise CompareError(
            f"{path}: `poised evaluate --out` did not write this: needs {', '.join(parts)}"
        )
    for name, value in values["figures"].items():
        if value is not None and not is_number(value):
            raise CompareError(f"{path}: figures.{name} is {short(value)}, expected a number")
    columns = [values["samples"].get(name) for name in ("image", "scored", "possible")]
    for name, column in zip(("image", "scored", "possible"), columns, strict=True):
        least = -LARGEST if name == "image" else 0
        if not are_numbers(column) or min(column, default=0) < least:
            raise CompareError(f"{path}: samples.{name} is no list of numbers")
    if len({len(column) for column in columns}) > 1 or not sum(columns[2]):
        raise CompareError(f"{path}: samples of unlike lengths, or nothing possible")
    if any(scored > possible for scored, possible in zip(*columns[1:], strict=True)):
        raise CompareError(f"{path}: samples.scored has more than samples.possible")
    figures = {k: float("nan") if v is None else v for k, v in values["figures"].items()}
    return {**values, "figures": figures}


def _interval(
    first: dict[str, list[Any]], second: dict[str, list[Any]], seed: int, path: Path
) -> tuple[float, float]:
    """Percent, low and high, of the second's share less the first's."""
    images = np.intersect1d(first["image"], second["image"])
    if not _by_image(first, images)[1].any() or not _by_image(second, images)[1].any():
        raise CompareError(f"{path} has no image in common with the first run, of points to be had")
    return _middle(_shares(second, images, seed) - _shares(first, images, seed))


def share_interval(samples: dict[str, list[Any]], seed: int = 0) -> tuple[float, float]:
    """Percent, low and high, of the share of points scored, when images are drawn anew."""
    return _middle(_shares(samples, np.unique(samples["image"]), seed))


def _shares(samples: dict[str, list[Any]], images: NDArray[Any], seed: int) -> NDArray[np.float64]:
    """The share of points scored, in percent, in each of ROUNDS draws of the images.

    NaN of a draw without any to be had.
    """
    scored, possible = _by_image(samples, images)
    drawn = np.random.default_rng(seed).multinomial(
        len(images), np.full(len(images), 1 / len(images)), size=ROUNDS
    )
    total = drawn @ possible
    shares = np.full(ROUNDS, np.nan)
    np.divide(100 * (drawn @ scored), total, out=shares, where=total > 0)
    return shares


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """The ends of the middle part that holds COVERED of the values."""
    tail = (1 - COVERED) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _by_image(
    samples: dict[str, list[Any]], images: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points scored and possible of each image."""
    image = np.array(samples["image"])
    kept = np.isin(image, images)
    place = np.searchsorted(images, image[kept])
    scored, possible = (np.array(samples[k], np.float64)[kept] for k in ("scored", "possible"))
    count = len(images)
    scored_of, possible_of = (
        np.bincount(place, points, count).astype(np.float64) for points in (scored, possible)
    )
    return scored_of, possible_of
