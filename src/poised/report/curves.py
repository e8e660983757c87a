"""The page's curves, as SVG whose black is the page's own ink."""

from __future__ import annotations

import html
import io

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poised.metrics.errors import KINDS
from poised.metrics.evaluation import MATCHED, Evaluation
from poised.metrics.matching import Matched, by_image
from poised.metrics.pck import grouped, pck
from poised.report.words import LIKENESS, WORDS

WIDE = 4.4  # inches: at a phone's width letters keep nearly their size
COLOURS = ("#2a7f62", "#9ac77b", "#f0a202", "#7b5ea7", "#c8553d", "#8a8a8a")  # of KINDS
LARGEST = 0.5  # lengths: where PCK's curve ends


def how_near(done: Evaluation) -> str:
    """The curves of the whole set."""
    what = LIKENESS[done.apart is None]
    parts = [
        _svg(_found_curve(done.matched, what), f"People whose {what} is at least a limit"),
        _svg(_histogram(done.matched, what), f"People by {what}"),
    ]
    if done.apart is None:
        parts.append(_svg(_precision_recall(done.matched), "Precision and recall"))
    else:
        parts.append(_svg(_pck_curve(done, done.apart), "PCK over the limit"))
    return f'<div class="curves">{"".join(parts)}</div>'


def kind_bars(matched: Matched, kinds: NDArray[np.int64]) -> str:
    """For each joint the share of each kind, in KINDS."""
    counted = [k for k in range(kinds.shape[1]) if (kinds[:, k] >= 0).any()]
    names = [matched.skeleton.keypoints[k].replace("_", " ") for k in counted]
    figure, axes = _axes(1.2 + 0.26 * len(names))
    left = np.zeros(len(names))
    for place, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
        share = [100 * (kinds[:, k] == place).sum() / (kinds[:, k] >= 0).sum() for k in counted]
        if any(share):
            axes.barh(names, share, left=left, color=colour, label=WORDS[kind])
        left += share
    axes.invert_yaxis()
    axes.set(xlabel="labelled joints, %", xlim=(0, 100))
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    return f'<div class="curves">{_svg(figure, "Errors by kind for each joint")}</div>'


def _axes(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDE, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.subplots()
    axes.patch.set_alpha(0)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """With the same ids each time."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace("#000000", "currentColor")
    label = f'<svg role="img" aria-label="{html.escape(title)}" '
    inner = text[text.index("<svg") :].replace("<svg ", label, 1)
    return f"<figure>{inner}<figcaption>{html.escape(title)}</figcaption></figure>"


def _found_curve(matched: Matched, what: str) -> Figure:
    """The share of people whose prediction has at least a likeness."""
    least = np.linspace(0, 1, 101)
    share = 100 * (matched.likeness[:, None] >= np.maximum(least, 1e-9)).mean(0)
    figure, axes = _axes(2.6)
    axes.plot(least, share, color=COLOURS[0])
    axes.set(xlabel=f"least {what}", ylabel="people, %", xlim=(0, 1), ylim=(0, 100))
    return figure


def _histogram(matched: Matched, what: str) -> Figure:
    figure, axes = _axes(2.6)
    axes.hist(matched.likeness, bins=20, range=(0, 1), color=COLOURS[0])
    axes.set(xlabel=what, ylabel="people", xlim=(0, 1))
    return figure


def _pck_curve(done: Evaluation, apart: NDArray[np.float64]) -> Figure:
    """PCK of each group of joints as the limit grows."""
    limits = np.linspace(0, LARGEST, 51)
    names = done.protocol["keypoints"]
    curves = [grouped(each, names) for each in pck(apart, limits.tolist())]
    figure, axes = _axes(3.4)
    for group in curves[0]:
        axes.plot(limits, [curve[group] for curve in curves], label=group)
    axes.axvline(done.matched.good, color=COLOURS[-1], linewidth=1)
    axes.set(xlabel="limit, lengths", ylabel="joints right, %", xlim=(0, LARGEST), ylim=(0, 100))
    axes.legend(frameon=False, ncols=2)
    return figure


def _precision_recall(matched: Matched) -> Figure:
    """Precision over recall as the least score falls, at two OKS."""
    likeness = dict(zip(matched.given.tolist(), matched.likeness.tolist(), strict=True))
    taken = {*matched.given[matched.found].tolist(), *matched.spare.tolist()}
    places = [p for image in by_image(matched.results).values() for p in image if p in taken]
    places.sort(key=lambda place: -matched.results[place]["score"])
    alike = np.array([likeness.get(place, 0.0) for place in places])
    figure, axes = _axes(2.6)
    for least, colour in zip((MATCHED, 0.75), COLOURS, strict=False):
        right = np.cumsum(alike >= least)
        recall = 100 * right / len(matched.people)
        precision = 100 * right / np.arange(1, len(alike) + 1)
        axes.plot(recall, precision, color=colour, label=f"right from OKS {least:g}")
    axes.set(xlabel="recall: people found, %", ylabel="precision: right of given, %")
    axes.set(xlim=(0, 100), ylim=(0, 105))
    axes.legend(frameon=False)
    return figure
