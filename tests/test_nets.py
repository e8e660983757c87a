"""The papers' parts, each against its equation: a loop, numpy, a hand-made case, a gradient."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)  # tensors this small only wait for each other's threads

from torch import Tensor, nn

from poised.losses import hard_keypoints, mean_squared
from poised.nets import build
from poised.nets.cpn import CPN
from poised.nets.csanet import ASPP, CSANet
from poised.nets.efafnet import (
    ChannelSelection,
    EFAFNet,
    FASMBottleneck,
    FeatureAggregation,
    LocationSelection,
)
from poised.nets.hourglass import Hourglass
from poised.nets.multi_context import (
    AttentionMaps,
    HourglassResidualUnit,
    MultiContextAttention,
    PartPrediction,
)
from poised.nets.resnet import ResNet
from poised.nets.spcnet import DilatedHourglass, SelectiveInformation


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def open_up(module: nn.Module) -> nn.Module:
    """Weights that let every gradient through: all positive, so that no ReLU cuts a positive x."""
    for parameter in module.parameters():
        parameter.data = parameter.data.abs() + 0.01
    return module.eval()


def field(module: nn.Module, x_size: int, channels: int, output: int | None = None) -> set[int]:
    """The input columns that the centre of an output depends on, by its gradient."""
    columns: set[int] = set()
    for seed in range(6):  # a max-pool passes a gradient to one pixel of its window
        x = noise(1, channels, x_size, x_size, seed=seed).abs().requires_grad_()
        y = module(x) if output is None else module(x)[output]
        y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
        columns |= set(np.flatnonzero(x.grad[0].abs().sum((0, 1)).numpy() > 0).tolist())
    return columns


def test_feature_aggregation_is_equation_1() -> None:
    module = FeatureAggregation(16).eval()
    x = noise(2, 16, 6, 5)
    want = [x[:, 0:4]]
    for group in range(1, 4):
        part = x[:, 4 * group : 4 * group + 4]
        want.append(module.convolutions[group - 1](part + want[group - 1]))
    torch.testing.assert_close(module(x), torch.cat(want, 1))


def test_selections_are_equations_2_and_4_to_8() -> None:
    channels, locations = ChannelSelection(32), LocationSelection(32)
    x = noise(2, 32, 4, 3)
    array = x.double().numpy()
    weight = {k: v.double().numpy() for k, v in channels.state_dict().items()}
    z = array.mean((2, 3)) + array.max((2, 3))
    inner = np.maximum(0, z @ weight["down.weight"][:, :, 0, 0].T + weight["down.bias"])
    alpha = sigmoid(inner @ weight["up.weight"][:, :, 0, 0].T + weight["up.bias"])
    np.testing.assert_allclose(channels(x).detach().numpy()[:, :, 0, 0], alpha, atol=1e-5)
    weight = {k: v.double().numpy() for k, v in locations.state_dict().items()}
    s = np.einsum("nchw,c->nhw", array, weight["summarise.weight"][0, :, 0, 0])
    inner = np.maximum(0, s + weight["summarise.bias"])
    inner = np.maximum(0, inner * weight["weigh.weight"].item() + weight["weigh.bias"].item())
    beta = sigmoid(inner)
    np.testing.assert_allclose(locations(x).detach().numpy()[:, 0], beta, atol=1e-5)
    assert beta.min() >= 0.5
    block = FASMBottleneck(32, 8, 1, aggregate="none", select="parallel")
    block.channel_selection, block.location_selection = channels, locations
    want = (array + alpha[:, :, None, None] * array) + (array + beta[:, None] * array)
    np.testing.assert_allclose(block._selected(x).detach().numpy(), want, atol=1e-5)


@pytest.mark.parametrize("select", ["parallel", "cs-lss", "lss-cs"])
def test_a_new_fsm_leaves_a_block_its_size(select: str) -> None:
    """What each of the 16 blocks adds has the variance of a plain one's: batch norm's 1."""
    torch.manual_seed(0)
    network = EFAFNet(3, aggregate="none", select=select, fusion=False, width=0.25)  # type: ignore[arg-type]
    spread: list[float] = []

    def seen(block: FASMBottleneck, given: tuple[Tensor]) -> None:
        y = block.conv2(block.bn1(block.conv1(given[0])).relu())
        spread.append(block._selected(block.bn3(block.conv3(block.bn2(y).relu()))).std().item())

    for block in network.backbone.modules():
        if isinstance(block, FASMBottleneck):
            block.register_forward_pre_hook(seen)
    network(noise(4, 3, 128, 128))
    assert len(spread) == 16
    np.testing.assert_allclose(spread, 1, atol=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_every_location_selection_can_learn(seed: int) -> None:
    """Each of the 16 blocks' two convolutions gets a gradient at the start."""
    torch.manual_seed(seed)
    network = EFAFNet(3, aggregate="none", fusion=False, dense_upsampling=False, width=0.125)
    maps = network(noise(2, 3, 64, 64, seed=seed))
    network.loss(maps, noise(2, 3, 16, 16, seed=9), torch.ones(2, 3)).backward()
    selections = [m for m in network.modules() if isinstance(m, LocationSelection)]
    gradients = [p.grad.abs().sum().item() for m in selections for p in m.parameters()]
    assert len(gradients) == 16 * 4
    assert min(gradients) > 0


