"""Annotation files -> list[Person]; one file a format, and the one dict that names them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from poised.datasets.categories import same_names, say_aloud, skeleton_of, words_of
from poised.datasets.coco import (
    annotation_file,
    first_images,
    people_of,
    read_annotations,
    read_coco,
    to_coco,
)
from poised.datasets.deeplabcut import names_of_deeplabcut, read_deeplabcut
from poised.datasets.flic import read_flic
from poised.datasets.lsp import read_lsp
from poised.datasets.lspet import read_lspet
from poised.datasets.mpii import read_mpii
from poised.datasets.person import DatasetError, Person, check_numbers, cut_part
from poised.datasets.yolo import mind_the_flip, names_of_yolo, read_yolo
from poised.packs import PACK
from poised.reading import is_strict, read_json, short
from poised.types import Skeleton


@dataclass(frozen=True)
class DataSet:
    """read: (root, split) -> people; skeleton: its own; metric: what its papers report.

    boxed: its boxes are annotated; the others' are made here from joints or a scale. names: of a
    form for anybody's keypoints that is not COCO's: (root, split) -> what `Skeleton.load` reads
    their names from, None where nothing names them.
    """

    read: Callable[[Path, str], list[Person]]
    skeleton: str
    metric: Literal["oks", "crowdpose", "pck", "pckh"]
    boxed: bool = False
    names: Callable[[Path, str], str | None] | None = None

    @property
    def of_coco_form(self) -> bool:
        """Whether its files are of COCO's form."""
        return self.metric in ("oks", "crowdpose") and self.names is None


DATASETS: dict[str, DataSet] = {
    "coco": DataSet(read_coco, "coco17", "oks", boxed=True),
    "crowdpose": DataSet(read_coco, "crowdpose14", "crowdpose", boxed=True),
    "deeplabcut": DataSet(read_deeplabcut, "coco17", "oks", names=names_of_deeplabcut),
    "flic": DataSet(read_flic, "flic", "pck"),
    "lsp": DataSet(read_lsp, "lsp14", "pck"),
    "lspet": DataSet(read_lspet, "lsp14", "pck"),
    "mpii": DataSet(read_mpii, "mpii16", "pckh"),
    "yolo": DataSet(read_yolo, "coco17", "oks", boxed=True, names=names_of_yolo),
}


def read_people(
    dataset: str, root: Path, split: str, skeleton: str | None = None
) -> tuple[list[Person], Skeleton]:
    """A data set's people and its skeleton, or the user's own one.

    In COCO's form the keypoints are the skeleton's in the file's order; in others, whose keypoints
    have names, the skeleton's of the same name, and who has none of them is to be ignored. A pack
    of any data set is in COCO form, and read so. A split may be cut: see `cut_part`. Raises
    ValueError for an unknown data set, and where the keypoints do not fit the skeleton.
    """
    if _in_coco_form(dataset, root):
        return read_with_truth(dataset, root, split, skeleton)[:2]
    part, count = cut_part(split)
    with _form_of(dataset, root, split):
        people = known(dataset).read(root, part)[:count]
        check_numbers(people, root)
        own = names_of(dataset, root, part, skeleton)
    theirs, named = Skeleton.load(own), Skeleton.load(skeleton or own)
    if dataset == "yolo":
        mind_the_flip(root, named)
    return _by_name(_fitting(people, theirs, root), theirs, named, root), named


def names_of(dataset: str, root: Path, split: str, otherwise: str | None = None) -> str:
    """What `Skeleton.load` reads a data set's own skeleton from: a name, or a file of the set.

    otherwise: where nothing names its keypoints; None: the data set's usual one.
    """
    its, is_pack = known(dataset), (root / PACK).is_file()
    if its.names is not None and not is_pack:
        return its.names(root, split) or otherwise or its.skeleton
    if dataset != "coco" and not is_pack:
        return its.skeleton
    path = annotation_file(root, cut_part(split)[0])
    values = read_json(path, DatasetError)
    own = skeleton_of(values, str(path)) if isinstance(values, dict) else None
    usual = Skeleton.load(its.skeleton).keypoints
    return its.skeleton if own is None or same_names(own.keypoints, usual) else str(path)


