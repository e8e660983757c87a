"""Every reader on real files, or on files of the official structure written here."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs poised[eval]")

import PIL.Image
from scipy.io import savemat
from typer.testing import CliRunner

from poised.cli import app
from poised.datasets import as_coco, read_people, read_with_truth, renamed
from poised.datasets.categories import skeleton_of
from poised.datasets.check import check_people
from poised.datasets.coco import read_annotations, read_coco, to_coco
from poised.datasets.flic import read_flic
from poised.datasets.lsp import read_lsp
from poised.datasets.mpii import read_mpii
from poised.datasets.person import DatasetError, Person
from poised.datasets.write import WRITERS
from poised.metrics.coco import category_ids
from poised.metrics.evaluation import fingerprint
from poised.types import Skeleton, SkeletonError


def test_coco_is_read_whole(shared: Path) -> None:
    people = read_coco(shared / "data" / "coco", "val2017")
    assert len(people) == 119
    assert len({person.image for person in people}) == 40
    assert all(person.image.is_file() for person in people)
    truth = json.loads(
        (shared / "data/coco/annotations/person_keypoints_val2017.json").read_text()
    )["annotations"]
    for person, record in zip(people, truth, strict=True):
        assert person.xywh.tolist() == record["bbox"]
        assert int(person.visible.sum()) == record["num_keypoints"]
        assert person.area == record["area"]
        assert person.image_id == record["image_id"]


def test_crowdpose_keeps_its_crowd_index(shared: Path) -> None:
    people = read_coco(shared / "data" / "crowdpose", "test_crowdpose.json")
    assert len(people) == 5
    assert all(person.image.is_file() for person in people)
    first = people[0]
    assert len(first.visible) == 14
    assert first.occluded[12]  # its head is labelled 1: hidden
    assert not first.occluded[1]  # its right shoulder 2: seen
    everybody = read_coco(shared / "data" / "crowdpose", "val")
    assert len(everybody) == 8527
    assert all(0 <= person.crowd_index < 4 for person in everybody)  # not all are below 1
    assert everybody[0].area == pytest.approx(0.53 * everybody[0].xywh[2] * everybody[0].xywh[3])


def test_to_coco_and_back_loses_nothing(shared: Path, tmp_path: Path) -> None:
    people = read_coco(shared / "data" / "coco", "val2017")
    form = to_coco(people, Skeleton.load("coco17"))
    (tmp_path / "mine.json").write_text(json.dumps(form))
    again = read_coco(tmp_path, "mine.json")
    for a, b in zip(people, again, strict=True):
        np.testing.assert_array_equal(a.visible, b.visible)
        np.testing.assert_array_equal(a.occluded, b.occluded)
        np.testing.assert_allclose(a.xy * a.visible[:, None], b.xy)
        np.testing.assert_allclose(a.xywh, b.xywh)
        assert (a.area, a.image_id, a.image.name) == (b.area, b.image_id, b.image.name)


def test_crowds_are_ignored_not_lost(tmp_path: Path) -> None:
    record = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "area": 50}
    seen, none = [1, 2, 2, 3, 4, 1], [0, 0, 0, 0, 0, 0]
    annotations = [
        {**record, "id": 1, "keypoints": seen, "iscrowd": 0},
        {**record, "id": 2, "keypoints": seen, "iscrowd": 1},
        {**record, "id": 3, "keypoints": none, "iscrowd": 0},
    ]
    values = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": annotations}
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert [person.ignored for person in read_coco(tmp_path, "a.json")] == [False, True, True]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 2, 3]}, r"annotations\[0\]\.bbox is \[1, 2, 3\]"),
        ({"image_id": 7}, r"annotations\[0\]\.image_id 7 is no image of the file"),
        ({"keypoints": [1.0, 2.0]}, r"annotations\[0\]\.keypoints is"),
        ({"keypoints": [float("nan"), 2, 2]}, r"annotations\[0\]\.keypoints has what is no finite"),
        ({"keypoints": "1, 2, 2"}, r"annotations\[0\]\.keypoints is 1, 2, 2"),
        ({"keypoints": []}, r"a\.json: no annotation has keypoints"),
        ({"bbox": ["a", 0, 1, 1]}, r"annotations\[0\]\.bbox has what is no finite number"),
        ({"area": None}, r"annotations\[0\]\.area has what is no finite number"),
        ({"category_id": None}, r"annotations\[0\]\.category_id is None"),
        ({"category_id": 2**63}, r"annotations\[0\]\.category_id is 9223372036854775808"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, change: dict, message: str) -> None:
    good = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [1, 2, 2]}
    values = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{**good, **change}]}
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match=message):
        read_coco(tmp_path, "a.json")


@pytest.mark.parametrize(
    ("area", "bbox", "want"),
    [(5.0, [0, 0, 9, 9], 5.0), (-5.0, [0, 0, 9, 9], 42.93), (0, [0, 0, -9, 9], 0)],
)
def test_no_area_is_negative(tmp_path: Path, area: float, bbox: list[int], want: float) -> None:
    """Its root is taken: of a negative one, 0.53 x the box counts, and 0 of a negative side."""
    one = {"id": 1, "image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]}
    annotation = {**one, "bbox": bbox, "area": area}
    values = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [annotation]}
    (tmp_path / "a.json").write_text(json.dumps(values))
    assert read_coco(tmp_path, "a.json")[0].area == pytest.approx(want)


def test_what_json_does_not_know_is_refused_where_it_would_be_written(tmp_path: Path) -> None:
    """Also in a field that nothing here reads."""
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]}
    annotation |= {"keypoints": [1, 2, 2] * 17, "sure": [{"how": float("inf")}]}
    values = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [annotation]}
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match=r"a\.json: has NaN or infinity"):
        as_coco("coco", tmp_path, "a.json")


def test_half_a_character_in_a_name_has_a_fingerprint(tmp_path: Path) -> None:
    """JSON can say it, UTF-8 cannot."""
    person = Person(tmp_path / "\ud800.jpg", np.ones(4), np.ones((1, 2)), np.ones(1, bool))
    assert len(fingerprint([person])) == 64


def test_an_annotation_without_keypoints_or_box_refuses_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A dog's box, no list, nothing at all: ignored. No box: that of the keypoints, larger."""
    whole = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 9, 9], "keypoints": [1, 2, 2, 0, 0, 0]}
    dog = {**whole, "category_id": 3}
    del dog["keypoints"]
    unboxed = {**whole, "bbox": None, "keypoints": [10, 20, 2, 50, 100, 1]}
    nothing = {**whole, "bbox": [], "keypoints": []}
    annotations = [
        {**one, "id": number} for number, one in enumerate((dog, whole, unboxed, nothing))
    ]
    values = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": annotations}
    (tmp_path / "a.json").write_text(json.dumps(values))
    people, _, truth, _ = read_with_truth("coco", tmp_path, "a.json", _two(tmp_path))
    assert [person.ignored for person in people] == [True, False, False, True]
    assert people[1].xywh.tolist() == [0, 0, 9, 9]
    assert people[2].xywh.tolist() == [10 - 10, 20 - 20, 40 + 20, 80 + 40]  # a quarter a side
    assert people[3].xywh.tolist() == [0, 0, 0, 0]
    assert truth["annotations"][0]["num_keypoints"] == 0
    assert category_ids(truth) == {7}  # results are the person's, not the dog's
    said = [record.getMessage().partition("a.json: ")[2] for record in caplog.records]
    assert said == [
        "annotations with no keypoints, ignored: 2, first [0, 3]",
        "annotations with no box, that of the labelled keypoints is taken, 25% larger a side: 2, "
        "first [2, 3]",
    ]


