"""A trained network's weights for another skeleton: joints of the same name keep their channels.

Which axes of which tensors count joints is not written down anywhere: the network is built for one
joint more, without memory, and what has grown counts them. Where an axis has other channels too,
as in layers that read features and maps, the joints come last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from poised.datasets.categories import words_of
from poised.nets import BY_PARTS, build
from poised.types import Skeleton

Words = tuple[str, ...]  # of a keypoint's name
READS = 1  # the axis of a convolution's weight that reads, 0 being the one that it gives


def for_skeleton(
    tensors: Mapping[str, Tensor],
    theirs: Skeleton,
    ours: Skeleton,
    kind: Mapping[str, Any],
    own: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """The tensors of a network for `theirs`, as those of the same network for `ours`.

    A joint that `theirs` lacks keeps what `own` has, the new network's state as it was made; but
    layers that read its map start without it, so that the other joints are found as before.

    kind: the new network's arguments of `nets.build`. What has another shape than can come from
    the joints is left as it is.
    """
    fitted = dict(tensors)
    for part, (before, now) in _names(theirs, ours, kind).items():
        kept = [(k, before.index(name)) for k, name in enumerate(now) if name in before]
        for key, (axis, each) in _counting(kind, part).items():
            others = own[key].shape[axis] - each * len(now)
            if key not in tensors or tensors[key].shape[axis] != others + each * len(before):
                continue
            goal, source = (
                [*range(others), *(others + each * k + i for k in ks for i in range(each))]
                for ks in ([k for k, _ in kept], [k for _, k in kept])
            )
            reads = axis == READS and own[key].ndim > 1
            start = torch.zeros_like(own[key]) if reads else own[key].clone()
            found = tensors[key].to(start).index_select(axis, torch.tensor(source).long())
            fitted[key] = start.index_copy(axis, torch.tensor(goal).long(), found)
    return fitted


def shared(theirs: Skeleton, ours: Skeleton) -> list[str]:
    """Our keypoints that theirs has too, however they are written."""
    known = set(map(words_of, theirs.keypoints))
    return [name for name in ours.keypoints if words_of(name) in known]


def _names(
    theirs: Skeleton, ours: Skeleton, kind: Mapping[str, Any]
) -> dict[int | None, tuple[list[Words], list[Words]]]:
    """Their keypoints and ours, in words, of the whole (None) and of each part that is built."""
    before, now = (list(map(words_of, skeleton.keypoints)) for skeleton in (theirs, ours))
    found: dict[int | None, tuple[list[Words], list[Words]]] = {None: (before, now)}
    if kind["network"] in BY_PARTS:
        for part, (name, places) in enumerate(ours.groups.items()):
            there = theirs.groups.get(name, ())
            found[part] = ([before[k] for k in there], [now[k] for k in places])
    return found


def _counting(kind: Mapping[str, Any], part: int | None) -> dict[str, tuple[int, int]]:
    """The tensors that count joints of the whole or of a part: (axis, channels a joint)."""
    groups = [list(group) for group in kind.get("groups", ())]
    if part is None:
        more = {**kind, "joints": kind["joints"] + 1}
    else:
        more = {**kind, "groups": [g + [0] * (i == part) for i, g in enumerate(groups)]}
    return dict(_grown(_shapes(kind), _shapes(more)))


def _grown(
    before: Mapping[str, Sequence[int]], after: Mapping[str, Sequence[int]]
) -> Iterator[tuple[str, tuple[int, int]]]:
    for key, shape in before.items():
        for axis, (few, many) in enumerate(zip(shape, after.get(key, shape), strict=True)):
            if many != few:
                yield key, (axis, many - few)


def _shapes(kind: Mapping[str, Any]) -> dict[str, Sequence[int]]:
    with torch.device("meta"):
        return {key: value.shape for key, value in build(**kind).state_dict().items()}
