"""What a public pose model's file does not say: how it is fed, and what its outputs are.

It is told by its outputs and by how many keypoints they have; `<file>.yaml` beside it, or the
caller, may say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import yaml

from poised.boxes.detector import FOREIGN_NMS, FOREIGN_THRESHOLD, FREE_SIDE
from poised.boxes.yolo_pose import SIZES, column_axis
from poised.files import write_text
from poised.heatmaps import BLUR_SIGMA
from poised.model_fields import checked
from poised.reading import read_yaml
from poised.runtime import ModelError, Session
from poised.types import Skeleton, SkeletonError

Fields = Mapping[str, Any]
NONE: Fields = MappingProxyType({})
SKELETONS = {17: "coco17", 21: "hand21", 26: "halpe26", 133: "wholebody133"}
IMAGENET = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
PLAIN = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
# how each family is fed, where nobody says otherwise; mean and std in the order of its channels
FAMILIES: dict[str, dict[str, Any]] = {
    "heatmaps": IMAGENET | {"bgr": False, "padding": 1.25, "crop": "classic", "decoder": "quarter"},
    "simcc": IMAGENET | {"bgr": False, "padding": 1.25, "crop": "mmpose"},
    "movenet": PLAIN | {"bgr": False, "padding": 1.1, "crop": "unbiased"},
    "movenet-pose": PLAIN | {"bgr": False, "padding": 1.1, "crop": "unbiased"},
    "yolo-pose": {"mean": [0.0] * 3, "std": [255.0] * 3, "bgr": False}
    | {"threshold": FOREIGN_THRESHOLD, "nms": FOREIGN_NMS},
}
EXPECTED = (
    "heatmaps (N, K, h, w); SimCC's two (N, K, W x s) and (N, K, H x s); MoveNet's heatmap, "
    "center, regress and offset, or its (1, 1, 17, 3); YOLO-pose's (1, 5 + 3 K, M)"
)


def describe(session: Session, said: Fields = NONE) -> dict[str, Any]:
    """All that an estimator must know of a model: its file's own metadata, or for a foreign one
    those fields and `family`, `roles` (what an output is -> its name), `bgr`, `nhwc`, `split`.

    said: fields by the caller (see model_fields.FIELDS), over those of the YAML beside the file.
    Raises ModelError, which says what the file gives and what helps.
    """
    path = session.path
    if session.metadata:
        if said:
            raise ModelError(
                f"{path}: says itself how it is fed; {', '.join(said)} are for other people's files"
            )
        return session.metadata
    if {"dets", "labels"} <= set(session.output_shapes):
        raise ModelError(f"{path}: gives dets and labels, it is a detector: use it as --detector")
    said = read_fields(beside(path)) | checked(said, "the options")
    nhwc = len(session.input_shape) == 4 and session.input_shape[1] != 3
    nhwc = nhwc and session.input_shape[3] == 3
    size = _input_size(session, nhwc, said)
    shapes = _shapes(session, size, nhwc)
    skeleton = _skeleton(said, path)
    sizes = SIZES if skeleton is None else (len(skeleton),)
    family, roles = _told(shapes, nhwc, sizes)
    if family is None:
        what = ", ".join(f"{name} {['N', *shape]}" for name, shape in shapes.items())
        raise ModelError(
            f"{path}: not a pose model that is known here. It gives {what.replace(chr(39), '')}; "
            f"expected {EXPECTED} (K of another skeleton than the package's: give --model-skeleton)"
        )
    first = shapes[next(iter(roles.values()))]
    notes: dict[str, Any] = {
        "kind": "pose",
        "name": path.stem,
        "family": family,
        "roles": roles,
        "nhwc": nhwc,
        "input_wh": list(size),
        "sigma": BLUR_SIGMA,
        "stride": 1,
        "decoder": "argmax",
        "padding": 1.0,
        "crop": "letterbox",
    }
    odd = [name for name in said if name not in (*FAMILIES[family], "skeleton", "input_wh")]
    if odd:
        raise ModelError(f"{path}: gives {family}, which {', '.join(odd)} cannot change")
    keypoints = first[0]
    if family == "heatmaps":
        notes["stride"] = _ratio(path, size, (first[2], first[1]), "heatmaps")
    elif family == "simcc":
        lengths = (first[1], shapes[roles["y"]][1])
        notes["split"] = 1 / _ratio(path, size, lengths, "vectors")
    elif family == "movenet-pose":
        keypoints = first[1]
    elif family == "yolo-pose":
        columns = first[0 if column_axis((None, *first), sizes) == 1 else 1]
        keypoints = (columns - 5) // 3
    notes |= FAMILIES[family] | {k: v for k, v in said.items() if k != "skeleton"}
    notes["skeleton"] = _fitting(skeleton, path, keypoints).to_dict()
    return notes


def _input_size(session: Session, nhwc: bool, said: Fields) -> tuple[int, int]:
    """(width, height) of the input, by the file or else by `input_wh`."""
    shape = session.input_shape
    if len(shape) != 4:
        raise ModelError(
            f"{session.path}: its input is {list(shape)}, expected images (N, 3, H, W)"
        )
    height, width = shape[1:3] if nhwc else shape[2:]
    if width is not None and height is not None:
        if tuple(said.get("input_wh", (width, height))) != (width, height):
            raise ModelError(
                f"{session.path}: its input is {width} x {height}, input_wh says {said['input_wh']}"
            )
        return width, height
    if "input_wh" in said:
        return int(said["input_wh"][0]), int(said["input_wh"][1])
    outputs = list(session.output_shapes.values())
    if len(outputs) == 1 and len(outputs[0]) == 3:
        return FREE_SIDE, FREE_SIDE  # YOLO-pose's, else it is refused
    raise ModelError(
        f"{session.path}: gives {', '.join(session.output_shapes)} and leaves its input's size "
        "free: if it is a pose model, write `input_wh: [192, 256]`, or what it was trained with, "
        f"into {beside(session.path)}"
    )


def _shapes(session: Session, size: tuple[int, int], nhwc: bool) -> dict[str, tuple[int, ...]]:
    """Each output's shape but for the first axis; by running it, where the file leaves it open."""
    known: dict[str, tuple[int, ...]] = {}
    for name, shape in session.output_shapes.items():
        sides = [side for side in shape[1:] if side is not None]
        if shape and len(sides) == len(shape) - 1:
            known[name] = tuple(sides)
    if len(known) == len(session.output_shapes):
        return known
    black = np.zeros((1, size[1], size[0], 3) if nhwc else (1, 3, size[1], size[0]), np.float32)
    return {name: found.shape[1:] for name, found in session.run(black).items()}


