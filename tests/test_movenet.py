"""The pose model that starts from MoveNet: its published weights, and crops without neighbours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)  # tensors this small only wait for each other's threads

import cv2
from models import colour_model
from typer.testing import CliRunner

from poised.augment import hide_a_part, jitter_sides
from poised.boxes.detector import Detector
from poised.boxes.nms import nms
from poised.checkpoint import (
    describe_network,
    find_weights,
    load_network,
    read_tensors,
    save_tensors,
)
from poised.cli import app
from poised.crops import crop_matrices, cut, grown
from poised.datasets import read_people
from poised.datasets.poses import PoseCrops
from poised.export import PoseModel
from poised.images import read_image
from poised.losses import log_chances, softmax_cross_entropy, taught_maps
from poised.nets import build
from poised.nets.movenet import read_published
from poised.predict import Predictor
from poised.pretrained import WeightsError, start_network
from poised.read_recipe import load_recipe
from poised.runtime import Session
from poised.types import Boxes

SAMPLES = sorted((Path(__file__).resolve().parents[1] / "data" / "samples").glob("*.[jp]*g"))
THUNDER = Path("models", "movenet_thunder_heads.onnx")


def test_its_published_weights_give_its_published_heatmaps(shared: Path, tmp_path: Path) -> None:
    out = tmp_path / "thunder.safetensors"
    told = CliRunner().invoke(
        app, ["import-weights", str(shared / THUNDER), "--as", "movenet", "--out", str(out)]
    )
    assert told.exit_code == 0, told.output
    pictures = np.stack([cv2.resize(read_image(path), (256, 256)) for path in SAMPLES])
    images = pictures.transpose(0, 3, 1, 2).astype(np.float32)
    want = Session(shared / THUNDER, "onnx").run(images)["heatmap"]
    with torch.no_grad():
        maps = torch.sigmoid(load_network(out)(torch.from_numpy((images - 127.5) / 127.5))[-1])
    np.testing.assert_allclose(maps, want, atol=1e-3)
    assert want.max() > 0.5  # it has found somebody


def test_another_onnx_file_is_not_taken_for_movenet(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not MoveNet"):
        read_published(colour_model(tmp_path / "dots.onnx"))


def test_a_second_look_starts_anew_beside_published_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = build("movenet", joints=17).state_dict()
    save_tensors(tmp_path / "plain.safetensors", plain, {})
    network = build("movenet", joints=17, second_look=1, width=8).eval()
    start_network(network, str(tmp_path / "plain.safetensors"))
    first, second = network(torch.randn(1, 3, 64, 64))
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(network.state_dict()["head.1.bias"], plain["head.1.bias"])
    del plain["head.1.bias"]
    save_tensors(tmp_path / "torn.safetensors", plain, {})
    with pytest.raises(WeightsError, match=r"1 missing: head\.1\.bias"):
        start_network(network, str(tmp_path / "torn.safetensors"))


def test_a_network_cut_short_starts_from_the_whole_one(tmp_path: Path) -> None:
    """What both have is taken, what is anew is not, and what is left over is said."""
    torch.manual_seed(0)
    whole = build("movenet", joints=17, second_look=1, width=8)
    save_tensors(tmp_path / "whole.safetensors", whole.state_dict(), {})
    short = build("movenet", joints=17, second_look=1, width=4, short=True)
    before = {key: value.clone() for key, value in short.state_dict().items()}
    anew = ("pyramid.lateral.3", "wide_pyramid", "second_look")
    told: list[str] = []
    start_network(short, str(tmp_path / "whole.safetensors"), anew, say=told.append)
    assert told[0].endswith("not used: backbone.conv_last, backbone.stages")
    for key, value in short.state_dict().items():
        source = before if key.startswith(anew) else whole.state_dict()
        assert torch.equal(value, source[key]), key
    assert [maps.shape for maps in short(torch.zeros(1, 3, 64, 96))] == [(1, 17, 16, 24)] * 2
    for name in ("hed", "pyramid.lateral.4", "pyramid.later"):
        with pytest.raises(WeightsError, match=f"network.anew: MoveNet has no {name}"):
            start_network(short, str(tmp_path / "whole.safetensors"), (name,))
    prefixed = {f"module.{key}": value for key, value in whole.state_dict().items()}
    save_tensors(tmp_path / "wrapped.safetensors", prefixed, {})
    with pytest.raises(WeightsError, match="parts that MoveNet lacks: module"):
        start_network(short, str(tmp_path / "wrapped.safetensors"))
    with pytest.raises(WeightsError, match=r"of another shape: pyramid\.lateral\.3"):
        start_network(short, str(tmp_path / "whole.safetensors"), anew[1:], say=told.append)


def test_the_small_recipe_starts_from_the_bundled_model(tmp_path: Path) -> None:
    """By name, from any folder; another name is refused with those there are."""
    recipe = load_recipe("coco17-small")
    small = build(**describe_network(recipe, 17))
    told: list[str] = []
    start_network(small, str(recipe.network.weights), recipe.network.anew, say=told.append)
    whole = read_tensors(find_weights(str(recipe.target.model)))[0]
    torch.testing.assert_close(small.state_dict()["head.1.weight"], whole["head.1.weight"].float())
    with pytest.raises(ValueError, match="no bundled model of that name"):
        start_network(small, "coco71")


def test_a_teachers_maps_are_learnt_where_nothing_is_labelled() -> None:
    """Cross-entropy is least, the teacher's own entropy, where both say the same."""
    torch.manual_seed(0)
    theirs = 3 * torch.randn(2, 3, 4, 5)
    least = taught_maps(theirs, theirs, absent=True)
    chance = torch.cat([theirs.flatten(2), torch.zeros(2, 3, 1)], -1).softmax(-1)
    entropy = -(chance * chance.log()).sum(-1).mean() / np.log(20)
    np.testing.assert_allclose(least, entropy, rtol=1e-5)
    maps = theirs.clone().requires_grad_()
    taught_maps(maps, theirs, absent=True).backward()
    assert maps.grad is not None
    np.testing.assert_allclose(maps.grad, 0, atol=1e-6)
    assert taught_maps(theirs + torch.randn(2, 3, 4, 5), theirs, absent=True) > least
    assert taught_maps(theirs + 1, theirs, absent=True) > least  # against nowhere, it counts


