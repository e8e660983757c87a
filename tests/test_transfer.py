"""A trained network on another skeleton: kept joints are found as before, whatever the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)

from torch import Tensor, nn

from poised.bundled import bundled_models
from poised.checkpoint import find_weights, load_network, save_tensors
from poised.nets import NETWORKS, build
from poised.pretrained import freeze, start_network
from poised.read_recipe import load_recipe
from poised.transfer import for_skeleton
from poised.types import Skeleton

SMALL: dict[str, dict[str, Any]] = {
    "cpn": {"width": 0.125},
    "csanet": {"width": 0.125},
    "efafnet": {"width": 0.125},
    "hourglass": {"stacks": 2, "width": 0.125},
    "hrnet": {"width": 0.125},
    "lite_pyramid": {"second_look": 1, "width": 16},
    "movenet": {"second_look": 1, "width": 16},
    "multi_context": {"stacks": 6, "width": 0.125},
    "plain_pyramid": {"width": 8},
    "plain_resnet": {"depth": 18, "width": 0.125},
    "simple_baseline": {"depth": 18, "width": 0.125},
    "spcnet": {"width": 0.125},
}


def skeleton(names: list[str], groups: dict[str, list[str]]) -> Skeleton:
    values = {"name": "some", "keypoints": names, "pairs": [], "limbs": [], "groups": groups}
    return Skeleton.from_dict(values | {"sigmas": [0.1] * len(names)})


FEW = skeleton(["nose", "left_hand", "right_hand"], {"head": ["nose"], "upper": ["left_hand"]})
MORE = skeleton(  # the same among others, in another order and spelling
    ["tail", "RightHand", "nose", "left_hand", "hat"],
    {"head": ["hat", "nose"], "upper": ["tail", "left_hand"]},
)
PLACES = {0: 2, 1: 3, 2: 1}  # of FEW in MORE


def kind(network: str, named: Skeleton) -> dict[str, Any]:
    groups = [list(group) for group in named.groups.values()]
    return {"network": network, "joints": len(named), "groups": groups, **SMALL[network]}


def stirred(network: nn.Module) -> nn.Module:
    """With no weight, bias or statistic at zero, so that each has a part in the answer."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = (
                torch.rand_like(value) if name.endswith("running_var") else torch.randn_like(value)
            )
            value.add_(0.05 * noise)
    return network.eval()


def test_every_pose_network_is_here() -> None:
    assert set(SMALL) == set(NETWORKS) - {"rtmdet"}


@pytest.mark.parametrize("name", SMALL)
def test_joints_of_the_same_name_give_the_same_maps(name: str) -> None:
    """Of networks as they are trained: the maps of new joints, at random, disturb no other."""
    torch.manual_seed(0)
    before = stirred(build(**kind(name, FEW)))
    after = stirred(build(**kind(name, MORE)))
    state = for_skeleton(before.state_dict(), FEW, MORE, kind(name, MORE), after.state_dict())
    after.load_state_dict(state)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        old, new = before(images)[-1], after(images)[-1]
    scale = old.abs().max().item()
    for there, here in PLACES.items():
        torch.testing.assert_close(new[:, here], old[:, there], rtol=0, atol=1e-4 * scale)
    assert new[:, 0].abs().max() > 0
    spread = (old[:, 0] - old[:, 1]).abs().max()
    assert spread > 1e-2 * scale  # joints that are exchanged would be seen


def test_parts_keep_their_joints_by_name() -> None:
    """CSANet's parts: nose is the second of the head's, left_hand the second of the upper one's."""
    before, after = (build(**kind("csanet", each)).state_dict() for each in (FEW, MORE))
    state = for_skeleton(before, FEW, MORE, kind("csanet", MORE), after)
    for part in ("0", "1"):
        key = f"structure.part_predict.{part}.weight"
        assert torch.equal(state[key][1], before[key][0])
        assert torch.equal(state[key][0], after[key][0])


def test_fewer_joints_keep_their_channels() -> None:
    before, after = (build(**kind("movenet", each)).state_dict() for each in (MORE, FEW))
    state = for_skeleton(before, MORE, FEW, kind("movenet", FEW), after)
    enter = "second_look.enter.0.weight"  # it reads 16 features, then the maps
    torch.testing.assert_close(state[enter][:, :16], before[enter][:, :16])
    for there, here in PLACES.items():
        torch.testing.assert_close(state[enter][:, 16 + there], before[enter][:, 16 + here])
        torch.testing.assert_close(state["head.1.weight"][there], before["head.1.weight"][here])


def test_a_bundled_model_says_which_joints_it_keeps() -> None:
    assert "coco17-small" in bundled_models()
    recipe = load_recipe("coco17-small", ["skeleton=lsp14", "network.weights=coco17-small"])
    network = build(**{**recipe.network.options}, network="movenet", joints=14)
    said: list[str] = []
    start_network(network, "coco17-small", recipe=recipe, say=said.append)
    assert said == [
        "coco17-small, of coco17: 12 keypoints keep their channels: right_ankle, right_knee, "
        "right_hip, left_hip, left_knee, left_ankle, right_wrist, right_elbow, right_shoulder, "
        "left_shoulder, left_elbow, left_wrist; 2 are new: neck, head_top"
    ]
    trained = load_network(find_weights("coco17-small"))
    knee = Skeleton.load("coco17").keypoints.index("right_knee")
    assert torch.equal(network.head[1].weight[1], trained.head[1].weight[knee])


def test_weights_carry_their_skeleton_along(tmp_path: Path) -> None:
    """Written out, so that a skeleton's file may move; without it the recipe's name is taken."""
    before = build(**kind("plain_pyramid", FEW))
    path = tmp_path / "few.safetensors"
    notes = {"recipe": {"skeleton": "gone.yaml"}, "skeleton": FEW.to_dict()}
    save_tensors(path, before.state_dict(), notes)
    recipe = load_recipe("lsp14", ["network.name=plain_pyramid", f"network.weights={path}"])
    (tmp_path / "more.yaml").write_text(yaml.safe_dump(MORE.to_dict()))
    recipe = recipe.model_copy(update={"skeleton": str(tmp_path / "more.yaml")})
    recipe = recipe.model_copy(
        update={"network": recipe.network.model_copy(update={"options": {"width": 8}})}
    )
    after = build(**kind("plain_pyramid", MORE))
    start_network(after, str(path), recipe=recipe, say=lambda _: None)
    torch.testing.assert_close(after.head.weight[2], before.head.weight[0])


def test_a_frozen_part_does_not_move_in_any_mode() -> None:
    """Neither its weights nor its batch norms' statistics; the rest learns."""
    torch.manual_seed(0)
    network = build("simple_baseline", joints=3, depth=18, width=0.125)
    freeze(network, ("backbone",))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        network.train()  # as a loop does after it has validated
        network(torch.randn(2, 3, 64, 64))[-1].square().mean().backward()
        optimiser.step()
    moved = {name for name, value in network.state_dict().items() if _differs(value, before[name])}
    assert not any(name.startswith("backbone.") for name in moved)
    assert any("running_mean" in name for name in moved)
    assert "final_layer.weight" in moved
    with pytest.raises(ValueError, match=r"StackedHourglass has no backbone to freeze.*stem"):
        freeze(build("hourglass", joints=3, stacks=1, width=0.125), ("backbone",))


def _differs(a: Tensor, b: Tensor) -> bool:
    return not torch.equal(a, b)
