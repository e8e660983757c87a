"""JSON and YAML that anybody wrote: read whole, or refused with an error that names the file.

Written it is strict: JSON knows no NaN and no infinity, which other programs refuse.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import yaml

MOST = 1_000_000  # values that a YAML file may stand for, its aliases followed
LARGEST = 1e9  # of pixels, areas and points, so that no square overflows
SHOWN = 200  # characters of a value in a message


def read_text(path: Path, wrong: type[ValueError], what: str = "file") -> str:
    """A file's text; raises `wrong`, which names it, where it is absent or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors put a mark at the start
    except FileNotFoundError as error:
        raise wrong(f"{path}: no such {what}") from error
    except UnicodeDecodeError as error:
        raise wrong(f"{path}: not text in UTF-8: {error}") from error
    except OSError as error:
        raise wrong(f"{path}: cannot be read: {error.strerror or error}") from error


def read_json(path: Path, wrong: type[ValueError], what: str = "file") -> Any:
    """The value of a JSON file; raises `wrong`, which names it."""
    return parse_json(read_text(path, wrong, what), str(path), wrong)


def parse_json(text: str, source: str, wrong: type[ValueError]) -> Any:
    """The value of JSON; raises `wrong`, which names the source."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # a number may be too long, lists too deep
        raise wrong(f"{source}: not JSON, or cut short: {short(error)}") from error


def read_json_lines(path: Path, wrong: type[ValueError]) -> Iterator[Any]:
    """The values of a file of JSON Lines, empty ones passed over; raises `wrong`, by the line."""
    for number, line in enumerate(read_text(path, wrong).split("\n"), start=1):
        if line.strip():
            yield parse_json(line, f"{path}: line {number}", wrong)


def nulled(figures: Mapping[str, float]) -> dict[str, float | None]:
    """Figures as JSON has them: null where there is no number."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def is_strict(value: Any) -> bool:
    """Whether a value of JSON is free of NaN and infinity, all the way down."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(is_strict, value.values()))
    return not isinstance(value, list) or all(map(is_strict, value))


def is_number(value: Any) -> bool:
    """Whether a value of JSON is a number within LARGEST: no NaN, no infinity, no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def are_numbers(value: Any) -> TypeGuard[list[float]]:
    """Whether a value of JSON is a list of such numbers."""
    return isinstance(value, list) and all(map(is_number, value))


def json_text(value: Any, indent: int | None = None) -> str:
    """Strict JSON, paths as text; raises ValueError at NaN and infinity."""
    return json.dumps(value, indent=indent, allow_nan=False, default=os.fspath)


def read_yaml(path: Path, wrong: type[ValueError], what: str = "file") -> Any:
    """The value of a YAML file, None of an empty one; raises `wrong`, which names it."""
    return parse_yaml(read_text(path, wrong, what), str(path), wrong)


def parse_yaml(text: str, source: str, wrong: type[ValueError]) -> Any:
    """The value of YAML, of plain types alone; raises `wrong`, which names the source."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _weight(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except Exception as error:  # the constructors raise whatever they meet
        raise wrong(f"{source}: not YAML: {short(' '.join(str(error).split()))}") from error


def _weight(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; ValueError for too many, or a node within itself.

    Nine lists of nine aliases each are a thousand million values in a hundred bytes.
    """
    if id(node) not in known:
        known[id(node)] = MOST  # while it is counted: within itself it is too much
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            inner = node.value
        elif isinstance(node, yaml.MappingNode):
            inner = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_weight(part, known) for part in inner)
    if known[id(node)] > MOST:
        raise ValueError(f"its aliases stand for more than {MOST} values")
    return known[id(node)]


def short(value: object) -> str:
    """A value in a message, its middle left out where it is long."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 20]}...{text[-17:]}"