def _two(folder: Path) -> str:
    path = folder / "two.yaml"
    path.write_text(
        "name: two\nkeypoints: [a, b]\npairs: []\nlimbs: []\ngroups: {}\nsigmas: [0.1, 0.1]\n"
    )
    return str(path)


@pytest.mark.parametrize("name", ["coco17", "crowdpose14", "flic", "lsp14", "mpii16"])
def test_a_coco_files_categories_are_a_skeleton(name: str, tmp_path: Path) -> None:
    """Every skeleton of ours comes back from the names and limbs that the form holds."""
    ours = Skeleton.load(name)
    (tmp_path / "mine.json").write_text(json.dumps(to_coco([], ours)))
    read = Skeleton.load(tmp_path / "mine.json")
    assert (read.name, read.keypoints, read.limbs) == ("mine", ours.keypoints, ours.limbs)
    assert set(read.pairs) == set(ours.pairs)
    assert {k: set(v) for k, v in read.groups.items()} == {
        k: set(v) for k, v in ours.groups.items()
    }
    other = [k for k, n in enumerate(ours.keypoints) if n == "pelvis"]  # ours has the hips' there
    np.testing.assert_allclose(np.delete(read.sigmas, other), np.delete(ours.sigmas, other))


def test_left_and_right_are_read_in_the_usual_spellings() -> None:
    names = ["LeftEye", "RightEye", "l_ear", "r-ear", "L Paw 1", "R Paw 1", "tail", "left_horn"]
    found = skeleton_of({"categories": [{"name": "cat", "keypoints": names}]}, "cats.json")
    assert found is not None
    assert found.pairs == ((0, 1), (2, 3), (4, 5))
    coco = Skeleton.load("coco17")
    np.testing.assert_array_equal(found.sigmas[:4], coco.sigmas[1:5])
    np.testing.assert_allclose(found.sigmas[4:], 0.079)
    assert found.groups == {"head": (0, 1, 2, 3), "upper": (4, 5, 6, 7), "lower": ()}