def test_a_model_teaches_another(shared: Path, tmp_path: Path) -> None:
    """A network that says what its teacher says learns from the labels alone."""
    torch.manual_seed(0)
    whole = build("movenet", joints=17).eval()
    kind = {"network": {"network": "movenet", "joints": 17}}
    save_tensors(tmp_path / "teacher.safetensors", whole.state_dict(), kind)
    people, skeleton = read_people("coco", shared / "data" / "coco2017", "train2017")
    losses = []
    for model in ("null", str(tmp_path / "teacher.safetensors")):
        recipe = load_recipe("coco17", [f"target.model={model}", "input.size=[64, 96]"])
        samples = PoseCrops(people[:2], skeleton, recipe)
        batch = [torch.stack(part) for part in zip(samples[(0, 0)], samples[(0, 1)], strict=True)]
        losses.append(samples.loss(whole(samples.images(batch)), batch, whole))
    maps = whole(samples.images(batch))[-1]
    want = taught_maps(maps, maps, absent=True)
    np.testing.assert_allclose((losses[1] - losses[0]).detach(), want.detach(), rtol=1e-4)


def test_what_lies_outside_the_box_is_black() -> None:
    image = np.random.default_rng(0).integers(1, 256, (80, 60, 3)).astype(np.uint8)
    box = np.array([10.0, 20.0, 30.0, 40.0])
    matrix = crop_matrices(box[None], (60, 80), padding=2.0)[0]  # 1 crop pixel is 1 image pixel
    whole, alone = cut(image, matrix, (60, 80)), cut(image, matrix, (60, 80), inside=box)
    np.testing.assert_array_equal(alone[20:60, 15:45], whole[20:60, 15:45])
    alone[20:60, 15:45] = 0
    assert not alone.any()
    beyond = cut(image, matrix, (60, 80), inside=np.array([-500.0, -500.0, 20.0, 20.0]))
    assert beyond.shape == (80, 60, 3)  # a box beyond the image leaves a pixel, no error
    np.testing.assert_allclose(grown(box, 1.5), [2.5, 10, 45, 60])


