"""The picture: limbs and joints over the image, coloured by side or by person."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from poised.types import ImagePoses, Side, Skeleton

Colour = tuple[int, int, int]  # RGB
Colours = Literal["limbs", "people"]
COLOURS: dict[Side, Colour] = {  # apart for the colour-blind too
    "left": (0, 158, 255),
    "right": (255, 140, 0),
    "middle": (240, 240, 240),
}
PEOPLE: tuple[Colour, ...] = (  # Okabe and Ito's, apart for the colour-blind too
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
OUTLINE = (20, 20, 20)
SUBPIXEL = 4  # bits of OpenCV's fixed point
FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_poses(
    image: NDArray[np.uint8],
    poses: ImagePoses,
    threshold: float,
    colours: Colours = "limbs",
    ids: NDArray[np.integer[Any]] | None = None,
) -> NDArray[np.uint8]:
    """A copy of the RGB image (H, W, 3) with everybody's limbs and joints.

    Joints of a score not above the threshold, and limbs with such an end, are left out, and so is
    who has no limb then: dots alone say nothing. colours: "limbs" tells the person's own sides
    apart, "people" the people, each with a thin box and a number: of ids (P,), or the place among
    the results from 1. Lines grow with the person's box, so that a crowd stays legible and a
    portrait is no scrawl.
    """
    picture = np.ascontiguousarray(image).copy()
    least = max(1.0, min(image.shape[:2]) / 400)
    numbers = np.arange(1, len(poses) + 1) if ids is None else ids
    order = np.argsort(poses.boxes.xywh[:, 2] * poses.boxes.xywh[:, 3])[::-1]
    for person in order:  # small ones last, on top
        width = max(least, float(poses.boxes.xywh[person, 2:].max()) / 80)
        shown = poses.keypoint_score[person] > threshold
        own = _own(numbers[person]) if colours == "people" else None
        _draw_person(picture, poses.xy[person], shown, poses.skeleton, width, own)
    if colours == "people":
        for person in order:
            _draw_box(picture, poses.boxes.xyxy[person], int(numbers[person]), least)
    return picture


def _own(number: int) -> Colour:
    """The colour of a person's number, from 1."""
    return PEOPLE[(number - 1) % len(PEOPLE)]


def _draw_person(
    picture: NDArray[np.uint8],
    xy: NDArray[np.float32],
    shown: NDArray[np.bool_],
    skeleton: Skeleton,
    width: float,
    own: Colour | None,
) -> None:
    """Every limb twice, a dark line under a bright one, then the joints; own: a colour for all."""
    fixed = np.round(np.clip(xy, -1e5, 1e5) * 2**SUBPIXEL).astype(int)
    limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
    if skeleton.limbs and not limbs:
        return
    for grow, outline in ((1.8, True), (1.0, False)):
        thick = max(1, round(width * grow))
        for a, b in limbs:
            colour = OUTLINE if outline else own or COLOURS[_limb_side(skeleton, a, b)]
            cv2.line(
                picture, fixed[a].tolist(), fixed[b].tolist(), colour, thick, cv2.LINE_AA, SUBPIXEL
            )
        radius = round(width * 1.3 * grow * 2**SUBPIXEL)
        for k in np.flatnonzero(shown):
            colour = OUTLINE if outline else own or COLOURS[skeleton.side(int(k))]
            cv2.circle(picture, fixed[k].tolist(), radius, colour, -1, cv2.LINE_AA, SUBPIXEL)


def _draw_box(
    picture: NDArray[np.uint8], xyxy: NDArray[np.float32], number: int, least: float
) -> None:
    """A thin box with the person's number in its corner, both kept within the picture."""
    edge = np.array([picture.shape[1], picture.shape[0]]) - 1
    (x, y), high = np.round(np.clip(xyxy.reshape(2, 2), 0, edge)).astype(int).tolist()
    colour, text, size = _own(number), str(number), 0.4 * least
    thick = max(1, round(least))
    cv2.rectangle(picture, (x, y), high, colour, thick)
    (width, height), below = cv2.getTextSize(text, FONT, size, thick)
    cv2.rectangle(picture, (x, y), (x + width + below, y + height + below), colour, -1)
    cv2.putText(
        picture, text, (x + below // 2, y + height + below // 2), FONT, size, OUTLINE, thick,
        cv2.LINE_AA,
    )  # fmt: skip


def _limb_side(skeleton: Skeleton, a: int, b: int) -> Side:
    """A limb is on a side when no end is on the other and not both are in the middle."""
    sides = {skeleton.side(a), skeleton.side(b)} - {"middle"}
    return sides.pop() if len(sides) == 1 else "middle"
