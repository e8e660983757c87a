"""Each reader fed with some damaged files, always the same: `make fuzz` feeds it for minutes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs poised[train]")

from fuzz.targets import TARGETS
from fuzz.trial import findings

SLOW = ("mat-", "torchscript", "onnx-person", "state", "coco-scored", "results", "video")


@pytest.mark.parametrize("name", list(TARGETS))
def test_a_damaged_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """No other error than ours, none that does not name the file, and strict JSON of what is read.

    Of the slow ones a file: scipy reads each in a process of its own.
    """
    logging.disable(logging.WARNING)
    try:
        count = 1 if name.startswith(SLOW) else 15
        wrong = list(findings(TARGETS[name], tmp_path / "f", range(count), lambda number: None))
    finally:
        logging.disable(logging.NOTSET)
    assert wrong == []


@pytest.mark.parametrize("number", [3830, 6172])
def test_what_ended_openvino_ends_in_an_error(number: int, tmp_path: Path) -> None:
    """Files whose reader a SIGSEGV was seen in: one byte, after which a Conv has one input."""
    assert list(findings(TARGETS["onnx-simcc"], tmp_path / "f", [number], lambda _: None)) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "number"), [("mat-flic", 91), ("mat-mpii", 345), ("mat-lspet", 1013)]
)
def test_what_ended_scipy_ends_in_an_error(name: str, number: int, tmp_path: Path) -> None:
    """Files that a SIGSEGV was seen with."""
    assert list(findings(TARGETS[name], tmp_path / "f", [number], lambda number: None)) == []
