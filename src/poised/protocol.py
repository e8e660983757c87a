"""How a figure is made: what a paper's test says that a model does not, and models in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from poised.heatmaps import Decoder
from poised.runtime import ModelError
from poised.scores import PoseNms

ALIKE = ("input_wh", "crop", "stride", "skeleton", "mean", "std")  # of models that are averaged
ALIKE_TOO = ("chances", "sigma", "blacked", "family", "bgr", "split")  # not all files have these


@dataclass(frozen=True)
class Protocol:
    """How a paper tests, where that is not how the model is meant to be used.

    shift: the mirrored maps by one pixel; None does so for classic crops. scales: of an image
    pyramid, averaged. decoder: of the heatmaps, None for the model's own. rescore: a pose's score
    is its box's x its quality (see `Estimator`), else its box's. counted: a keypoint score above
    which it counts in the mean that is the quality then, as in the papers; None: the model's own
    way. pose_nms: which of an image's poses are dropped, by OKS, and its threshold; None: hard
    above SAME_PERSON, but none of given boxes.
    public: as HRNet's public code has it, on which figures of classic crops rest: scores above 1
    stay, poses are alike by the area of the grown boxes, annotated boxes are cleaned.
    """

    shift: bool | None = None
    scales: tuple[float, ...] = (1.0,)
    decoder: Decoder | None = None
    rescore: bool = True
    pose_nms: tuple[PoseNms, float] | None = None
    public: bool = False
    counted: float | None = None


AS_MEANT = Protocol()  # no paper's: as the model says


def check_asked(protocol: Protocol, family: str, path: Path) -> None:
    """Raise ModelError where the protocol asks of a model what is had of plain heatmaps alone."""
    if family != "heatmaps" and (protocol.decoder or protocol.scales != (1.0,)):
        raise ModelError(
            f"{path}: a protocol's decoder and scales are for models that give heatmaps alone, "
            f"this one gives {family}"
        )


def check_alike(paths: Sequence[Path], described: Sequence[Mapping[str, Any]]) -> None:
    """Raise ModelError unless these are pose models that can be averaged, as they are described."""
    if not paths:
        raise ModelError("no model: give a name or a file")
    first = described[0]
    for path, notes in zip(paths, described, strict=True):
        if notes.get("kind") != "pose":
            raise ModelError(f"{path}: expected a pose model, this is {notes.get('kind')}")
        missing = [k for k in (*ALIKE, "padding", "decoder") if k not in notes]
        if missing:
            raise ModelError(f"{path}: its metadata lacks {', '.join(missing)}")
        unlike = [k for k in (*ALIKE, *ALIKE_TOO) if notes.get(k) != first.get(k)]
        if "sigma" in unlike and not (notes.get("chances") or first.get("chances")):
            unlike.remove("sigma")  # plain heatmaps peak at 1 whatever it is: CPN+ averages such
        if unlike:
            raise ModelError(
                f"{path} and {paths[0]} cannot be averaged, they differ in {', '.join(unlike)}"
            )
