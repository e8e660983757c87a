"""The picture: limbs and joints over the image, coloured by the person's own side."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.types import ImagePoses, Side, Skeleton

COLOURS: dict[Side, tuple[int, int, int]] = {  # RGB; apart for the colour-blind too
    "left": (0, 158, 255),
    "right": (255, 140, 0),
    "middle": (240, 240, 240),
}
OUTLINE = (20, 20, 20)
SUBPIXEL = 4  # bits of OpenCV's fixed point


def draw_poses(
    image: NDArray[np.uint8], poses: ImagePoses, threshold: float = 0.2
) -> NDArray[np.uint8]:
    """A copy of the RGB image (H, W, 3) with everybody's limbs and joints.

    Joints of a score under the threshold, and limbs with such an end, are left out. Lines grow
    with the person's box, so that a crowd stays legible and a portrait is not a scrawl.
    """
    picture = np.ascontiguousarray(image).copy()
    least = max(1.0, min(image.shape[:2]) / 400)
    order = np.argsort(poses.boxes.xywh[:, 2] * poses.boxes.xywh[:, 3])[::-1]
    for person in order:  # small ones last, on top
        width = max(least, float(poses.boxes.xywh[person, 2:].max()) / 80)
        shown = poses.keypoint_score[person] >= threshold
        _draw_person(picture, poses.xy[person], shown, poses.skeleton, width)
    return picture


def _draw_person(
    picture: NDArray[np.uint8],
    xy: NDArray[np.float32],
    shown: NDArray[np.bool_],
    skeleton: Skeleton,
    width: float,
) -> None:
    """Every limb twice, a dark line under a bright one, then the joints."""
    fixed = np.round(np.clip(xy, -1e5, 1e5) * 2**SUBPIXEL).astype(int)
    limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
    for grow, outline in ((1.8, True), (1.0, False)):
        thick = max(1, round(width * grow))
        for a, b in limbs:
            colour = OUTLINE if outline else COLOURS[_limb_side(skeleton, a, b)]
            cv2.line(
                picture, fixed[a].tolist(), fixed[b].tolist(), colour, thick, cv2.LINE_AA, SUBPIXEL
            )
        radius = round(width * 1.3 * grow * 2**SUBPIXEL)
        for k in np.flatnonzero(shown):
            colour = OUTLINE if outline else COLOURS[skeleton.side(int(k))]
            cv2.circle(picture, fixed[k].tolist(), radius, colour, -1, cv2.LINE_AA, SUBPIXEL)


def _limb_side(skeleton: Skeleton, a: int, b: int) -> Side:
    """A limb is on a side when no end is on the other and not both are in the middle."""
    sides = {skeleton.side(a), skeleton.side(b)} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"
