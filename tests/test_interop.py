"""Poses in other tools' forms: what they read is where the joints are."""

from __future__ import annotations

import json
import math
import re
import socket
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
import yaml
from stand_in_hub import hub
from typer.testing import CliRunner

from poised.cli import app
from poised.datasets import read_people
from poised.datasets.categories import skeleton_named
from poised.interop.fiftyone import sample_dicts, skeleton_fields, to_fiftyone, write_fiftyone
from poised.interop.label_studio import label_config, to_label_studio
from poised.interop.saved import SavedError, read_saved
from poised.interop.tables import to_pandas, to_polars
from poised.interop.yolo import write_yolo
from poised.results import ResultWriter
from poised.types import Boxes, ImagePoses, Skeleton

THREE = Skeleton.from_dict(
    {
        "name": "three",
        "keypoints": ["left_eye", "right_eye", "nose"],
        "pairs": [["left_eye", "right_eye"]],
        "limbs": [["left_eye", "nose"]],
        "groups": {"head": ["nose"], "upper": [], "lower": []},
        "sigmas": [0.1, 0.1, 0.1],
    }
)
SIZE = (200, 100)  # width, height


def poses_of(name: str) -> ImagePoses:
    """Two people: a whole one, and one whose box and left eye reach over the right edge."""
    xy = np.array([[[20, 30], [40, 30], [30, 50]], [[205, 40], [180, 40], [190, 60]]], np.float32)
    each = np.array([[0.9, 0.8, 0.7], [0.9, 0.6, 0.1]], np.float32)
    boxes = Boxes(np.array([[10, 20, 40, 60], [170, 30, 50, 40]]), np.array([0.9, 0.8]))
    return ImagePoses(name, SIZE, THREE, boxes, xy, each, np.array([0.75, 0.5], np.float32))


@pytest.fixture
def saved(tmp_path: Path) -> tuple[list[ImagePoses], Path]:
    """Poses of two pictures of one name, as they come and as `poised predict` saves them."""
    found = [poses_of("a/one.png"), poses_of("b/one.png")]
    for one in found:
        (tmp_path / one.file_name).parent.mkdir()
        PIL.Image.new("RGB", SIZE).save(tmp_path / one.file_name)
    with ResultWriter(tmp_path / "poses", THREE, "coco") as results:
        for one in found:
            results.write(one)
    return found, tmp_path / "poses" / "poses.json"


@pytest.mark.parametrize("style", ["coco", "jsonl"])
def test_saved_poses_are_read_as_they_were(style: str, saved: tuple, tmp_path: Path) -> None:
    found, path = saved
    if style == "jsonl":
        path = tmp_path / "poses" / "poses.jsonl"
        with ResultWriter(path.parent, THREE, "jsonl") as results:
            for one in found:
                results.write(one)
    again = read_saved(path, tmp_path)
    assert [one.file_name for one in again] == ["a/one.png", "b/one.png"]
    for one, other in zip(found, again, strict=True):
        assert (other.size, other.skeleton.keypoints) == (SIZE, THREE.keypoints)
        for field in ("xy", "keypoint_score", "score"):
            np.testing.assert_allclose(getattr(other, field), getattr(one, field), atol=1e-6)
        np.testing.assert_array_equal(other.boxes.xywh, one.boxes.xywh)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"keypoints": [1, 2, 3]}, "record 2: 3 numbers of keypoints, expected 9"),
        ({"frame": 0}, "record 2: is of a video's frame"),
        ({"bbox": [0, 0, -1, 5]}, "the people of a/one.png: Boxes: widths and heights"),
        ({"bbox": "x"}, "record 2: bbox is x, expected 4 numbers"),
        ({"keypoints": 5}, "record 2: keypoints is 5, expected 9 numbers"),
        ({"keypoints": [10**400] * 9}, r"record 2: keypoints is \[1000.*, expected 9 numbers"),
        ({"keypoints": [float("nan")] * 9}, "record 2: keypoints is .*, expected 9 numbers"),
        ({"score": 1e300}, "record 2: score is 1e.300, expected a number"),
        ({"box_score": True}, "record 2: box_score is True, expected a number"),
        ({"file_name": ["a"]}, "record 2: file_name is .*, expected text"),
        ({"file_name": "gone.png"}, "there is no .*gone.png; give the folder of the images"),
    ],
)
def test_a_record_that_does_not_fit_is_named(
    change: dict, said: str, saved: tuple, tmp_path: Path
) -> None:
    records = json.loads(saved[1].read_text())
    records[1] |= change
    saved[1].write_text(json.dumps(records))
    with pytest.raises(SavedError, match=said):
        read_saved(saved[1], tmp_path)