@pytest.mark.parametrize(
    ("name", "options", "outputs"),
    [
        ("simple_baseline", {"width": 0.125}, 1),
        ("hrnet", {"width": 0.125}, 1),
        ("hrnet", {}, 1),
        ("efafnet", {"width": 0.125, "hard": None}, 4),
        ("efafnet", {"width": 0.125, "hard": None, "fusion": False}, 1),
    ],
)
def test_training_starts_near_empty_maps(name: str, options: dict, outputs: int) -> None:
    """Simple Baseline's and HRNet's code: all-zero maps cost half a Gaussian's pi sigma^2."""
    torch.manual_seed(0)
    network = build(name, joints=3, **options)
    squared = (torch.arange(16.0) - 8) ** 2
    gaussian = torch.exp(-(squared[:, None] + squared) / (2 * 1.5**2))
    targets = gaussian.expand(2, 3, 16, 16)
    first = network.loss(network(noise(2, 3, 64, 64)), targets, torch.ones(2, 3)).item()
    empty = 0.5 * np.pi * 1.5**2 / 16**2
    assert first == pytest.approx(outputs * empty, rel=0.2)


@pytest.mark.parametrize("order", ["cs-lss", "lss-cs"])
def test_selections_in_a_row_are_in_that_order(order: str) -> None:
    block = FASMBottleneck(32, 8, 1, aggregate="none", select=order)
    x = noise(1, 32, 4, 3)
    first, second = block.channel_selection, block.location_selection
    if order == "lss-cs":
        first, second = second, first
    once = x + first(x) * x
    torch.testing.assert_close(block._selected(x), once + second(once) * once)


def test_aggregation_stands_where_table_viii_says() -> None:
    """FASM replaces the 3x3 convolution, FASM-C keeps it; both halve where the stage does."""
    for place, keeps in (("bottleneck", False), ("convolution", True)):
        block = FASMBottleneck(64, 32, 2, aggregate=place, select="parallel").eval()
        assert (block.conv2 is not None) == keeps
        assert block(noise(1, 64, 8, 8)).shape == (1, 128, 4, 4)


def test_dense_upsampling_places_each_channel_on_its_pixel() -> None:
    """Output pixel (8 i + a, 8 j + b) of keypoint k is channel 64 k + 8 a + b of cell (i, j)."""
    network = EFAFNet(3, aggregate="none", select="none", fusion=False, width=0.125).eval()
    cells = noise(1, 3 * 64, 2, 3)
    maps = network.decode[1](cells)
    assert maps.shape == (1, 3, 16, 24)
    for k, i, j, a, b in [(0, 0, 0, 0, 0), (2, 1, 2, 7, 3), (1, 0, 1, 2, 5)]:
        assert maps[0, k, 8 * i + a, 8 * j + b] == cells[0, 64 * k + 8 * a + b, i, j]


