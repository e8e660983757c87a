"""The whole image in a network's input, its shape kept, and grey around it."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Three = tuple[float, float, float]  # of the channels R, G, B


def letterbox(
    image: NDArray[np.uint8],
    size: tuple[int, int],
    *,
    mean: Three = (0.0, 0.0, 0.0),
    std: Three = (1.0, 1.0, 1.0),
    pad: Three,
    bgr: bool = False,
    centred: bool = False,
    area: bool = False,
) -> tuple[NDArray[np.float32], float, NDArray[np.float64]]:
    """An RGB image (H, W, 3) as a tensor (1, 3, height, width), its scale, and its corner (2,).

    size: (width, height) of the input; pad: the colour around the image, in grey levels; centred:
    the image in the middle, not in the top left corner; area: shrink by area, else bilinear. A
    point of the input is image point = (point - corner) / scale.
    """
    width, height = size
    gain = min(width / image.shape[1], height / image.shape[0])
    inside = [max(1, round(side * gain)) for side in image.shape[1::-1]]
    way = cv2.INTER_AREA if gain < 1 and area else cv2.INTER_LINEAR
    shown = cv2.resize(image, inside, interpolation=way)
    left, top = (0, 0)
    if centred:
        left, top = (width - inside[0]) // 2, (height - inside[1]) // 2
    order = slice(None, None, -1 if bgr else 1)
    means, stds, pads = (np.array(v, np.float32)[order, None, None] for v in (mean, std, pad))
    tensor = np.empty((1, 3, height, width), np.float32)
    tensor[0] = (pads - means) / stds
    part = tensor[0, :, top : top + inside[1], left : left + inside[0]]
    np.subtract(shown.transpose(2, 0, 1)[order], means, out=part)
    part /= stds
    return tensor, gain, np.array([left, top], np.float64)
