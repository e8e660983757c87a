"""What a model's file, or the YAML beside it, says of the model: each field checked when read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from poised.crops import CropKind
from poised.heatmaps import Decoder
from poised.reading import parse_json, short
from poised.types import Skeleton, SkeletonError

LARGEST_SIDE = 8192  # pixels of a network's input
LEAST = 1e-9  # of what is divided by
Check = tuple[Callable[[Any], bool], str]  # whether a value fits, and what is expected


def _number(value: object) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= LARGEST_SIDE
    )


def _numbers(value: object, count: int, positive: bool) -> bool:
    return (
        isinstance(value, Sequence)
        and len(value) == count
        and all(_number(v) and (v >= LEAST or not positive) for v in value)
    )


def _sides(value: object) -> bool:
    return _numbers(value, 2, True) and all(side == int(side) for side in value)  # type: ignore[attr-defined]


SIDES: Check = (_sides, f"width and height, whole numbers up to {LARGEST_SIDE}")
POSITIVE: Check = (lambda v: _number(v) and v >= LEAST, "a positive number")
SHARE: Check = (lambda v: _number(v) and 0 <= v <= 1, "a number from 0 to 1")
FLAG: Check = (lambda v: isinstance(v, bool), "true or false")
TEXT: Check = (lambda v: isinstance(v, str), "text")
THREE: Check = (lambda v: _numbers(v, 3, False), "three numbers")
THREE_POSITIVE: Check = (lambda v: _numbers(v, 3, True), "three positive numbers")
CROP: Check = (lambda v: v in get_args(CropKind), f"one of {', '.join(get_args(CropKind))}")
DECODER: Check = (lambda v: v in get_args(Decoder), f"one of {', '.join(get_args(Decoder))}")
ROLES: Check = (
    lambda v: isinstance(v, Mapping) and all(isinstance(name, str) for name in v.values()),
    "outputs' names",
)

# what may be said of other people's model, in its YAML and by the caller
FIELDS: dict[str, Check] = {
    "skeleton": (
        lambda v: isinstance(v, str | Mapping),
        "a skeleton's name, a YAML or COCO file, or the fields of one",
    ),
    "mean": THREE,
    "std": THREE_POSITIVE,
    "bgr": FLAG,
    "padding": POSITIVE,
    "crop": CROP,
    "decoder": DECODER,
    "input_wh": SIDES,
    "threshold": SHARE,
    "nms": SHARE,
}
# what a model of ours says of itself, by its kind: all of the first, any of the second
COMMON: dict[str, Check] = {"name": TEXT, "input_wh": SIDES, "mean": THREE, "std": THREE_POSITIVE}
OWN: dict[str, dict[str, Check]] = {
    "detector": COMMON | {"threshold": SHARE, "nms": SHARE},
    "pose": COMMON
    | {
        "skeleton": (lambda v: isinstance(v, Mapping), "the fields of a skeleton"),
        "padding": POSITIVE,
        "crop": CROP,
        "decoder": DECODER,
        "sigma": POSITIVE,
        "stride": POSITIVE,
    },
}
OPTIONAL: dict[str, Check] = {
    "chances": FLAG,
    "blacked": (lambda v: v is None or POSITIVE[0](v), "a positive number or null"),
    "bgr": FLAG,
    "nhwc": FLAG,
    "family": (lambda v: v in ("heatmaps", "whole"), "heatmaps or whole"),
    "roles": ROLES,
    "precision": TEXT,
}


class ModelError(ValueError):
    """A model that cannot be used: names the file, what is wrong, and what to do."""


class BadAnswer(ModelError):
    """An answer that is no finite number: of a broken model to anything, or to one image alone."""


def output_names(metadata: Mapping[str, Any]) -> list[str]:
    """What a model of ours gives, in order."""
    usual = ["scores", "boxes"] if metadata["kind"] == "detector" else ["heatmaps"]
    return list(metadata.get("roles", usual))


def parse_own(text: str, source: str) -> dict[str, Any]:
    """A model's own metadata, checked; raises ModelError."""
    return checked_own(parse_json(text, f"{source}: its `poised` metadata", ModelError), source)


def checked(fields: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Fields of FIELDS, if all are known and fit; raises ModelError that names source and field."""
    for name in fields:
        if name not in FIELDS:
            raise ModelError(f"{source}: no field {short(name)!r}; known: {', '.join(FIELDS)}")
    _check(fields, FIELDS, source)
    return dict(fields)


def checked_own(notes: Any, source: str) -> dict[str, Any]:
    """A model's own metadata; raises ModelError where a field is lacking, or does not fit.

    Fields that nothing here reads may be there too.
    """
    kind = notes.get("kind") if isinstance(notes, dict) else None
    if not isinstance(kind, str) or kind not in OWN:
        raise ModelError(
            f"{source}: its `poised` metadata has the kind {short(repr(kind))}, expected "
            f"{' or '.join(OWN)}; export the model anew"
        )
    missing = [name for name in OWN[kind] if name not in notes]
    if missing:
        raise ModelError(f"{source}: its `poised` metadata lacks {', '.join(missing)}")
    own = OWN[kind] | OPTIONAL
    _check({k: v for k, v in notes.items() if k in own}, own, f"{source}: its `poised` metadata")
    if kind == "pose":
        try:
            Skeleton.from_dict(notes["skeleton"], source=source)
        except SkeletonError as error:
            raise ModelError(str(error)) from error
    return dict(notes)


def _check(fields: Mapping[str, Any], known: Mapping[str, Check], source: str) -> None:
    for name, value in fields.items():
        fits, expected = known[name]
        if not fits(value):
            raise ModelError(f"{source}: {name} is {short(repr(value))}, expected {expected}")