def test_one_images_poses_are_as_good_as_a_list(saved: tuple, tmp_path: Path) -> None:
    found, _ = saved
    assert to_pandas(found[0]).equals(to_pandas(found[:1]))
    assert to_label_studio(found[0]) == to_label_studio(found[:1])
    assert write_yolo(found[0], str(tmp_path / "yolo"), 0.5, tmp_path) == 2


def test_label_studios_files_are_new_ones(saved: tuple, tmp_path: Path) -> None:
    """Neither what is converted, nor what is there, nor one of the two by the other."""
    _, path = saved
    own = ["convert", str(path), "--to", "label-studio", "--images", str(tmp_path), "--out"]
    (tmp_path / "b.xml").write_text("mine")
    for out in (path, tmp_path / "a.xml", tmp_path / "b.json"):
        before = path.read_bytes()
        done = CliRunner().invoke(app, [*own, str(out)])
        assert done.exit_code == 2, out
        assert path.read_bytes() == before
    assert (tmp_path / "b.xml").read_text() == "mine"
    assert not (tmp_path / "a.xml").exists()
    assert CliRunner().invoke(app, [*own, str(tmp_path / "c.json")]).exit_code == 0


def test_a_broken_image_is_named_with_the_file_that_names_it(saved: tuple, tmp_path: Path) -> None:
    _, path = saved
    (tmp_path / "a" / "one.png").write_text("no picture")
    with pytest.raises(SavedError, match=r"poses\.json: .*one\.png: broken image"):
        read_saved(path, tmp_path)


def test_yolos_own_tools_find_the_images_from_its_file(saved: tuple, tmp_path: Path) -> None:
    """They take data.yaml's folder where it has no `path`, and the working folder for a dot."""
    found, _ = saved
    write_yolo(found, tmp_path / "yolo", 0.5, tmp_path)
    values = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert "path" not in values
    assert values["train"] == "images/train"


def test_cocos_names_have_cocos_limbs() -> None:
    coco = Skeleton.load("coco17")
    assert skeleton_named(list(coco.keypoints), None, "data.yaml").limbs == coco.limbs
    assert skeleton_named(list(coco.keypoints)[1:], None, "data.yaml").limbs == ()


def test_yolos_labels_are_read_again_where_the_joints_are(saved: tuple, tmp_path: Path) -> None:
    found, _ = saved
    assert write_yolo(found, tmp_path / "yolo", 0.5, tmp_path) == 4
    people, skeleton = read_people("yolo", tmp_path / "yolo", "train")
    assert skeleton.keypoints == THREE.keypoints
    assert skeleton.pairs == THREE.pairs
    assert [p.image.name for p in people] == ["one-2.png", "one-2.png", "one.png", "one.png"]
    whole, cut = people[2:]
    np.testing.assert_allclose(whole.xy, found[0].xy[0], atol=1e-3)
    np.testing.assert_allclose(whole.xywh, [10, 20, 40, 60], atol=1e-3)
    np.testing.assert_allclose(cut.xywh, [170, 30, 30, 40], atol=1e-3)  # at the picture's edge
    assert cut.visible.tolist() == [False, True, False]  # outside; seen; unsure
    for line in (tmp_path / "yolo/labels/train/one.txt").read_text().splitlines():
        assert all(0 <= float(word) <= 1 for word in line.split()[1:5])


def test_label_studio_gets_percent_and_names_of_its_own_interface() -> None:
    task = to_label_studio([poses_of("a b/#1.png")], 0.5)[0]
    assert unquote(task["data"]["image"]).endswith("?d=a b/#1.png")
    assert "#" not in task["data"]["image"]  # which would end the address
    odd = to_label_studio([poses_of("a\udcff.png")], 0.5)[0]  # a name that is no UTF-8
    assert odd["data"]["image"].endswith("?d=a%FF.png")
    regions = task["predictions"][0]["result"]
    interface = ElementTree.fromstring(label_config(THREE))
    tags = {tag.get("name"): tag for tag in interface}
    for region in regions:
        tag = tags[region["from_name"]]
        assert tag.tag.lower() == region["type"]
        assert tag.get("toName") == region["to_name"] == "image"
        assert region["value"][region["type"]][0] in [label.get("value") for label in tag]
        assert (region["original_width"], region["original_height"]) == SIZE
    boxes = {r["id"]: r["value"] for r in regions if r["type"] == "rectanglelabels"}
    places = [[b["x"], b["y"], b["width"], b["height"]] for b in boxes.values()]
    assert places == [[5, 20, 20, 60], [85, 30, 15, 40]]  # percent of 200 x 100, cut at the edge
    points = [r for r in regions if r["type"] == "keypointlabels"]
    assert [(p["value"]["x"], p["value"]["y"]) for p in points[:2]] == [(10, 30), (20, 30)]
    named = [p["value"]["keypointlabels"][0] for p in points]
    assert named == ["left_eye", "right_eye", "nose", "right_eye"]
    first, second = boxes
    assert [p["parentID"] for p in points] == [first, first, first, second]


