"""What a training draws, fits into memory, and says of itself before it begins."""

from __future__ import annotations

from itertools import chain, islice
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")

from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn

from poised import plan
from poised.batches import Places, usual_workers
from poised.checkpoint import describe_network
from poised.machine import Machine, TrainingError, explained, is_first
from poised.nets import build
from poised.plan import Trial, departures, part_size
from poised.read_recipe import RecipeError, load_recipe
from poised.recipe import Optimise
from poised.set_up import _alike_on_all, optimiser_of


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


def test_a_task_of_slurms_has_the_cores_that_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight tasks of six cores each: five read for each; processes of one task share its cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert usual_workers(8) == 7
    assert usual_workers(32) == 1
    monkeypatch.setenv("SLURM_NTASKS", "8")
    assert usual_workers(8) == 7
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert usual_workers(8) == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")  # torchrun's, one a computer
    assert usual_workers(8) == 7


def test_tasks_of_slurms_are_one_run_or_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fourth task of a run on eight devices does not write; that of eight runs does."""
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert not is_first(Machine(devices="8"))
    assert is_first(Machine())
    assert is_first()


def test_devices_whose_batch_norms_meet_have_as_many_parts() -> None:
    """The least part of all; and no batch that one device has less of."""
    gpu = torch.device("cuda")
    with pytest.raises(ValueError, match="steps of 7 on 2 devices, which must each have as many"):
        _alike_on_all(SimpleNamespace(device=gpu, world_size=2), 7, 4)
    asked = []

    def all_reduce(part: Tensor, reduce_op: str) -> Tensor:
        asked.append(reduce_op)
        return torch.minimum(part, torch.full((), 3))

    fabric = SimpleNamespace(device=gpu, world_size=2, all_reduce=all_reduce)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("poised.set_up.torch.tensor", lambda value, device: torch.full((), value))
        assert _alike_on_all(fabric, 8, 4) == 3
    assert asked == ["min"]


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_gradients_of_scaled_losses_can_be_cut(name: str) -> None:
    """In fp16 Fabric unscales and cuts them itself, which it refuses for fused optimisers."""
    words = [f"optimise.optimiser={name}", "optimise.precision=16-mixed"]
    network = nn.Linear(2, 1)
    optimiser = optimiser_of(network, load_recipe("lsp14", words))
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(network(torch.ones(1, 2)).sum()).backward()
    MixedPrecision("16-mixed", "cpu", scaler).unscale_gradients(optimiser)
    torch.testing.assert_close(network.weight.grad, torch.ones(1, 2))


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


@pytest.mark.parametrize(
    "error",
    [
        EOFError(),  # a greeting that was cut short
        ConnectionResetError("[Errno 104] Connection reset by peer"),
        RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"),
        RuntimeError("Pin memory thread exited unexpectedly"),
    ],
    ids=repr,
)
def test_a_readers_death_is_told_with_what_is_known(
    error: RuntimeError | ConnectionError | EOFError,
) -> None:
    told = explained(error, "all is kept", 5, 1)
    assert isinstance(told, TrainingError)
    about = str(error) or "EOFError"
    assert str(told) == (
        f"a process that reads the data died at step 5: {about}. Often memory is short (fewer "
        "optimise.workers); all is kept."
    )


@pytest.mark.parametrize("kind", [RuntimeError, EOFError, ConnectionResetError])
def test_what_a_reader_raises_is_no_death(kind: type[RuntimeError | EOFError]) -> None:
    """As torch raises it again: with the reader's own traceback in its text."""
    error = kind("Caught it in DataLoader worker process 0.\nOriginal Traceback ...")
    assert explained(error, "all is kept", 5, 1) is error


def test_patience_without_validations_is_refused() -> None:
    with pytest.raises(RecipeError) as refused:
        load_recipe("lsp14", ["optimise.patience=2"])
    assert str(refused.value) == (
        "recipe lsp14: optimise.patience counts validations: give optimise.validate_every"
    )
