"""What the network sees: heatmaps over crops, and the maps of its attention modules."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.crops import cut
from poised.estimate import Estimator, Image
from poised.images import ImageError, read_image
from poised.metrics.matching import Matched
from poised.predict import Predictor
from poised.report.markup import heading, paragraph, picture

SEEN = 4  # people whose heatmaps are shown
TILE, ACROSS = 0.5, 8  # an attention map's size, of the crop's, and how many in a row


def heatmaps(matched: Matched, predictor: Predictor, seed: int) -> str:
    """Some people at random: all joints' maps over the crop; the attention maps of the first."""
    estimator = predictor.estimator
    if not isinstance(estimator, Estimator) or "heatmaps" not in estimator.roles[0]:
        return heading("Heatmaps") + paragraph("This network gives no heatmaps.")
    figures: list[str] = []
    attention = ""
    for index in np.random.default_rng(seed).permutation(len(matched.people))[:SEEN]:
        person = matched.people[index]
        try:
            image = read_image(person.image)
        except (ImageError, OSError):
            continue
        matrix = estimator.matrices(person.xywh[None])
        maps = estimator.heatmaps([image], matrix, person.xywh[None])[0].max(0).clip(0, 1)
        crop = cut(image, matrix[0], estimator.size)
        name = person.image.name
        figures.append(picture(glow(crop, maps), f"heatmaps of {name}", name))
        if len(figures) == 1:
            tensor = estimator.crops([image], matrix, person.xywh[None])
            attention = _attention(crop, tensor, estimator.session.path)
    text = (
        "What the network gives for each joint is a map of where it may be; here is the largest of "
        "all joints' maps, over the network's crop of a person."
    )
    pictures = f'<div class="pictures">{"".join(figures)}</div>'
    return heading("Heatmaps") + paragraph(text) + pictures + attention


def _attention(crop: Image, tensor: NDArray[np.float32], model: Path) -> str:
    """A row for each of the network's attention modules; it needs the weights beside the model."""
    weights = model.with_suffix(".safetensors")
    if not weights.is_file() or find_spec("torch") is None:
        return ""
    import torch

    from poised.export import exported
    from poised.nets.attention import attention_maps

    rows = []
    for module, tensors in attention_maps(exported(weights)[0], torch.from_numpy(tensor)).items():
        maps = tensors[0].float().numpy()
        low, high = maps.min(), maps.max()
        tiles = [glow(crop, (one - low) / max(high - low, 1e-9)) for one in maps]
        small = [cv2.resize(tile, None, fx=TILE, fy=TILE) for tile in tiles]
        across = [np.hstack(small[at : at + ACROSS]) for at in range(0, len(small), ACROSS)]
        widest = max(row.shape[1] for row in across)
        filled = [np.pad(r, ((0, 0), (0, widest - r.shape[1]), (0, 0))) for r in across]
        name = module.removeprefix("network.")
        caption = f"{name}, {low:.2g} (dark) to {high:.2g}"
        rows.append(picture(np.vstack(filled), f"attention of {name}", caption))
    if not rows:
        return ""
    text = (
        "The maps of each of the network's attention modules, by its name in the code, for the "
        "first of these people."
    )
    return f'{heading("Attention")}{paragraph(text)}<div class="maps">{"".join(rows)}</div>'


def glow(crop: Image, maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """A map (h, w) in 0 to 1 over the crop (H, W, 3) RGB; BGR, to be encoded."""
    height, width = crop.shape[:2]
    bytes_ = np.round(255 * cv2.resize(maps, (width, height))).astype(np.uint8)
    heat = cv2.applyColorMap(bytes_, cv2.COLORMAP_INFERNO)
    mixed = cv2.addWeighted(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR), 0.5, heat, 0.8, 0)
    return np.asarray(mixed, np.uint8)
