"""Backbones that start from published ImageNet files: what is taken, what is said, what refused."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")

from test_pretrained import State, conv, hrnet, norm, resnet50
from torch import Tensor

from poised.checkpoint import read_tensors
from poised.nets import build
from poised.nets.hrnet import HRNetBackbone
from poised.nets.resnet import BLOCKS, ResNet
from poised.pretrained import WeightsError, fill_alike, import_backbone, start_backbone


def hrnet_classifier() -> State:
    """cls_hrnet.py: stage 4 ends with all four streams; increased, joined and classified."""
    state = hrnet()
    del state["final_layer.weight"], state["final_layer.bias"]
    for target in (1, 2, 3):
        for source in range(4):
            fuse = f"stage4.2.fuse_layers.{target}.{source}"
            if source > target:
                conv(state, f"{fuse}.0", 32 * 2**source, 32 * 2**target)
            for step in range(target - source):
                conv(state, f"{fuse}.{step}.0", 32 * 2**source, 32 * 2**target, 3)
    conv(state, "incre_modules.0.0.conv1", 32, 32)
    conv(state, "downsamp_modules.0.0", 128, 256, 3, bias=True)
    conv(state, "final_layer.0", 1024, 2048, bias=True)
    state["classifier.weight"], state["classifier.bias"] = torch.randn(10, 2048), torch.randn(10)
    return state


def res2net50() -> State:
    """res2net.py, 26w4s: a ResNet-50 whose 3x3 convolutions are three of a quarter each."""
    state: State = {}
    conv(state, "conv1", 3, 64, 7)
    norm(state, "bn1", 64)
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        width, out = 13 * 2**stage, 128 * 2**stage
        for block in range(blocks):
            at = f"layer{stage}.{block}"
            conv(state, f"{at}.conv1", channels, 4 * width)
            norm(state, f"{at}.bn1", 4 * width)
            for group in range(3):
                conv(state, f"{at}.convs.{group}", width, width, 3)
                norm(state, f"{at}.bns.{group}", width)
            conv(state, f"{at}.conv3", 4 * width, out)
            norm(state, f"{at}.bn3", out)
            if block == 0:
                conv(state, f"{at}.downsample.0", channels, out)
                norm(state, f"{at}.downsample.1", out)
            channels = out
    state["fc.weight"], state["fc.bias"] = torch.randn(10, 2048), torch.randn(10)
    return state


def test_hrnet_starts_from_its_classifier(tmp_path: Path) -> None:
    state = hrnet_classifier()
    torch.save(state, tmp_path / "hrnet_w32.pth")
    out = tmp_path / "hrnet_w32.safetensors"
    assert import_backbone(tmp_path / "hrnet_w32.pth", out) == "HRNet-W32"
    for file in (out, tmp_path / "hrnet_w32.pth"):
        network, said = build("hrnet", joints=3), []
        start_backbone(network, str(file), say=said.append)
        filled = network.backbone.state_dict()
        wanted = [name for name in filled if not name.endswith("num_batches_tracked")]
        assert [name for name in wanted if not torch.equal(filled[name], state[name])] == []
        assert said == [f"{file}: {len(wanted)} of the backbone's {len(wanted)} tensors"]
    with torch.device("meta"):
        wider = HRNetBackbone(64, 48)
    with pytest.raises(WeightsError, match=r"does not fit HRNetBackbone: .*of another shape"):
        fill_alike(wider, read_tensors(out)[0], str(out))


def test_res2net_starts_fam(tmp_path: Path) -> None:
    """A block of eq. 1 is Res2Net's where the group that passes is silent."""
    state = res2net50()
    for part in ("weight", "bias"):  # of its last group, which passes
        state[f"layer1.1.bn1.{part}"][78:] = 0
    torch.save(state, tmp_path / "res2net50.pth")
    out = tmp_path / "res2net50.safetensors"
    assert import_backbone(tmp_path / "res2net50.pth", out) == "Res2Net-50 26w4s"
    network = build("efafnet", joints=3, select="none").eval()
    start_backbone(network, str(out), say=lambda _: None)

    def normed(x: Tensor, name: str) -> Tensor:
        weight, bias, mean, var = (
            state[f"layer1.1.{name}.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return torch.nn.functional.batch_norm(x, mean, var, weight, bias)

    def convolved(x: Tensor, name: str) -> Tensor:
        weight = state[f"layer1.1.{name}.weight"]
        return torch.nn.functional.conv2d(x, weight, padding=weight.shape[-1] // 2)

    x = torch.randn(1, 256, 8, 8)
    groups = normed(convolved(x, "conv1"), "bn1").relu().split(26, 1)
    done: list[Tensor] = []
    for group in range(3):
        given = groups[group] + done[-1] if done else groups[group]
        done.append(normed(convolved(given, f"convs.{group}"), f"bns.{group}").relu())
    want = (x + normed(convolved(torch.cat([*done, groups[3]], 1), "conv3"), "bn3")).relu()
    with torch.no_grad():
        got = network.backbone.layer1[1](x)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4 * want.max().item())


def test_a_paper_may_add_to_a_published_backbone(tmp_path: Path) -> None:
    """Of EFAFNet's rows only FSM starts at random, which is said; another network is refused."""
    torch.save(res2net50(), tmp_path / "res2net50.pth")
    state: State = {}
    resnet50(state)
    state["fc.weight"] = torch.randn(10, 2048)
    torch.save(state, tmp_path / "resnet50.pth")
    for file, options in (("resnet50.pth", {"aggregate": "none"}), ("res2net50.pth", {})):
        network, said = build("efafnet", joints=3, **options), []
        start_backbone(network, str(tmp_path / file), say=said.append)
        own = {
            f"layer*.*.{selection} (16)"
            for selection in (
                "channel_selection.down.weight",
                "channel_selection.down.bias",
                "channel_selection.up.weight",
                "channel_selection.up.bias",
                "location_selection.summarise.weight",
                "location_selection.summarise.bias",
                "location_selection.weigh.weight",
                "location_selection.weigh.bias",
            )
        }
        start, _, rest = said[0].partition("; not in it, so at random: ")
        assert set(rest.split(", ")) == own
        assert start.startswith(f"{tmp_path / file}: ")
        given = torch.load(tmp_path / file)["layer2.1.bn3.weight"]  # FSM makes it so much larger
        torch.testing.assert_close(network.backbone.layer2[1].bn3.weight * 3.27, given)
    assert torch.equal(network.backbone.conv1.weight, torch.load(tmp_path / file)["conv1.weight"])
    with pytest.raises(WeightsError, match=r"resnet50\.pth does not fit ResNet"):
        start_backbone(network, str(tmp_path / "resnet50.pth"))  # FAM's convolutions are others


@pytest.mark.parametrize("depth", BLOCKS)
def test_no_resnet_is_taken_for_another(depth: int) -> None:
    with torch.device("meta"):
        networks = {other: ResNet(other) for other in BLOCKS if other != depth}
        tensors = ResNet(depth).state_dict()
    for other in networks.values():
        with pytest.raises(WeightsError, match=r"file\.pth does not fit ResNet"):
            fill_alike(other, tensors, "file.pth")