def test_categories_that_tell_no_one_skeleton_are_named() -> None:
    person, dog = ({"name": n, "keypoints": [n]} for n in ("person", "dog"))
    assert skeleton_of({"categories": [person, {"name": "car"}, person]}, "a.json") is not None
    assert skeleton_of({"categories": [{"name": "car"}]}, "a.json") is None
    with pytest.raises(SkeletonError, match=r"a\.json: categories person, dog have unlike keypoi"):
        skeleton_of({"categories": [person, dog]}, "a.json")
    with pytest.raises(SkeletonError, match="keypoints is 17, not names"):
        skeleton_of({"categories": [{"name": "person", "keypoints": 17}]}, "a.json")


def test_a_file_of_other_keypoints_has_its_own_skeleton(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Seventeen of an animal are not COCO's of a person, and it is said; one given wins."""
    coco = Skeleton.load("coco17")
    xy, seen = np.ones((17, 2)), np.ones(17, np.bool_)
    people = [Person(tmp_path / "a.jpg", np.ones(4), xy, seen)]
    form = to_coco(people, coco)
    (tmp_path / "person.json").write_text(json.dumps(form))
    paws = [name.replace("wrist", "paw") for name in coco.keypoints]
    form["categories"][0]["keypoints"] = paws
    (tmp_path / "animal.json").write_text(json.dumps(form))
    assert read_people("coco", tmp_path, "person.json")[1].name == "coco17"
    assert caplog.messages == []
    animal = read_people("coco", tmp_path, "animal.json")[1]
    assert (animal.name, list(animal.keypoints)) == ("animal", paws)
    assert caplog.messages == [
        f"{tmp_path / 'animal.json'}: it names the keypoints: 17, with 8 pairs by left "
        "and right, 16 limbs, COCO's OKS sigmas, but 0.079 for left_paw, right_paw"
    ]
    assert read_people("coco", tmp_path, "animal.json", "coco17")[1].name == "coco17"


def test_crowdposes_own_limbs_are_another_skeletons(shared: Path) -> None:
    """They are COCO's, up to 17 of 14 keypoints: none is drawn, rather than some of them."""
    root = shared / "data" / "crowdpose"
    people, own = read_people("coco", root, "test_crowdpose.json")
    assert (len(people), len(own), len(own.pairs), own.limbs) == (5, 14, 6, ())
    np.testing.assert_allclose(own.sigmas, Skeleton.load("crowdpose14").sigmas)
    assert read_people("crowdpose", root, "test_crowdpose.json")[1].name == "crowdpose14"


def test_what_is_filled_in_is_said_on_the_command_line(tmp_path: Path) -> None:
    """In a process of its own: pytest takes the log."""
    images = [{"id": 1, "file_name": "a.png"}]
    whole = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8], "keypoints": [4, 4, 2]}
    bare = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8]}
    values = {"images": images, "annotations": [whole, bare]}
    values["categories"] = [{"id": 1, "name": "ball", "keypoints": ["middle"]}]
    (tmp_path / "a.json").write_text(json.dumps(values))
    PIL.Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "poised", "data", "check", str(tmp_path)]
    command += ["--dataset", "coco", "--split", "a.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "people: 2, 1 of them to be ignored; images: 1" in done.stdout
    assert "annotations with no keypoints, ignored: 1, first [1]" in done.stderr
    assert "it names the keypoints: 1, with 0 pairs" in done.stderr


def test_an_id_twice_is_named(tmp_path: Path) -> None:
    """Evaluators would drop one of the two in silence."""
    good = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "keypoints": [1, 2, 2]}
    values = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [good, good]}
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match="annotations has the id 1 more than once"):
        read_coco(tmp_path, "a.json")
    del good["id"]
    (tmp_path / "a.json").write_text(json.dumps(values))
    with pytest.raises(DatasetError, match="annotations has records without an id"):
        read_coco(tmp_path, "a.json")


