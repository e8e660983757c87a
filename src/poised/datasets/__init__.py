"""Annotation files -> list[Person]; one file a format, and the one dict that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from poised.datasets.coco import read_coco
from poised.datasets.flic import read_flic
from poised.datasets.lsp import read_lsp
from poised.datasets.lspet import read_lspet
from poised.datasets.mpii import read_mpii
from poised.datasets.person import DatasetError, Person
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

    Raises ValueError for an unknown data set, and where the keypoints do not fit the skeleton.
    """
    if dataset not in DATASETS:
        raise ValueError(f"no data set named {dataset!r}; known: {', '.join(DATASETS)}")
    source = DATASETS[dataset]
    named = Skeleton.load(skeleton or source.skeleton)
    people = source.read(root, split)
    if people and len(people[0].visible) != len(named):
        raise DatasetError(
            f"{root}: {len(people[0].visible)} keypoints a person, the skeleton {named.name} has "
            f"{len(named)}"
        )
    return people, named


__all__ = ["DATASETS", "DataSet", "DatasetError", "Person", "read_lspet", "read_people"]
