"""Boxes -> crops -> heatmaps -> keypoints and scores, of many people at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.crops import apply, crop_matrices, cut, grown, heatmap_to_crop, invert
from poised.heatmaps import Decoder, decode, merge_flip, merge_scales
from poised.protocol import AS_MEANT, Protocol, check_alike
from poised.runtime import ModelError, Session
from poised.scores import chances_near, expected_oks, mean_above
from poised.types import Skeleton

USUALLY_COUNTED = 0.2  # a keypoint score above which it counts in a pose's, as in HRNet's code
Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Estimated:
    """People's keypoints: xy (N, K, 2) image pixels, score (N, K), quality (N,).

    A pose's score is its box's x its quality.
    """

    xy: NDArray[np.float64]
    score: NDArray[np.float32]
    quality: NDArray[np.float32]


class Estimator:
    """The keypoints of people in boxes, by one model or by several whose heatmaps are averaged.

    Those must have one input size, crop and skeleton. flip: average with the mirrored crop.
    padding: how much boxes grow; None takes the model's own.

    Where a model's maps are chances (`poised train` with softmax), a keypoint's score is its chance
    to be within a tenth of the box's longer side, and a pose's quality its expected OKS; else they
    are the map's maximum, and the mean of those scores that are above `counted`.
    """

    def __init__(
        self,
        sessions: Session | Sequence[Session],
        *,
        flip: bool = True,
        padding: float | None = None,
        protocol: Protocol = AS_MEANT,
    ) -> None:
        self.sessions = [sessions] if isinstance(sessions, Session) else list(sessions)
        check_alike(self.sessions)
        notes = self.sessions[0].metadata
        if padding is not None and not 0 < padding < math.inf:
            raise ModelError(f"padding is {padding}, must be positive")
        self.flip, self.protocol = flip, protocol
        self.padding: float = notes["padding"] if padding is None else padding
        self.shift = notes["crop"] == "classic" if protocol.shift is None else protocol.shift
        self.decoder: Decoder = protocol.decoder or notes["decoder"]
        self.chances = bool(notes.get("chances")) and protocol.counted is None
        self.counted = USUALLY_COUNTED if protocol.counted is None else protocol.counted
        self.skeleton = Skeleton.from_dict(notes["skeleton"], source=str(self.session.path))
        self.size: tuple[int, int] = tuple(notes["input_wh"])
        self.mean = np.array(notes["mean"], np.float32)
        self.std = np.array(notes["std"], np.float32)

    @property
    def session(self) -> Session:
        """The first model."""
        return self.sessions[0]

    def matrices(self, xywh: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Image -> crop matrices (N, 2, 3) of boxes (N, 4)."""
        kind = self.session.metadata["crop"]
        return crop_matrices(xywh, self.size, padding=self.padding, kind=kind)

    def estimate(
        self,
        images: Sequence[Image],
        matrices: NDArray[np.float64],
        boxes: NDArray[np.floating[Any]],
    ) -> Estimated:
        """The people in `boxes` (N, 4) of N images, whose crops have the matrices (N, 2, 3)."""
        notes, scales = self.session.metadata, self.protocol.scales
        pyramid = [self.heatmaps(images, self._scaled(matrices, s), boxes) for s in scales]
        maps = merge_scales(pyramid, scales, notes["crop"])
        xy, score = decode(maps, self.decoder, notes["sigma"])
        points = apply(invert(matrices), heatmap_to_crop(xy, notes["stride"], notes["crop"]))
        if self.chances:
            maps /= np.float32(2 * math.pi * notes["sigma"] ** 2)  # as `export.PoseModel` has them
            gain = np.sqrt(np.abs(np.linalg.det(matrices[:, :, :2]))) / notes["stride"]
            sides = boxes[:, 2:] * gain[:, None]  # heatmap pixels
            score = chances_near(maps, xy, 0.1 * sides.max(1))
            return Estimated(points, score, expected_oks(maps, xy, sides, self.skeleton.sigmas))
        if not self.protocol.public:
            score = score.clip(0, 1)
        return Estimated(points, score, mean_above(score, self.counted))

    def _scaled(self, matrices: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
        """The crops (N, 2, 3) in which people are `scale` times as large, their middle kept."""
        edge = 0 if self.session.metadata["crop"] == "classic" else 1
        middle = (np.array(self.size, np.float64) - edge) / 2
        larger = matrices * scale
        larger[:, :, 2] += middle * (1 - scale)
        return larger

    def crops(
        self,
        images: Sequence[Image],
        matrices: NDArray[np.float64],
        boxes: NDArray[np.floating[Any]],
    ) -> NDArray[np.float32]:
        """(N, 3, H, W), normalised as the network wants it; of N images by matrices (N, 2, 3).

        boxes: (N, 4), around which the rest is black, if the model has learnt it so.
        """
        factor = self.session.metadata.get("blacked")
        inside = [None] * len(boxes) if factor is None else grown(boxes, factor)
        kind = self.session.metadata["crop"]
        people = zip(images, matrices, inside, strict=True)
        crops = np.stack([cut(image, m, self.size, kind, box) for image, m, box in people])
        return np.ascontiguousarray(((crops - self.mean) / self.std).transpose(0, 3, 1, 2))

    def heatmaps(
        self,
        images: Sequence[Image],
        matrices: NDArray[np.float64],
        boxes: NDArray[np.floating[Any]],
    ) -> NDArray[np.float32]:
        """(N, K, h, w) of people in `boxes` (N, 4), cut out of N images by matrices (N, 2, 3).

        Averaged with those of the mirrored crops, if `flip`.
        """
        tensor = self.crops(images, matrices, boxes)
        maps = self._maps(tensor)
        if not self.flip:
            return maps
        mirrored = self._maps(np.ascontiguousarray(tensor[..., ::-1]))
        return merge_flip(maps, mirrored, self.skeleton.flip_order, self.shift)

    def _maps(self, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        """The models' heatmaps (N, K, h, w), averaged."""
        every = [session.run(tensor)["heatmaps"] for session in self.sessions]
        for session, maps in zip(self.sessions, every, strict=True):
            if maps.shape[1] != len(self.skeleton):
                raise ModelError(
                    f"{session.path}: gives {maps.shape[1]} heatmaps, its skeleton "
                    f"{self.skeleton.name} has {len(self.skeleton)} keypoints"
                )
        return every[0] if len(every) == 1 else np.asarray(np.mean(every, 0), np.float32)
