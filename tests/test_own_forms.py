"""What labelling tools write: YOLO's labels, DeepLabCut's tables, COCO of CVAT and Label Studio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import yaml

pytest.importorskip("scipy", reason="needs poised[eval]")

from typer.testing import CliRunner

from poised.cli import app
from poised.datasets import names_of, read_people, read_with_truth
from poised.datasets.deeplabcut import read_deeplabcut
from poised.datasets.person import DatasetError
from poised.datasets.yolo import read_yolo
from poised.types import Skeleton


def picture(path: Path, width: int = 200, height: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", (width, height), "grey").save(path)
    return path


YOLO: dict[str, Any] = {
    "path": ".",
    "train": "images/train",
    "val": "images/val",
    "names": {0: "person"},
    "kpt_shape": [3, 3],
    "flip_idx": [0, 2, 1],
    "kpt_names": {0: ["nose", "left_hand", "right_hand"]},
}
LINE = "0 0.5 0.5 0.2 0.4 0.5 0.4 2 0.45 0.5 1 0 0 0"


@pytest.fixture
def yolo(tmp_path: Path) -> Path:
    (tmp_path / "data.yaml").write_text(yaml.safe_dump(YOLO))
    for name in ("a.jpg", "b.png"):
        picture(tmp_path / "images" / "train" / name)
    picture(tmp_path / "images" / "val" / "c.jpg")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "b.txt").write_text(f"{LINE}\n\n{LINE}\n")
    return tmp_path


def test_yolos_fractions_are_pixels(yolo: Path) -> None:
    """Of an image of 200x100: the box's middle (100, 50), 40x40; b.png is the second image."""
    people = read_yolo(yolo, "train")
    assert [(p.image.name, p.image_id) for p in people] == [("b.png", 2)] * 2
    person = people[0]
    np.testing.assert_allclose(person.xywh, [80, 30, 40, 40])
    np.testing.assert_allclose(person.xy[:2], [[100, 40], [90, 50]])
    assert person.visible.tolist() == [True, True, False]
    assert person.occluded.tolist() == [False, True, False]
    assert read_yolo(yolo, "val") == []


def test_yolos_without_visibility_leave_out_what_is_at_the_corner_or_below(yolo: Path) -> None:
    values = {**YOLO, "kpt_shape": [3, 2]}
    (yolo / "data.yaml").write_text(yaml.safe_dump(values))
    (yolo / "labels/train/b.txt").write_text("0 0.5 0.5 0.2 0.4 0.5 0 0 0 -1 -1\n")
    (person,) = read_yolo(yolo, "train")
    assert person.visible.tolist() == [True, False, False]
    (yolo / "labels/train/b.txt").write_text("0 0.5 0.5 0.2 0.4 0 0 0 0 -1 -1\n")
    assert read_yolo(yolo, "train")[0].ignored


def test_yolos_skeleton_is_its_yamls(yolo: Path) -> None:
    source = names_of("yolo", yolo, "train")
    skeleton = Skeleton.load(source)
    assert skeleton.keypoints == ("nose", "left_hand", "right_hand")
    assert skeleton.pairs == ((1, 2),)
    people, named = read_people("yolo", yolo, "train")
    assert named.keypoints == skeleton.keypoints
    unnamed = {name: value for name, value in YOLO.items() if name != "kpt_names"}
    (yolo / "data.yaml").write_text(yaml.safe_dump(unnamed))
    with pytest.raises(
        DatasetError, match=r"3 keypoints a person, the skeleton coco17 has 17: give"
    ):
        read_people("yolo", yolo, "train")
    three = {**skeleton.to_dict(), "keypoints": ["a", "b", "c"], "pairs": [], "groups": {}}
    (yolo / "three.yaml").write_text(yaml.safe_dump(three))
    people, named = read_people("yolo", yolo, "train", str(yolo / "three.yaml"))
    assert named.keypoints == ("a", "b", "c")  # without names, in the file's order
    assert people[0].visible.tolist() == [True, True, False]


