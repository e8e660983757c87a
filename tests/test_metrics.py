"""Figures equal to the official evaluators'; PCK in closed form; results that cannot be scored."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("faster_coco_eval", reason="needs poised[train]")

from typer.testing import CliRunner

from poised.cli import app
from poised.evaluate import evaluate_model, evaluate_results
from poised.metrics.coco import (
    ResultsError,
    box_figures,
    check_results,
    crowdpose_figures,
    oks_figures,
)
from poised.metrics.pck import (
    NOT_IN_PCKH,
    area_under_curve,
    distances,
    grouped,
    labelled_mean,
    pck,
)
from poised.predict import Predictor
from poised.types import Skeleton

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


def pycocotools_figures(truth: dict, results: list[dict]) -> list[float]:
    from pycocotools.coco import COCO as Official
    from pycocotools.cocoeval import COCOeval

    labels = Official()
    labels.dataset = copy.deepcopy(truth)
    labels.createIndex()
    evaluator = COCOeval(labels, labels.loadRes(copy.deepcopy(results)), "keypoints")
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
    sides = grouped(np.array([10.0, 30.0, 7.0]), ["left_hip", "right_hip", "left_knee"])
    assert sides == {"Hip": 20.0}  # the knee's other side is missing


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "record 1: image_id 9 is not in the data set"),
        ({"keypoints": [1.0] * 5}, "record 1: keypoints has 5 numbers, expected 6"),
        ({"keypoints": [1.0, 2, float("nan"), 1, 1, 1]}, "record 1: keypoints has a value"),
        ({"score": "high"}, "record 1: score is 'high'"),
        ({"bbox": [1, 2]}, r"record 1: bbox is \[1, 2\]"),
        ({}, "record 1: the same person as record 0"),
    ],
)
def test_wrong_results_are_named(change: dict, message: str) -> None:
    good = {"image_id": 1, "keypoints": [1.0, 2, 1, 3, 4, 1], "score": 0.5}
    check_results([good], {1}, 2, "r.json")
    with pytest.raises(ResultsError, match=f"r.json: {message}"):
        check_results([good, {**good, **change}], {1}, 2, "r.json")


def test_a_model_is_evaluated_and_says_how(shared: Path, tmp_path: Path) -> None:
    """Two ways to the same figures: through the model, and through the results it writes."""
    predictor = Predictor.load("lsp14", detector=None, threads=1, flip=False)
    root = shared / "data" / "coco"
    done = evaluate_model(predictor, "coco", root, "val2017")
    assert done.protocol["boxes"] == "truth"
    assert done.protocol["people"] == done.protocol["predictions_counted"] == 119
    assert len(done.protocol["keypoints"]) == 12  # what LSP-14 and COCO-17 share
    assert 0 < done.figures["AP"] < done.figures["AP.5"] < 100
    done.write(tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text())["figures"] == done.figures
    with pytest.raises(ValueError, match="known: coco, crowdpose, flic, lsp, lspet, mpii"):
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
    arguments = [*common, "--recipe", "cpn-nms-05", "--model", "lsp14", "--model", "lsp14"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    protocol = json.loads(out.read_text())["protocol"]
    assert protocol["box_nms"] == ["hard", 0.5]
    assert protocol["decoder"] == "gaussian"
    assert protocol["model"] == "lsp14.onnx, lsp14.onnx"
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
    from pycocotools.coco import COCO as Official
    from pycocotools.cocoeval import COCOeval

    folder = shared / "reference"
    truth = json.loads((folder / "coco_gt.json").read_text())
    found = json.loads((folder / "coco_predictions_with_bbox.json").read_text())
    boxes = [{k: r[k] for k in ("image_id", "category_id", "bbox", "score")} for r in found]
    labels = Official()
    labels.dataset = copy.deepcopy(truth)
    labels.createIndex()
    evaluator = COCOeval(labels, labels.loadRes(copy.deepcopy(boxes)), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    capsys.readouterr()
    want = [evaluator.stats[0], evaluator.stats[8]]
    assert list(box_figures(truth, boxes).values()) == pytest.approx(want, abs=1e-9)


def test_more_limits_on_request(shared: Path) -> None:
    predictor = Predictor.load("lsp14", detector=None, threads=1, flip=False)
    root = shared / "data" / "lspet"
    done = evaluate_model(predictor, "lspet", root, "test", also_at=[0.2, 0.11])
    assert done.figures["labelled mean@0.2"] == done.figures["labelled mean"]
    assert 0 < done.figures["labelled mean@0.11"] < done.figures["labelled mean"]


def test_whole_images_may_be_the_boxes(ten: Path) -> None:
    """LSPET's people fill their images: not as good as their boxes, much better than chance."""
    predictor = Predictor.load("lsp14", detector=None, threads=1, flip=False)
    truth, whole = (
        evaluate_model(predictor, "lspet", ten, "all", boxes) for boxes in ("truth", "image")
    )
    assert whole.protocol["boxes"] == "image"
    assert whole.figures["mean"] != truth.figures["mean"]
    assert whole.figures["mean"] > 20
