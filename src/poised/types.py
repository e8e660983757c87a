"""The package's nouns: frozen, checked on construction, and frozen down to the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poised.reading import parse_yaml, read_yaml, short

Side = Literal["left", "right", "middle"]


class SkeletonError(ValueError):
    """A skeleton that contradicts itself: names the skeleton and the field."""


def _frozen(
    owner: object, name: str, shape: tuple[int | None, ...], dtype: type[np.generic]
) -> NDArray[Any]:
    """Make the field a read-only copy of that dtype, its shape checked (None is any length)."""
    array = np.array(getattr(owner, name), dtype=dtype)
    fits = array.ndim == len(shape) and all(
        w in (None, g) for w, g in zip(shape, array.shape, strict=False)
    )
    if not fits:
        want = ", ".join("N" if side is None else str(side) for side in shape)
        raise ValueError(
            f"{type(owner).__name__}.{name} has shape {array.shape}, expected ({want})"
        )
    array.flags.writeable = False
    object.__setattr__(owner, name, array)
    return array


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """The keypoints of a data set, by name and in order.

    pairs:  (left, right) indices that a mirror exchanges; all others lie in the middle.
    limbs:  indices joined by a line in a picture.
    groups: the parts "head", "upper", "lower" that some networks supervise apart.
    sigmas: (K,) float32, OKS's tolerance of each keypoint as a fraction of sqrt(area), halved.
    """

    name: str
    keypoints: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    limbs: tuple[tuple[int, int], ...]
    groups: Mapping[str, tuple[int, ...]]
    sigmas: NDArray[np.float32]

    def __post_init__(self) -> None:
        count = len(self.keypoints)
        if count == 0 or len(set(self.keypoints)) != count:
            raise SkeletonError(f"skeleton {self.name!r}: keypoints must be there and differ")
        mirrored = [k for pair in self.pairs for k in pair]
        if len(set(mirrored)) != len(mirrored):
            raise SkeletonError(f"skeleton {self.name!r}: pairs name a keypoint twice")
        indices = {"pairs": mirrored, "limbs": [k for limb in self.limbs for k in limb]}
        indices["groups"] = [k for group in self.groups.values() for k in group]
        for field, used in indices.items():
            for k in used:
                if not 0 <= k < count:
                    raise SkeletonError(
                        f"skeleton {self.name!r}: {field} has {k}, of {count} keypoints"
                    )
        if not ((np.asarray(self.sigmas) > 1e-6) & (np.asarray(self.sigmas) < 1e3)).all():
            raise SkeletonError(f"skeleton {self.name!r}: sigmas must be positive, and below 1000")
        _frozen(self, "sigmas", (count,), np.float32)

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def flip_order(self) -> NDArray[np.intp]:
        """(K,) the keypoint that stands in each place of a mirrored image."""
        order = np.arange(len(self))
        for left, right in self.pairs:
            order[[left, right]] = right, left
        return order

    def side(self, keypoint: int) -> Side:
        """Whose side, the person's own, a keypoint is on."""
        for left, right in self.pairs:
            if keypoint == left:
                return "left"
            if keypoint == right:
                return "right"
        return "middle"

    def to_dict(self) -> dict[str, Any]:
        """As in a skeleton's YAML: keypoints by name everywhere."""
        names = self.keypoints
        return {
            "name": self.name,
            "keypoints": list(names),
            "pairs": [[names[a], names[b]] for a, b in self.pairs],
            "limbs": [[names[a], names[b]] for a, b in self.limbs],
            "groups": {part: [names[k] for k in ks] for part, ks in self.groups.items()},
            "sigmas": [round(float(s), 4) for s in self.sigmas],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str = "skeleton") -> Skeleton:
        """The opposite of `to_dict`; SkeletonError names the source and the field."""
        fields = ("name", "keypoints", "pairs", "limbs", "groups", "sigmas")
        missing = [field for field in fields if field not in values]
        if missing:
            raise SkeletonError(f"{source}: no {', '.join(missing)}; it needs {', '.join(fields)}")
        names = values["keypoints"]
        if not isinstance(names, list | tuple) or not all(isinstance(n, str) for n in names):
            raise SkeletonError(f"{source}: keypoints is not a list of names")
        place = {name: k for k, name in enumerate(names)}

        def index(field: str, name: Any) -> int:
            if not isinstance(name, str) or name not in place:
                named = short(repr(name))
                raise SkeletonError(f"{source}: {field} names {named}, which is no keypoint")
            return place[name]

        try:
            return cls(
                name=str(values["name"]),
                keypoints=tuple(names),
                pairs=tuple((index("pairs", a), index("pairs", b)) for a, b in values["pairs"]),
                limbs=tuple((index("limbs", a), index("limbs", b)) for a, b in values["limbs"]),
                groups={
                    str(part): tuple(index("groups", name) for name in those)
                    for part, those in values["groups"].items()
                },
                sigmas=np.asarray(values["sigmas"], np.float64),
            )
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            if str(error).startswith(source):
                raise
            raise SkeletonError(f"{source}: {short(error)}") from error

    @classmethod
    def load(cls, name_or_path: str | Path) -> Skeleton:
        """A skeleton of the package by name, or the user's by path.

        That is a YAML file, or the file of a data set that names its keypoints: COCO's annotation
        (.json, in its categories), DeepLabCut's (.csv), or the data.yaml of YOLO's labels.
        """
        folder = resources.files("poised") / "skeletons"
        path = Path(name_or_path)
        if path.suffix in (".json", ".csv"):
            from poised.datasets.categories import load_skeleton

            return load_skeleton(path)
        if path.suffix in (".yaml", ".yml"):
            if not path.is_file():
                raise SkeletonError(f"no skeleton file {path}")
            values = read_yaml(path, SkeletonError)
        else:
            known = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir())
            if str(name_or_path) not in known:
                raise SkeletonError(f"no skeleton {str(name_or_path)!r}; known: {', '.join(known)}")
            text = (folder / f"{name_or_path}.yaml").read_text(encoding="utf-8")
            values = parse_yaml(text, str(path), SkeletonError)
        if not isinstance(values, dict):
            raise SkeletonError(
                f"{path}: expected a mapping of fields, got {type(values).__name__}"
            )
        if "kpt_shape" in values:
            from poised.datasets.categories import load_skeleton

            return load_skeleton(path)
        return cls.from_dict(values, source=str(path))


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """People's boxes in one image.

    xywh:  (N, 4) float32, x, y, width, height in image pixels, (x, y) the top left corner.
    score: (N,) float32.
    """

    xywh: NDArray[np.float32]
    score: NDArray[np.float32]

    def __post_init__(self) -> None:
        xywh = _frozen(self, "xywh", (None, 4), np.float32)
        score = _frozen(self, "score", (len(xywh),), np.float32)
        if not (np.isfinite(xywh).all() and np.isfinite(score).all()):
            raise ValueError("Boxes: every number must be finite")
        if (xywh[:, 2:] <= 0).any():
            raise ValueError("Boxes: widths and heights must be positive")

    def __len__(self) -> int:
        return len(self.score)

    @classmethod
    def empty(cls) -> Boxes:
        """No box."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))

    @classmethod
    def from_xyxy(cls, xyxy: NDArray[np.floating[Any]], score: NDArray[np.floating[Any]]) -> Boxes:
        """From (N, 4) x1, y1, x2, y2."""
        return cls(np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1), score)

    @property
    def xyxy(self) -> NDArray[np.float32]:
        """(N, 4) x1, y1, x2, y2."""
        return np.concatenate([self.xywh[:, :2], self.xywh[:, :2] + self.xywh[:, 2:]], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """One person's keypoints in one image.

    xy:             (K, 2) float32, image pixels; (0, 0) is the centre of the top-left pixel.
    keypoint_score: (K,) float32 in [0, 1]; at 0 nothing was found and xy has no meaning. SimCC
                    models may pass 1, and 0 downwards.
    box:            (4,) float32, x, y, width, height: the box that the crop was cut from.
    score:          of the whole pose.
    """

    xy: NDArray[np.float32]
    keypoint_score: NDArray[np.float32]
    box: NDArray[np.float32]
    score: float

    def __post_init__(self) -> None:
        count = len(_frozen(self, "keypoint_score", (None,), np.float32))
        _frozen(self, "xy", (count, 2), np.float32)
        _frozen(self, "box", (4,), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ImagePoses:
    """Everybody in one image: P people of K keypoints; iterating gives each as a Pose.

    size: (width, height) in pixels; boxes: P; xy: (P, K, 2); keypoint_score: (P, K); score: (P,).
    """

    file_name: str
    size: tuple[int, int]
    skeleton: Skeleton
    boxes: Boxes
    xy: NDArray[np.float32]
    keypoint_score: NDArray[np.float32]
    score: NDArray[np.float32]

    def __post_init__(self) -> None:
        people, keypoints = len(self.boxes), len(self.skeleton)
        _frozen(self, "xy", (people, keypoints, 2), np.float32)
        _frozen(self, "keypoint_score", (people, keypoints), np.float32)
        _frozen(self, "score", (people,), np.float32)

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, people: NDArray[Any]) -> ImagePoses:
        """Those people alone, by index or by a mask (P,)."""
        boxes = Boxes(self.boxes.xywh[people], self.boxes.score[people])
        parts = (self.xy[people], self.keypoint_score[people], self.score[people])
        return ImagePoses(self.file_name, self.size, self.skeleton, boxes, *parts)

    def __getitem__(self, person: int) -> Pose:
        box, score = self.boxes.xywh[person], float(self.score[person])
        return Pose(self.xy[person], self.keypoint_score[person], box, score)

    def __iter__(self) -> Iterator[Pose]:
        return map(self.__getitem__, range(len(self)))


def of_images(poses: ImagePoses | Sequence[ImagePoses]) -> Sequence[ImagePoses]:
    """What a predictor gives, of one image or of several, as of several."""
    return [poses] if isinstance(poses, ImagePoses) else poses