def test_images_are_looked_for_where_most_of_them_are(tmp_path: Path) -> None:
    """The first is missing: the folder is found all the same."""
    (tmp_path / "images").mkdir()
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in range(3)]
    for name in ("1.jpg", "2.jpg"):
        PIL.Image.new("RGB", (4, 4)).save(tmp_path / "images" / name)
    (tmp_path / "a.json").write_text(json.dumps({"images": images, "annotations": []}))
    assert read_annotations(tmp_path, "a.json")[1] == tmp_path / "images"


@pytest.mark.parametrize("dataset", ["lsp", "lspet", "flic", "mpii"])
def test_a_file_of_another_form_is_named(dataset: str, tmp_path: Path) -> None:
    files = ("joints.mat", "examples.mat", "mpii_human_pose_v1_u12_1.mat")
    for name in files:
        (tmp_path / name).write_bytes(b"no MATLAB file")
    part = "matlab-train" if dataset == "mpii" else "test"
    with pytest.raises(DatasetError, match=r"\.mat: MatReadError"):
        read_people(dataset, tmp_path, part)


def test_a_missing_or_short_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"person_keypoints_val2017\.json"):
        read_annotations(tmp_path, "val2017")
    (tmp_path / "short.json").write_text('{"images": [')
    with pytest.raises(DatasetError, match=r"short\.json: not JSON, or cut short"):
        read_annotations(tmp_path, "short.json")
    with pytest.raises(FileNotFoundError, match=r"joints\.mat"):
        read_lsp(tmp_path, "test")
    with pytest.raises(DatasetError, match="no part 'val'; known: train, test"):
        read_lsp(tmp_path, "val")


def test_lsps_third_row_means_hidden(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "joints.mat").symlink_to(shared / "data" / "lsp_joints.mat")
    train, test = read_lsp(tmp_path, "train"), read_lsp(tmp_path, "test")
    assert (len(train), len(test)) == (1000, 1000)
    assert test[0].image.name == "im1001.jpg"
    assert all(person.visible.all() for person in test)
    assert 0.05 < np.mean([person.occluded.mean() for person in test]) < 0.5


def test_mpii_json_is_zero_based_and_boxed_as_the_field_crops_it(shared: Path) -> None:
    people = read_mpii(shared / "data" / "mpii", "test_mpii")
    assert len(people) == 5
    assert all(person.image.is_file() for person in people)
    first = people[0]
    assert first.xy[0].tolist() == [803.0, 710.0]
    scale = 4.718488
    centre = first.xywh[:2] + first.xywh[2:] / 2
    np.testing.assert_allclose(centre, [965.0, 339.0 + 15 * scale])
    np.testing.assert_allclose(first.xywh[2:], 200 * scale)


def test_mpii_matlab_has_heads_and_several_people(tmp_path: Path) -> None:
    """Two images, the second not for training; three people, one without keypoints."""
    point = {"x": 11.0, "y": 21.0, "id": 9, "is_visible": "1"}
    hidden = {"x": 31.0, "y": 41.0, "id": 8, "is_visible": 0}
    head = {"x1": 1.0, "y1": 1.0, "x2": 31.0, "y2": 41.0}
    person = {**head, "scale": 2.0, "objpos": {"x": 101.0, "y": 51.0}}
    people = [
        {**person, "annopoints": {"point": [point, hidden]}},
        {**person, "annopoints": {"point": [point]}},
        {**person, "annopoints": []},
    ]
    annolist = [
        {"image": {"name": "a.jpg"}, "annorect": people},
        {"image": {"name": "b.jpg"}, "annorect": people[:1]},
    ]
    release = {"annolist": annolist, "img_train": [1, 0]}
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    found = read_mpii(tmp_path, "matlab-train")
    assert [person.image.name for person in found] == ["a.jpg", "a.jpg"]
    assert found[0].head_size == pytest.approx(0.6 * 50)
    assert found[0].xy[9].tolist() == [10, 20]
    assert found[0].visible.nonzero()[0].tolist() == [8, 9]
    assert found[0].occluded.nonzero()[0].tolist() == [8]
    np.testing.assert_allclose(found[0].xywh, [100 - 200, 50 + 30 - 200, 400, 400])


