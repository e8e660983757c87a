"""Other projects' checkpoints: state dicts with their published key names and shapes."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")

from torch import Tensor
from typer.testing import CliRunner

from poised.checkpoint import load_network, read_tensors
from poised.cli import app
from poised.foreign_weights import import_weights
from poised.nets import build
from poised.pretrained import WeightsError, download, import_backbone, start_backbone, start_network

State = dict[str, Tensor]


def conv(
    state: State, name: str, channels: int, out: int, kernel: int = 1, bias: bool = False
) -> None:
    state[f"{name}.weight"] = torch.randn(out, channels, kernel, kernel)
    if bias:
        state[f"{name}.bias"] = torch.randn(out)


def norm(state: State, name: str, channels: int) -> None:
    for part in ("weight", "bias", "running_mean"):
        state[f"{name}.{part}"] = torch.randn(channels)
    state[f"{name}.running_var"] = torch.rand(channels) + 0.5


def resnet50(state: State, prefix: str = "") -> None:
    """torchvision's names."""
    conv(state, f"{prefix}conv1", 3, 64, 7)
    norm(state, f"{prefix}bn1", 64)
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        planes = 32 * 2**stage
        for block in range(blocks):
            at = f"{prefix}layer{stage}.{block}"
            for index, (c, o, k) in enumerate(
                [(channels, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)], start=1
            ):
                conv(state, f"{at}.conv{index}", c, o, k)
                norm(state, f"{at}.bn{index}", o)
            if block == 0:
                conv(state, f"{at}.downsample.0", channels, 4 * planes)
                norm(state, f"{at}.downsample.1", 4 * planes)
            channels = 4 * planes


def simple_baseline(joints: int = 17) -> State:
    """pose_resnet.py: no prefix on the backbone."""
    state: State = {}
    resnet50(state)
    for index, channels in ((0, 2048), (3, 256), (6, 256)):
        state[f"deconv_layers.{index}.weight"] = torch.randn(channels, 256, 4, 4)
        norm(state, f"deconv_layers.{index + 1}", 256)
    conv(state, "final_layer", 256, joints, bias=True)
    return state


def cpn(joints: int = 17) -> State:
    """network.py, globalNet.py and refineNet.py, all DataParallel's."""
    state: State = {}
    resnet50(state, "resnet.")
    for index, channels in enumerate((2048, 1024, 512, 256)):  # from the coarsest level
        conv(state, f"global_net.laterals.{index}.0", channels, 256)
        norm(state, f"global_net.laterals.{index}.1", 256)
        if index < 3:
            conv(state, f"global_net.upsamples.{index}.1", 256, 256)
            norm(state, f"global_net.upsamples.{index}.2", 256)
        conv(state, f"global_net.predict.{index}.0", 256, 256)
        norm(state, f"global_net.predict.{index}.1", 256)
        conv(state, f"global_net.predict.{index}.3", 256, joints, 3)
        norm(state, f"global_net.predict.{index}.5", joints)
        for block in range(3 - index):
            cpn_bottleneck(state, f"refine_net.cascade.{index}.{block}", 256)
    cpn_bottleneck(state, "refine_net.final_predict.0", 1024)
    conv(state, "refine_net.final_predict.1", 256, joints, 3)
    norm(state, "refine_net.final_predict.2", joints)
    return {f"module.{key}": value for key, value in state.items()}


def cpn_bottleneck(state: State, at: str, channels: int) -> None:
    for index, (c, o, k) in enumerate([(channels, 128, 1), (128, 128, 3), (128, 256, 1)], start=1):
        conv(state, f"{at}.conv{index}", c, o, k)
        norm(state, f"{at}.bn{index}", o)
    conv(state, f"{at}.downsample.0", channels, 256)
    norm(state, f"{at}.downsample.1", 256)


def hourglass_bottleneck(state: State, at: str, channels: int, planes: int) -> None:
    for index, (c, o, k) in enumerate(
        [(channels, planes, 1), (planes, planes, 3), (planes, 2 * planes, 1)], 1
    ):
        norm(state, f"{at}.bn{index}", c)
        conv(state, f"{at}.conv{index}", c, o, k, bias=True)
    if channels != 2 * planes:
        conv(state, f"{at}.downsample.0", channels, 2 * planes, bias=True)


