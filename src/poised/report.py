"""An evaluation as one HTML file to look at: curves, errors by kind, slices, pictures."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from poised.boxes.nms import iou
from poised.crops import crop_matrices, cut
from poised.datasets.person import Person
from poised.draw import draw_poses
from poised.files import write_text
from poised.images import ImageError, read_image
from poised.metrics.errors import KINDS, error_kinds
from poised.metrics.evaluation import MATCHED, Evaluation
from poised.metrics.matching import Matched
from poised.metrics.pck import grouped, pck
from poised.predict import Image, Predictor
from poised.types import Boxes, ImagePoses

PICTURES = 12  # of the worst, and of a random set
SEEN = 4  # of the random set, with heatmaps
SIDE, FAR = 300, 1e4  # pixels of a picture; where a line that leaves it may end
TILE, ACROSS = 0.5, 8  # an attention map's size, of the crop's, and how many in a row
COLOURS = ("#2a7f62", "#9ac77b", "#f0a202", "#7b5ea7", "#c8553d")  # of KINDS
SMALL, MEDIUM = 32.0**2, 96.0**2  # square pixels: COCO's sizes
OVERLAP = 0.1  # IoU of boxes over which two people crowd each other
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;
color:#1c1c1c;background:#fff} h1{font-size:1.6rem} h2{font-size:1.2rem;margin-top:2.5rem}
table{border-collapse:collapse} td,th{padding:.15rem .8rem .15rem 0;text-align:left;
font-variant-numeric:tabular-nums} figure{margin:1rem 0} svg{max-width:100%;height:auto}
.pictures{display:flex;flex-wrap:wrap;gap:8px} .pictures figure{margin:0;width:calc(25% - 8px);
min-width:150px} .pictures img{width:100%;display:block} .maps{display:flex;
flex-wrap:wrap;gap:8px} .maps figure{margin:0;min-width:120px} .maps img{max-width:100%}
figcaption,small{color:#555;
font-size:.8rem} pre{white-space:pre-wrap;background:#f4f4f4;padding:1rem;font-size:.8rem}
"""


def write_report(done: Evaluation, path: Path, seed: int = 0) -> None:
    """Write the page, whole or not at all; it needs nothing beside it and asks for nothing."""
    matched = done.matched
    if not matched.people:
        raise ValueError("nobody who counts is labelled: there is nothing to report on")
    kinds = error_kinds(matched)
    title = f"{done.protocol['dataset']} {done.protocol['split']}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _table(("figure", ""), [(k, f"{v:.1f}") for k, v in done.figures.items()]),
        "<h2>How near</h2>",
        _svg(_found_curve(matched), "Share of people over a least OKS"),
        _svg(_histogram(matched), "People by OKS"),
        "" if done.apart is None else _svg(_pck_curve(done, done.apart), "PCK over the limit"),
        _svg(_precision_recall(matched), "Precision and recall") if len(matched.spare) else "",
        "<h2>What is wrong, joint by joint</h2>",
        "<p>good: as near as annotators agree; jitter: near; inversion: on the other side's place; "
        "swap: on somebody else's; miss: elsewhere, or nobody found.</p>",
        _svg(_kind_bars(matched, kinds), "Errors by kind for each joint"),
        "<h2>Where it is hard</h2>",
        _table(("", "people", "mean OKS", "found, %", "good joints, %"), _slices(matched, kinds)),
        "<h2>The worst</h2>",
        _pictures(matched, np.argsort(matched.likeness, kind="stable")[:PICTURES]),
        "<h2>A random set</h2>",
        _pictures(matched, np.random.default_rng(seed).permutation(len(matched.people))[:PICTURES]),
        "" if done.predictor is None else _heatmaps(matched, done.predictor, seed),
        "<p><small>White: the annotation. Blue and orange: predicted left and right.</small></p>",
        "<h2>How it was measured</h2>",
        f"<pre>{html.escape(json.dumps(done.protocol, indent=1))}</pre>",
    ]
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"{''.join(parts)}</html>\n"
    )
    write_text(path, page)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"<tr>{''.join(f'<th>{html.escape(cell)}</th>' for cell in head)}</tr>"]
    lines += [f"<tr>{''.join(f'<td>{html.escape(c)}</td>' for c in row)}</tr>" for row in rows]
    return f"<table>{''.join(lines)}</table>"


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    label = f'<svg role="img" aria-label="{html.escape(title)}" '
    return f"<figure>{text[text.index('<svg') :].replace('<svg ', label, 1)}</figure>"


def _found_curve(matched: Matched) -> Figure:
    """The share of people whose prediction has at least an OKS."""
    least = np.linspace(0, 1, 101)
    share = 100 * (matched.likeness[:, None] >= np.maximum(least, 1e-9)).mean(0)
    figure, axes = _axes(8, 3)
    axes.plot(least, share, color=COLOURS[0])
    axes.set(xlabel="least OKS", ylabel="people, %", xlim=(0, 1), ylim=(0, 100))
    return figure


