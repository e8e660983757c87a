"""Poses as FiftyOne's samples: each person a Keypoint and a Detection of one number.

A sample's JSON is what FiftyOne itself writes (`Sample.to_dict`), so that it can be made, and
kept, without FiftyOne. A file of them has the form of its `LegacyFiftyOneDataset`, which is the
same in all its versions; the newer one mirrors the tables of one version's database.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from poised.files import folder_written_whole, write_text
from poised.interop.saved import image_file
from poised.reading import json_text
from poised.types import ImagePoses, Skeleton

if TYPE_CHECKING:
    from fiftyone import Sample

PERSON = "person"
POSES, BOXES = "poses", "boxes"  # the fields of a sample


def to_fiftyone(poses: Sequence[ImagePoses], images: Path | None = None) -> list[Sample]:
    """A sample an image, for `dataset.add_samples`. images: as of `read_saved`."""
    from fiftyone import Sample

    return [Sample.from_dict(values) for values in sample_dicts(poses, images)]


def sample_dicts(poses: Sequence[ImagePoses], images: Path | None = None) -> list[dict[str, Any]]:
    """A sample an image, as FiftyOne's JSON; its file path is absolute.

    Coordinates are fractions of the image's sides. A keypoint of score 0, which has no place, is
    NaN, FiftyOne's word for a missing one. confidence: of a Keypoint its keypoints' scores, of a
    Detection the pose's.
    """
    return [
        {
            "filepath": str(image_file(one, images).absolute()),
            "tags": [],
            POSES: {"_cls": "Keypoints", "keypoints": _keypoints(one)},
            BOXES: {"_cls": "Detections", "detections": _detections(one)},
        }
        for one in poses
    ]


def write_fiftyone(poses: Sequence[ImagePoses], out: Path, images: Path | None = None) -> None:
    """Write a `LegacyFiftyOneDataset` of the images where they lie: samples.json, metadata.json.

    The skeleton is in the data set's `info`. Raises FileExistsError where the folder is there.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already; give a new folder")
    info = {"skeleton": skeleton_fields(poses[0].skeleton)} if poses else {}
    with folder_written_whole(out) as partial:
        samples = json.dumps({"samples": sample_dicts(poses, images)})  # NaN is in FiftyOne's own
        write_text(partial / "samples.json", samples)
        write_text(partial / "metadata.json", json_text({"media_type": "image", "info": info}))


def skeleton_fields(skeleton: Skeleton) -> dict[str, Any]:
    """The arguments of `fiftyone.KeypointSkeleton`, for `dataset.default_skeleton`."""
    return {"labels": list(skeleton.keypoints), "edges": [list(limb) for limb in skeleton.limbs]}


def _keypoints(poses: ImagePoses) -> list[dict[str, Any]]:
    width, height = poses.size
    people = []
    for number, pose in enumerate(poses):
        missing = float("nan")
        points = [
            [x / width, y / height] if score > 0 else [missing, missing]
            for (x, y), score in zip(pose.xy.tolist(), pose.keypoint_score.tolist(), strict=True)
        ]
        scores = pose.keypoint_score.tolist()
        common = {"_cls": "Keypoint", "label": PERSON, "index": number}
        people.append(common | {"points": points, "confidence": scores})
    return people


def _detections(poses: ImagePoses) -> list[dict[str, Any]]:
    width, height = poses.size
    people = []
    for number, pose in enumerate(poses):
        x, y, w, h = pose.box.tolist()
        box = [x / width, y / height, w / width, h / height]
        common = {"_cls": "Detection", "label": PERSON, "index": number}
        people.append(common | {"bounding_box": box, "confidence": pose.score})
    return people
