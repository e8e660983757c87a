"""DeepLabCut's labels: `labeled-data/<video>/CollectedData_<scorer>.csv`.

Three header rows (scorer, bodyparts, coords), or four with `individuals` as the second. Then a row
an image: its path in the first column (`labeled-data/video/img0001.png`), or in the first three; x
and y of each body part in pixels, (0, 0) the centre of the top left one; empty is unlabelled.
There are no boxes: they are made of the joints. The CSV is read alone, not the .h5 beside it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from poised.datasets.categories import skeleton_named
from poised.datasets.person import DatasetError, Person, joints_box
from poised.types import Skeleton

FOLDERS = ("labeled-data", "labelled-data", ".")
HEADERS = (("scorer", "bodyparts", "coords"), ("scorer", "individuals", "bodyparts", "coords"))
ALL = "all"


@dataclass(frozen=True)
class _Table:
    """columns: (individual, body part, x or y) of each; first: where they begin; rows: with lines.

    individual is "" where the file has none.
    """

    path: Path
    columns: list[tuple[str, str, str]]
    first: int
    rows: list[tuple[int, list[str]]]

    @property
    def keypoints(self) -> list[str]:
        return list(dict.fromkeys(part for _, part, _ in self.columns))

    @property
    def individuals(self) -> list[str]:
        return list(dict.fromkeys(who for who, _, _ in self.columns))


def read_deeplabcut(root: Path, split: str) -> list[Person]:
    """Everybody with a labelled body part, video by video, in the files' order.

    split: "all", or videos' names joined by commas. Raises FileNotFoundError, or DatasetError that
    names file, line and column.
    """
    people: list[Person] = []
    tables = [_read(path) for path in tables_of(root, split)]
    images: dict[Path, int] = {}
    for table in tables:
        if table.keypoints != tables[0].keypoints:
            raise DatasetError(
                f"{table.path}: its bodyparts are {', '.join(table.keypoints)}, those of "
                f"{tables[0].path} {', '.join(tables[0].keypoints)}"
            )
        for line, row in table.rows:
            image = _image(root, table, row)
            number = images.setdefault(image, len(images) + 1)
            people += _people(table, line, row, image, number)
    return people


def names_of_deeplabcut(root: Path, split: str) -> str:
    """The first of the CSV files."""
    return str(tables_of(root, split)[0])


def skeleton_of_deeplabcut(path: Path) -> Skeleton:
    """The body parts that a CSV names; their pairs by left and right in the names."""
    return skeleton_named(_read(path).keypoints, None, str(path))


def tables_of(root: Path, split: str) -> list[Path]:
    """The CSV files of a part: every video's, or those of the named ones."""
    found = sorted(path for f in FOLDERS for path in (root / f).glob("*/CollectedData_*.csv"))
    found = found or sorted(root.glob("CollectedData_*.csv"))
    if not found:
        raise FileNotFoundError(f"{root}: no labeled-data/<video>/CollectedData_<scorer>.csv")
    videos = list(dict.fromkeys(path.parent.name for path in found))
    wanted = videos if split == ALL else [name.strip() for name in split.split(",")]
    unknown = [name for name in wanted if name not in videos]
    if unknown:
        raise DatasetError(
            f"{root}: no video {', '.join(unknown)}; known: {ALL}, {', '.join(videos)}"
        )
    chosen = [path for path in found if path.parent.name in wanted]
    if len({path.parent for path in chosen}) < len(chosen):
        names = ", ".join(path.name for path in chosen)
        raise DatasetError(f"{root}: several labellings of one video, keep one: {names}")
    return chosen


def _read(path: Path) -> _Table:
    """A CSV's header and rows; DatasetError where they are not of this form."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a CSV file: {error}") from error
    heads = tuple(line[0] if line else "" for line in lines[:4])
    fitting = [header for header in HEADERS if heads[: len(header)] == header]
    if not fitting:
        raise DatasetError(
            f"{path}: its first column begins {', '.join(heads)}, expected "
            + " or ".join(", ".join(header) for header in HEADERS)
        )
    header, wanted = fitting[0], len(lines[0])
    rows = [(number, row) for number, row in enumerate(lines, 1) if any(row)]
    for number, row in rows:
        if len(row) != wanted:
            raise DatasetError(f"{path}: line {number} has {len(row)} columns, line 1 {wanted}")
    named = dict(zip(header, lines, strict=False))
    coords = named["coords"]
    first = next((k for k, kind in enumerate(coords) if kind in ("x", "y")), wanted)
    who = named.get("individuals", [""] * wanted)
    columns = list(zip(who, named["bodyparts"], coords, strict=True))[first:]
    kinds = [kind for _, _, kind in columns]
    if not columns or kinds != ["x", "y"] * (len(columns) // 2):
        raise DatasetError(f"{path}: line {len(header)}: coords are not x, y, x, y, ...")
    rows = rows[len(header) :]
    return _Table(path, columns, first, rows)


def _image(root: Path, table: _Table, row: Sequence[str]) -> Path:
    """The image of a row: from the project's folder, or beside the CSV, as that may have moved."""
    name = "/".join(part for part in row[: table.first] if part).replace("\\", "/")
    beside = table.path.parent / name.rpartition("/")[2]
    return root / name if (root / name).is_file() else beside


def _people(table: _Table, line: int, row: Sequence[str], image: Path, number: int) -> list[Person]:
    """One for each individual with a labelled body part."""
    place = {name: k for k, name in enumerate(table.keypoints)}
    points = np.full((len(table.individuals), len(place), 2), np.nan)
    which = {name: k for k, name in enumerate(table.individuals)}
    for (who, part, kind), text in zip(table.columns, row[table.first :], strict=True):
        try:
            value = float(text) if text.strip() else math.nan
        except ValueError as error:
            where = f"{table.path}: line {line}: {' '.join(filter(None, (who, part, kind)))}"
            raise DatasetError(f"{where} is {text!r}, no number") from error
        points[which[who], place[part], "xy".index(kind)] = value
    people = []
    for xy in points:
        visible = np.isfinite(xy).all(1)
        if visible.any():
            box = joints_box(xy, visible)
            people.append(
                Person(image, box, np.where(visible[:, None], xy, 0), visible, image_id=number)
            )
    return people
