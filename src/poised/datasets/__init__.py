"""Annotation files -> list[Person]; one file a format, and the one dict that names them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poised.datasets.categories import same_names, say_aloud, skeleton_of, words_of
from poised.datasets.coco import people_of, read_annotations, read_coco
from poised.datasets.flic import read_flic
from poised.datasets.lsp import read_lsp
from poised.datasets.lspet import read_lspet
from poised.datasets.mpii import read_mpii
from poised.datasets.person import DatasetError, Person
from poised.packs import PACK
from poised.types import Skeleton


@dataclass(frozen=True)
class DataSet:
    """read: (root, split) -> people; skeleton: its own; metric: what its papers report.

    boxed: its boxes are annotated; the others' are made here from joints or a scale.
    """

    read: Callable[[Path, str], list[Person]]
    skeleton: str
    metric: Literal["oks", "crowdpose", "pck", "pckh"]
    boxed: bool = False


DATASETS: dict[str, DataSet] = {
    "coco": DataSet(read_coco, "coco17", "oks", boxed=True),
    "crowdpose": DataSet(read_coco, "crowdpose14", "crowdpose", boxed=True),
    "flic": DataSet(read_flic, "flic", "pck"),
    "lsp": DataSet(read_lsp, "lsp14", "pck"),
    "lspet": DataSet(read_lspet, "lsp14", "pck"),
    "mpii": DataSet(read_mpii, "mpii16", "pckh"),
}


def read_people(
    dataset: str, root: Path, split: str, skeleton: str | None = None
) -> tuple[list[Person], Skeleton]:
    """A data set's people and its skeleton, or the user's own one for a COCO-style file.

    A pack of any data set is in COCO form, and read so. Raises ValueError for an unknown data set,
    and where the keypoints do not fit the skeleton.
    """
    if known(dataset).metric in ("oks", "crowdpose") or (root / PACK).is_file():
        return read_with_truth(dataset, root, split, skeleton)[:2]
    named = Skeleton.load(skeleton or known(dataset).skeleton)
    with _form_of(dataset, root, split):
        people = known(dataset).read(root, split)
    return _fitting(people, named, root), named


def read_with_truth(
    dataset: str, root: Path, split: str, skeleton: str | None = None
) -> tuple[list[Person], Skeleton, dict[str, Any], Path]:
    """As `read_people` of a data set in COCO form; and its annotation file, and images' folder.

    The file is read once. Of "coco", without a skeleton given, it is the file's own categories'
    where they name other keypoints than COCO's. Raises what `read_people`, `read_annotations` and
    `skeleton_of` raise.
    """
    named = Skeleton.load(skeleton or known(dataset).skeleton)
    with _form_of(dataset, root, split):
        values, images = read_annotations(root, split)
        people = people_of(values, images)
    if dataset == "coco" and skeleton is None:
        named = _own(values, named, people, root / split)
    elif skeleton is not None:
        _same_keypoints(values, named, root / split)
    return _fitting(people, named, root), named, values, images


def _own(values: dict[str, Any], usual: Skeleton, people: list[Person], source: Path) -> Skeleton:
    """The file's own skeleton, said aloud, where it is another than the usual and fits people."""
    own = skeleton_of(values, str(source))
    fits = own is not None and people and len(own) == len(people[0].visible)
    if own is None or not fits or same_names(own.keypoints, usual.keypoints):
        return usual
    say_aloud(own, str(source))
    return own


def _same_keypoints(values: dict[str, Any], named: Skeleton, source: Path) -> None:
    """Raise DatasetError where a file's categories name other keypoints than a given skeleton."""
    own = skeleton_of(values, str(source))
    if own is None or len(own) != len(named):
        return  # nothing is named, or `_fitting` will say it
    theirs, ours = (set(map(words_of, s.keypoints)) for s in (own, named))
    if 2 * len(theirs & ours) < len(ours):
        raise DatasetError(
            f"{source}: its categories name the keypoints {', '.join(own.keypoints[:3])}, ..., the "
            f"skeleton {named.name} {', '.join(named.keypoints[:3])}, ...: give the file itself as "
            "the skeleton (a recipe's `skeleton`, or --skeleton), or one with its names"
        )


def known(dataset: str) -> DataSet:
    """The data set of that name; ValueError for another."""
    if dataset not in DATASETS:
        raise ValueError(f"no data set named {dataset!r}; known: {', '.join(DATASETS)}")
    return DATASETS[dataset]


@contextmanager
def _form_of(dataset: str, root: Path, split: str) -> Iterator[None]:
    """A reader's complaint about a file of another form becomes a DatasetError."""
    try:
        yield
    except (DatasetError, FileNotFoundError, ImportError):  # a missing scipy is no fault of theirs
        raise
    except Exception as error:
        raise DatasetError(
            f"{root}: {split} is not of {dataset}'s form: {type(error).__name__}: {error}"
        ) from error


def _fitting(people: list[Person], named: Skeleton, root: Path) -> list[Person]:
    """The people, whose keypoints are as many as the skeleton's; DatasetError otherwise."""
    if people and len(people[0].visible) != len(named):
        raise DatasetError(
            f"{root}: {len(people[0].visible)} keypoints a person, the skeleton {named.name} has "
            f"{len(named)}"
        )
    return people


def renamed(
    people: Sequence[Person], theirs: Skeleton, ours: Skeleton, names: Mapping[str, str]
) -> list[Person]:
    """People of another skeleton with our keypoints, of the same name or as `names` says.

    What they do not have is unlabelled. Raises ValueError for a name that a skeleton lacks.
    """
    for their, our in names.items():
        if their not in theirs.keypoints or our not in ours.keypoints:
            raise ValueError(
                f"rename {their} to {our}: {theirs.name} has {', '.join(theirs.keypoints)}; "
                f"{ours.name} has {', '.join(ours.keypoints)}"
            )
    called = {names.get(name, name): index for index, name in enumerate(theirs.keypoints)}
    places = [k for k, name in enumerate(ours.keypoints) if name in called]
    source = [called[ours.keypoints[k]] for k in places]
    changed = []
    for person in people:
        xy = np.zeros((len(ours), 2))
        visible, occluded = np.zeros(len(ours), np.bool_), np.zeros(len(ours), np.bool_)
        xy[places], visible[places] = person.xy[source], person.visible[source]
        occluded[places] = person.occluded[source]
        changed.append(replace(person, xy=xy, visible=visible, occluded=occluded))
    return changed


__all__ = [
    "DATASETS",
    "DataSet",
    "DatasetError",
    "Person",
    "known",
    "read_lspet",
    "read_people",
    "read_with_truth",
    "renamed",
]