def test_a_flip_that_the_skeleton_has_not_is_told(
    yolo: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unnamed = {name: value for name, value in YOLO.items() if name != "kpt_names"}
    (yolo / "data.yaml").write_text(yaml.safe_dump(unnamed))
    three = {"name": "three", "keypoints": ["a", "b", "c"], "pairs": [["a", "b"]], "limbs": []}
    three |= {"groups": {}, "sigmas": [0.1, 0.1, 0.1]}
    (yolo / "three.yaml").write_text(yaml.safe_dump(three))
    read_people("yolo", yolo, "train", str(yolo / "three.yaml"))
    (record,) = caplog.records
    assert "flip_idx is [0, 2, 1], the skeleton three mirrors [1, 0, 2]" in record.getMessage()


def test_roboflows_folders_are_found(tmp_path: Path) -> None:
    """Its yaml names a folder one too far up, and each part has images/ and labels/ of its own."""
    (tmp_path / "data.yaml").write_text(
        yaml.safe_dump({**YOLO, "path": None, "train": "../train/images"})
    )
    picture(tmp_path / "train" / "images" / "a.jpg")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "a.txt").write_text(LINE)
    assert len(read_yolo(tmp_path, "train")) == 1


def test_a_part_may_be_a_list_of_images(yolo: Path) -> None:
    (yolo / "some.txt").write_text("./images/train/b.png\n")
    (yolo / "data.yaml").write_text(yaml.safe_dump({**YOLO, "train": "some.txt"}))
    assert len(read_yolo(yolo, "train")) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (LINE + " 1", r"b\.txt: line 2: 15 numbers, expected 14: class, box, 3 keypoints of 3"),
        (
            LINE.replace("0.45", "left"),
            r"b\.txt: line 2: .* to float: 'left'",
        ),
        (LINE.replace("0.45", "nan"), r"b\.txt: line 2: nan is no finite number"),
        (LINE.replace("0.2", "40"), r"b\.txt: line 2: w is 40, not a fraction"),
        (LINE.replace("0.45", "90"), r"b\.txt: line 2: keypoint 2's x is 90, not a fraction"),
    ],
)
def test_a_wrong_line_is_named(yolo: Path, line: str, message: str) -> None:
    (yolo / "labels/train/b.txt").write_text(f"{LINE}\n{line}\n")
    with pytest.raises(DatasetError, match=message):
        read_yolo(yolo, "train")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kpt_shape": [3]}, r"data\.yaml: kpt_shape is \[3\], not \[keypoints, 2 or 3\]"),
        ({"flip_idx": [0, 1, 1]}, r"flip_idx is \[0, 1, 1\], not an order of 0 to 2"),
        ({"flip_idx": ["0", 2, 1]}, r"flip_idx is \['0', 2, 1\], not an order of 0 to 2"),
        ({"flip_idx": [1, 2, 0]}, r"flip_idx \[1, 2, 0\] mirrored twice is not as it was"),
        ({"kpt_names": ["nose"]}, r"kpt_names is \['nose'\], not 3 names"),
        ({"train": None}, r"no part 'train'; known: val"),
    ],
)
def test_a_wrong_description_is_named(yolo: Path, change: dict[str, Any], message: str) -> None:
    (yolo / "data.yaml").write_text(yaml.safe_dump({**YOLO, **change}))
    with pytest.raises(DatasetError, match=message):
        read_people("yolo", yolo, "train")


