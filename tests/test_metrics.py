"""Figures equal to the official evaluators'; PCK in closed form; results that cannot be scored."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")

from typer.testing import CliRunner

from poised.boxes.files import read_boxes
from poised.cli import app
from poised.datasets import Person, read_people
from poised.datasets.coco import read_annotations
from poised.evaluate import evaluate_model, evaluate_results
from poised.metrics.coco import (
    ResultsError,
    box_figures,
    check_results,
    crowdpose_figures,
    oks_figures,
)
from poised.metrics.evaluation import in_percent, score_people, score_results
from poised.metrics.pck import (
    NOT_IN_PCKH,
    area_under_curve,
    distances,
    grouped,
    labelled_mean,
    pck,
    person_size,
    torso_length,
)
from poised.predict import Predictor
from poised.protocol import Protocol
from poised.types import Boxes, ImagePoses, Skeleton

COCO = Skeleton.load("coco17").sigmas
OFFICIAL = ("AP", "AP50", "AP75", "AP_medium", "AP_large")
OFFICIAL += tuple(name.replace("AP", "AR") for name in OFFICIAL)


@pytest.mark.parametrize("name", ["coco", "coco_hard", "coco_with_bbox"])
def test_coco_figures_are_pycocotools(shared: Path, name: str) -> None:
    """Ties, crowds, people without keypoints, over 20 predictions, an image with none."""
    folder = shared / "reference"
    gt = "coco_hard_gt" if name == "coco_hard" else "coco_gt"
    results = {
        "coco": "coco_predictions",
        "coco_hard": "coco_hard_predictions",
        "coco_with_bbox": "coco_predictions_with_bbox",
    }[name]
    truth = json.loads((folder / f"{gt}.json").read_text())
    found = json.loads((folder / f"{results}.json").read_text())
    stats = json.loads((folder / "coco_stats.json").read_text())[f"{gt} + {results}"]
    before = copy.deepcopy(truth)
    figures = oks_figures(truth, found, COCO)
    assert list(figures.values()) == pytest.approx([stats[n] for n in OFFICIAL], abs=1e-9)
    assert truth == before  # what is given is not written into


def test_crowdpose_figures_are_the_official_ones(shared: Path) -> None:
    folder = shared / "reference"
    truth = json.loads((folder / "crowdpose_gt.json").read_text())
    found = json.loads((folder / "crowdpose_predictions.json").read_text())
    stats = json.loads((folder / "crowdpose_stats.json").read_text())["stats"]
    figures = crowdpose_figures(truth, found, Skeleton.load("crowdpose14").sigmas)
    for official, ours in (("AP", "AP"), ("AP50", "AP.5"), ("AR75", "AR.75"), ("AR", "AR")):
        assert figures[ours] == pytest.approx(stats[official], abs=1e-9)
    for level in ("AP_easy", "AP_medium", "AP_hard"):  # the official code rounds these
        assert figures[level] == pytest.approx(stats[level], abs=5.1e-5)
    paper = crowdpose_figures(truth, found, Skeleton.load("crowdpose14").sigmas, split=(0.1, 0.8))
    assert paper["AP_easy"] != figures["AP_easy"]
    assert paper["AP_hard"] == figures["AP_hard"]


def pycocotools_figures(truth: dict, results: list[dict], kind: str = "keypoints") -> list[float]:
    from pycocotools.coco import COCO as Official
    from pycocotools.cocoeval import COCOeval

    labels = Official()
    labels.dataset = copy.deepcopy(truth)
    labels.createIndex()
    evaluator = COCOeval(labels, labels.loadRes(copy.deepcopy(results)), kind)
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return evaluator.stats.tolist()


@pytest.mark.parametrize("case", ["zero scores", "no predictions", "nobody labelled", "one box"])
def test_odd_cases_are_pycocotools(shared: Path, case: str, capsys) -> None:
    pytest.importorskip("pycocotools")
    folder = shared / "reference"
    truth = json.loads((folder / "coco_gt.json").read_text())
    found = json.loads((folder / "coco_predictions.json").read_text())
    if case == "zero scores":
        for result in found[::3]:
            result["keypoints"][2::3] = [0] * 17
            result["score"] = 0.0
    elif case == "no predictions":
        gone = {image["id"] for image in truth["images"][::2]}
        found = [result for result in found if result["image_id"] not in gone]
    elif case == "nobody labelled":
        for annotation in truth["annotations"][::2]:
            annotation["keypoints"], annotation["num_keypoints"] = [0] * 51, 0
    else:  # the official loader looks at the first result only
        boxed = json.loads((folder / "coco_predictions_with_bbox.json").read_text())
        found = [{**result, "bbox": box["bbox"]} for result, box in zip(found, boxed, strict=True)]
    want = pycocotools_figures(truth, found)
    capsys.readouterr()
    assert list(oks_figures(truth, found, COCO).values()) == pytest.approx(want, abs=1e-9)


def test_the_truth_scores_one(shared: Path) -> None:
    truth = json.loads((shared / "reference" / "coco_gt.json").read_text())
    results = [
        {"image_id": a["image_id"], "category_id": 1, "keypoints": a["keypoints"], "score": 1.0}
        for a in truth["annotations"]
        if a["num_keypoints"]
    ]
    assert set(oks_figures(truth, results, COCO).values()) == {1.0}


def test_pckh_is_mpiis(shared: Path) -> None:
    folder = shared / "reference"
    data = np.load(folder / "mpii_pckh.npz")
    want = json.loads((folder / "mpii_pckh.json").read_text())
    parts = {"ank": "ankle", "kne": "knee", "hip": "hip", "wri": "wrist", "elb": "elbow"}
    parts |= {"sho": "shoulder"}
    middle = {"pelv": "pelvis", "thor": "thorax", "neck": "upper_neck", "head": "head_top"}
    sides = {"l": "left_", "r": "right_"}
    names = [middle.get(j) or sides[j[0]] + parts[j[1:]] for j in want["joint_order"]]
    apart = distances(data["predicted_xy"], data["truth_xy"], data["labelled"], data["head_size"])
    np.testing.assert_allclose(np.nan_to_num(apart, nan=-1), data["distance_normalised"], atol=1e-9)
    assert np.isfinite(apart).sum(0).tolist() == want["labelled_count"]
    curve = pck(apart, want["thresholds"])
    for k, joint in enumerate(want["joint_order"]):
        np.testing.assert_allclose(curve[:, k], want["pckh_per_joint_percent"][joint], atol=0.1)
        assert curve[-1, k] == pytest.approx(want["pckh_per_joint_percent"][joint][-1], abs=1e-9)
    assert sorted(names) == sorted(Skeleton.load("mpii16").keypoints)
    means = [labelled_mean(each, apart, names, NOT_IN_PCKH) for each in curve]
    assert means == pytest.approx(want["curve_mean_weighted_14_joints"], abs=0.01)
    assert means[-1] == pytest.approx(want["hrnet_evaluate"]["Mean"], abs=1e-9)
    for group, value in grouped(curve[-1], names).items():
        assert value == pytest.approx(want["hrnet_evaluate"][group], abs=1e-9)
    at_011 = labelled_mean(pck(apart, 0.11), apart, names, NOT_IN_PCKH)
    assert at_011 == pytest.approx(want["hrnet_evaluate"]["Mean@0.1"], abs=0.01)


def test_pck_in_closed_form() -> None:
    """Distances 0.1, 0.2, 0.3, none: at 0.2 two of three are right, the limit itself counts."""
    truth = np.zeros((4, 2, 2))
    found = truth.copy()
    found[:, 0, 0] = [10, 20, 30, 999]
    labelled = np.array([[True, False], [True, False], [True, False], [False, False]])
    apart = distances(found, truth, labelled, np.full(4, 100.0))
    each = pck(apart, 0.2)
    assert each[0] == pytest.approx(200 / 3)
    assert np.isnan(each[1])
    np.testing.assert_allclose(pck(apart, [0, 0.1, 1])[:, 0], [0, 100 / 3, 100])
    assert labelled_mean(each, apart, ["a", "b"]) == pytest.approx(200 / 3)
    one = pck(np.full((5, 1), 0.25), np.linspace(0, 0.5, 101).tolist())
    assert area_under_curve(np.full((5, 1), 0.25), 0.5)[0] == pytest.approx(one.mean())
    assert area_under_curve(np.zeros((5, 1)), 0.5)[0] == 100
    heads = ["neck", "head_top"]
    assert grouped(np.array([10.0, 30.0]), heads) == {"Head": 20.0}  # LSP's
    assert grouped(np.array([10.0, 30.0]), ["upper_neck", "head_top"]) == {"Head": 30.0}  # MPII's
    sides = grouped(np.array([10.0, 30.0, 7.0]), ["left_hip", "right_hip", "left_knee"])
    assert sides == {"Hip": 20.0}  # the knee's other side is missing


def test_what_was_not_predicted_is_a_miss_and_nobody_vanishes() -> None:
    """NaN is as far as can be; a torso of no length gives way to the person's size."""
    truth = np.array([[[0.0, 0.0], [0.0, 0.0], [0.0, 50.0]]])
    labelled = np.ones((1, 3), bool)
    assert torso_length(truth, labelled, 0, 1).tolist() == [20.0]
    assert person_size(truth, labelled).tolist() == [50.0]
    found = truth.copy()
    found[0, 2] = np.nan
    apart = distances(found, truth, labelled, np.array([20.0]))
    assert pck(apart, 0.2).tolist() == [100, 100, 0]


