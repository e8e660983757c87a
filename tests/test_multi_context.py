"""Multi-Context Attention at its start, and that it learns to attend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")

from torch import Tensor, nn

from poised.heatmaps import encode_gaussian
from poised.losses import mean_squared
from poised.nets import build
from poised.nets.multi_context import MultiContextAttention, PartPrediction


def test_its_baseline_is_the_hourglass() -> None:
    """BL of Fig. 8: the same weights from the same seed, and the same maps."""
    images, maps = torch.rand(2, 3, 64, 64), []
    plain: dict[str, dict[str, Any]] = {
        "hourglass": {},
        "multi_context": {"attention": "none", "hru": False, "parts": False},
    }
    for name, options in plain.items():
        torch.manual_seed(0)
        maps.append(build(name, joints=3, stacks=2, width=0.125, **options)(images))
    for ours, theirs in zip(*maps, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("stacks", "attending"), [(8, 4), (2, 1)])
def test_the_later_half_of_the_stacks_attends_to_parts(stacks: int, attending: int) -> None:
    with torch.device("meta"):
        network = MultiContextAttention(3, stacks=stacks, width=0.125)
    kinds = [isinstance(predict, PartPrediction) for predict in network.predict]
    assert kinds == (stacks - attending) * [False] + attending * [True]


@pytest.mark.parametrize("seed", range(3))
def test_no_map_is_saturated_at_the_start(seed: int) -> None:
    """Whatever a random hourglass adds up to: a map of zeros and ones hardly learns."""
    torch.manual_seed(seed)
    network = MultiContextAttention(3, stacks=4, parts=False, width=0.125).train()
    finest: list[Tensor] = []
    for holistic in network.holistic:
        holistic.attend[-1].register_forward_hook(lambda _m, _i, phi: finest.append(phi))
    with torch.no_grad():
        network(torch.randn(2, 3, 64, 64))
    assert len(finest) == 4
    saturated = [float(((phi - 0.5).abs() > 0.49).float().mean()) for phi in finest]
    assert max(saturated) < 0.01


def test_parts_are_learnt_by_where_they_are_looked_for() -> None:
    """Coloured dots: the two stacks that attend to parts find them, and not with flat maps."""
    rng = np.random.default_rng(0)
    xy, all_of_them = rng.uniform(3, 12, (4, 3, 2)), np.ones((4, 3), np.bool_)
    targets = torch.from_numpy(encode_gaussian(xy, all_of_them, (16, 16), 1.0))
    dots = encode_gaussian(4 * xy + 1.5, all_of_them, (64, 64), 4.0)
    colours = rng.normal(size=(3, 3)) * 2
    images = torch.from_numpy(np.einsum("nkhw,kc->nchw", dots, colours).astype(np.float32))
    torch.manual_seed(0)
    network = MultiContextAttention(3, stacks=4, attention="one", hru=False, width=0.125)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    weights = torch.ones(4, 3)

    def errors() -> list[float]:
        """Of the last two stacks, in units of an empty map's."""
        with torch.no_grad():
            maps = network(images)[2:]
            empty = mean_squared(torch.zeros_like(targets), targets, weights)
            return [float(mean_squared(each, targets, weights) / empty) for each in maps]

    for _ in range(40):
        loss = network.loss(network(images), targets, weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    learnt = errors()
    assert len(learnt) == 2
    assert max(learnt) < 0.4

    def flat(_module: nn.Module, _given: object, phi: Tensor) -> Tensor:
        return phi.mean((2, 3), keepdim=True).expand_as(phi)

    for predict in network.predict[2:]:
        predict.attend.register_forward_hook(flat)
    assert errors()[-1] > 2 * learnt[-1]