def test_label_studio_itself_takes_the_predictions() -> None:
    """Its own checker of predictions against an interface, where its SDK is installed."""
    interface = pytest.importorskip("label_studio_sdk.label_interface").LabelInterface
    task = to_label_studio([poses_of("one.png")])[0]
    assert interface(label_config(THREE)).validate_prediction(task["predictions"][0])
    wrong = json.loads(json.dumps(task["predictions"][0]).replace('"nose"', '"tail"'))
    assert not interface(label_config(THREE)).validate_prediction(wrong)


def test_fiftyone_gets_fractions_and_nan_for_what_was_not_found() -> None:
    found = poses_of("one.png")
    each = found.keypoint_score.copy()
    each[1, 2] = 0
    found = ImagePoses("one.png", SIZE, THREE, found.boxes, found.xy, each, found.score)
    sample = sample_dicts([found], Path("/pictures"))[0]
    assert sample["filepath"] == str(Path("/pictures/one.png").absolute())
    first, second = sample["poses"]["keypoints"]
    assert first["points"][0] == [0.1, 0.3]
    assert all(map(math.isnan, second["points"][2]))
    assert sample["boxes"]["detections"][0]["bounding_box"] == [0.05, 0.2, 0.2, 0.6]
    assert [one["index"] for one in sample["boxes"]["detections"]] == [0, 1]
    assert skeleton_fields(THREE) == {"labels": list(THREE.keypoints), "edges": [[0, 2]]}


def test_fiftyone_itself_reads_the_samples() -> None:
    pytest.importorskip("fiftyone", reason="needs fiftyone, which brings a database")
    sample = to_fiftyone([poses_of("one.png")])[0]
    assert sample.poses.keypoints[0].points[0] == [0.1, 0.3]
    assert sample.boxes.detections[1].label == "person"


def test_fiftyones_file_is_read_by_its_own_importer(tmp_path: Path) -> None:
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    write_fiftyone([poses_of("one.png")], tmp_path / "out", Path("/pictures"))
    importer = importers.LegacyFiftyOneDatasetImporter(tmp_path / "out")
    importer.setup()
    (sample,) = importer
    assert sample.poses.keypoints[1].confidence[0] == pytest.approx(0.9)
    assert importer.get_dataset_info()["skeleton"]["edges"] == [[0, 2]]