def hourglass(stacks: int = 2, joints: int = 16) -> State:
    """hourglass.py with num_blocks=1."""
    state: State = {}
    conv(state, "conv1", 3, 64, 7, bias=True)
    norm(state, "bn1", 64)
    for index, (channels, planes) in enumerate([(64, 64), (128, 128), (256, 128)], start=1):
        hourglass_bottleneck(state, f"layer{index}.0", channels, planes)
    for stack in range(stacks):
        for level in range(4):
            for place in range(4 if level == 0 else 3):
                hourglass_bottleneck(state, f"hg.{stack}.hg.{level}.{place}.0", 256, 128)
        hourglass_bottleneck(state, f"res.{stack}.0", 256, 128)
        conv(state, f"fc.{stack}.0", 256, 256, bias=True)
        norm(state, f"fc.{stack}.1", 256)
        conv(state, f"score.{stack}", 256, joints, bias=True)
        if stack < stacks - 1:
            conv(state, f"fc_.{stack}", 256, 256, bias=True)
            conv(state, f"score_.{stack}", joints, 256, bias=True)
    return state


def hrnet(streams: int = 32, joints: int = 17) -> State:
    """pose_hrnet.py."""
    state: State = {}
    conv(state, "conv1", 3, 64, 3)
    norm(state, "bn1", 64)
    conv(state, "conv2", 64, 64, 3)
    norm(state, "bn2", 64)
    channels = 64
    for block in range(4):
        at = f"layer1.{block}"
        for index, (c, o, k) in enumerate([(channels, 64, 1), (64, 64, 3), (64, 256, 1)], start=1):
            conv(state, f"{at}.conv{index}", c, o, k)
            norm(state, f"{at}.bn{index}", o)
        if block == 0:
            conv(state, f"{at}.downsample.0", 64, 256)
            norm(state, f"{at}.downsample.1", 256)
        channels = 256
    conv(state, "transition1.0.0", 256, streams, 3)
    norm(state, "transition1.0.1", streams)
    conv(state, "transition1.1.0.0", 256, 2 * streams, 3)
    norm(state, "transition1.1.0.1", 2 * streams)
    for number, index in ((2, 2), (3, 3)):
        conv(
            state,
            f"transition{number}.{index}.0.0",
            streams * 2 ** (index - 1),
            streams * 2**index,
            3,
        )
        norm(state, f"transition{number}.{index}.0.1", streams * 2**index)
    for stage, modules in ((2, 1), (3, 4), (4, 3)):
        for module in range(modules):
            at = f"stage{stage}.{module}"
            for branch in range(stage):
                width = streams * 2**branch
                for block in range(4):
                    for layer in (1, 2):
                        conv(state, f"{at}.branches.{branch}.{block}.conv{layer}", width, width, 3)
                        norm(state, f"{at}.branches.{branch}.{block}.bn{layer}", width)
            targets = 1 if (stage, module) == (4, 2) else stage
            for target in range(targets):
                for source in range(stage):
                    fuse = f"{at}.fuse_layers.{target}.{source}"
                    wide, out = streams * 2**source, streams * 2**target
                    if source > target:
                        conv(state, f"{fuse}.0", wide, out)
                        norm(state, f"{fuse}.1", out)
                    for step in range(target - source):
                        last = out if step == target - source - 1 else wide
                        conv(state, f"{fuse}.{step}.0", wide, last, 3)
                        norm(state, f"{fuse}.{step}.1", last)
    conv(state, "final_layer", streams, joints, bias=True)
    return state


