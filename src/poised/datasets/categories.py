"""The skeleton that a data set's own file describes: COCO's `categories`, or others' bare names.

Categories name the keypoints, and join them by limbs that count from 1. All else is read off the
names: pairs differ in left and right (l and r) alone; the parts are told by words, what neither
HEAD nor LOWER knows is "upper"; OKS's sigmas are COCO's for its own keypoints, SIGMA for others.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from poised.reading import read_json
from poised.types import Skeleton, SkeletonError

SIGMA = 0.079  # what CrowdPose's evaluator takes where COCO has none: for head and neck
HEAD = frozenset({"head", "face", "neck", "nose", "eye", "ear", "mouth", "chin", "forehead"})
LOWER = frozenset({"pelvis", "hip", "knee", "ankle", "leg", "foot", "heel", "toe"})
SIDES = {"l": "left", "r": "right"}
log = logging.getLogger(__name__)


def load_skeleton(path: Path) -> Skeleton:
    """That of a COCO annotation file, a DeepLabCut's CSV or a YOLO's YAML file, said aloud once.

    Raises SkeletonError where it names none.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise SkeletonError(f"no skeleton file {path}") from error
    return _load(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)  # such a file may be large, and a training asks several times
def _load(path: Path, changed: int, size: int) -> Skeleton:
    from poised.datasets.deeplabcut import skeleton_of_deeplabcut  # both build on this file
    from poised.datasets.yolo import skeleton_of_yolo

    if path.suffix == ".json":
        found = _of_coco(path)
    else:
        found = skeleton_of_deeplabcut(path) if path.suffix == ".csv" else skeleton_of_yolo(path)
    say_aloud(found, str(path))
    return found


def _of_coco(path: Path) -> Skeleton:
    values = read_json(path, SkeletonError)
    found = skeleton_of(values, str(path)) if isinstance(values, dict) else None
    if found is None:
        raise SkeletonError(f"{path}: no category names keypoints, as COCO's `person` does")
    return found


def skeleton_of(values: Mapping[str, Any], source: str) -> Skeleton | None:
    """That of a COCO file's values; None where no category names keypoints.

    Raises SkeletonError for categories with unlike keypoints, and for a list that is not of names.
    """
    rows = values.get("categories")
    named = [r for r in rows if isinstance(r, dict)] if isinstance(rows, list) else []
    named = [row for row in named if row.get("keypoints")]
    if not named:
        return None
    if any(row["keypoints"] != named[0]["keypoints"] for row in named):
        which = ", ".join(str(row.get("name")) for row in named)
        raise SkeletonError(f"{source}: categories {which} have unlike keypoints: give a skeleton")
    names = named[0]["keypoints"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise SkeletonError(f"{source}: a category's keypoints is {str(names)[:60]}, not names")
    whole = skeleton_named(names, None, source)
    return replace(whole, limbs=_limbs(named[0].get("skeleton"), len(names)))


def skeleton_named(
    names: Sequence[str], pairs: Sequence[tuple[int, int]] | None, source: str
) -> Skeleton:
    """A skeleton of keypoints of which the names alone are known; COCO's own have COCO's limbs.

    pairs: what a mirror exchanges, where that is known too; else it is read off the names.

    Raises SkeletonError that names the source.
    """
    if not names or len(set(names)) < len(names):
        raise SkeletonError(f"{source}: its keypoints' names must be there and differ")
    words = [words_of(name) for name in names]
    by_name = _pairs(words)
    known, coco = _coco_sigmas(), Skeleton.load("coco17")
    if pairs is not None:  # they do not tell left from right, which the names may
        pairs = [(b, a) if (b, a) in by_name else (a, b) for a, b in pairs]
    return Skeleton(
        name=Path(source).stem,
        keypoints=tuple(names),
        pairs=by_name if pairs is None else tuple(pairs),
        limbs=coco.limbs if same_names(names, coco.keypoints) else (),
        groups=_groups(words),
        sigmas=np.array([known.get(word, SIGMA) for word in words], np.float32),
    )


def words_of(name: str) -> tuple[str, ...]:
    """A keypoint's name in small words: left_eye, LeftEye and L-Eye are all left, eye."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)
    return tuple(SIDES.get(word.lower(), word.lower()) for word in words) or (name,)


def same_names(first: Iterable[str], second: Iterable[str]) -> bool:
    """Whether two lists of keypoints are the same in the same order, however they are written."""
    return list(map(words_of, first)) == list(map(words_of, second))


def say_aloud(skeleton: Skeleton, source: str) -> None:
    """What was taken from the file and what was guessed."""
    known = _coco_sigmas()
    others = [name for name in skeleton.keypoints if words_of(name) not in known]
    log.warning(
        "%s: it names the keypoints: %d, with %d pairs by left and right, %d limbs, "
        "COCO's OKS sigmas%s",
        source,
        len(skeleton),
        len(skeleton.pairs),
        len(skeleton.limbs),
        f", but {SIGMA} for {', '.join(others)}" if others else "",
    )


def doubts_about(skeleton: Skeleton) -> list[str]:
    """What the names of a skeleton's keypoints say against its pairs: a line each.

    Names that differ in left and right alone are a pair, the left one first.
    """
    names = skeleton.keypoints
    words = [words_of(name) for name in names]
    paired = {k for pair in skeleton.pairs for k in pair}
    expected = _pairs(words)
    told = []
    for left, right in expected:
        both = f"{names[left]} and {names[right]}"
        if (right, left) in skeleton.pairs:
            told.append(f"of the pair {both} the right one stands first: sides are told wrongly")
        elif (left, right) not in skeleton.pairs:
            told.append(f"{both} are no pair in it: mirrored pictures teach wrong places")
    alone = set(range(len(names))) - paired - {k for pair in expected for k in pair}
    told += [
        f"{names[k]} has no other side: mirrored pictures teach wrong places (augment.flip=0)"
        for k in sorted(alone)
        if {"left", "right"} & set(words[k])
    ]
    return [f"skeleton {skeleton.name}: {line}" for line in told]


def _coco_sigmas() -> dict[tuple[str, ...], float]:
    coco = Skeleton.load("coco17")
    return dict(zip(map(words_of, coco.keypoints), coco.sigmas.tolist(), strict=True))


def _pairs(words: list[tuple[str, ...]]) -> tuple[tuple[int, int], ...]:
    place = {word: k for k, word in enumerate(words)}
    mirrored = [tuple("right" if w == "left" else w for w in word) for word in words]
    return tuple(
        (k, place[other])
        for k, other in enumerate(mirrored)
        if other != words[k] and other in place
    )


def _limbs(rows: Any, count: int) -> tuple[tuple[int, int], ...]:
    """None at all where one does not fit: the list is another skeleton's, as CrowdPose's own is."""
    if not isinstance(rows, list):
        return ()
    for row in rows:
        whole = isinstance(row, list) and len(row) == 2 and all(isinstance(k, int) for k in row)
        if not whole or not all(1 <= k <= count for k in row):
            return ()
    return tuple((a - 1, b - 1) for a, b in rows)


def _groups(words: list[tuple[str, ...]]) -> dict[str, tuple[int, ...]]:
    head = tuple(k for k, word in enumerate(words) if HEAD & set(word))
    lower = tuple(k for k, word in enumerate(words) if LOWER & set(word))
    upper = tuple(k for k in range(len(words)) if k not in head + lower)
    return {"head": head, "upper": upper, "lower": lower}
