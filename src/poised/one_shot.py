"""Networks that find boxes and poses in one go, of YOLO-pose's output form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.boxes.detector import PAD, chosen, to_image
from poised.boxes.letterbox import letterbox
from poised.boxes.yolo_pose import column_axis, decode_yolo_pose
from poised.estimate import USUALLY_COUNTED, Image
from poised.foreign_models import Fields, describe
from poised.protocol import Protocol, check_asked
from poised.runtime import ModelError, Session
from poised.types import Boxes, Skeleton

FINDS_ITS_OWN = (
    "finds boxes and poses in one go: it takes no boxes, no other detector and no padding; leave "
    "them out, `evaluate` wants --boxes detector"
)


def finds_boxes(sessions: Sequence[Session], foreign: Fields) -> bool:
    """Whether the first model, as `foreign` has it, is of this kind."""
    return bool(sessions) and describe(sessions[0], foreign).get("family") == "yolo-pose"


def one_shot(
    sessions: Session | Sequence[Session], foreign: Fields, protocol: Protocol
) -> OneShot | None:
    """The model, if it is of this kind; raises ModelError where it is to be averaged."""
    every = [sessions] if isinstance(sessions, Session) else list(sessions)
    if not finds_boxes(every, foreign):
        return None
    if len(every) > 1:
        raise ModelError(f"{every[0].path}: finds its own boxes, and cannot be averaged")
    return OneShot(every[0], describe(every[0], foreign), protocol)


class OneShot:
    """Stands where a detector and an `Estimator` stand for other models: `find(image)`.

    notes: what `foreign_models.describe` says of the file. A box's score is its pose's, too.
    """

    def __init__(self, session: Session, notes: dict[str, Any], protocol: Protocol) -> None:
        check_asked(protocol, "yolo-pose", session.path)
        self.session, self.sessions, self.notes, self.protocol = session, [session], notes, protocol
        self.skeleton = Skeleton.from_dict(notes["skeleton"], source=str(session.path))
        self.size: tuple[int, int] = tuple(notes["input_wh"])
        self.chances, self.counted = False, USUALLY_COUNTED

    def streamed(self) -> OneShot:
        """The same for a caller on every core; see `Session.streamed`."""
        return OneShot(self.session.streamed(), self.notes, self.protocol)

    def find(self, image: Image) -> tuple[Boxes, NDArray[np.float64], NDArray[np.float32]]:
        """Everybody in an RGB image (H, W, 3), best first: P boxes, xy (P, K, 2), score (P, K).

        In image pixels; boxes are clipped to the image, keypoints are not.
        """
        notes = self.notes
        order = slice(None, None, -1 if notes["bgr"] else 1)  # mean and std are in the network's
        tensor, gain, corner = letterbox(
            image,
            self.size,
            mean=tuple(notes["mean"][order]),
            std=tuple(notes["std"][order]),
            pad=(PAD,) * 3,
            bgr=notes["bgr"],
            centred=True,
        )
        rows = self.session.run(tensor)[notes["roles"]["rows"]]
        by_row = rows[0].T if column_axis(rows.shape, (len(self.skeleton),)) == 1 else rows[0]
        by_row = by_row[by_row[:, 4] >= notes["threshold"]]
        xyxy, score, xy, keypoint_score = decode_yolo_pose(by_row)
        xyxy = to_image(xyxy, gain, corner, image)
        kept = chosen(xyxy, score, notes["nms"])
        points = (xy[kept].astype(np.float64) - corner) / gain
        boxes = Boxes.from_xyxy(xyxy[kept], score[kept])
        return boxes, points, keypoint_score[kept].astype(np.float32)

    def boxes(self, image: Image) -> Boxes:
        """The boxes alone."""
        return self.find(image)[0]

    def matrices(self, xywh: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """No crops are cut: (N, 2, 3) that change nothing."""
        return np.tile(np.eye(2, 3), (len(xywh), 1, 1))

    def facts(self, public: bool) -> dict[str, Any]:
        """All that a figure depends on here, for its protocol; it is never as a paper's code."""
        return {
            "flip": False,
            **{name: self.notes[name] for name in ("mean", "std", "bgr", "input_wh")},
            "crop": "letterbox",
            "decoder": "yolo-pose",
            "threshold": self.notes["threshold"],
            "box_nms": ["hard", self.notes["nms"]],
            "keypoint_score": "as the model gives it",
            "pose_score": "box score",
        }
