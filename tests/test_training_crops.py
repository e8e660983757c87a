"""What a recipe's training draws: crops, boxes and targets as their sources have them."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")

import PIL.Image
from made import make_discs
from torch.utils.data import DataLoader

from poised.augment import augmented_matrix, half_body_box
from poised.crops import apply, clean_boxes, crop_matrices, crop_to_heatmap, cut
from poised.datasets.person import Person
from poised.datasets.poses import PoseCrops
from poised.datasets.training import open_samples
from poised.heatmaps import encode_classic, encode_gaussian
from poised.images import Undecoded, read_image
from poised.interrupt import childrens_signal_kept
from poised.read_recipe import RecipeError, load_recipe
from poised.recipe import Recipe
from poised.types import Skeleton

COCO = Skeleton.load("coco17")
STILL = ["augment={rotate: 0, flip: 0, scale: [1, 1], shift: 0, half_body: 0, colour: 0}"]
BOX = np.array([0.0, 0, 100, 100])


def drawn(spread: str, count: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """Factors of scale within 0.7 to 1.3 and angles of 40 degrees, a rotation in six of ten."""
    rng = np.random.default_rng(0)
    ranges = {"flip": 0, "rotate": 40, "rotated": 0.6, "scale": (0.7, 1.3), "shift": 0}
    matrices = [
        augmented_matrix(BOX, (100, 100), rng, **ranges, spread=spread, padding=1)[0]
        for _ in range(count)
    ]
    cos, sin = np.array(matrices)[:, 0, :2].T
    return 1 / np.hypot(cos, sin), np.rad2deg(np.arctan2(sin, cos))


def test_the_normal_spread_is_that_of_hrnets_code() -> None:
    """clip(1 + 0.3 n, 0.7, 1.3); clip(40 n, -80, 80), in six of ten: an n beyond 1 or 2 is cut."""
    factor, angle = drawn("normal")
    beyond_one, beyond_two = math.erfc(1 / 2**0.5), math.erfc(2 / 2**0.5)
    at_the_ends = np.isclose(factor, 0.7) | np.isclose(factor, 1.3)
    assert at_the_ends.mean() == pytest.approx(beyond_one, abs=0.03)
    turned = angle[np.abs(angle) > 1e-9]
    assert len(turned) / len(angle) == pytest.approx(0.6, abs=0.03)
    assert np.isclose(np.abs(turned), 80).mean() == pytest.approx(beyond_two, abs=0.02)
    assert (np.abs(turned) < 40).mean() == pytest.approx(1 - beyond_one, abs=0.03)


@pytest.mark.parametrize(("spread", "middle"), [("uniform", 1.0), ("log-uniform", 0.91**0.5)])
def test_the_even_spreads_have_their_medians(spread: str, middle: float) -> None:
    factor, angle = drawn(spread)
    assert (factor < middle).mean() == pytest.approx(0.5, abs=0.03)
    assert factor.min() >= 0.7 - 1e-9
    assert factor.max() <= 1.3 + 1e-9
    assert np.abs(angle).max() <= 40 + 1e-9


def person(tmp_path: Path, **changes: object) -> Person:
    """In an image of 120x100; the box goes a little beyond it on the right."""
    image = tmp_path / "a.png"
    PIL.Image.new("RGB", (120, 100)).save(image)
    xy = np.random.default_rng(1).uniform(45, 95, (17, 2))
    one = Person(image, np.array([40.0, 10, 82, 85]), xy, np.ones(17, np.bool_))
    return replace(one, **changes)


def crops(recipe: Recipe, one: Person) -> PoseCrops:
    return PoseCrops([one], COCO, recipe)


def taught(samples: PoseCrops, index: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Target maps (K, h, w) and weights (K,)."""
    sample = samples[(0, index)]
    return samples.targets(sample), sample[3]