class Answers:
    """A predictor that answers what a data set's people have, moved by its error."""

    def __init__(self, people: list[Person], skeleton: Skeleton, error: np.ndarray) -> None:
        self.skeleton, self.people, self.error = skeleton, people, error
        self.estimator = SimpleNamespace(
            session=SimpleNamespace(engine="-"),
            sessions=[],
            notes={"crop": "-"},
            facts=lambda _: {},
        )
        self.protocol = Protocol()

    def pose_nms(self, detected: bool) -> tuple[str, float]:
        return "none", 0.0

    def predict(self, images: list[Path], boxes: list[Boxes]) -> list[ImagePoses]:
        one, score = np.ones(1, np.float32), np.ones((1, len(self.skeleton)), np.float32)
        return [
            ImagePoses(i.name, (9, 9), self.skeleton, b, (p.xy + e)[None].astype("f"), score, one)
            for i, b, p, e in zip(images, boxes, self.people, self.error, strict=True)
        ]


def test_the_limb_mean_from_known_answers(ten: Path) -> None:
    """Each joint right in a known share of people: the last 0, 1, 2, ... of the ten are wrong."""
    people, skeleton = read_people("lspet", ten, "all")
    names = list(skeleton.keypoints)
    error = np.zeros((10, 14, 2))
    for k in range(14):
        error[10 - k % 10 :, k] = 1e4 if k % 10 else 0
    labelled = np.stack([person.visible for person in people])
    right = [100 * (labelled[: 10 - k % 10, k].sum() / labelled[:, k].sum()) for k in range(14)]
    done = evaluate_model(Answers(people, skeleton, error), "lspet", ten, "all")
    limbs = [right[k] for k, name in enumerate(names) if name not in ("neck", "head_top")]
    assert done.figures["limb mean"] == pytest.approx(np.mean(limbs), abs=1e-3)
    assert done.figures["mean"] == pytest.approx(np.mean(right), abs=1e-3)
    ankle = [right[names.index(f"{side}_ankle")] for side in ("left", "right")]
    assert done.figures["Ankle"] == pytest.approx(np.mean(ankle), abs=1e-3)


