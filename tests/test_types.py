"""Types refuse what contradicts itself; skeletons are one file each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from poised.types import Boxes, Pose, Skeleton, SkeletonError

SOURCE = Path(__file__).resolve().parents[1] / "src" / "poised"
NAMES = {"coco17": 17, "crowdpose14": 14, "mpii16": 16, "lsp14": 14, "flic": 11}


@pytest.mark.parametrize(("name", "count"), NAMES.items())
def test_every_skeleton_mirrors_left_to_right(name: str, count: int) -> None:
    skeleton = Skeleton.load(name)
    assert len(skeleton) == count
    order = skeleton.flip_order
    np.testing.assert_array_equal(order[order], np.arange(count))
    for k, keypoint in enumerate(skeleton.keypoints):
        side = keypoint.split("_")[0]
        assert skeleton.side(k) == (side if side in ("left", "right") else "middle")
        other = {"left": "right", "right": "left"}.get(side)
        if other:
            assert skeleton.keypoints[order[k]] == keypoint.replace(side, other, 1)


def test_a_skeleton_survives_its_dict() -> None:
    skeleton = Skeleton.load("coco17")
    again = Skeleton.from_dict(skeleton.to_dict())
    assert again.keypoints == skeleton.keypoints
    assert again.limbs == skeleton.limbs
    np.testing.assert_allclose(again.sigmas, skeleton.sigmas, atol=1e-6)


def test_coco_sigmas_are_the_evaluators() -> None:
    sigmas = Skeleton.load("coco17").sigmas
    np.testing.assert_allclose(sigmas[[0, 5, 11, 16]], [0.026, 0.079, 0.107, 0.089])


def test_a_users_skeleton_is_a_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "hand.yaml"
    path.write_text(
        "name: hand\nkeypoints: [left_tip, right_tip]\npairs: [[left_tip, right_tip]]\n"
        "limbs: [[left_tip, right_tip]]\ngroups: {head: []}\nsigmas: [0.1, 0.1]\n"
    )
    assert Skeleton.load(path).flip_order.tolist() == [1, 0]
    path.write_text(path.read_text().replace("pairs: [[left_tip", "pairs: [[left_toe"))
    with pytest.raises(SkeletonError, match="pairs names 'left_toe'"):
        Skeleton.load(path)
    with pytest.raises(SkeletonError, match="known: coco17"):
        Skeleton.load("coco18")


def test_types_name_the_field_and_the_shape() -> None:
    with pytest.raises(ValueError, match=r"Pose\.xy has shape \(3, 2\), expected \(4, 2\)"):
        Pose(np.zeros((3, 2)), np.zeros(4), np.zeros(4), 1.0)
    with pytest.raises(ValueError, match="finite"):
        Boxes(np.array([[0, 0, np.nan, 1]]), np.ones(1))
    with pytest.raises(ValueError, match="positive"):
        Boxes(np.array([[0, 0, 0, 1]]), np.ones(1))


def test_numbers_are_frozen_and_the_callers_array_is_not() -> None:
    mine = np.ones((1, 4), np.float32)
    boxes = Boxes(mine, np.ones(1))
    mine[0, 0] = 5
    assert boxes.xywh[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        boxes.xywh[0, 0] = 2


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, poised; "
        "heavy = {'torch', 'cv2', 'openvino', 'onnxruntime', 'scipy'} & set(sys.modules); "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_prediction_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['pydantic'] = None\n"
        "import poised.predict, poised.results, poised.draw, poised.cli, poised.boxes.files\n"
        "import poised.augment, poised.metrics.pck, poised.datasets.lspet"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_network_knows_a_data_set_or_a_recipe() -> None:
    for path in (SOURCE / "nets").glob("*.py"):
        text = path.read_text("utf-8")
        for module in ("datasets", "recipe", "train", "types", "crops", "heatmaps"):
            assert f"poised.{module}" not in text, path


def test_no_source_file_is_longer_than_350_lines() -> None:
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 350, path