@pytest.mark.parametrize("name", ["csanet-sbn", "coco17"])
def test_the_device_makes_the_numbers_that_the_host_made(tmp_path: Path, name: str) -> None:
    """(x - mean) / std in float32, bit for bit, whatever a batch's shape; and channels-last."""
    recipe = load_recipe(name, ["target.model=null"])
    samples = crops(recipe, person(tmp_path))
    bytes_ = np.random.default_rng(0).integers(0, 256, (3, 256, 192, 3), np.uint8)
    mean, std = (np.array(v, np.float32) for v in (recipe.input.mean, recipe.input.std))
    want = ((bytes_.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
    got = samples.images([torch.from_numpy(bytes_)])
    assert got.dtype == torch.float32
    assert got.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_shrunk_image_shows_a_joint_where_its_target_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, orientation: int
) -> None:
    """A white disc of a JPEG of up to 4 x the crop's sides: its middle is where the map's is."""
    wh = np.array([192, 256]) * times
    middle = wh * [0.3, 0.6] + 0.25
    rows, columns = np.indices(wh[::-1])
    away = np.hypot(columns - middle[0], rows - middle[1])
    disc = PIL.Image.fromarray(((6 * times - away).clip(0, 1) * 255).astype(np.uint8)).convert(
        "RGB"
    )
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    stored = disc.rotate({1: 0, 3: 180, 6: 90}[orientation], expand=True)
    stored.save(tmp_path / "a.jpg", quality=95, exif=exif)
    xy = np.tile(middle, (17, 1))
    one = Person(tmp_path / "a.jpg", np.array([0.0, 0, *wh]), xy, np.ones(17, np.bool_))
    turned = "augment={rotate: 10, rotated: 1, flip: 0.5, scale: [1, 1.01], colour: 0}"
    samples = crops(load_recipe("coco17", [turned, "input.padding=1", "target.sigma=2"]), one)
    shrunk, decode = [], Undecoded.decode

    def watched(picture: Undecoded, most: float) -> tuple[np.ndarray, int]:
        pixels, by = decode(picture, most)
        shrunk.append(by)
        return pixels, by

    monkeypatch.setattr(Undecoded, "decode", watched)
    for epoch in range(4):
        sample = samples[(epoch, 0)]
        light = sample[0].numpy().astype(float).sum(-1)
        maps = samples.targets(sample)[0].numpy().astype(float)
        seen, taught_xy = (
            np.array([(np.indices(a.shape)[axis] * a).sum() / a.sum() for axis in (1, 0)])
            for a in (light, maps)
        )
        np.testing.assert_allclose(seen, (taught_xy + 0.5) * 4 - 0.5, atol=0.12)
    assert shrunk == [times] * 4


def test_what_is_black_is_so_in_a_shrunk_image(tmp_path: Path) -> None:
    """A white JPEG, cut at half its size, and a white PNG: light in the same rectangle."""
    asked = ["augment={rotate: 0, flip: 0, scale: [1, 1], colour: 0}", "input.padding=1.5"]
    recipe = load_recipe("coco17", [*asked, "input.blacked=1.2"])
    lights = []
    for suffix in ("jpg", "png"):
        image = tmp_path / f"a.{suffix}"
        PIL.Image.new("RGB", (768, 1024), "white").save(image)
        one = Person(
            image, np.array([200.0, 250, 300, 400]), np.full((17, 2), 9.0), np.ones(17, bool)
        )
        light = crops(recipe, one)[(0, 0)][0].numpy() > 128
        lights.append([places[[0, -1]] for places in map(np.unique, np.nonzero(light)[:2])])
    np.testing.assert_allclose(*lights, atol=1)
    np.testing.assert_allclose(np.ptp(lights[1], axis=1), [0.8 * 256, 0.8 * 192], atol=2)


def test_a_classic_crop_is_cut_from_the_whole_image(tmp_path: Path) -> None:
    """As the papers' code cuts it, though it shrinks the image."""
    few = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    PIL.Image.fromarray(few).resize((768, 1024)).save(tmp_path / "a.jpg")
    xy = np.full((17, 2), 300.0)
    one = Person(tmp_path / "a.jpg", np.array([0.0, 0, 768, 1024]), xy, np.ones(17, np.bool_))
    got = crops(load_recipe("csanet-sbn", STILL), one)[(0, 0)][0].numpy()
    box = clean_boxes(one.xywh[None], np.array([[768, 1024]]))
    matrix = crop_matrices(box, (192, 256), kind="classic")[0]
    want = cut(read_image(one.image), matrix, (192, 256), "classic").astype(int)
    np.testing.assert_allclose(got, want, atol=2)


def test_every_process_draws_the_same_sample(shared: Path) -> None:
    """One that was begun anew, which has nothing of this one's, and again here."""
    root = shared / "data" / "coco"
    changes = [f"dataset.root={root}", "dataset.also=[]", "augment.patch=1", "target.model=null"]
    samples = open_samples(load_recipe("coco17", changes))
    places = [(epoch, index) for epoch in (0, 7) for index in (0, 5, 11)]
    loader = DataLoader(
        cast("Any", samples), None, sampler=places, num_workers=1, multiprocessing_context="spawn"
    )
    with childrens_signal_kept():
        for place, theirs in zip(places, loader, strict=True):
            for again, tensor in zip(samples[place], theirs, strict=True):
                assert torch.equal(again, tensor)


def test_classic_targets_are_trained_on(tmp_path: Path) -> None:
    """Simple Baseline's recipe: its code's target of the crop's points; CSANet's eq. 1: exact."""
    one = person(tmp_path)
    recipe = load_recipe("csanet-sbn", STILL)
    targets, weights = taught(crops(recipe, one))
    boxes = clean_boxes(one.xywh[None], np.array([[120, 100]]))
    matrix = crop_matrices(boxes, (192, 256), kind="classic")
    want, wanted = encode_classic(apply(matrix, one.xy[None]), one.visible[None], (48, 64), 2.0)
    np.testing.assert_allclose(targets.numpy(), want[0], atol=1e-6)
    np.testing.assert_array_equal(weights.numpy(), wanted[0])
    assert (targets.amax((1, 2)) == 1).all()
    exact, _ = taught(crops(load_recipe("csanet", STILL), one))
    assert (exact.amax((1, 2)) < 1).all()


def test_half_a_body_is_padded_once(tmp_path: Path) -> None:
    """Its box is grown by 1.5; the 1.25 of whole people's is not added."""
    one = person(tmp_path)
    recipe = load_recipe("csanet-sbn", [*STILL, "augment.half_body=1"])
    _, matrix, _ = crops(recipe, one)._geometry(one, 1.25, (120, 100), np.random.default_rng(0))
    rng = np.random.default_rng(0)
    rng.random()  # whether half a body is taken
    half = half_body_box(one.xy, one.visible, COCO, rng)
    want = crop_matrices(half[None], (192, 256), padding=1.0, kind="classic")[0]
    np.testing.assert_allclose(matrix, want)


def test_our_own_recipe_draws_as_it_did(shared: Path) -> None:
    """lsp14's models come from this order of draws: half, factor, turn, angle, shift, mirror."""
    recipe = load_recipe("lsp14")
    image = shared / "data" / "lspet" / "images" / "im00001.jpg"
    xy = np.random.default_rng(1).uniform(20, 80, (14, 2))
    one = Person(image, BOX, xy, np.ones(14, np.bool_))
    samples = PoseCrops([one], Skeleton.load("lsp14"), recipe)
    for seed in range(30):
        _, got, _ = samples._geometry(one, 0.8, (100, 100), np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        box, padding = BOX, 0.8
        if rng.random() < 0.05:
            box = half_body_box(xy, one.visible, Skeleton.load("lsp14"), rng)
        factor = math.exp(rng.uniform(math.log(0.8), math.log(1.25)))
        angle = rng.uniform(-45, 45) if rng.random() < 0.6 else 0.0
        moved = np.concatenate([box[:2] + rng.uniform(-0.05, 0.05, 2) * box[2:].max(), box[2:]])
        want = crop_matrices(moved[None], (160, 160), padding=padding * factor, rotation=angle)[0]
        if rng.random() < 0.5:
            want[0] *= -1
            want[0, 2] += 159
        np.testing.assert_allclose(got, want)


def test_a_box_beyond_its_image_is_used_as_it_is(tmp_path: Path) -> None:
    one = person(tmp_path, xywh=np.array([300.0, 10, 50, 50]))
    _, matrix, _ = crops(load_recipe("csanet-sbn", STILL), one)._geometry(
        one, 1.25, (120, 100), np.random.default_rng(0)
    )
    np.testing.assert_allclose(matrix, crop_matrices(one.xywh, (192, 256), kind="classic")[0])


def test_a_classic_target_needs_a_classic_crop() -> None:
    with pytest.raises(RecipeError, match=r"target\.kind classic is of an input\.crop classic"):
        load_recipe("csanet-sbn", ["input.crop=unbiased"])


def test_a_box_without_size_is_a_pixel(tmp_path: Path) -> None:
    """Of one labelled point: the joint in the crop's middle is taught, and nothing is NaN."""
    where = np.full((17, 2), 60.0)
    one = person(tmp_path, xywh=np.array([60.0, 60, 0, 0]), xy=where)
    maps, weights = taught(crops(load_recipe("coco17", ["target.model=null", *STILL]), one))
    assert weights.min() == 1
    y, x = divmod(int(maps[0].argmax()), maps.shape[2])
    assert (y in (31, 32), x in (23, 24)) == (True, True)  # of 64 x 48
    assert maps.isfinite().all()


def test_a_half_of_a_skeleton_without_a_lower_one_is_all_of_it() -> None:
    skeleton = replace(COCO, groups={})
    xy = np.random.default_rng(0).uniform(0, 50, (17, 2))
    half = half_body_box(xy, np.ones(17, np.bool_), skeleton, np.random.default_rng(1))
    assert half is not None
    np.testing.assert_allclose(half[:2] + half[2:] / 2, (xy.min(0) + xy.max(0)) / 2)


def test_a_further_data_sets_joints_are_known_however_written(tmp_path: Path) -> None:
    """LeftHip is left_hip; a set of which nothing is known is refused."""
    skeleton = make_discs(tmp_path / "discs", 4)
    names = Skeleton.load(str(skeleton)).keypoints
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "discs", other)
    file = other / "annotations" / "person_keypoints_train.json"

    def called(names: list[str]) -> int:
        values = json.loads(file.read_text())
        values["categories"][0]["keypoints"] = names
        file.write_text(json.dumps(values))
        own = f"dataset={{name: coco, root: {tmp_path / 'discs'}, train: train, "
        also = f"also: [{{name: coco, root: {other}, train: train}}]}}"
        recipe = load_recipe("lsp14", [f"skeleton={skeleton}", own + also])
        samples = open_samples(recipe)
        return sum(int(p.visible.sum()) for p in samples.people if other in p.image.parents)

    camel = ["".join(word.title() for word in name.split("_")) for name in names]
    assert called(camel) == called(list(names)) > 0
    with pytest.raises(ValueError, match="nothing is labelled that is trained"):
        called([f"antenna_{n}" for n in "abcdefgh"[: len(names)]])


def test_a_further_data_set_has_a_padding_of_its_own(shared: Path) -> None:
    """COCO's people by the recipe's, LSPET's, whose boxes are loose, by theirs."""
    root = shared / "data" / "coco"
    also = f"dataset.also=[{{name: lspet, root: {shared / 'data' / 'lspet'}, padding: 0.5}}]"
    changes = [f"dataset.root={root}", "dataset.times=1", also, "augment.half_body=0", *STILL]
    samples = open_samples(load_recipe("coco17", changes))
    coco = sum(root in one.image.parents for one in samples.people)
    for index, padding in ((0, 1.15), (coco - 1, 1.15), (coco, 0.5), (len(samples) - 1, 0.5)):
        one = samples.people[index]
        targets, _ = taught(samples, index)
        matrix = crop_matrices(one.xywh[None], (192, 256), padding=padding)
        xy = crop_to_heatmap(apply(matrix, one.xy[None]), 4, "unbiased")
        inside = ((xy >= -0.5) & (xy <= (47.5, 63.5))).all(-1) & one.visible
        want = encode_gaussian(xy, inside, (48, 64), 1.0)[0]
        np.testing.assert_allclose(targets, want, atol=1e-6)
