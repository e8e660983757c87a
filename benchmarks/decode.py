"""How much faster is decoding than a loop over people and joints, the way of HRNet's public code?

Both decode (32, 17, 64, 48) float32 maps with the quarter offset and map the points back to their
images; their answers are compared first.
"""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
from common import machine, median_seconds

from poised.crops import apply, crop_matrices, heatmap_to_crop, invert
from poised.heatmaps import decode

SIZE, STRIDE = (192, 256), 4


def vectorised(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    xy, _ = decode(maps, "quarter")
    back = invert(crop_matrices(boxes, SIZE, kind="classic"))
    return apply(back, heatmap_to_crop(xy, STRIDE, "classic"))


def looped(maps: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """One argmax for all, then everything else person by person and joint by joint."""
    people, joints, height, width = maps.shape
    flat = maps.reshape(people, joints, -1)
    best, top = flat.argmax(2), flat.max(2)
    result = np.zeros((people, joints, 2))
    for person in range(people):
        x, y, box_width, box_height = boxes[person]
        side = max(box_width, box_height * SIZE[0] / SIZE[1]) * 1.25
        centre = np.array([x + box_width / 2, y + box_height / 2])
        here = np.float32([[width / 2, height / 2], [0, height / 2], [0, height / 2 - width / 2]])
        there = np.float32([centre, centre - [side / 2, 0], centre - [side / 2, side / 2]])
        back = cv2.getAffineTransform(here, there)
        for joint in range(joints):
            if top[person, joint] <= 0:
                point = [0.0, 0.0]
            else:
                point = [best[person, joint] % width, best[person, joint] // width]
            one = maps[person, joint]
            px, py = math.floor(point[0] + 0.5), math.floor(point[1] + 0.5)
            if 1 < px < width - 1 and 1 < py < height - 1:
                slope = np.array(
                    [one[py][px + 1] - one[py][px - 1], one[py + 1][px] - one[py - 1][px]]
                )
                point = np.array(point) + np.sign(slope) * 0.25
            result[person, joint] = np.dot(back, np.array([point[0], point[1], 1.0]))
    return result


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    maps = rng.random((32, 17, 64, 48), np.float32)
    boxes = rng.uniform(50, 300, (32, 4))
    np.testing.assert_allclose(vectorised(maps, boxes), looped(maps, boxes), atol=1e-3)
    ours, loop = (median_seconds(lambda w=way: w(maps, boxes), 31) for way in (vectorised, looped))
    print(json.dumps({"ours_ms": 1000 * ours, "loop_ms": 1000 * loop, **machine()}))
    print(f"ratio {loop / ours:.1f}")