def test_the_torso_is_from_left_shoulder_to_right_hip(ten: Path) -> None:
    """An error of 0.19 torsos is right, of 0.21 wrong, where both ends are visible."""
    people, skeleton = read_people("lspet", ten, "all")
    a, b = (skeleton.keypoints.index(n) for n in ("left_shoulder", "right_hip"))
    torso = np.array([np.linalg.norm(p.xy[a] - p.xy[b]) for p in people])
    seen = [i for i, p in enumerate(people) if p.visible[[a, b]].all()]
    assert len(seen) > 5
    for share, want in ((0.19, 100), (0.21, 0)):
        error = np.zeros((10, 14, 2))
        error[..., 0] = share * torso[:, None]
        done = evaluate_model(Answers(people, skeleton, error), "lspet", ten, "all")
        got = np.array(done.samples["scored"])[seen] / np.array(done.samples["possible"])[seen]
        assert 100 * got.mean() == want
    person = evaluate_model(
        Answers(people, skeleton, error), "lspet", ten, "all", length_of="person"
    )
    assert person.figures["mean"] > done.figures["mean"]  # a person is longer than a torso
    assert person.protocol["length"] == "longer side of the joints' box"


def test_keypoints_that_are_not_predicted_do_not_count(shared: Path) -> None:
    """All wrong in the face, all right below it; a person with a face alone is a false one then."""
    root = shared / "data" / "coco"
    truth, _ = read_annotations(root, "val2017")
    people, skeleton = read_people("coco", root, "val2017")
    results = []
    for annotation in truth["annotations"]:
        triples = np.array(annotation["keypoints"], np.float64).reshape(-1, 3)
        triples[:5, :2] += 1e4
        one = {"image_id": annotation["image_id"], "category_id": 1, "score": 0.9}
        results.append({**one, "bbox": annotation["bbox"], "keypoints": triples.ravel().tolist()})
    protocol = {"root": "coco", "split": "val2017"}
    below = score_results("coco", skeleton, truth, people, results, protocol, [*range(5, 17)])
    whole = score_results("coco", skeleton, truth, people, results, protocol, [*range(17)])
    assert below.figures["AP"] > 95
    assert whole.figures["AP"] < 60
    assert below.protocol["truth_sha256"] == whole.protocol["truth_sha256"]