def test_aspp_reaches_18_pixels_and_sees_the_mean() -> None:
    module = open_up(ASPP(8))
    module.mean = nn.Sequential(nn.Conv2d(8, 8, 1))
    for parameter in module.mean.parameters():
        parameter.data.zero_()  # the global mean reaches everywhere: shut it first
    centre = 48 // 2
    assert field(module, 48, 8) == {centre + s * r for r in (0, 6, 12, 18) for s in (-1, 1)}
    for parameter in module.mean.parameters():
        parameter.data.fill_(1.0)
    assert field(module, 48, 8) == set(range(48))


def test_dilated_hourglass_stops_at_a_quarter_and_sees_wider() -> None:
    """Its levels have 16, 16, 32, 64 pixels of 64; dilation 2 sees further than dilation 1."""
    shapes = [level.shape[-1] for level in DilatedHourglass(8, 2).eval()(noise(1, 8, 64, 64))]
    assert shapes == [16, 16, 32, 64]
    plain = [level.shape[-1] for level in Hourglass(8).eval()(noise(1, 8, 64, 64))]
    assert plain == [8, 16, 32, 64]
    wide = {rate: field(open_up(DilatedHourglass(8, rate)), 64, 8, output=0) for rate in (1, 2)}
    # before the dilated pair each column of 16 sees 4 (2 r) more either side a 3x3 of rate r
    assert len(wide[2]) - len(wide[1]) == 2 * 2 * 4


def test_selective_information_is_a_convex_mix() -> None:
    module = SelectiveInformation(8, 2, "distribution").eval()
    levels = [
        [noise(1, 8, s, s, seed=10 * m + i) for i, s in enumerate((4, 4, 8, 16))] for m in (0, 1)
    ]
    seen: list[Tensor] = []
    module.squeeze.register_forward_hook(lambda _m, _i, out: seen.append(out))
    mixed = module(levels)
    torch.testing.assert_close(seen[0].sum(1), torch.ones(1, 16, 16))
    nn.init.zeros_(module.squeeze.weight)
    module.squeeze.bias.data = torch.tensor([0.0, 0.0, float(np.log(6.0)), -100.0])
    collected = [
        nn.functional.interpolate(c(torch.cat(pair, 1)), size=(16, 16))
        for c, pair in zip(module.collect, zip(*levels, strict=True), strict=True)
    ]
    want = (collected[0] + collected[1] + 6 * collected[2]) / 8  # softmax of 0, 0, log 6, -100
    torch.testing.assert_close(module(levels), want)
    assert not torch.allclose(mixed, want)


def test_hourglass_residual_unit_sees_10_pixels() -> None:
    module = open_up(HourglassResidualUnit(4))
    assert len(field(module.residual, 32, 4)) == 3
    assert len(field(module, 32, 4)) == 10


def test_crf_attention_is_three_mean_field_steps() -> None:
    module = AttentionMaps(3, 2, "crf")
    x = noise(1, 3, 5, 4)
    s = module.summarise(x).detach().double().numpy()[0]
    kernel = module.correlate.weight.detach().double().numpy()[:, 0]

    def correlate(maps: np.ndarray) -> np.ndarray:
        padded = np.pad(maps, ((0, 0), (5, 5), (5, 5)))
        out = np.zeros_like(maps)
        for p, i, j in np.ndindex(maps.shape):
            out[p, i, j] = (padded[p, i : i + 11, j : j + 11] * kernel[p]).sum()
        return out

    phi = s
    for _ in range(3):
        phi = sigmoid(correlate(phi) + s)  # eq. 7
    np.testing.assert_allclose(module(x).detach().numpy()[0], phi, atol=1e-5)
    flat = AttentionMaps(3, 2, "softmax")(x)
    torch.testing.assert_close(flat.sum((2, 3)), torch.ones(1, 2))


