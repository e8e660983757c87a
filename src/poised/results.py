"""Poses on disk: COCO results JSON, JSON Lines, CSV. Streamed, and moved into place when whole."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TextIO

import numpy as np

from poised.files import sync, unlink_link, write_text
from poised.reading import json_text
from poised.types import ImagePoses, Skeleton

Format = Literal["coco", "jsonl", "csv"]
FILE_NAMES: dict[Format, str] = {"coco": "poses.json", "jsonl": "poses.jsonl", "csv": "poses.csv"}


class ResultWriter:
    """Writes people as they come; `with ResultWriter(folder, skeleton, format) as results:`.

    coco   poses.json, a list of {"file_name", "image_id", "category_id": 1, "bbox",
           "box_score", "score", "keypoints": [x, y, score] * K}
    jsonl  poses.jsonl, the same objects, one person a line
    csv    poses.csv, one person a row, a column for each number

    skeleton.json beside them names the keypoints. Nothing appears under the final names until the
    `with` block ends without an error; image ids count the images from 1.
    """

    def __init__(self, folder: Path, skeleton: Skeleton, style: Format = "coco") -> None:
        self.skeleton, self.style = skeleton, style
        self.path = folder / FILE_NAMES[style]
        self.partial = folder / (FILE_NAMES[style] + ".part")
        self.people = self.images = 0
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> ResultWriter:
        unlink_link(self.partial)
        self.file: TextIO = self.partial.open(
            "w", encoding="utf-8", errors="surrogateescape", newline=""
        )
        if self.style == "coco":
            self.file.write("[")
        elif self.style == "csv":
            self.table = csv.writer(self.file)
            points = [f"{k}_{v}" for k in self.skeleton.keypoints for v in ("x", "y", "score")]
            self.table.writerow(
                [
                    "file_name",
                    "image_id",
                    "box_x",
                    "box_y",
                    "box_width",
                    "box_height",
                    "box_score",
                    "score",
                    *points,
                ]
            )
        return self

    def write(self, poses: ImagePoses) -> None:
        """Append everybody of the next image."""
        self.write_records(pose_records(poses, 0))

    def write_records(self, records: Iterable[dict[str, Any]]) -> None:
        """Append the next image's records, as `pose_records` makes them, with its id."""
        self.images += 1
        for one in records:
            record = one | {"image_id": self.images}
            if self.style == "csv":
                values = [*record["bbox"], record["box_score"], record["score"]]
                self.table.writerow(
                    [record["file_name"], record["image_id"], *values, *record["keypoints"]]
                )
            else:
                comma = ("," if self.people else "") + "\n" if self.style == "coco" else ""
                self.file.write(comma + json_text(record) + ("" if comma else "\n"))
            self.people += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self.style == "coco" and kind is None:
                self.file.write("\n]\n")
            self.file.close()
            if kind is None:
                sync(self.partial)  # what it is made of may be removed then
                notes = json_text(self.skeleton.to_dict(), indent=1) + "\n"
                write_text(self.path.with_name("skeleton.json"), notes)
                os.replace(self.partial, self.path)
                sync(self.path.parent)
        finally:
            self.partial.unlink(missing_ok=True)


def pose_records(poses: ImagePoses, image_id: int) -> list[dict[str, Any]]:
    """One COCO results object a person; coordinates to 0.01 pixel, scores to 0.0001."""
    keypoints = np.concatenate([poses.xy, poses.keypoint_score[..., None]], axis=2)
    rows = keypoints.reshape(len(poses), 3 * keypoints.shape[1])
    return [
        {
            "file_name": poses.file_name,
            "image_id": image_id,
            "category_id": 1,
            "bbox": [round(float(v), 2) for v in box],
            "box_score": round(float(box_score), 4),
            "score": round(float(score), 4),
            "keypoints": [round(float(v), 2 + 2 * (i % 3 == 2)) for i, v in enumerate(points)],
        }
        for box, box_score, score, points in zip(
            poses.boxes.xywh, poses.boxes.score, poses.score, rows, strict=True
        )
    ]