def test_mpiis_json_people_get_the_head_boxes_of_the_matlab_file(tmp_path: Path) -> None:
    """The nearer of two people in one image; somebody whom MATLAB does not know is an error."""
    near = {"x1": 1.0, "y1": 1.0, "x2": 31.0, "y2": 41.0}
    far = {"x1": 1.0, "y1": 1.0, "x2": 7.0, "y2": 9.0}
    point = {"point": [{"x": 11.0, "y": 21.0, "id": 9, "is_visible": "1"}]}
    people = [
        {**head, "scale": 2.0, "objpos": {"x": x, "y": 51.0}, "annopoints": point}
        for head, x in ((far, 301.0), (near, 101.0))
    ]
    release = {"annolist": [{"image": {"name": "a.jpg"}, "annorect": people}], "img_train": [1]}
    record = {"image": "a.jpg", "joints": [[11, 21]] * 16, "joints_vis": [1] * 16, "scale": 2.0}
    (tmp_path / "valid.json").write_text(json.dumps([{**record, "center": [101.0, 51.0]}]))
    assert read_mpii(tmp_path, "valid")[0].head_size is None
    savemat(tmp_path / "mpii_human_pose_v1_u12_1.mat", {"RELEASE": release})
    assert read_mpii(tmp_path, "valid")[0].head_size == pytest.approx(0.6 * 50)
    (tmp_path / "valid.json").write_text(json.dumps([{**record, "center": [200.0, 51.0]}]))
    with pytest.raises(DatasetError, match=r"has nobody of a\.jpg at"):
        read_mpii(tmp_path, "valid")


def test_people_of_another_skeleton_are_renamed(shared: Path) -> None:
    people = read_mpii(shared / "data" / "mpii", "test_mpii")
    mpii, lsp = Skeleton.load("mpii16"), Skeleton.load("lsp14")
    plain = renamed(people, mpii, lsp, {})[0]
    named = renamed(people, mpii, lsp, {"upper_neck": "neck"})[0]
    neck, wrist = lsp.keypoints.index("neck"), lsp.keypoints.index("left_wrist")
    assert not plain.visible[neck]
    assert named.xy[neck].tolist() == people[0].xy[mpii.keypoints.index("upper_neck")].tolist()
    assert named.xy[wrist].tolist() == people[0].xy[mpii.keypoints.index("left_wrist")].tolist()
    with pytest.raises(ValueError, match="rename chin to neck: mpii16 has right_ankle"):
        renamed(people, mpii, lsp, {"chin": "neck"})


def test_flic_takes_eleven_of_its_columns(tmp_path: Path) -> None:
    coords = np.full((2, 29), np.nan)
    coords[:, [0, 1, 2, 3, 4, 5, 6, 9, 12, 13, 16]] = np.arange(11) + np.array([[1.0], [101.0]])
    coords[:, 16] = np.nan  # no nose
    torso = np.array([11.0, 21, 31, 71])
    example = {"coords": coords, "torsobox": torso, "filepath": "a.jpg", "istrain": 0, "istest": 1}
    other = {**example, "istrain": 1, "istest": 0}
    savemat(tmp_path / "examples.mat", {"examples": [example, other, example]})
    people = read_flic(tmp_path, "test")
    assert len(people) == 2
    assert len(read_flic(tmp_path, "train")) == 1
    person = people[0]
    names = Skeleton.load("flic").keypoints
    assert person.xy[names.index("right_hip")].tolist() == [7, 107]
    assert [n for n, v in zip(names, person.visible, strict=True) if not v] == ["nose"]
    np.testing.assert_allclose(person.xywh, [20 - 60, 45 - 60, 120, 120])  # of no joint
    savemat(tmp_path / "examples.mat", {"examples": [{**example, "torsobox": [[]]}]})
    with pytest.raises(DatasetError, match=r"examples\(1\)\.torsobox is \[\], expected x1, y1"):
        read_flic(tmp_path, "test")