def test_the_next_stack_gets_features_before_attention() -> None:
    network = MultiContextAttention(3, stacks=2, parts=False, width=0.125).eval()
    seen: dict[str, Tensor] = {}
    network.after[0].register_forward_hook(lambda _m, _i, out: seen.update(features=out))
    network.back[0].register_forward_hook(lambda _m, given, _o: seen.update(given=given[0]))
    network(noise(1, 3, 64, 64))
    torch.testing.assert_close(seen["given"], seen["features"])


def test_part_classifiers_do_not_touch_each_other() -> None:
    """Eqs. 11 to 13, part by part; the gradient of part p's map is zero in all other parts."""
    module = PartPrediction(6, 3, "crf")
    h1 = noise(2, 6, 8, 8)
    maps = module(h1)
    phi = module.attend(h1)
    for p in range(3):
        h_p = h1 * phi[:, p : p + 1]  # eq. 12
        want = nn.functional.conv2d(
            h_p, module.classify.weight[p : p + 1], module.bias[p].flatten()
        )
        torch.testing.assert_close(maps[:, p : p + 1], want, atol=1e-5, rtol=1e-5)
    maps[:, 1].sum().backward()
    for parameter in module.parameters():
        others = parameter.grad[[0, 2]].abs().sum()
        assert others == 0
        assert parameter.grad[1].abs().sum() > 0


def test_hard_keypoint_mining_sorts() -> None:
    maps, targets = noise(3, 6, 4, 4), noise(3, 6, 4, 4, seed=1)
    weights = torch.ones(3, 6)
    weights[1, :4] = 0  # this person has two labelled keypoints, fewer than M
    total = 0.0
    for person in range(3):
        each = [
            0.5 * float(((maps[person, k] - targets[person, k]) ** 2).mean())
            for k in range(6)
            if weights[person, k]
        ]
        total += sum(sorted(each)[-3:]) / 3
    assert hard_keypoints(maps, targets, weights, 3).item() == pytest.approx(total / 3, rel=1e-5)
    everyone = hard_keypoints(maps, targets, weights, 6)
    torch.testing.assert_close(everyone, mean_squared(maps, targets, weights))


def test_part_losses_add_up_without_a_face() -> None:
    """Eqs. 2 to 6: of perfect parts only the body's loss is left; an empty group is no part."""
    network = CSANet(14, groups=[[], [0, 1, 2], list(range(3, 14))], width=0.125)
    outputs = network(noise(2, 3, 64, 64))
    assert [maps.shape[1] for maps in outputs] == [3, 11, 14]
    targets, weights = noise(2, 14, 16, 16).abs(), torch.ones(2, 14)
    perfect = (targets[:, :3], targets[:, 3:], torch.zeros_like(targets))
    body = mean_squared(perfect[-1], targets, weights)
    torch.testing.assert_close(network.loss(perfect, targets, weights), body)
    off = (perfect[0] + 1, *perfect[1:])
    extra = 0.5 * 3 / 14  # eq. 2's sum over three of the fourteen keypoints
    torch.testing.assert_close(network.loss(off, targets, weights), body + extra)
    network.part_weights = [0.0, 0.0]
    torch.testing.assert_close(network.loss(off, targets, weights), body)


def test_cpn_punishes_each_net_as_table_7_says() -> None:
    targets, weights = noise(2, 14, 4, 4), torch.ones(2, 14)
    outputs = tuple(noise(2, 14, 4, 4, seed=s) for s in range(5))
    network = CPN(14, width=0.125)
    want = sum(mean_squared(maps, targets, weights) for maps in outputs[:4]) / 8  # as tf-cpn
    want = want + hard_keypoints(outputs[4], targets, weights, 8)
    torch.testing.assert_close(network.loss(outputs, targets, weights), want)
    silent = CPN(14, width=0.125, global_loss="none", refine_loss="squared")
    assert len(silent(noise(1, 3, 64, 64))) == 1
    alone = CPN(14, width=0.125, bottlenecks=())
    assert len(alone(noise(1, 3, 64, 64))) == 4
    with pytest.raises(ValueError, match="needs its loss"):
        CPN(14, bottlenecks=(), global_loss="none")


