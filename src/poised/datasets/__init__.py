"""Annotation files -> list[Person]; one file a format, and the one dict that names them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from poised.datasets.lspet import read_lspet
from poised.datasets.person import Person, Split

DATASETS: dict[str, Callable[[Path, Split], list[Person]]] = {"lspet": read_lspet}

__all__ = ["DATASETS", "Person", "Split", "read_lspet"]