def person(image: Path, **changes) -> Person:
    """Faces the camera: the left is on the picture's right; LSP-14, all joints within 100x100."""
    xy = np.tile([[50.0, 50.0]], (14, 1))
    for k, x in {9: 80, 8: 20, 3: 70, 2: 30}.items():  # left and right shoulder, hip
        xy[k, 0] = x
    values = {"xywh": np.array([0.0, 0, 100, 100]), "xy": xy, "visible": np.ones(14, np.bool_)}
    return Person(image, **{**values, **changes})


def test_each_fault_is_found_and_named(tmp_path: Path) -> None:
    skeleton = Skeleton.load("lsp14")
    good, broken = tmp_path / "good.png", tmp_path / "broken.png"
    PIL.Image.new("RGB", (100, 100)).save(good)
    broken.write_bytes(b"not an image")
    far = person(good).xy.copy()
    far[0] = [130, 50]
    crossed = person(good).xy.copy()
    crossed[[2, 3]] = crossed[[3, 2]]
    people = [
        person(good),
        person(tmp_path / "absent.png"),
        person(broken),
        person(good, xywh=np.array([50.0, 0, 100, 100])),
        person(good, xy=far),
        person(good, xy=crossed),
        person(good, xywh=np.array([0.0, 0, 0, 100])),
    ]
    faults = check_people([people[0]], skeleton)
    assert faults == []
    kinds = {fault.record: fault.kind for fault in check_people(people, skeleton)}
    assert kinds[1] == "missing image"
    assert kinds[2] == "broken image"
    named = [str(fault) for fault in check_people(people, skeleton)]
    assert f"{good}: record 3: box outside: by 50 px of an image of 100x100" in named
    assert f"{good}: record 4: joint outside: right_ankle by 31 px" in named
    assert any("record 5: left and right: " in line for line in named)
    assert any("record 6: no size" in line for line in named)
    twice = check_people([people[0], person(good)], skeleton)
    assert [str(fault) for fault in twice] == [
        f"{good}: record 1: twice: the same person as record 0"
    ]