def test_a_second_look_adds_nothing_at_first_and_sees_the_body() -> None:
    """Four blocks of 7x7 at stride 8 see 25 cells: 200 of the crop's pixels."""
    network = build("lite_pyramid", joints=3, second_look=4).eval()
    first, second = network(noise(1, 3, 64, 64))
    torch.testing.assert_close(first, second)
    look = open_up(network.second_look)
    maps = noise(1, 3, 64, 64).abs().requires_grad_()
    look(noise(1, 64, 32, 32).abs(), maps)[0, :, 32, 32].sum().backward()
    columns = np.flatnonzero(maps.grad[0].abs().sum((0, 1)).numpy() > 0)
    assert columns.max() - columns.min() + 1 >= 2 * 25
    frozen = build("lite_pyramid", joints=3, frozen=2)
    still = [n for n, p in frozen.named_parameters() if not p.requires_grad]
    assert {name.split(".")[1] for name in still} == {"conv_stem", "stages"}
    assert not any(name.startswith("backbone.stages.2") for name in still)


def test_dilated_stages_keep_their_resolution() -> None:
    for dilated, sides in ((0, [16, 8, 4, 2]), (1, [16, 8, 4, 4]), (3, [16, 16, 16, 16])):
        levels = ResNet(18, 8, dilated).eval()(noise(1, 3, 64, 64))
        assert [level.shape[-1] for level in levels] == sides
    last = ResNet(18, 8, 3).layer4[1].conv2
    assert last.dilation == (8, 8)  # as if three strides of 2 had been taken


@pytest.mark.parametrize(
    ("name", "options", "size", "multiple"),
    [("cpn", {}, 48, 32), ("hourglass", {"stacks": 1}, 96, 64), ("spcnet", {"modules": 1}, 40, 16)],
)
def test_a_wrong_input_size_is_named(name: str, options: dict, size: int, multiple: int) -> None:
    network = build(name, joints=3, width=0.125, **options)
    with pytest.raises(ValueError, match=rf"input is {size}x64, .* multiples of {multiple}"):
        network(noise(1, 3, 64, size))


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match="at most four"):
        CPN(3, bottlenecks=(0, 1, 2, 3, 4))
    with pytest.raises(ValueError, match="known: conv2, conv3, conv2gp"):
        CSANet(3, groups=[[0]], spatial=["conv9"])
    with pytest.raises(ValueError, match="2 values for 1 groups"):
        CSANet(3, groups=[[0]], part_weights=[1.0, 1.0])
    with pytest.raises(ValueError, match="attention is none"):
        build("multi_context", joints=3, attention="none")
    with pytest.raises(ValueError, match="no ResNet of depth 51; known: 18, 34, 50, 101, 152"):
        ResNet(51)
    with pytest.raises(ValueError, match="bottlenecks, of depth 50 or more"):
        EFAFNet(3, depth=18)
    with pytest.raises(ValueError, match=r"network 'cpn' has no option 'colour'"):
        build("cpn", joints=3, colour=1)


def test_a_network_without_numbers_is_refused() -> None:
    """torch only warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"'plain_pyramid' with {'width': 0}: it would have"):
            build("plain_pyramid", joints=3, width=0)


@pytest.mark.parametrize("groups", [(), ((),), ((0, 17),), ((-1,),)])
def test_a_network_of_parts_is_not_built_without_them(groups: tuple[tuple[int, ...], ...]) -> None:
    """It would learn without its supervision of parts, and nobody be told."""
    with pytest.raises(ValueError, match=r"supervises a skeleton's parts: groups .* of its 17"):
        build("csanet", joints=17, groups=groups)
