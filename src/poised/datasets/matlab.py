"""MATLAB's files, as plain values; damaged ones have ended scipy, and the process with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.datasets.person import DatasetError
from poised.in_a_process import in_a_process
from poised.reading import short


def read_matlab(path: Path, name: str, *, structs: bool = False) -> Any:
    """A variable of a file: an array as nested lists, of numbers as float.

    structs: dicts for structs, and arrays of one element are that element. Raises DatasetError that
    names the file.
    """
    import scipy  # noqa: F401  where it is absent, the reason is that, not the file

    return in_a_process(load, path, name, structs, wrong=DatasetError)


def numbers_of(path: Path, name: str) -> NDArray[np.float64]:
    """A variable that is an array of numbers."""
    return numbers(read_matlab(path, name))


def numbers(value: Any) -> NDArray[np.float64]:
    """Nested lists as an array; empty where they are not of numbers, or of unlike lengths."""
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        return np.zeros(0)


def structs_of(value: Any, path: Path) -> list[dict[str, Any]]:
    """A struct array, of which one element is not in a list; DatasetError for anything else."""
    rows = value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) for row in rows):
        raise DatasetError(f"{path}: expected structs, got {short(rows)}")
    return rows


def load(path: Path, name: str, structs: bool) -> Any:
    """The same in this process, which may die."""
    from scipy.io import loadmat  # only training and evaluation read MATLAB files

    options = {"squeeze_me": True, "struct_as_record": False} if structs else {}
    values = loadmat(path, variable_names=[name], **options)
    if name not in values:
        raise ValueError(f"no variable {name} in it")
    return _plain(values[name])


def _plain(value: Any) -> Any:
    """Scipy's structs and arrays as values of JSON."""
    if hasattr(value, "_fieldnames"):
        return {field: _plain(getattr(value, field)) for field in value._fieldnames}
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return [_plain(item) for item in value.ravel()]
        if value.dtype.names is not None or value.dtype.kind not in "biufU":
            raise ValueError(f"holds {value.dtype}, expected numbers, text and structs")
        return value.tolist()
    if isinstance(value, np.generic):
        return _plain(np.asarray(value))
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"holds {type(value).__name__}, expected numbers, text and structs")