def _histogram(matched: Matched) -> Figure:
    figure, axes = _axes(8, 2.5)
    axes.hist(matched.likeness, bins=20, range=(0, 1), color=COLOURS[0])
    axes.set(xlabel="OKS", ylabel="people", xlim=(0, 1))
    return figure


def _pck_curve(done: Evaluation, apart: NDArray[np.float64]) -> Figure:
    """PCK of each group of joints as the limit grows to 0.5 lengths."""
    limits = np.linspace(0, 0.5, 51)
    names = done.protocol["keypoints"]
    curves = [grouped(each, names) for each in pck(apart, limits.tolist())]
    figure, axes = _axes(8, 3.5)
    for group in curves[0]:
        axes.plot(limits, [curve[group] for curve in curves], label=group)
    axes.set(xlabel="limit, lengths", ylabel="PCK, %", xlim=(0, 0.5), ylim=(0, 100))
    axes.legend(frameon=False, ncols=2)
    return figure


def _precision_recall(matched: Matched) -> Figure:
    """Precision over recall as the least score falls, at two OKS."""
    score = np.concatenate([matched.score, matched.spare])
    likeness = np.concatenate([matched.likeness, np.zeros(len(matched.spare))])
    order = np.argsort(-score, kind="stable")
    got = np.concatenate([matched.likeness > 0, np.ones(len(matched.spare), np.bool_)])
    given = order[got[order]]
    figure, axes = _axes(8, 3)
    for least, colour in zip((MATCHED, 0.75), COLOURS, strict=False):
        right = np.cumsum(likeness[given] >= least)
        recall = 100 * right / len(matched.people)
        precision = 100 * right / np.arange(1, len(given) + 1)
        axes.plot(recall, precision, color=colour, label=f"OKS {least:g}")
    axes.set(xlabel="recall, %", ylabel="precision, %", xlim=(0, 100), ylim=(0, 105))
    axes.legend(frameon=False)
    return figure


def _kind_bars(matched: Matched, kinds: NDArray[np.int64]) -> Figure:
    counted = [k for k in range(kinds.shape[1]) if (kinds[:, k] >= 0).any()]
    names = [matched.skeleton.keypoints[k].replace("_", " ") for k in counted]
    figure, axes = _axes(8, 0.6 + 0.3 * len(names))
    left = np.zeros(len(names))
    for place, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=True)):
        share = [100 * (kinds[:, k] == place).sum() / (kinds[:, k] >= 0).sum() for k in counted]
        axes.barh(names, share, left=left, color=colour, label=kind)
        left += share
    axes.invert_yaxis()
    axes.set(xlabel="labelled keypoints, %", xlim=(0, 100))
    figure.legend(loc="outside upper center", ncols=len(KINDS), frameon=False)
    return figure


def _slices(matched: Matched, kinds: NDArray[np.int64]) -> list[tuple[str, ...]]:
    """People by size, by hidden joints, by crowding."""
    area, people = matched.area, matched.people
    hidden = np.array(
        [(p.occluded & seen).sum() for p, seen in zip(people, matched.labelled, strict=True)]
    ) / matched.labelled.sum(1)
    crowd = _crowding(people)
    chosen = {
        "everybody": np.ones(len(people), np.bool_),
        "small, under 32x32 px": area < SMALL,
        "medium, under 96x96 px": (area >= SMALL) & (area < MEDIUM),
        "large": area >= MEDIUM,
        "no joint hidden": hidden == 0,
        "some hidden": (hidden > 0) & (hidden <= 0.5),
        "most hidden": hidden > 0.5,
        "alone": crowd == 0,
        "with one other": crowd == 1,
        "in a crowd": crowd > 1,
    }
    return [
        (
            name,
            str(mask.sum()),
            f"{matched.likeness[mask].mean():.2f}",
            f"{100 * (matched.likeness[mask] >= MATCHED).mean():.1f}",
            f"{100 * (kinds[mask] == 0).sum() / (kinds[mask] >= 0).sum():.1f}",
        )
        for name, mask in chosen.items()
        if mask.any()
    ]


def _crowding(people: Sequence[Person]) -> NDArray[np.int64]:
    """(P,) how many others' boxes overlap each one's."""
    boxes = np.stack([person.xywh for person in people])
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    image = np.array([person.image_id for person in people])
    count = np.zeros(len(people), np.int64)
    for number in np.unique(image):
        here = np.flatnonzero(image == number)
        count[here] = (iou(corners[here], corners[here]) > OVERLAP).sum(1) - 1
    return count


def _pictures(matched: Matched, chosen: NDArray[np.intp]) -> str:
    figures = []
    for index in chosen:
        person, likeness = matched.people[index], matched.likeness[index]
        caption = f"{html.escape(person.image.name)}, OKS {likeness:.2f}"
        figures.append(_figure(_picture(matched, int(index)), caption, caption))
    return f'<div class="pictures">{"".join(figures)}</div>'