@pytest.mark.parametrize(
    ("kind", "state", "network"),
    [
        ("sbn-hrnet", simple_baseline, {"network": "simple_baseline", "joints": 17, "depth": 50}),
        ("hrnet", hrnet, {"network": "hrnet", "joints": 17, "streams": 32}),
        ("hourglass", hourglass, {"network": "hourglass", "joints": 16, "stacks": 2, "blocks": 1}),
        ("cpn-pytorch", cpn, {"network": "cpn", "joints": 17, "backbone": 50}),
    ],
)
def test_public_checkpoints_find_their_places(kind, state, network, tmp_path: Path) -> None:
    """Every published tensor lands once, in a network that then runs."""
    published = state()
    torch.save({"state_dict": published}, tmp_path / "published.pth")
    out = tmp_path / "ours.safetensors"
    assert import_weights(tmp_path / "published.pth", kind, out) == network
    ours, _ = read_tensors(out)
    assert sorted(v.sum().item() for v in ours.values()) == pytest.approx(
        sorted(v.sum().item() for v in published.values()),
        rel=1e-4,  # added in another order, where colours were turned round
    )
    assert load_network(out)(torch.zeros(1, 3, 64, 64))[-1].shape == (1, network["joints"], 16, 16)
    again = build(**network)
    start_network(again, str(out))
    first = next(iter(ours))
    assert torch.equal(again.state_dict()[first], ours[first])


def test_tensors_land_where_their_names_say(tmp_path: Path) -> None:
    torch.save(cpn(), tmp_path / "cpn.pth")
    import_weights(tmp_path / "cpn.pth", "cpn-pytorch", tmp_path / "cpn.safetensors")
    ours, theirs = read_tensors(tmp_path / "cpn.safetensors")[0], torch.load(tmp_path / "cpn.pth")
    for mine, published in (
        ("global_net.lateral.3.0.weight", "module.global_net.laterals.0.0.weight"),  # C5
        ("global_net.before_sum.2.1.bias", "module.global_net.upsamples.0.2.bias"),  # C5 -> C4
        ("refine_net.cascade.3.2.body.1.0.weight", "module.refine_net.cascade.0.2.conv2.weight"),
        (
            "refine_net.fuse.shortcut.1.running_var",
            "module.refine_net.final_predict.0.downsample.1.running_var",
        ),
    ):
        assert torch.equal(ours[mine], theirs[published])


