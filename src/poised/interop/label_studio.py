"""Poses as Label Studio's pre-annotations: tasks with a prediction each, to correct by hand.

A person is a rectangle, and keypoints that have it as their parent; places are percent of the
image's sides. `label_config` is the labelling interface that goes with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from poised.types import ImagePoses, Skeleton, of_images

PERSON = "person"
IMAGE, BOX, POINT = "image", "box", "keypoint"  # the tags' names
LOCAL = "/data/local-files/?d="  # where Label Studio serves the files of its own disk
DOT = 0.75  # width of a keypoint's dot, percent of the image's width


def to_label_studio(
    poses: ImagePoses | Sequence[ImagePoses],
    threshold: float = 0.5,
    prefix: str = LOCAL,
    version: str = "poised",
) -> list[dict[str, Any]]:
    """A task an image, for the JSON file that Label Studio imports.

    Keypoints of a score not above the threshold are left out, and so are those outside of the
    image, where Label Studio draws nothing. prefix: put before each `file_name`, percent-encoded,
    to make the address that Label Studio opens. version: its `model_version`.
    """
    return [
        {
            "data": {IMAGE: prefix + quote(one.file_name, errors="surrogateescape")},
            "predictions": [
                {
                    "model_version": version,
                    "score": round(float(one.score.mean()), 4) if len(one) else 0.0,
                    "result": _results(one, threshold),
                }
            ],
        }
        for one in of_images(poses)
    ]


def label_config(skeleton: Skeleton) -> str:
    """The labelling interface (XML): a rectangle for a person, a label for each keypoint."""
    labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in skeleton.keypoints)
    return (
        "<View>\n"
        f'  <Image name="{IMAGE}" value="${IMAGE}"/>\n'
        f'  <RectangleLabels name="{BOX}" toName="{IMAGE}">\n'
        f'    <Label value="{PERSON}"/>\n'
        "  </RectangleLabels>\n"
        f'  <KeyPointLabels name="{POINT}" toName="{IMAGE}">\n'
        f"{labels}"
        "  </KeyPointLabels>\n"
        "</View>\n"
    )


def _results(poses: ImagePoses, threshold: float) -> list[dict[str, Any]]:
    """A rectangle a person and its keypoints; of a box that lies outside of the image nothing."""
    width, height = poses.size
    results = []
    for number, pose in enumerate(poses, start=1):
        x, y, w, h = pose.box.tolist()
        left, top = max(x, 0.0), max(y, 0.0)
        right, bottom = min(x + w, width), min(y + h, height)
        if left >= right or top >= bottom:
            continue
        value: dict[str, Any] = {"x": 100 * left / width, "y": 100 * top / height}
        value |= {"width": 100 * (right - left) / width, "height": 100 * (bottom - top) / height}
        value |= {"rotation": 0, "rectanglelabels": [PERSON]}
        box = _region(poses, f"person{number}", BOX, "rectanglelabels", value, pose.score)
        results.append(box)
        for k, name in enumerate(poses.skeleton.keypoints):
            (px, py), score = pose.xy[k].tolist(), float(pose.keypoint_score[k])
            if score <= threshold or not (0 <= px <= width and 0 <= py <= height):
                continue
            value = {"x": 100 * px / width, "y": 100 * py / height, "width": DOT}
            value["keypointlabels"] = [name]
            key = f"person{number}_{k}"
            point = _region(poses, key, POINT, "keypointlabels", value, score)
            results.append(point | {"parentID": box["id"]})
    return results


def _region(
    poses: ImagePoses, key: str, tag: str, kind: str, value: dict[str, Any], score: float
) -> dict[str, Any]:
    size = {"original_width": poses.size[0], "original_height": poses.size[1]}
    named = {"id": key, "type": kind, "from_name": tag, "to_name": IMAGE, "image_rotation": 0}
    return named | size | {"value": value, "score": round(score, 4)}
