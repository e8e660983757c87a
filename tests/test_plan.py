"""What a training draws, fits into memory, and says of itself before it begins."""

from __future__ import annotations

from itertools import chain, islice

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")

from torch import Tensor, nn

from poised import plan
from poised.batches import Places
from poised.checkpoint import describe_network
from poised.nets import build
from poised.plan import Trial, departures, part_size
from poised.read_recipe import load_recipe
from poised.recipe import Optimise


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_share_each_batch_of_one(world: int) -> None:
    """Twenty-three samples by seven: three steps an epoch, two samples dropped, nobody twice."""
    alone = list(islice(Places(23, 7, seed=5), 7))
    shares = [list(islice(Places(23, 7, 5, 0, rank, world), 7)) for rank in range(world)]
    assert [list(chain(*parts)) for parts in zip(*shares, strict=True)] == alone
    assert {len(share[0]) for share in shares} == {1: {7}, 2: {4, 3}, 3: {3, 2}}[world]
    first = [place for batch in alone[:3] for place in batch]
    assert len(set(first)) == 21
    assert {epoch for epoch, _ in first} == {0}
    assert {epoch for epoch, _ in alone[3]} == {1}
    assert [index for _, index in alone[0]] != [index for _, index in alone[3]]
    assert list(islice(Places(23, 7, 5, step=4), 3)) == alone[4:]


class Two(nn.Module):
    """A convolution whose maps are the output, and one that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.unread = nn.Conv2d(3, 5, 1), nn.Conv2d(3, 5, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (torch.relu(self.read(images)),)


def test_a_trial_counts_what_is_kept_and_finds_what_is_idle() -> None:
    """Kept of each 32x64 image: its three channels for the convolution, five of ReLU's result."""
    network = Two()
    trial = Trial(network, load_recipe("lsp14", ["input.size=[64, 32]"]))
    assert trial.kept == 4 * (3 + 5) * 32 * 64
    assert trial.idle == ["unread.weight", "unread.bias"]
    assert all(p.grad is None and p.device.type == "cpu" for p in network.parameters())


@pytest.mark.parametrize("row", ["cpn-no-global-loss", "cpn", "csanet", "multi_context", "spcnet"])
def test_only_rows_without_a_loss_have_idle_parts(row: str) -> None:
    recipe = load_recipe(row)
    with torch.device("meta"):
        network = build(**describe_network(recipe, 17))
    idle = {".".join(name.split(".")[:2]) for name in Trial(network, recipe).idle}
    assert idle == (
        {"global_net.predict", "global_net.norm"} if row == "cpn-no-global-loss" else set()
    )


def test_a_batch_is_cut_into_equal_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1,000 free bytes 800 may be used: ten images of 80, so that 32 take four parts of 8."""
    device = torch.device("cpu")
    monkeypatch.setattr(plan, "free_memory", lambda _: 1000)
    assert part_size(32, Optimise(), 80, device) == 8
    assert part_size(32, Optimise(), 25, device) == 32
    assert part_size(32, Optimise(), 100_000, device) == 1
    assert part_size(32, Optimise(precision="bf16-mixed"), 80, device) == 16
    assert part_size(32, Optimise(step=6), 80, device) == 6
    assert part_size(4, Optimise(step=6), 80, device) == 4
    monkeypatch.setattr(plan, "free_memory", lambda _: None)
    assert part_size(32, Optimise(), 80, device) == 32


def test_what_departs_from_the_paper_is_said() -> None:
    recipe = load_recipe("cpn")  # batches of 32 on eight GPUs
    lines = departures(recipe, 1, 32, 2, ["global_predict.0.weight", "x"])
    assert "starts the backbone from ImageNet weights, this run from random ones" in lines[0]
    assert lines[1:] == [
        "The paper trains on 8 devices, this run on 1.",
        "The 32 images that each step has on a device go through it in 16 parts of 2 at most; "
        "their gradients are added up.",
        "Each forward pass is of 2: batch norms see these, not 4.",
        "No loss reaches 2 parameters, which stay as they are: global_predict.0.weight and others.",
    ]
    given = load_recipe("cpn", ["backbone.weights=resnet50.pth", "optimise.devices=1"])
    assert departures(given, 1, 32, 32, []) == []
    assert departures(given, 1, 8, 8, [], norms=False) == []
    large = load_recipe("csanet-resnet152-384x288", ["optimise.devices=1"])
    parts = departures(large, 1, 128, 64, [])  # of batch norms the paper's share: still it is said
    assert "in 2 parts of 64 at most" in parts[-2]
