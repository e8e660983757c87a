"""Videos' poses on disk, with frame, time and id: JSON Lines, CSV, Parquet."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from poised.files import write_text, written_whole
from poised.follow import FramePoses
from poised.reading import json_text
from poised.results import pose_records
from poised.types import Skeleton

VideoFormat = Literal["jsonl", "csv", "parquet"]
Record = dict[str, Any]
Write = Callable[[Record], None]
FIELDS = ("bbox", "box_score", "score", "keypoints")  # of a photograph's record, too
WHOLE = ("frame", "id")  # the columns of whole numbers
ROWS = 10_000  # of a group in Parquet, which are kept until they are written


@dataclass(eq=False)
class VideoResults:
    """An open results file: `write(name, frame)` for each frame of a clip."""

    path: Path
    write_record: Write
    people: int = 0
    frames: int = 0

    def write(self, name: str, frame: FramePoses) -> None:
        """Append everybody of a clip's next frame; times to a microsecond."""
        for person, record in zip(frame.ids, pose_records(frame.poses, 0), strict=True):
            place = {"file_name": name, "frame": frame.index, "time": round(frame.time, 6)}
            fields = {field: record[field] for field in FIELDS}
            self.write_record({**place, "id": int(person), **fields})
        self.people += len(frame.ids)
        self.frames += 1


@contextmanager
def video_results(
    folder: Path, skeleton: Skeleton, style: VideoFormat = "jsonl"
) -> Iterator[VideoResults]:
    """`with video_results(folder, skeleton, style) as results: results.write(name, frame)`.

    jsonl    poses.jsonl, one person a line: {"file_name", "frame" (from 0), "time" (seconds),
             "id", "bbox", "box_score", "score", "keypoints": [x, y, score] * K}
    csv      poses.csv, the same, a column for each number
    parquet  poses.parquet, the columns of the CSV; needs pyarrow (`poised[parquet]`)

    Of several clips, the ids begin anew in each. skeleton.json beside them names the keypoints.
    Nothing appears under the final names until the block ends without an error.
    """
    if style not in WRITERS:
        raise ValueError(
            f"a video's results are written as {', '.join(WRITERS)}, not as {style}, which has no "
            "place for times and ids"
        )
    path = folder / f"poses.{style}"
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as partial:
        with WRITERS[style](partial, skeleton) as write:
            yield VideoResults(path, write)
        write_text(folder / "skeleton.json", json_text(skeleton.to_dict(), indent=1) + "\n")


@contextmanager
def _jsonl(path: Path, skeleton: Skeleton) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        yield lambda record: print(json_text(record), file=file)


@contextmanager
def _csv(path: Path, skeleton: Skeleton) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns(skeleton))
        yield lambda record: table.writerow(row(record))


@contextmanager
def _parquet(path: Path, skeleton: Skeleton) -> Iterator[Write]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError as error:
        raise ValueError("parquet needs pyarrow: pip install 'poised[parquet]'") from error
    kinds = {"file_name": pyarrow.string(), "time": pyarrow.float64()}
    kinds |= dict.fromkeys(WHOLE, pyarrow.int64())
    names = columns(skeleton)
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.float32())) for name in names])
    rows: list[list[Any]] = []

    def flush() -> None:
        of_names = list(zip(*rows, strict=True)) or [()] * len(names)
        arrays = [pyarrow.array(v, field.type) for v, field in zip(of_names, schema, strict=True)]
        table.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
        rows.clear()

    def write(record: Record) -> None:
        rows.append(row(record))
        if len(rows) == ROWS:
            flush()

    with ParquetWriter(path, schema) as table:
        yield write
        flush()


WRITERS = {"jsonl": _jsonl, "csv": _csv, "parquet": _parquet}


def columns(skeleton: Skeleton) -> list[str]:
    """The names of a table's columns."""
    box = [f"box_{part}" for part in ("x", "y", "width", "height", "score")]
    points = [f"{k}_{v}" for k in skeleton.keypoints for v in ("x", "y", "score")]
    return ["file_name", "frame", "time", "id", *box, "score", *points]


def row(record: Record) -> list[Any]:
    """A record's values in the order of `columns`."""
    place = [record[name] for name in ("file_name", "frame", "time", "id")]
    return [*place, *record["bbox"], record["box_score"], record["score"], *record["keypoints"]]