def read_with_truth(
    dataset: str, root: Path, split: str, skeleton: str | None = None
) -> tuple[list[Person], Skeleton, dict[str, Any], Path]:
    """As `read_people` of a data set scored as COCO's; its annotation in COCO form; images' folder.

    A file of COCO's form is read once. Of "coco", without a skeleton given, the skeleton is the
    file's own categories' where they name other keypoints than COCO's. Raises what `read_people`,
    `read_annotations` and `skeleton_of` raise.
    """
    if not _in_coco_form(dataset, root):
        people, named = read_people(dataset, root, split, skeleton)
        folders = {str(person.image.parent.absolute()) for person in people}
        images = Path(os.path.commonpath(folders)) if folders else root
        absolute = [replace(person, image=person.image.absolute()) for person in people]
        return people, named, to_coco(absolute, named, images), images
    named = Skeleton.load(skeleton or known(dataset).skeleton)
    with _form_of(dataset, root, split):
        part, count = cut_part(split)
        values, images = read_annotations(root, part)
        if count is not None:
            values = first_images(values, count)
        people = people_of(values, images)
    if skeleton is None and (dataset == "coco" or not known(dataset).of_coco_form):
        named = _own(values, named, people, root / split)
    elif skeleton is not None:
        _same_keypoints(values, named, root / split)
    return _fitting(people, named, root), named, values, images


def as_coco(
    dataset: str,
    root: Path,
    split: str,
    skeleton: str | None = None,
    from_root: bool = False,
) -> tuple[list[Person], dict[str, Any]]:
    """A part's people and its annotation in COCO's form, images named from `root`.

    That is the file's own, with all that it has, where it is of that form; its images are called
    as it calls them, which may be from another folder, but with `from_root`. Raises what
    `read_with_truth` raises, and DatasetError where the file has NaN or infinity anywhere.
    """
    if known(dataset).of_coco_form:
        people, _, values, folder = read_with_truth(dataset, root, split, skeleton)
        if from_root and folder.is_relative_to(root):
            inside = folder.relative_to(root)
            values = values | {
                "images": [
                    image | {"file_name": (inside / image["file_name"]).as_posix()}
                    for image in values["images"]
                ]
            }
        if not is_strict(values):
            path = annotation_file(root, cut_part(split)[0])
            raise DatasetError(f"{path}: has NaN or infinity, which JSON does not know")
        return people, values
    people, named = read_people(dataset, root, split, skeleton)
    return people, to_coco(people, named, root)


def _by_name(people: list[Person], theirs: Skeleton, ours: Skeleton, root: Path) -> list[Person]:
    """People with our keypoints; DatasetError where theirs share no name with them."""
    if same_names(theirs.keypoints, ours.keypoints):
        return people
    same = same_joints(theirs, ours)
    if not same:
        raise DatasetError(
            f"{root}: its keypoints are {', '.join(theirs.keypoints[:3])}, ..., the skeleton "
            f"{ours.name} has {', '.join(ours.keypoints[:3])}, ...: no name is the same"
        )
    changed = renamed(people, theirs, ours, same)
    return [p if p.visible.any() else replace(p, ignored=True) for p in changed]


def same_joints(theirs: Skeleton, ours: Skeleton) -> dict[str, str]:
    """Their keypoints that ours has, however they are written: their name to ours."""
    called = {words_of(name): name for name in ours.keypoints}
    return {k: called[words_of(k)] for k in theirs.keypoints if words_of(k) in called}


def _in_coco_form(dataset: str, root: Path) -> bool:
    """Whether a data set is read from a file of COCO's form, as a pack of any is."""
    return known(dataset).of_coco_form or (root / PACK).is_file()


def _own(values: dict[str, Any], usual: Skeleton, people: list[Person], source: Path) -> Skeleton:
    """The file's own skeleton, said aloud, where it is another than the usual and fits people."""
    own = skeleton_of(values, str(source))
    fits = own is not None and people and len(own) == len(people[0].visible)
    if own is None or not fits or same_names(own.keypoints, usual.keypoints):
        return usual
    say_aloud(own, str(source))
    return own


def _same_keypoints(values: dict[str, Any], named: Skeleton, source: Path) -> None:
    """Raise DatasetError where a file's categories name other keypoints than a given skeleton.

    Also the same in another order: in COCO's form a keypoint is what its place says.
    """
    own = skeleton_of(values, str(source))
    if own is None or len(own) != len(named):
        return  # nothing is named, or `_fitting` will say it
    theirs, ours = (list(map(words_of, s.keypoints)) for s in (own, named))
    same = set(theirs) & set(ours)
    if 2 * len(same) < len(ours) or any(theirs.index(w) != ours.index(w) for w in same):
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
            f"{root}: {split} is not of {dataset}'s form: {type(error).__name__}: {short(error)}"
        ) from error


def _fitting(people: list[Person], named: Skeleton, root: Path) -> list[Person]:
    """The people, whose keypoints are as many as the skeleton's; DatasetError otherwise."""
    if people and len(people[0].visible) != len(named):
        raise DatasetError(
            f"{root}: {len(people[0].visible)} keypoints a person, the skeleton {named.name} has "
            f"{len(named)}: give one that fits (--skeleton)"
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
    "as_coco",
    "known",
    "names_of",
    "read_lspet",
    "read_people",
    "read_with_truth",
    "renamed",
    "same_joints",
]