def _told(
    shapes: Mapping[str, tuple[int, ...]], nhwc: bool, sizes: Sequence[int]
) -> tuple[str | None, dict[str, str]]:
    """The family that outputs of such shapes (but for the first axis) are of, and their roles.

    sizes: the keypoints there may be. With channels last, 56 columns are MoveNet's MultiPose.
    """
    names, ranks = list(shapes), [len(shape) for shape in shapes.values()]
    if {"heatmap", "center", "regress", "offset"} <= set(names):
        parts = {name: name for name in ("center", "regress", "offset")}
        return "movenet", {"heatmaps": "heatmap"} | parts
    if ranks == [2, 2] and len({shape[0] for shape in shapes.values()}) == 1:
        x, y = reversed(names) if names == ["simcc_y", "simcc_x"] else names
        return "simcc", {"x": x, "y": y}
    if ranks == [3]:
        only = shapes[names[0]]
        if only[0] == 1 and only[2] == 3:
            return "movenet-pose", {"places": names[0]}
        return "heatmaps", {"heatmaps": names[0]}
    if ranks == [2] and not nhwc and column_axis((None, *shapes[names[0]]), sizes):
        return "yolo-pose", {"rows": names[0]}
    return None, {}


def _ratio(path: Path, size: tuple[int, int], sides: tuple[int, int], what: str) -> float:
    """Input pixels a step of the output, the same along x and y."""
    if size[0] * sides[1] != size[1] * sides[0]:
        raise ModelError(
            f"{path}: its input is {size[0]} x {size[1]}, its {what} are {sides[0]} x {sides[1]}: "
            "not of one proportion"
        )
    return size[0] / sides[0]


def _skeleton(said: Fields, path: Path) -> Skeleton | None:
    """The one that is named or written out, if any."""
    value = said.get("skeleton")
    if isinstance(value, Mapping):
        return Skeleton.from_dict(value, source=str(beside(path)))
    try:
        return None if value is None else Skeleton.load(value)
    except SkeletonError as error:
        raise SkeletonError(f"{path}: {error}") from error


def _fitting(skeleton: Skeleton | None, path: Path, keypoints: int) -> Skeleton:
    """The skeleton of a model of K keypoints: the one that is named, or by K alone."""
    if skeleton is None and keypoints not in SKELETONS:
        known = ", ".join(f"{count} ({name})" for count, name in SKELETONS.items())
        raise ModelError(
            f"{path}: gives {keypoints} keypoints, and of those numbers alone a skeleton is known: "
            f"{known}. Name it: --model-skeleton NAME|FILE"
        )
    skeleton = skeleton or Skeleton.load(SKELETONS[keypoints])
    if len(skeleton) != keypoints:
        raise ModelError(
            f"{path}: gives {keypoints} keypoints, skeleton {skeleton.name} has {len(skeleton)}"
        )
    return skeleton


def beside(path: Path) -> Path:
    """The YAML file of a foreign model."""
    return path.with_suffix(".yaml")


def read_fields(path: Path) -> dict[str, Any]:
    """A model's YAML, {} where there is none; raises ModelError that names the field.

    A skeleton's file lies beside it.
    """
    if not path.is_file():
        return {}
    fields = read_yaml(path, ModelError)
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: expected fields, got {type(fields).__name__}")
    fields = checked(fields, str(path))
    if _is_file(fields.get("skeleton")):
        fields["skeleton"] = str(path.parent / fields["skeleton"])
    return fields


def _is_file(skeleton: object) -> bool:
    """Whether a skeleton is given by its file, not by name."""
    return isinstance(skeleton, str) and Path(skeleton).suffix in (".yaml", ".yml", ".json")


def remember(path: Path, said: Fields) -> Path:
    """Write the fields into the YAML beside a model, over those there; OSError where it cannot be.

    A skeleton's file is written out, so that the model may move.
    """
    fields = read_fields(beside(path)) | checked(said, "the options")
    if _is_file(fields.get("skeleton")):
        fields["skeleton"] = Skeleton.load(fields["skeleton"]).to_dict()
    write_text(beside(path), yaml.safe_dump(fields, sort_keys=False))
    return beside(path)