@pytest.mark.parametrize(("blacked", "found"), [(None, 90), (1.2, 30)])
def test_a_model_that_was_taught_so_sees_its_box_alone(
    tmp_path: Path, blacked: float | None, found: int
) -> None:
    """A brighter dot beside the box takes the joint, unless all but the box is black."""
    image = np.zeros((100, 120, 3), np.uint8)
    image[48:53, 28:33] = 150
    image[48:53, 88:93] = 255
    predictor = Predictor(
        Session(colour_model(tmp_path / "dots.onnx", blacked=blacked, padding=4.0)), lambda _: None
    )
    boxes = Boxes(np.array([[20, 20, 30, 60]], np.float32), np.ones(1, np.float32))
    poses = predictor.predict(image, boxes)
    np.testing.assert_allclose(poses.xy[0, :, 0], found, atol=1.5)


def test_a_joint_may_be_nowhere() -> None:
    """Equal logits of 0: each of h w pixels, and nowhere, has one chance in h w + 1."""
    flat = torch.zeros(1, 2, 4, 5)
    np.testing.assert_allclose(log_chances(flat, absent=True).exp(), 1 / 21, rtol=1e-5)
    np.testing.assert_allclose(log_chances(flat, absent=False).exp(), 1 / 20, rtol=1e-5)
    targets = torch.zeros(1, 2, 4, 5)
    targets[0, 0, 1, 2] = 1
    low = torch.full_like(flat, -30.0)
    nowhere = torch.tensor([[0.0, 1.0]])  # the joint of the empty target alone counts
    assert softmax_cross_entropy(low, targets, nowhere, absent=True) < 1e-6
    there = softmax_cross_entropy(low, targets, torch.tensor([[1.0, 0.0]]), absent=True)
    np.testing.assert_allclose(there, 30 / np.log(20), rtol=1e-4)


def test_a_joint_that_is_nowhere_scores_nothing() -> None:
    recipe = load_recipe("coco17")
    maps = torch.zeros(1, 17, 16, 12)
    maps[0, 1:] = -20.0
    maps[0, 1, 5, 5] = 20.0

    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (maps,)

    scores = PoseModel(Fixed(), recipe)(torch.zeros(1, 3, 64, 48)).amax((2, 3))[0]
    np.testing.assert_allclose(scores[1], 2 * np.pi, rtol=1e-3)  # all in one pixel, of sigma 1
    assert scores[2] < 1e-6