def test_tables_have_the_columns_of_the_csv(saved: tuple, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas", reason="needs poised[dev]")
    polars = pytest.importorskip("polars", reason="needs poised[dev]")
    found, _ = saved
    with ResultWriter(tmp_path, THREE, "csv") as results:
        for one in found:
            results.write(one)
    csv = pandas.read_csv(tmp_path / "poses.csv").drop(columns="image_id")
    wide = to_pandas(found)
    pandas.testing.assert_frame_equal(
        wide.drop(columns="person"), csv, check_dtype=False, atol=0.005
    )
    assert wide["person"].tolist() == [1, 2, 1, 2]
    long = to_pandas(found, long=True)
    assert len(long) == 2 * 2 * 3
    pivot = long.pivot(index=["file_name", "person"], columns="keypoint", values="y")
    assert pivot.loc[("b/one.png", 2), "nose"] == 60
    for how in (False, True):
        assert to_polars(found, long=how).to_dict(as_series=False) == to_pandas(
            found, long=how
        ).to_dict("list")
    assert to_polars(found)["nose_x"].dtype == polars.Float32


def test_supervision_takes_the_people_and_draws_the_limbs() -> None:
    supervision = pytest.importorskip("supervision", reason="needs poised[dev]")
    from poised.interop.supervision import edges_of, to_supervision

    found = poses_of("one.png")
    points = to_supervision(found, 0.5)
    np.testing.assert_array_equal(points.xy, found.xy)
    assert points.visible.tolist() == [[True, True, True], [True, True, False]]
    assert points[1].detection_confidence.tolist() == [0.5]
    white = supervision.Color.WHITE
    drawn = supervision.EdgeAnnotator(color=white, thickness=1, edges=edges_of(THREE)).annotate(
        np.zeros((100, 200, 3), np.uint8), points
    )
    rows, across = np.nonzero(drawn.any(2))
    assert (rows.min(), rows.max(), across.min(), across.max()) == (30, 50, 20, 30)  # eye to nose


def test_the_hub_gives_back_what_was_sent_with_its_card(tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub", reason="needs poised[hub]")
    from poised.interop.hub import HubError, pull, push
    from poised.runtime import find_model

    with hub() as there:
        push("coco17-small", "me/small", licence="apache-2.0", endpoint=there.endpoint, token="t")
        assert there.private == {"me/small"}
        assert there.commits == 1
        there.repositories["me/small"]["evil.pkl"] = b"never"
        out = tmp_path / "pulled"
        models = pull("me/small", out, endpoint=there.endpoint, token="t")
        there.repositories["me/empty"] = {"README.md": b"words"}
        with pytest.raises(HubError, match="me/empty: no model in it"):
            pull("me/empty", out, endpoint=there.endpoint, token="t")
        with pytest.raises(HubError, match=r"me/none: the Hub refused it.*Repository not found"):
            pull("me/none", out, endpoint=there.endpoint, token="t")
    assert models == [out / "coco17-small.onnx"]
    assert models[0].read_bytes() == find_model("coco17-small").read_bytes()
    assert not (out / "evil.pkl").exists()
    text = (out / "README.md").read_text("utf-8")
    assert text.startswith("---\nlicense: apache-2.0\nlibrary_name: poised\n")
    assert re.findall(r"\]\((?!https?:)", text) == []  # no link into folders that are not there
    with pytest.raises(HubError, match="cannot be reached"):  # though the folder is there
        pull("me/small", out, endpoint=there.endpoint, token="t")


def test_without_a_network_only_the_hub_fails_and_says_so(
    saved: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub", reason="needs poised[hub]")

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    done = CliRunner().invoke(app, ["hub", "pull", "me/small", "--out", str(tmp_path / "m")])
    assert done.exit_code == 2, done.output
    assert "me/small: the Hub refused it, or cannot be reached: " in done.stderr
    assert "no network here" in done.stderr
    for tool, out in (("yolo", "y"), ("label-studio", "tasks.json"), ("fiftyone", "f")):
        command = ["convert", str(saved[1]), "--out", str(tmp_path / out), "--to", tool]
        done = CliRunner().invoke(app, [*command, "--images", str(tmp_path)])
        assert done.exit_code == 0, done.output
        assert "4 people in 2 images" in done.stdout
        assert (tmp_path / out).exists()
    assert (tmp_path / "tasks.xml").read_text() == label_config(THREE)


def test_names_are_as_given_or_as_seen_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos" / "may").mkdir(parents=True)
    PIL.Image.new("RGB", (40, 60)).save(tmp_path / "photos" / "may" / "a.png")
    (tmp_path / "photos" / "b.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    usual = ["predict", "photos", "--whole-image", "--model", "coco17-small", "--no-draw"]
    CliRunner().invoke(app, [*usual, "--out", "given"])
    done = CliRunner().invoke(app, [*usual, "--out", "seen", "--relative-to", "photos"])
    assert done.exit_code == 1, done.output  # b.png is set aside
    assert "set aside: b.png: " in done.stderr
    names = [json.loads(Path(run, "poses.json").read_text())[0]["file_name"] for run in
             ("given", "seen")]  # fmt: skip
    assert names == [str(Path("photos/may/a.png")), "may/a.png"]
    aside = json.loads(Path("seen/set_aside.jsonl").read_text())
    assert aside["file_name"] == "b.png"
    assert len(read_saved(Path("seen/poses.json"), Path("photos"))) == 1
    done = CliRunner().invoke(app, [*usual, "--out", "x", "--relative-to", "photos/may"])
    assert done.exit_code == 2
    assert "photos/b.png does not lie in photos/may" in done.stderr
    done = CliRunner().invoke(app, [*usual, "--out", "seen"])
    assert 'relative_to is "photos" there and null here' in done.stderr
