"""A part of a data set as a folder of two files: its images in a pack, its people in COCO form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from poised.datasets import as_coco
from poised.datasets.person import DatasetError, Person, cut_part
from poised.files import folder_written_whole, write_text
from poised.images import read_bytes
from poised.packs import PACK, write_pack
from poised.reading import json_text


def pack_people(
    dataset: str, root: Path, split: str, out: Path, skeleton: str | None = None
) -> tuple[int, int]:
    """Write `out`, whole or not at all; how many people and images there are.

    Images without people are left out, the others' files kept as they are, so that training from
    `out` as the data set's root draws the very samples that it draws without. Annotations of COCO's
    form are kept, too, others converted (`as_coco`). Raises FileExistsError where `out` is there,
    ImageError naming an image that is not, and what `read_people` raises.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already: a pack is a new folder")
    people, values = as_coco(dataset, root, split, skeleton)
    if not people:
        raise DatasetError(f"{root}: nobody to pack in {split}")
    images = _named(values["images"], people)
    files = {image["file_name"]: path for image, path in images}
    with folder_written_whole(out) as folder:
        write_pack(folder / PACK, ((name, read_bytes(file)) for name, file in files.items()))
        annotation = values | {"images": [image for image, _ in images]}
        write_text(folder / _annotation(split), json_text(annotation))
    return len(people), len(files)


def _named(
    images: Sequence[dict[str, Any]], people: Sequence[Person]
) -> list[tuple[dict[str, Any], Path]]:
    """The records of images with people, called as in the pack, and their files."""
    files = {person.image_id: person.image for person in people}
    named = []
    for image in images:
        if image["id"] in files:
            name = PurePosixPath(image["file_name"])
            if name.is_absolute() or ".." in name.parts:  # such a path would leave the pack
                name = PurePosixPath(f"{image['id']}-{name.name}")
            named.append((image | {"file_name": str(name)}, files[image["id"]]))
    return named


def _annotation(split: str) -> str:
    """Where the reader of COCO's form looks for the part."""
    part, _ = cut_part(split)  # a slice is called as what it is of: no more of that is here
    if not part.endswith(".json"):
        return f"annotations/person_keypoints_{part}.json"
    if Path(part).is_absolute() or ".." in Path(part).parts:
        raise DatasetError(f"{part}: name a file within the data set's folder")
    return part