def test_a_sharper_model_has_larger_logits() -> None:
    """Twice the logits, nowhere's of 0 too, are the squares of all chances, brought to 1 again."""
    torch.manual_seed(0)
    maps = torch.randn(1, 17, 6, 4)

    class Fixed(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            return (maps,)

    sharp = PoseModel(Fixed(), load_recipe("coco17", ["export.sharpness=2"]))(torch.zeros(1))
    chances = log_chances(maps, absent=True).exp().square()
    want = (chances / chances.sum(-1, keepdim=True))[..., :-1] * 2 * np.pi
    torch.testing.assert_close(sharp.flatten(2), want)


def test_a_joint_outside_the_crop_is_taught_to_be_nowhere(shared: Path) -> None:
    people, skeleton = read_people("coco", shared / "data" / "coco2017", "train2017")
    person = next(p for p in people if p.visible.all())
    changes = [
        "augment={flip: 0, rotate: 0, scale: [0.3, 0.3], colour: 0, patch: 0, half_body: 0}",
        "input.blacked=null",
    ]
    for absent in (False, True):
        recipe = load_recipe("coco17", [*changes, f"target.absent={absent}"])
        samples = PoseCrops([person], skeleton, recipe)
        targets, weights = samples.targets(samples[(0, 0)]), samples[(0, 0)][3]
        empty = targets.flatten(1).sum(1) == 0
        assert empty.any()
        assert (weights[~empty] == 1).all()
        assert (weights[empty] == float(absent)).all()


def test_what_nobody_labelled_may_be_taught_to_be_nowhere(shared: Path) -> None:
    """As much as its data set says, with an empty target; not where joints are never nowhere."""
    people, skeleton = read_people("coco", shared / "data" / "coco2017", "train2017")
    person = next(p for p in people if 0 < p.visible.sum() < 17)
    changes = ["augment={flip: 0, rotate: 0, colour: 0}", "input.padding=4", "input.blacked=null"]
    for absent, nowhere in ((True, 0.3), (True, 0.0), (False, 0.3)):
        asked = [*changes, f"target.absent={absent}", f"dataset.nowhere={nowhere}"]
        samples = PoseCrops([person], skeleton, load_recipe("coco17", asked))
        targets, weights = samples.targets(samples[(0, 0)]), samples[(0, 0)][3]
        unlabelled = torch.from_numpy(~person.visible)
        assert (targets[unlabelled] == 0).all()
        np.testing.assert_allclose(weights[unlabelled], nowhere * absent, rtol=1e-6)
        assert (weights[~unlabelled] == 1).all()


def test_sides_move_by_no_more_than_said() -> None:
    box, rng = np.array([10.0, 20.0, 100.0, 50.0]), np.random.default_rng(0)
    moved = np.array([jitter_sides(box, 0.1, rng) for _ in range(500)])
    sides = np.concatenate([moved[:, :2], moved[:, :2] + moved[:, 2:]], 1) - [10, 20, 110, 70]
    assert (np.abs(sides) <= [10, 5, 10, 5]).all()
    assert (np.abs(sides).max(0) > [9, 4.5, 9, 4.5]).all()


def test_a_hidden_part_is_another_pictures() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        crop = np.zeros((256, 192, 3), np.uint8)
        hide_a_part(crop, np.full((60, 300, 3), 7, np.uint8), rng)
        rows, columns = np.nonzero(crop[..., 0])
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert (crop[..., 0] == 7).sum() == height * width  # one rectangle
        assert 38 <= height <= 60
        assert 28 <= width <= 86


def test_people_are_seen_as_often_as_the_recipe_says(shared: Path) -> None:
    from poised.datasets.training import open_samples

    counts = []
    for times in (1, 3):
        changes = ["dataset.root=" + str(shared / "data" / "coco"), f"dataset.times={times}"]
        counts.append(len(open_samples(load_recipe("coco17", [*changes, "dataset.also=[]"]))))
    assert counts[1] == 3 * counts[0]


@pytest.mark.parametrize("name", ["rtmdet_nano_person", "rtmdet_nano"])
def test_the_detectors_published_weights_find_what_its_file_finds(
    shared: Path, tmp_path: Path, name: str
) -> None:
    """Its file after NMS, and ours after ours: the same boxes in the same order."""
    file, out = shared / "models" / f"{name}.onnx", tmp_path / "nano.safetensors"
    told = CliRunner().invoke(
        app, ["import-weights", str(file), "--as", "rtmdet", "--out", str(out)]
    )
    assert told.exit_code == 0, told.output
    network = load_network(out)
    theirs = Detector(file, "onnx", threshold=0.3)
    theirs.size = (320, 320)
    for path in SAMPLES:
        tensor, *_ = theirs._letterbox(read_image(path))
        with torch.no_grad():  # theirs takes BGR, ours RGB
            logits, boxes = network.cells(network(torch.from_numpy(tensor[:, ::-1].copy())))
        score, xyxy = torch.sigmoid(logits[0]).numpy(), boxes[0].numpy().T
        likely = score >= 0.3
        kept = nms(xyxy[likely], score[likely], 0.6)
        want = theirs.session.run(tensor)
        people = (want["labels"][0] == 0) & (want["dets"][0][:, 4] >= 0.3)
        assert people.sum() >= 1
        np.testing.assert_allclose(score[likely][kept], want["dets"][0][people, 4], atol=1e-3)
        np.testing.assert_allclose(xyxy[likely][kept], want["dets"][0][people, :4], atol=0.05)