def test_a_detectors_file_by_image_id_and_own_results_by_name(shared: Path, tmp_path: Path) -> None:
    """COCO's detection results have no file names, and our own results number images from 1."""
    root = shared / "data" / "coco"
    truth = json.loads((root / "annotations" / "person_keypoints_val2017.json").read_text())
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    rows = [
        {"image_id": a["image_id"], "category_id": 1, "bbox": a["bbox"], "score": 0.9}
        for a in truth["annotations"]
    ]
    rows.append({**rows[0], "category_id": 18})  # a dog
    (tmp_path / "boxes.json").write_text(json.dumps(rows))
    found = read_boxes(tmp_path / "boxes.json", names, category=1)
    assert sum(map(len, found.values())) == len(truth["annotations"])
    results = [
        {
            "file_name": names[a["image_id"]],
            "image_id": 1,
            "category_id": 1,
            "keypoints": a["keypoints"],
            "score": 0.9,
        }
        for a in truth["annotations"]
    ]
    (tmp_path / "poses.json").write_text(json.dumps(results))
    done = evaluate_results(tmp_path / "poses.json", "coco", root, "val2017")
    assert done.figures["AP"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "record 1: image_id 9 is not in the data set"),
        ({"keypoints": [1.0] * 5}, "record 1: keypoints has 5 numbers, expected 6"),
        ({"keypoints": [1.0, 2, float("nan"), 1, 1, 1]}, "record 1: keypoints has a value"),
        ({"score": "high"}, "record 1: score is 'high'"),
        ({"bbox": [1, 2]}, r"record 1: bbox is \[1, 2\]"),
        ({"bbox": [1, 2, -3, 4]}, r"record 1: bbox is \[1, 2, -3, 4\]"),
        ({"image_id": [1]}, r"record 1: image_id \[1\] is not in the data set"),
        ({"score": 10**400}, "record 1: score is 1000"),
        ({"category_id": 2}, r"record 1: category_id is 2, the data set has \[1\]"),
        ({}, "record 1: the same person as record 0"),
    ],
)
def test_wrong_results_are_named(change: dict, message: str) -> None:
    good = {"image_id": 1, "category_id": 1, "keypoints": [1.0, 2, 1, 3, 4, 1], "score": 0.5}
    check_results([good], {1}, 2, "r.json", {1})
    with pytest.raises(ResultsError, match=f"r.json: {message}"):
        check_results([good, {**good, **change}], {1}, 2, "r.json", {1})