def test_images_that_are_not_there_are_named(yolo: Path) -> None:
    (yolo / "data.yaml").write_text(yaml.safe_dump({**YOLO, "train": "images/tain"}))
    with pytest.raises(FileNotFoundError, match=r"train is images/tain, but there is no"):
        read_yolo(yolo, "train")
    (yolo / "data.yaml").unlink()
    with pytest.raises(FileNotFoundError, match=r"no data\.yaml with kpt_shape"):
        read_yolo(yolo, "train")
    (yolo / "data.yaml").write_text(yaml.safe_dump(YOLO))
    (yolo / "images/train/b.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"b\.png: broken image"):
        read_yolo(yolo, "train")


ONE = """scorer,me,me,me,me
bodyparts,LeftPaw,LeftPaw,tail,tail
coords,x,y,x,y
labeled-data/mouse/img1.png,10.0,20.0,50,60.5
labeled-data/mouse/img2.png,,,30,40
labeled-data/mouse/img3.png,,,,
"""
SEVERAL = """scorer,,,me,me,me,me,me,me
individuals,,,anna,anna,anna,anna,ben,ben
bodyparts,,,LeftPaw,LeftPaw,tail,tail,tail,tail
coords,,,x,y,x,y,x,y
labeled-data,rat,img1.png,1,2,3,4,5,6
labeled-data,rat,img2.png,,,,,7,8
"""


@pytest.fixture
def cut(tmp_path: Path) -> Path:
    folder = tmp_path / "labeled-data" / "mouse"
    for name in ("img1.png", "img2.png", "img3.png"):
        picture(folder / name)
    (folder / "CollectedData_me.csv").write_text(ONE)
    return tmp_path


def test_deeplabcuts_rows_are_people(cut: Path) -> None:
    """Without boxes: a quarter of the joints' box is added on each side; 8 px at least."""
    people = read_deeplabcut(cut, "all")
    assert [(p.image.name, p.image_id) for p in people] == [("img1.png", 1), ("img2.png", 2)]
    first, second = people
    assert first.image.is_file()
    np.testing.assert_allclose(first.xy, [[10, 20], [50, 60.5]])
    np.testing.assert_allclose(first.xywh, [0, 20 - 40.5 / 4, 60, 40.5 * 1.5])
    assert second.visible.tolist() == [False, True]
    np.testing.assert_allclose(second.xywh, [22, 32, 16, 16])
    people, skeleton = read_people("deeplabcut", cut, "mouse")
    assert skeleton.keypoints == ("LeftPaw", "tail")
    assert len(people) == 2


def test_deeplabcuts_individuals_are_people_of_one_image(tmp_path: Path) -> None:
    """The form with three columns for the path; ben has no LeftPaw at all."""
    folder = tmp_path / "labeled-data" / "rat"
    picture(folder / "img1.png")
    picture(folder / "img2.png")
    (folder / "CollectedData_me.csv").write_text(SEVERAL)
    people = read_deeplabcut(tmp_path, "all")
    assert [(p.image.name, p.image_id) for p in people] == [
        ("img1.png", 1),
        ("img1.png", 1),
        ("img2.png", 2),
    ]
    assert [p.visible.tolist() for p in people] == [[True, True], [False, True], [False, True]]
    np.testing.assert_allclose(people[1].xy[1], [5, 6])


def test_deeplabcuts_paths_of_another_machine_are_found(cut: Path) -> None:
    path = cut / "labeled-data" / "mouse" / "CollectedData_me.csv"
    path.write_text(ONE.replace("labeled-data/mouse/", "C:\\\\videos\\\\labeled-data\\\\mouse\\\\"))
    assert all(person.image.is_file() for person in read_deeplabcut(cut, "all"))
    alone = read_deeplabcut(cut / "labeled-data" / "mouse", "all")  # the video's folder by itself
    assert all(person.image.is_file() for person in alone)


def test_deeplabcuts_own_names_are_matched_to_a_skeleton(cut: Path) -> None:
    values = {"name": "mine", "keypoints": ["nose", "tail", "left_paw"], "pairs": [], "limbs": []}
    values |= {"groups": {}, "sigmas": [0.1, 0.1, 0.1]}
    (cut / "mine.yaml").write_text(yaml.safe_dump(values))
    people, _ = read_people("deeplabcut", cut, "all", str(cut / "mine.yaml"))
    np.testing.assert_allclose(people[0].xy[1:], [[50, 60.5], [10, 20]])
    assert people[0].visible.tolist() == [False, True, True]
    people, _, truth, images = read_with_truth("deeplabcut", cut, "all", str(cut / "mine.yaml"))
    assert (images / truth["images"][0]["file_name"]).is_file()
    assert truth["annotations"][1]["keypoints"] == [0, 0, 0, 30, 40, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ONE.replace("scorer", "who"), r"first column begins who, bodyparts, coords, .*expected"),
        (ONE.replace("20.0", "twenty"), r"line 4: LeftPaw y is 'twenty', no number"),
        (ONE.replace(",,,30,40", ",,,30"), r"line 5 has 4 columns, line 1 5"),
        (ONE.replace("coords,x,y,x,y", "coords,x,y,x,p"), r"line 3: coords are not x, y, x, y"),
        (ONE.replace("coords,x,y,x,y", "coords,x,y,x,x"), r"line 3: coords are not x, y, x, y"),
        (ONE.replace("coords,x,y,x,y", "coords,x,y"), r"line 3 has 3 columns, line 1 5"),
    ],
)
def test_a_wrong_table_is_named(cut: Path, text: str, message: str) -> None:
    (cut / "labeled-data" / "mouse" / "CollectedData_me.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_people("deeplabcut", cut, "all")


def test_an_unknown_video_is_named(cut: Path) -> None:
    with pytest.raises(DatasetError, match=r"no video train; known: all, mouse"):
        read_deeplabcut(cut, "train")
    with pytest.raises(FileNotFoundError, match=r"no labeled-data/<video>/CollectedData"):
        read_deeplabcut(cut / "labeled-data" / "mouse" / "none", "all")
    (cut / "labeled-data" / "mouse" / "CollectedData_you.csv").write_text(ONE)
    with pytest.raises(DatasetError, match=r"several labellings of one video"):
        read_deeplabcut(cut, "all")


def test_cvats_export_is_read_as_it_comes(tmp_path: Path) -> None:
    """COCO Keypoints 1.0: part `default`, area 0, empty keypoints in other labels' categories."""
    picture(tmp_path / "images" / "default" / "a.jpg")
    annotation = {"id": 1, "image_id": 1, "category_id": 2, "segmentation": [], "area": 0.0}
    annotation |= {"bbox": [10.0, 20.0, 40.0, 50.0], "iscrowd": 0, "num_keypoints": 2}
    annotation |= {"attributes": {"occluded": False}, "keypoints": [12, 22, 2, 48, 68, 1, 0, 0, 0]}
    car = {"id": 2, "image_id": 1, "category_id": 1, "segmentation": [], "area": 9.0}
    car |= {"bbox": [0, 0, 3, 3], "iscrowd": 0, "attributes": {"occluded": False}}
    names = ["nose", "left_hand", "right_hand"]
    values = {
        "info": {"contributor": "", "date_created": ""},
        "categories": [
            {"id": 1, "name": "car", "supercategory": "", "keypoints": [], "skeleton": []},
            {"id": 2, "name": "person", "keypoints": names, "skeleton": [[1, 2], [1, 3]]},
        ],
        "images": [{"id": 1, "width": 200, "height": 100, "file_name": "a.jpg", "license": 0}],
        "annotations": [annotation, car],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "person_keypoints_default.json").write_text(json.dumps(values))
    people, skeleton = read_people("coco", tmp_path, "default")
    assert skeleton.keypoints == ("nose", "left_hand", "right_hand")
    assert skeleton.limbs == ((0, 1), (0, 2))
    assert people[0].image.is_file()
    assert people[0].area == pytest.approx(0.53 * 40 * 50)
    assert [person.ignored for person in people] == [False, True]
    assert names_of("coco", tmp_path, "default").endswith("person_keypoints_default.json")


@pytest.mark.parametrize("name", ["images/a.jpg", "images\\a.jpg", "../../data/upload/1/a.jpg"])
def test_label_studios_export_is_read_as_it_comes(tmp_path: Path, name: str) -> None:
    """result.json beside images/; numbers from 0; no box, no iscrowd; names as it keeps them."""
    picture(tmp_path / "images" / "a.jpg")
    values = {
        "images": [{"width": 200, "height": 100, "id": 0, "file_name": name}],
        "categories": [{"id": 0, "name": "default", "keypoints": ["nose", "hat"], "skeleton": []}],
        "annotations": [
            {
                "id": 0,
                "image_id": 0,
                "category_id": 0,
                "segmentation": [],
                "bbox": [],
                "ignore": 0,
                "iscrowd": 0,
                "area": 0,
                "keypoints": [100, 50, 2, 60, 90, 2],
                "num_keypoints": 2,
            }
        ],
        "info": {"year": 2026, "contributor": "Label Studio"},
    }
    (tmp_path / "result.json").write_text(json.dumps(values))
    people, skeleton = read_people("coco", tmp_path, "result.json")
    assert skeleton.keypoints == ("nose", "hat")
    assert people[0].image == tmp_path / "images" / "a.jpg"
    assert people[0].image.is_file()
    np.testing.assert_allclose(people[0].xywh, [50, 40, 60, 60])
    assert people[0].area == pytest.approx(0.53 * 60 * 60)


def test_figures_of_a_yolo_set_are_those_of_its_coco_form(yolo: Path) -> None:
    """Perfect predictions by file name; one of two people found is an AP of one half."""
    results = yolo / "results.json"
    one = {"file_name": "b.png", "image_id": 1, "category_id": 1, "score": 0.9}
    results.write_text(json.dumps([{**one, "keypoints": [100, 40, 1, 90, 50, 1, 0, 0, 1]}]))
    out = yolo / "figures.json"
    arguments = ["evaluate", "--dataset", "yolo", "--data", str(yolo), "--split", "train"]
    done = CliRunner().invoke(app, [*arguments, "--predictions", str(results), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert json.loads(out.read_text())["figures"]["AR"] == pytest.approx(50.0)
