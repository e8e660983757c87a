"""Training on one's own data: the recipe from a model's, and the warnings where people err."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)

from typer.testing import CliRunner

from poised.checkpoint import find_weights, load_network, read_tensors, save_tensors
from poised.cli import app
from poised.datasets import DATASETS, read_people
from poised.datasets.categories import doubts_about
from poised.datasets.check import twice_seen
from poised.datasets.lspet import read_lspet
from poised.nets import build
from poised.own_data import doubts, own_recipe
from poised.read_recipe import RecipeError
from poised.recipe import Target
from poised.runtime import Session
from poised.transfer import for_skeleton
from poised.types import Skeleton

FIVE = {
    "name": "five",
    "keypoints": ["head_top", "left_wrist", "right_wrist", "left_ankle", "right_ankle"],
    "pairs": [["left_wrist", "right_wrist"], ["left_ankle", "right_ankle"]],
    "limbs": [],
    "groups": {"head": ["head_top"], "upper": [], "lower": []},
    "sigmas": [0.079, 0.062, 0.062, 0.089, 0.089],
}
BUNDLED = ("coco17", "crowdpose14", "flic", "halpe26", "hand21", "lsp14", "mpii16", "wholebody133")


@pytest.fixture
def five(tmp_path: Path) -> str:
    path = tmp_path / "five.yaml"
    path.write_text(yaml.safe_dump(FIVE))
    return str(path)


def test_the_recipe_is_the_models_but_for_the_data(five: str, tmp_path: Path) -> None:
    recipe = own_recipe("coco17-small", "lspet", tmp_path, "train", five, ["optimise.epochs=3"])
    within = read_tensors(find_weights("coco17-small"))[1]["recipe"]
    dumped = recipe.model_dump(mode="json")
    assert dumped["network"]["options"] == within["network"]["options"]
    assert (dumped["input"], dumped["augment"]) == (within["input"], within["augment"])
    target = Target.model_validate(within["target"]).model_dump(mode="json")
    assert dumped["target"] == {**target, "model": None}  # its teacher has other joints
    assert recipe.network.weights == "coco17-small"
    assert recipe.network.anew == ()
    assert (recipe.name, recipe.skeleton) == ("five", five)
    assert (recipe.dataset.name, recipe.dataset.root, recipe.dataset.also) == (
        "lspet",
        tmp_path,
        (),
    )
    assert recipe.optimise.epochs == 3
    assert recipe.optimise.slow == ("backbone",)  # the head has new joints to learn
    assert recipe.export.padding == within["export"]["padding"]


def test_weights_without_a_pose_recipe_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="person is a detector"):
        own_recipe("person", "lspet", tmp_path, "train")
    bare = tmp_path / "bare.safetensors"
    save_tensors(bare, {"x": torch.zeros(1)}, {})
    with pytest.raises(RecipeError, match=r"bare\.safetensors has no recipe within it"):
        own_recipe(str(bare), "lspet", tmp_path, "train")


def test_a_training_from_a_model_and_again_from_its_own(
    ten: Path, five: str, tmp_path: Path
) -> None:
    """Frozen, so that what the backbone sees is the bundled model's to the last bit."""
    small = ["input.size=[64, 64]", "optimise={batch: 5, epochs: 3, workers: 0, backbone: 0}"]
    arguments = ["--dataset", "lspet", "--data", str(ten), "--split", "all", "--skeleton", five]
    run = ["train", "--from", "coco17-small", *arguments, "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*run, *small])
    assert done.exit_code == 0, done.output
    assert "4 keypoints keep their channels: left_wrist" in done.output
    assert "1 are new: head_top" in done.output
    weights = tmp_path / "run" / "five.safetensors"
    trained, bundled = load_network(weights), load_network(find_weights("coco17-small"))
    assert trained.head[1].out_channels == 5
    for name, value in bundled.backbone.state_dict().items():
        assert torch.equal(trained.backbone.state_dict()[name], value), name
    moved = trained.pyramid.lateral[0].weight
    assert not torch.equal(moved, bundled.pyramid.lateral[0].weight)
    Path(five).unlink()  # the weights know their skeleton without it
    out = tmp_path / "five.onnx"
    done = CliRunner().invoke(app, ["export", str(weights), "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert Session(out, "onnx").metadata["skeleton"]["keypoints"] == FIVE["keypoints"]
    again = ["train", "--from", str(weights), *arguments[:-2], "--out", str(tmp_path / "again")]
    done = CliRunner().invoke(app, [*again, *small, "name=again"])
    assert done.exit_code == 0, done.output
    assert "of five: 5 keypoints keep their channels: right_ankle" in done.output
    assert load_network(tmp_path / "again" / "again.safetensors").head[1].out_channels == 14


def test_a_skeleton_of_which_the_model_knows_nothing_starts_anew(
    tmp_path: Path,
) -> None:
    """Of other animals, of things: the head is new, what the backbone sees is kept."""
    names = [f"antenna_{n}" for n in range(14)]
    plain = {"pairs": [], "limbs": [], "groups": {"head": [], "upper": [], "lower": []}}
    ours = Skeleton.from_dict(plain | {"name": "x", "keypoints": names, "sigmas": [0.1] * 14})
    weights = find_weights("coco17-small")
    tensors, notes = read_tensors(weights)
    kind = {**notes["network"], "joints": 14, "groups": [[], [], []]}
    own = build(**kind).state_dict()
    found = for_skeleton(tensors, Skeleton.load("coco17"), ours, kind, own)
    assert all(found[name].shape == value.shape for name, value in own.items())
    torch.testing.assert_close(found["head.1.weight"], own["head.1.weight"])


def test_labels_that_have_changed_are_another_training(
    ten: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model of both would be of neither."""
    arguments = ["train", "lsp14", f"dataset={{name: lspet, root: {ten}, train: all}}"]
    arguments += ["input.size=[64, 64]", "optimise={batch: 5, epochs: 1, workers: 0}"]
    arguments += ["network={name: plain_pyramid, options: {width: 8}}", "backbone={weights: null}"]
    arguments += ["--out", str(tmp_path / "run")]
    assert CliRunner().invoke(app, arguments).exit_code == 0

    def moved(root: Path, split: str) -> list[Any]:
        return [replace(person, xy=person.xy + 1) for person in read_lspet(root, split)]

    monkeypatch.setitem(DATASETS, "lspet", replace(DATASETS["lspet"], read=moved))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert "holds another training: people is" in done.output


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    for arguments, message in (
        (["train"], "name a RECIPE"),
        (["train", "--from", "coco17"], "--from needs --dataset and --data"),
        (["train", "lsp14", "--dataset", "coco"], "name a RECIPE; or for data of your own --from"),
    ):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 2
        assert message in done.output


@pytest.mark.parametrize("name", BUNDLED)
def test_no_bundled_skeleton_is_doubted(name: str) -> None:
    assert doubts_about(Skeleton.load(name)) == []


def test_pairs_that_the_names_speak_against_are_told() -> None:
    wrong = {**FIVE, "pairs": [["right_wrist", "left_wrist"], ["left_ankle", "head_top"]]}
    assert doubts_about(Skeleton.from_dict(wrong)) == [
        "skeleton five: of the pair left_wrist and right_wrist the right one stands first: sides "
        "are told wrongly",
        "skeleton five: left_ankle and right_ankle are no pair in it: mirrored pictures teach "
        "wrong places",
    ]
    alone = {**FIVE, "keypoints": ["tail", "LeftPaw"], "pairs": [], "groups": {}}
    alone["sigmas"] = [0.1, 0.1]
    assert doubts_about(Skeleton.from_dict(alone)) == [
        "skeleton five: LeftPaw has no other side: mirrored pictures teach wrong places "
        "(augment.flip=0)"
    ]


def test_a_test_on_what_was_trained_on_is_told(ten: Path, five: str) -> None:
    """LSPET's "all" holds every image of its "test" part, here all ten."""
    recipe = own_recipe("coco17-small", "lspet", ten, "all", five)
    (told,) = doubts(recipe)
    assert "10 of 10 images of 'test', to be tested on, are trained on" in told
    recipe = own_recipe("coco17-small", "lspet", ten, "test", five, ["test.split=nothing"])
    (told,) = doubts(recipe)
    assert "no part 'nothing' to test on; hold some images back" in told
    recipe = own_recipe("coco17-small", "lspet", ten, "test", five, ["test.split=train"])
    assert doubts(recipe) == []  # of ten images none is before the last 500


def test_what_is_doubted_is_said_before_the_training(ten: Path, tmp_path: Path) -> None:
    """Sides told wrongly, and everything in one part; the training goes on."""
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump({**FIVE, "pairs": [["right_wrist", "left_wrist"]]}))
    given = ["--dataset", "lspet", "--data", str(ten), "--split", "all", "--skeleton", str(file)]
    small = ["input.size=[64, 64]", "optimise={batch: 5, epochs: 1, workers: 0}"]
    run = ["train", "--from", "coco17-small", *given, "--out", str(tmp_path / "run"), *small]
    done = CliRunner().invoke(app, run)
    assert done.exit_code == 0, done.output
    minds = [line for line in done.stderr.splitlines() if line.startswith("Mind: ")]
    assert "of the pair left_wrist and right_wrist the right one stands first" in minds[0]
    assert "10 of 10 images of 'test', to be tested on, are trained on" in minds[-1]


def test_a_copied_image_is_found_in_both_parts(ten: Path, tmp_path: Path) -> None:
    people = read_lspet(ten, "all")
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(people[3].image.read_bytes())
    others = [replace(people[0], image=copy)]
    (fault,) = twice_seen([*people, people[3]], others, "test")  # two people of one image: once
    assert (fault.record, fault.kind) == (3, "in both parts")
    assert twice_seen(people[4:], others, "test") == []


def test_the_check_tells_of_skeleton_and_parts(ten: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump({**FIVE, "pairs": []}))
    check = ["data", "check", str(ten), "--dataset", "lspet", "--skeleton", str(wrong)]
    done = CliRunner().invoke(app, [*check, "--split", "test", "--against", "all"])
    assert done.exit_code == 1
    assert "left_wrist and right_wrist are no pair in it" in done.output
    assert "in both parts: 10" in done.output
    assert "skeleton: 2" in done.output


def test_a_part_of_the_keypoints_is_taken_by_name(ten: Path, five: str, tmp_path: Path) -> None:
    out = tmp_path / "five.json"
    arguments = [
        "data",
        "convert",
        str(ten),
        "--out",
        str(out),
        "--dataset",
        "lspet",
        "--split",
        "all",
    ]
    done = CliRunner().invoke(app, [*arguments, "--skeleton", five])
    assert done.exit_code == 0, done.output
    record = json.loads(out.read_text())["annotations"][0]
    person = read_lspet(ten, "all")[0]
    order = [Skeleton.load("lsp14").keypoints.index(name) for name in FIVE["keypoints"]]
    for place, joint in enumerate(order):
        x, y, seen = record["keypoints"][3 * place : 3 * place + 3]
        assert (seen > 0) == person.visible[joint]
        if seen:
            assert [x, y] == person.xy[joint].tolist()
    other = tmp_path / "other.yaml"
    other.write_text(
        yaml.safe_dump(
            {**FIVE, "keypoints": ["a", "b"], "pairs": [], "groups": {}, "sigmas": [0.1, 0.1]}
        )
    )
    done = CliRunner().invoke(app, [*arguments, "--skeleton", str(other)])
    assert done.exit_code == 2
    assert "no name is the same" in done.output


def test_who_has_none_of_a_skeletons_keypoints_is_ignored(ten: Path, tmp_path: Path) -> None:
    names = Skeleton.load("lsp14").keypoints
    hidden = ~np.stack([person.visible for person in read_lspet(ten, "all")])
    joint = int(hidden.any(0).argmax())
    assert hidden[:, joint].any()
    one = {**FIVE, "keypoints": [names[joint]], "pairs": [], "groups": {}, "sigmas": [0.1]}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(one))
    people, _ = read_people("lspet", ten, "all", str(tmp_path / "one.yaml"))
    assert [person.ignored for person in people] == hidden[:, joint].tolist()