def test_a_box_in_the_first_record_alone_is_no_rule() -> None:
    good = {"image_id": 1, "category_id": 1, "keypoints": [1.0, 2, 1, 3, 4, 1], "score": 0.5}
    with pytest.raises(ResultsError, match="record 1: has no bbox, though the first record"):
        check_results([{**good, "bbox": [0, 0, 1, 1]}, good], {1}, 2, "r.json", {1})


def test_a_model_is_evaluated_and_says_how(shared: Path, tmp_path: Path) -> None:
    """Two ways to the same figures: through the model, and through the results it writes."""
    predictor = Predictor.load("coco17", detector=None, threads=1, flip=False)
    root = shared / "data" / "coco"
    done = evaluate_model(predictor, "coco", root, "val2017")
    assert done.protocol["boxes"] == "truth"
    assert done.protocol["people"] == done.protocol["predictions_counted"] == 119
    assert len(done.protocol["keypoints"]) == 17
    assert 0 < done.figures["AP"] < done.figures["AP.5"] < 100
    done.write(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["figures"] == done.figures
    with pytest.raises(ValueError, match="known: coco, crowdpose, deeplabcut, flic, lsp"):
        evaluate_model(predictor, "cocoa", root, "val2017")


def test_results_of_anybody_are_scored(shared: Path, tmp_path: Path) -> None:
    folder, root = shared / "reference", tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    labels = root / "annotations" / "person_keypoints_val2017.json"
    labels.write_bytes((folder / "coco_gt.json").read_bytes())
    stats = json.loads((folder / "coco_stats.json").read_text())["coco_gt + coco_predictions"]
    done = evaluate_results(folder / "coco_predictions.json", "coco", root, "val2017")
    assert done.figures["AP"] == pytest.approx(100 * stats["AP"], abs=1e-3)
    out = tmp_path / "out.json"
    arguments = ["--dataset", "coco", "--data", str(root), "--out", str(out)]
    run = CliRunner().invoke
    arguments = ["evaluate", *arguments, "--predictions"]
    good = run(app, [*arguments, str(folder / "coco_predictions.json")])
    assert good.exit_code == 0, good.output
    assert "evaluator: faster-coco-eval" in good.output
    assert json.loads(out.read_text())["figures"] == done.figures
    (tmp_path / "short.json").write_text("[{")
    bad = run(
        app,
        [*arguments[:-2], str(tmp_path / "b.json"), "--predictions", str(tmp_path / "short.json")],
    )
    assert bad.exit_code == 2
    assert "short.json: not JSON, or cut short" in bad.output
    assert not (tmp_path / "b.json").exists()


def test_the_papers_protocol_is_followed_and_told(shared: Path, tmp_path: Path) -> None:
    """Boxes doubled in the file are thinned by the recipe's NMS; two models are averaged."""
    root = shared / "data" / "coco"
    annotations = root / "annotations" / "person_keypoints_val2017.json"
    truth = json.loads(annotations.read_text())
    names = {image["id"]: image["file_name"] for image in truth["images"]}
    chosen = sorted(names)[:4]
    small = tmp_path / "coco"
    (small / "annotations").mkdir(parents=True)
    (small / "val2017").symlink_to(root / "val2017")
    few = {
        "images": [image for image in truth["images"] if image["id"] in chosen],
        "annotations": [a for a in truth["annotations"] if a["image_id"] in chosen],
        "categories": truth["categories"],
    }
    (small / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(few))
    boxes = [
        {"file_name": names[a["image_id"]], "bbox": a["bbox"], "score": score}
        for a in few["annotations"]
        for score in (0.9, 0.8)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    out = tmp_path / "out.json"
    common = ["evaluate", "--data", str(small), "--boxes", str(tmp_path / "boxes.json")]
    common += ["--threads", "1", "--out", str(out)]
    arguments = [*common, "--recipe", "cpn-nms-05", "--model", "coco17", "--model", "coco17"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    protocol = json.loads(out.read_text())["protocol"]
    assert protocol["box_nms"] == ["hard", 0.5]
    assert protocol["decoder"] == "gaussian"
    assert protocol["model"] == "coco17.onnx, coco17.onnx"
    assert protocol["pose_score"] == "box score x mean keypoint score above 0.0"  # CPN, §4.1
    thinned = protocol["predictions_counted"]
    assert thinned <= len(few["annotations"])
    assert "69.2" in result.output  # the paper's row beside ours
    # the annotated boxes, nearly: all that NMS let through are right
    assert json.loads(out.read_text())["figures"]["person_AP"] > 80
    plain = CliRunner().invoke(app, [*common, "--dataset", "coco"])
    assert plain.exit_code == 0, plain.output
    assert json.loads(out.read_text())["protocol"]["predictions_counted"] == len(boxes)


def test_a_paper_on_detected_boxes_is_not_scored_on_annotated_ones_unasked(tmp_path: Path) -> None:
    """Nor an ensemble as one model. The data set is not reached."""
    common = ["evaluate", "--data", str(tmp_path), "--recipe"]
    bare = CliRunner().invoke(app, [*common, "cpn"])
    assert bare.exit_code == 2
    assert "give --boxes FILE" in bare.output
    single = CliRunner().invoke(app, [*common, "cpn-plus", "--boxes", "truth"])
    assert single.exit_code == 2
    assert "give --model 2 times" in single.output
    asked = CliRunner().invoke(app, [*common, "cpn", "--boxes", "truth"])
    assert "person_keypoints_val2017.json" in asked.output


def test_box_figures_are_pycocotools(shared: Path, capsys) -> None:
    pytest.importorskip("pycocotools")
    folder = shared / "reference"
    truth = json.loads((folder / "coco_gt.json").read_text())
    found = json.loads((folder / "coco_predictions_with_bbox.json").read_text())
    boxes = [{k: r[k] for k in ("image_id", "category_id", "bbox", "score")} for r in found]
    stats = pycocotools_figures(truth, boxes, "bbox")
    capsys.readouterr()
    want = [stats[0], stats[8]]
    assert list(box_figures(truth, boxes).values()) == pytest.approx(want, abs=1e-9)


def test_more_limits_on_request(ten: Path) -> None:
    predictor = Predictor.load("coco17", detector=None, threads=1, flip=False)
    done = evaluate_model(predictor, "lspet", ten, "all", also_at=[0.2, 0.11])
    assert done.figures["labelled mean@0.2"] == done.figures["labelled mean"]
    assert 0 < done.figures["labelled mean@0.11"] < done.figures["labelled mean"]


def test_whole_images_may_be_the_boxes(ten: Path) -> None:
    """LSPET's people fill their images: not as good as their boxes, much better than chance."""
    predictor = Predictor.load("coco17", detector=None, threads=1, flip=False)
    truth, whole = (
        evaluate_model(predictor, "lspet", ten, "all", boxes) for boxes in ("truth", "image")
    )
    assert whole.protocol["boxes"] == "image"
    assert whole.figures["mean"] != truth.figures["mean"]
    assert whole.figures["mean"] > 20


def test_what_could_not_be_counted_is_no_number() -> None:
    """COCO's own code gives -1, which a mean would take in."""
    assert in_percent({"AP": 0.5})["AP"] == 50
    assert np.isnan(in_percent({"AP_easy": -1.0})["AP_easy"])


def test_a_skeleton_without_a_torso_is_scored_by_the_persons_size() -> None:
    fields = Skeleton.load("coco17").to_dict()
    face = Skeleton(
        "face", fields["keypoints"][:3], ((1, 2),), (), {"head": (0, 1, 2)}, np.full(3, 0.03)
    )
    xy = np.array([[0.0, 0], [100, 0], [0, 50]])
    one = Person(Path("a.jpg"), np.array([0.0, 0, 100, 50]), xy, np.ones(3, bool))
    given = xy[None] + [[[0.0, 19.9], [0, 20], [0, 20.1]]]
    with pytest.raises(ValueError, match=r"has no left_shoulder.*--length person"):
        score_people("lsp", face, [one], given, {}, [0, 1, 2])
    done = score_people("lsp", face, [one], given, {}, [0, 1, 2], length_of="person")
    assert done.figures["mean"] == pytest.approx(200 / 3, abs=1e-3)  # 0.2 of 100 pixels
    assert np.isnan(done.figures["limb mean"])