def test_what_does_not_fit_is_listed(tmp_path: Path) -> None:
    state = hourglass(1)
    state["extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "extra.pth")
    with pytest.raises(WeightsError, match=r"1 keys unmatched: extra\.weight"):
        import_weights(tmp_path / "extra.pth", "hourglass", tmp_path / "out.safetensors")
    del state["extra.weight"], state["fc.0.0.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(WeightsError, match=r"1 missing: after\.0\.1\.bias"):
        import_weights(tmp_path / "short.pth", "hourglass", tmp_path / "out.safetensors")
    with pytest.raises(
        WeightsError, match=r"no final_layer\.weight: this is not a checkpoint of hrnet"
    ):
        import_weights(tmp_path / "short.pth", "hrnet", tmp_path / "out.safetensors")
    with pytest.raises(
        WeightsError, match="known: movenet, rtmdet, sbn-hrnet, hrnet, hourglass, cpn-pytorch"
    ):
        import_weights(tmp_path / "short.pth", "keras", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()
    result = CliRunner().invoke(
        app, ["import-weights", str(tmp_path / "short.pth"), "--as", "hrnet"]
    )
    assert result.exit_code == 2
    assert "not a checkpoint of hrnet" in result.output


def test_a_backbone_starts_from_torchvisions_file(tmp_path: Path) -> None:
    state: State = {}
    resnet50(state)
    state["fc.weight"], state["fc.bias"] = torch.randn(1000, 2048), torch.randn(1000)
    torch.save(state, tmp_path / "resnet50.pth")
    out = tmp_path / "resnet50.safetensors"
    assert import_backbone(tmp_path / "resnet50.pth", out) == "ResNet-50"
    network = build("cpn", joints=3)
    start_backbone(network, str(out))
    assert torch.equal(network.backbone.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])
    start_backbone(network, str(tmp_path / "resnet50.pth"))  # the original serves as well
    with pytest.raises(WeightsError, match=r"does not fit ResNet: .* unknown"):
        start_backbone(build("cpn", joints=3, backbone=18), str(out))
    with pytest.raises(WeightsError, match="StackedHourglass has no backbone"):
        start_backbone(build("hourglass", joints=3, stacks=1), str(out))
    del state["layer1.0.conv1.weight"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(WeightsError, match=r"the nearest: .*missing: layer1\.0\.conv1\.weight"):
        import_backbone(tmp_path / "short.pth", tmp_path / "short.safetensors")


def test_simple_baselines_of_bgr_images_see_rgb_ones(tmp_path: Path) -> None:
    """Imported, on RGB, it gives what the published network gives on BGR."""
    theirs = build("simple_baseline", joints=3, depth=18).eval()
    published = {k.removeprefix("backbone."): v for k, v in theirs.state_dict().items()}
    torch.save(published, tmp_path / "published.pth")
    command = ["import-weights", str(tmp_path / "published.pth"), "--as", "sbn-hrnet"]
    result = CliRunner().invoke(app, command)
    assert "input.mean=[103.53, 116.28, 123.675]" in result.output
    ours = load_network(tmp_path / "published.safetensors").eval()
    rgb = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        got, want = ours(rgb)[-1], theirs(rgb.flip(1))[-1]
        assert not torch.allclose(theirs(rgb)[-1], want)
    torch.testing.assert_close(got, want)


def test_inception_resnet_has_the_published_names(tmp_path: Path) -> None:
    """54.3M parameters without the classifier; these keys stand in the published file."""
    network = build("cpn", joints=17, backbone="inception_resnet_v2").backbone
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(54.31e6, rel=1e-3)
    names = set(network.state_dict())
    for key, shape in {
        "conv2d_1a.conv.weight": (32, 3, 3, 3),
        "mixed_5b.branch1.1.conv.weight": (64, 48, 5, 5),
        "mixed_5b.branch3.1.bn.running_var": (64,),
        "repeat.9.branch2.1.conv.weight": (48, 32, 3, 3),
        "repeat.0.conv2d.bias": (320,),
        "repeat_1.19.branch1.1.conv.weight": (160, 128, 1, 7),
        "mixed_7a.branch2.2.conv.weight": (320, 288, 3, 3),
        "repeat_2.8.branch1.2.conv.weight": (256, 224, 3, 1),
        "block8.conv2d.weight": (2080, 448, 1, 1),
        "conv2d_7b.conv.weight": (1536, 2080, 1, 1),
    }.items():
        assert key in names
        assert tuple(network.state_dict()[key].shape) == shape


def test_no_pickle_is_opened(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"w": Payload()}, protocol=2))
    torch.save({"w": Payload()}, tmp_path / "evil2.pth")
    for name in ("evil.pth", "evil2.pth"):
        with pytest.raises(WeightsError, match="holds more than tensors, or is no torch file"):
            import_backbone(tmp_path / name, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists()
    with pytest.raises(FileNotFoundError, match=r"no weights file .*absent\.pth"):
        import_backbone(tmp_path / "absent.pth", tmp_path / "out.safetensors")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    (tmp_path / "www").mkdir()
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "www")))
    Thread(target=http.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()


def test_a_download_is_checked_and_kept(server: str, tmp_path: Path) -> None:
    content = b"weights" * 1000
    (tmp_path / "www" / "w.pth").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    cache = tmp_path / "cache"
    path = download(f"{server}/w.pth#{digest}", cache)
    assert path.read_bytes() == content
    (tmp_path / "www" / "w.pth").unlink()
    assert download(f"{server}/w.pth#{digest}", cache) == path  # not asked for again
    (tmp_path / "www" / "other.pth").write_bytes(b"something else")
    with pytest.raises(WeightsError, match=f"has SHA-256 .*, expected {digest}"):
        download(f"{server}/other.pth#{digest}", cache)
    assert [p.name for p in cache.iterdir()] == [path.name]
    with pytest.raises(WeightsError, match="a URL needs its SHA-256"):
        download(f"{server}/w.pth", cache)