def test_the_command_checks_converts_and_shows(shared: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    root, of = str(shared / "data" / "coco"), ["--dataset", "coco", "--split", "val2017"]
    checked = run(app, ["data", "check", root, *of])
    assert checked.exit_code == 0
    assert "people: 119, 0 of them to be ignored; images: 40" in checked.output
    lspet = run(
        app,
        ["data", "check", str(shared / "data/lspet"), "--dataset", "lspet", "--split", "test"],
    )
    assert lspet.exit_code == 1
    assert "left and right: 2" in lspet.output
    out = tmp_path / "mine.json"
    assert run(app, ["data", "convert", root, "--out", str(out), *of]).exit_code == 0
    assert len(read_coco(tmp_path, "mine.json")) == 119
    sheet = tmp_path / "sheet.jpg"
    shown = run(app, ["data", "show", root, "--out", str(sheet), *of, "--count", "7"])
    assert shown.exit_code == 0, shown.output
    with PIL.Image.open(sheet) as opened:
        assert opened.size == (6 * 192, 2 * 192)
    wrong = run(app, ["data", "check", root, *of, "--skeleton", "lsp14"])
    assert wrong.exit_code == 2
    assert "17 keypoints a person, the skeleton lsp14 has 14" in wrong.output


@pytest.mark.parametrize("dataset", ["flic", "lsp", "lspet", "mpii"])
def test_to_coco_and_back_is_the_same_people(dataset: str, tmp_path: Path) -> None:
    """What the forms can say: three people, one hidden or unlabelled joint each."""
    there, back = tmp_path / "there", tmp_path / "back"
    for folder in (there, back):
        (folder / "images").mkdir(parents=True)
    names = Skeleton.load({"flic": "flic", "mpii": "mpii16"}.get(dataset, "lsp14"))
    rng = np.random.default_rng(0)
    people = []
    for number in (1, 2, 3):
        xy = rng.uniform(10, 90, (len(names), 2)).round(3)
        one = np.arange(len(names)) == number
        seen = ~one if dataset != "lsp" else np.ones(len(names), bool)
        hidden = one if dataset == "lsp" else np.zeros(len(names), bool)
        image = there / "images" / f"im{number:0{4 if dataset == 'lsp' else 5}d}.jpg"
        box = np.array([0.0, 0, 90, 90])
        people.append(Person(image, box, xy, seen, occluded=hidden, image_id=number))
    file = {"flic": "examples.mat", "mpii": "train.json"}.get(dataset, "joints.mat")
    part = {"lspet": "all"}.get(dataset, "train")
    (there / file).write_bytes(WRITERS[dataset](people, True))
    first = read_people(dataset, there, part)[0]
    for command in (
        [str(there), "--out", str(back / "c.json"), "--dataset", dataset, "--split", part],
        [
            str(back),
            "--out",
            str(back / file),
            "--dataset",
            "coco",
            "--split",
            "c.json",
            "--to",
            dataset,
        ],
    ):
        own = ["--skeleton", names.name] if "--to" in command else []
        result = CliRunner().invoke(app, ["data", "convert", *command, *own])
        assert result.exit_code == 0, result.output
    again = read_people(dataset, back, "test" if dataset == "flic" else part)[0]
    assert len(again) == len(first) == 3
    for a, b, c in zip(people, first, again, strict=True):
        for other in (b, c):
            assert other.image.name == a.image.name
            np.testing.assert_allclose(other.xy[a.visible], a.xy[a.visible], atol=1e-9)
            assert other.visible.tolist() == a.visible.tolist()
            assert other.occluded.tolist() == a.occluded.tolist()
        np.testing.assert_allclose(c.xywh, b.xywh)
        if dataset in ("flic", "mpii"):
            np.testing.assert_allclose(b.xywh, a.xywh)


def test_a_form_says_what_it_cannot_hold(tmp_path: Path) -> None:
    xy, seen = np.ones((14, 2)), np.arange(14) > 0
    person = Person(Path("im0001.jpg"), np.ones(4), xy, seen, image_id=1)
    with pytest.raises(DatasetError, match="LSP's form has no joint that is not labelled"):
        WRITERS["lsp"]([person], True)
    with pytest.raises(DatasetError, match="images are called im00001"):
        WRITERS["lspet"]([replace(person, image=Path("a.jpg"))], True)


def test_coco_is_converted_whole(shared: Path, tmp_path: Path) -> None:
    """Images without people, annotation ids, sizes: all of the file."""
    root = shared / "data" / "coco"
    out = tmp_path / "new" / "c.json"
    arguments = [
        "data",
        "convert",
        str(root),
        "--out",
        str(out),
        "--dataset",
        "coco",
        "--split",
        "val2017",
    ]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    source = root / "annotations" / "person_keypoints_val2017.json"
    want = json.loads(source.read_text())
    for image in want["images"]:  # called from the data set's folder
        image["file_name"] = f"val2017/{image['file_name']}"
    assert json.loads(out.read_text()) == want


def test_faults_of_numbers_and_of_image_files(tmp_path: Path) -> None:
    """A visible joint that is no number, a JPEG cut short, one that stands on its side."""
    noise = np.random.default_rng(0).integers(0, 255, (100, 300, 3), np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    PIL.Image.fromarray(noise).save(tmp_path / "turned.jpg", exif=exif)
    PIL.Image.fromarray(noise).save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    lost = person(tmp_path / "whole.jpg")
    xy = lost.xy.copy()
    xy[3] = np.nan
    people = [
        replace(lost, xy=xy),
        person(tmp_path / "cut.jpg"),
        replace(lost, image=tmp_path / "turned.jpg", xywh=np.array([0.0, 0, 300, 100])),
    ]
    kinds = [(f.record, f.kind) for f in check_people(people, Skeleton.load("lsp14"))]
    assert (0, "not a number") in kinds
    assert (1, "broken image") in kinds
    assert (2, "box outside") in kinds  # it stands 100 wide and 300 high


def test_a_skeleton_of_other_names_than_the_files_is_refused(tmp_path: Path) -> None:
    """A recipe names its skeleton: an animal's file is not trained on as a person's in silence."""
    coco = Skeleton.load("coco17")
    one = Person(tmp_path / "a.jpg", np.ones(4), np.ones((17, 2)), np.ones(17, np.bool_))
    form = to_coco([one], coco)
    form["categories"][0]["keypoints"] = [f"part_{k}" for k in range(17)]
    (tmp_path / "animal.json").write_text(json.dumps(form))
    with pytest.raises(DatasetError, match=r"keypoints part_0, .* skeleton coco17 nose, .* itself"):
        read_people("coco", tmp_path, "animal.json", "coco17")
    own = read_people("coco", tmp_path, "animal.json", str(tmp_path / "animal.json"))[1]
    assert own.keypoints[0] == "part_0"