def _heatmaps(matched: Matched, predictor: Predictor, seed: int) -> str:
    """The first of the random set as the network sees them: each joint's map over the crop.

    With the attention maps of the first one.
    """
    figures = ["<h2>Heatmaps</h2><p>The largest of all joints' maps, over the network's crop.</p>"]
    attention = ""
    for index in np.random.default_rng(seed).permutation(len(matched.people))[:SEEN]:
        person = matched.people[index]
        try:
            image = read_image(person.image)
        except (ImageError, OSError):
            continue
        matrix = crop_matrices(
            person.xywh[None],
            predictor.size,
            padding=predictor.padding,
            kind=predictor.session.metadata["crop"],
        )
        maps = predictor.heatmaps([image], matrix)[0].max(0).clip(0, 1)
        crop = cut(image, matrix[0], predictor.size)
        name = html.escape(person.image.name)
        figures.append(_figure(_glow(crop, maps), f"heatmaps of {name}", name))
        if len(figures) == 2:  # the heading and the first one
            attention = _attention(crop, predictor.crops([image], matrix), predictor)
    return figures[0] + f'<div class="pictures">{"".join(figures[1:])}</div>' + attention


def _attention(crop: Image, tensor: NDArray[np.float32], predictor: Predictor) -> str:
    """A row for each of the network's attention modules; needs torch, and weights by the model."""
    weights = predictor.session.path.with_suffix(".safetensors")
    if not weights.is_file() or find_spec("torch") is None:
        return ""
    import torch

    from poised.export import exported
    from poised.nets.attention import attention_maps

    rows = []
    for module, tensors in attention_maps(exported(weights)[0], torch.from_numpy(tensor)).items():
        maps = tensors[0].float().numpy()
        low, high = maps.min(), maps.max()
        tiles = [_glow(crop, (one - low) / max(high - low, 1e-9)) for one in maps]
        small = [cv2.resize(tile, None, fx=TILE, fy=TILE) for tile in tiles]
        across = [np.hstack(small[at : at + ACROSS]) for at in range(0, len(small), ACROSS)]
        widest = max(row.shape[1] for row in across)
        filled = [np.pad(r, ((0, 0), (0, widest - r.shape[1]), (0, 0))) for r in across]
        name = html.escape(module.removeprefix("network."))
        caption = f"{name}, {low:.2g} (dark) to {high:.2g}"
        rows.append(_figure(np.vstack(filled), f"attention of {name}", caption))
    if not rows:
        return ""
    return (
        "<h2>Attention</h2><p>The maps of each of the network's attention modules, by its name in "
        f'the code, for the first of these people.</p><div class="maps">{"".join(rows)}</div>'
    )


def _glow(crop: Image, maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map (h, w) in 0 to 1 over the crop (H, W, 3) RGB; BGR, to be encoded."""
    height, width = crop.shape[:2]
    bytes_ = np.round(255 * cv2.resize(maps, (width, height))).astype(np.uint8)
    heat = cv2.applyColorMap(bytes_, cv2.COLORMAP_INFERNO)
    mixed = cv2.addWeighted(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), 0.5, heat, 0.8, 0)
    return np.asarray(mixed, np.uint8)


def _figure(bgr: NDArray[np.uint8], label: str, caption: str) -> str:
    """A picture in the page; label and caption are HTML already."""
    data = base64.b64encode(cv2.imencode(".jpg", bgr)[1].tobytes()).decode("ascii")
    return (
        f'<figure><img alt="{label}" src="data:image/jpeg;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _picture(matched: Matched, index: int) -> NDArray[np.uint8]:
    """One person, BGR; annotation in white under the prediction; grey without the image."""
    person = matched.people[index]
    x, y, width, height = person.xywh
    gain = SIDE / (1.25 * max(width, height, 1.0))
    shift = np.array([SIDE, SIDE]) / 2 - gain * np.array([x + width / 2, y + height / 2])
    try:
        matrix = np.array([[gain, 0, shift[0]], [0, gain, shift[1]]])
        image = cv2.warpAffine(read_image(person.image), matrix, (SIDE, SIDE))
    except (ImageError, OSError):
        image = np.full((SIDE, SIDE, 3), 128, np.uint8)
    truth = np.clip(person.xy * gain + shift, -FAR, FAR)
    for a, b in matched.skeleton.limbs:
        if matched.labelled[index, [a, b]].all():
            ends = [tuple(int(v) for v in truth[k].round()) for k in (a, b)]
            cv2.line(image, ends[0], ends[1], (255, 255, 255), 2, cv2.LINE_AA)
    if np.isfinite(matched.xy[index]).any():
        shown = matched.labelled[index].astype(np.float32)
        xy = np.nan_to_num(matched.xy[index] * gain + shift).astype(np.float32)
        box = Boxes(np.array([[0, 0, SIDE / 2, SIDE / 2]], np.float32), np.ones(1, np.float32))
        poses = ImagePoses(
            person.image.name,
            (SIDE, SIDE),
            matched.skeleton,
            box,
            xy[None],
            shown[None],
            np.ones(1, np.float32),
        )
        image = draw_poses(np.asarray(image, np.uint8), poses, 0.5)
    return np.asarray(cv2.cvtColor(np.asarray(image, np.uint8), cv2.COLOR_RGB2BGR), np.uint8)
