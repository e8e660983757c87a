"""People back into the original forms; what a form cannot say is refused or, where said, lost.

COCO's and CrowdPose's are in coco.py. MPII's JSON form has no head boxes and no hidden joints; LSP
has no unlabelled joints, LSPET and FLIC no hidden ones; LSP and LSPET have no boxes, FLIC those of
torsos, which are made of a box's middle and longer side.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from poised.datasets.flic import COLUMNS, TORSOS
from poised.datasets.mpii import LOWER, SIDE
from poised.datasets.person import DatasetError, Person
from poised.reading import json_text


def mpii_json(people: Sequence[Person], train: bool) -> bytes:
    """The public JSON form; a box's middle and longer side become centre and scale."""
    records = []
    for person in people:
        scale = float(max(person.xywh[2:])) / SIDE
        centre = person.xywh[:2] + person.xywh[2:] / 2 + 1 - np.array([0.0, LOWER * scale])
        records.append(
            {
                "image": person.image.name,
                "center": centre.tolist(),
                "scale": scale,
                "joints": (np.where(person.visible[:, None], person.xy, -1) + 1).tolist(),
                "joints_vis": person.visible.astype(int).tolist(),
            }
        )
    return json_text(records).encode()


def lsp_mat(people: Sequence[Person], train: bool) -> bytes:
    """joints (3, 14, N), at the place that the image's number says; 1 = hidden."""
    for person in people:
        if not person.visible.all():
            raise DatasetError(f"{person.image}: LSP's form has no joint that is not labelled")
    joints = np.zeros((3, 14, max(map(_number, people), default=0)))
    for person in people:
        joints[:, :, _number(person) - 1] = [*person.xy.T, person.occluded]
    return _mat({"joints": joints})


def lspet_mat(people: Sequence[Person], train: bool) -> bytes:
    """joints (14, 3, N), at the place that the image's number says; 1 = visible."""
    joints = np.zeros((14, 3, max(map(_number, people), default=0)))
    for person in people:
        xy = np.where(person.visible[:, None], person.xy, 0)
        joints[:, :, _number(person) - 1] = np.column_stack([xy, person.visible])
    return _mat({"joints": joints})


def flic_mat(people: Sequence[Person], train: bool) -> bytes:
    """examples with a torsobox, and coords (2, 29), NaN where unlabelled or no joint of ours."""
    examples = []
    for person in people:
        coords = np.full((2, 29), np.nan)
        coords[:, COLUMNS] = np.where(person.visible[:, None], person.xy + 1, np.nan).T
        middle = person.xywh[:2] + person.xywh[2:] / 2 + 1
        reach = person.xywh[2:].max() / TORSOS / 2
        torso = np.concatenate([middle - reach, middle + reach])
        part = {"istrain": int(train), "istest": int(not train)}
        examples.append(
            {"coords": coords, "torsobox": torso, "filepath": person.image.name, **part}
        )
    return _mat({"examples": examples})


WRITERS: dict[str, Callable[[Sequence[Person], bool], bytes]] = {
    "flic": flic_mat,
    "lsp": lsp_mat,
    "lspet": lspet_mat,
    "mpii": mpii_json,
}


def _number(person: Person) -> int:
    """Of an image that is called as LSP's and LSPET's are, im00012.jpg: 12."""
    found = re.fullmatch(r"im(\d+)", person.image.stem)
    if found is None or int(found[1]) == 0:
        raise DatasetError(f"{person.image}: LSP's and LSPET's images are called im00001.jpg, ...")
    return int(found[1])


def _mat(values: dict[str, NDArray[np.float64] | list[dict[str, object]]]) -> bytes:
    from scipy.io import savemat  # only training and evaluation write MATLAB files

    file = io.BytesIO()
    savemat(file, values)
    return file.getvalue()
