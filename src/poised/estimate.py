"""Boxes -> crops -> heatmaps, or what a model gives -> keypoints and scores, of many at once."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.crops import (
    apply,
    crop_matrices,
    cut,
    grown,
    heatmap_to_crop,
    invert,
    middle_edge,
)
from poised.foreign_models import NONE, Fields, describe
from poised.heads import decode_movenet, decode_places, decode_simcc, merge_movenet, merge_simcc
from poised.heatmaps import Decoder, decode, merge_flip, merge_scales
from poised.protocol import AS_MEANT, Protocol, check_alike, check_asked
from poised.runtime import ModelError, Session
from poised.scores import chances_near, expected_oks, mean_above
from poised.types import Skeleton

FINISHED = ("movenet-pose", "whole")  # families whose outputs are poses
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
    padding: how much boxes grow; None takes the model's own. foreign: see `describe`.

    Where a model's maps are chances (`poised train` with softmax), a keypoint's score is its chance
    to be within a tenth of the box's longer side, and a pose's quality its expected OKS; else, and
    where the protocol has a threshold of its own or an image pyramid, they are the map's maximum
    (of other outputs, see heads.py), and the mean of those scores that are above `counted`.
    Finished poses, of MoveNet or of a whole graph (`export --whole`), are not averaged with the
    mirrored crop's; a whole graph gives its own quality, see `whole.WholeModel`.
    """

    def __init__(
        self,
        sessions: Session | Sequence[Session],
        *,
        flip: bool = True,
        padding: float | None = None,
        protocol: Protocol = AS_MEANT,
        foreign: Fields = NONE,
    ) -> None:
        self.sessions = [sessions] if isinstance(sessions, Session) else list(sessions)
        described = [describe(session, foreign) for session in self.sessions]
        check_alike([session.path for session in self.sessions], described)
        notes = self.notes = described[0]
        self.roles = [one.get("roles", {"heatmaps": "heatmaps"}) for one in described]
        self.family: str = notes.get("family", "heatmaps")
        if padding is not None and not 0 < padding < math.inf:
            raise ModelError(f"padding is {padding}, must be positive")
        check_asked(protocol, self.family, self.session.path)
        self.flip, self.protocol = flip and self.family not in FINISHED, protocol
        self.padding: float = notes["padding"] if padding is None else padding
        self.shift = notes["crop"] != "unbiased" if protocol.shift is None else protocol.shift
        self.decoder: Decoder = protocol.decoder or notes["decoder"]
        single = protocol.scales == (1.0,)  # an enlarged map holds another sum
        self.chances = bool(notes.get("chances")) and single and protocol.counted is None
        self.counted = USUALLY_COUNTED if protocol.counted is None else protocol.counted
        self.skeleton = Skeleton.from_dict(notes["skeleton"], source=str(self.session.path))
        self.size: tuple[int, int] = tuple(notes["input_wh"])
        self.mean = np.array(notes["mean"], np.float32)
        self.std = np.array(notes["std"], np.float32)

    @property
    def session(self) -> Session:
        """The first model."""
        return self.sessions[0]

    def streamed(self) -> Estimator:
        """The same for a caller on every core; see `Session.streamed`."""
        twin = copy.copy(self)
        twin.sessions = [session.streamed() for session in self.sessions]
        return twin

    def facts(self, public: bool) -> dict[str, Any]:
        """All that a figure depends on here, for its protocol. public: see `Protocol`."""
        heatmaps, chances = self.family == "heatmaps", self.chances
        score = {
            "heatmaps": "the map's maximum" + ("" if public else ", at most 1"),
            "simcc": "the mean of the two vectors' maxima",
            "movenet": "the map at the joint's cell",
            "movenet-pose": "as the model gives it",
            "whole": "as the model gives it",
        }[self.family]
        pose_score = f"box score x mean keypoint score above {self.counted}"
        fed = {name: self.notes[name] for name in ("mean", "std", "bgr") if "family" in self.notes}
        return {
            **fed,
            "flip": self.flip,
            "padding": self.padding,
            "shift": self.shift,
            "scales": list(self.protocol.scales),
            "decoder": self.decoder if heatmaps else self.family,
            "crop": self.notes["crop"],
            "keypoint_score": (
                "the chance to be within 0.1 x the box's longer side" if chances else score
            ),
            "pose_score": "box score x expected OKS" if chances else pose_score,
        }

    def matrices(self, xywh: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Image -> crop matrices (N, 2, 3) of boxes (N, 4)."""
        return crop_matrices(xywh, self.size, padding=self.padding, kind=self.notes["crop"])

    def estimate(
        self,
        images: Sequence[Image],
        matrices: NDArray[np.float64],
        boxes: NDArray[np.floating[Any]],
    ) -> Estimated:
        """The people in `boxes` (N, 4) of N images, whose crops have the matrices (N, 2, 3)."""
        notes, scales = self.notes, self.protocol.scales
        if self.family != "heatmaps":
            outputs = self.outputs(images, matrices, boxes)
            xy, score = self._decoded(outputs)
            quality = outputs.get("quality", mean_above(score, self.counted))
            return Estimated(apply(invert(matrices), xy), score, quality)
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
        middle = (np.array(self.size, np.float64) - middle_edge(self.notes["crop"])) / 2
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
        factor = self.notes.get("blacked")
        inside = [None] * len(boxes) if factor is None else grown(boxes, factor)
        kind = self.notes["crop"]
        people = zip(images, matrices, inside, strict=True)
        crops = np.stack([cut(image, m, self.size, kind, box) for image, m, box in people])
        if self.notes.get("bgr"):
            crops = crops[..., ::-1]
        tensor = np.empty((len(crops), 3, *crops.shape[1:3]), np.float32)
        np.subtract(crops.transpose(0, 3, 1, 2), self.mean[:, None, None], out=tensor)
        tensor /= self.std[:, None, None]
        return tensor

    def heatmaps(
        self,
        images: Sequence[Image],
        matrices: NDArray[np.float64],
        boxes: NDArray[np.floating[Any]],
    ) -> NDArray[np.float32]:
        """(N, K, h, w) of people in `boxes` (N, 4), cut out of N images by matrices (N, 2, 3).

        Averaged with those of the mirrored crops, if `flip`. SimCC models and finished poses have
        none.
        """
        return self.outputs(images, matrices, boxes)["heatmaps"]

    def outputs(
        self,
        images: Sequence[Image],
        matrices: NDArray[np.float64],
        boxes: NDArray[np.floating[Any]],
    ) -> dict[str, NDArray[np.float32]]:
        """What the models give for these people, by role, as `heatmaps`."""
        tensor = self.crops(images, matrices, boxes)
        found = self._run(tensor)
        if not self.flip:
            return found
        mirrored = self._run(np.ascontiguousarray(tensor[..., ::-1]))
        order = self.skeleton.flip_order
        if self.family == "simcc":
            return merge_simcc(found, mirrored, order, self.notes["split"])
        if self.family == "movenet":
            return merge_movenet(found, mirrored, order)
        maps = merge_flip(found["heatmaps"], mirrored["heatmaps"], order, self.shift)
        return {"heatmaps": maps}

    def _decoded(
        self, outputs: dict[str, NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Keypoints (N, K, 2) in crop pixels and scores (N, K), of other outputs than heatmaps."""
        if self.family == "simcc":
            return decode_simcc(outputs["x"], outputs["y"], self.notes["split"])
        if self.family == "movenet":
            return decode_movenet(**outputs)
        if self.family == "whole":
            return outputs["keypoints"], outputs["scores"]
        return decode_places(outputs["places"], self.size)

    def _run(self, tensor: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """The models' outputs by role, averaged."""
        fed = tensor.transpose(0, 2, 3, 1) if self.notes.get("nhwc") else tensor
        every = []
        for session, roles in zip(self.sessions, self.roles, strict=True):
            found = session.run(np.ascontiguousarray(fed))
            every.append({role: found[name] for role, name in roles.items()})
            maps = every[-1].get("heatmaps")
            if maps is not None and maps.shape[1] != len(self.skeleton):
                raise ModelError(
                    f"{session.path}: gives {maps.shape[1]} heatmaps, its skeleton "
                    f"{self.skeleton.name} has {len(self.skeleton)} keypoints"
                )
        if len(every) == 1:
            return every[0]
        means = {role: np.mean([one[role] for one in every], 0) for role in every[0]}
        return {role: mean.astype(np.float32) for role, mean in means.items()}
