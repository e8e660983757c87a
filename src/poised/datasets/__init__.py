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


@dataclass(frozen=True)
class DataSet:
    """read: (root, split) -> people; skeleton: its own; metric: what its papers report."""

    read: Callable[[Path, str], list[Person]]
    skeleton: str
    metric: Literal["oks", "crowdpose", "pck", "pckh"]


DATASETS: dict[str, DataSet] = {
    "coco": DataSet(read_coco, "coco17", "oks"),
    "crowdpose": DataSet(read_coco, "crowdpose14", "crowdpose"),
    "flic": DataSet(read_flic, "flic", "pck"),
    "lsp": DataSet(read_lsp, "lsp14", "pck"),
    "lspet": DataSet(read_lspet, "lsp14", "pck"),
    "mpii": DataSet(read_mpii, "mpii16", "pckh"),
}

__all__ = ["DATASETS", "DataSet", "DatasetError", "Person", "read_lspet"]
